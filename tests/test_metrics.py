"""Metrics: hand-counted cases, agreement with plain loops, NaN, weights, and clear errors for the unmeasurable."""

import math
import warnings
from functools import partial

import numpy as np
import pytest

from fastnn import metrics
from fastnn.metrics import (
    BinaryAccuracy,
    TopK,
    accuracy,
    confusion_matrix,
    mean_absolute_error,
    mean_squared_error,
    r2,
    root_mean_squared_error,
)

LABELS = np.array([0, 1, 2, 2])
SCORES = np.array([[3.0, 1.0, 2.0], [0.5, 0.1, 0.4], [0.0, 1.0, 2.0], [0.3, 0.3, 0.2]])  # right, wrong, right, wrong
nan, inf = math.nan, math.inf


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# ---- classification


@pytest.mark.parametrize("labels", [LABELS, LABELS.tolist(), LABELS[:, None], LABELS.astype("uint8"),
                                    LABELS.astype("float32"), LABELS.astype(">i4"), np.eye(3)[LABELS],
                                    np.eye(3, dtype="int8")[LABELS], np.eye(3, dtype=bool)[LABELS]],
                         ids=["int64", "list", "column", "uint8", "float32", "big-endian", "one-hot", "one-hot-int8",
                              "one-hot-bool"])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ">f4"])
def test_accuracy_of_classes(labels, dtype):
    assert accuracy(labels, SCORES.astype(dtype)) == 0.5
    assert isinstance(accuracy(labels, SCORES), float)


def test_accuracy_takes_the_first_of_equal_scores():
    assert accuracy([0, 1], [[1.0, 1.0], [1.0, 1.0]]) == 0.5


def test_accuracy_of_sequences():
    labels = np.stack([LABELS, LABELS[::-1]])
    scores = np.stack([SCORES, SCORES[::-1]])
    assert accuracy(labels, scores) == 0.5
    assert accuracy(labels, np.stack([SCORES, SCORES])) == (2 + 1) / 8
    assert accuracy(labels, scores, sample_weight=[1, 0]) == 0.5
    assert accuracy(labels, scores, sample_weight=[[1, 0, 1, 0], [0, 0, 0, 1]]) == 1.0


@pytest.mark.parametrize("shape", [(4,), (4, 1)], ids=str)
def test_accuracy_of_one_column_has_a_threshold(shape):
    labels = np.array([0, 1, 1, 0])
    logits = np.array([-2.0, 0.3, 1.0, 0.2]).reshape(shape)
    assert accuracy(labels, logits) == 0.75
    assert accuracy(labels, logits, threshold=0.5) == 0.75
    assert accuracy(labels, logits, threshold=0.25) == 1.0
    assert accuracy(labels.reshape(shape), logits, threshold=0.25) == 1.0
    assert accuracy(np.where(labels, 1, -1), logits, threshold=0.25) == 1.0


def test_binary_accuracy():
    labels = [[1, 0], [1, 1], [0, 0]]
    assert BinaryAccuracy()(labels, [[0.9, 0.5], [0.4, 0.6], [0.7, 0.1]]) == pytest.approx(4 / 6)
    assert BinaryAccuracy(threshold=0.0)(labels, [[3.0, -1.0], [0.1, 0.2], [-1.0, 0.0]]) == 1.0
    assert BinaryAccuracy()([True, False], np.array([0.7, 0.2], "float32")) == 1.0


@pytest.mark.parametrize("k, expected", [(1, 0.5), (2, 0.5), (3, 1.0)])
def test_top_k(k, expected):
    scores = np.column_stack([SCORES, np.full(4, -1.0)])  # a fourth class, less likely than any
    assert TopK(k)(LABELS, scores) == expected
    assert TopK(k)(np.eye(4)[LABELS], scores) == expected


def test_top_1_is_accuracy_even_with_ties():
    rng = np.random.default_rng(5)
    scores = rng.integers(0, 3, (500, 4)).astype(float)
    labels = rng.integers(0, 4, 500)
    assert TopK(1)(labels, scores) == accuracy(labels, scores)
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = np.mean([label in row[:2] for label, row in zip(labels, order, strict=True)])
    assert TopK(2)(labels, scores) == expected


def test_confusion_matrix():
    expected = [[1, 0, 0], [1, 0, 0], [1, 0, 1]]
    for predicted in (SCORES, SCORES.argmax(axis=1)):
        for labels in (LABELS, LABELS[:, None], np.eye(3)[LABELS]):
            counts = confusion_matrix(labels, predicted, 3)
            assert counts.dtype == np.int64
            np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(confusion_matrix(LABELS, SCORES), expected)
    np.testing.assert_array_equal(confusion_matrix([0, 1], [1, 1]), [[0, 1], [0, 1]])
    assert confusion_matrix([0], [0], 5).shape == (5, 5)


def test_confusion_matrix_of_one_column_of_probabilities():
    labels, scores = np.array([0, 1, 1, 0]), np.array([[0.2], [0.7], [0.4], [0.5]])
    for n_classes in (None, 2):
        np.testing.assert_array_equal(confusion_matrix(labels, scores, n_classes), [[2, 0], [1, 1]])
    np.testing.assert_array_equal(confusion_matrix(labels, np.array([[0.0], [1.0], [1.0], [1.0]])), [[1, 1], [0, 2]])
    np.testing.assert_array_equal(confusion_matrix([0, 0], [[0.1], [0.2]]), [[2, 0], [0, 0]])
    for wrong in (-0.1, 1.5, np.nan):
        with pytest.raises(ValueError, match=r"probabilities from 0 to 1; of logits pass y_pred > 0"):
            confusion_matrix([0, 1], [[0.5], [wrong]])


# ---- regression


def test_errors_by_hand():
    target, prediction = [1.0, 2.0, 3.0], [1.0, 4.0, 0.0]
    assert mean_absolute_error(target, prediction) == pytest.approx(5 / 3)
    assert mean_squared_error(target, prediction) == pytest.approx(13 / 3)
    assert root_mean_squared_error(target, prediction) == pytest.approx(math.sqrt(13 / 3))
    assert r2(target, prediction) == pytest.approx(1 - 13 / 2)


def test_a_column_fits_a_vector_but_nothing_else_broadcasts():
    column = np.arange(4.0)[:, None]
    assert mean_absolute_error(np.arange(4), column + 1) == 1.0
    assert r2(column, np.arange(4)) == 1.0
    with pytest.raises(ValueError, match="must agree"):
        mean_absolute_error(np.arange(4), np.arange(4)[None])


def test_r2_averages_over_outputs():
    target = np.array([[0.5, 1.0], [-1.0, 1.0], [7.0, -6.0]])
    prediction = np.array([[0.0, 2.0], [-1.0, 2.0], [8.0, -5.0]])
    assert r2(target, prediction) == pytest.approx(0.9368005266622779)  # scikit-learn 1.9's r2_score
    assert r2(target, prediction, [1, 2, 3]) == pytest.approx(0.9402608204853994)
    assert r2(target, prediction) == pytest.approx(np.mean([r2(target[:, i], prediction[:, i]) for i in (0, 1)]))


@pytest.mark.parametrize("prediction, expected", [([0.1] * 3, 1.0), ([0.1, 0.1, 0.2], 0.0), ([0.1, nan, 0.1], nan)])
def test_r2_of_a_constant_target(prediction, expected):
    """0.1 three times: its computed mean may be off by a rounding error, which must not count as variance."""
    assert r2([0.1] * 3, prediction) == pytest.approx(expected, nan_ok=True)
    both = r2([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0]], np.column_stack([prediction, [1.0, 2.0, 3.0]]))
    assert both == pytest.approx((expected + 1) / 2, nan_ok=True)


def test_r2_of_one_row_is_undefined():
    assert math.isnan(r2([1.0], [1.0]))
    assert math.isnan(r2([1.0, 2.0], [1.0, 2.0], [1, 0]))


def test_float32_is_summed_in_float64():
    target = np.zeros(100_000, "float32")
    assert mean_absolute_error(target, target + np.float32(0.1)) == pytest.approx(float(np.float32(0.1)), rel=1e-12)


# ---- weights, NaN, infinities, what goes in

ALL = {
    "accuracy": (accuracy, LABELS, SCORES),
    "binary_accuracy": (BinaryAccuracy(), np.array([0, 1, 1, 0]), np.array([0.2, 0.7, 0.4, 0.9])),
    "top_2": (TopK(2), LABELS, SCORES),
    "mae": (mean_absolute_error, np.arange(4.0), np.array([0.5, 0.5, 2.0, 7.0])),
    "mse": (mean_squared_error, np.arange(4.0), np.array([0.5, 0.5, 2.0, 7.0])),
    "rmse": (root_mean_squared_error, np.arange(8.0).reshape(4, 2), np.ones((4, 2))),
    "r2": (r2, np.arange(8.0).reshape(4, 2), np.ones((4, 2))),
}
each = pytest.mark.parametrize("metric, y_true, y_pred", ALL.values(), ids=ALL)


@each
def test_whole_weights_are_repetitions(metric, y_true, y_pred):
    weights = np.array([1, 0, 3, 2])
    repeated = metric(np.repeat(y_true, weights, axis=0), np.repeat(y_pred, weights, axis=0))
    assert metric(y_true, y_pred, weights) == pytest.approx(repeated, rel=1e-12)
    assert metric(y_true, y_pred, sample_weight=weights / 7) == pytest.approx(repeated, rel=1e-12)
    assert metric(y_true, y_pred, [1, 1, 1, 1]) == pytest.approx(metric(y_true, y_pred), rel=1e-12)
    assert metric(y_true, y_pred) != pytest.approx(repeated, rel=1e-3)


@each
def test_strided_and_read_only_arrays_are_taken_and_left_alone(metric, y_true, y_pred):
    wide = np.repeat(y_pred, 2, axis=0)
    wide.flags.writeable = False
    before = wide.tobytes()
    assert metric(y_true, wide[::2]) == metric(y_true, y_pred)
    assert metric(y_true[::-1], wide[::-2]) == pytest.approx(metric(y_true, y_pred), rel=1e-12)
    assert wide.tobytes() == before


@each
def test_nan_predictions_are_never_good(metric, y_true, y_pred):
    perfect = np.eye(3)[y_true] if y_pred.ndim == 2 and y_true.ndim == 1 else y_true.astype(float)
    best = metric(y_true, perfect)
    spoilt = perfect.copy()
    spoilt[1] = nan
    value = metric(y_true, spoilt)
    assert math.isnan(value) if best == 0 or metric is r2 else value == 0.75


def test_nan_in_another_class_spoils_the_row():
    assert accuracy([0, 0], [[1.0, nan], [1.0, 0.0]]) == 0.5
    assert TopK(1)([0, 0], [[1.0, nan], [1.0, 0.0]]) == 0.5


def test_infinite_predictions():
    assert accuracy([0, 1], [[inf, 0.0], [-inf, 0.0]]) == 1.0
    assert mean_absolute_error([0.0, 1.0], [inf, 1.0]) == inf
    assert math.isnan(mean_absolute_error([inf, 1.0], [inf, 1.0]))
    assert mean_squared_error([0.0], [1e200]) == inf
    assert r2([0.0, 1.0], [inf, 1.0]) == -inf


class Lent:
    """Only DLPack, as tensors of other libraries."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


def test_arrays_of_other_libraries_are_taken():
    assert accuracy(Lent(LABELS.copy()), Lent(SCORES.copy())) == 0.5


# ---- names


def test_get_by_name():
    for name in metrics.NAMES:
        assert metrics.get(name)[0] == name
    assert metrics.get("accuracy") == ("accuracy", accuracy)
    assert metrics.get("top_5") == ("top_5", TopK(5))
    assert metrics.get("top_2")[1](LABELS, SCORES) == 0.5
    assert metrics.get("mae") == ("mae", mean_absolute_error)


def test_get_by_function():
    def bias(y_true, y_pred):
        return float(np.mean(y_pred - y_true))

    assert metrics.get(bias) == ("bias", bias)
    assert metrics.get(TopK(3)) == ("top_3", TopK(3))
    assert metrics.get(BinaryAccuracy(0.1)) == ("binary_accuracy", BinaryAccuracy(0.1))
    assert metrics.get(r2) == ("r2", r2)
    lenient = partial(accuracy, threshold=0.5)
    assert metrics.get(("accuracy", lenient)) == ("accuracy", lenient)


@pytest.mark.parametrize("name, direction", [
    ("loss", "min"), ("validation_loss", "min"), ("mae", "min"), ("validation_rmse", "min"),
    ("mean_squared_error", "min"), ("accuracy", "max"), ("validation_binary_accuracy", "max"), ("top_5", "max"),
    ("validation_top_k", "max"), ("validation_top_5_2", "max"), ("accuracy_2", "max"), ("mae_1", "min"),
    ("r2", "max"), ("f1", None), ("topical", None), ("bias", None), ("loss_of_hair", None),
])  # fmt: skip
def test_better(name, direction):
    assert metrics.better(name) == direction


def test_every_named_metric_has_a_direction():
    assert all(metrics.better(name) for name in metrics.NAMES)


# ---- what cannot be measured

BAD = {
    "empty": (lambda: accuracy([], np.zeros((0, 3))), ValueError, r"y_pred is empty \(shape \(0, 3\)\)"),
    "empty labels": (lambda: accuracy([], SCORES), ValueError, "y_true is empty"),
    "empty errors": (lambda: mean_absolute_error([], []), ValueError, "y_true is empty"),
    "empty mse": (lambda: mean_squared_error(np.zeros((3, 0)), np.zeros((3, 0))), ValueError, "empty"),
    "empty r2": (lambda: r2([], []), ValueError, "empty"),
    "empty top": (lambda: TopK()([], np.zeros((0, 3))), ValueError, "empty"),
    "empty matrix": (lambda: confusion_matrix([], []), ValueError, "empty"),
    "empty binary": (lambda: BinaryAccuracy()([], []), ValueError, "empty"),
    "number": (lambda: accuracy(1, SCORES), ValueError, "y_true must be an array"),
    "text": (lambda: accuracy(["a"], SCORES), TypeError, "y_true must hold numbers"),
    "complex": (
        lambda: r2(np.zeros(2, complex), [0, 1]),
        TypeError,
        "y_true must hold numbers, got ndarray of dtype complex128",
    ),
    "row count": (lambda: accuracy(LABELS[:3], SCORES), ValueError, r"\(4,\) \(classes\) or \(4, 3\).*got \(3,\)"),
    "one-hot width": (lambda: accuracy(np.eye(4), SCORES), ValueError, r"one-hot\), got \(4, 4\)"),
    "label too large": (lambda: accuracy([0, 1, 2, 3], SCORES), ValueError, "from 0 to 2, got 3"),
    "label negative": (lambda: TopK(2)([0, 1, 2, -1], SCORES), ValueError, "from 0 to 2, got -1"),
    "top of too few": (lambda: TopK(3)(LABELS, SCORES), ValueError, "top_3 of 3 classes is always 1"),
    "label fractional": (lambda: accuracy([0, 1, 2, 0.5], SCORES), ValueError, "whole numbers.*0.5"),
    "label NaN": (lambda: accuracy([0, 1, 2, nan], SCORES), ValueError, "whole numbers.*nan"),
    "one-hot NaN": (lambda: accuracy(np.full((4, 3), nan), SCORES), ValueError, "y_true holds NaN"),
    "binary label": (lambda: accuracy([0, 1, 2], [0.1, 0.2, 0.3]), ValueError, "0 and 1, or -1 and 1, got 0 to 2"),
    "binary label mixture": (lambda: BinaryAccuracy()([0, 1, -1], [0.1, 0.2, 0.3]), ValueError, "got -1 to 1"),
    "binary label NaN": (lambda: BinaryAccuracy()([0, nan], [0.1, 0.2]), ValueError, "labels of yes-no"),
    "binary shapes": (lambda: BinaryAccuracy()([[0, 1]], [0.1, 0.2]), ValueError, r"\(1, 2\), y_pred \(2,\)"),
    "threshold": (lambda: BinaryAccuracy(nan), ValueError, "threshold must be finite"),
    "k": (lambda: TopK(0), ValueError, "k must be at least 1"),
    "k fractional": (lambda: TopK(2.5), TypeError, "k must be a whole number"),
    "top k of a vector": (lambda: TopK()([0], [0.5]), ValueError, "one column a class"),
    "shapes": (
        lambda: mean_squared_error(np.zeros((3, 2)), np.zeros((2, 3))),
        ValueError,
        r"\(3, 2\), y_pred \(2, 3\)",
    ),
    "weights shape": (
        lambda: accuracy(LABELS, SCORES, [1, 2]),
        ValueError,
        r"one weight a row, shape \(4,\), got \(2,\)",
    ),
    "weights r2": (lambda: r2([1, 2], [1, 2], [[1], [2]]), ValueError, "one weight a row"),
    "weights negative": (lambda: accuracy(LABELS, SCORES, [1, 1, 1, -1]), ValueError, "not negative"),
    "weights zero": (lambda: r2([1, 2], [1, 2], [0, 0]), ValueError, "not all zero"),
    "weights NaN": (lambda: mean_absolute_error([1, 2], [1, 2], [nan, 1]), ValueError, "finite"),
    "matrix label": (lambda: confusion_matrix([0, 3], [0, 1], 3), ValueError, "y_true.*from 0 to 2, got 3"),
    "matrix prediction": (lambda: confusion_matrix([0, 1], [0, 3], 3), ValueError, "y_pred.*from 0 to 2, got 3"),
    "matrix NaN": (lambda: confusion_matrix([0, 1], [0, nan]), ValueError, "y_pred must be whole numbers.*nan"),
    "matrix infinite": (lambda: confusion_matrix([0, inf], [0, 1]), ValueError, "y_true must be whole numbers.*inf"),
    "matrix NaN scores": (lambda: confusion_matrix([0], [[0, nan]]), ValueError, "y_pred holds NaN"),
    "matrix rows": (lambda: confusion_matrix([0, 1], [0, 1, 1]), ValueError, r"y_pred must have shape \(2,\)"),
    "matrix classes": (lambda: confusion_matrix([0], [0], 0), ValueError, "n_classes must be at least 1"),
    "unknown name": (lambda: metrics.get("acuracy"), ValueError, "'acuracy'.*accuracy.*r2"),
    "top zero": (lambda: metrics.get("top_0"), ValueError, "unknown metric 'top_0'"),
    "lambda": (lambda: metrics.get(lambda y, p: 0.0), ValueError, "has no name"),
    "nameless": (lambda: metrics.get(partial(accuracy, threshold=0.5)), ValueError, "pass the pair"),
    "not callable": (lambda: metrics.get(3), TypeError, "got 3"),
}


@pytest.mark.parametrize("call, error, message", BAD.values(), ids=BAD)
def test_wrong_calls_are_clear_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()

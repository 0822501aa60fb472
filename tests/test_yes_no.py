"""Outputs that answer yes or no: what counts as right with logits, probabilities, several answers and soft targets."""

from __future__ import annotations

import numpy as np
import pytest
from networks import CLOSE, blobs, both, classifier

import fastnn as fnn

BINARY = {"loss": "binary_cross_entropy", "verbose": 0}


def one_answer(activation: str | None = None, backend: str = "native") -> fnn.Sequential:
    return fnn.Sequential([fnn.Dense(1, activation)], input_shape=6, backend=backend)


# ---- soft targets


@both
@pytest.mark.parametrize("columns", [1, 3])
def test_soft_targets_train_and_are_measured_by_the_likelier_answer(columns: int, backend: str) -> None:
    x, _ = blobs(40)
    rng = np.random.default_rng(1)
    soft = rng.uniform(size=(40, columns)).astype("f4")
    soft[:2] = 1.0  # the first rows look like labels
    net = fnn.Sequential([fnn.Dense(columns)], input_shape=6, backend=backend)
    history = net.fit(x, soft, validation_data=(x, soft), **BINARY)
    expected = np.mean((net.predict(x) > 0) == (soft > 0.5))
    assert history["validation_accuracy"] == [pytest.approx(expected)]
    assert net.evaluate(x, soft)["accuracy"] == pytest.approx(expected)
    assert 0 < expected < 1


def test_soft_targets_in_batches() -> None:
    x, _ = blobs(40)
    soft = np.linspace(0.0, 1.0, 40, dtype="f4")
    history = one_answer().fit([(x[:20], soft[:20]), (x[20:], soft[20:])], **BINARY)
    assert 0 <= history["accuracy"][0] <= 1


def test_a_metric_that_fails_on_a_late_row_fails_before_training() -> None:
    x, _ = blobs(40)
    target = np.zeros((40, 1))
    target[30] = 7.0  # no class of two
    net = one_answer()
    before = net.get_weights()
    with pytest.raises(ValueError, match=r"metric 'accuracy': .*7"):
        net.fit(x, target, loss="mse", metrics=["accuracy"], verbose=0)
    assert all(map(np.array_equal, net.get_weights(), before))


# ---- thresholds


@both
@pytest.mark.parametrize("activation, threshold", [(None, 0.0), ("sigmoid", 0.5), ("tanh", 0.0)])
def test_binary_accuracy_knows_what_the_output_is(activation: str | None, threshold: float, backend: str) -> None:
    x, labels = blobs(classes=2)
    net = one_answer(activation, backend)
    net.set_weights([w * 0.3 for w in net.get_weights()])  # scores on both sides of both thresholds
    scores = net.predict(x)[:, 0]
    expected, other = (np.mean((scores > t) == labels) for t in (threshold, 0.5 - threshold))
    assert expected != other
    loss = "mse" if activation else "binary_cross_entropy"
    for metrics in (["binary_accuracy"], "binary_accuracy"):
        assert net.evaluate(x, labels, loss=loss, metrics=metrics)["binary_accuracy"] == pytest.approx(expected)


def test_a_threshold_of_one_s_own_is_kept() -> None:
    x, labels = blobs(classes=2)
    net = one_answer()
    own = fnn.metrics.BinaryAccuracy(0.25)
    expected = np.mean((net.predict(x)[:, 0] > 0.25) == labels)
    assert net.evaluate(x, labels, metrics=own, loss="mse")["binary_accuracy"] == pytest.approx(expected)


# ---- several answers a row


@both
def test_each_of_several_answers_counts(backend: str) -> None:
    x, _ = blobs()
    answers = np.random.default_rng(2).integers(0, 2, (90, 3))
    net = classifier(backend)
    history = net.fit(x, answers, validation_data=(x, answers), **BINARY)
    right = (net.predict(x) > 0) == (answers > 0)
    assert right.mean() != (net.predict(x).argmax(1) == answers.argmax(1)).mean()
    assert history["validation_accuracy"] == [pytest.approx(right.mean())]
    for metrics in (None, ["accuracy"], ["binary_accuracy"]):
        assert list(net.evaluate(x, answers, metrics=metrics).values())[1] == pytest.approx(right.mean())
    weights = np.linspace(0.0, 1.0, 90)
    weighted = net.evaluate(x, answers, sample_weight=weights)["accuracy"]
    assert weighted == pytest.approx(np.average(right.mean(axis=1), weights=weights))


@both
def test_predicted_classes_agree_with_predicted_probabilities(backend: str) -> None:
    x, _ = blobs()
    answers = np.random.default_rng(2).integers(0, 2, (90, 3))
    net = classifier(backend)
    assert np.array_equal(net.predict_class(x), net.predict(x).argmax(axis=1))  # one of three, for all that is known
    net.fit(x, answers, **BINARY)
    found = net.predict_class(x)
    assert found.dtype == np.int64
    assert found.shape == (90, 3)
    assert np.array_equal(found, net.predict_proba(x) > 0.5)
    np.testing.assert_allclose(net.predict_proba(x), 1 / (1 + np.exp(-net.predict(x))), atol=CLOSE)


def test_several_sigmoids_trained_on_another_loss_are_one_of_several() -> None:
    """Nielsen's ten sigmoids are one of ten: the largest wins."""
    x, labels = blobs()
    net = fnn.Sequential([fnn.Dense(3, "sigmoid")], input_shape=6)
    net.fit(x, fnn.one_hot(labels, 3), loss="quadratic", verbose=0)
    chosen = net.predict(x).argmax(axis=1)
    assert np.array_equal(net.predict_class(x), chosen)
    assert net.evaluate(x, fnn.one_hot(labels, 3), metrics="accuracy")["accuracy"] == np.mean(chosen == labels)

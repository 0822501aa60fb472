"""What a network is trained on and what is reported: losses, their weights, metrics and what each row counts."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import blobs, both, classifier

import fastnn as fnn
from fastnn import ops

# ---- what a network was trained on


def test_a_copied_or_loaded_network_knows_its_loss(tmp_path: Path) -> None:
    x = fnn.Input(6)
    net = fnn.Network(x, [fnn.Dense(3, name="a")(x), fnn.Dense(3, name="b")(x)])
    data, labels = blobs()
    y = (labels, np.eye(3)[labels])
    net.fit(data, y, loss=["cross_entropy", "mse"], loss_weights={"a": 0.5, "b": 2.0}, verbose=0)
    net.save(tmp_path / "net")
    for twin in (net.copy(), fnn.load(tmp_path / "net"), pickle.loads(pickle.dumps(net))):
        assert twin.evaluate(data, y) == net.evaluate(data, y)
        twin.fit(data, y, verbose=0)
        assert twin.trainer is not None
        assert twin.trainer.loss_weights == [0.5, 2.0]


def test_a_loss_that_a_file_can_only_name(tmp_path: Path) -> None:
    def gap(prediction: Any, target: Any) -> Any:
        return ops.mean(ops.square(prediction - target))

    x, y = blobs()[0], np.zeros((90, 3))
    net = classifier()
    net.fit(x, y, loss=gap, verbose=0)
    net.save(tmp_path / "net")
    loaded = fnn.load(tmp_path / "net")
    loaded.predict(x)
    for call in (lambda: loaded.evaluate(x, y), lambda: loaded.fit(x, y), lambda: fnn.Trainer(loaded)):
        with pytest.raises(ValueError, match="trained on 'gap', which its file could only name: pass it as loss"):
            call()
    loaded.save(tmp_path / "again")
    assert loaded.evaluate(x, y, loss=gap) == net.evaluate(x, y)
    known = fnn.load(tmp_path / "again", custom_objects={"gap": gap})
    assert known.evaluate(x, y) == net.evaluate(x, y)


def test_another_loss_for_evaluation_changes_nothing() -> None:
    x, labels = blobs()
    net = classifier()
    net.fit(x, np.eye(3)[labels], loss="binary_cross_entropy", verbose=0)
    before = net.predict_proba(x)
    net.evaluate(x, labels, loss="cross_entropy")
    assert np.array_equal(net.predict_proba(x), before)


def test_each_evaluation_takes_the_loss_that_it_is_told() -> None:
    x, labels = blobs()
    net, rows = classifier(), np.eye(3)[labels]
    first = net.evaluate(x, labels)
    squares = net.evaluate(x, rows, loss="mse")
    assert squares["loss"] == pytest.approx(np.mean((net.predict(x) - rows) ** 2), rel=1e-6)
    assert net.evaluate(x, labels) == first  # an untrained network's own guess, whatever came before
    net.set_weights([w * 2 for w in net.get_weights()])
    assert net.evaluate(x, labels)["loss"] != first["loss"]
    net.fit(x, rows, loss="mse", verbose=0)
    assert set(net.evaluate(x, rows)) == {"loss"}
    assert "accuracy" in net.evaluate(x, labels, loss="cross_entropy")


# ---- what each row counts


def two_outputs(backend: str = "native") -> fnn.Network:
    """6 numbers to three classes and a price."""
    x = fnn.Input(6)
    hidden = fnn.Dense(5, "tanh")(x)
    return fnn.Network(x, [fnn.Dense(3, name="kind")(hidden), fnn.Dense(1, name="price")(hidden)], backend=backend)


LOSSES = {"kind": "cross_entropy", "price": "mse"}
METRICS = {"kind": "accuracy", "price": ["mae", "r2"]}


def weighted(weights: np.ndarray, right: np.ndarray) -> float:
    return float((weights * right).sum() / weights.sum())


@both
def test_weights_count_in_metrics_of_training_validation_and_evaluation(backend: str) -> None:
    x, labels = blobs()
    weights = np.random.default_rng(0).uniform(size=90)
    weights[::7] = 0.0
    net = classifier(backend)
    right = net.predict_class(x) == labels
    frozen = {"optimizer": fnn.SGD(0.0), "loss": "cross_entropy", "batch_size": 32, "verbose": 0}
    history = net.fit(x, labels, sample_weight=weights, validation_data=(x, labels, weights), **frozen)
    expected = weighted(weights, right)
    assert expected != pytest.approx(right.mean(), abs=1e-3)
    assert history["accuracy"] == [pytest.approx(expected, rel=1e-12)]
    assert history["validation_accuracy"] == [pytest.approx(expected, rel=1e-12)]
    assert net.evaluate(x, labels, sample_weight=weights)["accuracy"] == pytest.approx(expected, rel=1e-12)
    factors = np.array([3.0, 1.0, 0.25])
    by_class = classifier(backend).fit(x, labels, class_weight={0: 3.0, 2: 0.25}, **frozen)
    assert by_class["accuracy"] == [pytest.approx(weighted(factors[labels], right), rel=1e-12)]


def test_own_metrics_get_weights_if_they_take_them() -> None:
    x, labels = blobs()
    seen: dict[str, Any] = {}

    def plain(y_true: Any, y_pred: Any) -> float:
        seen["plain"] = len(y_true)
        return 1.0

    def knowing(y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        seen["knowing"] = sample_weight
        return 2.0

    net, weights = classifier(), np.linspace(0, 1, 90)
    found = net.evaluate(x, labels, sample_weight=weights, metrics=[plain, knowing])
    assert (found["plain"], found["knowing"]) == (1.0, 2.0)
    assert seen["plain"] == 90
    assert np.array_equal(seen["knowing"], weights)
    net.evaluate(x, labels, metrics=knowing)
    assert seen["knowing"] is None


def test_where_no_row_counts_metrics_are_nan() -> None:
    x, labels = blobs()
    found = classifier().evaluate(x, labels, sample_weight=np.zeros(90))
    assert found["loss"] == 0.0
    assert np.isnan(found["accuracy"])


@both
def test_weights_for_each_output(backend: str) -> None:
    x, labels = blobs()
    price = x[:, 0]
    a, b = np.random.default_rng(1).uniform(size=(2, 90))
    whole = two_outputs(backend)
    found = whole.evaluate(x, (labels, price), loss=LOSSES, sample_weight={"kind": a, "price": b}, metrics=METRICS)
    kind, value = (each.astype(np.float64) for each in whole.predict(x))
    entropies = np.log(np.exp(kind).sum(axis=1)) - kind[np.arange(90), labels]
    errors = value[:, 0] - price
    assert found["loss"] == pytest.approx(np.mean(a * entropies) + np.mean(b * errors**2), rel=1e-5)
    assert found["kind_accuracy"] == pytest.approx(weighted(a, kind.argmax(axis=1) == labels), rel=1e-6)
    assert found["price_mae"] == pytest.approx(weighted(b, np.abs(errors)), rel=1e-6)
    same = whole.evaluate(x, (labels, price), loss=LOSSES, sample_weight=(a, b), metrics=METRICS)
    assert same == found
    one = whole.evaluate(x, (labels, price), loss=LOSSES, sample_weight=a, metrics=METRICS)
    assert one == whole.evaluate(x, (labels, price), loss=LOSSES, sample_weight=[a, a], metrics=METRICS)
    without = whole.evaluate(x, (labels, price), loss=LOSSES, sample_weight={"price": b}, metrics=METRICS)
    assert without == whole.evaluate(x, (labels, price), loss=LOSSES, sample_weight=(None, b), metrics=METRICS)
    assert without["kind_accuracy"] == np.mean(kind.argmax(axis=1) == labels)
    assert without["price_mae"] == found["price_mae"]


@both
def test_training_with_weights_for_each_output(backend: str) -> None:
    """A factor on an output's rows is a factor on its loss."""
    x, labels = blobs()
    y = (labels, x[:, 0])
    by_rows, by_loss = two_outputs(backend), two_outputs(backend)
    options = {"loss": LOSSES, "optimizer": fnn.SGD(0.1), "epochs": 2, "verbose": 0}
    by_rows.fit(x, y, sample_weight={"price": np.full(90, 4.0)}, **options)
    by_loss.fit(x, y, loss_weights={"kind": 1.0, "price": 4.0}, **options)
    for one, other in zip(by_rows.get_weights(), by_loss.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    plain = two_outputs(backend)
    plain.fit(x, y, **options)
    assert not np.allclose(plain.get_weights()[0], by_loss.get_weights()[0], atol=1e-4)


def test_loss_weights_by_list_or_name() -> None:
    x, labels = blobs()
    y = (labels, x[:, 0])
    net = two_outputs()
    net.fit(x, y, loss=LOSSES, loss_weights=[1, 0.5], verbose=0)
    first = net.trainer
    net.fit(x, y, loss_weights={"price": 0.5, "kind": 1}, verbose=0)
    net.fit(x, y, loss=LOSSES, verbose=0)  # not named, not changed
    assert net.trainer is first
    with pytest.warns(UserWarning, match="another loss_weights: training starts afresh"):
        net.fit(x, y, loss=LOSSES, loss_weights=[1, 2], verbose=0)
    assert net.trainer is not first
    assert net.trainer.loss_weights == [1.0, 2.0]


# ---- what is reported, and when


def batches(x: np.ndarray, *others: np.ndarray, size: int = 32) -> list[tuple[np.ndarray, ...]]:
    return [tuple(each[i : i + size] for each in (x, *others)) for i in range(0, len(x), size)]


@both
def test_metrics_of_batches_are_those_of_arrays(backend: str) -> None:
    """R² is no mean over batches: it takes the predictions of the whole epoch."""
    x, labels = blobs()
    weights = np.random.default_rng(3).uniform(size=90)
    y, options = (labels, x[:, 0]), {"loss": LOSSES, "metrics": METRICS, "epochs": 2, "verbose": 0}
    a, b = two_outputs(backend), two_outputs(backend)
    found = a.fit([(x, (labels, price), w) for x, labels, price, w in batches(x, *y, weights)], **options)
    expected = b.fit(x, y, sample_weight=weights, batch_size=32, shuffle=False, **options)
    assert set(found) == set(expected)
    for name in ("loss", "kind_accuracy", "price_mae", "price_r2"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9)


def test_batches_may_share_memory_and_mix_weights() -> None:
    x, labels = blobs(64)
    net = classifier()
    right = net.predict_class(x) == labels
    buffer, target = np.empty((32, 6), "f4"), np.empty(32, np.int64)

    def generate() -> Any:
        for part in (slice(0, 32), slice(32, 64)):
            buffer[:], target[:] = x[part], labels[part]
            yield (buffer, target, np.full(32, 3.0)) if part.start else (buffer, target)

    history = net.fit(generate(), loss="cross_entropy", optimizer=fnn.SGD(0.0), verbose=0)
    assert history["accuracy"] == [pytest.approx((right[:32].sum() + 3 * right[32:].sum()) / 128)]


def failing(y_true: Any, y_pred: Any) -> float:
    raise ValueError("no such thing")


@pytest.mark.parametrize("metrics, message", [
    (failing, "metric 'failing': no such thing"),
    ("top_3", "top_3.*3 classes"),
    (["accuracy", "accuracy"], "two are called 'accuracy'"),
    ([("mine", failing), ("mine", lambda t, p: 0.0)], "two are called 'mine'"),
    (("list", lambda t, p: np.zeros(2)), "metric 'list'"),
], ids=str)  # fmt: skip
def test_a_bad_metric_is_found_before_anything_is_trained(metrics: Any, message: str) -> None:
    x, labels = blobs()
    net = classifier()
    before = net.get_weights()
    given = [metrics] if isinstance(metrics, tuple) else metrics
    for data in ((x, labels), (batches(x, labels),)):
        with pytest.raises(ValueError, match=message):
            net.fit(*data, metrics=given, verbose=0)
    assert all(map(np.array_equal, net.get_weights(), before))


def test_a_metric_that_fails_on_the_validation_data_alone() -> None:
    x, labels = blobs()

    def of_ninety(y_true: Any, y_pred: Any) -> float:
        if len(y_true) != 90:
            raise ValueError("expected ninety")
        return 0.0

    net = classifier()
    before = net.get_weights()
    with pytest.raises(ValueError, match="expected ninety"):
        net.fit(x, labels, metrics=of_ninety, validation_data=(x[:50], labels[:50]), verbose=0)
    assert all(map(np.array_equal, net.get_weights(), before))

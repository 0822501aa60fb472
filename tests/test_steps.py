"""Calls of `Trainer.step` and `predict` one after another: the short way gives what the long way gives."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from networks import blobs, both, classifier, same_weights

import fastnn as fnn


def long_step(trainer: fnn.Trainer, *arrays: Any) -> float:
    trainer._repeated = ()
    return trainer.step(*arrays)


def noisy(backend: str = "native", dtype: str = "float32") -> fnn.Sequential:
    layers = [fnn.Dense(8, "relu", name="hidden"), fnn.Dropout(0.3), fnn.Dense(3)]
    return fnn.Sequential(layers, input_shape=6, backend=backend, dtype=dtype)


def pair(backend: str, loss: str, optimizer: Any, dtype: str = "float32") -> tuple[fnn.Trainer, fnn.Trainer]:
    short, long = (fnn.Trainer(noisy(backend, dtype), loss, optimizer) for _ in range(2))
    return short, long


SCHEDULED = fnn.Adam(fnn.schedules.Cosine(0.05, steps=300), clip_norm=1.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "binary_cross_entropy", "hinge"])
def test_the_short_way_gives_the_same_bits(loss: str, dtype: str) -> None:
    """For longer than the run table is made ahead, and with a change of size in between."""
    x, labels = blobs(32)
    values = np.eye(3)[labels]
    y = {"cross_entropy": labels, "hinge": 2 * values - 1}.get(loss, values)
    short, long = pair("native", loss, SCHEDULED, dtype)
    for step in range(600):
        n = 32 if step < 550 else 20 + step % 3
        assert short.step(x[:n], y[:n]) == long_step(long, x[:n], y[:n])
    assert (not short._repeated) == (loss == "hinge")  # which looks at the sign of each target
    assert same_weights(short.network, long.network)
    assert short.steps == long.steps == 600


def test_several_forms_in_turn_keep_their_short_ways() -> None:
    x, labels = blobs(40)
    short, long = pair("native", "cross_entropy", SCHEDULED)
    traced = []
    for turn in range(6):
        for n in (32, 31, 8, 40):
            assert short.step(x[:n], labels[:n]) == long_step(long, x[:n], labels[:n])
        if turn:
            traced.append([id(way) for way in short._repeated])
    assert len(traced[0]) == 4
    assert traced == [traced[0]] * 5  # none is made anew
    for n in range(1, 9):  # and the oldest make room
        assert short.step(x[:n], labels[:n]) == long_step(long, x[:n], labels[:n])
    assert [way.rows for way in short._repeated] == [8, 7, 6, 5]
    assert same_weights(short.network, long.network)


@pytest.mark.parametrize("metrics", [(), ["accuracy"]], ids=["unmeasured", "measured"])
@pytest.mark.parametrize("weighted", [False, True])
def test_equal_batches_of_an_iterable_take_the_short_way(metrics: list[str], weighted: bool) -> None:
    """With the bits and the metrics of the long way, which lists take; and no memory of a batch is kept."""
    x, labels = blobs(90)
    weights = np.linspace(0.0, 2.0, 90)
    arrays = (x, labels, weights) if weighted else (x, labels)
    starts = range(0, 90, 16)  # the last one is shorter
    memory = [np.empty_like(each[:16]) for each in arrays]

    def reused(epochs: int) -> Iterator[tuple[np.ndarray, ...]]:
        for start in (*starts,) * epochs:
            for place, each in zip(memory, arrays, strict=True):
                place[: len(each[start : start + 16])] = each[start : start + 16]
            yield tuple(place[: min(16, 90 - start)] for place in memory)

    short, long = pair("native", "cross_entropy", SCHEDULED)
    options = {"metrics": metrics, "verbose": 0}
    found = short.fit(reused(3), **options)
    expected = long.fit([tuple(each[s : s + 16].tolist() for each in arrays) for s in (*starts,) * 3], **options)
    assert same_weights(short.network, long.network)
    assert found["loss"] == expected["loss"]
    assert found.get("accuracy") == expected.get("accuracy")
    assert short.steps == 18


def test_a_bad_batch_after_good_ones_is_named() -> None:
    x, labels = blobs(32)
    net = classifier()
    with pytest.raises(ValueError, match=r"labels must be in 0 \.\.\. 2, got 7"):
        net.fit([(x, labels), (x, labels), (x, labels + 5 * (labels == 2))], verbose=0)
    assert net.trainer is not None
    assert net.trainer.steps == 2


@both
def test_several_inputs_and_outputs(backend: str) -> None:
    def make() -> fnn.Trainer:
        a, b = fnn.Input(4), fnn.Input(2)
        joined = fnn.Concatenate()([a, b])
        net = fnn.Network([a, b], [fnn.Dense(1)(joined), fnn.Dense(3)(joined)], backend=backend)
        return fnn.Trainer(net, ["mse", "cross_entropy"], "adam")

    x, labels = blobs(8)
    inputs = np.ascontiguousarray(x[:, :4]), np.ascontiguousarray(x[:, 4:])
    targets = x[:, :1].copy(), labels
    short, long = make(), make()
    for _ in range(5):
        assert short.step(inputs, targets) == long_step(long, inputs, targets)
    assert short._repeated
    assert same_weights(short.network, long.network)


@both
def test_weighted_and_other_steps_in_turn(backend: str) -> None:
    x, labels = blobs(16)
    weights = np.random.default_rng(0).uniform(size=16)
    short, long = pair(backend, "cross_entropy", SCHEDULED)
    for given in (None, weights, weights, 2 * weights, None, None, weights.astype("f4"), weights, weights.tolist()):
        assert short.step(x, labels, given) == long_step(long, x, labels, given)
    assert same_weights(short.network, long.network)
    short.step(x, labels, weights)
    assert short._repeated
    for bad in (-weights, np.full(16, np.nan), np.full(16, np.inf)):
        with pytest.raises(ValueError, match="sample_weight: expected finite numbers of at least 0"):
            short.step(x, labels, bad)


def test_arrays_in_the_wrong_tuple() -> None:
    """As many as before, of the same forms, but an input among the targets."""
    a, b = fnn.Input(2), fnn.Input(2)
    net = fnn.Network([a, b], fnn.Dense(2)(fnn.Add()([a, b])))
    trainer, x = fnn.Trainer(net, "mse"), np.ones((3, 2))
    for _ in range(2):
        trainer.step((x, x), x)
    assert trainer._repeated
    with pytest.raises(ValueError, match="x: expected a tuple or dict of 2 arrays"):
        trainer.step(x, (x, x))


class OwnClasses(fnn.Loss):
    """Somebody's own loss of classes, whose kernels look nothing up by them."""

    targets = "classes"

    def __call__(self, prediction: Any, target: Any, weights: Any = None) -> Any:
        return fnn.ops.cross_entropy(prediction, target, weights=weights)


def test_labels_of_an_own_loss_are_checked_each_time() -> None:
    x, labels = blobs(16)
    trainer = fnn.Trainer(classifier(), OwnClasses())
    for _ in range(2):
        trainer.step(x, labels)
    assert trainer._repeated
    with pytest.raises(ValueError, match=r"labels must be in 0 \.\.\. 2, got 3"):
        trainer.step(x, labels + (labels == 2))


@both
def test_whatever_happens_between_two_steps(backend: str) -> None:
    x, labels = blobs(32)
    short, long = pair(backend, "cross_entropy", SCHEDULED)

    def between(trainer: fnn.Trainer, number: int) -> None:
        if number == 3:
            trainer.network.freeze("hidden")
        if number == 6:
            trainer.network.layer("hidden").trainable = True
        if number == 9:
            trainer.fit(x, labels, epochs=2, batch_size=16, verbose=0)
        if number == 12:
            trainer.network.set_weights([w / 2 for w in trainer.network.get_weights()])
        if number == 15:
            trainer.steps = 200

    for number in range(18):
        for trainer in (short, long):
            between(trainer, number)
        assert short.step(x, labels) == long_step(long, x, labels)
    assert same_weights(short.network, long.network)


def test_a_rate_that_watches_is_asked_each_time() -> None:
    x, labels = blobs(32)
    optimizer = fnn.SGD(fnn.schedules.ReduceOnPlateau(0.5, factor=0.1, patience=1, monitor="loss"))
    short, long = pair("native", "cross_entropy", optimizer)
    for step in range(6):
        assert short.step(x, labels) == long_step(long, x, labels)
        for trainer in (short, long):
            trainer.optimizer.observe({"loss": float(step)})
    assert same_weights(short.network, long.network)


@dataclasses.dataclass(eq=False, repr=False)
class Watched(fnn.schedules.Schedule):
    """Falling rates; once, while those of many steps are asked for, another thread does something."""

    meanwhile: ClassVar[list[Callable[[], None]]] = []

    def table(self, steps: np.ndarray) -> np.ndarray:
        if len(steps) > 1 and self.meanwhile:
            thread = threading.Thread(target=self.meanwhile.pop())
            thread.start()
            thread.join()
        return 0.5 / (1.0 + steps)


def test_no_step_falls_between_the_table_and_its_first_step() -> None:
    """The rates of the steps to come are asked for while the network is locked: they are those of these steps."""
    x, labels = blobs(16)
    short, long = pair("native", "cross_entropy", fnn.SGD(Watched()))
    refused: list[str] = []

    def interrupt() -> None:
        try:
            short.step(x, labels)
        except RuntimeError as problem:
            refused.append(str(problem))

    for _ in range(4):
        expected = long_step(long, x, labels)
        Watched.meanwhile[:] = [interrupt] * (not refused)
        assert short.step(x, labels) == expected
    assert len(refused) == 1
    assert "being trained already" in refused[0]
    assert short.steps == 4
    assert same_weights(short.network, long.network)


NAN = np.array([[np.nan, 0.0, 0.0]] * 4)
BAD = {
    "label too large": ("cross_entropy", np.array([0, 1, 2, 3]), r"labels must be in 0 \.\.\. 2, got 3"),
    "label negative": ("cross_entropy", np.array([0, -1, 2, 1]), r"labels must be in 0 \.\.\. 2, got -1"),
    "labels for values": ("mse", np.array([0, 1, 2, 1]), r"expected shape \(n, 3\)"),
    "NaN": ("mse", NAN, "expected finite numbers, got nan"),
    "infinite": ("mse", np.full((4, 3), np.inf), "expected finite numbers, got inf"),
    "no probability": ("binary_cross_entropy", np.full((4, 3), 1.5), "between 0 and 1, got 1.5"),
    "rows": ("mse", np.zeros((3, 3)), "expected 4 rows"),
}


@pytest.mark.parametrize("loss, bad, message", BAD.values(), ids=BAD)
def test_bad_targets_after_good_ones(loss: str, bad: np.ndarray, message: str) -> None:
    x = blobs(4)[0]
    good = np.array([0, 1, 2, 0]) if bad.dtype.kind == "i" and loss == "cross_entropy" else np.full((4, 3), 0.5)
    trainer = fnn.Trainer(classifier(), loss, "adam")
    for _ in range(3):
        trainer.step(x, good)
    before, steps = trainer.network.get_weights(), trainer.steps
    with pytest.raises(ValueError, match=message):
        trainer.step(x, bad)
    with pytest.raises(ValueError, match=r"x: expected shape \(n, 6\), got \(4, 5\)"):
        trainer.step(np.ascontiguousarray(x[:, :5]), good)
    assert trainer.steps == steps
    assert all(map(np.array_equal, trainer.network.get_weights(), before))
    trainer.step(x, good)


def test_huge_targets_are_no_infinite_ones() -> None:
    x, y = blobs(4)[0], np.full((4, 3), 1e200)
    trainer = fnn.Trainer(fnn.Sequential([fnn.Dense(3)], input_shape=6, dtype="float64"), "mae", fnn.SGD(0.1))
    assert [trainer.step(x, y) for _ in range(3)] == pytest.approx([1e200] * 3)


def test_arrays_of_other_layouts_take_the_long_way() -> None:
    x, labels = blobs(32)
    for layout in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x.astype("f8"), x.tolist()):
        short, long = pair("native", "cross_entropy", "adam")
        for each in (x, layout, x, layout):
            assert short.step(each, labels) == pytest.approx(long_step(long, x, labels), rel=1e-6)


@both
@pytest.mark.parametrize("n", [1, 7, 256, 257])
def test_predictions_of_plain_arrays_and_of_others(n: int, backend: str) -> None:
    net = classifier(backend)
    x = blobs(n)[0]
    plain = net.predict(x)
    for other in (np.asfortranarray(x), x.astype("f8"), x.tolist()):
        assert np.array_equal(net.predict(other), plain)
    first = plain.copy()
    net.predict(x + 1)
    assert np.array_equal(plain, first)  # not the next call's memory


def test_bytes_are_wanted_where_they_are_declared() -> None:
    net = fnn.Sequential([fnn.Input(6, dtype="uint8", scale=1 / 255), fnn.Dense(2)])
    with pytest.raises(TypeError, match="declared as uint8"):
        net.predict(np.zeros((2, 6), np.float32))

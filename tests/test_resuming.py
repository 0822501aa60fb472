"""A training that is killed in its middle and resumed from a checkpoint: the same bits, and the same decisions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import blobs, both, classifier, same_weights

import fastnn as fnn
from fastnn.callbacks import Callback, Checkpoint, EarlyStopping


class Killed(Exception):
    """What happens to the process."""


class Kill(Callback):
    """Ends everything at the end of this epoch, after checkpoints are written."""

    saves = True

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: dict[str, float]) -> None:
        if epoch == self.epoch:
            raise Killed


def make(backend: str, optimizer: Any) -> fnn.Trainer:
    return fnn.Trainer(classifier(backend), "cross_entropy", optimizer)


STEEP = fnn.Adam(0.3)  # overfits at once: the best epoch is an early one
PLATEAU = fnn.SGD(fnn.schedules.ReduceOnPlateau(3.0, factor=0.5, patience=2), momentum=0.9)
EPOCHS = 12


def fit(trainer: fnn.Trainer, epochs: int, *callbacks: Callback) -> EarlyStopping:
    stopping = EarlyStopping(patience=4, min_delta=1e-3)
    x, labels = blobs(seed=5)
    noise = np.random.default_rng(0).permutation(labels)  # nothing to learn: improvement ends soon
    trainer.fit(x, noise, epochs=epochs, batch_size=16, validation_data=blobs(seed=6), verbose=0,
                callbacks=[*callbacks, stopping])  # fmt: skip
    return stopping


@both
@pytest.mark.parametrize("optimizer", [STEEP, PLATEAU], ids=["adam", "plateau"])
@pytest.mark.parametrize("killed", range(5))
def test_killed_and_resumed_is_the_same_training(killed: int, optimizer: Any, backend: str, tmp_path: Path) -> None:
    whole = make(backend, optimizer)
    expected = fit(whole, EPOCHS)
    assert expected.stopped
    assert len(whole.history["loss"]) > killed
    first = make(backend, optimizer)
    with pytest.raises(Killed):
        fit(first, EPOCHS, Checkpoint(tmp_path / "run"), Kill(killed))  # the checkpoint stands first in the list
    resumed = fnn.Trainer.load(tmp_path / "run", backend=backend)
    assert resumed.epoch == killed + 1
    found = fit(resumed, EPOCHS - resumed.epoch)
    assert same_weights(resumed.network, whole.network)
    assert (found.best, found.best_epoch, found.stopped) == (expected.best, expected.best_epoch, True)
    for name in ("loss", "validation_loss", "learning_rate"):
        assert resumed.history[name] == whole.history[name]


def test_killed_after_the_decision_to_stop(tmp_path: Path) -> None:
    whole = make("native", STEEP)
    fit(whole, EPOCHS)
    last = whole.epoch - 1
    with pytest.raises(Killed):
        fit(make("native", STEEP), EPOCHS, Checkpoint(tmp_path / "run"), Kill(last))
    resumed = fnn.Trainer.load(tmp_path / "run")
    assert fit(resumed, 3).stopped
    assert resumed.epoch == last + 1  # no epoch more
    assert same_weights(resumed.network, whole.network)


def test_only_the_first_fit_is_a_resumed_one(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit(make("native", STEEP), EPOCHS, Checkpoint(tmp_path / "run"), Kill(1))
    resumed = fnn.Trainer.load(tmp_path / "run")
    fit(resumed, 1)
    again = fit(resumed, 1)
    assert again.best_epoch == resumed.epoch - 1
    resumed.save(tmp_path / "run")  # no fit is under way
    assert fnn.Trainer.load(tmp_path / "run").remembered == {}


def test_another_metric_is_another_watch(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit(make("native", STEEP), EPOCHS, Checkpoint(tmp_path / "run"), Kill(1))
    resumed = fnn.Trainer.load(tmp_path / "run")
    stopping = EarlyStopping("loss", patience=4)
    x, labels = blobs()
    resumed.fit(x, labels, callbacks=stopping, verbose=0)
    assert stopping.best == resumed.history["loss"][-1]


class Counter(Callback):
    """Somebody's own: remembers a number and an array."""

    def __init__(self) -> None:
        self.count, self.sums = 0, np.zeros(2)

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: dict[str, float]) -> None:
        self.count += 1
        self.sums = self.sums + np.array([1.0, metrics["loss"]])

    def state(self) -> dict[str, Any]:
        return {"count": self.count, "sums": self.sums}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.count, self.sums = state["count"], state["sums"]


def test_own_callbacks_are_remembered_in_order(tmp_path: Path) -> None:
    x, labels = blobs()
    trainer = make("native", "sgd")
    first, second = Counter(), Counter()
    second.count = 100
    with pytest.raises(Killed):
        trainer.fit(x, labels, epochs=3, callbacks=[first, Checkpoint(tmp_path / "run"), second, Kill(1)], verbose=0)
    resumed = fnn.Trainer.load(tmp_path / "run")
    third, fourth, fresh = Counter(), Counter(), Counter()
    resumed.fit(x, labels, callbacks=[third, fourth, fresh], verbose=0)
    assert (third.count, fourth.count, fresh.count) == (3, 103, 1)
    assert np.array_equal(third.sums, [3.0, np.cumsum(resumed.history["loss"])[-1]])


def test_the_best_checkpoint_stays_the_best(tmp_path: Path) -> None:
    """With `monitor` a resumed run must not overwrite a better file."""
    best = Checkpoint(tmp_path / "best", monitor="validation_loss")
    with pytest.raises(Killed):
        fit(make("native", STEEP), EPOCHS, Checkpoint(tmp_path / "run"), best, Checkpoint(tmp_path / "last"), Kill(3))
    before = (tmp_path / "best").read_bytes()
    again = Checkpoint(tmp_path / "best", monitor="validation_loss")
    fit(fnn.Trainer.load(tmp_path / "last"), 1, Checkpoint(tmp_path / "run"), again)
    assert again.watch is not None
    assert best.watch is not None
    assert again.watch.best == best.watch.best
    assert (tmp_path / "best").read_bytes() == before

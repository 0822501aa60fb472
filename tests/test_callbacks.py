"""Callbacks against a small stand-in for the trainer: when they act, what they restore, and what they write."""

import csv
import math

import numpy as np
import pytest

from fastnn.callbacks import Callback, Checkpoint, CSVLogger, EarlyStopping, LambdaCallback

nan = math.nan


class Network:
    """One weight, which tells how many epochs have trained it."""

    def __init__(self):
        self.weight = np.zeros(1)

    def get_weights(self):
        return [self.weight.copy()]

    def set_weights(self, weights):
        (self.weight,) = (np.array(weight) for weight in weights)


class Trainer:
    """Calls callbacks as the real one does; an epoch has two steps and the metrics it is told to have."""

    def __init__(self):
        self.network = Network()
        self.saved = []
        self.epoch = 0
        self.stopping = False

    def stop(self):
        self.stopping = True

    def save(self, path):
        self.saved.append((path, self.network.weight.item()))

    def fit(self, epochs, callbacks):
        """Trains with one dict of metrics an epoch; returns how many epochs ran."""
        self.stopping, ran = False, 0
        for each in callbacks:
            each.on_fit_begin(self)
        try:
            for metrics in epochs:
                for each in callbacks:
                    each.on_epoch_begin(self, self.epoch)
                for step in (2 * self.epoch, 2 * self.epoch + 1):
                    self.network.weight += 0.5
                    for each in callbacks:
                        if each.watches_batches:
                            each.on_batch_end(self, step, 1.0)
                self.epoch += 1
                ran += 1
                for each in callbacks:
                    each.on_epoch_end(self, self.epoch - 1, dict(metrics))
                if self.stopping:
                    break
        finally:
            for each in callbacks:
                each.on_fit_end(self)
        return ran


def losses(*values, name="validation_loss"):
    return [{"loss": 9.0, name: value} for value in values]


# ---- the base class


def test_a_bare_callback_does_nothing_and_watches_no_batches():
    trainer = Trainer()
    assert not Callback().watches_batches
    assert trainer.fit(losses(1, 2), [Callback()]) == 2


def test_overriding_on_batch_end_watches_batches():
    class Watcher(Callback):
        def on_batch_end(self, trainer, step, loss):
            seen.append((step, loss))

    class Heir(Watcher):
        pass

    seen = []
    assert Watcher().watches_batches
    assert Heir().watches_batches
    Trainer().fit(losses(1, 1), [Heir()])
    assert seen == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0)]


def test_lambda_callback_calls_what_it_was_given_in_order():
    calls = []
    names = ("on_fit_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_fit_end")
    functions = {name: lambda *arguments, name=name: calls.append((name, *arguments[1:])) for name in names}
    Trainer().fit([{"loss": 0.5}], [LambdaCallback(**functions)])
    assert calls == [
        ("on_fit_begin",),
        ("on_epoch_begin", 0),
        ("on_batch_end", 0, 1.0),
        ("on_batch_end", 1, 1.0),
        ("on_epoch_end", 0, {"loss": 0.5}),
        ("on_fit_end",),
    ]


def test_lambda_callback_slows_no_steps_that_it_does_not_watch():
    assert LambdaCallback(on_batch_end=print).watches_batches
    assert not LambdaCallback(on_epoch_end=print).watches_batches
    assert Trainer().fit(losses(1, 1), [LambdaCallback()]) == 2


# ---- early stopping


@pytest.mark.parametrize("patience, values, ran, best", [
    (1, [3, 2, 2, 1], 3, 1),
    (2, [3, 2, 2, 1, 1, 1, 0], 6, 3),
    (2, [3, 2.5, 2.6, 2.4, 2.7], 5, 3),
    (3, [1, 2, 2, 2, 0], 4, 0),
    (5, [3, 2, 1], 3, 2),
])  # fmt: skip
def test_early_stopping_stops_and_restores_the_best_weights(patience, values, ran, best):
    trainer, stopping = Trainer(), EarlyStopping(patience=patience)
    assert trainer.fit(losses(*values), [stopping]) == ran
    assert stopping.stopped == (ran < len(values))
    assert (stopping.best_epoch, stopping.best) == (best, values[best])
    assert trainer.network.weight == best + 1


def test_the_best_weights_are_restored_without_an_early_stop_too():
    trainer, stopping = Trainer(), EarlyStopping(patience=9)
    assert trainer.fit(losses(2, 1, 3), [stopping]) == 3
    assert not stopping.stopped
    assert trainer.network.weight == 2


def test_weights_can_be_left_as_they_are():
    trainer = Trainer()
    trainer.fit(losses(1, 2, 3), [EarlyStopping(patience=2, restore_best_weights=False)])
    assert trainer.network.weight == 3


def test_changes_within_min_delta_are_no_improvement():
    values = losses(1.0, 0.95, 0.9, 0.85)
    assert Trainer().fit(values, [EarlyStopping(patience=2, min_delta=0.2)]) == 3
    assert Trainer().fit(values, [EarlyStopping(patience=2, min_delta=0.01)]) == 4


@pytest.mark.parametrize("monitor, mode", [("validation_accuracy", "auto"), ("f1", "max"), ("validation_loss", "max")])
def test_a_metric_may_have_to_rise(monitor, mode):
    trainer, stopping = Trainer(), EarlyStopping(monitor, patience=1, mode=mode)
    assert trainer.fit(losses(0.5, 0.7, 0.6, 0.9, name=monitor), [stopping]) == 3
    assert stopping.best == 0.7
    assert trainer.network.weight == 2


def test_nan_is_no_improvement():
    trainer, stopping = Trainer(), EarlyStopping(patience=2)
    assert trainer.fit(losses(1.0, nan, nan, 0.5), [stopping]) == 3
    assert trainer.network.weight == 1
    trainer, stopping = Trainer(), EarlyStopping(patience=2)
    assert trainer.fit(losses(nan, nan, 0.5), [stopping]) == 2
    assert stopping.best_epoch is None
    assert trainer.network.weight == 2


def test_each_fit_counts_anew():
    trainer, stopping = Trainer(), EarlyStopping(patience=2)
    assert trainer.fit(losses(1, 2, 2), [stopping]) == 3
    assert trainer.fit(losses(5, 4, 4, 4), [stopping]) == 4
    assert stopping.best_epoch == 4
    assert trainer.network.weight == 3  # one epoch's weights restored, then two better ones


def test_an_exception_leaves_the_best_weights():
    def fail(trainer, epoch, metrics):
        if epoch == 2:
            raise KeyboardInterrupt

    trainer = Trainer()
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(losses(1, 2, 3, 4), [EarlyStopping(), LambdaCallback(on_epoch_end=fail)])
    assert trainer.network.weight == 1


@pytest.mark.parametrize("step, kept", [(6, 3), (7, 3), (8, 4)])
def test_an_interruption_within_the_epoch_after_the_best_leaves_the_best(step, kept):
    """Each epoch is better than the one before; the step is the first or the second of the fourth, or of the fifth."""

    def fail(trainer, at, loss):
        if at == step:
            raise KeyboardInterrupt

    trainer = Trainer()
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(losses(5, 4, 3, 2, 1), [EarlyStopping(), LambdaCallback(on_batch_end=fail)])
    assert trainer.network.weight == kept


def test_nothing_is_restored_where_nothing_was_trained_since_the_best():
    trainer = Trainer()
    trainer.network.set_weights = None  # not called
    assert trainer.fit(losses(3, 2, 1), [EarlyStopping()]) == 3


# ---- checkpoints


def test_checkpoint_saves_after_every_so_many_epochs(tmp_path):
    trainer = Trainer()
    path = str(tmp_path / "run.safetensors")
    trainer.fit(losses(1, 2, 3, 4, 5), [Checkpoint(path, every=2)])
    assert trainer.saved == [(path, 2.0), (path, 4.0)]


def test_checkpoint_saves_only_the_best(tmp_path):
    trainer = Trainer()
    trainer.fit(losses(3, 4, 2, nan, 2, 1), [Checkpoint(tmp_path / "best", monitor="validation_loss")])
    assert [weight for _, weight in trainer.saved] == [1.0, 3.0, 6.0]
    trainer.fit(losses(2, 0.5), [Checkpoint(tmp_path / "best", monitor="validation_loss", mode="max")])
    assert [weight for _, weight in trainer.saved] == [1.0, 3.0, 6.0, 7.0]


def test_a_checkpoint_s_path_may_name_the_epoch_and_metrics(tmp_path):
    trainer = Trainer()
    template = tmp_path / "runs" / "{epoch:03d}-{validation_loss:.2f}.safetensors"
    trainer.fit(losses(0.5, 0.25), [Checkpoint(template)])
    assert [path for path, _ in trainer.saved] == [
        str(tmp_path / "runs" / "001-0.50.safetensors"),
        str(tmp_path / "runs" / "002-0.25.safetensors"),
    ]
    assert (tmp_path / "runs").is_dir()


# ---- CSV


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_line_an_epoch_with_every_digit(tmp_path):
    path = tmp_path / "logs" / "run.csv"
    Trainer().fit([{"loss": 1 / 3, "accuracy": 0.5}, {"loss": 0.1, "accuracy": nan}], [CSVLogger(path)])
    first, second = read(path)
    assert list(first) == ["epoch", "loss", "accuracy"]
    assert (first["epoch"], second["epoch"]) == ("1", "2")
    assert float(first["loss"]) == 1 / 3
    assert math.isnan(float(second["accuracy"]))


def test_csv_is_complete_after_every_epoch(tmp_path):
    path = tmp_path / "run.csv"
    counted = []
    watch = LambdaCallback(on_epoch_end=lambda trainer, epoch, metrics: counted.append(len(read(path))))
    Trainer().fit(losses(3, 2, 1), [CSVLogger(path), watch])
    assert counted == [1, 2, 3]


def test_csv_gets_a_column_for_a_metric_that_comes_later(tmp_path):
    path = tmp_path / "run.csv"
    epochs = [{"loss": 2.0}, {"loss": 1.0, "mae": 0.5}, {"loss": 0.5}]
    Trainer().fit(epochs, [CSVLogger(path)])
    assert read(path) == [
        {"epoch": "1", "loss": "2.0", "mae": ""},
        {"epoch": "2", "loss": "1.0", "mae": "0.5"},
        {"epoch": "3", "loss": "0.5", "mae": ""},
    ]


def test_csv_is_continued_by_the_same_callback_or_on_request(tmp_path):
    path = tmp_path / "run.csv"
    trainer, logger = Trainer(), CSVLogger(path)
    trainer.fit(losses(3), [logger])
    trainer.fit(losses(2), [logger])
    trainer.fit(losses(1, name="mae"), [CSVLogger(path, append=True)])
    assert [row["epoch"] for row in read(path)] == ["1", "2", "3"]
    assert [row["mae"] for row in read(path)] == ["", "", "1"]
    trainer.fit(losses(0), [CSVLogger(path)])
    assert [row["epoch"] for row in read(path)] == ["4"]
    path.unlink()
    trainer.fit(losses(0), [CSVLogger(path, append=True)])
    assert [row["epoch"] for row in read(path)] == ["5"]


def test_csv_that_cannot_be_written_is_found_before_training(tmp_path):
    trainer = Trainer()
    with pytest.raises(OSError, match="directory"):
        trainer.fit(losses(1), [CSVLogger(tmp_path)])
    assert trainer.epoch == 0


BAD = {
    "patience": (lambda: EarlyStopping(patience=0), ValueError, "patience must be at least 1"),
    "patience fraction": (lambda: EarlyStopping(patience=1.5), TypeError, "patience must be a whole number"),
    "min_delta": (lambda: EarlyStopping(min_delta=-1), ValueError, "min_delta must be finite and at least 0"),
    "mode": (lambda: EarlyStopping(mode="best"), ValueError, "mode must be one of 'auto', 'min', 'max'"),
    "unknown metric": (lambda: EarlyStopping("f1"), ValueError, "EarlyStopping: should 'f1' fall or rise"),
    "every": (lambda: Checkpoint("x", every=0), ValueError, "Checkpoint: every must be at least 1"),
    "checkpoint metric": (lambda: Checkpoint("x", monitor="f1"), ValueError, "Checkpoint: should 'f1'"),
    "checkpoint path": (lambda: Checkpoint(3), TypeError, "PathLike"),
    "unseen metric": (lambda: Trainer().fit([{"loss": 1.0}], [EarlyStopping()]), ValueError,
                      r"no 'validation_loss' among the metrics \(loss\); fit has no validation data"),
    "unknown placeholder": (lambda: Trainer().fit([{"loss": 1.0}], [Checkpoint("{step}.x")]), ValueError,
                            "no 'step' for the path '{step}.x'; there are epoch, loss"),
    "placeholder without a name": (lambda: Trainer().fit([{"loss": 1.0}], [Checkpoint("{}.x")]), ValueError,
                                   "Checkpoint: the path '{}.x' cannot be filled in"),
    "function": (lambda: LambdaCallback(on_epoch_end=3), TypeError, "on_epoch_end must be a function, got 3"),
}  # fmt: skip


@pytest.mark.parametrize("call, error, message", BAD.values(), ids=BAD)
def test_wrong_calls_are_clear_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""Callbacks: what happens between the epochs of a training, or its steps. `fit(..., callbacks=[EarlyStopping()])`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from fastnn._check import whole
from fastnn._monitor import Mode, Monitor


class TrainedNetwork(Protocol):
    """What callbacks need of a network."""

    def get_weights(self) -> list[Any]:
        """Copies of all parameters."""

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets them again."""


class Training(Protocol):
    """What callbacks need of the trainer that calls them; `fastnn.Trainer` is one."""

    @property
    def network(self) -> TrainedNetwork:
        """What is being trained."""

    def stop(self) -> None:
        """Requests the end of the training."""

    def save(self, path: str) -> None:
        """Writes a checkpoint."""


class Callback:
    """Base class: override what you need. `trainer.stop()` ends the training, after the epoch's callbacks have run.

    Epochs count from 0 over the trainer's life, and steps too. An exception of a callback ends the training.

    What `state` gives goes into the trainer's checkpoints. The first `fit` of a trainer that was loaded from a
    checkpoint written in mid-training gives it back to the callback of the same class (of several, in their order),
    after `on_fit_begin`.

    Attributes
    ----------
    saves
        Whether it writes checkpoints: at the end of an epoch its turn comes after all others', so that it saves what
        they have decided.
    """

    saves: ClassVar[bool] = False

    @property
    def watches_batches(self) -> bool:
        """Whether compiled code must return to Python after each step; so it does if `on_batch_end` is overridden."""
        return type(self).on_batch_end is not Callback.on_batch_end

    def require(self, names: Collection[str]) -> None:
        """Called before anything else with the names of the metrics that will be reported; raises if one is missed."""

    def on_fit_begin(self, trainer: Any) -> None:
        """Called once before the first epoch of a `fit`."""

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:
        """Called before each epoch."""

    def on_batch_end(self, trainer: Any, step: int, loss: float) -> None:
        """Called after each step with the loss of its batch. Overriding this costs some microseconds a step."""

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: dict[str, float]) -> None:
        """Called after each epoch with the numbers that went into the history."""

    def on_fit_end(self, trainer: Any) -> None:
        """Called once at the end, however the training ended."""

    def state(self) -> dict[str, Any]:
        """What it has to remember if the training is killed and resumed: numbers, strings, None and arrays by name."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Sets what `state` gave."""


def by_class(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """Callbacks under names that are the same in another process: their class, and the how manyth it is of it."""
    named: dict[str, Callback] = {}
    for each in callbacks:
        kind = type(each).__name__
        number = sum(name.partition(" ")[0] == kind for name in named)
        named[f"{kind} {number}"] = each
    return named


class LambdaCallback(Callback):
    """Functions as a callback: `LambdaCallback(on_epoch_end=lambda trainer, epoch, metrics: print(metrics))`.

    Each takes what the method of its name takes.
    """

    def __init__(
        self,
        *,
        on_fit_begin: Callable[[Any], Any] | None = None,
        on_epoch_begin: Callable[[Any, int], Any] | None = None,
        on_batch_end: Callable[[Any, int, float], Any] | None = None,
        on_epoch_end: Callable[[Any, int, dict[str, float]], Any] | None = None,
        on_fit_end: Callable[[Any], Any] | None = None,
    ) -> None:
        self._functions = {
            "on_fit_begin": on_fit_begin,
            "on_epoch_begin": on_epoch_begin,
            "on_batch_end": on_batch_end,
            "on_epoch_end": on_epoch_end,
            "on_fit_end": on_fit_end,
        }
        for name, function in self._functions.items():
            if function is not None and not callable(function):
                raise TypeError(f"LambdaCallback: {name} must be a function, got {function!r}")

    @property
    def watches_batches(self) -> bool:
        """Whether there is a function for each step."""
        return self._functions["on_batch_end"] is not None

    def _call(self, name: str, *arguments: Any) -> None:
        function = self._functions[name]
        if function is not None:
            function(*arguments)

    def on_fit_begin(self, trainer: Any) -> None:
        """Calls the function of this name."""
        self._call("on_fit_begin", trainer)

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:
        """Calls the function of this name."""
        self._call("on_epoch_begin", trainer, epoch)

    def on_batch_end(self, trainer: Any, step: int, loss: float) -> None:
        """Calls the function of this name."""
        self._call("on_batch_end", trainer, step, loss)

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: dict[str, float]) -> None:
        """Calls the function of this name."""
        self._call("on_epoch_end", trainer, epoch, metrics)

    def on_fit_end(self, trainer: Any) -> None:
        """Calls the function of this name."""
        self._call("on_fit_end", trainer)


class EarlyStopping(Callback):
    """Ends the training when a metric has not improved for `patience` epochs in a row.

    Each `fit` starts to count anew; one that resumes from a checkpoint goes on with the count.

    Parameters
    ----------
    monitor
        The metric's name in the history.
    patience
        Epochs without improvement that end the training.
    min_delta
        Smaller changes are no improvement; NaN never is one.
    mode
        Whether the metric should fall ("min") or rise ("max"); "auto" knows the library's own metrics.
    restore_best_weights
        At the end, stopped early or not, the network gets the weights of its best epoch back.

    Attributes
    ----------
    best_epoch
        The epoch of the best value, None before the first.
    best
        That value.
    stopped
        Whether this callback ended the training.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or "auto" does not know the metric.
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: Mode = "auto",
        restore_best_weights: bool = True,
    ) -> None:
        whole("EarlyStopping", "patience", patience, low=1)
        self.watch = Monitor("EarlyStopping", monitor, mode, min_delta)
        self.patience = patience
        self.restore_best_weights = restore_best_weights
        self._forget()

    def _forget(self) -> None:
        self.watch.reset()
        self._weights: list[Any] | None = None
        self._last_epoch: int | None = None
        self.best_epoch: int | None = None
        self.stopped = False

    @property
    def best(self) -> float:
        """The best value so far; infinite before the first."""
        return self.watch.best

    def require(self, names: Collection[str]) -> None:
        """Refuses a training that will not report the metric."""
        self.watch.require(names)

    def on_fit_begin(self, trainer: Training) -> None:
        """Forgets an earlier training."""
        self._forget()

    def on_epoch_begin(self, trainer: Training, epoch: int) -> None:
        """Asks for the end if the training was killed after it had been decided."""
        self._last_epoch = epoch
        if self.stopped:
            trainer.stop()

    def on_epoch_end(self, trainer: Training, epoch: int, metrics: Mapping[str, float]) -> None:
        """Keeps the weights of the best epoch, or asks for the end."""
        if self.watch.observe(metrics):
            self.best_epoch = epoch
            if self.restore_best_weights:
                self._weights = trainer.network.get_weights()
        elif self.watch.waited >= self.patience:
            self.stopped = True
            trainer.stop()

    def on_fit_end(self, trainer: Training) -> None:
        """Restores the weights of the best epoch, unless none has begun since."""
        if self._weights is not None and self.best_epoch != self._last_epoch:
            trainer.network.set_weights(self._weights)
        self._weights = None

    def state(self) -> dict[str, Any]:
        """The best value and its epoch, how long ago that was, and the weights that it had."""
        weights = {f"weight{number}": array for number, array in enumerate(self._weights or ())}
        return {**self.watch.state(), "best_epoch": self.best_epoch, "last_epoch": self._last_epoch,
                "stopped": self.stopped, **weights}  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on with the count, if it was of the same metric."""
        if self.watch.restore(state):
            self.best_epoch, self._last_epoch = state["best_epoch"], state["last_epoch"]
            self.stopped = state["stopped"]
            count = sum(name.startswith("weight") for name in state)
            self._weights = [state[f"weight{number}"] for number in range(count)] or None


class Checkpoint(Callback):
    """Saves the trainer while it trains, so that a killed run can be resumed with `Trainer.load`.

    Parameters
    ----------
    path
        Where to; folders are made. It may hold "{epoch}", the epochs finished, and any metric of the history:
        "run/{epoch:03d}-{validation_loss:.3f}.safetensors". Without, each checkpoint replaces the last.
    monitor
        A metric's name: only epochs are saved that are the best so far. None saves all.
    every
        Only every so-many-th epoch is looked at.
    mode
        Whether the metric should fall ("min") or rise ("max"); "auto" knows the library's own metrics.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or "auto" does not know the metric.
    """

    saves: ClassVar[bool] = True

    def __init__(
        self, path: str | os.PathLike[str], monitor: str | None = None, every: int = 1, mode: Mode = "auto"
    ) -> None:
        whole("Checkpoint", "every", every, low=1)
        self.path = os.fspath(path)
        self.every = every
        self.watch = None if monitor is None else Monitor("Checkpoint", monitor, mode)

    def require(self, names: Collection[str]) -> None:
        """Refuses a training that will not report what the path or `monitor` names."""
        if self.watch is not None:
            self.watch.require(names)
        self._path(1, dict.fromkeys(names, 0.0))

    def on_epoch_end(self, trainer: Training, epoch: int, metrics: Mapping[str, float]) -> None:
        """Saves, if it is time and the epoch is good enough."""
        finished = epoch + 1
        if finished % self.every or (self.watch is not None and not self.watch.observe(metrics)):
            return
        path = self._path(finished, metrics)
        _make_folder(path)
        trainer.save(path)

    def _path(self, finished: int, metrics: Mapping[str, float]) -> str:
        """The path for these numbers."""
        try:
            return self.path.format_map({**metrics, "epoch": finished})
        except KeyError as error:
            known = ", ".join(["epoch", *metrics])
            raise ValueError(f"Checkpoint: no {error} for the path {self.path!r}; there are {known}") from None
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"Checkpoint: the path {self.path!r} cannot be filled in: {error}") from None

    def state(self) -> dict[str, Any]:
        """The best value so far, if only the best are saved."""
        return {} if self.watch is None else self.watch.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on with it, if it was of the same metric."""
        if self.watch is not None:
            self.watch.restore(state)


class CSVLogger(Callback):
    """Writes each epoch's metrics as a line of a CSV file: "epoch" (counted from 1), then the metrics by name.

    A metric that appears only later gets a column of its own, empty above.

    Parameters
    ----------
    path
        Where to; folders are made.
    append
        True continues a file that exists, as after a resumed run. False replaces it at the first `fit`; later ones
        with the same callback continue it.

    Raises
    ------
    OSError
        By `fit`, before it trains, if the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        self.path = os.fspath(path)
        self.append = append
        self._columns: list[str] | None = None

    def on_fit_begin(self, trainer: Any) -> None:
        """Starts the file, or reads the columns of one to be continued."""
        if self._columns is None:
            _make_folder(self.path)
            rows = self._read() if self.append and os.path.exists(self.path) else []
            self._write(list(rows[0]) if rows else ["epoch"], rows)

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Mapping[str, float]) -> None:
        """Adds a line."""
        assert self._columns is not None
        row = {"epoch": epoch + 1, **metrics}
        new = [name for name in row if name not in self._columns]
        if new:
            self._write([*self._columns, *new], self._read())
        self._write(self._columns, [row], "a")

    def _read(self) -> list[dict[str, Any]]:
        from csv import DictReader  # not before: few programs write such a file

        with open(self.path, newline="") as file:
            return list(DictReader(file, restval=""))

    def _write(self, columns: list[str], rows: list[dict[str, Any]], mode: str = "w") -> None:
        """Starts the file anew, or with "a" adds to it."""
        from csv import DictWriter

        with open(self.path, mode, newline="") as file:
            writer = DictWriter(file, columns, restval="")
            if mode == "w":
                writer.writeheader()
            writer.writerows(rows)
        self._columns = columns


def _make_folder(path: str) -> None:
    """Makes the folder that a file is to be written to, if it is not there."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)

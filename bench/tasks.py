"""What a contestant does in a race, the same for everybody: it gets ready, shows its result, and takes turns.

A task has `result`, to be compared with the others' before any time counts; `turn()`, which does `units` products,
steps, ... ; `warm_up()`, a small part of that, before each turn; and `close()`, which sees to it that nothing went
wrong meanwhile. How many units a turn has, each contestant finds out for itself: about as many as take TURN_SECONDS.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.shapes import ElementwiseShape, NetworkShape, ProductShape, training_data
from bench.timing import Turn, timed

TURN_SECONDS = 0.003
WARMING = 8  # an eighth of a turn's units, or one, warms up for it
SAMPLE = 1 << 20  # of a result with more elements only some are compared
SAMPLE_STEP = 97  # every so many of them: no power of two, so that all lanes and places in a tile are among them


class Calls:
    """Calls of a function of `times`, again and again."""

    def __init__(self, run: Callable[[int], Any], keep: Callable[[Any], Any] = lambda result: result) -> None:
        self._run = run
        self.result: Any = keep(run(1))
        self.units = calibrated(run)

    def warm_up(self) -> None:
        """A few calls."""
        self._run(warming(self.units))

    def turn(self) -> None:
        """As many calls as take some milliseconds."""
        self._run(self.units)

    def close(self) -> None:
        """Nothing can have gone wrong: each call does the same."""


class Product(Calls):
    """Products of two matrices of random numbers."""

    def __init__(self, peer: Any, shape: ProductShape) -> None:
        super().__init__(offered(peer, "product")(shape, *shape.operands()))


class Elementwise(Calls):
    """An operation on arrays of random numbers."""

    def __init__(self, peer: Any, shape: ElementwiseShape) -> None:
        super().__init__(offered(peer, "elementwise")(shape, shape.operands()), sample)


class Inference(Calls):
    """Predictions, all of the same batch."""

    def __init__(self, peer: Any, shape: NetworkShape, weights: list[NDArray[Any]]) -> None:
        predict, x = offered(peer, "Inference")(shape, weights).predict, training_data(shape).x[: shape.batch]

        def run(times: int) -> NDArray[Any]:
            for _ in range(times):
                y = predict(x)
            return y

        super().__init__(run)


class Training:
    """Steps on and on through the data set; each turn shuffles its rows, as fastnn's `fit` does."""

    def __init__(self, peer: Any, shape: NetworkShape, start: list[NDArray[Any]], order: NDArray[np.int64]) -> None:
        self._training, self._shape, self._at = offered(peer, "Training")(shape, training_data(shape), start), shape, 0
        loss = self._training.train(order)
        self.result: Any = (loss, self._training.weights())
        self._rng = np.random.default_rng(0)
        at_once = getattr(self._training, "steps_at_once", None)
        self.units = at_once or calibrated(self._steps, shape.steps)
        self._warming = at_once or warming(self.units)
        self._steps(self.units)  # who compiles for a number of steps has done so now

    def warm_up(self) -> None:
        """A few steps."""
        self._steps(self._warming)

    def turn(self) -> None:
        """The next steps."""
        self._steps(self.units)

    def _steps(self, steps: int) -> None:
        if self._at + steps > self._shape.steps:
            self._at = 0
        order = self._at * self._shape.batch + self._rng.permutation(steps * self._shape.batch)
        self._training.train(order.reshape(steps, self._shape.batch))
        self._at += steps

    def close(self) -> None:
        """Nobody may have been fast by multiplying infinities.

        Raises
        ------
        AssertionError
            If a weight is not finite.
        """
        assert all(np.isfinite(w).all() for w in self._training.weights()), "training diverged"


TASKS: dict[str, type[Calls | Training]] = {
    "product": Product,
    "elementwise": Elementwise,
    "inference": Inference,
    "training": Training,
}


class Task(Protocol):
    """What has turns."""

    def warm_up(self) -> None: ...

    def turn(self) -> None: ...


def timed_turn(task: Task, clock: Callable[[], float]) -> Turn:
    """A turn, timed from where the task is at work.

    Before it another contestant had the processors: caches are full of its data, and threads asleep. What that costs
    says more about how long a turn is than about anybody's speed.
    """
    task.warm_up()
    return timed(task.turn, clock)


def warming(units: int) -> int:
    """How many of a turn's units are done before it."""
    return max(1, units // WARMING)


def offered(peer: Any, what: str) -> Any:
    """What a peer's page has of that name.

    Raises
    ------
    NotImplementedError
        If it has nothing of the kind.
    """
    try:
        return getattr(peer, what)
    except AttributeError:
        raise NotImplementedError(f"{peer.__name__} has no {what}") from None


def calibrated(run: Callable[[int], Any], most: int = 1 << 30, seconds: float | None = None) -> int:
    """How many times `run` does its work in about so many seconds (None: TURN_SECONDS), at most `most`."""
    wanted = TURN_SECONDS if seconds is None else seconds
    times = 1
    while True:
        run(times)  # compiles, where the number of times matters to a compiler
        spent = min(_seconds(run, times) for _ in range(2))  # another program may have come in between
        if spent > wanted / 4 or times >= most:
            return max(1, min(most, round(times * wanted / spent)))
        times = min(most, times * 16)


def _seconds(run: Callable[[int], object], times: int) -> float:
    began = time.perf_counter()
    run(times)
    return time.perf_counter() - began


def sample(results: list[Any]) -> list[NDArray[Any]]:
    """Copies of some arrays; of a large one, copies of some elements in C order."""
    arrays = [np.asarray(each) for each in results]
    return [np.array(each if each.size <= SAMPLE else each.ravel()[::SAMPLE_STEP]) for each in arrays]

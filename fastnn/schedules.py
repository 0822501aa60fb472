"""Learning rates that change while training: `schedule(steps)` gives the rates of many steps at once, as a table.

Steps are counted from 0, over all epochs: a schedule does not know how many steps an epoch has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn._check import number, whole
from fastnn._config import Configurable
from fastnn._monitor import Mode, Monitor

Steps = NDArray[np.int64]
Rates = NDArray[np.float64]


class Schedule(Configurable):
    """Base of all schedules: derive a dataclass from it and write `table` to add your own."""

    def __call__(self, steps: ArrayLike) -> Rates:
        """The learning rates of the given steps (whole numbers from 0), float64, in the shape of `steps`.

        A step's rate does not depend on the other steps asked for.

        Raises
        ------
        TypeError, ValueError
            If `steps` are not whole numbers, or one is negative.
        """
        steps = np.asarray(steps)
        if steps.dtype.kind not in "iu":
            raise TypeError(f"{type(self).__name__}: steps must be whole numbers, got dtype {steps.dtype}")
        if steps.size and steps.min() < 0:
            raise ValueError(f"{type(self).__name__}: steps count from 0, got {steps.min()}")
        return np.asarray(self.table(steps.astype(np.int64)), np.float64)

    def table(self, steps: Steps) -> Rates:
        """The rates of an array of steps; what a derived class writes."""
        raise NotImplementedError(f"{type(self).__name__} must define table(steps)")

    def _check_rate(self, name: str, value: float) -> None:
        number(type(self).__name__, name, value, low=0.0)


@dataclass(eq=False, repr=False)
class Constant(Schedule):
    """The same rate at every step."""

    rate: float

    def __post_init__(self) -> None:
        self._check_rate("rate", self.rate)

    def table(self, steps: Steps) -> Rates:
        """`rate`."""
        return np.full(steps.shape, self.rate, np.float64)


@dataclass(eq=False, repr=False)
class StepDecay(Schedule):
    """Multiplies the rate by `factor` after every `every` steps."""

    rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        self._check_rate("rate", self.rate)
        whole("StepDecay", "every", self.every, low=1)
        number("StepDecay", "factor", self.factor, low=0.0, low_open=True)

    def table(self, steps: Steps) -> Rates:
        """`rate · factor^⌊step / every⌋`."""
        return self.rate * np.power(float(self.factor), steps // self.every)


@dataclass(eq=False, repr=False)
class Exponential(Schedule):
    """Multiplies the rate by `decay` in the course of `every` steps, a little at each."""

    rate: float
    decay: float
    every: int = 1

    def __post_init__(self) -> None:
        self._check_rate("rate", self.rate)
        number("Exponential", "decay", self.decay, low=0.0, low_open=True)
        whole("Exponential", "every", self.every, low=1)

    def table(self, steps: Steps) -> Rates:
        """`rate · decay^(step / every)`."""
        return self.rate * np.power(float(self.decay), steps / self.every)


@dataclass(eq=False, repr=False)
class Cosine(Schedule):
    """Half a cosine from `rate` at step 0 down to `final` at step `steps`, and `final` ever after.

    Source: Loshchilov and Hutter 2017, "SGDR: Stochastic gradient descent with warm restarts", eq. 5, one period.
    """

    rate: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        self._check_rate("rate", self.rate)
        whole("Cosine", "steps", self.steps, low=1)
        self._check_rate("final", self.final)

    def table(self, steps: Steps) -> Rates:
        """`final + (rate - final) · (1 + cos(π · step / steps)) / 2`."""
        return _half_cosine(self.rate, self.final, np.minimum(steps / self.steps, 1.0))


@dataclass(eq=False, repr=False)
class WarmUp(Schedule):
    """A straight line from 0 at step 0 to the first rate of `schedule` at step `steps`; from there on, `schedule`.

    The wrapped schedule's own step 0 is step `steps`: a cosine over all of a training of N steps is
    `WarmUp(Cosine(rate, N - steps), steps)`. A number stands for a constant rate.
    """

    schedule: Schedule | float
    steps: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedule", get(self.schedule))
        if isinstance(self.schedule, ReduceOnPlateau):
            raise TypeError("WarmUp: cannot wrap ReduceOnPlateau; give it the warm-up as its rate instead")
        whole("WarmUp", "steps", self.steps, low=1)

    def table(self, steps: Steps) -> Rates:
        """min(step / steps, 1) · schedule(max(step - steps, 0))."""
        wrapped: Rates = get(self.schedule).table(np.maximum(steps - self.steps, 0))
        return np.minimum(steps / self.steps, 1.0) * wrapped


@dataclass(eq=False, repr=False)
class OneCycle(Schedule):
    """Up by half a cosine from peak / start_divisor to `peak`, then down to almost nothing, within `steps` steps.

    The same rates as PyTorch's OneCycleLR with its cosine annealing. After the last step the rate stays at its end,
    peak / (start_divisor · final_divisor). Source: Smith and Topin 2019, "Super-convergence".

    Attributes
    ----------
    peak
        The highest rate.
    steps
        Steps of the whole training, at least 2.
    rise
        The fraction of them that goes up, between 0 and 1.
    start_divisor, final_divisor
        How far the first rate lies below the peak, and the last one below the first.
    """

    peak: float
    steps: int
    rise: float = 0.3
    start_divisor: float = 25.0
    final_divisor: float = 1e4

    def __post_init__(self) -> None:
        self._check_rate("peak", self.peak)
        whole("OneCycle", "steps", self.steps, low=2)
        number("OneCycle", "rise", self.rise, low=0.0, high=1.0)
        number("OneCycle", "start_divisor", self.start_divisor, low=0.0, low_open=True)
        number("OneCycle", "final_divisor", self.final_divisor, low=0.0, low_open=True)

    def table(self, steps: Steps) -> Rates:
        """Half a cosine up to step rise · steps - 1, half a cosine down from there to step steps - 1."""
        first = self.peak / self.start_divisor
        last = first / self.final_divisor
        top, end = max(self.rise * self.steps - 1.0, 0.0), self.steps - 1.0
        up = _half_cosine(first, self.peak, np.minimum(steps / (top or 1.0), 1.0))
        down = _half_cosine(self.peak, last, np.clip((steps - top) / ((end - top) or 1.0), 0.0, 1.0))
        return np.where(steps < top, up, down)


@dataclass(eq=False, repr=False)
class Piecewise(Schedule):
    """`rates[0]` before step `boundaries[0]`, `rates[1]` from there on, and so on; one rate more than boundaries."""

    boundaries: tuple[int, ...]
    rates: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        object.__setattr__(self, "rates", tuple(self.rates))
        for boundary in self.boundaries:
            whole("Piecewise", "every boundary", boundary, low=1)
        for rate in self.rates:
            self._check_rate("every rate", rate)
        if any(here >= after for here, after in pairwise(self.boundaries)):
            raise ValueError(f"Piecewise: boundaries must rise, got {self.boundaries}")
        if len(self.rates) != len(self.boundaries) + 1:
            raise ValueError(
                f"Piecewise: {len(self.boundaries)} boundaries separate {len(self.boundaries) + 1} rates, "
                f"got {len(self.rates)}"
            )

    def table(self, steps: Steps) -> Rates:
        """The rate of the piece that each step lies in."""
        pieces = np.searchsorted(np.asarray(self.boundaries, np.int64), steps, side="right")
        return np.asarray(self.rates, np.float64)[pieces]


@dataclass(eq=False, repr=False)
class ReduceOnPlateau(Schedule):
    """Multiplies the rate by `factor` whenever `monitor` has not improved for `patience` epochs in a row.

    The only schedule with a memory: the trainer calls `observe` at the end of each epoch, and saves `state`.

    Attributes
    ----------
    rate
        Where it starts: a number, or a schedule that is scaled.
    factor
        What one reduction multiplies by, between 0 and 1.
    patience
        Epochs without improvement that bring a reduction about.
    min_delta
        Smaller changes of the metric are no improvement.
    cooldown
        Epochs after a reduction in which nothing is counted.
    minimum
        Reductions stop here.
    monitor, mode
        The metric's name in the history, and whether it should fall ("min") or rise ("max"); "auto" knows the
        library's own metrics.
    """

    rate: Schedule | float
    factor: float = 0.1
    patience: int = 10
    min_delta: float = 1e-4
    cooldown: int = 0
    minimum: float = 0.0
    monitor: str = "validation_loss"
    mode: Mode = "auto"
    _scale: float = field(default=1.0, init=False, repr=False, compare=False)
    _cooling: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._base = get(self.rate)
        if isinstance(self._base, ReduceOnPlateau):
            raise TypeError("ReduceOnPlateau: rate cannot be another ReduceOnPlateau")
        number("ReduceOnPlateau", "factor", self.factor, low=0.0, high=1.0, low_open=True)
        if self.factor == 1.0:
            raise ValueError("ReduceOnPlateau: factor must be less than 1, or the rate never changes")
        whole("ReduceOnPlateau", "patience", self.patience, low=1)
        whole("ReduceOnPlateau", "cooldown", self.cooldown, low=0)
        self._check_rate("minimum", self.minimum)
        self.watch = Monitor("ReduceOnPlateau", self.monitor, self.mode, self.min_delta)

    def table(self, steps: Steps) -> Rates:
        """max(scale · rate, minimum), where the scale is 1 at first and shrinks; never more than the rate itself."""
        rates = self._base.table(steps)
        return np.minimum(rates, np.maximum(self._scale * rates, self.minimum))

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Takes in the metrics of an epoch that has ended.

        Raises
        ------
        ValueError
            If the monitored metric is not among them.
        """
        self.watch.observe(metrics)
        if self._cooling:
            self._cooling -= 1
            self.watch.waited = 0
        if self.watch.waited >= self.patience:
            self._scale *= self.factor
            self._cooling = self.cooldown
            self.watch.waited = 0

    def state(self) -> dict[str, float]:
        """Everything that `observe` has changed, for a checkpoint."""
        watch = self.watch
        return {"scale": self._scale, "cooling": self._cooling, "best": watch.best, "waited": watch.waited}

    def restore(self, state: Mapping[str, float]) -> None:
        """Goes back to a `state`.

        Raises
        ------
        ValueError
            If it is not one.
        """
        names = {"scale", "cooling", "best", "waited"}
        if set(state) != names:
            raise ValueError(f"ReduceOnPlateau: a state holds {sorted(names)}, got {sorted(state)}")
        self._scale, self._cooling = float(state["scale"]), int(state["cooling"])
        self.watch.best, self.watch.waited = float(state["best"]), int(state["waited"])


def _half_cosine(start: float, end: float, fraction: Rates) -> Rates:
    """From `start` at fraction 0 to `end` at fraction 1."""
    return end + (start - end) * (0.5 * (1.0 + np.cos(math.pi * fraction)))


def get(schedule: Schedule | float) -> Schedule:
    """A schedule as it is; a number as `Constant`.

    Raises
    ------
    TypeError
        If it is neither a number nor a schedule.
    ValueError
        If the number is negative or not finite.
    """
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, bool) or not isinstance(schedule, Real):
        raise TypeError(f"a learning rate must be a number or a Schedule, got {schedule!r}")
    return Constant(float(schedule))

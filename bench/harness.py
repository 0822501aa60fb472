"""How things are timed: contestants take turns, with the same threads; everybody's best turn counts.

A race is one pytest-benchmark measurement: pytest-benchmark times our own turns, and before each of them, in its setup,
the others take theirs. So every ratio is one of neighbours in time, on the same machine in the same mood.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from threadpoolctl import threadpool_limits

PAUSE = 0.03  # seconds in which the last contestant's idle threads stop spinning and go to sleep


@dataclass
class Contestant:
    """Somebody who does a known amount of work in each turn.

    Attributes
    ----------
    name
        "fastnn", "numpy", "torch", "peak".
    turn
        Does the work of one round.
    units
        How many steps, products, ... that is.
    times
        Seconds of each turn so far.
    """

    name: str
    turn: Callable[[], object]
    units: float
    times: list[float] = field(default_factory=list)

    def take_turn(self, clock: Callable[[], float]) -> None:
        """One timed round."""
        began = clock()
        self.turn()
        self.times.append(clock() - began)

    @property
    def seconds(self) -> float:
        """Of one unit, in the best round."""
        return min(self.times) / self.units

    @property
    def median(self) -> float:
        """Seconds of one unit, in the median round: how noisy the machine was."""
        return statistics.median(self.times) / self.units


def race(benchmark: Any, ours: Contestant, others: Sequence[Contestant], *, rounds: int, threads: int,
         clock: Callable[[], float] = time.perf_counter) -> None:  # fmt: skip
    """Times all contestants in turns.

    On a machine that others use at the same time, `time.process_time` as the clock leaves their time out; with several
    threads it adds up that of all of them, idle spinning included.
    """

    def pause() -> None:
        if threads > 1:
            time.sleep(PAUSE)

    def others_first() -> None:
        for each in others:
            pause()
            each.take_turn(clock)
        pause()

    for each in (*others, ours):
        each.turn()  # plans, caches and page tables are ready
    with no_garbage_collection():
        benchmark.pedantic(ours.take_turn, (clock,), setup=others_first, rounds=rounds)


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """So that nobody pays for somebody else's garbage."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def limited(threads: int) -> Iterator[None]:
    """Everybody gets so many threads: fastnn's and NumPy's libraries by threadpoolctl, PyTorch by its own setting."""
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
    with threadpool_limits(threads):
        yield


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def words(threads: int) -> str:
    """1 thread, 2 threads."""
    return f"{threads} thread{'s' * (threads != 1)}"


@dataclass(frozen=True)
class Bar:
    """What was to be reached, and what was."""

    what: str
    measured: float | None  # None: could not be measured here
    required: float
    unit: str
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None if not measured."""
        if self.measured is None:
            return None
        return self.measured <= self.required if self.at_most else self.measured >= self.required


@dataclass(frozen=True)
class Row:
    """A line of the table of times: microseconds a step or product, by contestant."""

    what: str
    threads: int
    microseconds: dict[str, float]
    share_of_peak: float


@dataclass
class Ledger:
    """What the session has found out."""

    bars: list[Bar] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Both tables, as text."""
        return [*self._time_lines(), "", *self._bar_lines()]

    def _time_lines(self) -> list[str]:
        names = list(dict.fromkeys(name for row in self.rows for name in row.microseconds))
        width = max((len(row.what) for row in self.rows), default=0)
        lines = [f"{'microseconds, best round':<{width}}  threads" + "".join(f"{name:>10}" for name in names)
                 + "  of FMA peak"] if self.rows else []  # fmt: skip
        for row in self.rows:
            times = "".join(f"{row.microseconds[name]:>10.2f}" if name in row.microseconds else f"{'-':>10}"
                            for name in names)  # fmt: skip
            lines.append(f"{row.what:<{width}}  {row.threads:>7}{times}  {row.share_of_peak:>11.0%}")
        return lines

    def _bar_lines(self) -> list[str]:
        width = max((len(bar.what) for bar in self.bars), default=0)
        words = {True: "met", False: "MISSED", None: "not measured"}
        lines = [f"{'bar':<{width}}  {'measured':>10}  {'required':>13}"] if self.bars else []
        for bar in self.bars:
            measured = "-" if bar.measured is None else f"{bar.measured:.3g} {bar.unit}"
            required = f"{'<=' if bar.at_most else '>='} {bar.required:g} {bar.unit}"
            lines.append(f"{bar.what:<{width}}  {measured:>10}  {required:>13}  {words[bar.met]}")
        return lines

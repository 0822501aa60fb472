"""How things are timed: contestants take turns, with the same threads; everybody's best turn counts.

A race is one pytest-benchmark measurement: pytest-benchmark times our own turns, and before each of them, in its setup,
the others take theirs. So every ratio is one of neighbours in time, on the same machine in the same mood.

What a race leaves in the benchmark's `extra_info`; the report is made of nothing else, and of `machine_info`:

    suite                "products", "program products", "elementwise", "training step", "inference", "scaling" or
                         "import"
    what                 the row's name, as people write it
    unit                 what was timed: a "product", "call", "step", "prediction" or "import"
    dtype, threads, level, versions
    shape                products: m, n, k, and transpose_a, transpose_b where one is turned; networks: sizes, batch,
                         hidden, loss, optimizer; elementwise: elements, operation, in_cache
    series               scaling only: along "threads", "batch", "width" or "depth", and value
    weights              networks only: how many parameters
    flops, bytes         of one unit; bytes is the least that has to move: each operand once
    peak_flops           multiply-adds a second, counted as two, of as many threads in the same race
    bytes_per_second     of as many threads: from memory, or from L2 where shape.in_cache
    seconds              by contestant, fastnn included, of one unit: best, median, spread = (median - best) / best
    missing              by peer: why it did not take part
    bars                 what was to be reached here: what, measured, required, unit, at_most, met
    load                 the machine's load average (1 minute) before the race
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from threadpoolctl import threadpool_limits

PAUSE = 0.03  # seconds in which the last contestant's idle threads stop spinning and go to sleep


@dataclass(frozen=True)
class Work:
    """What a race is about: the part of `extra_info` (see above) that is known before it starts."""

    suite: str
    what: str
    unit: str
    shape: dict[str, Any]
    flops: float
    bytes: float
    dtype: str = "float32"
    weights: int | None = None
    series: dict[str, Any] | None = None

    def facts(self) -> dict[str, Any]:
        """As `extra_info` has it: what does not apply is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


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

    def summary(self) -> dict[str, float]:
        """Seconds of one unit in the best and the median round, and how far apart they are."""
        best, median = self.seconds, statistics.median(self.times) / self.units
        return {"best": best, "median": median, "spread": (median - best) / best}


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


def load() -> float | None:
    """How many programs have been running at once in the last minute, on average; None where nobody counts them."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def words(threads: int) -> str:
    """1 thread, 2 threads."""
    return f"{threads} thread{'s' * (threads != 1)}"

"""How things are timed: contestants take turns, with the same threads; everybody's best turn counts.

A race is one pytest-benchmark measurement: pytest-benchmark times our own turns, and before each of them, in its setup,
the others take theirs. So every ratio is one of neighbours in time, on the same machine in the same mood.

What a race leaves in the benchmark's `extra_info`; the report is made of nothing else, and of `machine_info`:

    suite                "products", "program products", "elementwise", "training step", "GPU training step",
                         "inference", "scaling" or "import"
    what                 the row's name, as people write it
    unit                 what was timed: a "product", "call", "step", "prediction" or "import"
    dtype, threads, level, versions
    shape                products: m, n, k, and transpose_a, transpose_b where one is turned; networks: sizes, batch,
                         hidden, loss, optimizer, one_call (many steps a call, or a call a step, from Python);
                         elementwise: elements, operation, in_cache; import: seconds_over_numpy
    series               scaling only: along "threads", "batch", "width" or "depth", and value
    weights              networks only: how many parameters
    flops, bytes         of one unit; bytes is the least that has to move: each operand once
    peak_flops           (not with imports) multiply-adds a second, counted as two, of dtype and as many threads
    bytes_per_second     of as many threads: from memory, or from L2 where shape.in_cache
    handover_seconds     (several threads only) in which a cache line goes to another core and back
    seconds              by contestant, fastnn included, of one unit: best, median, spread = (median - best) / best
    worked               by contestant: how many threads did the work, by their processor time
    missing              by peer: why it did not take part
    bars                 what was to be reached here: what, measured, required, unit, at_most, met
    load                 the machine's load average (1 minute) before the race
    waited               (not with imports) seconds in which the race stood still, see `Calm`

The document's own "bars" are those that many rows have together, such as geometric means; its "machine_info" is
described in bench/conftest.py.
"""

from __future__ import annotations

import contextlib
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from threadpoolctl import threadpool_limits

from bench.timing import Turn, bind, cores

PAUSE = 0.03  # seconds in which our own idle threads stop spinning and go to sleep
LEAST_ROUNDS = 3
NEAR = 0.03  # a best round is believed when another is as near
OVERTIME = 0.5  # seconds for more rounds until everybody's best is believed
CALM = 0.92  # a round begins when arithmetic runs at this share of the rate that it has reached before
PATIENCE = 0.6  # seconds that a race waits for that, in all
THREADED_FLOPS = 2e8  # a unit with so many is worth all threads to anybody


@dataclass
class Contestant:
    """Somebody who does a known amount of work in each turn.

    Attributes
    ----------
    name
        "fastnn", "numpy", "torch", "peak".
    play
        Does the work of one round, and says what it took.
    units
        How many steps, products, ... that is.
    serial
        Whether it uses one thread only, and admits it.
    turns
        So far.
    """

    name: str
    play: Callable[[], Turn]
    units: float
    serial: bool = False
    turns: list[Turn] = field(default_factory=list)

    def take_turn(self) -> None:
        """One timed round."""
        self.turns.append(self.play())

    @property
    def seconds(self) -> float:
        """Of one unit, in the best round."""
        return min(turn.seconds for turn in self.turns) / self.units

    @property
    def settled(self) -> bool:
        """Whether its best round is no accident: another came near it."""
        best, second = sorted(turn.seconds for turn in self.turns)[:2]
        return second <= (1 + NEAR) * best

    @property
    def threads(self) -> float | None:
        """How many did the work, at most; None where that is not known."""
        return max((turn.threads for turn in self.turns if turn.threads is not None), default=None)

    def summary(self) -> dict[str, float]:
        """Of seconds of one unit."""
        return summary([turn.seconds / self.units for turn in self.turns])


def summary(times: Sequence[float]) -> dict[str, float]:
    """The best and the median round, and how far apart they are."""
    best, median = min(times), statistics.median(times)
    return {"best": best, "median": median, "spread": (median - best) / best}


@dataclass
class Calm:
    """Holds a round back while other programs, or other guests of the machine, use its processors.

    `roof` does nothing but arithmetic on as many threads as the contestants have: its turn, before each round, tells
    whether they are free. Whoever had his turn while they are not would look slow himself.

    Attributes
    ----------
    roof
        Whose best turn is the peak of this race.
    best
        Seconds of the best turns in the whole run, by what a turn does; shared by its races.
    waited
        Seconds so far.
    """

    roof: Contestant
    best: dict[float, float]
    waited: float = 0.0

    def wait(self) -> None:
        """Returns as soon as the processors are free, or when patience ends."""
        while True:
            self.roof.take_turn()
            latest, kind = self.roof.turns[-1].seconds, self.roof.units
            self.best[kind] = min(latest, self.best.get(kind, latest))
            if self.best[kind] >= CALM * latest or self.waited >= PATIENCE:
                return
            time.sleep(PAUSE)
            self.waited += latest + PAUSE


def race(benchmark: Any, ours: Contestant, others: Sequence[Contestant], *, threads: int, most_rounds: int,
         budget: float, wait: Callable[[], None] = lambda: None) -> None:  # fmt: skip
    """Times all contestants in turns, each round after a `wait`.

    There are as many rounds as take about `budget` seconds of turns, at least LEAST_ROUNDS and at most `most_rounds`;
    then more of them, for a while, until nobody's best round stands alone: on a restless machine that takes longer.
    With several threads our own idle ones have a moment to go to sleep before the others' turns; the others' processes
    are stopped while it is not their turn.
    """

    def others_turns() -> None:
        if threads > 1:
            time.sleep(PAUSE)
        for each in others:
            each.take_turn()

    def others_first() -> None:
        wait()
        others_turns()

    began = time.perf_counter()
    others_turns()
    ours.take_turn()  # plans, caches and page tables are ready
    spent = time.perf_counter() - began - (PAUSE if threads > 1 else 0.0)
    for each in (*others, ours):
        each.turns.clear()
    rounds = min(most_rounds, max(LEAST_ROUNDS, round(budget / spent)))
    with no_garbage_collection():
        benchmark.pedantic(ours.take_turn, setup=others_first, rounds=rounds)
        for _ in range(min(most_rounds, max(LEAST_ROUNDS, round(OVERTIME / spent)))):
            if all(each.settled for each in (*others, ours)):
                break
            others_first()
            ours.take_turn()
            benchmark.stats.update(ours.turns[-1].seconds)


def check_threads(contestants: Sequence[Contestant], threads: int, flops: float) -> None:
    """Everybody has worked on as many threads as the others: more is unfair to them, fewer to it.

    Fewer counts only where a unit has THREADED_FLOPS, and not for those that admit it.

    Raises
    ------
    AssertionError
        If somebody has not.
    """
    for each in contestants:
        busy = max(turn.processors for turn in each.turns)
        assert busy < threads + 0.5, f"{each.name} kept {busy:.1f} processors busy where it was given {threads}"
        if flops >= THREADED_FLOPS and each.threads and threads > 1 and not each.serial:
            least = 1 + 0.15 * (threads - 1)
            assert each.threads > least, (
                f"{each.name} worked on {each.threads:.2f} threads: has it got the {threads} that others have?"
            )


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
    """Binds this process to as many cores as there are threads, as the peers' are, and limits its libraries to them."""
    bind(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        bind(processors())


def processors() -> int:
    """How many processors this process may use."""
    return len(cores())


def load() -> float | None:
    """How many programs have been running at once in the last minute, on average; None where nobody counts them."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def words(threads: int) -> str:
    """1 thread, 2 threads."""
    return f"{threads} thread{'s' * (threads != 1)}"

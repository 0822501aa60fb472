"""A turn, timed, and the cores that it runs on: the same for us and for the peers' processes."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import NamedTuple

AVAILABLE = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


class Turn(NamedTuple):
    """What a turn took.

    Attributes
    ----------
    seconds
        By the clock.
    processors
        Processor time over time.
    threads
        All threads' processor time over that of the busiest: how many did the work. Other programs on the machine make
        everything slower, but leave this number as it is. None where the system does not tell threads apart.
    """

    seconds: float
    processors: float
    threads: float | None


def timed(run: Callable[[], object], clock: Callable[[], float]) -> Turn:
    """Runs something and says what it took."""
    before, processor = _thread_seconds(), time.process_time()
    began = clock()
    run()
    seconds = clock() - began
    processor = time.process_time() - processor
    spent = [after - before.get(thread, 0.0) for thread, after in _thread_seconds().items()]
    return Turn(seconds, processor / seconds, sum(spent) / max(spent) if any(spent) else None)


def _thread_seconds() -> dict[int, float]:
    """Processor time of each thread of this process."""
    found: dict[int, float] = {}
    if sys.platform == "linux":
        for number in map(int, os.listdir("/proc/self/task")):
            with contextlib.suppress(OSError):  # it has just ended
                found[number] = time.clock_gettime(~number << 3 | 6)  # how Linux names the clock of a thread
    return found


def bind(threads: int) -> None:
    """Binds this process, all of its threads, to so many cores; where the system knows how."""
    if sys.platform == "linux":
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cores()[:threads])


def pin(processors: Collection[int]) -> None:
    """Binds the calling thread alone; where the system knows how."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, processors)


@cache
def cores() -> list[int]:
    """The processors that there are, one of each core first: two that share a core are worth little more than one."""
    available = sorted(AVAILABLE)
    siblings: list[str] = []
    for number in available:
        try:
            siblings.append(Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list").read_text())
        except OSError:
            siblings.append(str(number))
    places = [siblings[:i].count(own) for i, own in enumerate(siblings)]
    return [number for _, number in sorted(zip(places, available, strict=True))]

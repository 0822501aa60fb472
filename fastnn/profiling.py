"""Where the time of a step goes: every instruction of its Program timed, beside what the machine could do.

The roofline (S. Williams, A. Waterman and D. Patterson, 2009): an instruction takes at least its floating-point
operations at the processor's full rate, and at least its bytes at the memory's. Both rates are measured here, just
before: multiply-adds in registers, and a pass of reads and writes over as much memory as the step uses.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import kernels
from fastnn.graph.explain import as_line, describe, shorten
from fastnn.kernels import executor
from fastnn.program import Program, at_maximum

SECONDS = 0.3  # of steps, about
MOST_STEPS = 2000
PEAK_STEPS = 100_000  # of the peak kernel: a millisecond or less
ROUNDS = 10
LEAST_MEMORY, MOST_MEMORY = 1 << 14, 1 << 28  # bytes


@dataclass(frozen=True)
class Timing:
    """One instruction.

    Attributes
    ----------
    name
        The operation, and what was fused into it.
    shapes
        Of what it reads and writes.
    seconds
        In the median step.
    flops, nbytes
        Floating-point operations, and bytes read and written, each operand counted once.
    threads
        How many it used.
    floor
        Seconds that the machine needs at least: its roofline.
    """

    name: str
    shapes: str
    seconds: float
    flops: int
    nbytes: int
    threads: int
    floor: float

    @property
    def gflops(self) -> float:
        """Billions of floating-point operations a second."""
        return self.flops / self.seconds / 1e9

    @property
    def of_roofline(self) -> float:
        """The share of the machine's possibilities that was used; 1 is all. Data in a near cache can exceed it."""
        return self.floor / self.seconds


@dataclass(frozen=True)
class Profile:
    """What `Network.profile` found; print it, or draw it with `fastnn.plots.profile`.

    Attributes
    ----------
    title
        What was run.
    timings
        One for each instruction, in the order in which they run.
    seconds
        Of a whole step, as `fit` runs it: without a clock between the instructions.
    flops_per_second, bytes_per_second
        The rooflines, measured, by number of threads.
    """

    title: str
    timings: list[Timing]
    seconds: float
    flops_per_second: Mapping[int, float]
    bytes_per_second: Mapping[int, float]

    def share(self, timing: Timing) -> float:
        """An instruction's part of all instructions' time."""
        return timing.seconds / sum(each.seconds for each in self.timings)

    def __str__(self) -> str:
        header = ("", "operation", "reads → writes", "time", "share", "GFLOP/s", "threads", "of roofline")
        rows = [
            (
                f"{number:>3}", each.name, each.shapes, duration(each.seconds), f"{self.share(each):.1%}",
                f"{each.gflops:.3g}", str(each.threads), f"{each.of_roofline:.0%}",
            )
            for number, each in enumerate(self.timings)
        ]  # fmt: skip
        widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
        rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
        total = sum(each.seconds for each in self.timings)
        return "\n".join([
            self.title, "", as_line(header, widths), rule, *(as_line(row, widths) for row in rows), rule,
            f"{duration(self.seconds)} a step ({duration(total)} with a clock between the instructions)",
            f"roofline: {self._rates(self.flops_per_second, 'FLOP/s')}, {self._rates(self.bytes_per_second, 'B/s')}",
        ])  # fmt: skip

    def _rates(self, rates: Mapping[int, float], unit: str) -> str:
        return ", ".join(f"{shorten(rate)}{unit} on {n} thread{'s' * (n > 1)}" for n, rate in rates.items())


def profile(runner: Any, table_row: NDArray[np.float64], arrays: Mapping[str, Any], dtype: str, title: str) -> Profile:
    """Times a prepared Program. The step changes what it changes, again and again: the caller puts that back.

    Parameters
    ----------
    runner
        A prepared Program.
    table_row, arrays
        One row of its run table, and what is bound to it.
    dtype
        Of the network.
    title
        What this is, in words.
    """
    program = runner.program
    table = np.ascontiguousarray(table_row[None])

    def steps(n: int) -> NDArray[np.float64]:
        return np.repeat(table, n, axis=0)

    runner.run(steps(1), arrays)  # caches and page tables are ready
    began = time.perf_counter()
    runner.run(steps(1), arrays)
    n = int(min(MOST_STEPS, max(ROUNDS, SECONDS / (time.perf_counter() - began))))
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        runner.run(steps(max(1, n // ROUNDS)), arrays)
        rounds.append((time.perf_counter() - began) / max(1, n // ROUNDS))
    times, teams = runner.time(steps(n), arrays)
    flops, memory = roofline(program, dtype, sorted({1, *teams}))
    timings = [
        Timing(*describe(each), seconds, each.flops, each.nbytes, team,
               max(each.flops / flops[team], each.nbytes / memory[team]))
        for each, seconds, team in zip(program.instructions, np.median(times, axis=0).tolist(), teams, strict=True)
    ]  # fmt: skip
    return Profile(title, timings, min(rounds), flops, memory)


def roofline(program: Program, dtype: str, threads: list[int]) -> tuple[dict[int, float], dict[int, float]]:
    """Floating-point operations and bytes a second that this machine reaches, by number of threads."""
    buffers = {
        (buffer.block, buffer.offset): math.prod(at_maximum(buffer.spec.shape)) * np.dtype(buffer.spec.dtype).itemsize
        for instruction in program.instructions
        for buffer in instruction.operands
        if buffer is not None and not buffer.block.startswith("input:")
    }
    used = min(MOST_MEMORY, max(LEAST_MEMORY, sum(buffers.values())))
    return {n: _arithmetic(dtype, n) for n in threads}, {n: _bandwidth(dtype, used, n) for n in threads}


def _arithmetic(dtype: str, threads: int) -> float:
    """Multiply-adds in registers, two operations each."""
    kernel, out = kernels.address("peak", dtype), np.empty(threads, dtype)
    seconds = _best(lambda: executor.call(kernel, (out,), 1, (PEAK_STEPS,), n_threads=threads))
    return threads * PEAK_STEPS * kernels.peak_flops(dtype) / seconds


def _bandwidth(dtype: str, nbytes: int, threads: int) -> float:
    """Gradient descent on two arrays that fill so many bytes: two numbers are read and one is written."""
    n = nbytes // (2 * np.dtype(dtype).itemsize)
    weights, slopes, rate = np.zeros(n, dtype), np.zeros(n, dtype), np.zeros(1)
    kernel, passes = kernels.address("update", dtype), max(1, MOST_MEMORY // 16 // nbytes)
    numbers = (1.0, 0.0, 0.0, 0.0, math.inf, 0.0, 0.0, 0.0)

    def run() -> None:
        for _ in range(passes):
            executor.call(kernel, (weights, None, None, slopes, None), 3, (0, 0), numbers, n_threads=threads, run=rate)

    return passes * 3 * n * np.dtype(dtype).itemsize / _best(run)


def _best(run: Any) -> float:
    """Seconds of the fastest of some rounds."""
    found = math.inf
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        found = min(found, time.perf_counter() - began)
    return found


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"

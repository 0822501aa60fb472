"""The rooflines, measured here and now: multiply-adds a second and bytes a second, on some number of threads; and how
far apart two cores are.

Beside the measured rate of multiply-adds stands one that is calculated: width of the vectors times units times clock,
the clock being that of a chain of additions.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np

from bench.timing import cores, pin
from fastnn import kernels

FLAGS = {
    "v2": ["-march=x86-64", "-msse4.2"],
    "v3": ["-march=x86-64", "-mavx2", "-mfma"],
    "v4": ["-march=x86-64", "-mavx2", "-mfma", "-mavx512f", "-mprefer-vector-width=512"],
    "plain": [],
}
STEPS = 1_200_000  # times 12 multiply-adds of vectors: milliseconds, since waking a thread takes a tenth of one
TRIAD = 16 << 20  # numbers in each of three arrays: 64 MB, more than a cache holds
ROUNDS = 7
LINE = 128  # bytes: processors fetch cache lines in pairs
HANDOVERS = 2_000
AGREEMENT = 0.05  # measured and calculated peak may be so far apart

# What a processor can do: units for multiply-adds, and the bits of vector that each takes in a cycle, by maker and
# family, from a number of model on; from the makers' optimization manuals. 0: not known.
UNITS: dict[tuple[str, int], list[tuple[int, int, int]]] = {
    ("AuthenticAMD", 23): [(0x00, 2, 128), (0x30, 2, 256)],  # Zen; Zen 2
    ("AuthenticAMD", 25): [(0x00, 2, 256)],  # Zen 3 and 4: vectors of 512 bits go through in two halves
    ("AuthenticAMD", 26): [(0x00, 2, 512)],  # Zen 5
    ("GenuineIntel", 6): [
        (0x3C, 2, 256),  # Haswell ... Skylake of clients
        (0x55, 2, 512),  # Skylake, Cascade Lake and Cooper Lake of servers
        (0x5E, 2, 256),  # Skylake and Kaby Lake of clients
        (0x6A, 2, 512),  # Ice Lake of servers
        (0x7D, 2, 256),  # Ice Lake, Tiger Lake of clients: one unit of 512 bits, or two of 256
        (0x8F, 2, 512),  # Sapphire Rapids
        (0x97, 2, 256),  # Alder Lake and later clients
        (0xAD, 2, 512),  # Granite Rapids
        (0xAF, 0, 0),  # Sierra Forest: not looked up
        (0xB5, 2, 256),  # Raptor Lake, Arrow Lake, Lunar Lake
        (0xCF, 2, 512),  # Emerald Rapids
        (0xD0, 0, 0),
    ],
}


@cache
def _library() -> ctypes.CDLL:
    """The kernels of peak.c, compiled for the level that fastnn runs on."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or "clang"
    flags = ["-O3", "-ffp-contract=fast", "-shared", "-fPIC", *FLAGS[kernels.LEVEL]]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "peak.so")
        source = Path(__file__).with_suffix(".c")
        subprocess.run([*compiler.split(), *flags, str(source), "-o", str(target)], check=True)
        library = ctypes.CDLL(str(target))
    library.multiply_adds.restype = ctypes.c_int64
    library.multiply_adds.argtypes = [ctypes.c_int64, ctypes.c_float, ctypes.c_float, ctypes.POINTER(ctypes.c_float)]
    library.triads.restype = None
    library.triads.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_float, ctypes.c_int64, ctypes.c_int64]
    library.hand_over.restype = None
    library.hand_over.argtypes = [ctypes.POINTER(ctypes.c_int64), ctypes.c_int64, ctypes.c_int64]
    library.dependent_adds.restype = ctypes.c_int64
    library.dependent_adds.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_float, ctypes.POINTER(ctypes.c_float)]
    return library


def _take_core(number: int) -> None:
    """A core for each thread: left to themselves, two that have just woken up often share one for a while."""
    available = cores()
    pin([available[number % len(available)]])


def _multiply_adds() -> int:
    return int(_library().multiply_adds(STEPS, 0.999, 0.001, ctypes.byref(ctypes.c_float())))


class Peak:
    """Runs the machine's arithmetic at full rate on some threads; `flops` is the work of one `run`."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self.flops = self.run()

    def run(self) -> int:
        """Some milliseconds of multiply-adds; returns how many floating-point operations they were."""
        if self._threads == 1:
            return _multiply_adds()
        return sum(self._pool.map(self._on_core, range(self._threads)))

    def rate(self) -> float:
        """Floating-point operations a second: the best of some rounds."""
        return self.flops / best_seconds(self.run)

    def bandwidth(self, *, in_cache: bool = False) -> float:
        """Bytes a second on as many threads; see the function."""
        return bandwidth(self._threads, in_cache=in_cache)

    def handover(self) -> float | None:
        """Seconds in which a cache line goes to another core and back; None for one thread, or where there is one core.

        Machines are often virtual, and their processors move: within minutes it may be one time and five times as long.
        """
        if self._threads == 1 or len(cores()) == 1:
            return None
        line = np.zeros(3 * LINE // 8, np.int64)
        word = (line.ctypes.data + LINE) // LINE * LINE  # nothing else lies there
        at = ctypes.cast(word, ctypes.POINTER(ctypes.c_int64))
        both_here = Barrier(2)

        def one(number: int) -> float:
            _take_core(number)
            best = float("inf")
            for _ in range(ROUNDS):
                at[0] = 0
                both_here.wait(timeout=10)
                began = time.perf_counter()
                _library().hand_over(at, HANDOVERS, number)
                best = min(best, time.perf_counter() - began)
                both_here.wait(timeout=10)
            return best / HANDOVERS

        return min(self._pool.map(one, range(2)))

    def _on_core(self, number: int) -> int:
        _take_core(number)
        return _multiply_adds()


class DevicePeak:
    """The same of a GPU: a large product by cuBLAS, in float32 throughout, and a copy of a large array."""

    def __init__(self, n: int = 4096) -> None:
        import cupy

        self._synchronize = cupy.cuda.Device().synchronize
        self._a, self._b, self._c = (cupy.ones((n, n), cupy.float32) for _ in range(3))
        self._matmul, self._copy = cupy.matmul, cupy.copyto
        self.flops = 2 * n**3

    def handover(self) -> None:
        """Its cores are nobody's business here."""

    def run(self) -> int:
        """One product; returns its floating-point operations."""
        self._matmul(self._a, self._b, out=self._c)
        self._synchronize()
        return self.flops

    def bandwidth(self, *, in_cache: bool = False) -> float:
        """Bytes a second, read and written."""

        def copy() -> None:
            self._copy(self._c, self._a)
            self._synchronize()

        return 2 * self._a.nbytes / best_seconds(copy)


def best_seconds(run: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Of one call, in the best of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return best


def clock_rate() -> float:
    """Cycles a second while vectors are multiplied, by a chain of additions."""
    steps, sink = 500_000, ctypes.byref(ctypes.c_float())
    return 16 * steps / best_seconds(lambda: _library().dependent_adds(steps, 1, 0.999, sink))


@cache
def calculation() -> dict[str, Any]:
    """The peak of one thread, measured and calculated: `words` says both; `agrees` is None where it is not known.

    The calculation is 2 operations x units x numbers in the vectors that a unit takes in a cycle x clock.
    """
    pairs = [(Peak(1).rate(), clock_rate()) for _ in range(3)]  # side by side, since the clock changes
    measured, clock = max(pairs)[0], max(rate for _, rate in pairs)
    found = _units()
    facts: dict[str, Any] = {"clock": clock, "measured": measured, "calculated": None, "agrees": None}
    if found is None or kernels.LEVEL == "plain":
        why = "its multiply-add units are not in the table of bench/peak.py"
        return {**facts, "words": f"{measured / 1e9:.1f} GFLOP/s measured at {clock / 1e9:.2f} GHz; {why}"}
    units, unit_bits = found
    bits = min(unit_bits, {"v2": 128, "v3": 256, "v4": 512}[kernels.LEVEL])
    calculated = 2 * units * bits / 32 * clock
    ratio = measured / calculated
    agrees = abs(ratio - 1) <= AGREEMENT
    verdict = "they agree" if agrees else (
        "they DISAGREE: the clock changed between the two, other programs ran, or the table is wrong"
    )  # fmt: skip
    words = (
        f"{measured / 1e9:.1f} GFLOP/s measured; 2 operations x {units} units x {bits // 32} numbers x "
        f"{clock / 1e9:.3f} GHz = {calculated / 1e9:.1f} GFLOP/s calculated; ratio {ratio:.3f}: {verdict}"
    )
    return {**facts, "calculated": calculated, "agrees": agrees, "words": words}


def _units() -> tuple[int, int] | None:
    """Units for multiply-adds of this processor, and their bits; None where it is not known."""
    facts: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
        family, model = int(facts["cpu family"]), int(facts["model"])
    except (OSError, KeyError, ValueError):
        return None
    if facts["vendor_id"] == "GenuineIntel" and "amx_tile" in facts.get("flags", "").split():
        return 2, 512  # a server since Sapphire Rapids, whatever model a hypervisor calls it
    known = [row[1:3] for row in UNITS.get((facts["vendor_id"], family), []) if model >= row[0]]
    return known[-1] if known and known[-1] != (0, 0) else None


@cache
def bandwidth(threads: int, *, in_cache: bool = False) -> float:
    """Bytes a second of a triad (two reads, one write): on arrays that no cache holds, or that stay in L2."""
    size, times = (l2_bytes() // 24, 200) if in_cache else (TRIAD // threads, 1)
    arrays = np.ones((threads, 3, size), np.float32)

    def one(thread: int) -> None:
        _take_core(thread)
        _library().triads(*(array.ctypes.data for array in arrays[thread]), 0.5, size, times)

    with ThreadPoolExecutor(threads) as pool:
        best = best_seconds(lambda: list(pool.map(one, range(threads))))
    return 3 * 4 * size * times * threads / best


def l2_bytes() -> int:
    """Of one core's second-level cache; 256 KB where nobody says."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip()
    except OSError:
        return 256 << 10
    return int(text.rstrip("KM")) << (20 if text.endswith("M") else 10)

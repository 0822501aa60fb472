"""The two rooflines, measured here and now: multiply-adds a second and bytes a second, on some number of threads."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from fastnn import kernels

FLAGS = {
    "v2": ["-march=x86-64", "-msse4.2"],
    "v3": ["-march=x86-64", "-mavx2", "-mfma"],
    "v4": ["-march=x86-64", "-mavx2", "-mfma", "-mavx512f", "-mprefer-vector-width=512"],
    "plain": [],
}
STEPS = 400_000  # times 12 multiply-adds of vectors: some milliseconds
TRIAD = 16 << 20  # numbers in each of three arrays: 64 MB, more than a cache holds


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
    library.triad.restype = None
    library.triad.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_float, ctypes.c_int64]
    return library


class Peak:
    """Runs the machine's arithmetic at full rate on some threads; `flops` is the work of one `run`."""

    def __init__(self, threads: int) -> None:
        self._library = _library()
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self.flops = self.run()

    def run(self) -> int:
        """Some milliseconds of multiply-adds; returns how many floating-point operations they were."""
        if self._threads == 1:
            return self._one(0)
        return sum(self._pool.map(self._one, range(self._threads)))

    def _one(self, _: int) -> int:
        return int(self._library.multiply_adds(STEPS, 0.999, 0.001, ctypes.byref(ctypes.c_float())))


@cache
def bandwidth(threads: int, rounds: int = 5) -> float:
    """Bytes a second of a triad (two reads, one write) on arrays that no cache holds: the best of some rounds."""
    a, b, c = (np.ones(TRIAD, np.float32) for _ in range(3))
    part = TRIAD // threads

    def one(thread: int) -> None:
        at = 4 * thread * part
        _library().triad(a.ctypes.data + at, b.ctypes.data + at, c.ctypes.data + at, 0.5, part)

    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            began = time.perf_counter()
            list(pool.map(one, range(threads)))
            best = min(best, time.perf_counter() - began)
    return 3 * 4 * part * threads / best

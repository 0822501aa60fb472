"""What `import fastnn` costs over `import numpy`: whole processes, in pairs, the median of the differences."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastnn
from bench.ledger import Bar
from bench.shapes import IMPORT_MILLISECONDS

HOME = str(Path(fastnn.__file__).resolve().parents[1])  # found from there, installed or not


def import_seconds(module: str, bytecode: Path) -> float:
    """Seconds of a process that does nothing but import, with everybody's bytecode cached as in an installation."""
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    settings["PYTHONPYCACHEPREFIX"] = str(bytecode)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, cwd=HOME, env=settings)
    return time.perf_counter() - began


def test_import(tmp_path: Path, rounds: int, judge: Callable[..., None], benchmark: Any) -> None:
    numpy_times: list[float] = []
    fastnn_times: list[float] = []
    for module in ("fastnn", "numpy"):
        import_seconds(module, tmp_path)  # into the page cache, and compiled
    benchmark.group = "import"
    benchmark.pedantic(
        lambda: fastnn_times.append(import_seconds("fastnn", tmp_path)),
        setup=lambda: numpy_times.append(import_seconds("numpy", tmp_path)),
        rounds=rounds,
    )
    pairs = zip(fastnn_times, numpy_times, strict=False)  # pytest-benchmark may add an untimed round
    over = 1e3 * statistics.median(mine - theirs for mine, theirs in pairs)
    times = {"fastnn": statistics.median(fastnn_times), "numpy": statistics.median(numpy_times)}
    benchmark.extra_info |= {"milliseconds": {name: 1e3 * value for name, value in times.items()}}
    judge([Bar("import fastnn, over import numpy", over, IMPORT_MILLISECONDS, "ms", at_most=True)])

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
from bench.harness import load, summary

ROUNDS = 15
HOME = str(Path(fastnn.__file__).resolve().parents[1])  # found from there, installed or not


def import_seconds(module: str, bytecode: Path) -> float:
    """Seconds of a process that does nothing but import, with everybody's bytecode cached as in an installation."""
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    settings["PYTHONPYCACHEPREFIX"] = str(bytecode)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, cwd=HOME, env=settings)
    return time.perf_counter() - began


def test_import(tmp_path: Path, write_down: Callable[..., None], benchmark: Any) -> None:
    times: dict[str, list[float]] = {"fastnn": [], "numpy": []}
    for module in times:
        import_seconds(module, tmp_path)  # into the page cache, and compiled
    benchmark.group = "import"
    began_with = load()
    benchmark.pedantic(
        lambda: times["fastnn"].append(import_seconds("fastnn", tmp_path)),
        setup=lambda: times["numpy"].append(import_seconds("numpy", tmp_path)),
        rounds=ROUNDS,
    )
    pairs = zip(times["fastnn"], times["numpy"], strict=False)  # pytest-benchmark may add an untimed round
    over = statistics.median(mine - theirs for mine, theirs in pairs)
    seconds = {name: summary(each) for name, each in times.items()}
    write_down({"suite": "import", "what": "import fastnn", "unit": "import", "dtype": "", "threads": 1, "flops": 0,
                "bytes": 0, "shape": {"seconds_over_numpy": over}, "seconds": seconds, "missing": {},
                "load": began_with})  # fmt: skip

"""What `import fastnn` loads: what most programs never need, it leaves until somebody asks."""

from __future__ import annotations

import subprocess
import sys

import fastnn as fnn

# Beyond what NumPy and threadpoolctl bring themselves. Each has cost a noticeable part of the import's time.
LATE = {"asyncio", "csv", "hashlib", "http", "ipaddress", "logging", "matplotlib", "multiprocessing", "pathlib",
        "safetensors", "subprocess", "tempfile", "tqdm", "unittest", "urllib"}  # fmt: skip
LATE_PARTS = {"archive", "cli", "datasets", "plots", "profiling", "report"}


def run(code: str) -> list[str]:
    """The words that a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_what_few_programs_need_is_imported_late() -> None:
    loaded = set(
        run("""
import sys
import numpy, threadpoolctl
before = set(sys.modules)
import fastnn
print(*set(sys.modules) - before)
""")
    )
    assert {"fastnn", "fastnn.network", "fastnn.kernels.executor"} <= loaded
    assert not {name.partition(".")[0] for name in loaded} & LATE
    assert not {f"fastnn.{part}" for part in LATE_PARTS} & loaded
    assert not [name for name in loaded if name.endswith(("_float32", "_float64"))], "kernels come with the first use"


def test_late_parts_are_there_when_asked_for() -> None:
    printed = run("""
import fastnn as fnn
print(set(dir(fnn)) == set(fnn.__all__), len(fnn.datasets.digits().y_test), callable(fnn.plots.learning_curve))
from fastnn import datasets
print(datasets is fnn.datasets)
""")
    assert printed == ["True", "360", "True", "True"]


def test_every_public_name_is_there() -> None:
    assert all(hasattr(fnn, name) for name in fnn.__all__)
    assert not hasattr(fnn, "nothing")

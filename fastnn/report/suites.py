"""Runs the benchmark suites, which are part of the source tree and not of the installed package."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import fastnn
from fastnn.report.record import Run, parse

NEEDED = ("pytest", "pytest_benchmark", "matplotlib")
FAILED = 1  # pytest's exit status where tests failed but the run went to its end


def source_tree() -> Path:
    """The folder that holds bench/: the current one, or that of the imported package.

    Raises
    ------
    FileNotFoundError
        If neither has the suites.
    """
    for folder in (Path.cwd(), Path(fastnn.__file__).resolve().parents[1]):
        if (folder / "bench" / "conftest.py").is_file() and (folder / "fastnn").is_dir():
            return folder
    raise FileNotFoundError(
        "there are no benchmark suites here: they are the folder bench/ of fastnn's source tree, which is not "
        "installed with the package. Run `fastnn report` in a clone, or `fastnn report RESULTS.json` anywhere"
    )


def run(profile: str) -> Run:
    """Runs a profile of the suites, "quick" (some minutes) or "full", with pytest's progress on the terminal.

    Raises
    ------
    FileNotFoundError
        Outside a source tree.
    ImportError
        If what they or the report need is not installed.
    RuntimeError
        If the suites did not come to their end.
    """
    root = source_tree()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:  # matplotlib too: better now than when everything has been measured
        raise ImportError(f"the benchmark suites and their report need {', '.join(missing)}: pip install '.[bench]'")
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.json")
        options = ["--profile", profile, "--benchmark-json", str(results), "--benchmark-sort=name", "-q"]
        done = subprocess.run([sys.executable, "-m", "pytest", "bench", *options], cwd=root, check=False)
        if done.returncode not in (0, FAILED) or not results.is_file():
            raise RuntimeError(f"the benchmark suites did not come to their end (pytest's status {done.returncode})")
        document = json.loads(results.read_text(encoding="utf-8"))
    return parse({**document, "failed": done.returncode == FAILED})

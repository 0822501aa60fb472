"""`fastnn report`: run the suites, draw what they found, or hold two runs against each other."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fastnn.report import compare, suites
from fastnn.report.record import read
from fastnn.report.write import default_folder, write

SLOWER, PROBLEM = 1, 2  # exit statuses


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What may stand behind `fastnn report`."""
    parser.add_argument("results", nargs="?", type=Path, metavar="RESULTS.json",
                        help="draw results of `pytest bench --benchmark-json` instead")  # fmt: skip
    parser.add_argument("--full", action="store_true", help="run all shapes and rounds, not the quick profile")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="(default: reports/<cpu-model>-<date>)")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("BEFORE.json", "AFTER.json"),
                        help="show what got slower or faster between two runs, with the noise")  # fmt: skip
    parser.add_argument("--threshold", type=threshold, metavar="10%",
                        help="with --compare: exit with 1 if a row got slower by more, beyond its noise")  # fmt: skip


def threshold(text: str) -> float:
    """10% or 0.1 as a share.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is neither, or not positive.
    """
    number, percent, _ = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 100:
        raise argparse.ArgumentTypeError(f"expected a share such as 10% or 0.1, got {text!r}")
    return value


def run(options: argparse.Namespace) -> int:
    """Does what the options say and returns the exit status."""
    if options.compare:
        if options.results or options.full or options.output:
            raise ValueError("--compare takes two files and, if wished, --threshold; nothing else goes with it")
        return _compare(options.compare[0], options.compare[1], options.threshold)
    if options.threshold is not None:
        raise ValueError("--threshold belongs to --compare BEFORE.json AFTER.json")
    if options.results and options.full:
        raise ValueError("--full runs the suites; results that are already there are drawn as they are")
    return _report(options)


def _report(options: argparse.Namespace) -> int:
    found = read(options.results) if options.results else suites.run("full" if options.full else "quick")
    folder = options.output or default_folder(found)
    page, *others = write(found, folder)
    print(f"{page} and {len(others)} files beside it")
    if found.failed:
        print("some benchmarks failed: they are missing from the report", file=sys.stderr)
    return SLOWER if found.failed else 0


def _compare(before: Path, after: Path, limit: float | None) -> int:
    comparison = compare.compare(read(before), read(after))
    print(compare.text(comparison, limit))
    return SLOWER if limit is not None and comparison.slower_than(limit) else 0

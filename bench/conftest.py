"""pytest's side of the benchmarks: options, fixtures, facts about the machine, and the tables at the end."""

from __future__ import annotations

import pydoc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

import fastnn
from bench import harness
from bench.harness import Contestant, Work, limited, load, processors, words
from bench.ledger import Bar, Ledger
from bench.peak import Peak, bandwidth
from bench.shapes import THREADS
from fastnn import kernels, runtime

LEDGER = pytest.StashKey[Ledger]()
PACKAGES = ("numpy", "torch")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of `pytest bench`."""
    group = parser.getgroup("fastnn's benchmarks")
    group.addoption("--enforce-bars", action="store_true", help="a missed bar fails its test")
    group.addoption("--rounds", type=int, default=20, help="rounds of each race (default 20)")


def pytest_configure(config: pytest.Config) -> None:
    """A fresh ledger."""
    config.stash[LEDGER] = Ledger()


@pytest.fixture
def rounds(pytestconfig: pytest.Config) -> int:
    """How many rounds a race has."""
    return int(pytestconfig.getoption("rounds"))


@pytest.fixture
def race(pytestconfig: pytest.Config, benchmark: Any, threads: int, rounds: int) -> Callable[..., dict[str, Any]]:
    """`race(work, ours, others)` times the contestants in turns and returns the row, which is the `extra_info`.

    The clock is that of pytest-benchmark's --benchmark-timer.
    """
    clock: Any = pydoc.locate(pytestconfig.getoption("benchmark_timer"))

    def run(work: Work, ours: Contestant, others: Sequence[Contestant]) -> dict[str, Any]:
        benchmark.group = f"{work.suite}, {words(threads)}"
        peak = Peak(threads)
        roof = Contestant("peak", peak.run, peak.flops)
        row = {**work.facts(), "threads": threads, "level": kernels.LEVEL, "versions": _versions(), "load": load()}
        harness.race(benchmark, ours, [roof, *others], rounds=rounds, threads=threads, clock=clock)
        row |= {
            "peak_flops": 1 / roof.seconds,
            "bytes_per_second": bandwidth(threads),
            "seconds": {each.name: each.summary() for each in (ours, *others)},
            "missing": {},
            "bars": [],
        }
        benchmark.extra_info |= row
        pytestconfig.stash[LEDGER].rows.append(row)
        return row

    return run


@pytest.fixture
def judge(pytestconfig: pytest.Config, benchmark: Any) -> Callable[..., None]:
    """`judge(bars)` writes them down, as the last thing a test does: with --enforce-bars, a miss fails it there."""

    def write_down(bars: Sequence[Bar]) -> None:
        pytestconfig.stash[LEDGER].bars += bars
        benchmark.extra_info["bars"] = [{**asdict(bar), "met": bar.met} for bar in bars]
        missed = [bar.what for bar in bars if bar.met is False]
        if missed and pytestconfig.getoption("enforce_bars"):
            pytest.fail(f"missed: {'; '.join(missed)}")

    return write_down


@pytest.fixture(params=THREADS, ids=lambda n: words(n).replace(" ", "-"))
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """The number of threads for everybody."""
    if request.param > processors():
        pytest.skip(f"needs {request.param} processors")
    with limited(request.param):
        yield request.param


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Everything that a reader of the JSON needs to know about where it was made."""
    machine_info.pop("node", None)  # the host's name is nobody's business
    machine_info["fastnn"] = runtime.config()
    machine_info["load_at_start"] = load()
    machine_info["versions"] = _versions()
    machine_info["bytes_per_second"] = {str(n): bandwidth(n) for n in THREADS if n <= processors()}


def _versions() -> dict[str, str]:
    found = {"fastnn": fastnn.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The tables: times, and what became of each bar."""
    ledger = config.stash[LEDGER]
    if ledger.bars or ledger.rows:
        facts = runtime.config()
        versions = ", ".join(f"{name} {number}" for name, number in _versions().items())
        terminalreporter.section("fastnn's bars")
        terminalreporter.write_line(f"{facts['processor']}, level {facts['level']}; {versions}")
        terminalreporter.write_line("")
        for line in ledger.lines():
            terminalreporter.write_line(line)

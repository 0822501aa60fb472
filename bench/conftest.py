"""pytest's side of the benchmarks: options, fixtures, facts about the machine, and the tables at the end."""

from __future__ import annotations

import os
import pydoc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pytest

import fastnn
from bench import harness, peers
from bench.bars import Bar, bars_of, summary_bars
from bench.harness import Contestant, limited, load, processors, words
from bench.ledger import Ledger
from bench.peak import DevicePeak, Peak, bandwidth, calculation
from bench.shapes import FOR_SLOW_PEERS, THREADS, Work
from bench.tasks import Calls, Training, timed_turn
from bench.team import Entry, Team
from bench.timing import timed
from bench.worker import lifted
from fastnn import kernels, runtime
from fastnn.backends.array import array_module

TEAM = pytest.StashKey[Team]()
LEDGER = pytest.StashKey[Ledger]()
BEST_ROOFS = pytest.StashKey[dict[float, float]]()
PROFILES = {"quick": (20, 0.3), "full": (40, 4.0)}  # rounds at most, and seconds that a race takes about


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of `pytest bench`."""
    group = parser.getgroup("fastnn's benchmarks")
    group.addoption("--profile", choices=PROFILES, default="full", help="how much is measured (default full)")
    group.addoption("--enforce-bars", action="store_true", help="a missed bar fails its test")
    group.addoption("--rounds", type=int, help="rounds of each race at most (default: 20 quick, 40 full)")
    group.addoption("--peers", help="comma-separated names of the peers that take part (default: all)")
    group.addoption("--peers-python", action="append", default=[], metavar="PYTHON",
                    help="an interpreter that has peers which this one lacks; also $FASTNN_PEERS_PYTHON")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """A fresh ledger, and a look at who is here."""
    others = [
        *config.getoption("peers_python"),
        *filter(None, os.environ.get("FASTNN_PEERS_PYTHON", "").split(os.pathsep)),
    ]
    wanted = config.getoption("peers")
    chosen = [peer for peer in peers.PEERS if wanted is None or peer.name in wanted.split(",")]
    if wanted and len(chosen) < len(set(wanted.split(","))):
        raise pytest.UsageError(f"--peers: choose from {', '.join(peer.name for peer in peers.PEERS)}; got {wanted}")
    config.stash[LEDGER] = Ledger()
    config.stash[BEST_ROOFS] = {}
    config.stash[TEAM] = Team(peers.inventory(others, chosen), config.getoption("benchmark_timer", "time.perf_counter"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Everybody goes home."""
    if TEAM in config.stash:
        config.stash[TEAM].stop()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The quick profile leaves out shapes that are not marked `quick`."""
    if config.getoption("profile") == "quick":
        shapes = {item: getattr(item, "callspec", None) and item.callspec.params.get("shape") for item in items}
        dropped = [item for item, shape in shapes.items() if not getattr(shape, "quick", True)]
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


@pytest.fixture(params=THREADS, ids=lambda n: words(n).replace(" ", "-"))
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """The number of threads for everybody."""
    if request.param > processors():
        pytest.skip(f"needs {request.param} processors")
    with limited(request.param):
        yield request.param


@pytest.fixture
def clock(pytestconfig: pytest.Config) -> Callable[[], float]:
    """The clock of pytest-benchmark's --benchmark-timer."""
    found: Any = pydoc.locate(pytestconfig.getoption("benchmark_timer"))
    return found


@pytest.fixture
def enter(pytestconfig: pytest.Config, threads: int) -> Callable[..., list[Entry]]:
    """`enter(task, *arguments)` are the peers that can do it, ready for the race; `only` or `without` some names.

    The quick profile has slow ones in few rows, and those that compute on a GPU only race where they are named.
    """
    quick = pytestconfig.getoption("profile") == "quick"

    def gather(task: str, shape: Any, *others: Any, only: Sequence[str] | None = None,
               without: Sequence[str] = ()) -> list[Entry]:  # fmt: skip
        hurry = quick and shape not in FOR_SLOW_PEERS
        absent = [each.name for each in peers.PEERS if (each.slow and hurry) or (each.gpu and only is None)]
        return pytestconfig.stash[TEAM].enter(threads, task, shape, *others, only=only, without=[*without, *absent])

    return gather


@pytest.fixture
def write_down(pytestconfig: pytest.Config, benchmark: Any) -> Callable[[dict[str, Any]], None]:
    """`write_down(row)` puts it into the JSON and the ledger, with its bars; as the last thing of a test.

    With --enforce-bars a missed bar fails it there.
    """

    def write(row: dict[str, Any]) -> None:
        row |= {"level": kernels.LEVEL, "versions": versions(pytestconfig)}
        bars = bars_of(row)
        benchmark.extra_info |= row | {"bars": [{**asdict(bar), "met": bar.met} for bar in bars]}
        ledger = pytestconfig.stash[LEDGER]
        ledger.rows.append(row)
        ledger.bars += bars
        missed = [bar.what for bar in bars if bar.met is False]
        if missed and pytestconfig.getoption("enforce_bars"):
            pytest.fail(f"missed: {'; '.join(missed)}")

    return write


@pytest.fixture
def race(pytestconfig: pytest.Config, benchmark: Any, threads: int, clock: Callable[[], float],
         write_down: Callable[[dict[str, Any]], None]) -> Callable[..., None]:  # fmt: skip
    """`race(work, ours, entries)` times all in turns and writes down everything about it: the last thing of a test."""
    most, budget = PROFILES[pytestconfig.getoption("profile")]
    most = pytestconfig.getoption("rounds") or most
    team = pytestconfig.stash[TEAM]

    def run(work: Work, task: Calls | Training, entries: Sequence[Entry], device: DevicePeak | None = None) -> None:
        benchmark.group = f"{work.suite}, {words(threads)}"
        peak = device or Peak(threads)
        mine = Contestant("fastnn", partial(timed_turn, task, clock), task.units)
        roof = Contestant("peak", partial(timed, peak.run, clock), peak.flops)
        calm = harness.Calm(roof, pytestconfig.stash[BEST_ROOFS])
        others = [entry.contestant for entry in entries]
        began_with = load()
        harness.race(benchmark, mine, others, threads=threads, most_rounds=most, budget=budget, wait=calm.wait)
        task.close()
        for entry in entries:
            entry.close()
        harness.check_threads([mine, *others], threads, work.flops)
        handover = peak.handover()
        write_down({
            **work.facts(), "threads": threads, **({"handover_seconds": handover} if handover else {}),
            "peak_flops": (0.5 if work.dtype == "float64" else 1) / roof.seconds,  # a vector holds half as many
            "bytes_per_second": peak.bandwidth(in_cache=bool(work.shape.get("in_cache"))),
            "seconds": {each.name: each.summary() for each in (mine, *others)},
            "worked": {each.name: each.threads for each in (mine, *others)},
            "missing": {**team.missing, **team.failed}, "load": began_with, "waited": calm.waited,
        })  # fmt: skip

    return run


def versions(config: pytest.Config) -> dict[str, str]:
    """Of everything that is measured."""
    return {"fastnn": fastnn.__version__, **config.stash[TEAM].inventory.versions}


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Everything that a reader of the JSON needs to know about where it was made.

    fastnn (its config), versions, missing (reasons by peer), lifted (settings that peers run without), profile, load;
    by number of threads, as text: peak_flops, bytes_per_second (from memory), l2_bytes_per_second; and of one thread an
    account of vector width times units times clock: clock (Hz), calculated_peak_flops, peak_agrees (within 5 %),
    calculation (in words).
    """
    counts = sorted({n for n in THREADS if n <= processors()} | {processors()})
    machine_info.pop("node", None)  # the host's name is nobody's business
    calculated = calculation()
    machine_info |= {
        "fastnn": runtime.config(),
        "versions": versions(config),
        "missing": {**config.stash[TEAM].missing, **({"fastnn on a GPU": gpu_missing()} if gpu_missing() else {})},
        "lifted": lifted(),
        "profile": config.getoption("profile"),
        "load": load(),
        "peak_flops": {str(n): Peak(n).rate() for n in counts},
        "bytes_per_second": {str(n): bandwidth(n) for n in counts},
        "l2_bytes_per_second": {str(n): bandwidth(n, in_cache=True) for n in counts},
        "clock": calculated["clock"],
        "calculated_peak_flops": calculated["calculated"],
        "peak_agrees": calculated["agrees"],
        "calculation": calculated["words"],
    }


def gpu_missing() -> str:
    """Why there is nothing to race on a GPU; empty if there is one."""
    try:
        array_module("cupy")
    except ImportError as problem:
        return str(problem)
    return ""


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """Bars on many rows at once, such as geometric means: a list under "bars", each as in a row. In "machine_info", the
    best bandwidths that were seen.
    """
    ledger = config.stash[LEDGER]
    ledger.raise_bandwidths(output_json["machine_info"])
    bars = summary_bars(ledger.rows)
    output_json["bars"] = [{**asdict(bar), "met": bar.met} for bar in bars]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The tables: times, and what became of each bar."""
    ledger = config.stash[LEDGER]
    if not ledger.rows:
        return
    facts, team = runtime.config(), config.stash[TEAM]
    together: list[Bar] = summary_bars(ledger.rows)
    lines = [
        f"{facts['processor']}, level {facts['level']}",
        ", ".join(f"{name} {number}" for name, number in versions(config).items()),
        *(f"missing: {name}: {reason}" for name, reason in team.missing.items()),
        f"FMA peak of one thread: {calculation()['words']}",
        "",
        *Ledger([*ledger.bars, *together], ledger.rows).lines(),
    ]
    terminalreporter.section("fastnn's rows and bars")
    for line in lines:
        terminalreporter.write_line(line)

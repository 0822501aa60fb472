"""What a run of the benchmark suites has found out, read from pytest-benchmark's JSON into plain data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fastnn.report.scrub import scrubbed

OURS = "fastnn"
SUITES = (
    "products",
    "program products",
    "elementwise",
    "training step",
    "inference",
    "GPU training step",
    "scaling",
    "import",
)


@dataclass(frozen=True)
class Times:
    """Seconds of one unit of work: in the best round, and in the median one."""

    best: float
    median: float

    @property
    def spread(self) -> float:
        """How far the median round lies above the best, as a share of the best: how noisy the machine was."""
        return self.median / self.best - 1.0


@dataclass(frozen=True)
class Bar:
    """What was to be reached, and what was; `measured` and `met` are None where it could not be measured."""

    what: str
    measured: float | None
    required: float
    unit: str
    at_most: bool
    met: bool | None


@dataclass(frozen=True)
class Row:
    """One benchmark: the same work, done by every contestant in turns.

    Attributes
    ----------
    suite, what, unit, dtype, threads
        Where it belongs, its name as people write it, what is timed ("product", "call", "step", "prediction").
    shape
        {"m", "n", "k"}, or {"sizes", "batch"}, or {"elements", "operation", "in_cache"}.
    along, value
        For rows that form a curve: "threads", "batch", "width" or "depth", and the place on it.
    weights
        Parameters of the network; None for other work.
    flops, bytes
        Of one unit: floating-point operations, and the least traffic with memory.
    peak, bandwidth
        Measured in the same run on as many threads: FLOP/s of multiply-adds, and bytes/s of memory.
    handover
        Seconds in which a cache line went to another core and back; None on one thread.
    times
        By contestant, fastnn among them.
    missing
        Reasons by contestant that could not take part.
    """

    suite: str
    what: str
    unit: str
    dtype: str
    threads: int
    shape: Mapping[str, Any]
    along: str
    value: float | None
    weights: int | None
    flops: float
    bytes: float
    peak: float | None
    bandwidth: float | None
    load: float | None
    handover: float | None
    waited: float | None
    times: Mapping[str, Times]
    missing: Mapping[str, str]
    bars: tuple[Bar, ...]

    @property
    def key(self) -> tuple[str, str, str, int, str, float | None]:
        """What makes it the same row in another run."""
        return self.suite, self.what, self.dtype, self.threads, self.along, self.value

    @property
    def ours(self) -> Times:
        """Our own time."""
        return self.times[OURS]

    @property
    def peers(self) -> dict[str, Times]:
        """Everybody else's."""
        return {name: times for name, times in self.times.items() if name != OURS}

    @property
    def is_race(self) -> bool:
        """Whether all did the same work; imports are only held against each other for scale."""
        return self.suite != "import"

    @property
    def streams(self) -> bool:
        """Whether the work is to pass over elements: what bounds it is bandwidth."""
        return "elements" in self.shape

    @property
    def best_peer(self) -> str | None:
        """Who of the others was fastest."""
        return min(self.peers, key=lambda name: self.peers[name].best, default=None)

    def speedup(self, peer: str) -> float:
        """How many times as fast as a peer fastnn is; below 1 it lost."""
        return self.times[peer].best / self.ours.best

    @property
    def speedup_over_best(self) -> float | None:
        """The same over the fastest of the others; None where nobody else took part."""
        return None if self.best_peer is None else self.speedup(self.best_peer)

    def rate(self, contestant: str = OURS) -> float:
        """Floating-point operations a second."""
        return self.flops / self.times[contestant].best

    @property
    def share_of_peak(self) -> float | None:
        """Our rate of arithmetic over the machine's; None where the work has none, or the peak is unknown."""
        return self.rate() / self.peak if self.peak and self.flops else None

    @property
    def roof(self) -> float | None:
        """The highest rate (FLOP/s) that peak and memory allow this work; None where they are unknown."""
        if not (self.peak and self.bandwidth and self.flops and self.bytes):
            return None
        return min(self.peak, self.bandwidth * self.flops / self.bytes)


@dataclass(frozen=True)
class Machine:
    """Where the run took place: processor, software, and its own limits as measured in the run.

    `lifted` names settings of the environment that peers ran without, since they choose a library's code.
    `calculation` says in words how the measured peak compares with a calculated one, `peak_agrees` whether it is the
    same.
    """

    processor: str
    level: str
    level_reason: str
    platform: str
    python: str
    processors: int | None
    versions: Mapping[str, str]
    missing: Mapping[str, str]
    lifted: tuple[str, ...]
    profile: str
    peaks: Mapping[int, float]
    bandwidths: Mapping[int, float]
    cache_bandwidths: Mapping[int, float]
    calculation: str
    peak_agrees: bool | None


@dataclass(frozen=True)
class Run:
    """Everything that one JSON file says.

    `common_bars` are those that many rows have together, such as geometric means; `failed` says that some benchmarks
    did; `document` is the file itself without what a report must not tell.
    """

    machine: Machine
    rows: tuple[Row, ...]
    common_bars: tuple[Bar, ...]
    date: str
    commit: str
    failed: bool
    document: Mapping[str, Any] = field(repr=False)

    @cached_property
    def contestants(self) -> list[str]:
        """Ours first, then in the order in which the rows name them."""
        return list(dict.fromkeys((OURS, *(name for row in self.rows for name in row.times))))

    def spread(self, share: float) -> float:
        """The spread that so large a share of all times, of all rows and contestants, does not exceed."""
        spreads = sorted(each.spread for row in self.rows for each in row.times.values())
        return spreads[round(share * (len(spreads) - 1))]

    @property
    def bars(self) -> list[Bar]:
        """Those that many rows have together, and those of each row."""
        return [*self.common_bars, *(bar for row in self.rows for bar in row.bars)]

    @property
    def thread_counts(self) -> list[int]:
        """The numbers of threads that were measured."""
        return sorted({row.threads for row in self.rows})

    def suite(self, *names: str) -> list[Row]:
        """The rows of some suites."""
        return [row for row in self.rows if row.suite in names]


def is_lost(speedup: float) -> bool:
    """Below 1, as it is written: 0.996 reads 1.00."""
    return round(speedup, 2) < 1


def geometric_mean(values: Iterable[float]) -> float:
    """The mean that ratios have; NaN of nothing."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else math.nan


def read(path: Path) -> Run:
    """Reads the JSON that `pytest bench --benchmark-json` writes.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not JSON, not pytest-benchmark's, or holds no benchmark of fastnn's suites.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path.name} is not a JSON file: {problem}") from problem
    return parse(document, path.name)


def parse(document: Any, name: str = "the results") -> Run:
    """The same from what was in the file.

    Raises
    ------
    ValueError
        As `read`.
    """
    if not (isinstance(document, dict) and isinstance(document.get("benchmarks"), list)):
        raise ValueError(f"{name} was not written by pytest-benchmark: it has no list of benchmarks")
    document = scrubbed(document)
    ours = [each for each in document["benchmarks"] if "suite" in each["extra_info"]]
    if not ours:
        raise ValueError(
            f"{name} holds {len(document['benchmarks'])} benchmarks, none of them of fastnn's suites: "
            "make one with `pytest bench --benchmark-json FILE` in a clone"
        )
    rows = [_read(_row, each["extra_info"], f"{name}: benchmark {each['name']!r}") for each in ours]
    rows.sort(key=lambda row: SUITES.index(row.suite) if row.suite in SUITES else len(SUITES))
    commit = document["commit_info"].get("id") or ""
    return Run(
        machine=_read(_machine, document["machine_info"], f"{name}: machine_info"),
        rows=tuple(rows),
        common_bars=tuple(_read(_bar, each, f"{name}: a bar") for each in document["bars"]),
        date=str(document.get("datetime", ""))[:10],
        commit=commit[:12] + ("+" if commit and document["commit_info"].get("dirty") else ""),
        failed=bool(document.get("failed")),
        document=document,
    )


Made = TypeVar("Made")


def _read(make: Callable[[Any], Made], facts: Any, where: str) -> Made:
    try:
        return make(facts)
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        raise ValueError(f"{where} is not as expected: {problem!r}") from problem


def _row(facts: Mapping[str, Any]) -> Row:
    series = facts.get("series") or {}
    row = Row(
        suite=facts["suite"],
        what=facts["what"],
        unit=facts.get("unit", ""),
        dtype=facts.get("dtype", ""),
        threads=int(facts.get("threads", 1)),
        shape=facts.get("shape") or {},
        along=series.get("along", ""),
        value=_number(series.get("value")),
        weights=facts.get("weights"),
        flops=float(facts.get("flops") or 0),
        bytes=float(facts.get("bytes") or 0),
        peak=_number(facts.get("peak_flops")),
        bandwidth=_number(facts.get("bytes_per_second")),
        load=_number(facts.get("load")),
        handover=_number(facts.get("handover_seconds")),
        waited=_number(facts.get("waited")),
        times={name: Times(float(each["best"]), float(each["median"])) for name, each in facts["seconds"].items()},
        missing=dict(facts.get("missing") or {}),
        bars=tuple(_bar(each) for each in facts.get("bars") or ()),
    )
    if OURS not in row.times:
        raise ValueError(f"no time of {OURS} in 'seconds'")
    if not all(0 < times.best <= times.median < math.inf for times in row.times.values()):
        raise ValueError("times must be positive, and a best one no longer than the median")
    return row


def _bar(facts: Mapping[str, Any]) -> Bar:
    return Bar(facts["what"], _number(facts["measured"]), float(facts["required"]), facts["unit"],
               bool(facts.get("at_most")), facts["met"])  # fmt: skip


def _machine(facts: Mapping[str, Any]) -> Machine:
    config = facts.get("fastnn") or {}
    return Machine(
        processor=config.get("processor") or "unknown processor",
        level=config.get("level", ""),
        level_reason=config.get("level_reason", ""),
        platform=config.get("platform", ""),
        python=config.get("python") or facts.get("python_version", ""),
        processors=config.get("processors"),
        versions=facts.get("versions") or {},
        missing=facts.get("missing") or {},
        lifted=tuple(facts.get("lifted") or ()),
        profile=facts.get("profile") or "",
        peaks=_by_threads(facts.get("peak_flops")),
        bandwidths=_by_threads(facts.get("bytes_per_second")),
        cache_bandwidths=_by_threads(facts.get("l2_bytes_per_second")),
        calculation=facts.get("calculation") or "",
        peak_agrees=facts.get("peak_agrees"),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _by_threads(values: Any) -> dict[int, float]:
    return {int(threads): float(value) for threads, value in (values or {}).items()}

"""What fastnn has to reach, row by row and over many rows, computed from the rows that races leave.

A row is the `extra_info` of bench/harness.py. Times are best rounds; a ratio is a peer's time over ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.harness import words
from bench.shapes import AGENT, DIGITS, NIELSEN, TINY, WIDE

Row = Mapping[str, Any]
OURS = "fastnn"
NO_SLOWER = 0.97  # what a row must reach where a mean has a higher bar
PRODUCT_PEERS = ("numpy", "torch", "mkl", "blis")
ARRAY_PEERS = ("numpy", "torch")
COMPILED_LOOPS = ("numba", "jax scan")  # many steps in one compiled call, as in `fit`
LANES = 16  # numbers in the widest vector: what a tile's columns come in
BEYOND_CACHES = 32 << 20  # bytes from which a product is held against the bandwidth of memory
SKINNY = 32
BFLOAT16 = 1.6  # times float32, with factors of bfloat16


@dataclass(frozen=True)
class Bar:
    """What was to be reached, and what was."""

    what: str
    measured: float | None  # None: could not be measured here
    required: float
    unit: str
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None if not measured."""
        if self.measured is None:
            return None
        return self.measured <= self.required if self.at_most else self.measured >= self.required


@dataclass(frozen=True)
class Goals:
    """A network's bars; None where there is none.

    Attributes
    ----------
    times
        How many times a peer's speed, by peer.
    best_peer
        How many times the speed of the best peer; of the best that is called once a step.
    share_of_peak
        Arithmetic of the products at the peak over the time of a step.
    floors
        The time of a step over that of the same arithmetic.
    floors_with_state
        The same with the time that parameters and moments need to come from memory and go back.
    microseconds
        Of a step, at most.
    """

    times: Mapping[str, float]
    best_peer: float | None = None
    best_call_a_step: float | None = None
    share_of_peak: float | None = None
    floors: float | None = None
    floors_with_state: float | None = None
    microseconds: float | None = None


# By sizes, batch, optimizer.
NETWORK_GOALS: dict[tuple[tuple[int, ...], int, str], Goals] = {
    (TINY.sizes, 1, "sgd"): Goals(dict.fromkeys(COMPILED_LOOPS, 2.0), best_call_a_step=20, microseconds=1.0),
    (NIELSEN.sizes, 10, "sgd"): Goals({"plain numpy": 2.5, "numpy": 2.5, "torch": 10}, best_peer=3, floors=1.6),
    (AGENT.sizes, 64, "sgd"): Goals({"plain numpy": 3, "numpy": 3, "torch": 10}, best_peer=3, floors=1.6),
    (DIGITS.sizes, 32, "sgd"): Goals({}, best_peer=1.75),
    (DIGITS.sizes, 32, "adam"): Goals({}, best_peer=1.75),
    (WIDE.sizes, 128, "sgd"): Goals({"numpy": 1.15}, best_peer=1.15, share_of_peak=0.85),
    ((1024,) * 5, 512, "sgd"): Goals({}, best_peer=1.15, share_of_peak=0.85),
    ((4096,) * 4, 64, "sgd"): Goals({}, best_peer=1.3, share_of_peak=0.80),
    ((4096,) * 4, 64, "adam"): Goals({}, best_peer=1.3, floors_with_state=1.3),
}
CALLED_FROM_PYTHON = {TINY.sizes: {"torch": 40.0}}  # `trainer.step`
PREDICTIONS = {(DIGITS.sizes, 1): {"onnxruntime": 1.5}}
SQUARE_SHARES = {1: {512: 0.95, 32: 0.90}, 2: {512: 0.92, 128: 0.80}}  # of peak by threads, from n on, in a Program
IMPORT_MILLISECONDS = 50.0  # over `import numpy`


def bars_of(row: Row) -> list[Bar]:
    """The bars that a row has."""
    rules = {"products": _product, "program products": _program_product, "elementwise": _elementwise,
             "training step": _training, "inference": _inference, "import": _import}  # fmt: skip
    return rules[row["suite"]](row) if row["suite"] in rules else []


def summary_bars(rows: Sequence[Row]) -> list[Bar]:
    """The bars that many rows have together."""
    found = []
    for suite, dtype, peers, required in (
        ("products", "float32", PRODUCT_PEERS, 1.2),
        ("products", "float64", ("numpy",), 1.05),
        ("elementwise", "float32", ARRAY_PEERS, 1.3),
    ):
        for threads in sorted({row["threads"] for row in rows}):
            chosen = [row for row in rows if (row["suite"], row["dtype"], row["threads"]) == (suite, dtype, threads)]
            ratios = [ratio for ratio in (times_best(row, peers) for row in chosen) if ratio]
            if ratios:
                what = f"{suite}, {dtype}, {words(threads)}: geometric mean over {len(ratios)} rows"
                found.append(Bar(f"{what}, times the best of {', '.join(peers)}", _mean(ratios), required, "x"))
    return [*found, *_bfloat16(rows), *_more_threads(rows)]


def _bfloat16(rows: Sequence[Row]) -> list[Bar]:
    """Products of factors in bfloat16 against our own of the same shape in float32."""
    times: dict[str, dict[Any, float]] = {"float32": {}, "bfloat16": {}}
    for row in rows:
        if row["suite"] in ("products", "program products") and row["dtype"] in times:
            what = f"{row['suite']}: {_name(row)}".replace(", bfloat16", "")
            times[row["dtype"]][what] = row["seconds"][OURS]["best"]
    return [
        Bar(f"{what}, bfloat16: times our float32's speed", times["float32"][what] / seconds, BFLOAT16, "x")
        for what, seconds in times["bfloat16"].items()
        if what in times["float32"]
    ]


def times_best(row: Row, peers: Iterable[str] | None = None) -> float | None:
    """How many times the speed of the fastest of these peers (None: of all) we have; None if there was none."""
    seconds = row["seconds"]
    theirs = [seconds[name]["best"] for name in (peers or seconds) if name in seconds and name != OURS]
    return min(theirs) / seconds[OURS]["best"] if theirs else None


def share_of_peak(row: Row) -> float:
    """Arithmetic at the peak over the time it took."""
    return row["flops"] / row["seconds"][OURS]["best"] / row["peak_flops"]


def share_of_bandwidth(row: Row) -> float:
    """The least that has to move, at full bandwidth, over the time it took."""
    return row["bytes"] / row["seconds"][OURS]["best"] / row["bytes_per_second"]


def _name(row: Row) -> str:
    return f"{row['what']}, {words(row['threads'])}"


def _mean(ratios: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def _percent(what: str, share: float, required: float) -> Bar:
    return Bar(what, 100 * share, 100 * required, "%")


def _product(row: Row) -> list[Bar]:
    what = f"product {_name(row)}"
    if row["dtype"] == "float64":
        return [Bar(f"{what}: times numpy's speed", times_best(row, ["numpy"]), NO_SLOWER, "x")]
    if row["dtype"] == "bfloat16":  # is held against our own float32: see _bfloat16
        return []
    if min(row["shape"][side] for side in "mnk") > SKINNY:
        return [Bar(f"{what}: times the best peer's speed", times_best(row, PRODUCT_PEERS), NO_SLOWER, "x")]
    if row["bytes"] > BEYOND_CACHES and share_of_bandwidth(row) >= 0.9:  # as fast as memory comes: that is enough
        return [_percent(f"{what}: share of memory's bandwidth", share_of_bandwidth(row), 0.9)]
    return [Bar(f"{what}: times the best peer's speed", times_best(row, PRODUCT_PEERS), 1.3, "x")]


def _program_product(row: Row) -> list[Bar]:
    m, n, k = (row["shape"][side] for side in "mnk")
    required = next((share for least, share in SQUARE_SHARES.get(row["threads"], {}).items() if n >= least), None)
    if required is None or not m == n == k or row["dtype"] == "bfloat16":
        return []
    fill = n / (LANES * math.ceil(n / LANES))
    return [_percent(f"product {_name(row)}, in a Program: share of the FMA peak", share_of_peak(row) / fill, required)]


def _elementwise(row: Row) -> list[Bar]:
    bars = [Bar(f"{_name(row)}: times the best peer's speed", times_best(row, ARRAY_PEERS), NO_SLOWER, "x")]
    if not row["shape"]["in_cache"]:
        bars.append(_percent(f"{_name(row)}: share of memory's bandwidth", share_of_bandwidth(row), 0.85))
    return bars


def _training(row: Row) -> list[Bar]:
    shape, what = row["shape"], _name(row)
    sizes = tuple(shape["sizes"])
    if not shape["one_call"]:
        return _times(what, row, CALLED_FROM_PYTHON.get(sizes, {}))
    goals = NETWORK_GOALS.get((sizes, shape["batch"], shape["optimizer"]))
    if goals is None:
        return []
    seconds, floor = row["seconds"][OURS]["best"], row["flops"] / row["peak_flops"]
    bars = _times(what, row, goals.times)
    if goals.best_peer is not None:
        bars.append(Bar(f"{what}: times the best peer's speed", times_best(row), goals.best_peer, "x"))
    if goals.best_call_a_step is not None:
        best = times_best(row, [name for name in row["seconds"] if name not in COMPILED_LOOPS])
        bars.append(Bar(f"{what}: times the best peer called once a step", best, goals.best_call_a_step, "x"))
    if goals.share_of_peak is not None:
        bars.append(_percent(f"{what}: share of the FMA peak", share_of_peak(row), goals.share_of_peak))
    if goals.floors is not None:
        bars.append(Bar(f"{what}: times the arithmetic floor", seconds / floor, goals.floors, "x", at_most=True))
    if goals.floors_with_state is not None:
        floor += row["bytes"] / row["bytes_per_second"]
        name = f"{what}: times arithmetic plus state traffic"
        bars.append(Bar(name, seconds / floor, goals.floors_with_state, "x", at_most=True))
    if goals.microseconds is not None:
        bars.append(Bar(f"{what}: a step in fit", 1e6 * seconds, goals.microseconds, "us", at_most=True))
    return bars


def _inference(row: Row) -> list[Bar]:
    shape = row["shape"]
    return _times(f"predict {_name(row)}", row, PREDICTIONS.get((tuple(shape["sizes"]), shape["batch"]), {}))


def _import(row: Row) -> list[Bar]:
    over = 1e3 * row["shape"]["seconds_over_numpy"]
    return [Bar("import fastnn, over import numpy", over, IMPORT_MILLISECONDS, "ms", at_most=True)]


def _times(what: str, row: Row, required: Mapping[str, float]) -> list[Bar]:
    return [Bar(f"{what}: times {peer}'s speed", times_best(row, [peer]), times, "x")
            for peer, times in required.items()]  # fmt: skip


def _more_threads(rows: Sequence[Row]) -> list[Bar]:
    """Two threads against one, the worst row of each suite."""
    times = {(row["suite"], row["what"], row["threads"]): row["seconds"][OURS]["best"] for row in rows}
    bars = []
    for suite in dict.fromkeys(row["suite"] for row in rows):
        ratios = [(times[suite, what, 1] / seconds, what) for (each, what, threads), seconds in times.items()
                  if each == suite and threads == 2 and (suite, what, 1) in times]  # fmt: skip
        if ratios:
            worst, what = min(ratios)
            bars.append(Bar(f"{suite}: 2 threads against 1, the worst row: {what}", worst, NO_SLOWER, "x"))
    return bars

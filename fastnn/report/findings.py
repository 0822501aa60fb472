"""What a run says, in sentences: computed from the rows, losses included."""

from __future__ import annotations

from fastnn.report import tables
from fastnn.report.record import OURS, Row, Run, geometric_mean, is_lost
from fastnn.report.words import count, listed, percent, times

RESTLESS = 0.3  # the reader is warned if more than a tenth of all spreads are larger
CLOSE = 0.97  # of the best peer's speed: what lies between this and 1 may be noise


def summary(run: Run) -> str:
    """What was measured, on what, against whom."""
    machine = run.machine
    suites = listed(dict.fromkeys(row.suite for row in run.rows))
    peers = [name for name in run.contestants if name != OURS]
    *fewer, most = run.thread_counts
    parts = [
        f"{f'The {machine.profile}' if machine.profile else 'These'} benchmarks of fastnn ran on {machine.processor} "
        f"with kernels of level {machine.level}, on {listed([*map(str, fewer), count(most, 'thread')])}: "
        f"{count(len(run.rows), 'row')} of {suites}, against {listed(peers)}.",
        "Everybody had the same number of threads and took turns; results were compared before anything was timed; a "
        "time is that of the best round, and a ratio is one of neighbours in the same run.",
    ]
    absent = tables.missing(run)
    if absent:
        parts.append(f"Not there to compare with: {listed(absent)}.")
    if run.spread(0.9) > RESTLESS:
        parts.append(
            "**The machine was restless**: one time in ten has a median round that took at least "
            f"{percent(run.spread(0.9))} longer than the best one, so take single rows with care."
        )
    if run.failed:
        parts.append("**Some benchmarks failed and are missing from this page.**")
    return " ".join(parts)


def findings(run: Run) -> list[str]:
    """The three things to know: how much faster, where slower, how far from the machine's limits; then the bars."""
    found = [_wins(run), _losses(run), _distance(run), _bars(run)]
    return [each for each in found if each]


def _name(row: Row) -> str:
    dtype = "" if row.dtype in ("float32", "") or row.dtype in row.what else f"{row.dtype}, "
    return f"{row.what} ({row.suite}, {dtype}{count(row.threads, 'thread')})"


def _compared(run: Run) -> list[tuple[float, Row]]:
    """Rows with a peer, and fastnn's speed over the best of them, the slowest first."""
    pairs = ((row.speedup_over_best, row) for row in run.rows if row.is_race)
    return sorted(((ratio, row) for ratio, row in pairs if ratio is not None), key=lambda pair: pair[0])


def _wins(run: Run) -> str:
    by_suite: dict[str, list[float]] = {}
    for ratio, row in _compared(run):
        by_suite.setdefault(row.suite, []).append(ratio)
    if not by_suite:
        return ""
    means = {suite: geometric_mean(ratios) for suite, ratios in by_suite.items()}
    order = sorted(means, key=means.__getitem__, reverse=True)
    said = listed(f"{times(means[suite])} on {suite} ({count(len(by_suite[suite]), 'row')})" for suite in order)
    return f"**Against the fastest other contestant of each row**, fastnn's speed is, as a geometric mean, {said}."


def _losses(run: Run) -> str:
    compared = _compared(run)
    if not compared:
        return ""
    behind = [(ratio, row) for ratio, row in compared if is_lost(ratio)]
    if not behind:
        ratio, row = compared[0]
        return (
            f"**No row of {len(compared)} is lost**: the closest is {_name(row)} at {times(ratio)} "
            f"{row.best_peer}'s speed."
        )
    clearly = sum(ratio < CLOSE for ratio, _ in behind)
    worst = "; ".join(f"{_name(row)} at {times(ratio)} {row.best_peer}'s speed" for ratio, row in behind[:3])
    return (
        f"**{count(len(behind), 'row')} of {len(compared)} {'is' if len(behind) == 1 else 'are'} slower than the "
        f"fastest other contestant**, {clearly} of them below {CLOSE:g}×. The worst: {worst}."
    )


def _distance(run: Run) -> str:
    rows = [row for row in run.suite("products", "program products") if row.share_of_peak and row.dtype == "float32"]
    if not rows:
        return ""
    best, worst = (pick(rows, key=lambda row: row.share_of_peak or 0) for pick in (max, min))
    shares = sorted(row.share_of_peak or 0 for row in rows)
    disturbed = " More than 100 % means that the peak was disturbed when it was measured."
    return (
        f"**Of the machine's peak**, float32 products reach {percent(shares[len(shares) // 2])} in the median row: "
        f"{percent(best.share_of_peak or 0)} at best ({_name(best)}), {percent(worst.share_of_peak or 0)} at worst "
        f"({_name(worst)}).{disturbed if (best.share_of_peak or 0) > 1.02 else ''}"
    )


def _bars(run: Run) -> str:
    bars = run.bars
    if not bars:
        return ""
    met = sum(bar.met is True for bar in bars)
    missed = sum(bar.met is False for bar in bars)
    open_ = len(bars) - met - missed
    return (
        f"**Of {count(len(bars), 'bar')} that were set, {met} {'was' if met == 1 else 'were'} met and {missed} missed**"
        f"{f'; {open_} could not be measured here' if open_ else ''}."
    )

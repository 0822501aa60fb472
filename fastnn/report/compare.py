"""What got slower or faster between two runs, and whether that is more than noise.

Machines have moods, so times of two runs are not compared as they are, but by yardsticks: the peers that have the same
version in both runs, and the arithmetic peak. How much longer the same work took in the second run is divided by how
much longer it took the median yardstick: the median, so that a yardstick that was itself disturbed has no say.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastnn.report.record import OURS, Row, Run
from fastnn.report.words import count, percent, seconds

PEAK = "peak"
COVERAGE = 2.0  # standard errors: a run has many rows, and one in three lies beyond a single one
SIGMA = 1.4826  # median absolute deviations in a standard deviation of normal errors


@dataclass(frozen=True)
class Change:
    """A row in two runs.

    Attributes
    ----------
    before, after
        The row in either.
    yardsticks
        Whose times in the same run it was measured by; none: the change is one of plain times.
    slower
        Relative time after over before, minus 1: 0.1 is a tenth slower, negative is faster.
    noise
        What `slower` may be by chance: our spreads in both runs, what the yardsticks disagree about, and their own
        spreads over the root of their number, added as independent errors, and twice that.
    """

    before: Row
    after: Row
    yardsticks: tuple[str, ...]
    slower: float
    noise: float

    @property
    def real(self) -> bool:
        """Whether it is more than noise."""
        return abs(self.slower) > self.noise


@dataclass(frozen=True)
class Comparison:
    """All changes, the slower rows first; what else differs, before and after; the rows that only one run has."""

    changes: Sequence[Change]
    differences: Mapping[str, tuple[str, str]]
    only_before: Sequence[str]
    only_after: Sequence[str]

    def slower_than(self, threshold: float) -> list[Change]:
        """The rows that got slower by more than the threshold and more than the noise."""
        return [each for each in self.changes if each.real and each.slower > threshold]


def compare(before: Run, after: Run) -> Comparison:
    """Matches the rows of two runs.

    Raises
    ------
    ValueError
        If they have no row in common.
    """
    old, new = ({row.key: row for row in run.rows} for run in (before, after))
    shared = [key for key in old if key in new]
    if not shared:
        raise ValueError("the two runs have no row in common")
    versions = before.machine.versions, after.machine.versions
    same = {package for package, number in versions[0].items() if versions[1].get(package) == number}
    changes = [_change(old[key], new[key], same) for key in shared]
    return Comparison(
        sorted(changes, key=lambda change: -change.slower),
        _differences(before, after),
        [name(old[key]) for key in old if key not in new],
        [name(new[key]) for key in new if key not in old],
    )


def _differences(before: Run, after: Run) -> dict[str, tuple[str, str]]:
    """What makes two runs less comparable."""
    facts = [
        {"processor": run.machine.processor, "level": run.machine.level, "profile": run.machine.profile}
        | {f"version of {name}": number for name, number in run.machine.versions.items() if name != OURS}
        for run in (before, after)
    ]
    names = dict.fromkeys((*facts[0], *facts[1]))
    pairs = {name: (facts[0].get(name, "none"), facts[1].get(name, "none")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def name(row: Row) -> str:
    """A row in a few words, not to be mistaken for another."""
    place = f", along {row.along} {row.value:g}" if row.along and row.value is not None else ""
    return f"{row.suite}: {row.what}, {row.dtype}, {count(row.threads, 'thread')}{place}"


def _change(before: Row, after: Row, same: set[str]) -> Change:
    yardsticks = [each for each in before.peers if each in after.peers and _packages(each) & same]
    moods = [after.times[each].best / before.times[each].best for each in yardsticks]
    spreads = [_both(before.times[each].spread, after.times[each].spread) for each in yardsticks]
    if before.peak and after.peak and before.flops and after.flops:
        yardsticks.append(PEAK)
        moods.append(before.peak / after.peak)
        spreads.append(0.0)
    mood = statistics.median(moods) if moods else 1.0
    scatter = SIGMA * statistics.median(abs(math.log(each / mood)) for each in moods) if moods else 0.0
    theirs = statistics.median(spreads) / math.sqrt(len(spreads)) if spreads else 0.0
    noise = COVERAGE * _both(before.ours.spread, after.ours.spread, scatter, theirs)
    return Change(before, after, tuple(yardsticks), after.ours.best / before.ours.best / mood - 1, noise)


def _both(*errors: float) -> float:
    """Independent errors together."""
    return math.sqrt(sum(error**2 for error in errors))


def _packages(contestant: str) -> set[str]:
    """Whose version it may have: torch.compile is torch, jax scan is jax, plain numpy is numpy."""
    return set(contestant.replace(".", " ").split())


def text(comparison: Comparison, threshold: float | None) -> str:
    """The comparison for a terminal."""
    changes = comparison.changes
    real = [change for change in changes if change.real]
    shown = [change for change in real if threshold is None or abs(change.slower) > threshold]
    lines = [_heading(comparison, threshold)]
    lines += [f"{what} differs: {old} before, {new} after" for what, (old, new) in comparison.differences.items()]
    if shown:
        width = max(len(name(change.after)) for change in shown)
        lines += ["", f"{'':<{width}}  {'before':>9}  {'after':>9}  {'change':>13}  {'noise':>7}  measured by"]
        lines += [_line(change, width) for change in shown]
    lines += [f"only before: {each}" for each in comparison.only_before]
    lines += [f"only after: {each}" for each in comparison.only_after]
    if threshold is not None:
        slower = comparison.slower_than(threshold)
        verdict = f"SLOWER: {count(len(slower), 'row')}" if slower else "ok: no row got slower"
        lines += ["", f"{verdict} by more than {percent(threshold)} and beyond the noise"]
        unsure = sum(change.noise > threshold for change in changes)
        if unsure:
            lines.append(f"{count(unsure, 'row')} had more noise than that: a small change there goes unseen")
    return "\n".join(lines)


def _heading(comparison: Comparison, threshold: float | None) -> str:
    changes = comparison.changes
    noises = sorted(change.noise for change in changes)
    moved = sorted(abs(change.slower) for change in changes)
    real = [change for change in changes if change.real]
    slower = sum(change.slower > 0 for change in real)
    beyond = "" if threshold is None else f"; shown are those that changed by more than {percent(threshold)}"
    return (
        f"{count(len(changes), 'row')} in both runs: {slower} slower and {len(real) - slower} faster by more than "
        f"their noise{beyond}.\nNoise of a change: {percent(noises[len(noises) // 2])} in the median row, "
        f"{percent(noises[-1])} at most. Half of all rows moved by less than {percent(moved[len(moved) // 2])}."
    )


def _line(change: Change, width: int) -> str:
    times = "  ".join(f"{seconds(row.ours.best):>9}" for row in (change.before, change.after))
    moved = f"{abs(change.slower):.1%} {'slower' if change.slower > 0 else 'faster'}"
    by = ", ".join(change.yardsticks) or f"{OURS}'s time alone"
    return f"{name(change.after):<{width}}  {times}  {moved:>13}  {change.noise:>7.1%}  {by}"

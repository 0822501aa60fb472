"""The report's tables: the bars, the machine, and every row with its spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastnn.report.page import Cell, Table
from fastnn.report.record import OURS, Bar, Row, Run, Times, is_lost
from fastnn.report.words import count, digits, percent, seconds, times, with_unit

UNFOLDED = 15  # misses are in sight, unless there are more of them than this
VERDICTS = {True: ("met", "good"), False: ("MISSED", "bad"), None: ("not measured", "")}


def bars(run: Run) -> Iterator[Table]:
    """What was required and what was measured: what many rows have together, then misses, then the rest, folded."""
    if run.common_bars:
        yield _bars("of many rows together", run.common_bars)
    single = [bar for row in run.rows for bar in row.bars]
    for met, verdict in ((False, "missed"), (True, "met"), (None, "not measured")):
        chosen = [bar for bar in single if bar.met is met]
        if chosen:
            folded = f"{count(len(chosen), 'bar')} {verdict}" if met is not False or len(chosen) > UNFOLDED else ""
            yield _bars(f"bars {verdict}", chosen, folded)


def _bars(heading: str, chosen: Sequence[Bar], folded: str = "") -> Table:
    rows = []
    for bar in chosen:
        verdict, tone = VERDICTS[bar.met]
        required = f"{'at most' if bar.at_most else 'at least'} {_amount(bar, bar.required)}"
        measured = "–" if bar.measured is None else _amount(bar, bar.measured)
        rows.append([Cell(bar.what), Cell(verdict, tone=tone), Cell(measured, required)])
    return Table([heading, "", "measured (required)"], rows, words=2, folded=folded)


def _amount(bar: Bar, value: float) -> str:
    if bar.unit == "x":
        return times(value)
    number = f"{value:g}" if value == bar.required else digits(value)
    return f"{number} {bar.unit.replace('us', 'µs')}"


def environment(run: Run) -> Table:
    """Where the run took place."""
    machine = run.machine
    facts = {
        "processor": machine.processor,
        "processors": f"{machine.processors} for this process" if machine.processors else "",
        "kernels": f"level {machine.level} ({machine.level_reason})" if machine.level else "",
        "threads": ", ".join(map(str, run.thread_counts)),
        "system": f"{machine.platform}, Python {machine.python}",
        "versions": ", ".join(f"{name} {number}" for name, number in machine.versions.items()),
        "missing": "; ".join(f"{name} ({reason})" for name, reason in missing(run).items()) or "nobody",
        "lifted": f"peers ran without {', '.join(machine.lifted)}, set here" if machine.lifted else "",
        "load": _loads(run),
        "cores": _handovers(run),
        "waited": _waits(run),
        "date": run.date,
        "commit": run.commit,
    }
    return Table(["", ""], [[Cell(name), Cell(fact)] for name, fact in facts.items() if fact], words=2)


def missing(run: Run) -> dict[str, str]:
    """Contestants that took part nowhere, and why."""
    reasons = dict(run.machine.missing)
    for row in run.rows:
        reasons |= {name: reason for name, reason in row.missing.items() if name not in reasons}
    return {name: reason for name, reason in reasons.items() if name not in run.contestants}


def _loads(run: Run) -> str:
    found = _span([row.load for row in run.rows], ".2f")
    return f"{found} (processes that ran or waited, means of a minute)" if found else ""


def _handovers(run: Run) -> str:
    """How far apart cores were: many rows on several threads are as fast as that."""
    found = _span([1e9 * row.handover for row in run.rows if row.handover is not None], ".0f", " ns")
    return f"a cache line goes to another core and back in {found}" if found else ""


def _span(values: Sequence[float | None], form: str, unit: str = "") -> str:
    """From the least to the most of those that are known, and the median; nothing where none is."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return ""
    return f"{known[0]:{form}} to {known[-1]:{form}}{unit}, median {known[len(known) // 2]:{form}}"


def _waits(run: Run) -> str:
    """How long races stood still."""
    waits = [row.waited for row in run.rows if row.waited is not None]
    return f"{sum(waits):.0f} s in all, until processors were free" if waits else ""


def limits(run: Run) -> Table:
    """The machine's own limits, by number of threads."""
    machine = run.machine
    threads = sorted({*machine.peaks, *machine.bandwidths, *machine.cache_bandwidths})
    columns = {
        "multiply-adds": ("FLOP/s", machine.peaks),
        "memory": ("B/s", machine.bandwidths),
        "second-level cache": ("B/s", machine.cache_bandwidths),
    }
    shown = {name: column for name, column in columns.items() if column[1]}
    rows = [
        [Cell(count(n, "thread")), *(Cell(with_unit(by[n], unit) if n in by else "–") for unit, by in shown.values())]
        for n in threads
    ]
    return Table(["measured in this run", *shown], rows)


def peak_check(run: Run) -> str:
    """The measured peak beside the calculated one, and whether they agree."""
    words = run.machine.calculation
    if not words:
        return "The peak was measured, but not calculated independently."
    return f"Peak of one thread: {f'**{words}**' if run.machine.peak_agrees is False else words}."


def rows(run: Run) -> Iterator[Table]:
    """A table for each suite and float type, folded, with all that was measured."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in run.rows:
        groups.setdefault((row.suite, row.dtype), []).append(row)
    for (suite, dtype), members in groups.items():
        yield _rows(f"{suite}{f', {dtype}' if dtype else ''}: {count(len(members), 'row')}", members, run.contestants)


def _rows(title: str, members: list[Row], contestants: list[str]) -> Table:
    names = [name for name in contestants if name != OURS and any(name in row.times for row in members)]
    rate = any(row.flops for row in members)
    headings = ["", "threads", OURS, *(["rate"] if rate else []), *names]
    body = []
    for row in sorted(members, key=lambda row: (row.along, row.threads)):
        place = f"along {row.along}: {row.value:g}" if row.along and row.value is not None else ""
        cells = [Cell(row.what, place), Cell(str(row.threads)), Cell(_time(row.ours), _excess(row.ours))]
        if rate:
            cells.append(_rate(row))
        body.append([*cells, *(_peer(row, name) for name in names)])
    return Table(headings, body, folded=title)


def _rate(row: Row) -> Cell:
    """What fastnn makes of the machine: bytes a second where the work is to pass over memory, else arithmetic."""
    if row.streams:
        share = "" if row.bandwidth is None else f"{percent(row.bytes / row.ours.best / row.bandwidth)} of bandwidth"
        return Cell(with_unit(row.bytes / row.ours.best, "B/s"), share)
    share = "" if row.share_of_peak is None else f"{percent(row.share_of_peak)} of peak"
    return Cell(with_unit(row.rate(), "FLOP/s"), share)


def _peer(row: Row, name: str) -> Cell:
    if name not in row.times:
        return Cell("–")
    ratio, theirs = row.speedup(name), row.times[name]
    if not row.is_race:
        return Cell(_time(theirs), _excess(theirs))
    return Cell(times(ratio), f"{_time(theirs)} {_excess(theirs)}", "bad" if is_lost(ratio) else "")


def _time(measured: Times) -> str:
    return seconds(measured.best)


def _excess(measured: Times) -> str:
    return f"+{percent(measured.spread)}"


def spread_summary(run: Run) -> str:
    """How noisy the machine was, over all rows and contestants."""
    half, most = (percent(run.spread(share)) for share in (0.5, 0.9))
    return f"half of all medians lie within {half} of their best round, nine tenths within {most}"

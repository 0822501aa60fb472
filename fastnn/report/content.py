"""The report of one run, from the opening paragraph to the last row."""

from __future__ import annotations

from fastnn.report import findings, tables
from fastnn.report.page import Block, Page, Points, Section, Text
from fastnn.report.plots import PLOTS
from fastnn.report.record import Run

BARS = "What fastnn has to reach, and what it reached in this run."
METHOD = (
    "Contestants take turns within one benchmark, fastnn among them, each with the same number of threads, so "
    "that all meet the machine in the same mood. A result is compared with the reference, within a stated "
    "tolerance, before it may be timed. One-off costs such as compilation lie outside. A time is that of the "
    "best round; the number behind it, such as +3 %, says how far the median round lay above the best, and so "
    "how restless the machine was. A ratio such as 2.00× is a peer's best time over fastnn's: above 1 fastnn "
    "is faster, below 1 slower."
)


def page(run: Run) -> Page:
    """The whole report.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    sections = [Section("Bars", [Text(BARS), *tables.bars(run)])] if run.bars else []
    for title, draw in PLOTS:
        pictures: list[Block] = list(draw(run))
        if pictures:
            sections.append(Section(title, pictures))
    sections += [
        Section("Machine", [tables.environment(run), tables.limits(run), Text(tables.peak_check(run))]),
        Section("How it was measured", [Text(METHOD), Text(f"In this run {tables.spread_summary(run)}.")]),
        Section("All rows", [Text("Each table opens on request."), *tables.rows(run)]),
    ]
    machine = run.machine
    return Page(
        title="How fast is fastnn here?",
        subtitle=f"{machine.processor} · level {machine.level} · {run.date}",
        opening=[Text(findings.summary(run)), Points(findings.findings(run))],
        sections=sections,
    )

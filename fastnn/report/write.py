"""Puts a report on disk: index.html, REPORT.md with its pictures, and the results themselves."""

from __future__ import annotations

import json
import re
from pathlib import Path

from fastnn.report.content import page
from fastnn.report.html import html
from fastnn.report.markdown import markdown
from fastnn.report.record import Run


def default_folder(run: Run) -> Path:
    """reports/<cpu-model>-<date>: what was measured and when, and nothing about whose machine it is."""
    model = re.sub(r"\((R|TM|C)\)|@.*|\bCPU\b", " ", run.machine.processor, flags=re.IGNORECASE)
    slug = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    return Path("reports", "-".join(filter(None, (slug, run.date))))


def write(run: Run, folder: Path) -> list[Path]:
    """Writes the report and returns its files, index.html first.

    Parameters
    ----------
    run
        What was measured.
    folder
        Where to write; made if it is not there, files of the same names are replaced.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.json"
    results.write_bytes(json.dumps(run.document).encode() + b"\n")  # first: drawing can be repeated
    report = page(run)
    files = {"index.html": html(report).encode(), "REPORT.md": markdown(report).encode()}
    files |= {f"{picture.name}.png": picture.png for picture in report.pictures}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [*(folder / name for name in files), results]

"""The performance report: from results to pages, with their numbers, and without a word about whose machine it was."""

from __future__ import annotations

import base64
import getpass
import json
import platform
import re
import struct
from pathlib import Path
from typing import Any

import benchmark_results
import pytest

from fastnn import cli, report
from fastnn.report import words
from fastnn.report.record import Run


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Results as the suites write them."""
    return benchmark_results.document()


@pytest.fixture(scope="module")
def results(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in a file."""
    path = tmp_path_factory.mktemp("results") / "results.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def run(results: Path) -> Run:
    """The same, read."""
    return report.read(results)


@pytest.fixture(scope="module")
def folder(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report made by the command."""
    target = tmp_path_factory.mktemp("report") / "made" / "here"
    assert cli.main(["report", str(results), "--output", str(target)]) == 0
    return target


def size(png: bytes) -> tuple[int, int]:
    """Width and height in the header of a PNG."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_every_picture_is_a_png_of_sane_size(folder: Path) -> None:
    pictures = {path.stem: path.read_bytes() for path in folder.glob("*.png")}
    assert {"products-float32", "products-float64"} <= set(pictures)
    for name, png in pictures.items():
        width, height = size(png)
        assert width == 1500, name
        assert 500 <= height <= 4000, name
        assert 10_000 < len(png) < 600_000, name


def test_markdown_links_every_picture(folder: Path) -> None:
    linked = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (folder / "REPORT.md").read_text())
    assert sorted(linked) == sorted(path.name for path in folder.glob("*.png"))


def test_page_contains_every_picture_and_nothing_from_elsewhere(folder: Path) -> None:
    page = (folder / "index.html").read_text()
    embedded = [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]
    assert sorted(embedded) == sorted(path.read_bytes() for path in folder.glob("*.png"))
    assert len(re.findall("<img", page)) == len(embedded)
    assert "http" not in page
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize("name", ["index.html", "REPORT.md"])
def test_numbers_are_those_of_the_results(document: dict[str, Any], folder: Path, name: str) -> None:
    text = (folder / name).read_text()
    for benchmark in document["benchmarks"]:
        facts = benchmark["extra_info"]
        for times in facts["seconds"].values():
            assert words.seconds(times["best"]) in text
            assert f"+{words.percent(times['median'] / times['best'] - 1)}" in text
        for peer, times in facts["seconds"].items():
            if peer != "fastnn":
                assert words.times(times["best"] / facts["seconds"]["fastnn"]["best"]) in text


def test_bars_are_all_there_misses_first(document: dict[str, Any], folder: Path) -> None:
    text = (folder / "REPORT.md").read_text()
    bars = [bar for each in document["benchmarks"] for bar in each["extra_info"]["bars"]]
    missed = sum(not bar["met"] for bar in bars)
    assert 0 < missed < len(bars)
    assert f"{len(bars) - missed} were met and {missed} missed" in text
    lines = [line for line in text.splitlines() if line.startswith("|") and ("| met |" in line or "MISSED" in line)]
    assert ["MISSED" in line for line in lines] == [True] * missed + [False] * (len(bars) - missed)


def test_losses_are_told_in_the_opening(run: Run, folder: Path) -> None:
    lost = [row for row in run.rows if row.suite != "import" and (row.speedup_over_best or 1) < 0.97]
    opening = (folder / "REPORT.md").read_text().partition("\n## ")[0]
    assert lost
    assert f"**{len(lost)} rows of " in opening
    worst = min(lost, key=lambda row: row.speedup_over_best or 1)
    assert f"{worst.what} (float32, " in opening


def test_missing_peers_are_named_with_their_reason(folder: Path) -> None:
    text = (folder / "REPORT.md").read_text()
    assert "thinc (not installed); mkl (no library in libmkl_rt.so)" in text


def test_nothing_tells_whose_machine_it_was(folder: Path) -> None:
    real = [name for name in (platform.node(), getpass.getuser()) if len(name) > 4]  # a short one is part of words
    for path in folder.iterdir():
        content = path.read_bytes()
        for word in ("secret", str(Path.home()) + "/", str(Path.cwd()), *real):
            assert word.encode() not in content, f"{word} in {path.name}"


def test_folder_is_named_after_processor_and_date(run: Run) -> None:
    assert report.default_folder(run) == Path("reports", "example-processor-9000-2026-11-22")


def test_results_kept_beside_the_report_give_the_same_report(folder: Path, tmp_path: Path) -> None:
    report.write(report.read(folder / "results.json"), tmp_path)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


WRONG = {
    "no file": (None, "No such file"),
    "not JSON": ("GFLOP/s: 105", "is not a JSON file"),
    "a list": ("[1, 2]", "was not written by pytest-benchmark"),
    "another's": ('{"benchmarks": [{"name": "test_sort"}]}', "holds 1 benchmarks, none of them of fastnn's suites"),
    "no times": ('{"benchmarks": [{"name": "test_a", "extra_info": {"suite": "products", "what": "8x8x8"}}]}',
                 "benchmark 'test_a' is not as expected: KeyError('seconds')"),
    "no time of ours": ('{"benchmarks": [{"name": "test_a", "extra_info": {"suite": "products", "what": "8x8x8", '
                        '"seconds": {"numpy": {"best": 1, "median": 1}}}}]}', "no time of fastnn"),
    "negative": ('{"benchmarks": [{"name": "test_a", "extra_info": {"suite": "products", "what": "8x8x8", '
                 '"seconds": {"fastnn": {"best": -1, "median": 1}}}}]}', "times must be positive"),
}  # fmt: skip


@pytest.mark.parametrize("which", WRONG)
def test_wrong_files_are_refused(which: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = WRONG[which]
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    assert cli.main(["report", str(path), "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("fastnn report: ")
    assert not (tmp_path / "out").exists()

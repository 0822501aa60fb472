"""The performance report: from results to pages, with their numbers, and without a word about whose machine it was."""

from __future__ import annotations

import base64
import getpass
import itertools
import json
import platform
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import benchmark_results
import pytest

from fastnn import cli, report
from fastnn._canvas import new_axes, new_figure
from fastnn.report import findings, record, scrub, suites, tables, words
from fastnn.report.plots import networks, paper, products
from fastnn.report.record import Run

PICTURES = {
    *("products-float32", "products-float64", "heat-1", "heat-2", "roofline-1", "roofline-2", "threads", "growth-1"),
    *("training-1", "training-2", "inference-1", "inference-2", "speedup", "speedup-products-float32"),
    *("speedup-products-float64", "speedup-elementwise-float32", "speedup-training-step-float32"),
    "speedup-inference-float32",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Results as the suites write them."""
    return benchmark_results.document()


@pytest.fixture(scope="module")
def few(document: dict[str, Any]) -> dict[str, Any]:
    """A run of one row, which is soon drawn."""
    return {**document, "benchmarks": document["benchmarks"][:1]}


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


def test_who_is_faster_than_the_peak_is_not_cut_off(run: Run) -> None:
    axes = new_axes(new_figure(paper.WIDTH, 5.0), 1, 1, 1)
    rows = [row for row in run.suite("products") if row.shape["n"] >= 64 and row.dtype == "float32"]
    fastest = max(row.rate(name) for row in rows for name in row.times) / 1e9
    products._panel(axes, rows, fastest / 2)  # as bfloat16 beside the peak of float32
    assert axes.get_ylim()[1] > fastest


def test_every_picture_is_a_png_of_sane_size(folder: Path) -> None:
    pictures = {path.stem: path.read_bytes() for path in folder.glob("*.png")}
    assert set(pictures) == PICTURES
    for name, png in pictures.items():
        width, height = size(png)
        assert width == 1500, name
        assert 500 <= height <= 4000, name
        assert 10_000 < len(png) < 300_000, name


def test_markdown_links_every_picture(folder: Path) -> None:
    linked = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (folder / "REPORT.md").read_text())
    assert sorted(linked) == sorted(path.name for path in folder.glob("*.png"))


def test_page_contains_every_picture_and_nothing_from_elsewhere(folder: Path) -> None:
    page = (folder / "index.html").read_text()
    embedded = [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', page)]
    assert sorted(embedded) == sorted(path.read_bytes() for path in folder.glob("*.png"))
    assert len(re.findall("<img", page)) == len(embedded)
    words = re.sub(r'src="data:image/png;base64,[^"]+"', "", page)  # a picture may well hold the four letters
    assert "http" not in words
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize("name", ["index.html", "REPORT.md"])
def test_numbers_are_those_of_the_results(document: dict[str, Any], folder: Path, name: str) -> None:
    text = re.sub('data:[^"]+', "", (folder / name).read_text())  # pictures aside
    for benchmark in document["benchmarks"]:
        facts = benchmark["extra_info"]
        race = facts["suite"] != "import"
        for times in facts["seconds"].values():
            assert words.seconds(times["best"]) in text
            assert f"+{words.percent(times['median'] / times['best'] - 1)}" in text
        for peer, times in facts["seconds"].items():
            if race and peer != "fastnn":
                assert words.times(times["best"] / facts["seconds"]["fastnn"]["best"]) in text


def test_rates_are_held_against_what_bounds_them(document: dict[str, Any], run: Run) -> None:
    cells = {}
    for table in tables.rows(run):
        cells |= {(table.folded.partition(",")[0], row[0].text, row[1].text): row[3] for row in table.rows}
    for benchmark in document["benchmarks"]:
        facts = benchmark["extra_info"]
        best = facts["seconds"]["fastnn"]["best"]
        if facts["suite"] == "elementwise":
            rate, most, unit, bound = facts["bytes"] / best, facts["bytes_per_second"], "B/s", "bandwidth"
        elif facts["suite"] == "inference":
            rate, most, unit, bound = facts["flops"] / best, facts["peak_flops"], "FLOP/s", "peak"
        else:
            continue
        cell = cells[facts["suite"], facts["what"], str(facts["threads"])]
        assert cell.text == words.with_unit(rate, unit)
        assert cell.note == f"{words.percent(rate / most)} of {bound}"


def test_bars_are_all_there_misses_first(document: dict[str, Any], folder: Path) -> None:
    text = (folder / "REPORT.md").read_text()
    common = document["bars"]
    single = [bar for each in document["benchmarks"] for bar in each["extra_info"]["bars"]]
    missed = sum(not bar["met"] for bar in single)
    assert 0 < missed < len(single)
    assert f"{len(single) - missed} were met and {missed + len(common)} missed" in text
    lines = [line for line in text.splitlines() if "| met |" in line or "| **MISSED** |" in line]
    assert [bar["what"] for bar in common] == [line.split(" | ")[0][2:] for line in lines[: len(common)]]
    assert ["MISSED" in line for line in lines[1:]] == [True] * missed + [False] * (len(single) - missed)


def test_a_peak_that_does_not_agree_is_set_bold(few: dict[str, Any]) -> None:
    machine = {**few["machine_info"], "calculation": "they DISAGREE", "peak_agrees": False}
    assert tables.peak_check(record.parse({**few, "machine_info": machine})) == "Peak of one thread: **they DISAGREE**."
    assert "**" not in tables.peak_check(record.parse(few))


def test_losses_are_told_in_the_opening(run: Run, folder: Path) -> None:
    compared = [row for row in run.rows if row.suite != "import" and row.peers]
    ratios = {row.key: min(times.best for times in row.peers.values()) / row.ours.best for row in compared}
    lost = [row for row in compared if round(ratios[row.key], 2) < 1]
    opening = (folder / "REPORT.md").read_text().partition("\n## ")[0]
    assert 0 < len(lost) < len(compared)
    assert f"**{len(lost)} rows of {len(compared)} are slower" in opening
    worst = min(lost, key=lambda row: ratios[row.key])
    dtype = "" if worst.dtype == "float32" else f"{worst.dtype}, "
    where = f"{worst.what} ({worst.suite}, {dtype}{words.count(worst.threads, 'thread')})"
    assert f"The worst: {where} at {ratios[worst.key]:.2f}×" in opening


def test_waiting_for_a_busy_machine_is_admitted(document: dict[str, Any], folder: Path) -> None:
    waits = [each["extra_info"]["waited"] for each in document["benchmarks"] if "waited" in each["extra_info"]]
    assert waits
    assert f"{sum(waits):.0f} s in all, until processors were free" in (folder / "REPORT.md").read_text()


def test_how_far_apart_cores_were_is_told(folder: Path) -> None:
    assert "another core and back in 90 to 90 ns, median 90" in (folder / "REPORT.md").read_text()


def test_missing_peers_are_named_with_their_reason(folder: Path) -> None:
    text = (folder / "REPORT.md").read_text()
    assert "cupy (not installed); eigen (no library in libeigen.so)" in text


def test_settings_that_peers_ran_without_are_named(folder: Path) -> None:
    assert "peers ran without OPENBLAS_CORETYPE, set here" in (folder / "REPORT.md").read_text()


def test_nothing_tells_whose_machine_it_was(folder: Path) -> None:
    real = [name for name in (platform.node(), getpass.getuser()) if len(name) > 4]  # a short one is part of words
    for path in folder.iterdir():
        content = path.read_bytes()
        for word in ("secret", str(Path.home()) + "/", str(Path.cwd()), *real):
            assert word.encode() not in content, f"{word} in {path.name}"


def test_folder_is_named_after_processor_and_date(run: Run) -> None:
    assert report.default_folder(run) == Path("reports", "example-processor-9000-2026-11-22")


def test_results_kept_beside_the_report_are_those_that_it_shows(run: Run, folder: Path) -> None:
    assert report.read(folder / "results.json") == run


def one(seconds: dict[str, Any], **document: Any) -> str:
    """A file of one benchmark."""
    facts = {"suite": "products", "what": "8x8x8"} | ({"seconds": seconds} if seconds else {})
    return json.dumps({"benchmarks": [{"name": "test_a", "extra_info": facts}], **document})


FINE = {"fastnn": {"best": 1, "median": 1}}
WRONG = {
    "no file": (None, "No such file"),
    "not JSON": ("GFLOP/s: 105", "is not a JSON file"),
    "a list": ("[1, 2]", "was not written by pytest-benchmark"),
    "another's": ('{"benchmarks": [{"name": "test_sort"}]}', "holds 1 benchmarks, none of them of fastnn's suites"),
    "no times": (one({}), "benchmark 'test_a' is not as expected: KeyError('seconds')"),
    "no time of ours": (one({"numpy": FINE["fastnn"]}), "no time of fastnn"),
    "a negative time": (one({"fastnn": {"best": -1, "median": 1}}), "times must be positive"),
    "a bar without a verdict": (one(FINE, bars=[{"what": "a"}]), "a bar is not as expected: KeyError('measured')"),
    "a peak of nothing": (one(FINE, machine_info={"peak_flops": {"1": "high"}}), "machine_info is not as expected"),
}


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


def test_a_run_with_few_facts_has_a_report_too(few: dict[str, Any], tmp_path: Path) -> None:
    report.write(record.parse({**few, "machine_info": {}}), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".png") == [
        "REPORT.md", "index.html", "results.json",
    ]  # fmt: skip
    assert "unknown processor" in (tmp_path / "REPORT.md").read_text()


def test_a_contestant_that_nobody_foresaw_is_drawn(document: dict[str, Any]) -> None:
    renamed = json.loads(json.dumps(document).replace('"torch"', '"newcomer"'))
    pictures = list(networks.draw(record.parse(renamed)))
    assert [picture.name for picture in pictures] == ["training-1", "training-2", "inference-1", "inference-2"]
    assert pictures[0].png != next(iter(networks.draw(record.parse(document)))).png


def test_training_on_a_gpu_has_pictures_of_its_own(document: dict[str, Any]) -> None:
    moved = json.loads(json.dumps(document).replace('"training step"', '"GPU training step"'))
    names = [picture.name for picture in networks.draw(record.parse(moved))]
    assert names == ["gpu-training-1", "gpu-training-2", "inference-1", "inference-2"]


def test_a_restless_machine_is_admitted() -> None:
    restless = record.parse(benchmark_results.document(noise=0.5))
    assert "The machine was restless" in findings.summary(restless)
    assert "restless" not in findings.summary(record.parse(benchmark_results.document()))


def test_failed_benchmarks_are_admitted(few: dict[str, Any]) -> None:
    assert "Some benchmarks failed" in findings.summary(record.parse({**few, "failed": True}))
    assert "failed" not in findings.summary(record.parse(few))


# ---- running the suites


class Suites:
    """Stands in for pytest: writes results that were made up, and remembers how it was called."""

    def __init__(self, document: dict[str, Any], status: int = 0) -> None:
        self.document, self.status = document, status

    def __call__(self, command: list[str], cwd: Path, check: bool) -> subprocess.CompletedProcess[str]:
        self.command, self.folder = command, cwd
        if self.status < 2:
            Path(command[command.index("--benchmark-json") + 1]).write_text(json.dumps(self.document))
        return subprocess.CompletedProcess(command, self.status)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree, and the current folder; pytest-benchmark is there."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "fastnn").mkdir()
    (tmp_path / "bench" / "conftest.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(suites.importlib.util, "find_spec", lambda name: name)
    return tmp_path


@pytest.mark.parametrize("option, profile", [([], "quick"), (["--full"], "full")])
def test_report_runs_the_suites(option: list[str], profile: str, clone: Path, few: dict[str, Any],
                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    stand_in = Suites(few)
    monkeypatch.setattr(suites.subprocess, "run", stand_in)
    assert cli.main(["report", *option]) == 0
    assert stand_in.command[:4] == [sys.executable, "-m", "pytest", "bench"]
    assert stand_in.command[stand_in.command.index("--profile") + 1] == profile
    assert stand_in.folder == clone
    assert (clone / "reports" / "example-processor-9000-2026-11-22" / "index.html").is_file()


def test_failed_benchmarks_fail_the_command_but_leave_a_report(clone: Path, few: dict[str, Any],
                                                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(suites.subprocess, "run", Suites(few, status=1))
    assert cli.main(["report", "--output", "here"]) == 1
    assert "Some benchmarks failed" in (clone / "here" / "REPORT.md").read_text()


def test_suites_that_do_not_come_to_their_end_leave_no_report(clone: Path, few: dict[str, Any],
                                                              monkeypatch: pytest.MonkeyPatch,
                                                              capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setattr(suites.subprocess, "run", Suites(few, status=4))
    assert cli.main(["report"]) == 2
    assert "did not come to their end (pytest's status 4)" in capsys.readouterr().err
    assert not (clone / "reports").exists()


def test_outside_a_source_tree_it_says_where_the_suites_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(suites.fastnn, "__file__", str(tmp_path / "site-packages" / "fastnn" / "__init__.py"))
    assert cli.main(["report"]) == 2
    said = capsys.readouterr().err
    assert "the folder bench/ of fastnn's source tree" in said
    assert "`fastnn report RESULTS.json` anywhere" in said


def test_without_pytest_benchmark_it_says_what_to_install(clone: Path, monkeypatch: pytest.MonkeyPatch,
                                                          capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setattr(suites.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["report"]) == 2
    assert "need pytest, pytest_benchmark, matplotlib: pip install '.[bench]'" in capsys.readouterr().err


# ---- small things


@pytest.mark.parametrize(
    "value, text",
    [(0.9999, "1.00 s"), (5.2e-6, "5.20 µs"), (123.4e-9, "123 ns"), (2e-12, "0.00200 ns"), (0.0, "0 ns")],
)  # fmt: skip
def test_seconds_have_three_digits_and_a_fitting_unit(value: float, text: str) -> None:
    assert words.seconds(value) == text


@pytest.mark.parametrize(
    "value, text", [(0.9651, "0.97×"), (9.999, "10.00×"), (12.34, "12.3×"), (1234.5, "1,230×"), (0.00123, "0.0012×")]
)
def test_ratios_have_two_digits_behind_the_point_near_one(value: float, text: str) -> None:
    assert words.times(value) == text


@pytest.mark.parametrize("places", [[3.0, 1.0, 2.0], [0.0, 0.0, 0.0], [5.0, 0.0, 0.1, 0.2, 9.0], [1.0]])
def test_labels_keep_apart_in_their_order(places: list[float]) -> None:
    moved = paper.apart(places, 1.0)
    order = sorted(range(len(places)), key=places.__getitem__)
    gaps = [moved[after] - moved[before] for before, after in itertools.pairwise(order)]
    assert all(gap >= 1.0 - 1e-9 for gap in gaps)
    assert sum(moved) == pytest.approx(sum(places))


def test_paths_are_cut_to_their_last_name() -> None:
    said = {
        "a": ["in /home/secret/lib/libx.so: no", "C:\\Users\\secret\\x.dll", "~/secret/y"],
        "b": "GB/s, 1/2 and a/b",
    }
    assert scrub.without_folders(said) == {"a": ["in libx.so: no", "x.dll", "y"], "b": "GB/s, 1/2 and a/b"}

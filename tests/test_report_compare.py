"""`fastnn report --compare`: what got slower or faster between two runs, and whether that is more than noise."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benchmark_results
import pytest

from fastnn import cli
from fastnn.report import compare, record

ROW = "784-30-10, relu, batch 10"
Document = dict[str, Any]


@pytest.fixture
def files(tmp_path: Path) -> Callable[[Document, Document], list[str]]:
    """Writes two runs and gives their paths."""

    def write(before: Document, after: Document) -> list[str]:
        paths = [tmp_path / "before.json", tmp_path / "after.json"]
        for path, document in zip(paths, (before, after), strict=True):
            path.write_text(json.dumps(document))
        return [str(path) for path in paths]

    return write


def changed(document: Document, edit: Callable[[Document], None]) -> Document:
    """A copy in which the row's facts were edited, wherever it is a training step."""
    edited = copy.deepcopy(document)
    for benchmark in edited["benchmarks"]:
        facts = benchmark["extra_info"]
        if (facts["suite"], facts["what"]) == ("training step", ROW):
            edit(facts)
    return edited


def scaled(facts: Document, factor: float, *contestants: str) -> None:
    """Multiplies the times of some contestants, or of all."""
    for name in contestants or facts["seconds"]:
        for which in ("best", "median"):
            facts["seconds"][name][which] *= factor


def test_slower_beyond_noise_fails(files: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    before = benchmark_results.document()
    after = changed(before, lambda facts: scaled(facts, 1.5, "fastnn"))
    assert cli.main(["report", "--compare", *files(before, after), "--threshold", "10%"]) == 1
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if "slower" in line and ROW in line]
    assert len(lines) == 2  # on one thread and on two
    assert all("50.0% slower" in line for line in lines)
    assert said.rstrip().endswith("SLOWER: 2 rows by more than 10 % and beyond the noise")


def test_the_threshold_is_the_callers(files: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    before = benchmark_results.document()
    after = changed(before, lambda facts: scaled(facts, 1.5, "fastnn"))
    assert cli.main(["report", "--compare", *files(before, after), "--threshold", "0.6"]) == 0
    assert "ok: no row got slower by more than 60 %" in capsys.readouterr().out
    assert cli.main(["report", "--compare", *files(before, after)]) == 0
    assert "50.0% slower" in capsys.readouterr().out


def test_faster_is_no_failure(files: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    before = benchmark_results.document()
    after = changed(before, lambda facts: scaled(facts, 0.5, "fastnn"))
    assert cli.main(["report", "--compare", *files(before, after), "--threshold", "10%"]) == 0
    assert "50.0% faster" in capsys.readouterr().out


def test_two_noisy_runs_of_the_same_code_pass(files: Callable[..., list[str]]) -> None:
    runs = [benchmark_results.document(seed, noise=0.05) for seed in (1, 2)]
    paths = files(*runs)
    changes = compare.compare(record.parse(runs[0]), record.parse(runs[1])).changes
    assert max(change.slower for change in changes) > 0.01  # there is something to forgive
    assert cli.main(["report", "--compare", *paths, "--threshold", "1%"]) == 0


def test_slower_within_the_noise_passes(files: Callable[..., list[str]],
                                        capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    def restless(facts: Document) -> None:
        for times in facts["seconds"].values():
            times["median"] = 1.6 * times["best"]

    before = changed(benchmark_results.document(), restless)
    after = changed(before, lambda facts: scaled(facts, 1.5, "fastnn"))
    assert cli.main(["report", "--compare", *files(before, after), "--threshold", "10%"]) == 0
    assert "2 rows had more noise than that" in capsys.readouterr().out


def test_a_machine_in_a_worse_mood_is_not_a_regression(files: Callable[..., list[str]]) -> None:
    before = benchmark_results.document()

    def mood(facts: Document) -> None:
        scaled(facts, 1.5)
        facts["peak_flops"] /= 1.5

    paths = files(before, changed(before, mood))
    assert cli.main(["report", "--compare", *paths, "--threshold", "1%"]) == 0


def test_without_peers_and_peak_plain_times_are_compared(files: Callable[..., list[str]],
                                                         capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    def alone(facts: Document) -> None:
        facts["seconds"] = {"fastnn": facts["seconds"]["fastnn"]}
        facts["peak_flops"] = None

    before = changed(benchmark_results.document(), alone)
    after = changed(before, lambda facts: scaled(facts, 1.5))
    assert cli.main(["report", "--compare", *files(before, after), "--threshold", "10%"]) == 1
    assert "fastnn's time alone" in capsys.readouterr().out


def test_a_peer_of_another_version_is_no_yardstick() -> None:
    before = benchmark_results.document()
    after = changed(before, lambda facts: scaled(facts, 2.0, "torch", "torch.compile"))
    after["machine_info"]["versions"]["torch"] = "2.14.0"
    changes = compare.compare(record.parse(before), record.parse(after)).changes
    assert max(abs(change.slower) for change in changes) == 0
    assert not any("torch" in change.yardsticks or "torch.compile" in change.yardsticks for change in changes)
    assert any("numpy" in change.yardsticks for change in changes)


def test_a_disturbed_yardstick_has_no_say() -> None:
    before = benchmark_results.document()
    after = changed(before, lambda facts: scaled(facts, 20.0, "numpy"))
    changes = compare.compare(record.parse(before), record.parse(after)).changes
    (change,) = [each for each in changes if each.before.what == ROW and each.before.suite == "training step"
                 and each.before.threads == 1]  # fmt: skip
    assert len(change.yardsticks) >= 3
    assert abs(change.slower) < 0.01


def test_yardsticks_that_disagree_are_noise() -> None:
    before = benchmark_results.document()

    def apart(facts: Document) -> None:
        scaled(facts, 1.5, "numpy")
        scaled(facts, 0.6, "torch", "torch.compile")
        scaled(facts, 2.0, "fastnn")

    quiet, loud = (
        compare.compare(record.parse(before), record.parse(changed(before, edit))).changes[0]
        for edit in (lambda facts: scaled(facts, 2.0, "fastnn"), apart)
    )
    assert quiet.before.what == loud.before.what == ROW
    assert loud.noise > quiet.noise + 0.2


def test_rows_of_one_run_only_are_named(files: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    before, after = benchmark_results.document(), benchmark_results.document()
    gone, new = before["benchmarks"][0]["extra_info"], after["benchmarks"][1]["extra_info"]
    del after["benchmarks"][0], before["benchmarks"][1]
    assert cli.main(["report", "--compare", *files(before, after), "--threshold", "10%"]) == 0
    said = capsys.readouterr().out
    for which, facts in (("before", gone), ("after", new)):
        (line,) = re.findall(f"^only {which}: (.*)$", said, re.MULTILINE)
        assert line == f"{facts['suite']}: {facts['what']}, {facts['dtype']}, 1 thread"


def test_what_else_differs_is_told(files: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    before, after = benchmark_results.document(), benchmark_results.document()
    after["machine_info"]["fastnn"]["processor"] = "Another one"
    after["machine_info"]["versions"]["torch"] = "2.14.0"
    assert cli.main(["report", "--compare", *files(before, after)]) == 0
    said = capsys.readouterr().out
    assert "processor differs: Example(R) Processor 9000 CPU @ 2.60GHz before, Another one after" in said
    assert "version of torch differs: 2.13.0 before, 2.14.0 after" in said
    assert said.count(" differs: ") == 2


def test_nothing_in_common_is_an_error(files: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    before, after = benchmark_results.document(), benchmark_results.document()
    before["benchmarks"], after["benchmarks"] = before["benchmarks"][:1], after["benchmarks"][1:2]
    assert cli.main(["report", "--compare", *files(before, after)]) == 2
    assert "no row in common" in capsys.readouterr().err


WRONG_CALLS = {
    "a threshold alone": (["--threshold", "10%"], "belongs to --compare"),
    "output of a comparison": (["--compare", "a", "b", "--output", "c"], "nothing else goes with it"),
    "full of results": (["results.json", "--full"], "drawn as they are"),
    "no file": (["--compare", "missing.json", "missing.json"], "No such file"),
}


@pytest.mark.parametrize("which", WRONG_CALLS)
def test_wrong_calls_are_refused(which: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = WRONG_CALLS[which]
    assert cli.main(["report", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("threshold", ["ten", "-5%", "nan", ""])
def test_wrong_thresholds_are_refused(threshold: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["report", "--compare", "a", "b", f"--threshold={threshold}"])
    assert stopped.value.code == 2
    assert "expected a share such as 10% or 0.1" in capsys.readouterr().err

"""Every code block of the README: Python is executed, shell commands are those that CI runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)


def test_python_blocks_run_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, object] = {}
    blocks = [code for language, code in BLOCKS if language == "python"]
    assert len(blocks) >= 6
    for number, code in enumerate(blocks):
        exec(compile(code, f"README.md, Python block {number + 1}", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "4,810 parameters" in printed
    assert "'accuracy'" in printed


def test_shell_blocks_are_what_ci_runs() -> None:
    commands = [line for language, code in BLOCKS if language == "sh" for line in code.splitlines()]
    assert "make demo" in commands
    ci = (ROOT / ".ci" / "run").read_text()
    for command in commands:
        assert command in ci, f"CI does not run {command!r}"


def test_no_block_is_of_another_kind() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "sh"}

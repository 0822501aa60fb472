"""The examples run as their users run them, and show what they say they show."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(name: str, *arguments: str) -> str:
    """What the example prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, ROOT / "examples" / f"{name}.py", *arguments], env=environment, text=True,
                          capture_output=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_perceptron_learns_and_and_or_but_not_xor() -> None:
    printed = run("perceptron")
    parts = {part.split()[0]: part for part in printed.strip().split("\n\n")}
    assert parts.keys() == {"AND", "OR", "XOR"}
    assert "learned: y = 1 where 2 x1 + 1 x2 >= 3" in parts["AND"]
    assert "learned: y = 1" in parts["OR"]
    assert "not learned" in parts["XOR"]


def test_regression_finds_the_curve_behind_the_noise() -> None:
    printed = run("regression")
    score = re.search(r"R² against the truth: ([\d.]+)", printed)
    assert score
    assert float(score[1]) > 0.98


def test_own_loss_forgives_outliers() -> None:
    printed = run("custom_layer_and_loss")
    errors = {
        name: float(error) for name, error in re.findall(r"(\w+): error against the true curve ([\d.]+)", printed)
    }
    assert errors["log_cosh"] < 0.3 < 0.5 < errors["mse"]
    assert "radial_1 (Radial)" in printed


@pytest.mark.skipif("FASTNN_DATA" not in os.environ, reason="FASTNN_DATA is not set")
def test_nielsen_s_networks_after_one_epoch(tmp_path: Path) -> None:
    printed = run("nielsen_mnist", "--seeds", "1", "--epochs", "1", "--output", str(tmp_path))
    settings = json.loads((tmp_path / "results.json").read_text())["settings"]
    for name, sizes, most in (("a", "784-30-10", 0.08), ("b", "784-100-10", 0.08), ("c", "784-512-512-10", 0.06)):
        assert settings[name]["setting"]["epochs"] == 1
        (found,) = settings[name]["fastnn"]
        assert len(found["test_errors"]) == 1
        assert found["test_errors"][0] < most  # the book: 9,129 of 10,000 after the first epoch, of the first one
        assert f"{100 * (1 - found['test_errors'][0]):.2f} %" in printed
        assert f"| {sizes} |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "test_error.png").read_bytes().startswith(b"\x89PNG")

"""Which skips a run of the tests may have: in CI none that nobody expects."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from conftest import ALLOWED_SKIPS, _unexpected


def skipped(*reasons: str) -> SimpleNamespace:
    return SimpleNamespace(stats={"skipped": [SimpleNamespace(longrepr=("file", 1, reason)) for reason in reasons]})


def test_only_named_reasons_are_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTNN_EXPECT", raising=False)
    assert _unexpected(skipped(*(f"Skipped: {reason}" for reason in ALLOWED_SKIPS))) == []
    (found,) = _unexpected(skipped("PyTorch is not installed", "no time"))
    assert found.longrepr[2] == "no time"


def test_what_must_be_there_may_not_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNN_EXPECT", "PyTorch")
    (found,) = _unexpected(skipped("Skipped: PyTorch is not installed", "Skipped: CuPy is not installed"))
    assert "PyTorch" in found.longrepr[2]

"""Fixtures and rules for all tests: which levels and backends there are, and which skips are allowed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastnn
from fastnn import kernels

sys.path.append(str(Path(__file__).parents[1]))  # for bench/; behind an installed fastnn, which is to be tested then

# Reasons for which a test may be skipped; in CI (FASTNN_STRICT_SKIPS=1) any other skip is a failure. What
# FASTNN_EXPECT names, such as "PyTorch", must be there: that it is missing is no reason then.
ALLOWED_SKIPS = (
    "FASTNN_DATA is not set",
    "PyTorch is not installed",
    "CuPy is not installed",
    "this machine lacks level",
    "only on x86-64",
    "needs permission",
)


def pytest_configure(config: pytest.Config) -> None:
    """Declares the markers."""
    config.addinivalue_line("markers", "torch: compares with PyTorch where it is installed")
    config.addinivalue_line("markers", "kernel: runs again under every instruction-set level (tests/test_levels.py)")


@pytest.fixture
def threads_as_before() -> Iterator[None]:
    """Whatever a test asks for, the next one finds the number of threads that this one found."""
    before = fastnn.get_num_threads()
    yield
    fastnn.set_num_threads(before)


def pytest_report_header() -> str:
    """Says which kernels are tested."""
    return f"fastnn kernels: level {kernels.LEVEL} ({kernels.REASON})"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: object) -> None:
    """Names skips that nobody expected."""
    for report in _unexpected(terminalreporter):
        terminalreporter.write_line(f"UNEXPECTED SKIP: {report.nodeid}: {report.longrepr[2]}")  # type: ignore[attr-defined]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI an unexpected skip fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("FASTNN_STRICT_SKIPS") == "1" and exitstatus == 0 and _unexpected(reporter):
        session.exitstatus = 1


def _unexpected(reporter: object) -> list:
    skipped = getattr(reporter, "stats", {}).get("skipped", [])
    expected = os.environ.get("FASTNN_EXPECT")
    allowed = [reason for reason in ALLOWED_SKIPS if not (expected and reason.startswith(expected))]
    return [report for report in skipped if not any(reason in str(report.longrepr) for reason in allowed)]

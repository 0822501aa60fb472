"""Profiles: every instruction is timed, the floors are the machine's, and nothing is changed by looking."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import both

import fastnn as fnn
from fastnn import plots


def network(backend: str) -> fnn.Sequential:
    layers = [fnn.Dense(16, "relu"), fnn.Dropout(0.5), fnn.Dense(3)]
    return fnn.Sequential(layers, input_shape=8, seed=0, backend=backend)


def batch(rows: int = 40) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 8)).astype("float32"), rng.integers(0, 3, rows)


@both
def test_a_training_step(backend: str) -> None:
    net = network(backend)
    found = net.profile(*batch(), loss="cross_entropy", optimizer="adam")
    names = [timing.name for timing in found.timings]
    assert names[0] == "gather"
    assert names[-1] == "update_adam"
    assert "matmul + bias + relu" in names
    assert sum(found.share(timing) for timing in found.timings) == pytest.approx(1)
    first = found.timings[names.index("matmul + bias + relu")]
    assert first.flops == 2 * 40 * 8 * 16
    assert first.gflops == pytest.approx(first.flops / first.seconds / 1e9)
    arithmetic = first.flops / found.flops_per_second[first.threads]
    traffic = first.nbytes / found.bytes_per_second[first.threads]
    assert first.of_roofline == pytest.approx(max(arithmetic, traffic) / first.seconds)


@both
def test_looking_changes_nothing(backend: str) -> None:
    x, y = batch()
    looked_at, other = network(backend), network(backend)
    options = {"loss": "cross_entropy", "optimizer": "adam", "epochs": 2, "verbose": 0}
    for net in (looked_at, other):
        net.fit(x, y, **options)
    looked_at.profile(x, y)
    looked_at.profile(x)
    assert looked_at.trainer.steps == other.trainer.steps
    for net in (looked_at, other):
        net.fit(x, y, **options)
    for a, b in zip(looked_at.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_work_is_counted_for_the_rows_that_were_given() -> None:
    x, _ = batch(40)
    net = network("native")
    for rows in (1, 7):
        assert net.profile(x[:rows]).timings[0].flops == 2 * rows * 8 * 16
    assert net.profile(np.tile(x, (10, 1))).title == "predict, 256 rows"


def test_the_printed_table() -> None:
    found = network("native").profile(*batch(), loss="cross_entropy", optimizer="sgd")
    lines = str(found).splitlines()
    assert lines[0] == "training step, 40 rows, SGD"
    rows = [line for line in lines if re.match(r" *\d+  ", line)]
    assert len(rows) == len(found.timings)
    for row, timing in zip(rows, found.timings, strict=True):
        assert timing.name in row
        assert row.endswith(f"{timing.of_roofline:.0%}")
    assert "FLOP/s on 1 thread" in lines[-1]


def test_the_plot(tmp_path: Path) -> None:
    found = network("native").profile(*batch(), loss="cross_entropy")
    figure = plots.profile(found, path=tmp_path / "profile.png")
    assert (tmp_path / "profile.png").read_bytes().startswith(b"\x89PNG")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"{number}  {timing.name}" for number, timing in enumerate(found.timings)]


def test_arrays_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="shape"):
        network("native").profile(np.zeros((4, 5), np.float32))


@pytest.mark.kernel
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_peak_kernel_computes(dtype: str, threads: int) -> None:
    from fastnn import kernels
    from fastnn.kernels import executor

    out = np.zeros(threads, dtype)
    assert executor.call(kernels.address("peak", dtype), (out,), 1, (1000,), n_threads=threads) == 0
    np.testing.assert_array_less(0, out)
    assert len(set(out.tolist())) == 1

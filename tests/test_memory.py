"""Memory: flat over a long training, caches with a bound, and no hold on arrays that were only lent."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn as fnn
from fastnn.stepper import MAX_PROGRAMS

STEPS = 100_000
GROWTH = 2_000_000  # bytes over all steps: a leak of one Python float a step is 2.4 MB

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only on x86-64 Linux")


def resident() -> int:
    """Bytes of this process that are in memory."""
    import resource

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def make_trainer() -> fnn.Trainer:
    net = fnn.Sequential([fnn.Dense(3, "tanh"), fnn.Dropout(0.1), fnn.Dense(2)], input_shape=4, seed=0)
    return fnn.Trainer(net, "cross_entropy", fnn.Adam(1e-3))


def make_data(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 4)).astype(np.float32), rng.integers(0, 2, rows)


@needs_proc
def test_steps_of_varying_size() -> None:
    """Single steps, epochs, evaluations and predictions, each with another number of rows."""
    trainer = make_trainer()
    x, y = make_data(4000)
    rng = np.random.default_rng(1)

    def train(steps: int) -> None:
        end = trainer.steps + steps
        while trainer.steps < end:
            trainer.history.clear()  # the one thing that is meant to grow
            size, *sizes = rng.integers(1, 30, 11).tolist()
            trainer.fit(x, y, batch_size=size)
            trainer.network.predict(x[:size])
            trainer.evaluate(x[:size], y[:size])
            for rows in sizes:
                trainer.step(x[:rows], y[:rows])

    train(10_000)
    gc.collect()
    before = resident()
    train(STEPS)
    gc.collect()
    assert resident() - before < GROWTH


def test_programs_are_kept_up_to_a_bound() -> None:
    trainer = make_trainer()
    x, y = make_data(200)
    for size in range(1, 2 * MAX_PROGRAMS):
        trainer.fit(x, y, batch_size=size)
    assert len(trainer._stepper.runners) == MAX_PROGRAMS
    for rows in range(1, 200):
        trainer.step(x[:rows], y[:rows])
        trainer.network.predict(x[:rows])
    assert len(trainer._stepper.runners) == MAX_PROGRAMS
    assert trainer.network._predictor() is trainer.network._predictor()
    assert all(len(runner.idle) == 1 for runner in trainer._stepper.runners.values())


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint8])
def test_lent_arrays_are_let_go(kind: type) -> None:
    trainer = make_trainer()
    x, y = make_data(40)
    x = x.astype(kind)
    counts = sys.getrefcount(x), sys.getrefcount(y)
    trainer.step(x, y)
    trainer.fit(x, y)
    trainer.evaluate(x, y)
    trainer.network.predict(x)
    gc.collect()
    assert (sys.getrefcount(x), sys.getrefcount(y)) == counts


def test_a_network_is_freed_without_help() -> None:
    """Nothing in the library holds on to a network, a trainer or their blocks."""
    import weakref

    trainer = make_trainer()
    trainer.fit(*make_data(40))
    seen = [weakref.ref(trainer), weakref.ref(trainer.network), weakref.ref(trainer.network.layers[1])]
    del trainer
    gc.collect()
    assert [each() for each in seen] == [None] * 3

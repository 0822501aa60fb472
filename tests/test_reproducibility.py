"""One seed, one file: the same bytes at any number of threads, sliced or not, fused or not, killed or not."""

from __future__ import annotations

import functools
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn as fnn
from fastnn import epochs, stepper

pytestmark = pytest.mark.usefixtures("threads_as_before")

WIDTH, ROWS, BATCH, EPOCHS = 256, 700, 128, 3  # wide enough for several threads; the last batch is smaller


def make_trainer(dtype: str = "float32") -> fnn.Trainer:
    """Dropout, a schedule, penalties, clipping by norm: everything that has a state or sums over many numbers."""
    layers = [
        fnn.Dense(WIDTH, "relu"), fnn.Dropout(0.3), fnn.Dense(WIDTH, "gelu"), fnn.Dropout(0.1), fnn.Dense(5),
    ]  # fmt: skip
    net = fnn.Sequential(layers, input_shape=WIDTH, seed=11, dtype=dtype)
    rate = fnn.schedules.Cosine(1e-3, 40)
    return fnn.Trainer(net, "cross_entropy", fnn.Adam(rate, l2=1e-4, clip_norm=1.0), learning_rates={"dense_1": 0.5})


def make_data(rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.standard_normal((rows, WIDTH)), rng.integers(0, 5, rows)


def digest(trainer: fnn.Trainer, folder: Path) -> str:
    """Of the trainer's file: weights, optimizer state, counters and history."""
    trainer.save(folder / "trainer.safetensors")
    return hashlib.sha256((folder / "trainer.safetensors").read_bytes()).hexdigest()


def train(folder: Path, dtype: str = "float32", epochs: tuple[int, ...] = (EPOCHS,), **options: Any) -> str:
    x, y = make_data()
    trainer = make_trainer(dtype)
    for each in epochs:
        trainer.fit(x, y, batch_size=BATCH, epochs=each, validation_split=0.1, **options)
    return digest(trainer, folder)


@functools.cache
def expected(dtype: str) -> str:
    """The digest of a training on one thread."""
    import tempfile

    before = fnn.get_num_threads()
    fnn.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return train(Path(folder), dtype)
    finally:
        fnn.set_num_threads(before)


DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


@DTYPES
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads(threads: int, dtype: str, tmp_path: Path) -> None:
    fnn.set_num_threads(threads)
    assert train(tmp_path, dtype) == expected(dtype)


@DTYPES
def test_there_is_work_for_several_threads(dtype: str) -> None:
    trainer = make_trainer(dtype)
    trainer.fit(*make_data(BATCH), batch_size=BATCH)
    (runner,) = trainer._stepper.runners.values()
    assert sum(instruction.work > 100_000 for instruction in runner.program.instructions) >= 3  # nanoseconds


@pytest.mark.parametrize("threads", [1, 4])
def test_another_seed_is_another_file(threads: int, tmp_path: Path) -> None:
    """The digest sees what it should see."""
    fnn.set_num_threads(threads)
    trainer = make_trainer()
    trainer.network.seed = 12
    trainer.fit(*make_data(), batch_size=BATCH, epochs=EPOCHS, validation_split=0.1)
    assert digest(trainer, tmp_path) != expected("float32")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("seconds, updates", [(0.0, 4096), (1e9, 4096), (0.0, 3), (1e9, 3)])
def test_slices(seconds: float, updates: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fnn.set_num_threads(threads)
    monkeypatch.setattr(epochs, "SLICE_SECONDS", seconds)
    monkeypatch.setattr(epochs, "TABLE_UPDATES", updates)
    assert train(tmp_path) == expected("float32")


@pytest.mark.parametrize("updates", [4096, 3])
def test_a_callback_after_each_step(updates: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fnn.set_num_threads(2)
    monkeypatch.setattr(epochs, "TABLE_UPDATES", updates)
    steps = []
    watch = fnn.callbacks.LambdaCallback(on_batch_end=lambda trainer, step, loss: steps.append(step))
    assert train(tmp_path, callbacks=[watch]) == expected("float32")
    assert len(steps) == EPOCHS * -(-ROWS * 9 // 10 // BATCH)


@DTYPES
@pytest.mark.parametrize("threads", [1, 4])
def test_fused_or_not(threads: int, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    original = stepper.trace_step

    def unfused(*arguments: Any) -> Any:
        *others, fused = arguments
        assert fused is True
        program = original(*others, False)
        lengths.append((len(program.instructions), len(original(*arguments).instructions)))
        return program

    monkeypatch.setattr(stepper, "trace_step", unfused)
    fnn.set_num_threads(threads)
    assert train(tmp_path, dtype) == expected(dtype)
    assert all(separate > fused for separate, fused in lengths)


@pytest.mark.parametrize("epochs", [(1, 2), (2, 1), (1, 1, 1)])
def test_epochs_one_at_a_time(epochs: tuple[int, ...], tmp_path: Path) -> None:
    fnn.set_num_threads(2)
    assert train(tmp_path, epochs=epochs) == expected("float32")


@DTYPES
def test_saved_and_loaded_between_epochs(dtype: str, tmp_path: Path) -> None:
    x, y = make_data()
    trainer = make_trainer(dtype)
    for threads in (1, 2, 4):
        fnn.set_num_threads(threads)
        trainer.fit(x, y, batch_size=BATCH, validation_split=0.1)
        trainer.save(tmp_path / "between")
        trainer = fnn.Trainer.load(tmp_path / "between")
    assert digest(trainer, tmp_path) == expected(dtype)


def test_the_arrays_strides_and_types_do_not_matter(tmp_path: Path) -> None:
    """Column-major, reversed, read-only data, and narrower integers give the same file."""
    x, y = make_data()
    strided = np.asfortranarray(x[::-1])[::-1]
    strided.flags.writeable = False
    trainer = make_trainer()
    trainer.fit(strided, y.astype(np.uint8), batch_size=BATCH, epochs=EPOCHS, validation_split=0.1)
    assert digest(trainer, tmp_path) == expected("float32")


def test_reduce_on_plateau_resumes(tmp_path: Path) -> None:
    def make() -> fnn.Trainer:
        rate = fnn.schedules.ReduceOnPlateau(0.05, factor=0.5, patience=1, min_delta=1.0, monitor="loss")
        net = fnn.Sequential([fnn.Dense(8, "tanh"), fnn.Dense(5)], input_shape=WIDTH, seed=1)
        return fnn.Trainer(net, "cross_entropy", fnn.SGD(rate, momentum=0.9))

    x, y = make_data(64)
    whole, parts = make(), make()
    whole.fit(x, y, epochs=12)
    for _ in range(4):
        parts.fit(x, y, epochs=3)
        parts.save(tmp_path / "between")
        parts = fnn.Trainer.load(tmp_path / "between")
    assert len(set(whole.history["learning_rate"])) > 1, "the rate was never reduced"
    assert digest(parts, tmp_path) == digest(whole, tmp_path)


def test_rows_of_a_prediction_do_not_depend_on_their_neighbours() -> None:
    fnn.set_num_threads(3)
    x, _ = make_data(517)
    net = make_trainer().network
    whole = net.predict(x)
    for start, stop in ((0, 1), (0, 3), (255, 257), (300, 517), (516, 517)):
        assert net.predict(x[start:stop]).tobytes() == whole[start:stop].tobytes()


KILLED = """
import os, sys
sys.path.insert(0, {tests!r})
import fastnn as fnn
from pathlib import Path
import test_reproducibility as here

path = Path(sys.argv[1])
fnn.set_num_threads(int(sys.argv[2]))
trainer = fnn.Trainer.load(path) if path.exists() else here.make_trainer()

class Killed(fnn.callbacks.Callback):
    def on_batch_end(self, trainer, step, loss):
        if step in (7, 11):  # in the second epoch, and in the third; each run dies but the last
            if not Path(str(path) + str(step)).exists():
                Path(str(path) + str(step)).touch()
                os.kill(os.getpid(), 9)

while trainer.epoch < here.EPOCHS:
    trainer.fit(*here.make_data(), batch_size=here.BATCH, epochs=here.EPOCHS - trainer.epoch, validation_split=0.1,
                callbacks=[fnn.callbacks.Checkpoint(str(path)), Killed()])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="only on x86-64 Linux")
def test_killed_and_resumed(tmp_path: Path) -> None:
    path, code = tmp_path / "run.safetensors", KILLED.format(tests=os.path.dirname(__file__))
    ends = []
    for threads in (2, 1, 4):
        done = subprocess.run([sys.executable, "-c", code, str(path), str(threads)], capture_output=True, text=True)
        ends.append(done.returncode)
    assert ends == [-signal.SIGKILL, -signal.SIGKILL, 0], done.stderr
    assert hashlib.sha256(path.read_bytes()).hexdigest() == expected("float32")


@pytest.mark.parametrize("make", [lambda: make_trainer().network, make_trainer])
def test_files_hold_no_time(make: Callable[[], Any], tmp_path: Path) -> None:
    made = [make(), make()]
    for number, each in enumerate(made):
        if isinstance(each, fnn.Trainer):
            each.fit(*make_data(64))
        each.save(tmp_path / str(number))
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()

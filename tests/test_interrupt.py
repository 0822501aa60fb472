"""Ctrl-C and other ways out of a training: it ends at once, between two steps, and can go on as if nothing had been."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import fastnn as fnn
from fastnn import archive

LIMIT = 2.0  # seconds from the signal to the end of `fit`; a tenth of one on a machine with nothing else to do
FOREVER = 10**9


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = fnn.get_num_threads()
    fnn.set_num_threads(request.param)
    yield request.param
    fnn.set_num_threads(before)


def make_trainer(width: int, backend: str = "native") -> fnn.Trainer:
    layers = [fnn.Dense(width, "relu"), fnn.Dropout(0.2), fnn.Dense(width, "tanh"), fnn.Dense(3)]
    net = fnn.Sequential(layers, input_shape=width, seed=4, backend=backend)
    return fnn.Trainer(net, "cross_entropy", fnn.Adam(1e-3))


def make_small_trainer(width: int) -> fnn.Trainer:
    """Whose steps on one row are run in one go."""
    net = fnn.Sequential([fnn.Dense(4, "sigmoid"), fnn.Dense(1)], input_shape=width, seed=4, backend="native")
    return fnn.Trainer(net, "mse", fnn.SGD(1e-3))


def make_data(width: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(width)
    return rng.standard_normal((rows, width)).astype(np.float32), rng.integers(0, 3, rows)


class StopAfter(fnn.callbacks.Callback):
    """Ends a training after so many steps, counted over the trainer's life."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_batch_end(self, trainer: fnn.Trainer, step: int, loss: float) -> None:
        assert trainer.steps == step + 1
        if trainer.steps == self.steps:
            trainer.stop()


@pytest.fixture(autouse=True)
def interrupts_are_heard() -> Iterator[None]:
    """A process that a shell has put into the background ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def bits(trainer: fnn.Trainer) -> bytes:
    """Weights and optimizer state."""
    return b"".join(w.tobytes() for w in trainer.network.get_weights()) + trainer._stepper.state.tobytes()


@contextmanager
def signal_when(
    condition: Callable[[], bool], number: int = signal.SIGINT, after: float = 0.0
) -> Iterator[list[float]]:
    """Sends this process a signal some time after a condition has come true; yields a list that gets the moment."""
    moment: list[float] = []

    def send() -> None:
        while not condition():
            time.sleep(0.001)
        time.sleep(after)
        moment.append(time.perf_counter())
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    yield moment
    sender.join()


def forever(call: Callable[[], object], running: threading.Event) -> None:
    """Calls again and again, until an exception ends it."""
    running.set()
    while True:
        call()


@pytest.mark.parametrize(
    "make, width, rows, batch",
    [(make_trainer, 6, 50, 4), (make_trainer, 200, 400, 64), (make_small_trainer, 3, 5000, 1)],
    ids=["small", "wide", "in one go"],
)
def test_in_mid_epoch(make: Callable[[int], fnn.Trainer], width: int, rows: int, batch: int, threads: int) -> None:
    x, labels = make_data(width, rows)
    y = labels.astype(np.float32) if make is make_small_trainer else labels
    trainer = make(width)
    trainer.fit(x, y, epochs=2, batch_size=batch)
    begun = trainer.steps
    with signal_when(lambda: trainer.steps > begun, after=0.02) as moment, pytest.raises(KeyboardInterrupt):
        trainer.fit(x, y, epochs=FOREVER, batch_size=batch)
    assert time.perf_counter() - moment[0] < LIMIT
    assert trainer.epoch >= 2
    assert all(len(values) == trainer.epoch for values in trainer.history.values())
    assert trainer.steps > begun

    again = make(width)
    again.fit(x, y, epochs=FOREVER, batch_size=batch, callbacks=[StopAfter(trainer.steps)])
    assert bits(again) == bits(trainer), f"{trainer.steps} steps were counted, another number was made"
    again.epoch = trainer.epoch
    for each in (trainer, again):
        each.fit(x, y, batch_size=batch)
    assert bits(again) == bits(trainer)


def test_in_one_long_step(threads: int) -> None:
    width, rows = 700, 700
    x, y = make_data(width, rows)
    trainer, whole = make_trainer(width), make_trainer(width)
    states = [bits(whole)]
    for after in (0.0, 0.01, 0.03):
        running = threading.Event()
        with signal_when(running.is_set, after=after), pytest.raises(KeyboardInterrupt):
            forever(lambda: trainer.step(x, y), running)
        while len(states) <= trainer.steps:
            whole.step(x, y)
            states.append(bits(whole))
        assert bits(trainer) == states[trainer.steps]
    assert trainer.step(x, y) > 0


def test_in_prediction_and_evaluation(threads: int) -> None:
    x, y = make_data(300, 20000)
    trainer = make_trainer(300)
    before = bits(trainer)
    for call in (lambda: trainer.network.predict(x), lambda: trainer.evaluate(x, y)):
        running = threading.Event()
        with signal_when(running.is_set, after=0.01) as moment, pytest.raises(KeyboardInterrupt):
            forever(call, running)
        assert time.perf_counter() - moment[0] < LIMIT
    assert bits(trainer) == before
    assert trainer.network.predict(x[:3]).shape == (3, 3)


def test_numpy_backend() -> None:
    x, y = make_data(6, 50)
    trainer = make_trainer(6, "numpy")
    with signal_when(lambda: trainer.steps > 20), pytest.raises(KeyboardInterrupt):
        trainer.fit(x, y, epochs=FOREVER, batch_size=4)
    again = make_trainer(6, "numpy")
    again.fit(x, y, epochs=FOREVER, batch_size=4, callbacks=[StopAfter(trainer.steps)])
    assert bits(again) == bits(trainer)


def test_what_a_handler_raises_comes_through() -> None:
    def too_late(*_: object) -> None:
        raise TimeoutError("time is up")

    x, y = make_data(6, 50)
    trainer = make_trainer(6)
    before = signal.signal(signal.SIGUSR1, too_late)
    try:
        with (
            signal_when(lambda: trainer.steps > 0, signal.SIGUSR1),
            pytest.raises(TimeoutError, match="time is up"),
        ):
            trainer.fit(x, y, epochs=FOREVER)
    finally:
        signal.signal(signal.SIGUSR1, before)
    trainer.fit(x, y)


def test_a_handler_that_returns_changes_nothing() -> None:
    calls: list[int] = []
    x, y = make_data(6, 50)
    trainer, quiet = make_trainer(6), make_trainer(6)
    before = signal.signal(signal.SIGUSR1, lambda *_: calls.append(1))
    try:
        with signal_when(lambda: trainer.steps > 0, signal.SIGUSR1):
            while not calls:
                trainer.fit(x, y)
    finally:
        signal.signal(signal.SIGUSR1, before)
    quiet.fit(x, y, epochs=trainer.epoch)
    assert bits(quiet) == bits(trainer)


def test_an_exception_of_a_callback_ends_the_training_whole() -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no more")

    x, y = make_data(6, 50)
    trainer, again = make_trainer(6), make_trainer(6)
    with pytest.raises(RuntimeError, match="no more"):
        trainer.fit(x, y, epochs=9, callbacks=[fnn.callbacks.LambdaCallback(on_epoch_end=fail)])
    assert trainer.epoch == len(trainer.history["loss"]) == 1
    again.fit(x, y)
    assert bits(again) == bits(trainer)
    trainer.fit(x, y)
    assert trainer.epoch == 2


def test_two_trainings_of_one_network_at_once_are_an_error() -> None:
    x, y = make_data(6, 50)
    trainer = make_trainer(6)
    other = fnn.Trainer(trainer.network, "cross_entropy", "sgd")
    thread = threading.Thread(target=trainer.fit, args=(x, y), kwargs={"epochs": FOREVER})
    thread.start()
    try:
        while not trainer.steps:
            time.sleep(0.001)
        calls = (
            lambda: other.fit(x, y), lambda: other.step(x, y), lambda: trainer.gradients(x, y),
            lambda: trainer.fit(x, y), lambda: trainer.network.fit(x, y, loss="cross_entropy"),
        )  # fmt: skip
        for call in calls:
            with pytest.raises(RuntimeError, match="is being trained already"):
                call()
        assert thread.is_alive()
    finally:
        trainer.stop()
        thread.join()
    assert trainer.network.trainer is None
    assert other.steps == 0
    other.fit(x, y)


def test_training_from_within_a_callback_is_an_error() -> None:
    x, y = make_data(6, 50)
    trainer = make_trainer(6)
    step = fnn.callbacks.LambdaCallback(on_batch_end=lambda trainer, step, loss: trainer.step(x, y))
    with pytest.raises(RuntimeError, match="from within a callback"):
        trainer.fit(x, y, callbacks=[step])
    assert trainer.steps == 1
    trainer.fit(x, y)


def test_stopped_before_the_first_step() -> None:
    x, y = make_data(6, 50)
    trainer = make_trainer(6)
    begin = fnn.callbacks.LambdaCallback(on_epoch_begin=lambda trainer, epoch: trainer.stop())
    assert trainer.fit(x, y, epochs=3, callbacks=[begin]) == {}
    assert trainer.steps == trainer.epoch == 0


def test_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(6)
    trainer.save(tmp_path / "trainer")
    before = (tmp_path / "trainer").read_bytes()
    trainer.step(*make_data(6, 50))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(archive.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.save(tmp_path / "trainer")
    assert [path.name for path in tmp_path.iterdir()] == ["trainer"]
    assert (tmp_path / "trainer").read_bytes() == before


STORM = """
import random, signal, time
import numpy as np
import fastnn as fnn

def make():
    net = fnn.Sequential([fnn.Dense(4, "relu"), fnn.Dense(2)], input_shape=4, seed=0)
    return fnn.Trainer(net, "cross_entropy", fnn.Adam(0.01))

def bits(trainer):
    return b"".join(w.tobytes() for w in trainer.network.get_weights()) + trainer._stepper.state.tobytes()

class StopAfter(fnn.callbacks.Callback):
    def __init__(self, steps):
        self.steps = steps
    def on_batch_end(self, trainer, step, loss):
        if trainer.steps == self.steps:
            trainer.stop()

x = np.random.default_rng(0).standard_normal((9, 4))
y = np.arange(9) % 2
started = time.perf_counter()
make().fit(x, y, epochs=1, batch_size=3)  # builds all that is built once: some are to be interrupted at it, some later
longest = 2 * (time.perf_counter() - started)
trainer, replay = make(), make()
random.seed(1)
signal.signal(signal.SIGALRM, signal.default_int_handler)
for _ in range(300):
    epoch, steps = trainer.epoch, trainer.steps
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, longest))
        trainer.fit(x, y, epochs=10**9, batch_size=3)
    except KeyboardInterrupt:
        pass
    if trainer.steps > steps:
        replay.epoch = epoch
        replay.fit(x, y, epochs=10**9, batch_size=3, callbacks=[StopAfter(trainer.steps)])
        replay.stopping = False
    assert replay.steps == trainer.steps
    assert bits(replay) == bits(trainer), "the count of steps is wrong"
assert trainer.steps > 300
print("calm again")
"""


def test_a_storm_of_signals() -> None:
    """Wherever the exception comes, in Python or in compiled code: no lock stays taken and no step is lost or torn."""
    done = subprocess.run([sys.executable, "-c", STORM], capture_output=True, text=True, timeout=120)
    assert done.stdout == "calm again\n", done.stderr


LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp)
HARMLESS = (  # to leave without `__exit__`
    "Graph(", "graph", "file", "urlopen(", "tqdm(", "np.errstate(", "_naming(",
)  # fmt: skip


def within(node: ast.AST) -> Iterator[ast.AST]:
    """All that runs in the same function as the node."""
    if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.GeneratorExp | ast.ClassDef):
        yield node
        for child in ast.iter_child_nodes(node):
            yield from within(child)


def must_be_left(node: ast.AST) -> bool:
    """Whether it is a block whose end must not be skipped."""
    if isinstance(node, ast.With):
        return not all(ast.unparse(item.context_expr).startswith(HARMLESS) for item in node.items)
    return isinstance(node, ast.Try) and bool(node.finalbody)


def test_no_loop_stands_in_a_block_that_has_to_be_left() -> None:
    """From Python 3.12 on, a signal's exception where a loop goes back skips the `finally` and `__exit__` around it."""
    found = []
    for path in sorted(Path(fnn.__file__).parent.rglob("*.py")):
        if "report" in path.parts or path.stem == "plots":  # nothing there is held
            continue
        for block in filter(must_be_left, ast.walk(ast.parse(path.read_text(encoding="utf-8")))):
            loops = [each for part in block.body for each in within(part) if isinstance(each, LOOPS)]
            found += [f"{path.name}:{loop.lineno}" for loop in loops]
    assert not found

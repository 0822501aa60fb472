"""A network that one thread trains can be saved and copied by others: they find it between two steps."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn as fnn
from fastnn.kernels.executor import Unchanged

FOREVER = 10**9
SECONDS = 60  # until what hangs has failed
WIDTH = 300


def twins() -> fnn.Network:
    """A network of two equal halves that learn the same: after every step their weights are equal, to the bit."""
    x = fnn.Input(WIDTH)
    halves = [fnn.Dense(WIDTH, weight_initializer="zeros", name=name)(x) for name in ("left", "right")]
    return fnn.Network(x, halves)


def data() -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 64, WIDTH)).astype(np.float32)
    return x, (y, y)


def is_whole(net: fnn.Network) -> bool:
    weights = {name: value.tobytes() for name, value in net.parameters().items()}
    return all(weights[name] == weights[name.replace("left", "right")] for name in weights)


@contextmanager
def training(work: Callable[[fnn.Trainer, threading.Event], Any]) -> Iterator[fnn.Trainer]:
    """Another thread that trains twins until the end of the block; what it raises is raised here."""
    trainer = fnn.Trainer(twins(), "mse", fnn.SGD(0.01, momentum=0.9))
    end = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, trainer, end)
        try:
            while not trainer.steps and not future.done():
                time.sleep(0.001)
            yield trainer
        finally:
            end.set()
            trainer.stop()
            future.result(SECONDS)


def fit(trainer: fnn.Trainer, end: threading.Event) -> None:
    trainer.fit(*data(), epochs=FOREVER, batch_size=16)


def fit_with_accumulation(trainer: fnn.Trainer, end: threading.Event) -> None:
    trainer.fit(*data(), epochs=FOREVER, batch_size=16, gradient_accumulation_steps=2)


def step(trainer: fnn.Trainer, end: threading.Event) -> None:
    while not end.is_set():
        trainer.step(*data())


def copy_by(how: str, net: fnn.Network, folder: Path) -> fnn.Network:
    if how == "save":
        net.save(folder / "net.safetensors")
        return fnn.load(folder / "net.safetensors")
    if how == "pickle":
        return pickle.loads(pickle.dumps(net))
    if how == "get_weights":
        other = twins()
        other.set_weights(net.get_weights())
        return other
    if how == "blend":
        other = twins()
        other.copy_weights_from(net)
        return other
    return copy.deepcopy(net)


@pytest.mark.parametrize("work", [fit, fit_with_accumulation, step])
@pytest.mark.parametrize("how", ["save", "pickle", "deepcopy", "get_weights", "blend"])
def test_copies_of_a_network_in_training_are_whole(
    how: str, work: Callable[[fnn.Trainer, threading.Event], Any], tmp_path: Path
) -> None:
    seen: set[bytes] = set()
    end = time.monotonic() + SECONDS
    with training(work) as trainer:
        while len(seen) < 5:
            net = copy_by(how, trainer.network, tmp_path)
            assert is_whole(net)
            assert time.monotonic() < end, "the training stands still"
            seen.add(net.get_weights()[0].tobytes())
            time.sleep(0.001)


def test_who_reads_without_a_pause_does_not_hold_up_the_training() -> None:
    seen: set[bytes] = set()
    end = time.monotonic() + SECONDS
    with training(fit) as trainer:
        while len(seen) < 3:
            seen.add(trainer.network.get_weights()[0].tobytes())
            assert time.monotonic() < end, "the training stands still"


def test_a_callback_may_wait_for_another_thread_that_saves(tmp_path: Path) -> None:
    net = twins()
    with ThreadPoolExecutor(1) as pool:

        def save(trainer: Any, epoch: int, metrics: Any) -> None:
            pool.submit(net.save, tmp_path / f"{epoch}.safetensors").result(SECONDS)

        net.fit(*data(), loss="mse", epochs=3, callbacks=[fnn.callbacks.LambdaCallback(on_epoch_end=save)])
    assert is_whole(fnn.load(tmp_path / "2.safetensors"))
    assert fnn.load(tmp_path / "2.safetensors").get_weights()[0].tobytes() == net.get_weights()[0].tobytes()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="only on x86-64 Linux")
def test_a_signal_handler_may_save_in_mid_training(tmp_path: Path) -> None:
    trainer = fnn.Trainer(twins(), "mse", fnn.SGD(0.01, momentum=0.9))
    saved = []

    def save(*_: Any) -> None:
        if trainer.steps:
            trainer.network.save(tmp_path / "net.safetensors")
            saved.append(is_whole(fnn.load(tmp_path / "net.safetensors")))
        if len(saved) < 5:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
        else:
            trainer.stop()

    before = signal.signal(signal.SIGALRM, save)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        trainer.fit(*data(), epochs=FOREVER, batch_size=16)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert saved == [True] * 5


def test_a_trainer_in_a_fit_is_not_copied_by_others(tmp_path: Path) -> None:
    """Its network and its optimizer would be of two different steps."""
    attempts: list[Callable[[fnn.Trainer], Any]] = [
        copy.deepcopy, pickle.dumps, lambda trainer: trainer.save(tmp_path / "trainer.safetensors"),
    ]  # fmt: skip
    with training(fit) as trainer:
        for attempt in attempts:
            with pytest.raises(RuntimeError, match="being trained by another thread"):
                attempt(trainer)
    for attempt in attempts:
        attempt(trainer)


def test_a_callback_may_copy_its_trainer() -> None:
    found = []
    keep = fnn.callbacks.LambdaCallback(on_epoch_end=lambda trainer, *_: found.append(copy.deepcopy(trainer)))
    trainer = fnn.Trainer(twins(), "mse", "adam")
    trainer.fit(*data(), epochs=2, callbacks=keep)
    assert [each.steps for each in found] == [2, 4]
    assert is_whole(found[0].network)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only on x86-64 Linux")
def test_a_child_forked_in_mid_training_does_not_wait_for_its_parents_thread() -> None:
    code = """
import os, threading, time
import fastnn, numpy as np
net = fastnn.Sequential([fastnn.Dense(256, "relu"), fastnn.Dense(3)], input_shape=256)
trainer = fastnn.Trainer(net, "cross_entropy", "sgd")
thread = threading.Thread(target=trainer.fit, args=(np.ones((256, 256)), np.zeros(256, int)),
                          kwargs={"epochs": 10**9})
thread.start()
while not trainer.steps:
    time.sleep(0.001)
for _ in range(5):
    if os.fork() == 0:
        net.set_weights(net.copy().get_weights())
        os._exit(0)
print([os.wait()[1] for _ in range(5)])
trainer.stop()
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout == "[0, 0, 0, 0, 0]\n", done.stderr


def test_a_handler_saves_while_its_own_thread_waits_for_a_reader(tmp_path: Path) -> None:
    net, path = twins(), tmp_path / "net.safetensors"
    reading, read = threading.Event(), threading.Event()

    def reader() -> None:  # stands for a copy that takes long
        with Unchanged(net.block.changes):
            reading.set()
            assert read.wait(SECONDS)

    def handler(*_: object) -> None:
        net.save(path)
        read.set()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(reader)
            assert reading.wait(SECONDS)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            net.fit(*data(), loss="mse", optimizer=fnn.SGD(0.01), verbose=0)  # waits for the reader
            future.result(SECONDS)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert is_whole(fnn.load(path))


def test_copies_of_a_trainer_that_another_thread_calls_are_of_one_step() -> None:
    def fresh() -> fnn.Trainer:
        net = fnn.Sequential([fnn.Dense(WIDTH, "tanh"), fnn.Dense(4)], input_shape=WIDTH, seed=0)
        return fnn.Trainer(net, "mse", fnn.Adam(1e-3))

    x, (y, _) = data()
    y = np.ascontiguousarray(y[:, :4])
    expected, ahead = {}, fresh()
    for step in range(202):
        expected[step] = ahead.network.get_weights()[0].tobytes()
        ahead.step(x, y)
    trainer, copied = fresh(), 0

    def train() -> None:
        for step in range(200):
            trainer.step(x, y)
            if step % 5 == 0:
                time.sleep(0.002)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(train)
        while not future.done():
            try:
                twin = pickle.loads(pickle.dumps(trainer)) if copied % 2 else copy.deepcopy(trainer)
            except RuntimeError:  # in the middle of a step
                continue
            copied += 1
            at = twin.steps
            assert twin.network.get_weights()[0].tobytes() == expected[at]
            twin.step(x, y)  # Adam's moments and counter are those of the same step
            assert twin.network.get_weights()[0].tobytes() == expected[at + 1]
        future.result(SECONDS)
    assert copied > 1

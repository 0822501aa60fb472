"""Processes: forked, spawned and loky workers train after threads were used; killed ones leave whole files."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn as fnn
from fastnn.kernels import executor

needs_openmp = pytest.mark.skipif(not executor.HAS_OPENMP, reason="built without OpenMP")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="only on x86-64 Linux")
SECONDS = 120  # until a child that hangs has failed


def make_network(seed: int = 0, width: int = 256) -> fnn.Sequential:
    return fnn.Sequential([fnn.Dense(width, "relu"), fnn.Dropout(0.1), fnn.Dense(3)], input_shape=width, seed=seed)


def make_data(width: int = 256) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((256, width)).astype(np.float32), rng.integers(0, 3, 256)


def bits(net: fnn.Network) -> bytes:
    return b"".join(each.tobytes() for each in net.get_weights())


def train(net: fnn.Network) -> bytes:
    """Two epochs; the weights afterwards."""
    net.fit(*make_data(), loss="cross_entropy", optimizer="adam", epochs=2, batch_size=128)
    return bits(net)


def train_and_tell(net: fnn.Network) -> tuple[bytes, list[str], int]:
    """What a worker finds: the weights, the warnings of three trainings, and how many threads it may use."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = [train(copy.deepcopy(net)) for _ in range(3)]
    assert len(set(found)) == 1
    return found[0], [str(each.message) for each in caught if "fastnn runs on one" in str(each.message)], os.getpid()


def threads_of(_: Any = None) -> int:
    return fnn.get_num_threads()


@pytest.fixture(scope="module")
def expected() -> bytes:
    """The weights of a training in this process, which has used threads from here on."""
    before = fnn.get_num_threads()
    fnn.set_num_threads(3)
    found = train(make_network())
    assert make_network().backend == "native"
    fnn.set_num_threads(before)
    return found


def in_pool(method: str, call: Any, arguments: list[Any]) -> list[Any]:
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map_async(call, arguments, chunksize=1).get(SECONDS)


@needs_fork
@needs_openmp
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_forked_children_train_on_one_thread_and_say_so_once(expected: bytes) -> None:
    fnn.set_num_threads(3)
    try:
        told = in_pool("fork", train_and_tell, [make_network()] * 4)
        assert in_pool("fork", threads_of, [0, 1]) == [1, 1]
    finally:
        fnn.set_num_threads(2)
    assert {weights for weights, _, _ in told} == {expected}
    processes = {process for _, _, process in told}
    for process in processes:
        messages = [message for _, found, each in told for message in found if each == process]
        assert len(messages) == 1
        assert "it was forked from one that had used threads" in messages[0]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_spawned_children_train(method: str, expected: bytes) -> None:
    assert in_pool(method, train, [make_network()] * 2) == [expected] * 2


def test_loky_workers_train(expected: bytes) -> None:
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    with joblib.parallel_config("loky", n_jobs=2):
        assert (
            joblib.Parallel(timeout=SECONDS)(joblib.delayed(train)(make_network()) for _ in range(3)) == [expected] * 3
        )


@needs_fork
@needs_openmp
def test_a_fork_without_threads_before_may_use_them() -> None:
    code = """
import os
import fastnn, numpy as np
fastnn.set_num_threads(2)
if os.fork() == 0:
    net = fastnn.Sequential([fastnn.Dense(256, "relu"), fastnn.Dense(3)], input_shape=256)
    net.fit(np.ones((256, 256)), np.zeros(256, int), batch_size=256)
    print(fastnn.get_num_threads(), flush=True)
    os._exit(0)
os.wait()
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout == "2\n", done.stderr


@needs_fork
def test_a_fork_during_a_training_can_train_the_network() -> None:
    """The lock of the parent's training is not the child's, nor is the parent's part of the threads."""
    code = """
import os, threading, time
import fastnn, numpy as np
net = fastnn.Sequential([fastnn.Dense(256, "relu"), fastnn.Dense(3)], input_shape=256)
trainer = fastnn.Trainer(net, "cross_entropy", "sgd")
x, y = np.ones((256, 256)), np.zeros(256, int)
thread = threading.Thread(target=trainer.fit, args=(x, y), kwargs={"epochs": 10**9})
thread.start()
while not trainer.steps:
    time.sleep(0.001)
if os.fork() == 0:
    net.fit(x, y)
    print("trained", flush=True)
    os._exit(0)
os.wait()
trainer.stop()
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout == "trained\n", done.stderr


@needs_fork
@needs_openmp
def test_a_fork_within_a_run_goes_on_in_both_processes() -> None:
    """A signal's handler may fork between two instructions; in the child there are no helpers any more."""
    code = """
import os, signal, sys
import fastnn, numpy as np
fastnn.set_num_threads(2)
def trained(epochs, forking):
    net = fastnn.Sequential([fastnn.Dense(256, "relu"), fastnn.Dense(3)], input_shape=256, seed=0)
    trainer, child = fastnn.Trainer(net, "cross_entropy", "sgd"), []
    x, y = np.random.default_rng(0).standard_normal((512, 256)), np.arange(512) % 3
    trainer.fit(x, y, batch_size=256)
    if forking:
        signal.signal(signal.SIGALRM, lambda *_: child.append(os.fork()))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
    trainer.fit(x, y, batch_size=256, epochs=epochs)
    trainer.fit(x, y, batch_size=256)
    return b"".join(w.tobytes() for w in net.get_weights()), child
weights, child = trained(2000, True)
same = weights == trained(2000, False)[0]
if child[0] == 0:
    os._exit(0 if same else 1)
print(same, os.waitpid(child[0], 0)[1])
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout == "True 0\n", done.stderr


def test_a_daemon_thread_does_not_keep_the_process() -> None:
    code = """
import threading, time
import fastnn, numpy as np
trainer = fastnn.Trainer(fastnn.Sequential([fastnn.Dense(256), fastnn.Dense(3)], input_shape=256), "cross_entropy")
work = threading.Thread(target=trainer.fit, args=(np.ones((256, 256)), np.zeros(256, int)),
                        kwargs={"epochs": 10**9}, daemon=True)
work.start()
while trainer.steps < 10:
    time.sleep(0.001)
print("end", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


# ---------------------------------------------------------------------------------------------- copies


class Scaled(fnn.Layer):
    """A layer of one's own."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def build(self, shape: tuple[int, ...]) -> None:
        self.factor = self.parameter("factor", shape, "ones")

    def forward(self, x: Any) -> Any:
        return x * self.factor


def graph() -> fnn.Network:
    a, b = fnn.Input(3, name="a"), fnn.Input(3, name="b")
    shared = fnn.Dense(4, "tanh")
    joined = fnn.Add()(shared(a), Scaled()(shared(b)))
    net = fnn.Network([a, b], [fnn.Dense(2, name="left")(joined), fnn.Dense(1, name="right")(joined)], dtype="float64")
    net.freeze("left")
    return net


def duplicates(net: fnn.Network) -> list[fnn.Network]:
    return [copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net.copy()]


@pytest.mark.parametrize("make", [make_network, graph])
def test_copies_are_equal_and_independent(make: Any) -> None:
    net = make()
    rng = np.random.default_rng(0)
    x = tuple(rng.standard_normal((5, *shape)) for shape in net.input_shapes)
    for twin in duplicates(net):
        assert type(twin) is type(net)
        assert list(twin.parameters()) == list(net.parameters())
        assert [layer.trainable for layer in twin.layers] == [layer.trainable for layer in net.layers]
        assert str(twin.predict(x)) == str(net.predict(x))
        before = bits(net)
        twin.set_weights([w + 1 for w in twin.get_weights()])
        assert bits(net) == before
        assert not set(twin.layers) & set(net.layers)
        with pytest.raises(ValueError, match="belongs to another network"):
            fnn.Sequential([next(layer for layer in twin.layers if layer.parameters)], input_shape=net.input_shapes[0])


def test_a_trained_network_can_be_copied_and_trained_on() -> None:
    net = make_network(width=8)
    x, y = make_data(8)
    net.fit(x, y, loss="cross_entropy", optimizer="adam")
    for twin in duplicates(net):
        assert twin.trainer is None
        twin.fit(x, y, loss="cross_entropy", optimizer="adam")


def test_a_trainer_pickles_with_its_state() -> None:
    x, y = make_data(8)
    trainer = fnn.Trainer(make_network(width=8), "cross_entropy", fnn.Adam(0.01))
    trainer.fit(x, y)
    twins = [pickle.loads(pickle.dumps(trainer)), copy.deepcopy(trainer)]
    trainer.fit(x, y)
    for twin in twins:
        assert twin.steps == trainer.steps // 2
        twin.fit(x, y)
        assert bits(twin.network) == bits(trainer.network)


def test_views_are_read_only() -> None:
    net = make_network(width=8)
    for view in net.parameters().values():
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 0
        with pytest.raises(ValueError):
            view.flags.writeable = True


# ---------------------------------------------------------------------------------------------- kill -9

SAVE_FOR_EVER = """
import sys
import fastnn
nets = [fastnn.Sequential([fastnn.Dense(400)], input_shape=400, seed=seed) for seed in range(2)]
for net in nets:
    net.save(sys.argv[1] + str(net.seed))
nets[0].save(sys.argv[1])
print("begun", flush=True)
while True:
    for net in nets:
        net.save(sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="only on x86-64 Linux")
def test_killed_while_saving(tmp_path: Path) -> None:
    path = tmp_path / "net"
    for attempt in range(3):
        child = subprocess.Popen([sys.executable, "-c", SAVE_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        time.sleep(0.01 + 0.017 * attempt)
        child.send_signal(signal.SIGKILL)
        child.wait(SECONDS)
        child.stdout.close()
        whole = {(tmp_path / f"net{seed}").read_bytes() for seed in range(2)}
        assert path.read_bytes() in whole
        assert fnn.load(path).n_parameters == 400 * 401

"""Files: what is read back computes what was saved, and a training that is resumed goes on to the same bits."""

from __future__ import annotations

import fcntl
import hashlib
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import blobs, both, same_weights

import fastnn as fnn


def network(backend: str = "native", dtype: str = "float32") -> fnn.Sequential:
    """With dropout: its masks have to go on where they stopped, too."""
    layers = [fnn.Dense(8, "relu"), fnn.Dropout(0.3), fnn.Dense(3)]
    return fnn.Sequential(layers, input_shape=6, seed=3, backend=backend, dtype=dtype)


def plateau() -> fnn.SGD:
    """A rate that falls every epoch, because nothing improves by that much."""
    return fnn.SGD(fnn.schedules.ReduceOnPlateau(0.1, patience=1, monitor="loss", min_delta=10.0))


OPTIMIZERS: dict[str, Any] = {
    "adam, cosine": fnn.Adam(fnn.schedules.Cosine(0.01, steps=12)),
    "nesterov, clipped": fnn.SGD(0.1, momentum=0.9, nesterov=True, clip_norm=1.0),
    "rmsprop": fnn.RMSprop(0.01),
    "adagrad, l1": fnn.Adagrad(0.1, l1=1e-3),
    "sgd, plateau": plateau(),
}


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_resumed_training_goes_on_to_the_same_bits(optimizer: Any, dtype: str, backend: str, tmp_path: Path) -> None:
    x, labels = blobs()
    whole = fnn.Trainer(network(backend, dtype), optimizer=optimizer)
    whole.fit(x, labels, epochs=4, verbose=0)
    first = fnn.Trainer(network(backend, dtype), optimizer=optimizer)
    first.fit(x, labels, epochs=2, verbose=0)
    first.save(tmp_path / "run.safetensors")
    resumed = fnn.Trainer.load(tmp_path / "run.safetensors", backend=backend)
    assert same_weights(resumed.network, first.network)
    resumed.fit(x, labels, epochs=2, verbose=0)
    assert same_weights(resumed.network, whole.network)
    assert not same_weights(resumed.network, first.network)
    for name in ("loss", "learning_rate", "accuracy"):
        assert resumed.history[name] == whole.history[name]


def test_one_seed_makes_one_file(tmp_path: Path) -> None:
    x, labels = blobs()
    digests = []
    for number in range(2):
        net = network()
        net.fit(x, labels, epochs=3, verbose=0)
        net.save(tmp_path / f"{number}.safetensors")
        digests.append(hashlib.sha256((tmp_path / f"{number}.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1]


@both
def test_a_network_that_is_read_predicts_the_same_bits(backend: str, tmp_path: Path) -> None:
    x, labels = blobs()
    net = network(backend)
    net.fit(x, labels, verbose=0)
    net.save(tmp_path / "net.safetensors")
    assert np.array_equal(fnn.load(tmp_path / "net.safetensors", backend=backend).predict(x), net.predict(x))
    copied = pickle.loads(pickle.dumps(net))
    assert np.array_equal(copied.predict(x), net.predict(x))
    assert copied.backend == backend


def test_an_optimizer_that_trained_one_network_is_new_to_the_next() -> None:
    x, labels = blobs()
    optimizer = plateau()
    histories = [fnn.Trainer(network(), optimizer=optimizer).fit(x, labels, epochs=4, verbose=0) for _ in range(2)]
    assert histories[0]["learning_rate"] == pytest.approx([0.1, 0.1, 0.01, 0.001])
    assert histories[1]["learning_rate"] == histories[0]["learning_rate"]


# ---- what killed saves leave behind

KILLED = """
import os, sys
import fastnn as fnn

os.fsync = lambda file: os.kill(os.getpid(), 9)
fnn.Sequential([fnn.Dense(3)], input_shape=6).save(sys.argv[1])
"""


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".part"))


def test_the_next_save_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    target = tmp_path / "net.safetensors"
    network().save(target)
    assert subprocess.run([sys.executable, "-c", KILLED, str(target)]).returncode == -signal.SIGKILL
    assert len(parts(tmp_path)) == 1
    fnn.load(target)  # the old file is whole
    network().save(tmp_path / "another")
    assert len(parts(tmp_path)) == 1
    network().save(target)
    assert parts(tmp_path) == []


def test_nothing_else_is_cleared(tmp_path: Path) -> None:
    """Neither what is named otherwise, nor what a living process is writing."""
    others = [".net.0123456g.part", ".net.01234567.part.part", "net.01234567.part", ".ne.01234567.part", ".net..part"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".net.01234567.part").mkdir()
    (tmp_path / ".net.11111111.part").symlink_to(tmp_path / others[0])
    with open(tmp_path / ".net.22222222.part", "xb") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        before = parts(tmp_path)
        network().save(tmp_path / "net")
        assert parts(tmp_path) == before
    network().save(tmp_path / "net")
    assert set(before) - set(parts(tmp_path)) == {".net.22222222.part"}


def test_saves_at_once_to_one_path(tmp_path: Path) -> None:
    """Each sees the others' files, and leaves them alone."""
    nets = [network() for _ in range(4)]

    def save_often(net: fnn.Sequential) -> None:
        for _ in range(50):
            net.save(tmp_path / "net")

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(save_often, net) for net in nets]:
            done.result()
    fnn.load(tmp_path / "net")
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_saving_without_file_locks(tmp_path: Path) -> None:
    """Where there is no fcntl, files are written all the same, and what a killed save left stays."""
    left = tmp_path / ".net.0123abcd.part"
    left.write_bytes(b"half a file")
    code = f"""
import sys
sys.modules["fcntl"] = None
import fastnn as fnn
net = fnn.Sequential([fnn.Dense(2)], input_shape=3, seed=5)
for _ in range(2):
    net.save({str(tmp_path / "net")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    expected = fnn.Sequential([fnn.Dense(2)], input_shape=3, seed=5)
    assert same_weights(fnn.load(tmp_path / "net"), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == [left.name, "net"]

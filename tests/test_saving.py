"""Files: what is read back computes what was saved, and a training that is resumed goes on to the same bits."""

from __future__ import annotations

import hashlib
import pickle
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

"""Networks made of a part of another: they share its parameters, and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from networks import CLOSE, blobs, both, classifier, same_weights

import fastnn as fnn


@both
def test_a_part_of_a_network_shares_its_parameters(backend: str) -> None:
    x, labels = blobs()
    net = classifier(backend, dtype="float64")
    features = fnn.Network(net.inputs, net.wire("hidden"))
    assert (features.dtype, features.backend) == ("float64", backend)
    assert list(features.parameters()) == ["hidden.weight", "hidden.bias"]
    assert features.n_parameters == 6 * 8 + 8
    before = features.predict(x)
    np.testing.assert_allclose(before, np.tanh(x @ net.get_weights()[0]), atol=CLOSE)
    net.fit(x, labels, epochs=2, verbose=0)
    w, b = net.get_weights()[:2]
    assert not np.allclose(features.predict(x), before)
    np.testing.assert_allclose(features.predict(x), np.tanh(x @ w + b), atol=CLOSE)
    output = net.get_weights()[2:]
    features.fit(x, np.zeros((90, 8)), loss="mse", optimizer=fnn.Adam(0.1), verbose=0)
    assert not np.array_equal(net.get_weights()[0], w)  # trained through its part,
    assert all(map(np.array_equal, net.get_weights()[2:], output))  # which has no business with the rest


def test_a_part_is_copied_saved_and_loaded_by_itself(tmp_path: Path) -> None:
    x, labels = blobs()
    net = classifier()
    part = fnn.Network(net.inputs, net.wire("hidden"))
    trainer = fnn.Trainer(part, "mse")
    trainer.fit(x, np.zeros((90, 8)), verbose=0)
    trainer.save(tmp_path / "part")
    loaded = fnn.Trainer.load(tmp_path / "part").network
    assert list(loaded.parameters()) == list(part.parameters())
    assert np.array_equal(loaded.predict(x), part.predict(x))
    twin, twin_part = copy.deepcopy((net, part))  # together they still share, and not with the first
    alone = part.copy()
    twin.fit(x, labels, verbose=0)
    assert np.array_equal(twin_part.get_weights()[0], twin.get_weights()[0])
    assert not np.array_equal(twin_part.get_weights()[0], part.get_weights()[0])
    assert same_weights(alone, part)


# ---- copies of layers: another network that starts from the same weights


@both
def test_a_new_head_on_a_trained_body(backend: str) -> None:
    x, labels = blobs()
    layers = [fnn.Dense(8, "tanh"), fnn.Dense(5, "tanh"), fnn.Dense(3)]
    old = fnn.Sequential(layers, input_shape=6, backend=backend)
    old.fit(x, labels, verbose=0)
    body = copy.deepcopy(old.layers[1:-1])
    new = fnn.Sequential([*body, fnn.Dense(2)], input_shape=6, backend=backend)
    assert [layer.name for layer in new.layers] == ["input_1", "dense_1", "dense_2", "dense_3"]
    assert all(map(np.array_equal, new.get_weights()[:4], old.get_weights()[:4]))
    before = old.get_weights()
    new.fit(x, labels % 2, loss="cross_entropy", verbose=0)
    assert all(map(np.array_equal, old.get_weights(), before))
    assert not np.array_equal(new.get_weights()[0], before[0])


def test_a_copied_network_holds_its_weights_once() -> None:
    twin = classifier().copy()
    parameters = [parameter for layer in twin.layers for parameter in layer.parameters]
    assert len(parameters) == 4
    assert not any(hasattr(each.initializer, "values") for each in parameters)


def test_only_wires_of_the_network_share() -> None:
    net = classifier()
    with pytest.raises(ValueError, match=r"'hidden' belongs to another network already.*net\.wire"):
        fnn.Network(net.inputs, fnn.Dense(2)(net.wire("hidden")))
    with pytest.raises(ValueError, match="shared parameters are float32 on 'native'"):
        fnn.Network(net.inputs, net.wire("hidden"), dtype="float64")
    with pytest.raises(ValueError, match="no layer 'hiden'"):
        net.wire("hiden")
    with pytest.raises(RuntimeError, match="being trained already"), net.training_lock:
        fnn.Trainer(fnn.Network(net.inputs, net.wire("hidden")), "mse").step(blobs()[0], np.zeros((90, 8)))

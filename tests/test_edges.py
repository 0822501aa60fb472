"""Networks and data at the edge of what makes sense: nothing to learn, odd names, every dtype and layout of arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import both

import fastnn as fnn

ROWS = 10
X = np.random.default_rng(0).standard_normal((ROWS, 4)).astype(np.float32)
Y = np.arange(ROWS) % 3


def network(**options: object) -> fnn.Sequential:
    return fnn.Sequential([fnn.Dense(5, "tanh"), fnn.Dense(3)], input_shape=4, **options)


def loss_of(net: fnn.Network, x: object, y: object) -> float:
    return net.evaluate(x, y, loss="cross_entropy")["loss"]


@both
def test_a_network_without_parameters(backend: str, tmp_path: Path) -> None:
    net = fnn.Sequential([fnn.Flatten()], input_shape=(2, 2), backend=backend)
    x = X.reshape(ROWS, 2, 2)
    assert np.array_equal(net.predict(x), X)
    assert net.n_parameters == 0
    net.set_weights(net.get_weights())
    history = net.fit(x, np.zeros((ROWS, 4)), loss="mse", epochs=2, batch_size=ROWS)
    assert history["loss"] == pytest.approx([np.mean(X**2)] * 2)
    net.save(tmp_path / "net")
    assert np.array_equal(fnn.load(tmp_path / "net").predict(x), X)


@both
def test_an_input_that_is_the_output(backend: str) -> None:
    wire = fnn.Input(4)
    net = fnn.Network(wire, wire, backend=backend)
    assert np.array_equal(net.predict(X), X)
    assert net.fit(X, X, loss="mse")["loss"] == [0.0]


@both
def test_an_output_that_is_there_twice(backend: str) -> None:
    wire = fnn.Input(4)
    out = fnn.Dense(2)(wire)
    net = fnn.Network(wire, [out, out], backend=backend)
    one, other = net.predict(X)
    assert np.array_equal(one, other)
    trainer = fnn.Trainer(net, "mse", "sgd", loss_weights=[1.0, 3.0])
    trainer.fit(X, (np.zeros((ROWS, 2)), np.zeros((ROWS, 2))))
    assert not np.array_equal(net.predict(X)[0], one)


def test_frozen_layers_stay_and_go_on_later() -> None:
    net = network()
    before = net.get_weights()
    net.freeze()
    net.fit(X, Y, optimizer=fnn.SGD(0.1, momentum=0.9, clip_norm=1.0), epochs=2)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))
    net.unfreeze("dense_2")
    net.fit(X, Y, epochs=2)
    changed = [not np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True)]
    assert changed == [False, False, True, True]


def test_names_of_any_letters(tmp_path: Path) -> None:
    names = ['a "quoted" one', "back\\slash/and.dot", "日本語\n{}%s", "__metadata__", "weight"]
    net = fnn.Sequential([fnn.Dense(4, name=name) for name in names], input_shape=4)
    trainer = fnn.Trainer(net, "mse", "adam")
    trainer.step(X, X)
    trainer.save(tmp_path / "trainer")
    found = fnn.Trainer.load(tmp_path / "trainer")
    assert [layer.name for layer in found.network.layers[1:]] == names
    trainer.step(X, X)
    found.step(X, X)
    assert all(np.array_equal(a, b) for a, b in zip(net.get_weights(), found.network.get_weights(), strict=True))


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4", ">f8", "g", "i1", "i4", "i8", ">i8", "u1", "u2", "u8", "?"])
def test_inputs_of_every_type(kind: str) -> None:
    x = np.round(np.abs(X) * 3).astype(kind)
    plain = x.astype(np.float32)
    assert np.array_equal(network().predict(x), network().predict(plain))
    one, other = network(), network()
    one.fit(x, Y, loss="cross_entropy", batch_size=4)
    other.fit(plain, Y, loss="cross_entropy", batch_size=4)
    assert all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "i8", ">i4", ">i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])
def test_labels_of_every_type(kind: str) -> None:
    assert loss_of(network(), X, Y.astype(kind)) == loss_of(network(), X, Y)
    assert loss_of(network(), X, Y.astype(kind)[:, None]) == loss_of(network(), X, Y)


def packed() -> np.ndarray:
    """A field of records whose size is no multiple of the field's."""
    records = np.zeros(ROWS, [("tag", "u1"), ("x", "f4", 4)])
    records["x"] = X
    return records["x"]


def read_only() -> np.ndarray:
    copy = X.copy()
    copy.flags.writeable = False
    return copy


class Lender:
    """Something with `__dlpack__` alone."""

    def __dlpack__(self, **options: object) -> object:
        return X.__dlpack__(**options)

    def __dlpack_device__(self) -> object:
        return X.__dlpack_device__()


class Convertible:
    """Something with `__array__` alone."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return X


LAYOUTS = {
    "list": lambda: X.tolist(),
    "tuple of rows": lambda: [tuple(row) for row in X.tolist()],
    "column-major": lambda: np.asfortranarray(X),
    "reversed twice": lambda: X[::-1, ::-1].copy()[::-1, ::-1],
    "every second": lambda: np.repeat(np.repeat(X, 2, 0), 3, 1)[::2, ::3],
    "packed records": packed,
    "read-only": read_only,
    "memoryview": lambda: memoryview(X),
    "dlpack": Lender,
    "__array__": Convertible,
    "subclass": lambda: np.ma.masked_invalid(X),
}


@pytest.mark.parametrize("kind", [np.uint8, np.dtype("uint8"), "uint8"])
def test_types_as_numpy_writes_them(kind: object) -> None:
    net = fnn.Sequential([fnn.Input(3, dtype=kind), fnn.Dense(2)], dtype=np.float64)
    assert net.predict(np.ones((2, 3), np.uint8)).dtype == np.float64


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_of_every_layout(layout: str) -> None:
    expected = X.astype(np.float64).astype(np.float32)
    x = LAYOUTS[layout]()
    assert np.array_equal(network().predict(x), network().predict(expected))
    assert loss_of(network(), x, Y) == loss_of(network(), X, Y)
    one, other = network(), network()
    one.fit(x, Y, loss="cross_entropy", batch_size=3)
    other.fit(X, Y, loss="cross_entropy", batch_size=3)
    assert all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def test_mapped_from_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    assert np.array_equal(network().predict(np.load(tmp_path / "x.npy", mmap_mode="r")), network().predict(X))


def test_nothing_to_predict() -> None:
    assert network().predict(np.zeros((0, 4))).shape == (0, 3)
    assert network().predict_class(np.zeros((0, 4))).shape == (0,)


def test_nan_and_infinity_in_x_pass_through() -> None:
    x = X.copy()
    x[2, 1], x[5, 0] = np.nan, np.inf
    found = fnn.Sequential([fnn.Dense(3)], input_shape=4).predict(x)
    clean = fnn.Sequential([fnn.Dense(3)], input_shape=4).predict(X)
    assert np.isnan(found[2]).all()
    assert not np.isfinite(found[5]).any()
    others = [row for row in range(ROWS) if row not in (2, 5)]
    assert np.array_equal(found[others], clean[others])

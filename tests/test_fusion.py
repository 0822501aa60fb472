"""Fusion never changes a bit: whatever is computed, the step is the same with it and without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastnn as fnn
from fastnn import ops
from fastnn.step import Kind

OPTIMIZERS = {
    "sgd": fnn.SGD(0.1),
    "l1 and decay": fnn.SGD(0.1, l1=0.01, weight_decay=0.1),
    "clipped": fnn.SGD(0.1, clip_value=0.01),
    "clipped norm": fnn.SGD(0.1, clip_norm=0.01),
    "momentum": fnn.SGD(0.1, momentum=0.9),
    "adam": fnn.Adam(0.01),
}


def stepped(net: fnn.Network, optimizer: Any, x: Any, y: Any, *, fused: bool, loss: Any = "mse", threads: int = 1,
            **options: Any) -> tuple[dict[str, NDArray[Any]], list[str]]:  # fmt: skip
    """The parameters after two steps on all rows, and the operations of a step. The network stays as it is."""
    net = net.copy()
    fnn.set_num_threads(threads)
    stepper = fnn.Trainer(net, loss, optimizer, **options)._stepper
    samples = stepper.samples(x, y)
    runner = stepper.runner(samples, Kind(samples.n, learn="update"), fused=fused)
    for _ in range(2):
        table = stepper.table(runner, np.array([samples.n]), np.zeros(1, np.int64))
        stepper.advance(runner, table, samples.bound())
    return net.parameters(), [instruction.operation.name for instruction in runner.program.instructions]


def assert_same(net: fnn.Network, optimizer: Any, x: Any, y: Any, **options: Any) -> list[str]:
    """Compares fused with unfused, on one thread and on three; returns the fused step's operations."""
    want, separate = stepped(net, optimizer, x, y, fused=False, **options)
    assert "matmul_update" not in separate
    assert "sum_update" not in separate
    for threads in (1, 3):
        got, operations = stepped(net, optimizer, x, y, fused=True, threads=threads, **options)
        assert len(operations) < len(separate)
        for name, values in want.items():
            np.testing.assert_array_equal(got[name], values, err_msg=f"{name}, {threads} threads")
    return operations


def data(rows: int, width: int = 6, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, width)), rng.standard_normal((rows, width))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 40, 512, 513])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_dense_layers(optimizer: Any, rows: int, dtype: str) -> None:
    layers = [fnn.Dense(33, "gelu"), fnn.Dense(17, "tanh", name="middle"), fnn.Dense(6)]
    net = fnn.Sequential(layers, input_shape=6, seed=0, dtype=dtype)
    operations = assert_same(net, optimizer, *data(rows), learning_rates={"middle": 0.5, "dense_1.bias": 3.0})
    plain = optimizer is OPTIMIZERS["sgd"]
    assert operations.count("matmul_update") == (3 if plain and rows <= 512 else 0)  # a longer sum has several chains
    assert operations.count("sum_update") == (3 if plain else 0)


def test_frozen_layers() -> None:
    net = fnn.Sequential([fnn.Dense(9, "relu"), fnn.Dense(8, "relu", name="middle"), fnn.Dense(6)], input_shape=6)
    net.freeze("middle")
    assert assert_same(net, fnn.SGD(0.1), *data(20)).count("matmul_update") == 2


def test_shared_layers_and_several_outputs() -> None:
    a, b = fnn.Input(6, name="a"), fnn.Input(6, name="b")
    shared = fnn.Dense(6, "tanh", name="shared")
    joined = fnn.Add()([shared(shared(a)), shared(b)])
    outputs = [fnn.Dense(6, name="left")(joined), fnn.Dense(6, name="right")(joined)]
    net = fnn.Network([a, b], outputs, seed=0)
    x, y = data(50)
    operations = assert_same(net, fnn.SGD(0.1), (x, x[::-1]), (y, y[::-1]), loss=["mse", "mae"])
    assert operations.count("matmul_update") == 2  # a shared weight's gradient is a sum


class LowRank(fnn.Layer):
    """X (A B): the gradient of each factor is a product with the other."""

    def build(self, shape: Any) -> None:
        self.a = self.parameter("a", (shape[-1], 3), "glorot")
        self.b = self.parameter("b", (3, shape[-1]), "glorot")

    def forward(self, x: Any) -> Any:
        return ops.matmul(x, ops.matmul(self.a, self.b))


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_gradient_made_of_another_weight(backend: str) -> None:
    net = fnn.Sequential([LowRank()], input_shape=6, seed=1, dtype="float64", backend=backend)
    x, y = data(16)
    trainer = fnn.Trainer(net, "mse", fnn.SGD(0.5))
    before, slopes = {name: w.copy() for name, w in net.parameters().items()}, trainer.gradients(x, y)
    trainer.step(x, y)
    for name, w in net.parameters().items():
        np.testing.assert_allclose(w, before[name] - 0.5 * slopes[name], rtol=1e-12, atol=1e-12)


class Tangle(fnn.Layer):
    """A few of everything that uses weights, drawn by lot."""

    def __init__(self, seed: int, name: str = "") -> None:
        self.seed, self.name = seed, name

    def build(self, shape: Any) -> None:
        size = shape[-1]
        self.weights = [self.parameter(name, (size, size), "glorot") for name in "abc"]
        self.bias = self.parameter("bias", (size,), "ones")

    def forward(self, x: Any) -> Any:
        rng = np.random.default_rng(self.seed)
        rows, squares = [x], list(self.weights)

        def one(some: list[Any]) -> Any:
            return some[rng.integers(len(some))]

        for _ in range(rng.integers(3, 9)):
            kind = rng.integers(8)
            if kind == 0:
                squares.append(ops.matmul(one(squares), one(squares), transpose_a=bool(rng.integers(2)),
                                          transpose_b=bool(rng.integers(2))))  # fmt: skip
            elif kind == 1:
                rows.append(ops.matmul(one(rows), one(squares), transpose_b=bool(rng.integers(2)), bias=self.bias))
            elif kind == 2:
                rows.append(ops.gelu(ops.matmul(one(rows), one(squares))))
            elif kind == 3:
                squares.append(one(squares) * one(squares))
            elif kind == 4:
                rows.append(one(rows) * self.bias + one(rows))
            elif kind == 5:
                squares.append(ops.transpose(one(squares)))
            elif kind == 6:
                squares.append(ops.reshape(one(squares), (6, 6)))
            else:
                rows.append(ops.tanh(one(rows)))
        result = rows[-1] + ops.matmul(x, squares[-1])
        for weight in self.weights:
            if rng.integers(2):
                result = result + ops.matmul(result, weight) * 0.1
        return result


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("seed", [*range(20), 34, 106, 142])
def test_tangles(seed: int, backend: str) -> None:
    net = fnn.Sequential([Tangle(seed)], input_shape=6, seed=seed, dtype="float64", backend=backend)
    want, _ = stepped(net, fnn.SGD(0.1), *data(12), fused=False)
    got, _ = stepped(net, fnn.SGD(0.1), *data(12), fused=True)
    for name, values in want.items():
        np.testing.assert_array_equal(got[name], values, err_msg=name)

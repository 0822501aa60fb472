"""Gradients of whole networks against central differences in float64, for every layer, activation and loss."""

from __future__ import annotations

import numpy as np
import pytest
from networks import both

import fastnn as fnn
from fastnn import ops

STEP = 1e-6
TOLERANCE = 1e-6  # relative to the largest entry: rounding (1e-16 / STEP) and curvature (STEP^2) are both below it


def numeric_gradients(trainer: fnn.Trainer, x: object, y: object, **options: object) -> dict[str, np.ndarray]:
    """Central differences of the loss in every parameter."""
    net = trainer.network
    found = {}
    for name, values in net.parameters().items():
        gradient = np.zeros(values.shape)
        start = values.copy()
        for index in np.ndindex(values.shape):
            losses = []
            for shift in (STEP, -STEP):
                moved = start.copy()
                moved[index] += shift
                net.set_weights({name: moved})
                losses.append(trainer.evaluate(x, y, metrics=[], **options)["loss"])
            gradient[index] = (losses[0] - losses[1]) / (2 * STEP)
        net.set_weights({name: start})
        found[name] = gradient
    return found


def check(trainer: fnn.Trainer, x: object, y: object, **options: object) -> None:
    """Compares all gradients, and sees to it that they are not zero."""
    expected = numeric_gradients(trainer, x, y, **options)
    found = trainer.gradients(x, y, **options)
    assert found.keys() == expected.keys()
    for name in expected:
        size = np.abs(expected[name]).max()
        assert size > 1e-6, f"{name}: a gradient of zero tests nothing"
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=TOLERANCE * size, err_msg=name)


def data(n: int = 6, width: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width))


@both
@pytest.mark.parametrize("activation", sorted(set(ops.ACTIVATIONS) - {"step"}))
def test_activation(activation: str, backend: str) -> None:
    net = fnn.Sequential(
        [fnn.Dense(7, activation, bias_initializer="normal"), fnn.Dense(4, activation), fnn.Dense(3)],
        input_shape=5, seed=3, dtype="float64", backend=backend,
    )  # fmt: skip
    check(fnn.Trainer(net, "mse", "sgd"), data(), data(width=3, seed=1))


LOSSES = {
    "quadratic": (fnn.losses.Quadratic(), "values"),
    "mean_squared_error": (fnn.losses.MeanSquaredError(), "values"),
    "mean_absolute_error": (fnn.losses.MeanAbsoluteError(), "values"),
    "huber": (fnn.losses.Huber(0.7), "values"),
    "hinge": (fnn.losses.Hinge(), "signs"),
    "binary_cross_entropy": (fnn.losses.BinaryCrossEntropy(), "bits"),
    "binary_cross_entropy, smoothed": (fnn.losses.BinaryCrossEntropy(0.1), "bits"),
    "cross_entropy": (fnn.losses.CrossEntropy(), "labels"),
    "cross_entropy, smoothed": (fnn.losses.CrossEntropy(0.2), "labels"),
    "cross_entropy, probabilities": (fnn.losses.CrossEntropy(), "probabilities"),
    "own function": (lambda p, t: ops.mean(ops.square(p - t) * ops.sigmoid(p)), "values"),
}


def targets(kind: str, n: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    values = rng.standard_normal((n, width))
    if kind == "signs":
        return np.sign(values)
    if kind == "bits":
        return (values > 0).astype(float)
    if kind == "labels":
        return rng.integers(0, width, n)
    if kind == "probabilities":
        return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    return values


@both
@pytest.mark.parametrize(
    ("name", "weighted"),  # plain functions take no weights
    [(name, weighted) for name in LOSSES for weighted in (False, True) if not (weighted and name == "own function")],
)
def test_loss(name: str, weighted: bool, backend: str) -> None:
    loss, kind = LOSSES[name]
    net = fnn.Sequential([fnn.Dense(6, "tanh"), fnn.Dense(3)], input_shape=5, seed=1, dtype="float64", backend=backend)
    options = {"sample_weight": np.linspace(0.5, 2, 6)} if weighted else {}
    check(fnn.Trainer(net, loss, "sgd"), data(), targets(kind, 6, 3), **options)


@both
def test_graph_with_branches_sharing_and_two_outputs(backend: str) -> None:
    a, b = fnn.Input(4, name="a"), fnn.Input((2, 3), name="b")
    shared = fnn.Dense(5, "tanh", name="shared")
    left, right = shared(a), fnn.Dense(5, "sigmoid")(fnn.Flatten()(b))
    again = shared(fnn.Dense(4, "gelu")(right))
    joined = fnn.Concatenate()([left, right, again])
    residual = fnn.Add()([fnn.Dense(15, "silu")(joined), joined])
    first = fnn.Dense(2, name="first")(fnn.Reshape((3, 5))(residual))
    second = fnn.Dense(3, name="second")(residual)
    net = fnn.Network([a, b], [fnn.Flatten(name="flat")(first), second], seed=2, dtype="float64", backend=backend)
    trainer = fnn.Trainer(net, {"flat": "mse", "second": "cross_entropy"}, "sgd", loss_weights=[0.5, 2.0])
    x = {"a": data(width=4), "b": data(width=6, seed=2).reshape(6, 2, 3)}
    y = {"flat": data(width=6, seed=3), "second": targets("labels", 6, 3)}
    check(trainer, x, y)


class Gate(fnn.Layer):
    """A layer of one's own, as the README shows: nobody writes its gradient."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.scale = self.parameter("scale", shape[-1:], "ones")
        self.mix = self.parameter("mix", (shape[-1], shape[-1]), "glorot")

    def forward(self, x: object) -> object:
        gate = ops.sigmoid(ops.matmul(x, self.mix))
        spread = ops.mean(ops.square(x), axis=-1, keepdims=True)
        return x * gate * self.scale / ops.sqrt(spread + 1.0) - ops.maximum(x, self.scale)


def test_custom_layer() -> None:
    net = fnn.Sequential([fnn.Dense(4, "tanh"), Gate(), fnn.Dense(2)], input_shape=5, seed=4, dtype="float64")
    check(fnn.Trainer(net, "huber", "sgd"), data(), data(width=2, seed=7))


def test_frozen_layers_have_no_gradient() -> None:
    net = fnn.Sequential([fnn.Dense(4, "tanh"), fnn.Dense(2)], input_shape=5, dtype="float64")
    net.freeze("dense_1")
    found = fnn.Trainer(net, "mse", "sgd").gradients(data(), data(width=2))
    assert set(found) == {"dense_2.weight", "dense_2.bias"}


def test_powers_and_slices_of_symbols() -> None:
    class Pieces(fnn.Layer):
        def forward(self, x: object) -> object:
            left, right = x[:, :2], x[:, 2:4]
            return left**2 * abs(right) + (right**2 + 1.0) ** 0.5 - left**3 / (left**2 + 2.0) + (right**2 + 1.0) ** -1

    net = fnn.Sequential([fnn.Dense(4, "tanh"), Pieces()], input_shape=5, seed=4, dtype="float64")
    check(fnn.Trainer(net, lambda p, t: ops.mean((p - t) ** 2), "sgd"), data(), data(width=2, seed=7))

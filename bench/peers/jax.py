"""JAX: a step is one jitted call; data, order, weights and the number of the step stay on the device, in place.

How many threads XLA uses is decided by how many cores the process may run on when it is loaded; see bench/worker.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from numpy.typing import NDArray

from bench.shapes import Data, NetworkShape, ProductShape

jax.config.update("jax_enable_x64", True)  # or float64 products would quietly become float32
ACTIVATIONS: dict[str, Any] = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu, "": lambda z: z}
Weights = list[jax.Array]


def product(shape: ProductShape, a: NDArray[Any], b: NDArray[Any]) -> Callable[[int], NDArray[Any]]:
    """C = a b; XLA hands out the memory of the result, which has been used before."""

    @jax.jit
    def multiply(a: jax.Array, b: jax.Array) -> jax.Array:
        return (a.T if shape.transpose_a else a) @ (b.T if shape.transpose_b else b)

    left, right = jnp.asarray(a), jnp.asarray(b)

    def run(times: int) -> NDArray[Any]:
        for _ in range(times):
            c = multiply(left, right)
        return np.asarray(c.block_until_ready())  # once: calls queue up behind each other

    return run


def forward(shape: NetworkShape, weights: Weights, x: jax.Array) -> jax.Array:
    """What the last layer gives."""
    for number, (_, _, activation) in enumerate(shape.layers):
        x = ACTIVATIONS[activation](x @ weights[2 * number] + weights[2 * number + 1])
    return x


def loss_of(shape: NetworkShape, weights: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
    """The network's loss on a batch."""
    out = forward(shape, weights, x)
    if shape.loss == "cross_entropy":
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], axis=1))
    return jnp.mean((out - y) ** 2) if shape.loss == "mse" else 0.5 * jnp.sum((out - y) ** 2) / len(x)


def learn(shape: NetworkShape, state: Any, x: jax.Array, y: jax.Array) -> Any:
    """One step: (weights, moments, steps so far, sum of losses) to the same afterwards."""
    weights, moments, done, total = state
    loss, gradients = jax.value_and_grad(partial(loss_of, shape))(weights, x, y)
    done += 1
    if shape.optimizer == "sgd":
        weights = [w - np.float32(shape.rate) * g for w, g in zip(weights, gradients, strict=True)]
        return weights, moments, done, total + loss
    t = done.astype(jnp.float32)
    size = np.float32(shape.rate) / (1 - np.float32(0.9) ** t)
    root = jnp.sqrt(1 - np.float32(0.999) ** t)
    moments = [
        (m + np.float32(0.1) * (g - m), np.float32(0.999) * s + np.float32(0.001) * g * g)
        for (m, s), g in zip(moments, gradients, strict=True)
    ]
    weights = [
        w - size * m / (jnp.sqrt(s) / root + np.float32(1e-8)) for w, (m, s) in zip(weights, moments, strict=True)
    ]
    return weights, moments, done, total + loss


class Training:
    """A network, trained by a jitted step."""

    def __init__(self, shape: NetworkShape, data: Data, weights: list[NDArray[Any]]) -> None:
        self.shape, self.x, self.y = shape, jnp.asarray(data.x), jnp.asarray(data.y)
        moments = [(jnp.zeros_like(w), jnp.zeros_like(w)) for w in weights] if shape.optimizer == "adam" else []
        self.state: Any = ([jnp.array(w) for w in weights], moments, jnp.zeros((), jnp.int32))
        self.rows = np.zeros((shape.steps, shape.batch), np.int32)

        @partial(jax.jit, donate_argnums=(0, 1))
        def step(state: Any, at: jax.Array, x: jax.Array, y: jax.Array, order: jax.Array) -> Any:
            rows = order[at]
            return learn(shape, state, x[rows], y[rows]), at + 1

        self.step = step

    def train(self, order: NDArray[np.int64]) -> float:
        """Forward, backward, downhill, for each mini-batch."""
        self.rows[: len(order)] = order  # always of one shape, which is part of what is compiled
        rows, state, at = jnp.asarray(self.rows), (*self.state, jnp.zeros(())), jnp.zeros((), jnp.int32)
        for _ in range(len(order)):
            state, at = self.step(state, at, self.x, self.y, rows)
        *self.state, total = state
        return float(total) / len(order)

    def weights(self) -> list[NDArray[Any]]:
        """Copies, in order."""
        return [np.array(w) for w in self.state[0]]


class Inference:
    """A jitted forward pass."""

    def __init__(self, shape: NetworkShape, weights: list[NDArray[Any]]) -> None:
        self.weights = [jnp.asarray(w) for w in weights]
        self.forward = jax.jit(partial(forward, shape))

    def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """What the last layer gives, where NumPy can read it."""
        return np.asarray(self.forward(self.weights, x))

"""Small networks and data that several tests train, and the same in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastnn as fnn
from fastnn.backends.array import array_module


def _gpu() -> bool:
    """Whether CuPy is installed and finds a GPU: the array backend's tests then run there, too."""
    try:
        array_module("cupy")
    except ImportError:
        return False
    return True


BACKENDS = ("native", "numpy", *(["cupy"] if _gpu() else []))
CLOSE = 1e-5  # a few hundred float32 operations, each within 6e-8

both = pytest.mark.parametrize("backend", BACKENDS)


def blobs(n: int = 90, width: int = 6, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clouds of points around a centre for each class: easy, but not at the first step."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return (rng.standard_normal((classes, width))[labels] + 0.7 * rng.standard_normal((n, width))).astype("f4"), labels


def classifier(backend: str = "native", seed: int = 0, **options: Any) -> fnn.Sequential:
    """6-8-3, with logits."""
    layers = [fnn.Dense(8, "tanh", name="hidden"), fnn.Dense(3, name="output")]
    return fnn.Sequential(layers, input_shape=6, seed=seed, backend=backend, **options)


def same_weights(a: fnn.Network, b: fnn.Network) -> bool:
    """Whether two networks' parameters agree in every bit."""
    return all(map(np.array_equal, a.get_weights(), b.get_weights()))


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def logits(net: fnn.Network, x: np.ndarray) -> np.ndarray:
    """What `classifier` computes, in float64."""
    w1, b1, w2, b2 = (each.astype(np.float64) for each in net.get_weights())
    return np.tanh(x @ w1 + b1) @ w2 + b2

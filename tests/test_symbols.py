"""Symbolic tensors in layers of one's own: comparisons are computed, and what cannot be is a clear error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from networks import both

import fastnn as fnn
from fastnn import ops


def network(forward: Callable[[Any, Any], Any], backend: str = "native") -> fnn.Network:
    layer = type("Own", (fnn.Layer,), {"forward": forward})()
    wire = fnn.Input(3)
    return fnn.Network(wire, layer(wire), backend=backend)


X = np.array([[-2.0, 0.0, 1.0], [1.0, 2.0, np.nan]], np.float32)


@both
@pytest.mark.parametrize("compare", [
    lambda x: x > 0, lambda x: x >= 0.0, lambda x: x < 1, lambda x: x <= 1, lambda x: x > -x,
    lambda x: np.float32(1) > x, lambda x: np.float64(1) <= x, lambda x: np.less(x, 1),
])  # fmt: skip
def test_comparisons_are_ones_and_zeros(compare: Callable[[Any], Any], backend: str) -> None:
    assert np.array_equal(network(lambda self, x: compare(x), backend).predict(X), compare(X))


@both
def test_comparisons_choose(backend: str) -> None:
    net = network(lambda self, x: ops.where(x > 0, x, 0.1 * x), backend)
    np.testing.assert_allclose(net.predict(X[:1]), [[-0.2, 0.0, 1.0]], rtol=1e-6)


@both
def test_numbers_of_numpy_on_the_left(backend: str) -> None:
    half = np.float32(0.5)
    net = network(lambda self, x: (half * x + (half - x)) + (half / (x + np.float64(3)) + np.int64(2)), backend)
    np.testing.assert_allclose(net.predict(X), 2.5 - 0.5 * X + 0.5 / (X + 3), rtol=1e-6)


IMPOSSIBLE = {
    "if": (lambda self, x: x if x > 0 else -x, "Python's if, and, or and while cannot depend on it"),
    "chain": (lambda self, x: 0 < x < 1, "Python's if"),
    "equal to a number": (lambda self, x: ops.where(x == 0, x, -x), r"ops\.equal\(x, y\)"),
    "unequal to an array": (lambda self, x: x != np.ones(3), r"ops\.equal\(x, y\)"),
    "NumPy": (lambda self, x: np.exp(x), r"use fastnn\.ops on it instead of NumPy's exp"),
    "an array on the left": (lambda self, x: np.ones(3) * x, r"arrays become parameters \(Layer\.parameter\)"),
    "float": (lambda self, x: x * float(x), "cannot become a number"),
}


@pytest.mark.parametrize("forward, message", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_a_symbol_cannot_do_names_what_can(forward: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        network(forward)


def test_a_method_that_symbols_lack_is_sought_in_ops() -> None:
    with pytest.raises(AttributeError, match=r"Own, given an input.*no 'mean': what can be done with it is in fastnn"):
        network(lambda self, x: x.mean())


def test_symbols_are_still_keys() -> None:
    seen: list[Any] = []

    def forward(self: Any, x: Any) -> Any:
        y = x + 1
        seen.append((x == x, x == y, x != y, x in [y, x], {x: 1, y: 2}[y]))
        return y

    network(forward)
    assert seen[-1] == (True, False, True, True, 2)


def test_dir_lists_the_operations_and_nothing_else() -> None:
    assert dir(ops) == sorted(ops.__all__)
    assert "relu" in dir(ops)
    assert not any(isinstance(getattr(ops, name), type(ops)) for name in dir(ops))

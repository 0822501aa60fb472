"""NumPy's elementwise functions, as its experts write them: chains of ufuncs into arrays that are there already.

Where a chain has several passes and the arrays outgrow the cache, it goes over them in blocks that do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from scipy.special import erf
except ImportError:  # NumPy itself has none
    erf = None

from bench.memory import empty
from bench.peers import repeated
from bench.shapes import ElementwiseShape

Array = NDArray[Any]
BLOCK = 1 << 14  # numbers in a block: with those of all operands it stays in the second-level cache
ZERO, ONE, HALF, TWO = (np.array(value, np.float32) for value in (0.0, 1.0, 0.5, 2.0))
ROOT_HALF = np.array(math.sqrt(0.5), np.float32)
DENSITY = np.array(1 / math.sqrt(2 * math.pi), np.float32)
TANH_SCALE = np.array(math.sqrt(2 / math.pi), np.float32)
CUBE = np.array(0.044715, np.float32)
SLOPE = np.array(0.01, np.float32)


def _sigmoid(x: Array, y: Array) -> None:
    np.negative(x, y)
    np.exp(y, y)
    np.add(y, ONE, y)
    np.reciprocal(y, y)


def _softplus(x: Array, y: Array) -> None:
    np.logaddexp(x, ZERO, y)


def _silu(x: Array, y: Array) -> None:
    _sigmoid(x, y)
    np.multiply(x, y, y)


def _elu(x: Array, y: Array, t: Array) -> None:
    np.minimum(x, ZERO, out=t)
    np.expm1(t, t)
    np.maximum(x, ZERO, out=y)
    np.add(y, t, y)


def _leaky_relu(x: Array, y: Array) -> None:
    np.multiply(x, SLOPE, y)
    np.maximum(x, y, out=y)


def _normal(x: Array, y: Array) -> None:
    np.multiply(x, ROOT_HALF, y)
    if erf is None:
        raise NotImplementedError("erf needs SciPy")
    erf(y, y)
    np.add(y, ONE, y)
    np.multiply(y, HALF, y)


def _gelu(x: Array, y: Array) -> None:
    _normal(x, y)
    np.multiply(x, y, y)


def _gate(x: Array, y: Array) -> None:
    """tanh(sqrt(2 / pi) (x + 0.044715 x^3))."""
    np.multiply(x, x, y)
    np.multiply(y, CUBE, y)
    np.add(y, ONE, y)
    np.multiply(y, x, y)
    np.multiply(y, TANH_SCALE, y)
    np.tanh(y, y)


def _gelu_tanh(x: Array, y: Array) -> None:
    _gate(x, y)
    np.add(y, ONE, y)
    np.multiply(y, x, y)
    np.multiply(y, HALF, y)


def _relu_slope(dy: Array, y: Array, dx: Array) -> None:
    np.greater(y, ZERO, dx, casting="unsafe")
    np.multiply(dy, dx, dx)


def _leaky_relu_slope(dy: Array, y: Array, dx: Array) -> None:
    np.multiply(dy, SLOPE, dx)
    np.copyto(dx, dy, where=y > 0)


def _elu_slope(dy: Array, y: Array, dx: Array) -> None:
    np.minimum(y, ZERO, out=dx)
    np.add(dx, ONE, dx)
    np.multiply(dy, dx, dx)


def _sigmoid_slope(dy: Array, y: Array, dx: Array) -> None:
    np.subtract(ONE, y, dx)
    np.multiply(dx, y, dx)
    np.multiply(dy, dx, dx)


def _tanh_slope(dy: Array, y: Array, dx: Array) -> None:
    np.multiply(y, y, dx)
    np.subtract(ONE, dx, dx)
    np.multiply(dy, dx, dx)


def _softplus_slope(dy: Array, x: Array, dx: Array) -> None:
    _sigmoid(x, dx)
    np.multiply(dy, dx, dx)


def _silu_slope(dy: Array, x: Array, dx: Array, t: Array) -> None:
    _sigmoid(x, dx)  # s; the slope is s (1 + x (1 - s))
    np.subtract(ONE, dx, t)
    np.multiply(t, x, t)
    np.add(t, ONE, t)
    np.multiply(dx, t, dx)
    np.multiply(dy, dx, dx)


def _gelu_slope(dy: Array, x: Array, dx: Array, t: Array) -> None:
    np.multiply(x, x, t)
    np.multiply(t, -HALF, t)
    np.exp(t, t)
    np.multiply(t, x, t)
    np.multiply(t, DENSITY, t)
    _normal(x, dx)
    np.add(dx, t, dx)
    np.multiply(dy, dx, dx)


def _gelu_tanh_slope(dy: Array, x: Array, dx: Array, t: Array) -> None:
    _gate(x, dx)  # g; the slope is (1 + g) / 2 + x / 2 (1 - g^2) sqrt(2 / pi) (1 + 3 * 0.044715 x^2)
    np.multiply(x, x, t)
    np.multiply(t, 3 * CUBE, t)
    np.add(t, ONE, t)
    np.multiply(t, x, t)
    np.multiply(t, TANH_SCALE, t)
    np.multiply(t, ONE - dx * dx, t)
    np.add(dx, ONE, dx)
    np.add(dx, t, dx)
    np.multiply(dx, HALF, dx)
    np.multiply(dy, dx, dx)


# Functions of inputs and a result, and of as much scratch as their last argument asks for.
FUNCTIONS: dict[str, Callable[..., None]] = {
    "relu": lambda x, y: np.maximum(x, ZERO, out=y), "tanh": np.tanh, "sigmoid": _sigmoid,
    "softplus": _softplus, "silu": _silu, "leaky_relu": _leaky_relu, "gelu": _gelu, "gelu_tanh": _gelu_tanh,
    "relu slope": _relu_slope, "leaky_relu slope": _leaky_relu_slope, "elu slope": _elu_slope,
    "sigmoid slope": _sigmoid_slope, "tanh slope": _tanh_slope, "softplus slope": _softplus_slope,
}  # fmt: skip
FUNCTIONS_WITH_SCRATCH: dict[str, Callable[..., None]] = {
    "elu": _elu, "silu slope": _silu_slope, "gelu slope": _gelu_slope, "gelu_tanh slope": _gelu_tanh_slope,
}  # fmt: skip


# ------------------------------------------------------------------------------------------- rows and columns


def _softmax(x: Array, y: Array) -> None:
    np.subtract(x, x.max(1, keepdims=True), y)
    np.exp(y, y)
    np.divide(y, y.sum(1, keepdims=True), y)


def _log_softmax(x: Array, y: Array, t: Array) -> None:
    np.subtract(x, x.max(1, keepdims=True), y)
    np.exp(y, t)
    np.subtract(y, np.log(t.sum(1, keepdims=True)), y)


def _softmax_gradient(dy: Array, y: Array, dx: Array) -> None:
    np.multiply(dy, y, dx)
    np.subtract(dy, dx.sum(1, keepdims=True), dx)
    np.multiply(dx, y, dx)


def _log_softmax_gradient(dy: Array, y: Array, dx: Array) -> None:
    np.exp(y, dx)
    np.multiply(dx, dy.sum(1, keepdims=True), dx)
    np.subtract(dy, dx, dx)


def _cross_entropy(x: Array, labels: Array, losses: Array, dx: Array, mean: Any) -> None:
    rows = np.arange(len(x))
    np.subtract(x, x.max(1, keepdims=True), dx)
    picked = dx[rows, labels]
    np.exp(dx, dx)
    sums = dx.sum(1, keepdims=True)
    np.subtract(np.log(sums[:, 0]), picked, losses)
    np.divide(dx, sums * mean, dx)
    dx[rows, labels] -= ONE / mean


# ---------------------------------------------------------------------------------------------------- updates

RATE, ROOT_EPS = 0.01, 1e-8


def _sgd(g: Array, w: Array, t: Array) -> None:
    np.multiply(g, np.float32(RATE), t)
    np.subtract(w, t, w)


def _momentum(g: Array, w: Array, v: Array, t: Array) -> None:
    np.multiply(v, np.float32(0.9), v)
    np.add(v, g, v)
    _sgd(v, w, t)


def _nesterov(g: Array, w: Array, v: Array, t: Array) -> None:
    np.multiply(v, np.float32(0.9), v)
    np.add(v, g, v)
    np.multiply(v, np.float32(0.9), t)
    np.add(g, t, t)
    _sgd(t, w, t)


def _steps(g: Array, s: Array, t: Array, eps: float) -> None:
    """Puts g / (sqrt(s) + eps) into t."""
    np.sqrt(s, t)
    np.add(t, np.float32(eps), t)
    np.divide(g, t, t)


def _mean_square(g: Array, s: Array, t: Array) -> None:
    """Moves s a hundredth of the way to the square of g."""
    np.multiply(g, g, t)
    np.multiply(t, np.float32(0.01), t)
    np.multiply(s, np.float32(0.99), s)
    np.add(s, t, s)


def _rmsprop(g: Array, w: Array, s: Array, t: Array) -> None:
    _mean_square(g, s, t)
    _steps(g, s, t, ROOT_EPS)
    _sgd(t, w, t)


def _rmsprop_momentum(g: Array, w: Array, s: Array, v: Array, t: Array) -> None:
    _mean_square(g, s, t)
    _steps(g, s, t, ROOT_EPS)
    _momentum(t, w, v, t)


def _adagrad(g: Array, w: Array, s: Array, t: Array) -> None:
    np.multiply(g, g, t)
    np.add(s, t, s)
    _steps(g, s, t, 1e-10)
    _sgd(t, w, t)


def adam(g: Array, w: Array, m: Array, s: Array, t: Array, rate: float = RATE, step: int = 11) -> None:
    """Kingma and Ba's update in place; steps count from 1."""
    np.subtract(g, m, t)
    np.multiply(t, np.float32(0.1), t)
    np.add(m, t, m)
    np.multiply(g, g, t)
    np.multiply(t, np.float32(0.001), t)
    np.multiply(s, np.float32(0.999), s)
    np.add(s, t, s)
    np.sqrt(s, t)
    np.multiply(t, np.float32((1 - 0.9**step) / (rate * math.sqrt(1 - 0.999**step))), t)
    np.add(t, np.float32(ROOT_EPS * (1 - 0.9**step) / rate), t)
    np.divide(m, t, t)
    np.subtract(w, t, w)


def _adamw(g: Array, w: Array, m: Array, s: Array, t: Array) -> None:
    np.multiply(w, np.float32(1 - RATE * 0.01), w)
    adam(g, w, m, s, t)


UPDATES: dict[str, Callable[..., None]] = {
    "sgd": _sgd, "momentum": _momentum, "nesterov": _nesterov, "rmsprop": _rmsprop,
    "rmsprop_momentum": _rmsprop_momentum, "adagrad": _adagrad, "adam": adam, "adamw": _adamw,
}  # fmt: skip


def blocks(arrays: Sequence[Array], *, scratch: bool) -> Iterator[tuple[Array, ...]]:
    """Views of flat arrays, block by block, with a common array for scratch if there is to be one."""
    temporary = np.empty(min(arrays[0].size, BLOCK), arrays[0].dtype)
    for start in range(0, arrays[0].size, BLOCK):
        views = [array[start : start + BLOCK] for array in arrays]
        yield (*views, temporary[: len(views[0])]) if scratch else tuple(views)


def in_blocks(function: Callable[..., None], arrays: Sequence[Array], *, scratch: bool) -> Callable[[], None]:
    """The function, block by block."""
    parts = list(blocks(arrays, scratch=scratch))

    def run() -> None:
        for part in parts:
            function(*part)

    return run


def elementwise(shape: ElementwiseShape, arrays: list[Array]) -> Callable[[int], list[Array]]:
    """The operation, into the same arrays each time."""
    return repeated(*_operation(shape, arrays))


def _operation(shape: ElementwiseShape, arrays: list[Array]) -> tuple[Callable[[], object], list[Array]]:
    x, name = arrays[0], shape.operation
    if shape.update:
        return in_blocks(UPDATES[shape.update], arrays, scratch=True), arrays[1:]
    if name.startswith("sum"):
        axis = {"sum": None, "sum of rows": 1, "sum of columns": 0}[name]
        out = np.empty(x.sum(axis).shape, x.dtype)
        return lambda: np.add.reduce(x, axis, None, out), [out]
    y = empty(x.shape, x.dtype)
    if name == "dropout":
        rng, mask = np.random.Generator(np.random.SFC64(0)), np.empty_like(x)

        def dropout() -> None:
            rng.random(None, np.float32, mask)
            np.greater_equal(mask, HALF, mask, casting="unsafe")
            np.multiply(mask, TWO, mask)
            np.multiply(x, mask, y)

        return dropout, [y]
    if name in FUNCTIONS or name in FUNCTIONS_WITH_SCRATCH:
        function = FUNCTIONS.get(name) or FUNCTIONS_WITH_SCRATCH[name]
        return in_blocks(function, [*arrays, y], scratch=name in FUNCTIONS_WITH_SCRATCH), [y]
    rows = max(1, BLOCK // x.shape[1])
    slices = [slice(start, start + rows) for start in range(0, len(x), rows)]
    if name == "cross_entropy":
        losses, mean = np.empty(len(x), x.dtype), np.float32(len(x))
        parts = [(x[part], arrays[1][part], losses[part], y[part]) for part in slices]
        return lambda: [_cross_entropy(*part, mean) for part in parts], [losses, y]
    function = {"softmax": _softmax, "log_softmax": _log_softmax, "softmax gradient": _softmax_gradient,
                "log_softmax gradient": _log_softmax_gradient}[name]  # fmt: skip
    temporary = [np.empty_like(x[slices[0]])] if name == "log_softmax" else []
    operands = [tuple(each[part] for each in (*arrays, y)) for part in slices]
    scratch = [tuple(each[: len(part[0])] for each in temporary) for part in operands]
    return lambda: [function(*part, *t) for part, t in zip(operands, scratch, strict=True)], [y]

"""Calling the product kernel itself, on operands that lie in memory in every way."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastnn import kernels, ops
from fastnn.kernels import executor
from fastnn.ops.linear import FORWARD
from fastnn.program import OPERATIONS

Array = NDArray[Any]
LEVEL = kernels.LEVEL
DTYPES = ("float32", "float64")
TURNS = list(itertools.product((False, True), repeat=2))
NO_EPILOGUE = (0, 0)

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: f"{LEVEL}-{dtype}")
each_turn = pytest.mark.parametrize("turn", TURNS, ids=lambda turn: "".join("nt"[each] for each in turn))


def numbers(rng: np.random.Generator, *shape: int, dtype: str) -> Array:
    return rng.normal(size=shape).astype(dtype)


def run(a: Array, b: Array, c: Array, *, bias: Array | None = None, aux: Array | None = None, z: Array | None = None,
        turn: tuple[bool, bool] = (False, False), accumulate: bool = False, epilogue: tuple[int, int] = NO_EPILOGUE,
        n_threads: int = 1) -> Array:  # fmt: skip
    """Calls the kernel itself."""
    dtype = a.dtype.name
    m, n, k = c.shape[0], c.shape[1], a.shape[0 if turn[0] else 1]
    size = kernels.product_scratch(m, n, k, dtype)
    scratch = np.empty((size + 64) * n_threads, np.uint8) if size else None
    integers = (int(turn[0]), int(turn[1]), int(accumulate), *epilogue)
    address = kernels.address("product", dtype)
    status = executor.call(address, (c, z, a, b, bias, aux), 2, integers, (), 0.0, n_threads, scratch)
    assert status == 0
    return c


def assert_same_bits(got: Array, want: Array) -> None:
    """Equal bit for bit; any NaN equals any other."""
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got) & ~np.isnan(got), np.signbit(want) & ~np.isnan(want))


def layouts(array: Array) -> dict[str, Array]:
    """The same numbers in other strides."""
    m, n = array.shape
    wide = np.zeros((m, 2 * n + 3), array.dtype)
    wide[:, 1 : 2 * n + 1 : 2] = array
    back = array[::-1, ::-1].copy()
    return {
        "contiguous": array.copy(),
        "transposed": array.T.copy().T,
        "every other": wide[:, 1 : 2 * n + 1 : 2],
        "reversed": back[::-1, ::-1],
        "rows reversed": array[::-1].copy()[::-1],
    }


def at_offset(array: Array, offset: int) -> Array:
    """A copy whose rows begin so many numbers into a cache line."""
    k, n = array.shape
    line = 64 // array.itemsize
    row = -(-n // line) * line
    memory = np.zeros((k + 1) * row + 2 * line, array.dtype)
    start = -memory.ctypes.data % 64 // array.itemsize + offset
    placed = memory[start : start + k * row].reshape(k, row)[:, :n]
    placed[...] = array
    return placed


def code_of(name: str, attributes: dict[str, Any]) -> int:
    """The number that the kernels know an elementwise function by."""
    kernel = OPERATIONS[name].kernel
    assert kernel is not None
    return kernel.integers(attributes)[0]


def assert_relu_follows(a: Array, b: Array, want: Array, **options: Any) -> None:
    """One call gives the product, which is `want`, and its ReLU, each in memory of its own."""
    c, z = np.empty_like(want), np.empty_like(want)
    run(a, b, c, z=z, epilogue=(FORWARD, code_of("relu", {})), **options)
    assert_same_bits(z, want)
    assert_same_bits(c, ops.relu(want))

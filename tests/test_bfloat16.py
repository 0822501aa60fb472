"""Products of factors rounded to bfloat16: the bits of the product of the rounded numbers; and predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import programs
import pytest
import reference
from networks import both
from numpy.typing import NDArray

import fastnn as fnn
from fastnn import kernels, ops
from fastnn.graph.autodiff import gradients
from fastnn.graph.tensor import Graph
from fastnn.kernels import executor
from fastnn.ops.linear import rounded_to_bfloat16

pytestmark = pytest.mark.kernel

Array = NDArray[Any]


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def rounded(x: Array) -> Array:
    return rounded_to_bfloat16(np, np.ascontiguousarray(x))


def test_rounding() -> None:
    ulp = np.float32(2.0**-7)
    pairs = [(1, 1), (1 + ulp / 2, 1), (1 + 1.5 * ulp, 1 + 2 * ulp), (1 + 0.51 * ulp, 1 + ulp), (-1 - 0.49 * ulp, -1)]
    x, want = np.array([*pairs, (3.4e38, np.inf), (np.inf, np.inf), (np.nan, np.nan), (-0.0, -0.0)], "float32").T
    np.testing.assert_array_equal(rounded_to_bfloat16(np, x), want)
    np.testing.assert_array_equal(ops.matmul(x[:, None], np.ones((1, 1), "float32"), dtype="bfloat16")[:, 0], want)
    np.testing.assert_array_equal(ops.matmul(np.ones((1, 1), "float32"), x[None], dtype="bfloat16")[0], want)


@pytest.mark.parametrize("k", [0, 1, 2, 3, 31, 32, 511, 512, 513, 1025])
def test_the_bits_of_the_rounded_factors_product(k: int) -> None:
    vector, rows = kernels.tiles("float32")["VL"], kernels.tiles("float32")["MR"]
    a, bias = numbers(3 * rows + 1, k), numbers(4 * vector + 3, seed=2)
    b = numbers(k, len(bias), seed=1)
    for m in (1, 2, 3, rows, rows + 1, 3 * rows + 1):
        for n in (1, vector - 1, vector, vector + 1, 2 * vector, 4 * vector + 3):
            want = reference.product(rounded(a[:m]), rounded(b[:, :n]), bias[:n])
            for turn_a, turn_b in ((False, False), (True, False), (False, True), (True, True)):
                left = a[:m].T.copy() if turn_a else a[:m]
                right = b[:, :n].T.copy() if turn_b else b[:, :n]
                got = ops.matmul(left, right, bias=bias[:n], transpose_a=turn_a, transpose_b=turn_b, dtype="bfloat16")
                np.testing.assert_array_equal(got, want, err_msg=f"{m} x {n} x {k}, {turn_a}, {turn_b}")


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("m, n, k", [(150, 130, 700), (9, 1100, 1030), (300, 20, 64), (6, 0, 20), (0, 5, 4)])
def test_threads_change_no_bit(m: int, n: int, k: int, n_threads: int) -> None:
    a, b, c = numbers(m, k), numbers(k, n, seed=1), np.full((m, n), np.nan, "float32")
    size = kernels.rounded_scratch(m, n, k, "float32")
    scratch = np.empty((size + 64) * n_threads, np.uint8)
    address = kernels.address("product_bfloat16", "float32")
    status = executor.call(address, (c, None, a, b, None, None), 2, (0, 0, 0, 0, 0), (), 0.0, n_threads, scratch)
    assert status == 0
    np.testing.assert_array_equal(c, reference.product(rounded(a), rounded(b)))


def test_calls_on_arrays_of_any_kind() -> None:
    a, b = numbers(20, 30), numbers(30, 17, seed=1)
    want = reference.product(rounded(a), rounded(b))
    into = np.zeros((17, 20), "float32").T
    assert ops.matmul(a, b, out=into, dtype="bfloat16") is into
    np.testing.assert_array_equal(into, want)
    np.testing.assert_array_equal(ops.matmul(a[::-1], b, dtype="bfloat16"), want[::-1])
    np.testing.assert_array_equal(ops.matmul(a[3], b, dtype="bfloat16"), want[3])
    np.testing.assert_array_equal(ops.matmul(a.reshape(4, 5, 30), b, dtype="bfloat16"), want.reshape(4, 5, 17))
    start = numbers(20, 17, seed=2)
    sums = ops.matmul(a, b, accumulate=True, out=start.copy(), dtype="bfloat16")
    np.testing.assert_array_equal(sums, reference.product(rounded(a), rounded(b), start))
    with pytest.raises(TypeError, match="float32, got factors of float64"):
        ops.matmul(a.astype("float64"), b.astype("float64"), dtype="bfloat16")
    for dtype in ("float16", ["bfloat16"]):
        with pytest.raises(ValueError, match='dtype must be None or "bfloat16"'):
            ops.matmul(a, b, dtype=dtype)


def test_denormal_numbers_and_what_is_too_large() -> None:
    """Where there are pairs, denormal factors, sums and biases count as zeros; each other level is as in float32."""
    tiny, denormal, one = np.float32(1e-20), np.float32(1e-40), np.ones((1, 1), "float32")
    pairs = kernels.tiles("float32")["PAIRS"]
    product = ops.matmul(tiny * one, tiny * one, dtype="bfloat16")[0, 0]
    assert product == (0 if pairs else rounded(tiny * one)[0, 0] ** 2)
    assert ops.matmul(denormal * one, one, dtype="bfloat16")[0, 0] == (0 if pairs else rounded(denormal * one)[0, 0])
    assert ops.matmul(0 * one, one, bias=denormal * one[0], dtype="bfloat16")[0, 0] == (0 if pairs else denormal)
    sums = ops.matmul(np.array([[-3.3e38, 3e38]], "float32"), np.array([[1], [2]], "float32"), dtype="bfloat16")
    assert np.isfinite(sums[0, 0]) == bool(kernels.tiles("float32")["HAS_FMA"]), "or the product alone is infinite"


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True)], ids=str)
def test_gradients_are_those_without_rounding(turned: tuple[bool, bool]) -> None:
    a, b = numbers(*((7, 5) if turned[0] else (5, 7))), numbers(*((6, 7) if turned[1] else (7, 6)), seed=1)
    found = []
    for dtype in (None, "bfloat16"):
        graph = Graph("float32")
        x, w = graph.input("x", a.shape), graph.input("w", b.shape)
        value = ops.sum(ops.matmul(x, w, transpose_a=turned[0], transpose_b=turned[1], dtype=dtype))
        found.append([programs.run(graph, each, {"x": a, "w": b}) for each in gradients(value, [x, w])])
    for exact, rounded_too in zip(*found, strict=True):
        assert np.abs(exact).max() > 0.1
        np.testing.assert_array_equal(exact, rounded_too)


@both
def test_predictions(backend: str) -> None:
    net = fnn.Sequential(
        [fnn.Dense(40, "relu"), fnn.Dense(24, "tanh"), fnn.Dense(5)], input_shape=30, seed=0, backend=backend
    )
    x = numbers(300, 30)
    exact, near = net.predict(x), net.predict(x, dtype="bfloat16")
    assert near.dtype == "float32"
    error = np.abs(near - exact).max() / np.abs(exact).max()
    assert 1e-5 < error < 2e-2, "as far off as 8 significant bits make it, and no further"
    if backend == "native":
        np.testing.assert_array_equal(net.predict(x[7:8], dtype="bfloat16"), near[7:8])
        np.testing.assert_array_equal(net.predict(x), exact)
    net.set_weights([0 * w for w in net.get_weights()])
    assert not net.predict(x, dtype="bfloat16").any(), "it reads the weights as they are"


def test_what_cannot_be_predicted() -> None:
    net = fnn.Sequential([fnn.Dense(2)], input_shape=3, dtype="float64")
    with pytest.raises(ValueError, match="networks of float32, this one is of float64"):
        net.predict(np.zeros((1, 3)), dtype="bfloat16")
    for dtype in ("half", ["bfloat16"]):
        with pytest.raises(ValueError, match='dtype must be None or "bfloat16"'):
            net.predict(np.zeros((1, 3)), dtype=dtype)

"""Calls on arrays: what the compiled front takes, that it gives what the general way gives, and what neither takes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastnn import kernels, ops
from fastnn.kernels.eager import attempt
from fastnn.ops._dispatch import compute, front
from fastnn.program import OPERATIONS

pytestmark = pytest.mark.kernel

Array = NDArray[Any]

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"], ids=lambda dtype: f"{kernels.LEVEL}-{dtype}")


def numbers(*shape: int, dtype: str = "float32", seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


class Subclass(np.ndarray):
    """An array that the front leaves to the general way."""


def unaligned(dtype: str) -> Array:
    array = np.zeros(41, np.uint8)[1:].view(dtype)
    array[...] = 1.5
    return array


X = numbers(4, 6)
USUAL: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "one array": ("tanh", (X,), {}),
    "no dimensions": ("tanh", (np.array(0.5, "float32"),), {}),
    "no elements": ("tanh", (X[:0],), {}),
    "strided": ("tanh", (X[::-1, ::2],), {}),
    "read-only": ("tanh", (np.broadcast_to(X[0], (4, 6)),), {}),
    "a parameter": ("leaky_relu", (X,), {"negative_slope": 0.1}),
    "a number": ("add", (X, 2.5), {}),
    "a whole number first": ("subtract", (1, X), {}),
    "broadcast": ("multiply", (X, X[:, :1]), {}),
    "more dimensions second": ("divide", (X[0], numbers(2, 1, 6, seed=1)), {}),
    "three inputs": ("where", (X, 1.0, X[0]), {}),
    "product": ("matmul", (X, numbers(6, 5), None), {}),
    "product with bias": ("matmul", (X, numbers(6, 5), numbers(5)), {}),
    "product, transposed": ("matmul", (X, numbers(5, 4), None), {"transpose_a": True, "transpose_b": True}),
    "empty sum": ("matmul", (X[:, :0], numbers(0, 5), None), {}),
}
UNUSUAL: dict[str, tuple[str, tuple[Any, ...]]] = {
    "list": ("tanh", ([1.0, 2.0],)),
    "number alone": ("tanh", (0.5,)),
    "whole numbers": ("tanh", (np.arange(3),)),
    "another byte order": ("tanh", (X.astype(">f4"),)),
    "unaligned": ("tanh", (unaligned("float32"),)),
    "half precision": ("tanh", (X.astype(np.float16),)),
    "subclass": ("tanh", (X.view(Subclass),)),
    "two types": ("add", (X, X.astype(np.float64))),
    "NumPy's number": ("add", (X, np.float32(2))),
    "truth value": ("add", (X, True)),
    "product of a vector": ("matmul", (X[0], numbers(6, 5), None)),
}


@pytest.mark.parametrize("case", USUAL)
def test_the_front_gives_what_the_general_way_gives(case: str) -> None:
    name, inputs, attributes = USUAL[case]
    got = attempt(front(name), inputs, None, attributes)
    (want,) = compute(OPERATIONS[name], inputs, None, (), attributes)
    assert type(got) is np.ndarray
    assert got.dtype == want.dtype == np.float32
    np.testing.assert_array_equal(got, want)
    out = np.full(want.shape[::-1], np.nan, want.dtype).T
    assert attempt(front(name), inputs, out, attributes) is out
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("case", UNUSUAL)
def test_what_is_unusual_is_left_to_the_general_way(case: str) -> None:
    name, inputs = UNUSUAL[case]
    assert attempt(front(name), inputs, None, {}) is None
    got = ops.matmul(*inputs[:2]) if name == "matmul" else getattr(ops, name)(*inputs)
    wide = [np.asarray(each, np.float64) for each in inputs if each is not None]
    want = {"tanh": np.tanh, "add": np.add, "matmul": np.matmul}[name](*wide)
    np.testing.assert_allclose(got, want, rtol=2e-6)


def test_types_of_results() -> None:
    single, double = X, X.astype(np.float64)
    assert ops.add(single, np.float64(2)).dtype == np.float32, "a number without dimensions does not widen an array"
    assert ops.add(single, np.arange(6)).dtype == np.float32, "nor do whole numbers"
    assert ops.add(single, double).dtype == np.float64
    assert ops.tanh(np.float32(1)).dtype == np.float32
    assert ops.tanh(1.0).dtype == ops.tanh(np.arange(3)).dtype == np.float64


@each_dtype
def test_out_may_share_memory(dtype: str) -> None:
    def fresh() -> Array:
        return numbers(40, dtype=dtype)

    x = fresh()
    assert ops.tanh(x, out=x) is x
    np.testing.assert_array_equal(x, ops.tanh(fresh()))
    reverse = slice(19, None, -1)
    for target, source in [(slice(1, 21), slice(20)), (slice(20), slice(1, 21)), (reverse, slice(20))]:
        x = fresh()
        ops.tanh(x[source], out=x[target])
        np.testing.assert_array_equal(x[target], ops.tanh(fresh()[source]))
    square = numbers(6, 6, dtype=dtype)
    turned = square.T
    for a, b in [(square, square), (square, turned), (turned, square)]:
        want = ops.matmul(a, b)
        memory = square.copy()
        left, right = (memory if each is square else memory.T for each in (a, b))
        np.testing.assert_array_equal(ops.matmul(left, right, out=memory), want)
    row = numbers(3, 6, dtype=dtype)
    want = row + row[1]
    ops.add(row, row[1], out=row)
    np.testing.assert_array_equal(row, want)


def test_out_may_be_unaligned() -> None:
    out = unaligned("float32")
    assert ops.tanh(X.ravel()[: out.size], out=out) is out
    np.testing.assert_array_equal(out, ops.tanh(X).ravel()[: out.size])


def test_wrong_out_is_refused_and_left_alone() -> None:
    out = np.full((4, 6), 7.0, "float32")
    with pytest.raises(ValueError, match=r"tanh: out must have .* dtype float32, got \(4, 6\) and float64"):
        ops.tanh(X, out=out.astype(np.float64))
    with pytest.raises(ValueError, match=r"tanh: out must have shape \(4, 6\)"):
        ops.tanh(X, out=out[:2])
    with pytest.raises(TypeError, match="tanh: out must be a NumPy array, got list"):
        ops.tanh(X, out=[[0.0]])
    out.flags.writeable = False
    with pytest.raises(ValueError, match="tanh: out is read-only"):
        ops.tanh(X, out=out)
    assert (out == 7).all()


def test_wrong_operands_are_refused() -> None:
    with pytest.raises(TypeError, match="must hold numbers, got str"):
        ops.tanh("1.5")
    with pytest.raises(ValueError, match=r"add: shapes \(4, 6\) and \(4,\) do not fit together"):
        ops.add(X, X[:, 0])
    with pytest.raises(ValueError, match="tanh: arrays may have up to 6 dimensions"):
        ops.tanh(np.zeros((1,) * 7))
    with pytest.raises(ValueError, match=r"matmul: shapes \(4, 6\) and \(4, 6\) do not fit"):
        ops.matmul(X, X)


# ------------------------------------------------------------------------------------------ remembered calls


def remembered(name: str, *inputs: Any, labels: tuple[int, ...] = (), **attributes: Any) -> bool:
    return front(name).find(inputs, labels, attributes) is not None


@each_dtype
def test_a_remembered_call_gives_what_the_first_gave(dtype: str) -> None:
    x = numbers(7, 19, dtype=dtype)
    want = ops.softmax(x)
    assert remembered("softmax", x)
    assert not remembered("softmax", x[:6])
    assert not remembered("softmax", x.astype(">" + x.dtype.str[1:]))
    out = np.full((19, 7), np.nan, dtype).T
    assert ops.softmax(x, out=out) is out
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(ops.softmax(x[::-1, ::-1]), want[::-1, ::-1])  # other strides, the same call
    np.testing.assert_array_equal(ops.softmax(x.copy(), out=None), want)
    memory = x.copy()
    assert ops.softmax(memory, out=memory) is memory  # in its own place: computed apart
    np.testing.assert_array_equal(memory, want)


def test_attributes_tell_calls_apart() -> None:
    x = numbers(5, 6)
    for _ in range(2):
        np.testing.assert_allclose(ops.sum(x, axis=0), x.sum(axis=0), rtol=1e-5)
        np.testing.assert_allclose(ops.sum(x, axis=1), x.sum(axis=1), rtol=1e-5)
        assert ops.sum(x, axis=1, keepdims=True).shape == (5, 1)
        assert ops.sum(x, axis=1).shape == (5,)


def test_more_kinds_of_calls_than_are_remembered() -> None:
    for _ in range(2):
        for n in range(1, 60):
            x = numbers(3, n, seed=n)
            np.testing.assert_allclose(ops.sum(x, axis=0), x.sum(axis=0), rtol=1e-5)


def test_wrong_operands_of_a_remembered_call_are_refused() -> None:
    x, labels = numbers(4, 3), np.array([0, 1, 2, 0])
    assert ops.cross_entropy(x, labels) == ops.cross_entropy(x, labels.copy())
    for wrong in (3, -1):
        labels[2] = wrong
        with pytest.raises(ValueError, match="label"):
            ops.cross_entropy(x, labels)
    with pytest.raises(ValueError, match=r"softmax: out must have shape \(4, 3\)"):
        ops.softmax(ops.softmax(x), out=x[:2])
    read_only = x.copy()
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="softmax: out is read-only"):
        ops.softmax(x, out=read_only)
    ops.update("sgd", x, [], x.copy(), learning_rate=0.1)
    with pytest.raises(ValueError, match="read-only"):
        ops.update("sgd", read_only, [], x, learning_rate=0.1)
    with pytest.raises(ValueError, match=r"softmax: arrays may have up to 6 dimensions, got shape \(1, 1, 1"):
        ops.softmax(np.ones((1,) * 7, np.float32))


def test_numbers_of_the_run_row_are_this_calls() -> None:
    w, slope = numbers(9), numbers(9, seed=1)
    for rate in (0.5, 0.25, 0.125):
        want = w - np.float32(rate) * slope
        (changed,) = ops.update("sgd", w, [], slope, learning_rate=rate)
        assert changed is w
        np.testing.assert_allclose(w, want, rtol=1e-6)


def test_threads_make_the_same_call_at_once() -> None:
    arrays = [numbers(200, 300, seed=i) for i in range(8)]
    want = [ops.softmax(x) for x in arrays]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            for got, expected in zip(pool.map(ops.softmax, arrays), want, strict=True):
                np.testing.assert_array_equal(got, expected)


def test_results_that_lie_over_operands_are_made_apart() -> None:
    index = np.array([3, 0, 0, 2])
    for _ in range(2):  # the second call is remembered
        x = numbers(4, 5)
        want = x[index]
        np.testing.assert_array_equal(ops.gather(x, index, out=x), want)
        memory = numbers(12)
        want = memory[2:] - np.float32(0.5) * memory[:-2]
        ops.update("sgd", memory[2:], [], memory[:-2], learning_rate=0.5)
        np.testing.assert_allclose(memory[2:], want, rtol=1e-6)


def test_zeros_of_both_signs_are_different_calls() -> None:
    x = numbers(3)
    for value in (0.0, -0.0, 0.0):
        assert np.signbit(ops.fill(x, value)).all() == np.signbit(value)


def test_unusual_calls_do_not_push_usual_ones_out() -> None:
    x = numbers(4, 3)
    ops.softmax(x)
    for n in range(1, 40):
        ops.softmax(numbers(2, n).view(Subclass))
    assert remembered("softmax", x)

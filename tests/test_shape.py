"""Operations that only move elements, against NumPy's, on every layout; and their gradients."""

from __future__ import annotations

import itertools
from typing import Any

import guard
import numpy as np
import programs
import pytest
from networks import both
from numpy.typing import NDArray

from fastnn import kernels, ops
from fastnn.graph.autodiff import gradients
from fastnn.graph.plan import plan
from fastnn.graph.tensor import Graph
from fastnn.kernels import executor
from fastnn.ops._dispatch import dispatch
from fastnn.ops.shape import resolve_shape
from fastnn.program import Extent

pytestmark = pytest.mark.kernel

Array = NDArray[Any]
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"], ids=lambda dtype: f"{kernels.LEVEL}-{dtype}")


def numbers(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def layouts(array: Array) -> list[Array]:
    """The same numbers, laid out in memory in several ways."""
    wide = np.repeat(array, 3, axis=-1)
    return [array, np.asfortranarray(array), wide[..., 1::3], np.flip(np.flip(array).copy())]


@each_dtype
def test_reshape_and_flatten(dtype: str) -> None:
    for shape, new in [((6,), (2, 3)), ((2, 3, 4), (4, -1)), ((2, 3, 4), (-1,)), ((1,), ()), ((0, 3), (3, 0, 5)),
                       ((300, 7), (7, 300)), ((2, 3, 4), (2, 1, 12, 1))]:  # fmt: skip
        x = numbers(shape, dtype)
        for laid in layouts(x):
            np.testing.assert_array_equal(ops.reshape(laid, new), x.reshape(new))
            np.testing.assert_array_equal(ops.flatten(laid), x.reshape(len(x), x.size // len(x) if len(x) else 3))


@each_dtype
def test_transpose(dtype: str) -> None:
    for shape in [(5,), (3, 4), (300, 5), (2, 3, 4), (2, 1, 3, 5)]:
        x = numbers(shape, dtype)
        for laid in layouts(x):
            np.testing.assert_array_equal(ops.transpose(laid), x.T)
            for axes in itertools.permutations(range(x.ndim)):
                got = ops.transpose(laid, axes)
                assert got.flags.c_contiguous
                np.testing.assert_array_equal(got, x.transpose(axes))
    np.testing.assert_array_equal(ops.transpose(x, (-1, 0, 1, 2)), x.transpose(3, 0, 1, 2))


@each_dtype
def test_concatenate_and_slice(dtype: str) -> None:
    for shape in [(4,), (3, 5), (2, 3, 4)]:
        for axis in range(-1, len(shape)):
            parts = []
            for size in (1, 3, 0, 7):
                of_part = list(shape)
                of_part[axis] = size
                parts.append(numbers(tuple(of_part), dtype, seed=size))
            whole = np.concatenate(parts, axis)
            for laid in zip(*map(layouts, parts), strict=True):
                np.testing.assert_array_equal(ops.concatenate(laid, axis), whole)
            for laid_whole in layouts(whole):
                start = 0
                for part in parts:
                    window = {"axis": axis % len(shape), "start": start, "stop": start + part.shape[axis]}
                    np.testing.assert_array_equal(dispatch("slice", [laid_whole], **window), part)
                    back = dispatch("slice_gradient", [part], size=whole.shape[axis], **window)
                    want = np.zeros_like(whole)
                    want[(slice(None),) * window["axis"] + (slice(start, window["stop"]),)] = part
                    np.testing.assert_array_equal(back, want)
                    start = window["stop"]
    eight = [numbers((2, 3), dtype, seed) for seed in range(8)]
    np.testing.assert_array_equal(ops.concatenate(eight, 0), np.concatenate(eight))


@each_dtype
@pytest.mark.parametrize("n_threads", [1, 2, 3, 4])
def test_threads_and_results_of_any_layout(n_threads: int, dtype: str) -> None:
    x = numbers((31, 7, 9), dtype)
    for result in (np.full((31, 9, 7), np.nan, dtype), np.full((9, 31, 7), np.nan, dtype).transpose(1, 0, 2),
                   np.full((31, 9, 14), np.nan, dtype)[..., ::2]):  # fmt: skip
        for laid in layouts(x):
            result[...] = np.nan
            address = kernels.address("permute", dtype)
            assert executor.call(address, (result, laid), 1, (0, 2, 1), (), 0.0, n_threads) == 0
            np.testing.assert_array_equal(result, x.transpose(0, 2, 1))
            parts = laid[:, :3], laid[:, 3:]
            whole = np.swapaxes(result, 1, 2)
            whole[...] = np.nan
            address = kernels.address("concatenate", dtype)
            assert executor.call(address, (whole, *parts), 1, (1,), (), 0.0, n_threads) == 0
            np.testing.assert_array_equal(whole, x)


@each_dtype
def test_nothing_beyond_the_last_element_is_touched(dtype: str) -> None:
    x = numbers((3, 5, 7), dtype)
    kept = guard.guarded(x)
    np.testing.assert_array_equal(ops.transpose(kept, out=guard.guarded_empty((7, 5, 3), dtype)), x.T)
    np.testing.assert_array_equal(ops.reshape(kept, (105,), out=guard.guarded_empty((105,), dtype)), x.reshape(-1))
    out = guard.guarded_empty((3, 10, 7), dtype)
    np.testing.assert_array_equal(ops.concatenate([kept, kept], 1, out=out), np.concatenate([x, x], 1))


RULES = {
    "reshape": lambda x: ops.reshape(ops.square(x), (4, -1)),
    "flatten": lambda x: ops.flatten(ops.square(x)),
    "transpose": lambda x: ops.transpose(ops.square(x), (2, 0, 1)),
    "concatenate": lambda x: ops.concatenate([ops.square(x), x, x * 3.0], axis=1),
    "concatenate rows": lambda x: ops.concatenate([ops.transpose(x), ops.square(ops.transpose(x))], 0),
}


@both
@pytest.mark.parametrize("rule", RULES)
def test_gradients(rule: str, backend: str) -> None:
    values = {"x": np.random.default_rng(3).uniform(0.5, 2, (2, 3, 4))}
    with Graph("float64") as graph:
        x = graph.input("x", (2, 3, 4))
        y = RULES[rule](x)
        values["weights"] = np.random.default_rng(4).uniform(0.5, 2, y.shape)
        total = ops.sum(y * graph.input("weights", y.shape))
        (gradient,) = gradients(total, [x])
    programs.assert_gradient(graph, total, gradient, values, "x", backend, least=0.1)


@both
@pytest.mark.parametrize("rows", [1, 5, 8])
def test_extents_and_views(rows: int, backend: str) -> None:
    n, x = Extent("n", 8), numbers((rows, 2, 3), "float32")
    with Graph("float32") as graph:
        symbol = graph.input("x", (n, 2, 3))
        flat = ops.flatten(symbol * 2.0)
        assert flat.shape == (n, 6)
        turned = ops.transpose(ops.reshape(flat, (n, 3, 2)), (1, 2, 0))
        assert turned.shape == (3, 2, n)
        joined = ops.concatenate([flat, ops.reshape(flat, (-1, 6)) + 1.0])
    got = programs.run(graph, turned, {"x": x}, {"n": rows}, backend)
    np.testing.assert_array_equal(got, (x * 2).reshape(rows, 3, 2).transpose(1, 2, 0))
    got = programs.run(graph, joined, {"x": x}, {"n": rows}, backend)
    np.testing.assert_array_equal(got, np.concatenate([(x * 2).reshape(rows, 6), (x * 2).reshape(rows, 6) + 1], axis=1))
    names = [instruction.operation.name for instruction in plan(graph, {"y": turned}, {}).instructions]
    assert "reshape" not in names, "a reshape inside a Program moves nothing"


def test_shapes_with_extents() -> None:
    n, m = Extent("n", 8), Extent("m", 5)
    assert resolve_shape((n, 4, 6), (n, -1)) == (n, 24)
    assert resolve_shape((n, m, 6), (n, m, 2, 3)) == (n, m, 2, 3)
    assert resolve_shape((n, 6), (-1, 2, 3)) == (n, 2, 3)
    for old, new in [
        ((n, 6), (-1, 3)),
        ((n, m), (-1,)),
        ((n, 6), (m, 6)),
        ((n, 6), (6,)),
        ((4,), (n, 4)),
        ((n, 2), (n, n)),
    ]:
        with pytest.raises(ValueError, match=r"reshape: shape .* cannot become"):
            resolve_shape(old, new)


def test_wrong_calls_say_what_is_wrong() -> None:
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"reshape: shape \(2, 3\) cannot become \(4, -1\)"):
        ops.reshape(x, (4, -1))
    with pytest.raises(ValueError, match="only one dimension may be -1"):
        ops.reshape(x, (-1, -1))
    with pytest.raises(ValueError, match="a dimension is negative"):
        ops.reshape(x, (-2, -3))
    with pytest.raises(ValueError, match="flatten: expected at least one dimension"):
        ops.flatten(3.0)
    with pytest.raises(ValueError, match=r"transpose: axes \(0, 0\) are not the dimensions of shape \(2, 3\)"):
        ops.transpose(x, (0, 0))
    with pytest.raises(ValueError, match="concatenate: expected 1 to 8 tensors, got 9"):
        ops.concatenate([x] * 9)
    with pytest.raises(ValueError, match=r"concatenate: shapes \(2, 3\), \(3, 2\) differ elsewhere than in axis 1"):
        ops.concatenate([x, x.T])
    with pytest.raises(ValueError, match="concatenate: tensors must have one number of dimensions"):
        ops.concatenate([x, x[0]])
    with pytest.raises(ValueError, match=r"slice: 1:4 does not lie within axis 1 of shape \(2, 3\)"):
        dispatch("slice", [x], axis=1, start=1, stop=4)
    with Graph() as graph:
        symbol = graph.input("x", (Extent("n", 4), 2))
        with pytest.raises(ValueError, match=r"concatenate: axis 0 .* only known at run time"):
            ops.concatenate([symbol, symbol], 0)
        with pytest.raises(ValueError, match=r"slice: axis 0 .* only known at run time"):
            dispatch("slice", [symbol], axis=0, start=0, stop=1)

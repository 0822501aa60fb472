"""Reductions against their references: bit for bit where sums have a defined order, and all gradients."""

from __future__ import annotations

import itertools
from typing import Any

import guard
import numpy as np
import programs
import pytest
import reference
from networks import both
from numpy.typing import NDArray

import fastnn as fnn
from fastnn import backends, kernels, ops
from fastnn.graph.autodiff import gradients
from fastnn.graph.plan import Place, plan
from fastnn.graph.tensor import Graph
from fastnn.kernels import executor
from fastnn.ops import reduction
from fastnn.ops._dispatch import compute, dispatch
from fastnn.program import OPERATIONS, Extent, RunRow, Spec

pytestmark = pytest.mark.kernel

Array = NDArray[Any]
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"], ids=lambda dtype: f"{kernels.LEVEL}-{dtype}")
each_thread_count = pytest.mark.parametrize("n_threads", [1, 2, 3, 4])

LANES, ROW_CHUNK, SUM_CHUNK = 16, 512, 4096  # the order of arithmetic is a promise: it does not change with the level
SHAPES = [(), (1,), (7,), (3, 17), (5, 1), (1, 5), (2, 3, 4), (3, 1, 2), (2, 3, 4, 5), (2, 3, 2, 2, 3), (0, 3), (3, 0)]


def numbers(shape: int | tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).normal(scale=3.0, size=shape)).astype(dtype)


def layouts(array: Array) -> dict[str, Array]:
    """The same numbers, laid out in memory in several ways."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1] + 1), array.dtype)
    wide[..., 1::2] = array
    return {
        "contiguous": array,
        "reversed axes": array.T.copy().T,
        "every second element": wide[..., 1::2],
        "backwards": np.flip(np.flip(array).copy()),
        "rows apart": np.concatenate([array, array], axis=-1)[..., : array.shape[-1]],
    }


def all_axes(ndim: int) -> list[tuple[int, ...]]:
    return [axes for n in range(ndim + 1) for axes in itertools.combinations(range(ndim), n)]


# ---------------------------------------------------------------------------------------------------------- values


@each_dtype
def test_rows_bit_for_bit(dtype: str) -> None:
    vector = kernels.tiles(dtype)["VL"]
    edges = [0, 1, vector - 1, vector, vector + 1, LANES - 1, LANES, LANES + 1, 3 * LANES + 5, 255, 256, 257]
    for n in [*edges, SUM_CHUNK - 1, SUM_CHUNK, SUM_CHUNK + 1, 2 * SUM_CHUNK + 300]:
        x = numbers((2, n), dtype)
        want = np.array([reference.row_sum(row) for row in x])
        np.testing.assert_array_equal(ops.sum(x, axis=1), want, err_msg=f"{n} elements")
        np.testing.assert_array_equal(ops.sum(numbers((n, 2), dtype).T.copy().T[:, 0]), ops.sum(
            numbers((n, 2), dtype)[:, 0].copy()), err_msg=f"{n} elements apart")  # fmt: skip
        squares = ops.norm_squared(x)
        np.testing.assert_array_equal(squares, reference.row_sum(x.reshape(-1), squares=True), err_msg=f"{n} squares")


@each_dtype
def test_columns_bit_for_bit(dtype: str) -> None:
    vector = kernels.tiles(dtype)["VL"]
    for rows, columns in itertools.product(
        [0, 1, 2, ROW_CHUNK - 1, ROW_CHUNK, ROW_CHUNK + 1, 2 * ROW_CHUNK + 3],
        [1, vector - 1, vector, vector + 1, 2 * vector, 4 * vector, 4 * vector + 1, 8 * vector, 11 * vector],
    ):
        x = numbers((rows, columns), dtype)
        want = np.array([reference.column_sum(column) for column in x.T], dtype)
        np.testing.assert_array_equal(ops.sum(x, axis=0), want, err_msg=f"{x.shape}")
        for n_threads in (1, 2, 3):  # fewer columns side by side where threads would have none
            got = np.full(columns, np.nan, dtype)
            assert executor.call(kernels.address("reduce", dtype), (got, x), 1, (0, 1), (), 0.0, n_threads) == 0
            np.testing.assert_array_equal(got, want, err_msg=f"{x.shape}, {n_threads} threads")
        if rows:
            np.testing.assert_array_equal(ops.max(x, axis=0), x.max(axis=0))


def test_long_sums_do_not_drift() -> None:
    x = np.full((10**6, 1), 0.1, "float32")
    exact = float(np.float32(0.1)) * 10**6
    for got in (ops.sum(x), ops.sum(x, axis=0)[0], ops.sum(x.ravel())):
        assert abs(got - exact) < 5e-6 * exact  # chains within a chunk; the chunks' own sum would drift to 1e-4
    assert ops.sum(np.array([np.inf] + [1.0] * 10**4, "float32")) == np.inf
    assert (ops.sum(np.full((2000, 2), 3e38, "float32"), axis=0) == np.inf).all()


@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_axes_bit_for_bit(shape: tuple[int, ...], dtype: str) -> None:
    x = numbers(shape, dtype)
    for layout, laid in (layouts(x) if x.ndim else {"number": x}).items():
        for axes in all_axes(x.ndim):
            want = reference.sum_over(x, axes)
            note = f"{layout}, axes {axes}"
            got = compute(OPERATIONS["sum"], [laid], None, (), {"axes": axes, "keepdims": False})[0]
            if x.ndim:
                assert got.dtype == dtype
                np.testing.assert_array_equal(got, want, err_msg=note)
            kept = ops.sum(laid, axis=axes, keepdims=True)
            assert kept.shape == tuple(1 if axis in axes else size for axis, size in enumerate(shape)), note
            if want.size and x.size:
                count = x.size // want.size
                np.testing.assert_array_equal(ops.mean(laid, axis=axes), got / got.dtype.type(count), err_msg=note)
                np.testing.assert_array_equal(ops.max(laid, axis=axes), x.max(axis=axes), err_msg=note)


@each_dtype
def test_sums_agree_with_numpy(dtype: str) -> None:
    x = numbers((13, 40, 9), dtype)
    for axes in all_axes(3):
        tolerance = {"float32": 2e-4, "float64": 1e-12}[dtype]  # 4680 numbers of size 3, half a unit each at worst
        np.testing.assert_allclose(ops.sum(x, axis=axes), x.sum(axis=axes), rtol=0, atol=tolerance)


@each_dtype
def test_nan_and_infinity(dtype: str) -> None:
    for n in (1, 5, 16, 40):
        x = numbers((4, n), dtype)
        x[0, n // 2], x[1, -1], x[2, 0] = np.nan, np.inf, -np.inf
        for axis in (0, 1):
            with np.errstate(invalid="ignore"):
                np.testing.assert_array_equal(ops.max(x, axis=axis), x.max(axis=axis))
                np.testing.assert_array_equal(np.isfinite(ops.sum(x, axis=axis)), np.isfinite(x.sum(axis=axis)))
            np.testing.assert_array_equal(ops.argmax(x, axis=axis), x.argmax(axis=axis))
    assert np.isnan(ops.mean(np.zeros((2, 0), dtype), axis=1)).all()


@each_dtype
def test_the_largest_of_a_row_of_any_length(dtype: str) -> None:
    """And where it is, however long the row, whatever else is in it, and however it lies."""
    rng = np.random.default_rng(8)
    for n in (1, 2, 15, 16, 17, 31, 33, 100, 255, 256, 257, 700, SUM_CHUNK, SUM_CHUNK + 1, 3 * SUM_CHUNK + 5):
        x = rng.integers(-40, 1, (24, n)).astype(dtype)  # the largest, 0, is there many times, or is negative
        x[::3] *= rng.choice([-1, 1], x[::3].shape)
        x[1::3] -= 100
        x[rng.integers(0, 24, 6), rng.integers(0, n, 6)] = np.nan
        x[rng.integers(0, 24, 6), rng.integers(0, n, 6)] = np.inf
        x[rng.integers(0, 24, 6), rng.integers(0, n, 6)] = -np.inf
        x[-1], x[-2] = -np.inf, -0.0
        apart = np.zeros((24, n, 2), dtype)[..., 0]
        apart[:] = x
        largest = ops.max(guard.guarded(x), axis=1)
        np.testing.assert_array_equal(largest, x.max(axis=1))
        np.testing.assert_array_equal(ops.argmax(guard.guarded(x)), x.argmax(axis=1))
        np.testing.assert_array_equal(ops.argmax(apart), x.argmax(axis=1))
        strided = ops.max(apart, axis=1)
        np.testing.assert_array_equal(strided, largest)
        known = ~np.isnan(largest)
        np.testing.assert_array_equal(np.signbit(strided)[known], np.signbit(largest)[known])
        assert np.signbit(largest[-2])


@each_dtype
def test_argmax_is_the_first_nan(dtype: str) -> None:
    rng = np.random.default_rng(3)
    for n in range(1, 20):
        x = rng.integers(0, 3, (60, n)).astype(dtype)
        x[rng.random(x.shape) < 0.1] = np.nan
        x[rng.random(x.shape) < 0.1] = -np.inf
        np.testing.assert_array_equal(ops.argmax(x), x.argmax(axis=-1))
        strided = np.zeros((60, 2), np.int64)[:, 1]
        np.testing.assert_array_equal(ops.argmax(x, out=strided), x.argmax(axis=-1))
    zeros = np.array([[-0.0, 0.0], [0.0, -0.0]], dtype)
    np.testing.assert_array_equal(ops.argmax(zeros), [0, 0])


@each_dtype
def test_argmax_is_the_first(dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 3, (6, 41, 7)).astype(dtype)
    for laid in layouts(x).values():
        for axis in (0, 1, 2, -1):
            got = ops.argmax(laid, axis=axis)
            assert got.dtype == np.int64
            np.testing.assert_array_equal(got, x.argmax(axis=axis))
    result = np.zeros((6, 2, 7), np.int64)[:, 0]
    np.testing.assert_array_equal(ops.argmax(x, axis=1, out=result), x.argmax(axis=1))


@each_dtype
def test_broadcast(dtype: str) -> None:
    for shape, target in [((), (2, 3)), ((3,), (4, 3)), ((4, 1), (4, 70)), ((1, 5), (2, 9, 5)), ((2, 1, 3), (2, 4, 3))]:
        x = numbers(shape, dtype)
        for laid in [x, np.asfortranarray(x)]:
            np.testing.assert_array_equal(ops.broadcast_to(laid, target), np.broadcast_to(x, target))
    x = numbers((3, 4), dtype)
    for axes in [(0,), (1,), (1, 3), (0, 1), (2, 3)]:  # as the gradient of a mean over them
        shape = [3, 4]
        for axis in axes:
            shape.insert(axis, 5 + axis)
        copies = np.prod([shape[axis] for axis in axes])
        got = dispatch("broadcast_to", [x], shape=tuple(shape), missing=axes, divide=True)
        np.testing.assert_array_equal(got, np.broadcast_to(np.expand_dims(x / x.dtype.type(copies), axes), shape))


# ---------------------------------------------------------------------------------------------------------- kernels


@each_dtype
@each_thread_count
def test_few_long_rows_are_shared_by_chunks(n_threads: int, dtype: str) -> None:
    for rows, n in itertools.product([1, 2, 3], [SUM_CHUNK, SUM_CHUNK + 1, 7 * SUM_CHUNK + 5]):
        x = numbers((rows, n), dtype)
        x[0, -1], x[-1, n // 2] = -np.inf, np.nan
        clean = numbers((rows, n), dtype)
        for laid in (x, clean, clean[:, ::-1].copy()[:, ::-1]):
            for kind, name in enumerate(["sum", "mean", "max"]):
                want = getattr(ops, name)(laid, axis=1)
                np.testing.assert_array_equal(reduced(kind, 2, laid, (rows,), n_threads), want, err_msg=f"{name} {n}")
        want = np.array([reference.row_sum(row) for row in clean])
        np.testing.assert_array_equal(reduced(reduction.SUM, 2, clean, (rows,), n_threads), want)
        want = reference.row_sum(clean.reshape(-1), squares=True)
        np.testing.assert_array_equal(reduced(reduction.SUM_OF_SQUARES, -1, clean, (), n_threads), want)


@each_dtype
@each_thread_count
def test_columns_that_a_second_level_cache_does_not_hold(n_threads: int, dtype: str) -> None:
    """Shared by columns where there are many, else by chunks of rows; read along unless x or y is strided."""
    shapes = [(4096, 65), (4608, 63), (5 * ROW_CHUNK + 11, 130), (2 * ROW_CHUNK + 1, 700), (2055, 1100)]
    for rows, columns in shapes:
        x = guard.guarded(numbers((rows, columns), dtype))
        want = np.array([reference.column_sum(column) for column in x.T], dtype)
        for layout, laid in (("C", x), ("F", np.asfortranarray(x)), ("part", np.repeat(x, 2, axis=0)[::2])):
            got = reduced(reduction.SUM, 1, laid, (columns,), n_threads)
            np.testing.assert_array_equal(got, want, err_msg=f"{x.shape}, {layout}")
        np.testing.assert_array_equal(reduced(reduction.MAXIMUM, 1, x, (columns,), n_threads), x.max(axis=0))
        mean = reduced(reduction.MEAN, 1, x, (columns,), n_threads)
        np.testing.assert_array_equal(mean, want / want.dtype.type(rows))
        strided = np.full((columns, 2), np.nan, dtype)[:, 0]
        address = kernels.address("reduce", dtype)
        assert executor.call(address, (strided, x), 1, (reduction.SUM, 1), (), 0.0, n_threads) == 0
        np.testing.assert_array_equal(strided, want)
    x = numbers((2, 1000, 700), dtype)
    want = np.array([[reference.column_sum(column) for column in each.T] for each in x], dtype)
    np.testing.assert_array_equal(reduced(reduction.SUM, 2, x, (2, 700), n_threads), want)


def reduced(kind: int, mask: int, x: Array, shape: tuple[int, ...], n_threads: int) -> Array:
    """The reduction over the axes of a mask, by so many threads in any case."""
    dtype, axes = x.dtype.name, tuple(axis for axis in range(x.ndim) if mask >> axis & 1)
    y = np.full(shape, np.nan, dtype)
    kernel = OPERATIONS["sum"].kernel
    assert kernel is not None
    size = n_threads * -(-kernel.scratch([Spec(shape, dtype), Spec(x.shape, dtype)], {"axes": axes}) // 64) * 64
    memory = np.full(size + 100_000, 255, np.uint8)
    scratch = memory[:size] if size else None
    address = kernels.address("reduce", dtype)
    assert executor.call(address, (y, x), 1, (kind, mask), (), 0.0, n_threads, scratch, closes=True) == 0
    assert (memory[size:] == 255).all()  # nothing is written behind it
    return y


@pytest.mark.usefixtures("threads_as_before")
def test_a_shared_sum_before_a_product_that_uses_its_scratch_memory() -> None:
    graph = Graph("float32")
    x, w = graph.input("x", (256, 1024)), graph.input("w", (1024, 1024))
    total, product = ops.sum(x), ops.matmul(x, w)
    values = {"x": numbers((256, 1024), "float32"), "w": numbers((1024, 1024), "float32", seed=1)}
    results = {"product": np.zeros((256, 1024), "float32"), "total": np.zeros((), "float32")}
    wanted = {"total": total, "product": product}
    program = plan(graph, wanted, {symbol: Place(f"output:{name}") for name, symbol in wanted.items()})
    runner = backends.get("native").prepare(program, "float32", {})
    arrays = {**{f"input:{n}": a for n, a in values.items()}, **{f"output:{n}": a for n, a in results.items()}}
    want = reference.row_sum(values["x"].reshape(-1)), ops.matmul(values["x"], values["w"])
    fnn.set_num_threads(2)
    shared = 0
    for _ in range(20):
        _, teams = runner.time(np.zeros((1, 0)), arrays)  # helpers come in any case, and then are still awake
        shared += teams == [2, 2]
        for way in ("each by itself", "together"):
            np.testing.assert_array_equal(results["total"], want[0], err_msg=way)
            np.testing.assert_array_equal(results["product"], want[1], err_msg=way)
            results["total"][...], results["product"][...] = np.nan, np.nan
            runner.run(np.zeros((2, 0)), arrays)
    assert shared == 20


@each_dtype
@each_thread_count
def test_threads_change_no_bit(n_threads: int, dtype: str) -> None:
    x = numbers((37, 5, 67), dtype)
    for laid in (x, x[::-1, :, ::-1]):
        for axes in all_axes(3):
            mask = sum(1 << axis for axis in axes)
            for kind, name in enumerate(["sum", "mean", "max"]):
                want = getattr(ops, name)(laid, axis=axes)
                got = np.full(want.shape, np.nan, dtype)
                address = kernels.address("reduce", dtype)
                assert executor.call(address, (got, laid), 1, (kind, mask), (), 0.0, n_threads) == 0
                np.testing.assert_array_equal(got, want)
        got = np.full((37, 67), -1)
        assert executor.call(kernels.address("argmax", dtype), (got, laid), 1, (2,), (), 0.0, n_threads) == 0
        np.testing.assert_array_equal(got, laid.argmax(axis=1))
        wide = np.full((2, 37, 5, 67), np.nan, dtype)
        assert executor.call(kernels.address("broadcast", dtype), (wide, laid), 1, (1, 0), (), 0.0, n_threads) == 0
        np.testing.assert_array_equal(wide, np.stack([laid, laid]))


@each_dtype
def test_nothing_beyond_the_last_element_is_touched(dtype: str) -> None:
    for rows, columns in [(1, 1), (3, 5), (4, 16), (5, 17), (2, 33), (9, 127)]:
        x = guard.guarded(numbers((rows, columns), dtype))
        for axis in (0, 1):
            out = guard.guarded_empty((columns,) if axis == 0 else (rows,), dtype)
            np.testing.assert_array_equal(ops.sum(x, axis=axis, out=out), reference.sum_over(x, (axis,)))
            np.testing.assert_array_equal(ops.argmax(x, axis=axis), x.argmax(axis=axis))
            np.testing.assert_array_equal(ops.max(x, axis=axis, out=out), x.max(axis=axis))
            wide = ops.broadcast_to(
                out if axis == 0 else out[:, None], x.shape, out=guard.guarded_empty(x.shape, dtype)
            )
            np.testing.assert_array_equal(wide, np.broadcast_to(x.max(axis=axis, keepdims=True), x.shape))
        assert ops.norm_squared(x) > 0


# ---------------------------------------------------------------------------------------------------------- gradients

RULES = {
    "sum": lambda x: ops.sum(x, axis=1),
    "sum, kept": lambda x: ops.sum(x, axis=(0, 2), keepdims=True),
    "sum of all": ops.sum,
    "mean": lambda x: ops.mean(x, axis=(1, 2)),
    "mean, kept": lambda x: ops.mean(x, axis=-1, keepdims=True),
    "mean of all": ops.mean,
    "max": lambda x: ops.max(x, axis=2),
    "max of two": lambda x: ops.max(x, axis=(0, 2)),
    "max in front": lambda x: ops.max(x, axis=0, keepdims=True),
    "norm_squared": ops.norm_squared,
    "broadcast_to": lambda x: ops.broadcast_to(x, (2, 3, 4, 5)),
    "broadcast_to a larger axis": lambda x: ops.broadcast_to(ops.max(x, axis=1, keepdims=True), (3, 6, 5)),
    "mean of means": lambda x: ops.mean(ops.broadcast_to(ops.mean(x, axis=0), (7, 4, 5)), axis=(0, 1)),
}


@both
@pytest.mark.parametrize("rule", RULES)
def test_gradients(rule: str, backend: str) -> None:
    rng = np.random.default_rng(3)
    values = {"x": rng.permutation(60).reshape(3, 4, 5) / 30 + rng.uniform(0, 0.01, (3, 4, 5))}  # no two within 0.02
    with Graph("float64") as graph:
        x = graph.input("x", (3, 4, 5))
        y = RULES[rule](x)
        weights = np.random.default_rng(4).uniform(0.5, 2, y.shape)
        values["weights"] = weights
        total = ops.sum(ops.square(y) * graph.input("weights", y.shape))
        (gradient,) = gradients(total, [x])
    programs.assert_gradient(graph, total, gradient, values, "x", backend, least=0.01)


@both
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_extents(rows: int, backend: str) -> None:
    n = Extent("n", 40)
    x = numbers((rows, 6), "float32")
    with Graph("float32") as graph:
        symbol = graph.input("x", (n, 6))
        center = ops.mean(symbol, axis=0)
        spread = ops.mean(ops.square(symbol - center))
        (gradient,) = gradients(spread, [symbol])
    assert gradient is not None
    assert gradient.shape == (n, 6)
    centered = x - x.mean(axis=0)
    got = programs.run(graph, spread, {"x": x}, {"n": rows}, backend)
    np.testing.assert_allclose(got, (centered**2).mean(), rtol=1e-5, atol=1e-6)
    got = programs.run(graph, gradient, {"x": x}, {"n": rows}, backend)
    np.testing.assert_allclose(got, 2 * centered / x.size, rtol=1e-5, atol=1e-6)


def test_gradient_of_max_goes_to_the_first() -> None:
    x = np.array([[1.0, 3.0, 3.0], [np.nan, 5.0, np.nan], [-np.inf, -np.inf, -np.inf]])
    for laid in (x, np.asfortranarray(x)):
        y = ops.max(laid, axis=1)
        got = dispatch("max_gradient", [np.array([2.0, 4.0, 8.0]), laid, y], axes=(1,))
        np.testing.assert_array_equal(got, [[0, 2, 0], [4, 0, 0], [8, 0, 0]])
        want = OPERATIONS["max_gradient"].reference(np, [np.array([2.0, 4.0, 8.0]), laid, y], {"axes": (1,)}, RunRow())[
            0
        ]
        np.testing.assert_array_equal(want, got)


# ---------------------------------------------------------------------------------------------------------- wrong calls


def test_wrong_calls_say_what_is_wrong() -> None:
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match="sum: axis 2 does not exist in a tensor with 2 dimensions"):
        ops.sum(x, axis=2)
    with pytest.raises(ValueError, match=r"mean: axis \(0, -2\) names a dimension twice"):
        ops.mean(x, axis=(0, -2))
    with pytest.raises(ValueError, match=r"max: axes \(1,\) of shape \(2, 0\) are empty"):
        ops.max(np.zeros((2, 0)), axis=1)
    with pytest.raises(ValueError, match=r"argmax: axis 0 .* is empty"):
        ops.argmax(np.zeros((0, 2)), axis=0)
    with pytest.raises(ValueError, match=r"broadcast_to: shape \(2, 3\) cannot be repeated to fill shape \(4, 3\)"):
        ops.broadcast_to(x, (4, 3))
    with pytest.raises(ValueError, match="broadcast_to"):
        ops.broadcast_to(x, (3,))
    with pytest.raises(TypeError, match="sum must hold numbers"):
        ops.sum(["a", "b"])

"""Prepared instructions: a short way for bound operands gives the bits of the general way and of the reference."""

from __future__ import annotations

import itertools
from typing import Any

import guard
import numpy as np
import pytest
import reference
from numpy.typing import NDArray

from fastnn import kernels
from fastnn.graph.plan import ALIGNMENT
from fastnn.kernels import executor
from fastnn.ops.linear import FORWARD, SLOPE
from fastnn.program import OPERATIONS, TYPE_CODES

pytestmark = pytest.mark.kernel

Array = NDArray[Any]
DTYPES = ("float32", "float64")
TURNS = list(itertools.product((0, 1), repeat=2))
RATE = 0.3

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: f"{kernels.LEVEL}-{dtype}")


def run(kernel: str, dtype: str, operands: list[Array | None], n_outputs: int, integers: tuple[int, ...] = (),
        numbers: tuple[float, ...] = (), *, prepared: bool = True, padded: bool = False) -> int:  # fmt: skip
    """Runs one instruction as a Program does; column 0 of the run row is RATE or, for a gather, 1: the start.

    `padded`: operands of the kernel's type are followed by memory of their own up to a cache line's end.
    """
    blocks: list[Any] = [*operands, None]
    described = [None if array is None else (number, 0, array.shape, TYPE_CODES[array.dtype.name],
                                             padded and array.dtype == dtype)
                 for number, array in enumerate(operands)]  # fmt: skip
    prepare = kernels.preparation(kernel, dtype) if prepared else 0
    scratch = 1 << 20
    instruction = (
        kernels.address(kernel, dtype),
        prepare,
        described,
        n_outputs,
        integers,
        numbers,
        (0.0, 0.0),
        1,
        False,
        False,
        scratch,
    )
    machine = executor.Executor([instruction], blocks, (), 1, 1, len(operands))
    return machine.run(np.array([[1.0 if kernel == "gather" else RATE]]), np.zeros(1, np.int64))


def fresh(operands: list[Array | None]) -> list[Array | None]:
    return [None if array is None else guard.guarded(array) for array in operands]


def with_padding(array: Array | None) -> Array | None:
    """A copy with NaN behind it up to a cache line's end, and a page that nobody may touch from there on."""
    if array is None:
        return None
    numbers = ALIGNMENT // array.itemsize
    memory = guard.guarded_empty((array.size + numbers - 1) // numbers * numbers, array.dtype)
    memory[:] = -1 if array.dtype.kind == "i" else np.nan
    memory[: array.size] = array.ravel()
    return memory[: array.size].reshape(array.shape)


def assert_same_bits(got: Array, want: Array) -> None:
    """Equal bit for bit; any NaN equals any other."""
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got) & ~np.isnan(got), np.signbit(want) & ~np.isnan(want))


def assert_prepared_is_general(kernel: str, dtype: str, operands: list[Array | None], n_outputs: int,
                               integers: tuple[int, ...] = (), numbers: tuple[float, ...] = ()) -> None:  # fmt: skip
    assert kernels.preparation(kernel, dtype)
    want = fresh(operands)
    status = run(kernel, dtype, want, n_outputs, integers, numbers, prepared=False)
    for padded in (False, True):
        got = list(map(with_padding, operands)) if padded else fresh(operands)
        assert run(kernel, dtype, got, n_outputs, integers, numbers, padded=padded) == status
        for mine, other in zip(got[:n_outputs], want[:n_outputs], strict=True):
            if status == 0 and mine is not None and other is not None:  # a kernel that refuses may have begun
                assert_same_bits(mine, other)


def sizes(dtype: str) -> tuple[list[int], list[int], list[int]]:
    """Interesting m, n and k: around the edges of a tile."""
    tiles = kernels.tiles(dtype)
    rows, vector, columns = tiles["MR"], tiles["VL"], tiles["NR"]
    m = sorted({1, 2, 3, 4, rows // 2, rows // 2 + 1, rows, rows + 1, 2 * rows + 3})
    n = sorted(
        {1, 2, vector - 1, vector, vector + 1, columns - 1, columns, columns + 1, 4 * vector + 1, 8 * vector + 1}
    )
    return m, n, [1, 2, 31, 33, tiles["KCHAIN"], tiles["KCHAIN"] + 1]


@each_dtype
@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_products(dtype: str, turn: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    all_m, all_n, all_k = sizes(dtype)
    for k in all_k:
        a, b = rng.normal(size=(max(all_m), k)).astype(dtype), rng.normal(size=(k, max(all_n))).astype(dtype)
        bias = rng.normal(size=max(all_n)).astype(dtype)
        plain, whole = reference.product(a, b), reference.product(a, b, bias)
        for m, n in itertools.product(all_m, all_n):
            left = guard.guarded(a[:m].T if turn[0] else a[:m])
            right = guard.guarded(b[:, :n].T if turn[1] else b[:, :n])
            c = guard.guarded_empty((m, n), dtype)
            assert run("product", dtype, [c, None, left, right, guard.guarded(bias[:n])], 2, (*turn, 0, 0, 0)) == 0
            assert_same_bits(c, whole[:m, :n])
            assert run("product", dtype, [c, None, left, right], 2, (*turn, 0, 0, 0)) == 0
            assert_same_bits(c, plain[:m, :n])
            if min(m, n) == 1:
                for added, want in ((bias[:n], whole), (None, plain)):
                    operands = [*map(with_padding, (np.empty((m, n), dtype), None, left, right, added))]
                    assert run("product", dtype, operands, 2, (*turn, 0, 0, 0), padded=True) == 0
                    assert_same_bits(operands[0], want[:m, :n])


@each_dtype
@pytest.mark.parametrize("kind, name", [(FORWARD, "sigmoid"), (FORWARD, "gelu"), (SLOPE, "tanh_slope")])
@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_epilogues(dtype: str, kind: int, name: str, turn: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    kernel = OPERATIONS[name].kernel
    assert kernel is not None
    all_m, all_n, _ = sizes(dtype)
    for m, n, k in itertools.product(all_m, all_n, (1, 5)):
        a = rng.normal(size=(k, m) if turn[0] else (m, k)).astype(dtype)
        b = rng.normal(size=(n, k) if turn[1] else (k, n)).astype(dtype)
        saved = rng.normal(size=(m, n)).astype(dtype)
        kept = np.empty((m, n), dtype) if name == "gelu" else None
        operands = [np.empty((m, n), dtype), kept, a, b, None, *([saved] if kind == SLOPE else [])]
        integers = (*turn, 0, kind, kernel.integers({"approximate": False})[0])
        assert_prepared_is_general("product", dtype, operands, 2, integers, (0.0,))


@each_dtype
@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_updates_by_products(dtype: str, turn: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    all_m, all_n, _ = sizes(dtype)
    for m, n, k in itertools.product(all_m, all_n, (1, 5)):
        a = rng.normal(size=(k, m) if turn[0] else (m, k)).astype(dtype)
        b = rng.normal(size=(n, k) if turn[1] else (k, n)).astype(dtype)
        weight = rng.normal(size=(m, n)).astype(dtype)
        assert_prepared_is_general("product_update", dtype, [weight, None, a, b], 2, (0, *turn), (0.5,))


@each_dtype
def test_padding_is_stored(dtype: str) -> None:
    """Or else no test would see what that does."""
    x, y = np.ones(ALIGNMENT, dtype), np.full(ALIGNMENT, np.nan, dtype)
    assert run("unary", dtype, [y[:3], x[:3]], 1, (5,), (0.0,), padded=True) == 0
    assert not np.isnan(y[:4]).any()


@each_dtype
@pytest.mark.parametrize("rows", [1, 2, 513])
def test_updates_by_sums(dtype: str, rows: int) -> None:
    rng = np.random.default_rng(4)
    tiles = kernels.tiles(dtype)
    for n in (*range(1, tiles["VL"] + 2), 8 * tiles["VL"] + 1):
        assert_update_by_sums(rng, dtype, rows, n)


@each_dtype
@pytest.mark.parametrize("rows, n", [(600, 1100), (2055, 700)])
def test_updates_by_sums_of_what_a_second_level_cache_does_not_hold(dtype: str, rows: int, n: int) -> None:
    assert_update_by_sums(np.random.default_rng(14), dtype, rows, n)


def assert_update_by_sums(rng: np.random.Generator, dtype: str, rows: int, n: int) -> None:
    x, old = rng.normal(size=(rows, n)).astype(dtype), rng.normal(size=n).astype(dtype)
    gradient = reference.sum_over(x, (0,))[:, None]
    step = np.array([[-RATE * 0.5]], dtype)
    want = reference.product(gradient, step, old[:, None])[:, 0]  # one multiply-add: old + gradient * step
    numbers = (0.5, 0.0, 0.0, 0.0, np.inf, 0.0, 0.0, 0.0)
    got = guard.guarded(old)
    assert run("sum_update", dtype, [got, guard.guarded(x)], 1, (0, 1), numbers) == 0
    assert_same_bits(got, want)
    operands: list[Array | None] = [old, x]
    assert_prepared_is_general("sum_update", dtype, operands, 1, (0, 1), numbers)


@each_dtype
@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("mask", [1, 2, 3])
def test_reductions(dtype: str, kind: int, mask: int) -> None:
    rng = np.random.default_rng(5)
    for m, n in itertools.product((1, 2, 17), (1, 3, 16, 40)):
        x = rng.normal(size=(m, n)).astype(dtype)
        y = np.empty({1: (n,), 2: (m,), 3: ()}[mask], dtype)
        assert_prepared_is_general("reduce", dtype, [y, x], 1, (kind, mask))
        assert_prepared_is_general("reduce", dtype, [y, np.full_like(x, -0.0)], 1, (kind, mask))


@each_dtype
@pytest.mark.parametrize("rows", [1, 2, 3, 20])
@pytest.mark.parametrize("n", [1, 2, 16, 17])
def test_losses(dtype: str, rows: int, n: int) -> None:
    rng = np.random.default_rng(6)
    value, slope = np.empty(rows, dtype), np.empty((rows, n), dtype)
    p, t = rng.normal(size=(2, rows, n)).astype(dtype)
    weights = rng.random(rows).astype(dtype)
    labels = rng.integers(0, n, rows)
    for factors in (None, weights):
        for kind in range(7):
            assert_prepared_is_general("pointwise_loss", dtype, [value, slope, p, t, factors], 2, (kind, 1), (0.25,))
        for target in (np.abs(t), labels, labels + n):
            operands = [value, slope, p, target, factors]
            assert_prepared_is_general("cross_entropy", dtype, operands, 2, (1,), (0.1,))


@each_dtype
def test_elementwise_functions(dtype: str) -> None:
    rng = np.random.default_rng(7)
    for shape, other in [((1, 3), (1, 3)), ((4, 5), (4, 5)), ((4, 5), (5,)), ((2, 40), (2, 1))]:
        y, a, b = np.empty(shape, dtype), rng.random(shape).astype(dtype), rng.random(other).astype(dtype)
        assert_prepared_is_general("unary", dtype, [y, a], 1, (5,), (0.0,))
        assert_prepared_is_general("slope", dtype, [y, a, b], 1, (5,), (0.0,))
        assert_prepared_is_general("binary", dtype, [y, a, b], 1, (1,))
        assert_prepared_is_general("where", dtype, [y, a - a[0, 0], a, b], 1)


@each_dtype
@pytest.mark.parametrize("size", range(1, 18))
def test_gathers(dtype: str, size: int) -> None:
    rng = np.random.default_rng(8)
    source = rng.normal(size=(10, size)).astype(dtype)
    indices = (
        None,
        np.array([4, 9, 0, 9, 2]),
        np.array([1, 9, 0, 2]),
        np.array([4, 9, 10, 0, 1]),
        np.array([4, 9]),
    )
    for rows, index in itertools.product((1, 3), indices):
        batch = np.empty((rows, size), dtype)
        assert_prepared_is_general("gather", dtype, [batch, source, index], 1, (0,), (0.5,))
    assert_prepared_is_general("gather", dtype, [batch, source[:3].copy(), None], 1, (0,), (1.0,))

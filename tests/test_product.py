"""The product kernel equals the scalar reference bit for bit, whatever the shape, layout, thread count or packing."""

from __future__ import annotations

import itertools
import math
from typing import Any

import guard
import numpy as np
import pytest
import reference
from products import (
    TURNS,
    Array,
    assert_relu_follows,
    assert_same_bits,
    at_offset,
    code_of,
    each_dtype,
    each_turn,
    layouts,
    numbers,
    run,
)

from fastnn import kernels, ops
from fastnn.kernels import executor
from fastnn.ops.linear import FORWARD, SLOPE
from fastnn.program import OPERATIONS

pytestmark = pytest.mark.kernel


def edges(dtype: str) -> tuple[list[int], list[int], list[int]]:
    """Interesting m, n and k: around every tile, vector and chain edge."""
    tiles = kernels.tiles(dtype)
    rows, vector, columns, chain = tiles["MR"], tiles["VL"], tiles["NR"], tiles["KCHAIN"]
    m = sorted({1, 2, 3, 4, 5, 6, rows - 1, rows, rows + 1, 2 * rows + 3})
    n = sorted({1, 2, vector - 1, vector, vector + 1, columns, columns + 1, 4 * vector + 1, 8 * vector, 9 * vector - 1})
    k = [1, 2, vector, vector + 1, 2 * vector + 3, chain - 1, chain, chain + 1, 2 * chain + 1]
    return m, n, k


@each_dtype
@each_turn
def test_every_edge(dtype: str, turn: tuple[bool, bool]) -> None:
    rng = np.random.default_rng(1)
    all_m, all_n, all_k = edges(dtype)
    largest = numbers(rng, max(all_m), max(all_k), dtype=dtype), numbers(rng, max(all_k), max(all_n), dtype=dtype)
    bias = numbers(rng, max(all_n), dtype=dtype)
    for k in all_k:
        a, b = np.ascontiguousarray(largest[0][:, :k]), np.ascontiguousarray(largest[1][:k])
        whole = reference.product(a, b, bias)  # an element does not depend on m and n: one reference serves all
        for m, n in itertools.product(all_m, all_n):
            left, right = np.ascontiguousarray(a[:m]), np.ascontiguousarray(b[:, :n])
            left = np.ascontiguousarray(left.T) if turn[0] else left
            right = np.ascontiguousarray(right.T) if turn[1] else right
            got = run(left, right, np.full((m, n), np.nan, dtype), bias=bias[:n].copy(), turn=turn)
            assert_same_bits(got, whole[:m, :n])


@each_dtype
@pytest.mark.parametrize("page", [4096, 8192, -4096])
@pytest.mark.parametrize("step", [2, 3, -1, -2])
def test_rows_that_share_places_in_the_cache_and_whose_columns_are_strided(dtype: str, page: int, step: int) -> None:
    rng = np.random.default_rng(11)
    tiles = kernels.tiles(dtype)
    m, n, k = 3 * tiles["MR"] + 1, 5 * tiles["NR"] + 1, 160
    pages = numbers(rng, m, abs(page) // np.dtype(dtype).itemsize, dtype=dtype)[:: 1 if page > 0 else -1]
    a = pages[:, ::step][:, :k]
    assert a.strides[0] == page
    b = numbers(rng, k, n, dtype=dtype)
    want = reference.product(np.ascontiguousarray(a), b, np.zeros(n, dtype))
    for threads in (1, 2):
        assert_same_bits(run(a, b, np.full((m, n), np.nan, dtype), n_threads=threads), want)
        assert_same_bits(run(b.T, a.T, np.full((n, m), np.nan, dtype), n_threads=threads), want.T)


@each_dtype
@pytest.mark.parametrize("shape, offset", [((3, 400, 200), 1), ((3, 1043, 40), 3), ((9, 4120, 530), 0)], ids=str)
def test_every_layout_of_a_where_the_first_or_last_columns_are_few(dtype: str, shape: tuple[int, int, int],
                                                                  offset: int) -> None:  # fmt: skip
    """Blocks of few columns are computed from the same copy of a, if there is one."""
    m, n, k = shape
    rng = np.random.default_rng(14)
    a, right = numbers(rng, m, k, dtype=dtype), numbers(rng, k, n, dtype=dtype)
    want, b = reference.product(a, right), at_offset(right, offset)
    for name, strided in layouts(a).items():
        got = run(strided, b, at_offset(np.zeros((m, n), dtype), offset), n_threads=1)
        np.testing.assert_array_equal(got, want, err_msg=name)
    backwards = guard.guarded(a[::-1, ::-1])[::-1, ::-1]
    assert_same_bits(run(backwards, b, np.empty((m, n), dtype), n_threads=2), want)


@each_dtype
def test_every_layout(dtype: str) -> None:
    rng = np.random.default_rng(2)
    tiles = kernels.tiles(dtype)
    for m, n, k in [
        (2 * tiles["MR"] + 1, tiles["NR"] + 3, tiles["KCHAIN"] + 5),
        (1, 9 * tiles["VL"] + 1, 7),
        (17, 1, 9),
    ]:
        a, b = numbers(rng, m, k, dtype=dtype), numbers(rng, k, n, dtype=dtype)
        start = numbers(rng, m, n, dtype=dtype)
        want = reference.product(a, b, start)
        for left, right, name in itertools.product(layouts(a).values(), layouts(b).values(), layouts(start)):
            into = layouts(start)[name]
            assert_same_bits(run(left, right, into, accumulate=True), want)


@each_dtype
def test_zero_strides(dtype: str) -> None:
    rng = np.random.default_rng(3)
    row, column = numbers(rng, 1, 40, dtype=dtype), numbers(rng, 40, 1, dtype=dtype)
    a, b = np.broadcast_to(row, (19, 40)), np.broadcast_to(column, (40, 35))
    bias = np.broadcast_to(numbers(rng, 1, dtype=dtype), (35,))
    assert_same_bits(run(a, b, np.empty((19, 35), dtype), bias=bias), reference.product(a, b, bias))


@each_dtype
def test_untouched_between_strides(dtype: str) -> None:
    rng = np.random.default_rng(4)
    a, b = numbers(rng, 20, 9, dtype=dtype), numbers(rng, 9, 37, dtype=dtype)
    memory = np.full((20, 100), 7, dtype)
    run(a, b, memory[:, 3:77:2])
    memory[:, 3:77:2] = 7
    assert (memory == 7).all()


@each_dtype
@pytest.mark.parametrize("n_threads", (1, 2, 3, 4, 7))
def test_threads(dtype: str, n_threads: int) -> None:
    rng = np.random.default_rng(5)
    chain = kernels.tiles(dtype)["KCHAIN"]
    for m, n, k in [(1, 300, 20), (300, 1, 20), (3, 3, 3), (70, 130, chain + 1), (200, 20, 50), (2, 2, 2 * chain)]:
        a, b, bias = numbers(rng, m, k, dtype=dtype), numbers(rng, k, n, dtype=dtype), numbers(rng, n, dtype=dtype)
        want = reference.product(a, b, bias)
        for turn in TURNS:
            left = np.ascontiguousarray(a.T) if turn[0] else a
            right = np.ascontiguousarray(b.T) if turn[1] else b
            got = run(left, right, np.empty((m, n), dtype), bias=bias, turn=turn, n_threads=n_threads)
            assert_same_bits(got, want)


@each_dtype
@pytest.mark.parametrize(
    "shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 200, 0), (13, 20, 0), (13, 40, 0), (13, 99, 0), (0, 0, 0)], ids=str
)
def test_empty(dtype: str, shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    a, b, bias = np.ones((m, k), dtype), np.ones((k, n), dtype), np.arange(n).astype(dtype)
    for turn in TURNS:
        left, right = (a.T if turn[0] else a), (b.T if turn[1] else b)
        assert_same_bits(run(left, right, np.full((m, n), np.nan, dtype), turn=turn), np.zeros((m, n), dtype))
        got = run(left, right, np.full((m, n), np.nan, dtype), turn=turn, bias=bias)
        assert_same_bits(got, np.broadcast_to(bias, (m, n)))
        assert_same_bits(
            run(left, right, np.full((m, n), 5, dtype), turn=turn, accumulate=True), np.full((m, n), 5, dtype)
        )


@each_dtype
@each_turn
def test_guard_pages(dtype: str, turn: tuple[bool, bool]) -> None:
    rng = np.random.default_rng(6)
    tiles = kernels.tiles(dtype)
    all_m = (1, 2, 3, tiles["MR"], tiles["MR"] + 1)
    all_n = (1, tiles["VL"] - 1, tiles["VL"] + 1, tiles["NR"] + 1, 5 * tiles["VL"] + 1)
    for m, n, k in itertools.product(all_m, all_n, (1, tiles["VL"] + 1, 70)):
        a, b, bias = numbers(rng, m, k, dtype=dtype), numbers(rng, k, n, dtype=dtype), numbers(rng, n, dtype=dtype)
        left, right = guard.guarded(a.T if turn[0] else a), guard.guarded(b.T if turn[1] else b)
        got = run(left, right, guard.guarded_empty((m, n), dtype), bias=guard.guarded(bias), turn=turn)
        assert_same_bits(got, reference.product(a, b, bias))


@each_dtype
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_turned_a_on_a_guard_page(dtype: str, n_threads: int) -> None:
    """Bands of it are copied, whole vectors where there are so many rows left."""
    rng = np.random.default_rng(8)
    tiles = kernels.tiles(dtype)
    vector, rows = tiles["VL"], tiles["MR"]
    for k in (300, tiles["KCHAIN"] + 3):
        for n in (3 * tiles["NR"], 3 * tiles["NR"] + 1, 5 * tiles["NR"] + 3):
            a, b = numbers(rng, 11 * rows + 1, k, dtype=dtype), numbers(rng, k, n, dtype=dtype)
            want = reference.product(a, b)
            for m in {1, vector - 1, vector, vector + 1, rows, rows + 1, 2 * vector - 1, 2 * rows + 3, 11 * rows + 1}:
                left = guard.guarded(a[:m].T)
                for c in (guard.guarded_empty((m, n), dtype), np.empty((n, m), dtype).T):
                    got = run(left, guard.guarded(b), c, turn=(True, False), n_threads=n_threads)
                    assert_same_bits(got, want[:m])


@each_dtype
def test_nan_and_infinity_pass(dtype: str) -> None:
    rng = np.random.default_rng(7)
    for m, n, k in [(1, 40, 9), (40, 1, 9), (15, 33, 40)]:
        a, b = numbers(rng, m, k, dtype=dtype), numbers(rng, k, n, dtype=dtype)
        a[0, 3], b[5, 0], a[-1, 0], b[0, -1] = np.nan, np.inf, -np.inf, 0.0
        want = reference.product(a, b)
        assert np.isnan(want).any()
        for turn in TURNS:
            left, right = (np.array(a.T) if turn[0] else a), (np.array(b.T) if turn[1] else b)
            assert_same_bits(run(left, right, np.empty((m, n), dtype), turn=turn), want)


@each_dtype
@each_turn
def test_few_of_everything_in_every_layout(dtype: str, turn: tuple[bool, bool]) -> None:
    """What is turned number by number, and what is not: see FEW in tiles.h."""
    rng = np.random.default_rng(17)
    for m, n, k in itertools.product((1, 2, 3, 4, 5, 40), (1, 2, 3, 4, 5, 40), (1, 2, 3, 4, 5)):
        a, b, bias = numbers(rng, m, k, dtype=dtype), numbers(rng, k, n, dtype=dtype), numbers(rng, n, dtype=dtype)
        want = reference.product(a, b, bias)
        left = np.array(a.T) if turn[0] else a
        right = np.array(b.T) if turn[1] else b
        for c in layouts(np.full((m, n), np.nan, dtype)).values():
            assert_same_bits(run(left, right, c, bias=bias, turn=turn), want)


@each_dtype
def test_one_step_and_many_columns(dtype: str) -> None:
    """Such a product has nothing to do but write c."""
    rng, nr = np.random.default_rng(18), kernels.tiles(dtype)["NR"]
    for m, n in ((2, 4 * nr), (9, 4 * nr + 3), (40, 1024), (3, 2101)):
        a, b, bias = numbers(rng, m, 1, dtype=dtype), numbers(rng, 1, n, dtype=dtype), numbers(rng, n, dtype=dtype)
        want = reference.product(a, b, bias)
        for turn, offset in itertools.product(TURNS, (0, 1, 4)):
            left, right = (np.array(a.T) if turn[0] else a), (np.array(b.T) if turn[1] else b)
            c = at_offset(np.full((m, n), np.nan, dtype), offset)
            assert_same_bits(run(left, right, c, bias=bias, turn=turn, n_threads=1 + offset % 2), want)
        assert_relu_follows(a, b, want, bias=bias)
        into = guard.guarded_empty((m, n), dtype)
        assert_same_bits(run(guard.guarded(a), guard.guarded(b), into), reference.product(a, b))


@each_dtype
def test_what_c_held_does_not_matter(dtype: str) -> None:
    a, b = np.ones((5, 6), dtype), np.ones((6, 7), dtype)
    assert_same_bits(run(a, b, np.full((5, 7), np.nan, dtype)), np.full((5, 7), 6, dtype))


@each_dtype
def test_random_shapes(dtype: str) -> None:
    rng = np.random.default_rng(8)
    for _ in range(60):
        m, n = (int(size) for size in 2 ** rng.uniform(0, 7.3, 2))
        k = int(2 ** rng.uniform(0, 10.2))
        turn, n_threads = TURNS[rng.integers(4)], int(rng.integers(1, 5))
        a, b, start = (numbers(rng, *shape, dtype=dtype) for shape in ((m, k), (k, n), (m, n)))
        want = reference.product(a, b, start)
        left = np.ascontiguousarray(a.T) if turn[0] else a
        right = np.ascontiguousarray(b.T) if turn[1] else b
        assert_same_bits(run(left, right, start, turn=turn, accumulate=True, n_threads=n_threads), want)


@each_dtype
@pytest.mark.parametrize(
    "shape",
    [
        (260, 600, 520),
        (300, 140, 1024),
        (125, 1024, 550),
        (57, 1030, 1800),
        (517, 519, 1100),
        (131, 70, 300),
        (200, 801, 701),
    ],
    ids=str,
)
def test_packed(dtype: str, shape: tuple[int, int, int]) -> None:
    """Rows enough to pack b in several blocks, or to share a column's part of it; a or b where its rows would share a
    set of the cache; where blocks are small, a last one of few columns.
    """
    m, n, k = shape
    rng = np.random.default_rng(14)
    a, b = numbers(rng, m, k, dtype=dtype), numbers(rng, k, n, dtype=dtype)
    want = reference.product(a, b)
    for turn, n_threads in [*((turn, 1) for turn in TURNS), (TURNS[0], 2)]:
        left, right = (np.array(a.T) if turn[0] else a), (np.array(b.T) if turn[1] else b)
        got = run(left, right, np.full((m, n), np.nan, dtype), turn=turn, n_threads=n_threads)
        assert_same_bits(got, want)
        assert_relu_follows(left, right, want, turn=turn, n_threads=n_threads)


@each_dtype
def test_a_row_does_not_depend_on_its_batch(dtype: str) -> None:
    rng = np.random.default_rng(9)
    x, weight, bias = (numbers(rng, *shape, dtype=dtype) for shape in ((37, 600), (600, 45), (45,)))
    together = ops.linear(x, weight, bias)
    for row in range(37):
        assert_same_bits(ops.linear(x[row : row + 1], weight, bias), together[row : row + 1])


def shapes_of_epilogues(dtype: str) -> list[tuple[int, int, int]]:
    """One tile, many bands of one, several chains, few rows, exchanged sides, blocks of a turned factor, one step."""
    tiles = kernels.tiles(dtype)
    return [(3, 5, 4), (5 * tiles["MR"] + 1, tiles["VL"] + 1, 9), (9, 3 * tiles["NR"] + 2, tiles["KCHAIN"] + 3),
            (1, 70, 33), (70, 1, 33), (70, 2, 33), (2 * tiles["MR"] + 1, 16 * tiles["NR"] + 5, 70),
            (17, 4 * tiles["NR"] + 3, 1)]  # fmt: skip


@each_dtype
@pytest.mark.parametrize("name, attributes", [("relu", {}), ("tanh", {}), ("gelu", {"approximate": False})])
def test_activation_in_the_product(dtype: str, name: str, attributes: dict[str, Any]) -> None:
    rng = np.random.default_rng(10)
    function = {"relu": ops.relu, "tanh": ops.tanh, "gelu": ops.gelu}[name]
    for m, n, k in shapes_of_epilogues(dtype):
        a, b, bias = numbers(rng, m, k, dtype=dtype), numbers(rng, k, n, dtype=dtype), numbers(rng, n, dtype=dtype)
        before = reference.product(a, b, bias)
        after = function(before)
        for turn, n_threads in itertools.product(TURNS, (1, 3)):
            left, right = (np.array(a.T) if turn[0] else a), (np.array(b.T) if turn[1] else b)
            options: dict[str, Any] = {"bias": bias, "turn": turn, "n_threads": n_threads}
            options["epilogue"] = (FORWARD, code_of(name, attributes))
            c, z = np.empty((m, n), dtype), np.empty((m, n), dtype)
            assert_same_bits(run(left, right, c, z=z, **options), after)
            assert_same_bits(z, before)
            assert_same_bits(run(left, right, c, **options), after)
            for into in layouts(c).values():
                assert_same_bits(run(left, right, into, **options), after)


@each_dtype
@pytest.mark.parametrize("name", ("relu", "tanh", "square"))
def test_slope_in_the_product(dtype: str, name: str) -> None:
    rng = np.random.default_rng(11)
    for m, n, k in shapes_of_epilogues(dtype):
        a, b, aux = numbers(rng, m, k, dtype=dtype), numbers(rng, k, n, dtype=dtype), numbers(rng, m, n, dtype=dtype)
        product = reference.product(a, b)
        want = run_slope(name, product, aux)
        for turn, n_threads in itertools.product(TURNS, (1, 3)):
            left, right = (np.array(a.T) if turn[0] else a), (np.array(b.T) if turn[1] else b)
            options: dict[str, Any] = {"turn": turn, "n_threads": n_threads}
            options["epilogue"] = (SLOPE, code_of(f"{name}_slope", {}))
            for there, into in zip(layouts(aux).values(), layouts(product).values(), strict=True):
                assert_same_bits(run(left, right, into, aux=there, **options), want)


def run_slope(name: str, dy: Array, s: Array) -> Array:
    """The slope, dy f'(s), by the kernel that computes it alone."""
    dx = np.empty_like(dy)
    operation = OPERATIONS[f"{name}_slope"]
    assert operation.kernel is not None
    address = kernels.address(operation.kernel.name, dy.dtype.name)
    assert executor.call(address, (dx, dy, s), 1, tuple(operation.kernel.integers({})), (), 0.0, 1) == 0
    return dx


@each_dtype
@each_turn
@pytest.mark.parametrize("n_threads", (1, 3))
def test_update_in_the_product(dtype: str, turn: tuple[bool, bool], n_threads: int) -> None:
    """The weight changes as by the update after the product, in every bit, wherever and however it lies."""
    rng = np.random.default_rng(13)
    tiles = kernels.tiles(dtype)
    rate, scale = 0.3, 0.7
    numbers_of_sgd = (scale, 0.0, 0.0, 0.0, math.inf, 0.0, 0.0, 0.0)
    for m, n, k in [(1, 1, 1), (3, 2 * tiles["VL"], 5), (40, 30, 10), (2 * tiles["MR"] + 1, tiles["NR"] + 3, 64),
                    (130, 200, tiles["KCHAIN"])]:  # fmt: skip
        a, b, weight = numbers(rng, m, k, dtype=dtype), numbers(rng, k, n, dtype=dtype), numbers(rng, m, n, dtype=dtype)
        want, gradient = weight.copy(), reference.product(a, b)
        executor.call(kernels.address("update", dtype), (want, None, None, gradient, None), 3, (0, 0), numbers_of_sgd,
                      run=np.array([rate]))  # fmt: skip
        left = np.ascontiguousarray(a.T) if turn[0] else a
        right = np.ascontiguousarray(b.T) if turn[1] else b
        size = kernels.product_scratch(m, n, k, dtype)
        scratch = np.empty((size + 64) * n_threads, np.uint8) if size else None
        for name, laid in layouts(weight).items():
            operands, address = (laid, None, left, right, laid), kernels.address("product_update", dtype)
            status = executor.call(address, operands, 2, (0, *map(int, turn)), (scale,), 0.0, n_threads, scratch,
                                   np.array([rate]))  # fmt: skip
            assert status == 0
            np.testing.assert_array_equal(laid, want, err_msg=name)


@each_dtype
def test_public_face(dtype: str) -> None:
    rng = np.random.default_rng(12)
    a, b, vector = numbers(rng, 4, 5, dtype=dtype), numbers(rng, 5, 3, dtype=dtype), numbers(rng, 5, dtype=dtype)
    many = numbers(rng, 2, 3, 5, dtype=dtype)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for got, want in [
        (ops.matmul(vector, b), vector @ b),
        (ops.matmul(a, vector), a @ vector),
        (ops.matmul(vector, vector), vector @ vector),
        (ops.matmul(many, b), many @ b),
        (ops.matmul(many, many, transpose_a=True), many.reshape(-1, 5).T @ many.reshape(-1, 5)),
        (ops.linear(a, b, b[0]), a @ b + b[0]),
        (ops.matmul(a, b, out=np.ones((4, 3), dtype), accumulate=True), a @ b + 1),
    ]:
        assert np.shape(got) == np.shape(want)
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)


@each_dtype
def test_result_into_a_factor(dtype: str) -> None:
    memory = numbers(np.random.default_rng(13), 60, 40, dtype=dtype)
    a, b, into = memory[:40].copy(), memory[20:], memory[10:50]
    want = reference.product(a, b.copy())
    assert_same_bits(ops.matmul(memory[:40], b[:, ::1], out=into), want[:, :40])


@pytest.mark.parametrize(
    "a, b, options, words",
    [
        ((3, 4), (5, 6), {}, r"\(3, 4\) and \(5, 6\)"),
        ((3, 4), (4, 6), {"transpose_b": True}, r"\(3, 4\) and \(4, 6\) transposed"),
        ((3, 4), (2, 4, 6), {}, r"2 dimensions, got \(2, 4, 6\)"),
        ((3, 4), (4, 6), {"bias": np.ones(5)}, r"bias must have shape \(6,\), got \(5,\)"),
        ((3, 4), (4, 6), {"out": np.ones((3, 5))}, r"\(3, 6\).*\(3, 5\)"),
        ((3, 4), (4, 6), {"accumulate": True}, "out"),
        ((), (4, 6), {}, "no dimensions"),
    ],
)
def test_what_does_not_fit(a: tuple[int, ...], b: tuple[int, ...], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ops.matmul(np.ones(a), np.ones(b), **options)

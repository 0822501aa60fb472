"""Few rows times a large factor: read along its rows, turned on the way or packed, and the scratch memory for that."""

from __future__ import annotations

from typing import Any

import guard
import numpy as np
import pytest
import reference
from products import assert_relu_follows, assert_same_bits, at_offset, each_dtype, numbers, run

from fastnn import kernels
from fastnn.kernels import executor

pytestmark = pytest.mark.kernel


@each_dtype
@pytest.mark.parametrize("accumulate", [False, True], ids=["bias", "accumulate"])
def test_few_rows_and_a_factor_that_begins_anywhere_in_a_cache_line(dtype: str, accumulate: bool) -> None:
    rng = np.random.default_rng(12)
    tiles = kernels.tiles(dtype)
    n, k = 20 * tiles["NR"] - 5, tiles["KCHAIN"] + 3
    most = 2 * tiles["MR"] + 1
    right, a, bias = numbers(rng, k, n, dtype=dtype), numbers(rng, most, k, dtype=dtype), numbers(rng, n, dtype=dtype)
    want = reference.product(a, right, bias)
    for offset in range(64 // right.itemsize):
        b = at_offset(right, offset)
        for m in {1, 2, 3, 4, 6, tiles["MR"] + 1, most}:
            c = np.tile(bias, (m, 1)) if accumulate else np.full((m, n), np.nan, dtype)
            got = run(a[:m], b, c, bias=None if accumulate else bias, accumulate=accumulate, n_threads=1 + m % 2)
            assert_same_bits(got, want[:m])


@each_dtype
def test_few_rows_and_a_large_factor_that_begins_within_a_vector(dtype: str) -> None:
    """It is read along its rows, in several chains, and an activation follows."""
    rng = np.random.default_rng(13)
    k = 2 * kernels.tiles(dtype)["KCHAIN"] + 3
    n = (13 << 20) // np.dtype(dtype).itemsize // k
    right, a, bias = numbers(rng, k, n, dtype=dtype), numbers(rng, 4, k, dtype=dtype), numbers(rng, n, dtype=dtype)
    want = reference.product(a, right, bias)
    for offset, m in ((0, 1), (1, 1), (4, 2), (3, 4)):
        assert_relu_follows(a[:m], at_offset(right, offset), want[:m], bias=bias)


@each_dtype
@pytest.mark.parametrize("m", [1, 7, 24, 25])
@pytest.mark.parametrize("n, k", [(700, 601), (256, 1100), (16, 20_000)])
def test_a_b_that_a_second_level_cache_does_not_hold(dtype: str, m: int, n: int, k: int) -> None:
    """Few rows stream it, more pack it; how many that is differs between processors."""
    rng = np.random.default_rng(15)
    a, b, bias = numbers(rng, m, k, dtype=dtype), numbers(rng, k, n, dtype=dtype), numbers(rng, n, dtype=dtype)
    want, into = reference.product(a, b, bias), numbers(rng, m, n, dtype=dtype)
    for n_threads in (1, 2):
        assert_same_bits(run(a, b, np.full((m, n), np.nan, dtype), bias=bias, n_threads=n_threads), want)
        got = run(a, b, into.copy(), accumulate=True, n_threads=n_threads)
        assert_same_bits(got, reference.product(a, b, into))
        assert_relu_follows(a, b, want, bias=bias, n_threads=n_threads)


@each_dtype
def test_few_rows_and_a_factor_whose_rows_share_places_in_the_cache(dtype: str) -> None:
    rng = np.random.default_rng(13)
    n, k, most = 1024, 1100, 2 * kernels.tiles(dtype)["MR"] + 1
    a, b, bias = numbers(rng, most, k, dtype=dtype), numbers(rng, k, n, dtype=dtype), numbers(rng, n, dtype=dtype)
    want = reference.product(a, b, bias)
    for m in (1, 2, 3, 4, 5, most - 1, most):
        for n_threads, offset in ((1, 0), (1, 3), (2, 4)):
            got = run(a[:m], at_offset(b, offset), np.full((m, n), np.nan, dtype), bias=bias, n_threads=n_threads)
            assert_same_bits(got, want[:m])
        into = guard.guarded_empty((m, n), dtype)
        assert_same_bits(run(guard.guarded(a[:m]), guard.guarded(b), into, bias=guard.guarded(bias)), want[:m])


@each_dtype
@pytest.mark.parametrize("k", [0, 600, 1024, 1024 + 512, 3072])
def test_few_rows_and_a_turned_factor_whose_columns_share_places_in_the_cache(dtype: str, k: int) -> None:
    """From the widest to no more columns than half a vector has, at the beginning and at the end of their memory."""
    rng = np.random.default_rng(16)
    vector = kernels.tiles(dtype)["VL"]
    widest = 9 * vector + 1
    left, memory = numbers(rng, 9, k, dtype=dtype), numbers(rng, widest, 3072, dtype=dtype)
    bias = numbers(rng, widest, dtype=dtype)
    all_rows = reference.product(left, np.ascontiguousarray(memory[:, :k].T), bias)
    for n in (5, vector // 2 + 1, 9, vector - 1, vector, vector + 1, widest):
        for m in (1, 2, 3, 8, 9):
            want, start = all_rows[:m, :n], np.tile(bias[:n], (m, 1))
            how: dict[str, Any] = {"turn": (False, True), "n_threads": 1 + m % 2}
            for before in (False, True):
                a, b = guard.guarded(left[:m], before=before), guard.guarded(memory[:n], before=before)[:, :k]
                c = guard.guarded_empty((m, n), dtype, before=before)
                assert_same_bits(run(a, b, c, bias=guard.guarded(bias[:n], before=before), **how), want)
                into = guard.guarded(start, before=before)
                assert_same_bits(run(a, b, into, accumulate=True, **how), want)
            assert_same_bits(run(a, b, np.empty((n, m), dtype).T, bias=bias[:n], **how), want)


@each_dtype
@pytest.mark.parametrize("k", [3, 4, 5, 47, 48, 50, 512, 515, 1008, 1536])
def test_bands_of_rows_that_turn_a_factor(dtype: str, k: int) -> None:
    """Each band does so once more, for some columns before the next ones: every rest of rows, columns and steps."""
    rng = np.random.default_rng(17)
    vector, rows = kernels.tiles(dtype)["VL"], kernels.tiles(dtype)["MR"]
    left = numbers(rng, 12 * rows + 1, k, dtype=dtype)
    for n in (vector - 1, vector, vector + 1, 2 * vector - 1, 16 * vector + 3, 515):
        b, bias = numbers(rng, k, n, dtype=dtype), numbers(rng, n, dtype=dtype)
        all_rows, turned = reference.product(left, b, bias), guard.guarded(b.T)
        for m in {1, 2, rows - 1, rows, rows + 1, 2 * rows + 3, 3 * rows + 1, 12 * rows, 12 * rows + 1}:
            a, want = guard.guarded(left[:m]), all_rows[:m]
            how: dict[str, Any] = {"turn": (False, True), "n_threads": 1 + m % 3}
            for c in (guard.guarded_empty((m, n), dtype), np.full((n, m), np.nan, dtype).T):
                assert_same_bits(run(a, turned, c, bias=guard.guarded(bias), **how), want)
            into = np.tile(bias, (m, 1))
            assert_same_bits(run(a, turned, into, accumulate=True, **how), want)
            assert_relu_follows(a, turned, want, bias=bias, **how)


@each_dtype
@pytest.mark.parametrize(
    "m, n, k",
    [
        (1, 3101, 1025),
        (3, 80000, 40),
        (8, 8, 420_000),
        (4, 4, 840_000),
        (14, 2900, 1100),
        (15, 5300, 600),
        (64, 9001, 352),
    ],
)
def test_large_b_is_read_along_its_rows(dtype: str, m: int, n: int, k: int) -> None:
    rng = np.random.default_rng(12)
    assert n * k * np.dtype(dtype).itemsize > 12 << 20, "no processor has so much of it near"
    a, b, bias = numbers(rng, m, k, dtype=dtype), numbers(rng, k, n, dtype=dtype), numbers(rng, n, dtype=dtype)
    for rows, start, n_threads in ((m, bias, 1), (m, None, 3), (1, bias, 2)):
        want = reference.product(a[:rows], b, start)
        assert_same_bits(
            run(a[:rows].copy(), b, np.full((rows, n), np.nan, dtype), bias=start, n_threads=n_threads), want
        )
    into = numbers(rng, m, n, dtype=dtype)
    assert_same_bits(run(a, b, into.copy(), accumulate=True), reference.product(a, b, into))
    want = reference.product(a, b, bias)
    assert_relu_follows(a, b, want, bias=bias, n_threads=2)


@each_dtype
def test_a_smaller_product_needs_no_more_scratch(dtype: str) -> None:
    """A Program's scratch is that of its largest extents."""
    tiles = kernels.tiles(dtype)
    for n in (1, tiles["NR"], 300, 640, 5000):
        needed = [kernels.product_scratch(64, n, k, dtype) for k in range(2 * tiles["KCHAIN"])]
        assert needed == sorted(needed)
    for k in (1, 482, 3000):
        for m, n in ((1, 1), (8, 8), (63, 64), (640, 3)):
            scratch = kernels.product_scratch(m, n, k, dtype)
            assert scratch <= kernels.product_scratch(m + 1, n, k, dtype)
            assert scratch <= kernels.product_scratch(m, n + 1, k, dtype)


@each_dtype
@pytest.mark.parametrize("turn", [(True, False), (False, True)], ids=["a turned", "b turned"])
@pytest.mark.parametrize(
    "m, n, k",
    [
        (28, 512, 512),
        (28, 40, 1024 + 512),
        (500, 640, 481),
        (500, 640, 482),
        (500, 640, 511),
        (8, 2048, 300),
        (12, 1024, 1100),
        (24, 30_000, 60),
        (24, 26_240, 5),
    ],
)
def test_scratch_is_enough(dtype: str, m: int, n: int, k: int, turn: tuple[bool, bool]) -> None:
    """Nothing is written behind it, for however few steps or rows."""
    rng = np.random.default_rng(15)
    a, b = numbers(rng, m, k, dtype=dtype), numbers(rng, k, n, dtype=dtype)
    scratch = kernels.product_scratch(m, n, k, dtype)
    memory = np.full(scratch + 64 + 200_000, 7, np.uint8)
    start = -memory.ctypes.data % 64
    c = np.empty((m, n), dtype)
    operands = (c, None, np.array(a.T) if turn[0] else a, np.array(b.T) if turn[1] else b, None, None)
    address = kernels.address("product", dtype)
    executor.call(address, operands, 2, (*map(int, turn), 0, 0, 0), (), 0.0, 1, memory[start : start + scratch])
    assert_same_bits(c, reference.product(a, b))
    assert (memory[start + scratch :] == 7).all()

"""Philox against the published known answers; dropout against its reference, its statistics and itself."""

import guard
import numpy as np
import pytest

from fastnn import kernels, ops
from fastnn.graph.tensor import Graph
from fastnn.kernels import executor
from fastnn.ops.random import philox, rounds
from fastnn.program import OPERATIONS, RunRow

pytestmark = pytest.mark.kernel

FLOATS = ["float32", "float64"]
BLOCK = 4 * 2 * 8  # words that the widest level draws together
CHUNK = 256  # elements of a span that is not contiguous
SIZES = [0, 1, 3, 4, 5, 15, 16, 17, BLOCK - 1, BLOCK, BLOCK + 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7]


def level(dtype: str) -> str:
    return f"{kernels.LEVEL}-{dtype}"


by_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=level)

# Random123's kat_vectors for philox4x32-10: counter, key, words.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF, 0xFFFFFFFF), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("counter, key, words", KNOWN, ids=["zeros", "ones", "pi"])
def test_rounds_give_the_known_answers(counter, key, words):
    found = rounds(np, [np.array([word], np.uint64) for word in counter], key[0] | key[1] << 32)
    assert [int(word[0]) for word in found] == list(words)


def test_words_come_in_the_order_of_their_blocks():
    words = philox(np, seed=0, operation=0, step=0, n=4)
    assert words.dtype == np.uint32
    assert words.tolist() == list(KNOWN[0][2])
    long = philox(np, seed=3, operation=1, step=2, n=1001)
    assert np.array_equal(long[:7], philox(np, seed=3, operation=1, step=2, n=7))


def kept(words, threshold):
    """What the kernel says of words: 1 where they reach the threshold."""
    return (words >= np.uint32(threshold)).astype(float)


@by_dtype
@pytest.mark.parametrize(
    "seed, operation, step", [(0, 0, 0), (7, 3, 11), (2**63 - 1, 2**32 - 1, 2**32 - 1), (1, 0, 2**31)]
)
def test_kernel_draws_the_reference_bits(dtype, seed, operation, step):
    """Thirty-two thresholds reconstruct each word's leading bits: the kernel must agree on every comparison."""
    x = np.ones(2 * CHUNK + 5, dtype)
    words = philox(np, seed, operation, step, x.size)
    for threshold in [1, 2**31, *(int(word) for word in words[:30])]:
        y = np.empty_like(x)
        address = kernels.address("dropout", dtype)
        row = np.array([step], np.float64)
        executor.call(address, (y, x), 1, (0, seed, operation, threshold), (1.0,), run=row)
        assert np.array_equal(y, kept(words, threshold))


def reference(x, rate, **where):
    operation, step = where.get("operation", 0), where.get("step", 0)
    attributes = {"rate": rate, "seed": where.get("seed", 0), "operation": operation}
    return OPERATIONS["dropout"].reference(np, [x], attributes, RunRow(step=float(step)))[0]


@by_dtype
@pytest.mark.parametrize("n", SIZES)
def test_dropout_equals_its_reference(dtype, n):
    x = np.random.default_rng(n).normal(size=n).astype(dtype)
    y = ops.dropout(x, 0.3, seed=5, operation=2, step=9)
    assert y.dtype == dtype
    assert np.array_equal(y, reference(x, 0.3, seed=5, operation=2, step=9))


@by_dtype
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_thread_count_changes_no_bit(dtype, threads):
    x = np.random.default_rng(0).normal(size=11 * CHUNK + 13).astype(dtype)
    words = philox(np, 1, 2, 3, x.size)
    want = np.where(words >= 2**30, x * x.dtype.type(1.5), 0)
    apart = np.full(3 * x.size, 9, dtype)
    for y in (np.full_like(x, 9), apart[::3]):
        executor.call(
            kernels.address("dropout", dtype), (y, x), 1, (0, 1, 2, 2**30), (1.5,), 0.0, threads, None, np.array([3.0])
        )
        assert np.array_equal(y, want)
    assert (apart[1::3] == 9).all()


@by_dtype
@pytest.mark.parametrize("n", SIZES)
def test_nothing_past_the_last_element_is_touched(dtype, n):
    x, y = guard.guarded(np.ones(n, dtype)), guard.guarded_empty((n,), dtype)
    ops.dropout(x, 0.5, seed=3, out=y)
    assert np.array_equal(y, reference(x, 0.5, seed=3))


def test_dtypes_drop_the_same_elements():
    x = np.ones((37, 41))
    double, single = ops.dropout(x, 0.5, seed=1), ops.dropout(x.astype(np.float32), 0.5, seed=1)
    assert np.array_equal(double, single)


@by_dtype
@pytest.mark.parametrize(
    "view",
    [lambda a: a.T, lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a[::3, 1::2], lambda a: a[:, :1],
     lambda a: np.broadcast_to(a[0], a.shape), lambda a: a.reshape(6, 11, 41).transpose(2, 0, 1)],
    ids=["transposed", "rows reversed", "columns reversed", "sliced", "column", "broadcast", "3-d transposed"],
)  # fmt: skip
def test_any_strides(dtype, view):
    x = view(np.random.default_rng(0).normal(size=(66, 41)).astype(dtype))
    expected = reference(np.ascontiguousarray(x), 0.4, seed=2)
    assert np.array_equal(ops.dropout(x, 0.4, seed=2), expected)
    memory = np.full((2 * x.shape[0], *x.shape[1:]), 7, dtype)
    ops.dropout(x, 0.4, seed=2, out=memory[::-2])
    assert np.array_equal(memory[::-2], expected)
    assert (memory[::2] == 7).all()


@by_dtype
def test_dropped_elements_are_zero_and_kept_ones_are_what_they_were(dtype):
    x = np.tile(np.array([np.nan, np.inf, -np.inf, -1.0], dtype), 64)
    y = ops.dropout(x, 0.5, seed=4)
    words = philox(np, 4, 0, 0, x.size)
    dropped = words < 2**31
    assert dropped.any()
    assert (~dropped).any()
    assert np.array_equal(y[dropped], np.zeros(dropped.sum()))
    assert not np.signbit(y[dropped]).any()
    assert np.array_equal(y[~dropped], 2 * x[~dropped], equal_nan=True)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_rate_and_independence(rate):
    n = 1 << 18
    steps = [ops.dropout(np.ones(n, np.float32), rate, seed=1, step=step) == 0 for step in range(3)]
    spread = 4 * np.sqrt(rate * (1 - rate) / n)
    for mask in steps:
        assert abs(mask.mean() - rate) <= spread
    both = (steps[0] & steps[1]).mean()
    assert abs(both - rate**2) <= 4 * np.sqrt(rate**2 * (1 - rate**2) / n)
    neighbours = (steps[0][1:] & steps[0][:-1]).mean()
    assert abs(neighbours - rate**2) <= 8 * np.sqrt(rate**2 * (1 - rate**2) / n)


@pytest.mark.parametrize("change", [{"seed": 1}, {"operation": 1}, {"step": 1}, {"seed": 2**32}])
def test_every_part_of_the_counter_matters(change):
    x = np.ones(256)
    assert not np.array_equal(ops.dropout(x, 0.5), ops.dropout(x, 0.5, **change))


def test_a_row_keeps_its_mask_whatever_the_batch():
    x = np.ones((7, 33), np.float32)
    assert np.array_equal(ops.dropout(x, 0.5)[:3], ops.dropout(x[:3], 0.5))


def test_traces_take_numbers_from_the_graph_and_gradients_draw_the_same_mask():
    with Graph("float32", seed=17) as graph:
        x = graph.input("x", (4, 5))
        first, second = ops.dropout(x, 0.25), ops.dropout(x, 0.25)
        with pytest.raises(ValueError, match="the graph's"):
            ops.dropout(x, 0.25, seed=1)
        gradient = OPERATIONS["dropout"].gradient(second.node, [first])[0]
    assert [node.attributes["operation"] for node in (first.node, second.node)] == [0, 1]
    assert first.node.attributes["seed"] == 17
    assert gradient.node.operation.name == "dropout"
    assert gradient.node.attributes == second.node.attributes
    assert gradient.node.inputs == (first,)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_bad_rates_are_refused(rate):
    with pytest.raises(ValueError, match="rate must be in"):
        ops.dropout(np.ones(3), rate)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_bad_seeds_are_refused(seed):
    with pytest.raises(ValueError, match="seed must be in"):
        ops.dropout(np.ones(3), 0.5, seed=seed)

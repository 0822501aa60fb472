"""Batches gathered by index, and predictions collected: every type, any strides, refused indices."""

import guard
import numpy as np
import pytest
from networks import both

from fastnn import backends, kernels, ops, runtime
from fastnn.graph.plan import Place, plan
from fastnn.graph.tensor import Graph
from fastnn.kernels import executor
from fastnn.program import OPERATIONS, Extent, RunRow, Spec

pytestmark = pytest.mark.kernel

SOURCES = ["float32", "float64", "int32", "int64", "uint8"]
FLOATS = ["float32", "float64"]
VIEWS = {
    "contiguous": lambda a: a,
    "rows reversed": lambda a: a[::-1],
    "columns reversed": lambda a: a[..., ::-1],
    "every third row": lambda a: a[::3],
    "every second column": lambda a: a[..., 1::2],
    "transposed": lambda a: np.swapaxes(np.ascontiguousarray(np.swapaxes(a, 0, -1)), 0, -1),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "channels first": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, -1, 1)), 1, -1),
}


def level(dtype: str) -> str:
    return f"{kernels.LEVEL}-{dtype}"


by_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=level)


def numbers(shape, dtype, seed=0):
    values = np.random.default_rng(seed).normal(0, 100, shape)
    return np.abs(values).astype("uint8") if dtype == "uint8" else values.astype(dtype)


def expected(source, rows, dtype, scale=1.0):
    kind = np.dtype(dtype)
    chosen = source[rows].astype(kind)
    return chosen * kind.type(scale) if kind.kind == "f" else chosen


@by_dtype
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("item", [(), (1,), (3,), (15,), (16,), (17,), (4, 5, 3), (784,)], ids=str)
def test_every_source_type_becomes_floats(dtype, source, item):
    data = numbers((23, *item), source)
    index = np.random.default_rng(1).integers(0, 23, 40)
    for scale in (1.0, 1 / 255):
        batch = ops.gather(data, index, start=7, rows=11, dtype=dtype, scale=scale)
        assert batch.dtype == dtype
        assert np.array_equal(batch, expected(data, index[7:18], dtype, scale))
        batch = ops.gather(data, start=7, rows=11, dtype=dtype, scale=scale)
        assert np.array_equal(batch, expected(data, slice(7, 18), dtype, scale))


@pytest.mark.parametrize(
    "source, target",
    [("uint8", "int32"), ("uint8", "int64"), ("int32", "int32"), ("int32", "int64"), ("int64", "int64")],
)
def test_labels_stay_whole_numbers(source, target):
    labels = numbers(50, source)
    index = np.random.default_rng(1).permutation(50)
    batch = ops.gather(labels, index, start=3, rows=32, dtype=target)
    assert batch.dtype == target
    assert np.array_equal(batch, labels[index[3:35]])


def test_large_labels_keep_every_digit():
    labels = np.array([2**62 + 1, -(2**62) - 1, 2**53 + 1])
    assert np.array_equal(ops.gather(labels, [2, 1, 0]), labels[::-1])


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
@pytest.mark.parametrize("source, dtype", [("float32", "float32"), ("float64", "float32"), ("uint8", "float64")])
@pytest.mark.parametrize("shape", [(12, 20), (9, 6, 5, 4)], ids=str)
def test_any_strides(view, source, dtype, shape):
    data = view(numbers(shape, source))
    index = np.array([2, 0, 1, 1, 2])[::-1]
    for rows in (index, np.array([1], np.int32), None):
        batch = ops.gather(data, rows, dtype=dtype, scale=0.5)
        assert np.array_equal(batch, expected(data, slice(None) if rows is None else rows, dtype, 0.5))


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_into_any_strides(view):
    data = numbers((12, 6, 4), "float32")
    target = view(np.zeros((12, 6, 4), "float32")).copy(order="K")
    target = target if target.flags.writeable else target.copy()
    source = data[: target.shape[0], :, : target.shape[2]]
    assert ops.gather(source, out=target) is target
    assert np.array_equal(target, source)


def test_a_strided_index():
    data = numbers((10, 3), "float32")
    index = np.arange(20)[::-2] // 2
    assert np.array_equal(ops.gather(data, index, start=1, rows=4), data[index[1:5]])


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 64])
def test_threads_share_the_rows(threads, rows):
    data = numbers((40, 7), "float32")
    index = np.random.default_rng(2).integers(0, 40, 70)
    batch = np.full((rows, 7), -1, "float32")
    run = np.array([9.0, 5.0])
    address = kernels.address("gather", "float32")
    status = executor.call(address, (batch, data, index), 1, (1,), (2.0,), 0.0, threads, None, run)
    assert status == 0
    assert np.array_equal(batch, 2 * data[index[5 : 5 + rows]])


@by_dtype
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("width", [1, 3, 15, 16, 17, 33])
def test_nothing_past_the_last_element_is_touched(dtype, source, width):
    data, index = guard.guarded(numbers((9, width), source)), guard.guarded(np.array([8, 0, 8]))
    for chosen, n in [(index, 3), (None, 9)]:
        batch = guard.guarded_empty((n, width), dtype)
        ops.gather(data, chosen, rows=n, out=batch, dtype=dtype)
        assert np.array_equal(batch, data[chosen if chosen is not None else slice(None)].astype(dtype))
    result = guard.guarded(np.zeros((12, width), dtype))
    ops.collect(batch, start=3, out=result)
    assert np.array_equal(result[3:], batch)


def test_rows_of_a_large_source():
    """Larger than the cache, where the next row is asked for ahead: the last index has no next one."""
    data = guard.guarded(np.arange(700 * 1000, dtype=np.float32).reshape(700, 1000))
    index = guard.guarded(np.array([699, 3, 3, 0, 699]))
    assert np.array_equal(ops.gather(data, index), data[index])
    index[4] = 700
    assert np.array_equal(ops.gather(data, index, rows=4), data[index[:4]])
    with pytest.raises(ValueError, match="out of range"):
        ops.gather(data, index)


@by_dtype
def test_nan_and_infinity_pass(dtype):
    data = np.array([[np.nan, np.inf, -np.inf, -0.0]] * 5, dtype)
    batch = ops.gather(data, [4, 0])
    assert np.array_equal(batch, data[:2], equal_nan=True)
    assert np.signbit(batch[:, 3]).all()


@pytest.mark.parametrize("bad", [-1, 10, 2**40, -(2**62)])
@pytest.mark.parametrize("position", [0, 2, 4])
def test_an_index_out_of_range_is_an_error(bad, position):
    index = np.arange(5)
    index[position] = bad
    data = numbers((10, 3), "float32")
    with pytest.raises(ValueError, match="out of range"):
        ops.gather(data, index)
    attributes = {"spec": Spec((5, 3), "float32"), "scale": 1.0}
    with pytest.raises(IndexError, match="out of range"):
        OPERATIONS["gather"].reference(np, [data, index], attributes, RunRow(start=0.0))


@pytest.mark.parametrize("start, rows", [(0, 6), (5, 1), (3, 3), (2**40, 1)])
@pytest.mark.parametrize("index", [None, np.arange(5)], ids=["in order", "indexed"])
def test_more_rows_than_there_are(start, rows, index):
    with pytest.raises(ValueError, match="out of range"):
        ops.gather(numbers((5, 3), "float32"), index, start=start, rows=rows)


def test_no_rows_at_all():
    assert ops.gather(np.zeros((0, 3))).shape == (0, 3)
    assert ops.gather(np.zeros((5, 3)), np.zeros(0, np.int64)).shape == (0, 3)
    assert ops.gather(np.zeros((5, 0)), [1, 2]).shape == (2, 0)
    assert ops.gather(np.zeros((5, 0, 3))[:, :, ::-1], [1, 2]).shape == (2, 0, 3)
    with pytest.raises(ValueError, match="out of range"):
        ops.gather(np.zeros((0, 3)), [0])


@pytest.mark.parametrize("source", SOURCES)
def test_the_reference_says_the_same(source):
    data, index = numbers((20, 3, 5), source), np.random.default_rng(3).integers(0, 20, 12)
    operation = OPERATIONS["gather"]
    for dtype in ["float32", "float64"] + (["int64"] if source not in FLOATS else []):
        scale = 0.25 if dtype in FLOATS else 1.0
        attributes = {"spec": Spec((6, 3, 5), dtype), "scale": scale}
        for chosen in (index, None):
            reference = operation.reference(np, [data, chosen], attributes, RunRow(start=4.0))[0]
            batch = ops.gather(data, chosen, rows=6, start=4, dtype=dtype, scale=scale)
            assert reference.dtype == batch.dtype
            assert np.array_equal(batch, reference)


@pytest.mark.parametrize(
    "source, index, options, problem",
    [
        (np.float32(3), None, {}, ValueError),
        (np.zeros((3, 2), np.complex64), None, {}, TypeError),
        (np.zeros((3, 2), np.int16), None, {}, TypeError),
        (np.zeros((3, 2)), np.zeros((2, 2), np.int64), {}, TypeError),
        (np.zeros((3, 2)), np.array([0.0]), {}, TypeError),
        (np.zeros((3, 2)), None, {"dtype": "int64"}, TypeError),
        (np.zeros((3, 2), np.int64), None, {"dtype": "int32"}, TypeError),
        (np.zeros((3, 2), np.int64), None, {"scale": 0.5}, ValueError),
        (np.zeros((3, 2)), None, {"dtype": "uint8"}, TypeError),
        (np.zeros((3, 2)), None, {"start": -1}, ValueError),
        (np.zeros((3, 2)), None, {"rows": -1}, ValueError),
        (np.zeros((3, 2)), None, {"out": np.zeros((2, 2))}, ValueError),
    ],
)
def test_what_does_not_fit_is_refused(source, index, options, problem):
    with pytest.raises(problem):
        ops.gather(source, index, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize(
    "view",
    [lambda a: a, lambda a: a[::-2], lambda a: a[:, ::-1], np.asfortranarray],
    ids=["contiguous", "rows sliced", "columns reversed", "transposed"],
)
def test_collect_writes_its_rows_and_no_others(dtype, view):
    result = view(np.full((40, 6), 7, dtype))
    batch = view(numbers((8, 6), dtype))
    before = result.copy()
    assert ops.collect(batch, start=3, out=result) is result
    before[3 : 3 + len(batch)] = batch
    assert np.array_equal(result, before)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads_collect(threads):
    result, batch = np.zeros((50, 3), "float32"), numbers((33, 3), "float32")
    address, run = kernels.address("collect", "float32"), np.array([11.0])
    assert executor.call(address, (result, batch), 1, (0,), (), 0.0, threads, None, run) == 0
    assert np.array_equal(result[11:44], batch)
    assert not result[:11].any()
    assert not result[44:].any()


@pytest.mark.parametrize("start", [-1, 3, 2**40])
def test_collect_outside_the_result_is_an_error(start):
    result = np.zeros((5, 2))
    with pytest.raises(ValueError, match="out of range"):
        ops.collect(np.ones((3, 2)), start=start, out=result)
    assert not result.any()


def test_collect_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="out must have shape"):
        ops.collect(np.ones((3, 3)), start=0, out=np.zeros((5, 2)))
    with pytest.raises(ValueError, match="dtype float32"):
        ops.collect(np.ones((3, 2), np.float32), start=0, out=np.zeros((5, 2)))
    with pytest.raises(TypeError, match="out="):
        ops.collect(np.ones((3, 2)), start=0)
    frozen = np.zeros((5, 2))
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        ops.collect(np.ones((3, 2)), start=0, out=frozen)


def gather_and_collect():
    """A Program that scales batches of bytes and keeps them."""
    rows = Extent("rows", 4)
    with Graph("float32") as graph:
        source, index = graph.input("x", (0, 5), "uint8"), graph.input("index", (0,), "int64")
        kept = ops.collect(ops.gather(source, index, rows=rows, scale=0.5), start="start")
    return plan(graph, {"kept": kept}, {kept: Place("output:kept")})


@both
def test_an_epoch_in_a_program(backend):
    program = gather_and_collect()
    runner = backends.get(backend).prepare(program, "float32", {})
    data, index = numbers((11, 5), "uint8"), np.random.default_rng(0).permutation(11)
    kept = np.full((11, 5), -1, "float32")
    table = np.zeros((3, len(program.slots)))
    table[:, program.slots.index("rows")] = 4, 4, 3
    table[:, program.slots.index("start")] = 0, 4, 8
    arrays = {"input:x": data, "input:index": index, "output:kept": kept}
    assert runner.run(table, arrays) == 3
    assert np.array_equal(kept, 0.5 * data[index])
    table[1, program.slots.index("start")] = 8
    with pytest.raises(backends.StepError, match="out of range") as caught:
        runner.run(table, arrays)
    assert caught.value.done == 1


@by_dtype
@pytest.mark.parametrize("source", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("threads_as_before")
def test_rows_that_are_asked_for_ahead(dtype, source, shuffled, threads):
    """Products ask for the next batch's rows meanwhile: the last one is shorter, and after it, or after rows that are
    not there, there is nothing to read. Data of more than a megabyte, which is not expected to be in the cache.
    """
    runtime.set_num_threads(threads)
    rows, n, width = Extent("rows", 64), 12_000, 128 if source == "uint8" else 24  # so short that all are asked for
    with Graph(dtype) as graph:
        data, weight = graph.input("x", (0, width), source), graph.input("w", (width, 1200))
        index = graph.input("index", (0,), "int64") if shuffled else None
        batch = ops.gather(data, index, rows=rows, dtype=dtype)
        kept = ops.collect(ops.matmul(batch, weight), start="start")
    program = plan(graph, {"kept": kept}, {kept: Place("output:kept")})
    runner = backends.get("native").prepare(program, dtype, {})
    x, w = guard.guarded(numbers((n, width), source)), numbers((width, 1200), dtype, 1)
    order = np.random.default_rng(0).permutation(n) if shuffled else np.arange(n)
    found, starts = np.zeros((n, 1200), dtype), np.arange(0, n, 64)
    table = np.zeros((len(starts), len(program.slots)))
    table[:, program.slots.index("rows")] = np.minimum(64, n - starts)
    table[:, program.slots.index("start")] = starts
    arrays = {"input:x": x, "input:w": w, "output:kept": found}
    if shuffled:
        arrays["input:index"] = guard.guarded(order)
    for _ in range(2):
        found[...] = 0
        assert runner.run(table, arrays) == len(starts)
        assert np.array_equal(found, ops.matmul(x[order].astype(dtype), w))
    if shuffled:
        wild = order.copy()
        wild[64:] = np.iinfo(np.int64).max // 7  # asked for, perhaps, in the first step, and refused in the second
        with pytest.raises(backends.StepError, match="out of range") as caught:
            runner.run(table, arrays | {"input:index": guard.guarded(wild)})
        assert caught.value.done == 1


def test_a_trace_knows_shapes_and_costs():
    batch = Extent("rows", 32)
    with Graph("float32") as graph:
        images, index = graph.input("x", (60000, 28, 28, 1), "uint8"), graph.input("index", (60000,), "int64")
        x = ops.gather(images, index, rows=batch, scale=1 / 255)
        kept = ops.collect(x, start="start")
        with pytest.raises(ValueError, match="needs rows"):
            ops.gather(images)
        with pytest.raises(TypeError, match="name of a slot"):
            ops.collect(x, start=3)
    assert x.spec == Spec((batch, 28, 28, 1), "float32")
    assert kept.spec == Spec((0, 28, 28, 1), "float32")
    assert x.node.operation.nbytes([images.spec, index.spec], [x.spec]) == 2 * 32 * 784 * 4
    assert kept.node.operation.nbytes([x.spec], [kept.spec]) == 2 * 32 * 784 * 4

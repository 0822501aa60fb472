"""Elementwise kernels against their references: all functions, strides, broadcasts, thread counts; and all slopes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import guard
import numpy as np
import pytest
from numpy.typing import NDArray

from fastnn import kernels, ops
from fastnn.graph.autodiff import gradients
from fastnn.graph.tensor import Graph, Tensor
from fastnn.kernels import executor
from fastnn.ops._dispatch import compute
from fastnn.ops._elementwise import COMBINATIONS, FUNCTIONS
from fastnn.program import OPERATIONS, RunRow, Spec

pytestmark = pytest.mark.kernel

Array = NDArray[Any]
TOLERANCE = {"float32": 3e-6, "float64": 1e-13}  # GELU's 1 + erf(x) cancels below 0: absolute there, relative elsewhere
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "leaky_relu": {"negative_slope": 0.2},
    "elu": {"alpha": 0.7},
    "gelu": {"approximate": False},
    "gelu_tanh": {"approximate": True},
}
POSITIVE = ("log", "log1p", "sqrt")
FLAT = ("step", "sign", "identity")  # no slope, or none worth a kernel

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"], ids=lambda dtype: f"{kernels.LEVEL}-{dtype}")
each_function = pytest.mark.parametrize("function", FUNCTIONS)
each_pair = pytest.mark.parametrize("name", COMBINATIONS)


def operation_of(function: str) -> str:
    return "gelu" if function == "gelu_tanh" else function


def numbers(function: str, shape: int | tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    x = np.random.default_rng(seed).normal(scale=2.0, size=shape)
    return (np.abs(x) + 0.01 if function in POSITIVE else x).astype(dtype)


def run(name: str, *inputs: Any, out: Array | None = None, function: str = "") -> Array:
    """The kernel of an operation."""
    return compute(OPERATIONS[name], inputs, out, (), ATTRIBUTES.get(function or name, {}))[0]


def reference(name: str, *inputs: Any, function: str = "") -> Array:
    with np.errstate(all="ignore"):
        return OPERATIONS[name].reference(np, inputs, ATTRIBUTES.get(function or name, {}), RunRow())[0]


def assert_close(got: Array, want: Array) -> None:
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    tolerance = TOLERANCE[got.dtype.name]
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance / 10)


def lengths(dtype: str) -> list[int]:
    vector = kernels.tiles(dtype)["VL"]
    return [0, 1, 2, vector - 1, vector, vector + 1, 3 * vector + 1, 255, 256, 257, 1000]


def layouts(array: Array) -> dict[str, Array]:
    """The same numbers of a matrix, laid out in memory in every way."""
    rows, columns = array.shape
    wide = np.zeros((rows, 2 * columns + 1), array.dtype)
    tall = np.zeros((3 * rows, columns), array.dtype)
    wide[:, 1::2], tall[1::3] = array, array
    return {
        "contiguous": array.copy(),
        "transposed": array.T.copy().T,
        "every second column": wide[:, 1::2],
        "every third row": tall[1::3],
        "rows reversed": array[::-1].copy()[::-1],
        "columns reversed": array[:, ::-1].copy()[:, ::-1],
        "both reversed": array[::-1, ::-1].copy()[::-1, ::-1],
    }


@each_dtype
@each_function
def test_function_at_every_length(function: str, dtype: str) -> None:
    name = operation_of(function)
    for n in lengths(dtype):
        x = guard.guarded(numbers(function, n, dtype))
        got = run(name, x, out=guard.guarded_empty(x.shape, dtype), function=function)
        assert_close(got, reference(name, x, function=function))


@each_dtype
@each_function
def test_function_in_every_layout(function: str, dtype: str) -> None:
    name = operation_of(function)
    x = numbers(function, (5, 7), dtype)
    plain = run(name, x, function=function)
    for source in layouts(x).values():
        for target in layouts(np.zeros_like(x)).values():
            np.testing.assert_array_equal(run(name, source, out=target, function=function), plain)
            np.testing.assert_array_equal(target, plain)
    np.testing.assert_array_equal(run(name, x, out=x, function=function), plain)


@each_dtype
@each_function
def test_function_lets_nan_through(function: str, dtype: str) -> None:
    x = numbers(function, 37, dtype)
    x[::5] = np.nan
    got = run(operation_of(function), x, function=function)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(x))


@each_dtype
@each_function
def test_slope_at_every_length_and_layout(function: str, dtype: str) -> None:
    name = operation_of(function) + "_slope"
    if name not in OPERATIONS:
        assert function in (*FLAT, "negative")
        return
    for n in lengths(dtype):
        dy, s = numbers("", n, dtype, seed=1), guard.guarded(numbers(function, n, dtype))
        got = run(name, guard.guarded(dy), s, out=guard.guarded_empty((n,), dtype), function=function)
        assert_close(got, reference(name, dy, s, function=function))
    dy, s = numbers("", (5, 7), dtype, seed=1), numbers(function, (5, 7), dtype)
    plain = run(name, dy, s, function=function)
    for layout in layouts(s).values():
        np.testing.assert_array_equal(run(name, dy, layout, function=function), plain)
    np.testing.assert_array_equal(run(name, dy, s, out=dy, function=function), plain)


@pytest.mark.parametrize("function", [each for each in FUNCTIONS if each not in FLAT])
def test_slope_is_the_derivative(function: str) -> None:
    step, name = 1e-6, operation_of(function)
    x = numbers(function, 400, "float64")
    x = x[np.abs(x) > 1e-2]  # away from the kinks, and from 1 / 0
    with Graph("float64") as graph:
        symbol = graph.input("x", x.shape)
        y = graph.add(name, [symbol], **ATTRIBUTES.get(function, {})).outputs[0]
        weights = graph.input("weights", x.shape)
        (dx,) = gradients(ops.sum(y * weights), [symbol])
    assert dx is not None
    weight = np.random.default_rng(3).uniform(0.5, 2.0, x.shape)
    found = evaluate(graph, dx, {"x": x, "weights": weight})
    change = run(name, x + step, function=function) - run(name, x - step, function=function)
    expected = weight * change / (2 * step)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_slope_needs_one_shape() -> None:
    with pytest.raises(ValueError, match=r"tanh_slope: both operands must have one shape, got \(2, 3\), \(3,\)"):
        OPERATIONS["tanh_slope"].infer([Spec((2, 3), "float32"), Spec((3,), "float32")], {})


def test_slope_at_the_kink() -> None:
    zero, one = np.zeros(3), np.ones(3)
    assert not run("relu_slope", one, zero).any()
    assert not run("absolute_slope", one, zero).any()
    np.testing.assert_array_equal(run("leaky_relu_slope", one, zero, function="leaky_relu"), np.full(3, 0.2))
    assert not run("relu_slope", np.full(3, np.inf), zero).any(), "what does not pass is 0, not infinity times 0"


def evaluate(graph: Graph, wanted: Tensor, values: dict[str, Array]) -> Array:
    """A symbol's value by the kernels, one node after the other."""
    known: dict[Tensor, Array] = {}
    for node in graph.nodes:
        if node.operation.name == "input":
            results = (values[node.attributes["name"]],)
        elif node.operation.name == "constant":
            results = (np.array(node.attributes["value"], graph.dtype),)
        else:
            results = compute(node.operation, [known[each] for each in node.inputs], None, (), node.attributes)
        known.update(zip(node.outputs, results, strict=True))
    return known[wanted]


# ------------------------------------------------------------------------------------------- two and three operands

SHAPES = [
    ((5, 7), (5, 7)),
    ((5, 7), (7,)),
    ((7,), (5, 7)),
    ((5, 7), (5, 1)),
    ((5, 1), (1, 7)),
    ((5, 7), ()),
    ((3, 1, 7), (4, 1)),
    ((2, 3, 4, 5), (3, 1, 5)),
    ((1, 1), (1,)),
    ((0, 7), (7,)),
    ((40, 300), (40, 1)),
    ((40, 300), (300,)),
]


@each_dtype
@each_pair
def test_pair_is_broadcast(name: str, dtype: str) -> None:
    for shape_a, shape_b in SHAPES:
        a, b = numbers("", shape_a, dtype).round(1), numbers("", shape_b, dtype, seed=1).round(1)  # some are equal
        got = run(name, guard.guarded(a), guard.guarded(b))
        np.testing.assert_array_equal(got, reference(name, a, b), err_msg=f"{shape_a} {shape_b}")


@each_dtype
@each_pair
def test_pair_in_every_layout(name: str, dtype: str) -> None:
    a, b = numbers("", (5, 7), dtype), numbers("", (5, 7), dtype, seed=1)
    plain = run(name, a, b)
    for first in layouts(a).values():
        for second in layouts(b).values():
            np.testing.assert_array_equal(run(name, first, second), plain)
    for target in layouts(np.zeros_like(a)).values():
        run(name, a, b, out=target)
        np.testing.assert_array_equal(target, plain)
    np.testing.assert_array_equal(run(name, a, b, out=b), plain)


@each_dtype
def test_axes_of_six_dimensions(dtype: str) -> None:
    a = numbers("", (2, 3, 2, 3, 2, 5), dtype)
    b = numbers("", (3, 2, 1, 1, 5), dtype, seed=1)
    np.testing.assert_array_equal(run("add", a, b), a + b)
    turned = a.transpose(3, 0, 5, 2, 1, 4)
    np.testing.assert_array_equal(run("add", turned, turned), 2 * turned)
    repeated = np.broadcast_to(a[:1, :, :, :1], a.shape)
    np.testing.assert_array_equal(run("multiply", a, repeated), a * repeated)


@each_dtype
@pytest.mark.parametrize("n_threads", [1, 3])
def test_short_rows_and_what_is_repeated_in_them(n_threads: int, dtype: str) -> None:
    """Several short rows are computed in one run, whichever of their axes an operand repeats."""
    rng = np.random.default_rng(4)
    for _ in range(300):
        ndim, last = int(rng.integers(2, 5)), int(rng.choice([1, 2, 3, 7, 16, 31, 100, 127, 128, 129, 200]))
        shape = (*rng.integers(1, 40 if ndim == 2 else 6, ndim - 1), last)
        operands = []
        for seed in range(2):
            kept = rng.random(ndim) < 0.6
            x = numbers("", tuple(np.where(kept, shape, 1)), dtype, seed=seed)
            operands.append(x.T.copy().T if rng.random() < 0.3 else guard.guarded(x))
        out, code = guard.guarded(np.full(shape, np.nan, dtype)), (COMBINATIONS.index("subtract"),)
        address = kernels.address("binary", dtype)
        assert executor.call(address, (out, *operands), 1, code, (), 0.0, n_threads) == 0
        np.testing.assert_array_equal(out, np.broadcast_to(operands[0] - operands[1], shape))


@each_dtype
def test_maximum_and_minimum_give_nan_where_either_is(dtype: str) -> None:
    a, b = numbers("", 40, dtype), numbers("", 40, dtype, seed=1)
    a[::3], b[::4] = np.nan, np.nan
    np.testing.assert_array_equal(run("maximum", a, b), np.maximum(a, b))
    np.testing.assert_array_equal(run("minimum", a, b), np.minimum(a, b))


@each_dtype
def test_where(dtype: str) -> None:
    for shapes in [((5, 7), (5, 7), (5, 7)), ((5, 7), (), (7,)), ((5, 1), (1, 7), ()), ((300,), (), ())]:
        condition, a, b = (numbers("", shape, dtype, seed=seed) for seed, shape in enumerate(shapes))
        condition = (condition > 0).astype(dtype)
        np.testing.assert_array_equal(run("where", condition, a, b), np.where(condition, a, b))


@each_dtype
@pytest.mark.parametrize("n_threads", [1, 2, 3, 4])
def test_threads_share_the_elements(n_threads: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    for shape in [(1,), (17,), (1000,), (33, 31), (7, 5, 3)]:
        wide = rng.normal(size=(*shape[:-1], 2 * shape[-1])).astype(dtype)
        for x in (wide[..., : shape[-1]].copy(), wide[..., ::2]):
            y = np.full(shape, np.nan, dtype)
            code = (FUNCTIONS.index("tanh"),)
            assert executor.call(kernels.address("unary", dtype), (y, x), 1, code, (0.0,), 0.0, n_threads) == 0
            np.testing.assert_array_equal(y, run("tanh", x))
            z = np.full(shape, np.nan, dtype)
            operands = z, y, x[..., :1].copy()
            assert executor.call(kernels.address("binary", dtype), operands, 1, (0,), (), 0.0, n_threads) == 0
            np.testing.assert_array_equal(z, y + x[..., :1])


@each_dtype
@pytest.mark.parametrize("n_threads", [1, 3])
def test_results_larger_than_the_caches(n_threads: int, dtype: str) -> None:
    """Some processors store them past the caches, whole vectors at a time: all of them and nothing else, wherever they
    begin, and whatever they are computed from.
    """
    n = (42 << 20) // np.dtype(dtype).itemsize + 37
    x, memory = np.random.default_rng(0).random(n, dtype) - 0.5, np.empty(n + 32, dtype)
    square = (11, n // 11)
    zero = (x < 0.1).astype(dtype)
    m, column, row = x[: n // 11 * 11].reshape(square), x[:11, None].copy(), x[-square[1] :].copy()
    for start in (16, 19):
        memory[:] = 7
        y = memory[start : start + n]
        for kernel, name, operands, want in [
            ("unary", FUNCTIONS.index("relu"), (y, x), np.maximum(x, 0)),
            ("binary", COMBINATIONS.index("add"), (y, x, x[::-1]), x + x[::-1]),
            ("binary", COMBINATIONS.index("add"), (y[: m.size].reshape(square), m, row), m + row),
            ("binary", COMBINATIONS.index("multiply"), (y[: m.size].reshape(square), m, column), m * column),
            ("slope", FUNCTIONS.index("relu"), (y, x, x), np.maximum(x, 0)),
            ("where", 0, (y, zero, x, x[::-1]), np.where(zero, x, x[::-1])),
            ("slope", FUNCTIONS.index("relu"), (y, y, x), None),  # in place
        ]:
            before = y.copy()
            assert executor.call(kernels.address(kernel, dtype), operands, 1, (name,), (0.0,), 0.0, n_threads) == 0
            np.testing.assert_array_equal(operands[0], np.where(x > 0, before, 0) if want is None else want)
        assert (memory[:start] == 7).all()
        assert (memory[start + n :] == 7).all()


RULES: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "maximum": ops.maximum,
    "minimum": ops.minimum,
    "where": lambda a, b: ops.where(ops.greater(a, 0.0), a * 2.0, b),
    "number first": lambda a, b: 1.5 - a / (3.0 + b * b),
}


@pytest.mark.parametrize("shapes", [((4, 5), (4, 5)), ((4, 5), (5,)), ((4, 1), (3, 1, 5))], ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_gradient_of_pairs(rule: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    rng, step = np.random.default_rng(5), 1e-6
    values = [rng.uniform(0.5, 2.0, shape) * rng.choice([-1, 1], shape) for shape in shapes]
    weights = rng.uniform(0.5, 2.0, np.broadcast_shapes(*shapes))
    with Graph("float64") as graph:
        symbols = [graph.input(name, shape) for name, shape in zip("ab", shapes, strict=True)]
        total = ops.sum(RULES[rule](*symbols) * graph.input("weights", weights.shape))
        found = gradients(total, symbols)
    for position, gradient in enumerate(found):
        assert gradient is not None
        assert gradient.shape == shapes[position]
        got = evaluate(graph, gradient, {"a": values[0], "b": values[1], "weights": weights})
        expected = np.zeros(shapes[position])
        for index in np.ndindex(expected.shape):
            sums = []
            for shift in (step, -step):
                moved = [each.copy() for each in values]
                moved[position][index] += shift
                sums.append(evaluate(graph, total, {"a": moved[0], "b": moved[1], "weights": weights}))
            expected[index] = (sums[0] - sums[1]) / (2 * step)
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


# ------------------------------------------------------------------------------------------------- the public face


def test_every_activation_by_name() -> None:
    x = np.linspace(-3, 3, 13)
    for name, (operation, attributes) in ops.ACTIVATIONS.items():
        assert operation in OPERATIONS
        want = OPERATIONS[operation].reference(np, [x], attributes, RunRow())[0]
        np.testing.assert_allclose(ops.activate(x, name), want, rtol=1e-12, atol=1e-15)
    with pytest.raises(ValueError, match=r"unknown activation 'rely'.*relu"):
        ops.activate(x, "rely")


def test_step_fires_at_zero() -> None:
    np.testing.assert_array_equal(ops.step(np.array([-1.0, -0.0, 0.0, 2.0])), [0, 1, 1, 1])


def test_wrong_calls_say_what_is_wrong() -> None:
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match="negative_slope must be at least 0, got -1"):
        ops.leaky_relu(x, -1)
    with pytest.raises(ValueError, match="alpha must be at least 0, got nan"):
        ops.elu(x, np.nan)
    with pytest.raises(ValueError, match=r"add: shapes \(2, 3\) and \(2,\) do not fit together"):
        ops.add(x, np.zeros(2))
    with pytest.raises(ValueError, match=r"out must have shape \(2, 3\)"):
        ops.relu(x, out=np.zeros((3, 2)))

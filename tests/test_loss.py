"""Softmax and losses: values and slopes against their references, bit for bit where the arithmetic is exact."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import guard
import numpy as np
import programs
import pytest
import reference
from networks import both
from numpy.typing import NDArray

from fastnn import kernels, ops
from fastnn.graph.autodiff import gradients
from fastnn.graph.plan import plan
from fastnn.graph.tensor import Graph
from fastnn.kernels import cpu, executor
from fastnn.ops._dispatch import dispatch
from fastnn.ops.loss import POINTWISE
from fastnn.program import OPERATIONS, Extent, RunRow

pytestmark = pytest.mark.kernel

Array = NDArray[Any]
# An exponential errs by 2 units, a sum of n numbers by at most n, a difference of logits up to 20 by 20 units.
TOLERANCE = {"float32": {"rtol": 2e-5, "atol": 2e-5}, "float64": {"rtol": 1e-12, "atol": 1e-13}}
PARAMETER = {"huber": 0.7, "binary_cross_entropy": 0.1}
SHAPES = [(1, 1), (1, 2), (3, 10), (5, 15), (5, 16), (5, 17), (33, 16), (4, 33), (2, 3, 7), (3, 300), (2, 5000)]

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"], ids=lambda dtype: f"{kernels.LEVEL}-{dtype}")
each_loss = pytest.mark.parametrize("name", POINTWISE)


def numbers(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(scale=3.0, size=shape).astype(dtype)


def layouts(array: Array) -> list[Array]:
    """The same numbers, laid out in memory in several ways."""
    wide = np.repeat(array, 2, axis=-1)
    return [array, np.asfortranarray(array), wide[..., ::2], np.flip(np.flip(array).copy())]


def computed(name: str, *inputs: Any, labels: bool = False, **attributes: Any) -> Any:
    return dispatch(name, inputs, labels=(1,) if labels else (), **attributes)


def expected(name: str, *inputs: Any, **attributes: Any) -> Any:
    with np.errstate(all="ignore"):
        return OPERATIONS[name].reference(np, inputs, attributes, RunRow())


def targets_for(name: str, shape: tuple[int, ...], dtype: str) -> Array:
    values = numbers(shape, dtype, seed=1)
    if name == "hinge":
        return np.where(values < 0, -1, 1).astype(dtype)
    return (values > 0).astype(dtype) if name in ("binary_cross_entropy", "perceptron") else values


# ------------------------------------------------------------------------------------------------------------ softmax


@each_dtype
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name: str, dtype: str) -> None:
    for shape in [*SHAPES, (5,), (0, 3), (4, 4095), (4, 4097)]:
        x, dy = numbers(shape, dtype), numbers(shape, dtype, seed=1)
        want = expected(name, x)[0] if x.size else x
        for laid, laid_dy in zip(layouts(x), reversed(layouts(dy)), strict=True):
            y = getattr(ops, name)(laid)
            np.testing.assert_allclose(y, want, **TOLERANCE[dtype], err_msg=f"{shape}")
            dx = computed(f"{name}_gradient", laid_dy, y)
            np.testing.assert_allclose(
                dx, expected(f"{name}_gradient", dy, y)[0], **TOLERANCE[dtype], err_msg=f"{shape}"
            )
    np.testing.assert_allclose(ops.softmax(numbers((7, 40), dtype)).sum(axis=1), 1, **TOLERANCE[dtype])


@each_dtype
@pytest.mark.parametrize("classes", [3, 40], ids=["side by side", "row by row"])
def test_softmax_at_the_ends(classes: int, dtype: str) -> None:
    x = numbers((6, classes), dtype)
    x[0, 1], x[1, 0], x[2, 2], x[3], x[4, 1:] = np.nan, np.inf, -np.inf, -np.inf, -np.inf
    x[5] *= 1e30
    y, logarithm = ops.softmax(x), ops.log_softmax(x)
    assert np.isnan(y[[0, 1, 3]]).all()  # as exp(x) / sum exp(x) in IEEE arithmetic, and as PyTorch
    assert np.isnan(logarithm[[0, 3]]).all()
    assert np.isnan(logarithm[1, 0])
    assert y[2, 2] == 0
    assert logarithm[2, 2] == -np.inf
    np.testing.assert_array_equal(y[4], [1] + [0] * (classes - 1))
    np.testing.assert_array_equal(y[5], np.arange(classes) == x[5].argmax())


@each_dtype
def test_rows_do_not_depend_on_their_batch(dtype: str) -> None:
    for classes in (2, 10, 16, 17, 100):
        x, labels = numbers((21, classes), dtype), np.random.default_rng(2).integers(0, classes, 21)
        whole = (
            ops.softmax(x),
            *computed("cross_entropy", x, labels, None, labels=True, mean=False, label_smoothing=0.1),
        )
        for row in range(21):
            one = slice(row, row + 1)
            alone = ops.softmax(x[one]), *computed("cross_entropy", x[one], labels[one], None, labels=True, mean=False,
                                                   label_smoothing=0.1)  # fmt: skip
            for of_many, of_one in zip(whole, alone, strict=True):
                np.testing.assert_array_equal(of_many[one], of_one)


# -------------------------------------------------------------------------------------------- element by element


@each_dtype
@each_loss
def test_losses(name: str, dtype: str) -> None:
    for shape in [*SHAPES, (70, 1), (300, 1), (9,), (600,), (0, 3)]:
        p, t = numbers(shape, dtype), targets_for(name, shape, dtype)
        for weights in (None, numbers(shape[:1], dtype, seed=2)):
            attributes = {"mean": True, "parameter": PARAMETER.get(name, 0.0)}
            want = expected(name, p, t, weights, **attributes) if p.size else (np.zeros(0), p)
            for laid, laid_t in zip(layouts(p), reversed(layouts(t)), strict=True):
                got = computed(name, laid, laid_t, weights, **attributes)
                for each, each_want in zip(got, want, strict=True):
                    assert each.shape == each_want.shape
                    assert each.dtype == dtype
                    np.testing.assert_allclose(each, each_want, **TOLERANCE[dtype], err_msg=f"{shape}")


EXACT = {
    "quadratic": lambda p, t: p.dtype.type(0.5) * (p - t) * (p - t),
    "mean_squared_error": lambda p, t: (p - t) * (p - t),
    "mean_absolute_error": lambda p, t: np.abs(p - t),
    "perceptron": lambda p, t: np.abs(t - (p >= 0).astype(p.dtype)) * np.abs(p),
}


@each_dtype
@pytest.mark.parametrize("name", EXACT)
def test_rows_of_losses_bit_for_bit(name: str, dtype: str) -> None:
    for m in (1, 2, 15, 16, 17, 255, 256, 257, 4096, 5000):
        p, t = numbers((19, m), dtype), targets_for(name, (19, m), dtype)
        w = numbers((19,), dtype, seed=2)
        divisor = p.dtype.type(m if POINTWISE[name][1] else 1)
        rows = np.array([reference.row_sum(row) for row in EXACT[name](p, t)]) / divisor
        for weights, want in ((None, rows), (w, rows * w)):
            got, _ = computed(name, p, t, weights, mean=True, parameter=0.0)
            np.testing.assert_array_equal(got, want, err_msg=f"{m} elements")


def test_values_by_hand() -> None:
    p, t = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([[0.0, 2.0], [1.0, 1.0]])
    assert ops.quadratic(p, t) == (0.5 + 4) / 2
    assert ops.mean_squared_error(p, t) == 9 / 4
    assert ops.mean_absolute_error(p, t) == 5 / 4
    assert ops.huber(p, t) == (0.5 + 1.5 + 1.5) / 4
    assert ops.huber(p, t, delta=3.0) == 4.5 / 4
    assert ops.hinge(p, np.array([[1.0, 1.0], [-1.0, 1.0]])) == (4 + 2) / 4
    assert ops.perceptron(p, np.array([[0.0, 1.0], [1.0, 1.0]])) == (1 + 1) / 2
    np.testing.assert_allclose(ops.binary_cross_entropy(np.zeros((3, 2)), np.ones((3, 2))), np.log(2), rtol=1e-15)
    np.testing.assert_allclose(ops.cross_entropy(np.zeros((2, 10)), [3, 4]), np.log(10), rtol=1e-15)
    weighted = ops.quadratic(p, t, weights=[1.0, 0.5])
    assert weighted == (0.5 + 0.5 * 4) / 2  # divided by the number of rows, not by the sum of weights


def test_rosenblatts_rule() -> None:
    z, target = np.array([[0.0], [-0.5], [2.0], [-3.0]]), np.array([[0.0], [1.0], [1.0], [0.0]])
    rows, slope = computed("perceptron", z, target, None, mean=True, parameter=0.0)
    np.testing.assert_array_equal(slope * 4, [[1], [-1], [0], [0]])  # y - t, where y = 1 from z = 0 on
    np.testing.assert_array_equal(rows, [0, 0.5, 0, 0])


@each_dtype
@each_loss
def test_nan_and_large_numbers(name: str, dtype: str) -> None:
    p, t = numbers((5, 3), dtype), targets_for(name, (5, 3), dtype)
    p[1, 1] = np.nan
    p[2] = np.array([60.0, 700.0, -700.0]) if dtype == "float64" else np.array([60.0, 80.0, -80.0])
    attributes = {"mean": False, "parameter": PARAMETER.get(name, 0.0)}
    rows, slope = computed(name, p, t, None, **attributes)
    want_rows, want_slope = expected(name, p, t, None, **attributes)
    np.testing.assert_allclose(rows, want_rows, rtol=1e-5)
    np.testing.assert_allclose(slope, want_slope, **TOLERANCE[dtype])
    assert np.isnan(rows[1])
    assert np.isfinite(rows[[0, 2, 3, 4]]).all()


# ------------------------------------------------------------------------------------------------------ cross-entropy


@each_dtype
@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "probabilities"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(smoothing: float, kind: str, dtype: str) -> None:
    for shape in SHAPES:
        z, rng = numbers(shape, dtype), np.random.default_rng(3)
        target = rng.integers(0, min(shape[-1], 256), shape[:-1]).astype("int64" if kind == "probabilities" else kind)
        if kind == "probabilities":
            target = rng.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(dtype)
        for weights in (None, numbers(shape[:1], dtype, seed=2), numbers(shape[:-1], dtype, seed=2)):
            attributes = {"mean": True, "label_smoothing": smoothing}
            want = expected("cross_entropy", z, target, weights, **attributes)
            for laid, slope in zip(layouts(z), reversed(layouts(np.empty_like(z))), strict=True):
                rows = np.full((*shape[:-1], 2), np.nan, dtype)[..., 0]
                of_any_layout = np.stack([target, target], axis=-1)[..., 0]
                dispatch("cross_entropy", [laid, of_any_layout, weights], [rows, slope], **attributes,
                         labels=() if kind == "probabilities" else (1,))  # fmt: skip
                np.testing.assert_allclose(rows, want[0], **TOLERANCE[dtype], err_msg=f"{shape}")
                np.testing.assert_allclose(slope, want[1], **TOLERANCE[dtype], err_msg=f"{shape}")


@each_dtype
def test_integer_labels_and_one_hot_are_the_same(dtype: str) -> None:
    for classes in (4, 30):
        z, labels = numbers((9, classes), dtype), np.random.default_rng(1).integers(0, classes, 9)
        for smoothing in (0.0, 0.2):
            by_label = ops.cross_entropy(z, labels, label_smoothing=smoothing)
            one_hot = ops.cross_entropy(z, np.eye(classes, dtype=dtype)[labels], label_smoothing=smoothing)
            np.testing.assert_allclose(by_label, one_hot, **TOLERANCE[dtype])
        want = -np.mean(np.log(ops.softmax(z.astype("float64")))[np.arange(9), labels])
        np.testing.assert_allclose(ops.cross_entropy(z, labels), want, **TOLERANCE[dtype])


@each_dtype
@pytest.mark.parametrize("classes", [3, 40], ids=["side by side", "row by row"])
def test_cross_entropy_at_the_ends(classes: int, dtype: str) -> None:
    z = np.zeros((5, classes), dtype)
    z[0, 0], z[1, 0], z[2, 0], z[3, 1], z[4, 1] = 1e30, -1e30, -np.inf, -np.inf, np.nan
    rows, slope = computed("cross_entropy", z, np.zeros(5, int), None, labels=True, mean=False, label_smoothing=0.0)
    assert rows[0] == 0
    np.testing.assert_allclose(rows[1], 1e30, rtol=1e-6)
    assert rows[2] == np.inf
    np.testing.assert_allclose(rows[3], np.log(classes - 1), rtol=1e-6)
    assert np.isnan(rows[4])
    assert np.isnan(slope[4]).all()
    assert np.isfinite(slope[:4]).all()
    assert slope[3, 1] == 0


@each_dtype
@pytest.mark.parametrize("classes", [10, 40], ids=["side by side", "row by row"])
def test_labels_out_of_range(classes: int, dtype: str) -> None:
    z = numbers((20, classes), dtype)
    for kind, bad in [("int64", -1), ("int64", classes), ("int32", -(2**31)), ("int64", 2**40), ("uint8", 255)]:
        for row in (0, 13, 19):
            labels = np.zeros(20, kind)
            labels[row] = bad
            with pytest.raises(ValueError, match=r"cross_entropy: a class label is outside 0 \.\.\. classes - 1"):
                ops.cross_entropy(z, labels)
            with pytest.raises(IndexError, match="label"):
                expected("cross_entropy", z, labels, None, mean=True, label_smoothing=0.0)
            slope = guard.guarded_empty(z.shape, dtype)
            for n_threads in (1, 3):
                operands = (np.empty(20, dtype), slope, z, labels, None)
                status = executor.call(
                    kernels.address("cross_entropy", dtype), operands, 2, (1,), (0.0,), 0.0, n_threads
                )
                assert status == 1


# ------------------------------------------------------------------------------------------------------------ kernels


@each_dtype
@pytest.mark.parametrize("n_threads", [1, 2, 3, 4])
def test_threads_change_no_bit(n_threads: int, dtype: str) -> None:
    for shape in [(1, 3), (70, 1), (37, 5), (37, 16), (23, 17), (5, 300)]:
        z, t, w = numbers(shape, dtype), numbers(shape, dtype, seed=1), numbers(shape[:1], dtype, seed=2)
        labels = np.random.default_rng(2).integers(0, shape[1], shape[0])
        for name, operands, integers, parameters in [
            ("softmax", (z,), (0,), ()),
            ("softmax", (z,), (1,), ()),
            ("softmax_gradient", (t, z), (0,), ()),
            ("softmax_gradient", (t, z), (1,), ()),
            ("cross_entropy", (z, labels, w), (1,), (0.1,)),
            ("cross_entropy", (z, np.abs(t), None), (1,), (0.0,)),
            *[("pointwise_loss", (z, t, w), (kind, 1), (0.5,)) for kind in range(len(POINTWISE))],
        ]:
            results = []
            for team in (1, n_threads):
                rows, slope = np.full(shape[0], np.nan, dtype), np.full(shape, np.nan, dtype)
                outputs = (slope,) if "softmax" in name else (rows, slope)
                address = kernels.address(name, dtype)
                assert executor.call(address, (*outputs, *operands), len(outputs), integers, parameters, 0.0, team) == 0
                results.append(outputs)
            for alone, shared in zip(*results, strict=True):
                assert np.isfinite(alone).all()
                np.testing.assert_array_equal(alone, shared)


@each_dtype
def test_absent_outputs_change_nothing(dtype: str) -> None:
    for shape in [(37, 5), (23, 17), (5, 300)]:
        z, t = numbers(shape, dtype), np.abs(numbers(shape, dtype, seed=1))
        labels = np.random.default_rng(2).integers(0, shape[1], shape[0])
        for name, target, integers in [("cross_entropy", labels, (1,)), ("cross_entropy", t, (1,)),
                                       ("pointwise_loss", t, (0, 1)), ("pointwise_loss", t, (5, 1))]:  # fmt: skip
            address = kernels.address(name, dtype)
            both = np.empty(shape[0], dtype), np.empty(shape, dtype)
            rows, slope = np.empty(shape[0], dtype), np.empty(shape, dtype)
            for outputs in [both, (rows, None), (None, slope)]:
                assert executor.call(address, (*outputs, z, target, None), 2, integers, (0.1,)) == 0
            np.testing.assert_array_equal(rows, both[0])
            np.testing.assert_array_equal(slope, both[1])


@each_dtype
def test_nothing_beyond_the_last_element_is_touched(dtype: str) -> None:
    for shape in [(1, 1), (3, 5), (4, 16), (5, 17), (17, 1), (2, 300)]:
        z, t = (guard.guarded(numbers(shape, dtype, seed)) for seed in (0, 1))
        w, labels = guard.guarded(numbers(shape[:1], dtype)), guard.guarded(np.zeros(shape[0], np.int64))
        rows, slope = guard.guarded_empty(shape[:1], dtype), guard.guarded_empty(shape, dtype)
        ops.softmax(z, out=slope)
        ops.log_softmax(z, out=slope)
        dispatch("softmax_gradient", [t, z], slope)
        dispatch("cross_entropy", [z, labels, w], [rows, slope], labels=(1,), mean=True, label_smoothing=0.1)
        dispatch("cross_entropy", [z, t, w], [rows, slope], mean=True, label_smoothing=0.1)
        for name in POINTWISE:
            dispatch(name, [z, t, w], [rows, slope], mean=True, parameter=0.5)
            assert np.isfinite(slope).all()


DIGEST = """
import hashlib, numpy as np
from fastnn import ops
from fastnn.ops._dispatch import dispatch
digest, rng = hashlib.sha256(), np.random.default_rng(2)
for dtype in ("float32", "float64"):
    for shape in [(37, 1), (37, 5), (37, 16), (23, 17), (5, 300), (2, 5000), (700, 70)]:
        z, t = (rng.normal(size=shape).astype(dtype) for _ in range(2))
        labels = rng.integers(0, shape[1], shape[0])
        found = [ops.softmax(z), ops.log_softmax(z), ops.norm_squared(z), ops.sum(z), ops.sum(z, 0), ops.mean(z, 1)]
        found += [dispatch("softmax_gradient", [t, z]), dispatch("log_softmax_gradient", [t, z])]
        for target, positions in ((labels, (1,)), (t, ())):
            found += dispatch("cross_entropy", [z, target, t[:, 0]], labels=positions, mean=True, label_smoothing=0.1)
        for name in {names!r}:
            found += dispatch(name, [z, t, t[:, 0]], mean=True, parameter=0.5)
        for array in found:
            digest.update(np.ascontiguousarray(array).tobytes())
print(digest.hexdigest())
"""


def test_levels_with_fma_give_the_same_bits() -> None:
    if cpu.level() < 4 or kernels.LEVEL == "plain":
        pytest.skip("this machine lacks level v4, so there are no two levels with FMA to compare")
    digests = []
    for level in ("v3", "v4"):
        command = [sys.executable, "-c", DIGEST.format(names=list(POINTWISE))]
        environment = {**os.environ, "FASTNN_ISA": level}
        digests.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(digests[0]) > 60
    assert digests[0] == digests[1]


# ---------------------------------------------------------------------------------------------------------- gradients

SYMBOLIC = {name: (lambda p, t, w, name=name: getattr(ops, name)(p, t, weights=w)) for name in POINTWISE}
SYMBOLIC["softmax"] = lambda p, t, w: ops.mean_squared_error(ops.softmax(p), t, weights=w)
SYMBOLIC["log_softmax"] = lambda p, t, w: ops.quadratic(ops.log_softmax(p), t, weights=w)
SYMBOLIC["cross_entropy"] = lambda p, t, w: ops.cross_entropy(p, t, weights=w)
SYMBOLIC["cross_entropy, smoothed"] = lambda p, t, w: ops.cross_entropy(p, t, weights=w, label_smoothing=0.2)
SYMBOLIC["a multiple"] = lambda p, t, w: ops.hinge(p, t, weights=w) * 3.0 + ops.huber(p, t) / 2.0
SYMBOLIC["used twice"] = lambda p, t, w: ops.square(ops.cross_entropy(p, t, weights=w))
SYMBOLIC["rows used otherwise"] = lambda p, t, w: ops.max(dispatch("quadratic", [p, t, w], mean=True, parameter=0.0)[0])


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@both
@pytest.mark.parametrize("name", SYMBOLIC)
def test_gradients(name: str, backend: str, weighted: bool) -> None:
    rng = np.random.default_rng(7)
    p = rng.uniform(0.1, 2.0, (3, 5)) * rng.choice([-1, 1], (3, 5))
    t = targets_for(name, (3, 5), "float64")
    p, t = (p, np.abs(t)) if "cross_entropy" in name or name == "used twice" else (p, t)
    p[np.abs(np.abs(p - t) - 1) < 0.01] += 0.03  # away from the kinks of the Huber ...
    p[np.abs(p * t - 1) < 0.01] += 0.03  # ... and the hinge loss
    values = {"p": p, "t": t, "w": np.array([0.5, 2.0, 1.25])}
    with Graph("float64") as graph:
        symbols = [graph.input(key, value.shape) for key, value in values.items()]
        value = SYMBOLIC[name](symbols[0], symbols[1], symbols[2] if weighted else None)
        assert value.shape == ()
        (gradient,) = gradients(value, symbols[:1])
    programs.assert_gradient(graph, value, gradient, values, "p", backend, least=0.01)


@both
@pytest.mark.parametrize("rows", [1, 3, 20])
def test_extents(rows: int, backend: str) -> None:
    n = Extent("n", 20)
    z, labels = numbers((rows, 4), "float32"), np.random.default_rng(1).integers(0, 4, rows)
    with Graph("float32") as graph:
        logits = graph.input("z", (n, 4))
        value = ops.cross_entropy(logits, graph.input("labels", (n,), "int64"))
        error = ops.mean_squared_error(logits, logits * 0.5)
        (slope,) = gradients(value, [logits])
    values, sizes = {"z": z, "labels": labels}, {"n": rows}
    want = expected("cross_entropy", z, labels, None, mean=True, label_smoothing=0.0)
    got = programs.run(graph, value, values, sizes, backend)
    np.testing.assert_allclose(got, want[0].mean(), **TOLERANCE["float32"])
    np.testing.assert_allclose(programs.run(graph, slope, values, sizes, backend), want[1], **TOLERANCE["float32"])
    got = programs.run(graph, error, values, sizes, backend)
    np.testing.assert_allclose(got, (z**2).mean() / 4, **TOLERANCE["float32"])


def test_the_slope_costs_no_further_instruction() -> None:
    with Graph("float32") as graph:
        logits = graph.input("z", (Extent("n", 20), 4)) * 2.0
        value = ops.cross_entropy(logits, graph.input("labels", (Extent("n", 20),), "int64"))
        (slope,) = gradients(value, [logits])
    assert slope is not None
    instructions = plan(graph, {"value": value, "slope": slope}, {}).instructions
    assert [each.operation.name for each in instructions] == ["multiply", "cross_entropy", "mean"]


# ---------------------------------------------------------------------------------------------------------- wrong calls


def test_wrong_calls_say_what_is_wrong() -> None:
    p = np.zeros((4, 3))
    with pytest.raises(
        ValueError, match=r"quadratic: the target must have the prediction's shape \(4, 3\), got \(4,\)"
    ):
        ops.quadratic(p, np.zeros(4))
    with pytest.raises(ValueError, match=r"hinge: the prediction must have rows that are not empty, got shape \(\)"):
        ops.hinge(1.0, 1.0)
    with pytest.raises(ValueError, match=r"huber: weights must have shape \(4,\), one for each row, got \(3,\)"):
        ops.huber(p, p, weights=np.ones(3))
    with pytest.raises(ValueError, match="huber: delta must be positive, got -1"):
        ops.huber(p, p, delta=-1)
    with pytest.raises(ValueError, match=r"label_smoothing must be at least 0 and below 1, got 1\.0"):
        ops.cross_entropy(p, np.zeros(4, int), label_smoothing=1.0)
    with pytest.raises(ValueError, match=r"integer labels for logits \(4, 3\) must have shape \(4,\), got \(5,\)"):
        ops.cross_entropy(p, np.zeros(5, int))
    with pytest.raises(TypeError, match="labels must be whole numbers, got float64"):
        ops.cross_entropy(p, [0.0, 1.0, np.nan, 2.0])
    with pytest.raises(ValueError, match="must be integer labels of shape"):
        ops.cross_entropy(p, np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"logits must have shape \(rows, \.\.\., classes\), got \(3,\)"):
        ops.cross_entropy(np.zeros(3), np.array(0))
    with pytest.raises(ValueError, match="softmax: only the last axis"):
        ops.softmax(p, axis=0)
    with pytest.raises(ValueError, match="log_softmax: expected at least one dimension"):
        ops.log_softmax(1.0)
    with Graph() as graph:
        x = graph.input("x", (4, 3))
        slopes = ops.sum(dispatch("quadratic", [x, x * 2.0, None], mean=True, parameter=0.0)[1])
        with pytest.raises(NotImplementedError, match="second derivatives"):
            gradients(slopes, [x])

"""Arithmetic: functions of one tensor (exp, log, ...), of two with NumPy's broadcasting (add, ...), and `where`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from fastnn.graph.tensor import Node, Tensor, apply
from fastnn.ops._dispatch import Array, Operand, dispatch, expect_floats
from fastnn.ops._elementwise import COMBINATIONS, register_function
from fastnn.ops.activation import erf_reference
from fastnn.program import Attributes, Dimension, Kernel, Operation, Shape, Spec, register

# ------------------------------------------------------------------------------------------------- of one tensor

register_function("exp", lambda xp, x, attributes: xp.exp(x), lambda xp, dy, y, attributes: dy * y, cost=0.3)
register_function(
    "log", lambda xp, x, attributes: xp.log(x), lambda xp, dy, x, attributes: dy / x, slope_of="input", cost=0.5
)
register_function(
    "log1p",
    lambda xp, x, attributes: xp.log1p(x),
    lambda xp, dy, x, attributes: dy / (1 + x),
    slope_of="input",
    cost=0.5,
)
register_function(
    "erf",
    lambda xp, x, attributes: erf_reference(xp, x).astype(x.dtype),
    lambda xp, dy, x, attributes: dy * (2 / math.sqrt(math.pi)) * xp.exp(-x * x),
    slope_of="input",
    cost=0.6,
)
register_function("sqrt", lambda xp, x, attributes: xp.sqrt(x), lambda xp, dy, y, attributes: 0.5 * dy / y, cost=0.2)
register_function("square", lambda xp, x, attributes: x * x, lambda xp, dy, x, attributes: 2 * dy * x, slope_of="input")
register_function(
    "absolute",
    lambda xp, x, attributes: xp.abs(x),
    lambda xp, dy, x, attributes: dy * xp.sign(x),
    slope_of="input",
)
register_function("negative", lambda xp, x, attributes: -x, gradient=lambda node, dy: apply("negative", dy))
register_function("reciprocal", lambda xp, x, attributes: 1 / x, lambda xp, dy, y, attributes: -dy * (y * y), cost=0.2)
register_function("sign", lambda xp, x, attributes: xp.sign(x))


def exp(x: Operand, *, out: Array | None = None) -> Any:
    """The exponential function, within 2 units of the last place. Any shape; float32 or float64."""
    return dispatch("exp", [x], out)


def log(x: Operand, *, out: Array | None = None) -> Any:
    """The natural logarithm, within 2 units of the last place: -inf at 0, NaN below. Any shape; float32 or float64."""
    return dispatch("log", [x], out)


def log1p(x: Operand, *, out: Array | None = None) -> Any:
    """log(1 + x), exact also for small x, within 4 units of the last place. Any shape; float32 or float64."""
    return dispatch("log1p", [x], out)


def erf(x: Operand, *, out: Array | None = None) -> Any:
    """The error function, within 4 units of the last place. Any shape; float32 or float64."""
    return dispatch("erf", [x], out)


def sqrt(x: Operand, *, out: Array | None = None) -> Any:
    """The square root, correctly rounded; NaN below 0. Any shape; float32 or float64."""
    return dispatch("sqrt", [x], out)


def square(x: Operand, *, out: Array | None = None) -> Any:
    """The square, x * x. Any shape; float32 or float64."""
    return dispatch("square", [x], out)


def absolute(x: Operand, *, out: Array | None = None) -> Any:
    """|x|; its slope at 0 is 0. Any shape; float32 or float64."""
    return dispatch("absolute", [x], out)


def negative(x: Operand, *, out: Array | None = None) -> Any:
    """-x. Any shape; float32 or float64."""
    return dispatch("negative", [x], out)


def reciprocal(x: Operand, *, out: Array | None = None) -> Any:
    """1 / x. Any shape; float32 or float64."""
    return dispatch("reciprocal", [x], out)


def sign(x: Operand, *, out: Array | None = None) -> Any:
    """1, 0 or -1; NaN stays NaN. No gradient flows through it. Any shape; float32 or float64."""
    return dispatch("sign", [x], out)


# ------------------------------------------------------------------------------------------- of two or three tensors


def broadcast_shape(name: str, *shapes: Shape) -> Shape:
    """The shape that tensors of these shapes have together by NumPy's rule.

    Raises
    ------
    ValueError
        If two sizes along an axis differ and neither is 1.
    """
    ndim = max(len(shape) for shape in shapes)
    result: list[Dimension] = [1] * ndim
    for shape in shapes:
        for axis, size in enumerate(shape, ndim - len(shape)):
            if result[axis] == 1:
                result[axis] = size
            elif size not in (1, result[axis]):
                raise ValueError(f"{name}: shapes {' and '.join(str(shape) for shape in shapes)} do not fit together")
    return tuple(result)


def sum_to(gradient: Tensor, shape: Shape) -> Tensor:
    """The gradient of a tensor of this shape from that of its broadcast form: summed over the repeated axes."""
    if gradient.shape == shape:
        return gradient
    added = gradient.ndim - len(shape)
    stretched = [axis + added for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis + added] != 1]
    total = apply("sum", gradient, axes=(*range(added), *stretched), keepdims=added == 0)
    return total if total.shape == shape else apply("reshape", total, shape=shape)


def _infer(name: str) -> Callable[[Sequence[Spec | None], Attributes], Sequence[Spec]]:
    def infer(inputs: Sequence[Spec | None], attributes: Attributes) -> Sequence[Spec]:
        expect_floats(name, *inputs)
        specs = [spec for spec in inputs if spec is not None]
        return [Spec(broadcast_shape(name, *(spec.shape for spec in specs)), specs[0].dtype)]

    return infer


def _summed(rule: Callable[[Node, Tensor], Sequence[Tensor | None]]) -> Callable[..., Sequence[Tensor | None]]:
    """A gradient rule that need not think of broadcasting."""

    def backward(node: Node, gradients: Sequence[Tensor]) -> Sequence[Tensor | None]:
        each = zip(rule(node, gradients[0]), node.inputs, strict=True)
        return [None if g is None or tensor is None else sum_to(g, tensor.shape) for g, tensor in each]

    return backward


def _register_binary(name: str, reference: Callable[[ModuleType, Any, Any], Any],
                     rule: Callable[[Node, Tensor], Sequence[Tensor | None]] | None = None) -> None:  # fmt: skip
    register(
        Operation(
            name,
            infer=_infer(name),
            reference=lambda xp, inputs, attributes, run: [reference(xp, *inputs)],
            gradient=_summed(rule) if rule else None,
            kernel=Kernel("binary", integers=lambda attributes: (COMBINATIONS.index(name),)),
            eager="broadcast",
            cost=0.05,
        )
    )


def _divide_gradient(node: Node, dy: Tensor) -> Sequence[Tensor | None]:
    by_first = apply("divide", dy, node.inputs[1])
    return [by_first, apply("negative", apply("multiply", by_first, node.outputs[0]))]


def _choice_gradient(node: Node, dy: Tensor) -> Sequence[Tensor | None]:
    """Of maximum and minimum: to the operand that was taken, to the first where they are equal."""
    first, zero = apply("equal", node.inputs[0], node.outputs[0]), node.graph.constant(0.0)
    return [apply("where", first, dy, zero), apply("where", first, zero, dy)]


def _where_gradient(node: Node, dy: Tensor) -> Sequence[Tensor | None]:
    condition, zero = node.inputs[0], node.graph.constant(0.0)
    return [None, apply("where", condition, dy, zero), apply("where", condition, zero, dy)]


_register_binary("add", lambda xp, a, b: a + b, lambda node, dy: [dy, dy])
_register_binary("subtract", lambda xp, a, b: a - b, lambda node, dy: [dy, apply("negative", dy)])
_register_binary(
    "multiply",
    lambda xp, a, b: a * b,
    lambda node, dy: [apply("multiply", dy, node.inputs[1]), apply("multiply", dy, node.inputs[0])],
)
_register_binary("divide", lambda xp, a, b: a / b, _divide_gradient)
_register_binary("maximum", lambda xp, a, b: xp.maximum(a, b), _choice_gradient)
_register_binary("minimum", lambda xp, a, b: xp.minimum(a, b), _choice_gradient)
_register_binary("less", lambda xp, a, b: (a < b).astype(a.dtype))
_register_binary("less_equal", lambda xp, a, b: (a <= b).astype(a.dtype))
_register_binary("equal", lambda xp, a, b: (a == b).astype(a.dtype))
register(
    Operation(
        "where",
        infer=_infer("where"),
        reference=lambda xp, inputs, attributes, run: [xp.where(inputs[0] != 0, inputs[1], inputs[2])],
        gradient=_summed(_where_gradient),
        kernel=Kernel("where"),
        eager="broadcast",
        cost=0.05,
    )
)


def add(a: Operand, b: Operand, *, out: Array | None = None) -> Any:
    """The sum a + b, broadcast as in NumPy; so are all functions of two tensors here.

    Raises
    ------
    ValueError
        If the shapes do not fit together, here and in the functions below.
    """
    return dispatch("add", [a, b], out)


def subtract(a: Operand, b: Operand, *, out: Array | None = None) -> Any:
    """The difference a - b."""
    return dispatch("subtract", [a, b], out)


def multiply(a: Operand, b: Operand, *, out: Array | None = None) -> Any:
    """The product a * b, element by element."""
    return dispatch("multiply", [a, b], out)


def divide(a: Operand, b: Operand, *, out: Array | None = None) -> Any:
    """The quotient a / b, element by element."""
    return dispatch("divide", [a, b], out)


def maximum(a: Operand, b: Operand, *, out: Array | None = None) -> Any:
    """The larger of a and b; NaN where either is. Where they are equal the gradient goes to a."""
    return dispatch("maximum", [a, b], out)


def minimum(a: Operand, b: Operand, *, out: Array | None = None) -> Any:
    """The smaller of a and b; NaN where either is. Where they are equal the gradient goes to a."""
    return dispatch("minimum", [a, b], out)


def less(a: Operand, b: Operand, *, out: Array | None = None) -> Any:
    """1 where a < b, else 0, as floats. No gradient flows through a comparison."""
    return dispatch("less", [a, b], out)


def less_equal(a: Operand, b: Operand, *, out: Array | None = None) -> Any:
    """1 where a <= b, else 0, as floats."""
    return dispatch("less_equal", [a, b], out)


def greater(a: Operand, b: Operand, *, out: Array | None = None) -> Any:
    """1 where a > b, else 0, as floats."""
    return dispatch("less", [b, a], out)


def greater_equal(a: Operand, b: Operand, *, out: Array | None = None) -> Any:
    """1 where a >= b, else 0, as floats."""
    return dispatch("less_equal", [b, a], out)


def equal(a: Operand, b: Operand, *, out: Array | None = None) -> Any:
    """1 where a == b, else 0, as floats."""
    return dispatch("equal", [a, b], out)


def where(condition: Operand, a: Operand, b: Operand, *, out: Array | None = None) -> Any:
    """Takes a where the condition is not 0, b elsewhere, all broadcast. No gradient flows to the condition."""
    return dispatch("where", [condition, a, b], out)

"""How elementwise functions of one tensor are registered: the function and its slope, as two operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from fastnn.graph.tensor import Node, Tensor, apply
from fastnn.ops._dispatch import expect_floats
from fastnn.program import Attributes, Kernel, Operation, Spec, register

# The codes of kernels/elementwise.pxi are the places in these lists.
FUNCTIONS = (
    "identity", "step", "relu", "leaky_relu", "elu", "sigmoid", "tanh", "softplus", "silu", "gelu", "gelu_tanh",
    "exp", "log", "log1p", "sqrt", "square", "absolute", "negative", "reciprocal", "sign", "erf",
)  # fmt: skip
COMBINATIONS = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "less", "less_equal", "equal")
CODES = {name: code for code, name in enumerate(FUNCTIONS)}

Function = Callable[[ModuleType, Any, Attributes], Any]  # (xp, x, attributes) -> y
Slope = Callable[[ModuleType, Any, Any, Attributes], Any]  # (xp, dy, s, attributes) -> dx


def register_function(name: str, function: Function, slope: Slope | None = None, *, slope_of: str = "output",
                      parameter: str | None = None, code: Callable[[Attributes], str] | None = None,
                      gradient: Callable[[Node, Tensor], Tensor] | None = None, view: bool = False,
                      cost: float = 0.05) -> None:  # fmt: skip
    """Registers y = f(x) as operation `name` and dx = dy f'(s) as `<name>_slope`.

    Parameters
    ----------
    name
        Also the function's name in FUNCTIONS, unless there are several to choose from: then `code` gives it.
    function, slope
        Both in terms of an array module. Without a slope no gradient flows, unless `gradient` gives it.
    slope_of
        What `s` is: "output" (y) or "input" (x).
    parameter
        The attribute that the kernel takes as its real parameter.
    code
        The function's name in FUNCTIONS, from the attributes.
    gradient
        Of an operation whose gradient needs no slope of its own.
    view
        y is x, and a Program need not compute it.
    cost
        Nanoseconds an element on one thread.
    """
    integers, numbers = _codes(name, code), _parameters(parameter)
    slopes = _slope_rule(name, slope_of) if slope else None
    register(
        Operation(
            name,
            infer=_shape_rule(name),
            reference=lambda xp, inputs, attributes, run: [function(xp, inputs[0], attributes)],
            gradient=slopes if gradient is None else lambda node, gradients: [gradient(node, gradients[0])],
            kernel=Kernel("unary", integers=integers, numbers=numbers),
            epilogue=None if view else "forward",
            view=view,
            eager="broadcast",
            cost=cost,
        )
    )
    if slope is not None:
        register(
            Operation(
                f"{name}_slope",
                infer=_shape_rule(name),
                reference=lambda xp, inputs, attributes, run: [slope(xp, inputs[0], inputs[1], attributes)],
                kernel=Kernel("slope", integers=integers, numbers=numbers),
                epilogue="slope",
                eager="broadcast",
                cost=cost,
            )
        )


def _shape_rule(name: str) -> Callable[[Sequence[Spec | None], Attributes], Sequence[Spec]]:
    """One tensor's own shape, for the function and for its slope."""

    def infer(inputs: Sequence[Spec | None], attributes: Attributes) -> Sequence[Spec]:
        expect_floats(name, *inputs)
        first, *others = (spec for spec in inputs if spec is not None)
        if any(spec.shape != first.shape for spec in others):
            raise ValueError(f"{name}_slope: both operands must have one shape, got {first.shape}, {others[0].shape}")
        return [first]

    return infer


def _slope_rule(name: str, slope_of: str) -> Callable[[Node, Sequence[Tensor]], Sequence[Tensor]]:
    """The gradient that needs what went in or came out: one more operation."""

    def backward(node: Node, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        saved = node.outputs[0] if slope_of == "output" else node.inputs[0]
        return [apply(f"{name}_slope", gradients[0], saved, **node.attributes)]

    return backward


def _codes(name: str, code: Callable[[Attributes], str] | None) -> Callable[[Attributes], tuple[int, ...]]:
    """The integer that the kernel takes: which function it is."""
    return lambda attributes: (CODES[code(attributes) if code else name],)


def _parameters(parameter: str | None) -> Callable[[Attributes], tuple[float, ...]]:
    """The real numbers that the kernel takes."""
    return lambda attributes: (attributes[parameter],) if parameter else ()

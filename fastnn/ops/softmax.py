"""Softmax and its logarithm over the last axis, each with its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn.graph.tensor import apply
from fastnn.ops._dispatch import Array, Operand, dispatch, expect_floats
from fastnn.ops.reduction import normalise_axes, rank
from fastnn.program import Attributes, Kernel, Operation, Spec, register

SOFTMAX, LOG_SOFTMAX = range(2)  # kinds of the kernels "softmax" and "softmax_gradient"
ARITHMETIC = 16  # floating-point operations an element, roughly: most of them are the exponential's


def log_softmax_reference(xp: Any, x: Any) -> Any:
    """Logarithm of softmax(x) over the last axis."""
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def softmax_reference(xp: Any, x: Any) -> Any:
    """Softmax of x over the last axis."""
    powers = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return powers / xp.sum(powers, axis=-1, keepdims=True)


def _reference_softmax_gradient(xp: Any, inputs: Sequence[Any], attributes: Attributes, run: Any) -> list[Any]:
    dy, y = inputs
    return [y * (dy - xp.sum(dy * y, axis=-1, keepdims=True))]


def _reference_log_softmax_gradient(xp: Any, inputs: Sequence[Any], attributes: Attributes, run: Any) -> list[Any]:
    dy, y = inputs
    return [dy - xp.exp(y) * xp.sum(dy, axis=-1, keepdims=True)]


def _register_softmax(name: str, kind: int, forward: Any, reference_gradient: Any) -> None:
    def infer(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
        expect_floats(name, *inputs)
        if not inputs[0].shape or inputs[0].shape[-1] == 0:
            raise ValueError(f"{name}: expected at least one dimension and one class, got shape {inputs[0].shape}")
        return [inputs[0]]

    register(
        Operation(
            name,
            infer=infer,
            reference=lambda xp, inputs, attributes, run: [forward(xp, inputs[0])],
            gradient=lambda node, gradients: [apply(f"{name}_gradient", gradients[0], node.outputs[0])],
            kernel=Kernel("softmax", integers=lambda attributes: (kind,)),
            flops=lambda inputs, outputs, attributes: ARITHMETIC * inputs[0].size if inputs[0] else 0,
            cost=0.1,
        )
    )
    register(
        Operation(
            f"{name}_gradient",
            infer=lambda inputs, attributes: [inputs[0]] if inputs[0] else [],
            reference=reference_gradient,
            kernel=Kernel("softmax_gradient", integers=lambda attributes: (kind,)),
            flops=lambda inputs, outputs, attributes: 4 * inputs[0].size if inputs[0] else 0,
        )
    )


_register_softmax("softmax", SOFTMAX, softmax_reference, _reference_softmax_gradient)
_register_softmax("log_softmax", LOG_SOFTMAX, log_softmax_reference, _reference_log_softmax_gradient)


def _last_axis(name: str, x: Any, axis: int) -> None:
    if axis == -1:
        return
    ndim = rank(name, x)
    if ndim and normalise_axes(name, axis, ndim) != (ndim - 1,):
        raise ValueError(f"{name}: only the last axis (-1) is supported, got axis {axis} of {ndim}: transpose first")


def softmax(x: Operand, axis: int = -1, *, out: Array | None = None) -> Any:
    """exp(x) / sum exp(x) over the last axis, computed without overflow; a row with NaN or +inf becomes NaN.

    Raises
    ------
    ValueError
        If the axis is not the last one, or empty.
    """
    _last_axis("softmax", x, axis)
    return dispatch("softmax", [x], out)


def log_softmax(x: Operand, axis: int = -1, *, out: Array | None = None) -> Any:
    """Logarithm of softmax, x - log sum exp(x), over the last axis, computed without overflow.

    A row with NaN or +inf becomes NaN.

    Raises
    ------
    ValueError
        If the axis is not the last one, or empty.
    """
    _last_axis("log_softmax", x, axis)
    return dispatch("log_softmax", [x], out)

"""Reductions over axes (sum, mean, maximum, argmax, sum of squares) and the broadcast that is their gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from operator import index
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn.graph.tensor import Symbol, Tensor, apply
from fastnn.ops._dispatch import Array, Operand, as_array, dispatch, expect_floats
from fastnn.program import Attributes, Extent, Kernel, Operation, Shape, Spec, cast, register

Axes = int | Sequence[int] | None

SUM, MEAN, MAXIMUM, SUM_OF_SQUARES = range(4)  # kinds of the kernel "reduce"
MANY_ROWS = 256  # are shared among threads row by row


def normalise_axes(name: str, axis: Axes, ndim: int) -> tuple[int, ...]:
    """Axes as an ascending tuple of non-negative numbers; None means all.

    Raises
    ------
    TypeError
        If an axis is no whole number.
    ValueError
        If an axis does not exist or comes twice.
    """
    if axis is None:
        return _all_axes(ndim)
    if type(axis) is int and 0 <= axis < ndim:  # most calls' way, a microsecond shorter
        return (axis,)
    axes = [index(each) for each in (axis if isinstance(axis, Sequence) else (axis,))]
    for each in axes:
        if not -ndim <= each < ndim:
            raise ValueError(f"{name}: axis {each} does not exist in a tensor with {ndim} dimensions")
    found = tuple(sorted(each % ndim for each in axes))
    if len(set(found)) < len(found):
        raise ValueError(f"{name}: axis {axis} names a dimension twice")
    return found


@cache
def _all_axes(ndim: int) -> tuple[int, ...]:
    return tuple(range(ndim))


def rank(name: str, value: Any) -> int:
    """Number of dimensions of what operation `name` is called with: a symbol, a parameter or an array."""
    if type(value) is np.ndarray:  # most calls' way, a third of a microsecond shorter
        return value.ndim
    return len(value.shape) if isinstance(value, Symbol) else as_array(value, name).ndim


# The functions below take NumPy's names, so this file uses none of the built-in ones that they hide.


def _mask(axes: Sequence[int]) -> int:
    mask = 0
    for axis in axes:
        mask |= 1 << axis
    return mask


def _reduced(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    if keepdims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _infer_reduction(name: str):  # type: ignore[no-untyped-def]
    def infer(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
        expect_floats(name, *inputs)
        shape = inputs[0].shape
        if name == "max" and any(shape[axis] == 0 for axis in attributes["axes"]):
            raise ValueError(f"max: axes {attributes['axes']} of shape {shape} are empty and have no largest element")
        return [Spec(_reduced(shape, attributes["axes"], attributes["keepdims"]), inputs[0].dtype)]

    return infer


def _broadcast_back(mean: bool):  # type: ignore[no-untyped-def]
    def gradient(node: Any, gradients: Sequence[Tensor]) -> list[Tensor]:
        missing = () if node.attributes["keepdims"] else node.attributes["axes"]
        return [apply("broadcast_to", gradients[0], shape=node.inputs[0].shape, missing=missing, divide=mean)]

    return gradient


def _max_gradient(node: Any, gradients: Sequence[Tensor]) -> list[Tensor]:
    axes = node.attributes["axes"]
    return [apply("max_gradient", gradients[0], node.inputs[0], node.outputs[0], axes=axes)]


def _kernel(kind: int, mask: Callable[[Attributes], int]) -> Kernel:
    """A kind of `reduce`, over the axes in a mask."""

    def scratch(operands: Sequence[Spec | None], attributes: Attributes) -> int:
        """A number for each chunk, where threads share those: few long rows, or columns of a large x."""
        y, x = operands[:2]
        if y is None or x is None or not y.size:
            return 0
        reduced = [mask(attributes) >> axis & 1 for axis in range(len(x.shape))]
        tiles, length = kernels.tiles(x.dtype), x.size // y.size
        if reduced == sorted(reduced) and y.size < MANY_ROWS and length > tiles["SUM_CHUNK"]:
            return y.nbytes * math.ceil(length / tiles["SUM_CHUNK"])
        if reduced == sorted(reduced, reverse=True) and x.size > tiles["L2_REALS"] and length >= 4 * tiles["ROW_CHUNK"]:
            return y.nbytes * math.ceil(length / tiles["ROW_CHUNK"])
        return 0

    return Kernel("reduce", lambda attributes: (kind, mask(attributes)), scratch=scratch, closes=True)


def _with_update(inputs: Sequence[Spec | None], attributes: Attributes) -> str | None:
    """A bias's gradient can go straight into the bias if it sums the columns of something, and nothing else."""
    x = inputs[0]
    if x is None or attributes["keepdims"] or attributes["axes"] != tuple(range(len(x.shape) - 1)):
        return None
    return "sum_update"


def _reference_update(xp: Any, inputs: Sequence[Any], attributes: Attributes, run: Any) -> list[Any]:
    x, bias = inputs
    rate = run["learning_rate"] * attributes["rate_scale"]
    return [bias - cast(rate, bias.dtype) * xp.sum(x, axis=attributes["axes"])]


def _infer_update(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
    expect_floats("sum_update", *inputs)
    x, bias = inputs
    if x.shape[-1:] != bias.shape:
        raise ValueError(f"sum_update: the bias must have shape {x.shape[-1:]}, got {bias.shape}")
    return [bias]


register(
    Operation(
        "sum_update",
        infer=_infer_update,
        reference=_reference_update,
        slots=lambda attributes: ("learning_rate",),
        kernel=Kernel(
            "sum_update",
            integers=lambda attributes: (_mask(attributes["axes"]),),
            numbers=lambda attributes: (attributes["rate_scale"], 0.0, 0.0, 0.0, math.inf, 0.0, 0.0, 0.0),
        ),
        flops=lambda inputs, outputs, attributes: inputs[0].size + 2 * outputs[0].size,  # type: ignore[union-attr]
        in_place=((0, 1),),
        cost=0.1,
    )
)


def _register_reduction(name: str, kind: int, reference: Any, gradient: Any) -> None:
    register(
        Operation(
            name,
            infer=_infer_reduction(name),
            reference=reference,
            gradient=gradient,
            kernel=_kernel(kind, lambda attributes: _mask(attributes["axes"])),
            flops=lambda inputs, outputs, attributes: inputs[0].size if inputs[0] else 0,
            with_update=_with_update if kind == SUM else lambda inputs, attributes: None,
            cost=0.1,
        )
    )


def _numpy_reduction(function: str):  # type: ignore[no-untyped-def]
    def reference(xp: Any, inputs: Sequence[Any], attributes: Attributes, run: Any) -> list[Any]:
        return [getattr(xp, function)(inputs[0], axis=attributes["axes"], keepdims=attributes["keepdims"])]

    return reference


def _sum_of_squares_gradient(node: Any, gradients: Sequence[Tensor]) -> list[Tensor]:
    return [apply("multiply", node.inputs[0], apply("multiply", gradients[0], 2.0))]


_register_reduction("sum", SUM, _numpy_reduction("sum"), _broadcast_back(mean=False))
_register_reduction("mean", MEAN, _numpy_reduction("mean"), _broadcast_back(mean=True))
_register_reduction("max", MAXIMUM, _numpy_reduction("max"), _max_gradient)


def _infer_norm_squared(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
    expect_floats("norm_squared", *inputs)
    return [Spec((), inputs[0].dtype)]


register(
    Operation(
        "norm_squared",
        infer=_infer_norm_squared,
        reference=lambda xp, inputs, attributes, run: [xp.sum(inputs[0] * inputs[0])],
        gradient=_sum_of_squares_gradient,
        kernel=_kernel(SUM_OF_SQUARES, lambda attributes: -1),
        flops=lambda inputs, outputs, attributes: 2 * inputs[0].size if inputs[0] else 0,
        cost=0.1,
    )
)


def _reference_max_gradient(xp: Any, inputs: Sequence[Any], attributes: Attributes, run: Any) -> list[Any]:
    """Moves the reduced axes to the end, merges them, and marks the first maximum (or NaN) of each row."""
    dy, x, _ = inputs
    axes = attributes["axes"]
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    order = [*kept, *axes]
    moved = xp.transpose(x, order)
    rows = moved.reshape(*moved.shape[: len(kept)], -1)
    first = xp.argmax(rows, axis=-1)[..., None]
    dx = xp.where(xp.arange(rows.shape[-1]) == first, dy.reshape(first.shape), xp.zeros((), x.dtype))
    return [xp.transpose(dx.reshape(moved.shape), np.argsort(order).tolist())]


def _infer_max_gradient(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
    return [inputs[1]]


register(
    Operation(
        "max_gradient",
        infer=_infer_max_gradient,
        reference=_reference_max_gradient,
        kernel=Kernel("max_gradient", integers=lambda attributes: (_mask(attributes["axes"]),)),
    )
)


def _infer_argmax(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
    expect_floats("argmax", *inputs)
    shape, axis = inputs[0].shape, attributes["axis"]
    if shape[axis] == 0:
        raise ValueError(f"argmax: axis {axis} of shape {shape} is empty and has no largest element")
    return [Spec(_reduced(shape, (axis,), False), "int64")]


register(
    Operation(
        "argmax",
        infer=_infer_argmax,
        reference=lambda xp, inputs, attributes, run: [xp.argmax(inputs[0], axis=attributes["axis"])],
        kernel=Kernel("argmax", integers=lambda attributes: (_mask((attributes["axis"],)),)),
        flops=lambda inputs, outputs, attributes: inputs[0].size if inputs[0] else 0,
    )
)


def _infer_broadcast(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
    expect_floats("broadcast_to", *inputs)
    shape, missing = attributes["shape"], attributes["missing"]
    present = [size for axis, size in enumerate(shape) if axis not in missing]
    if len(present) != len(inputs[0].shape) or any(
        own not in (1, size) for own, size in zip(inputs[0].shape, present, strict=True)
    ):
        raise ValueError(f"broadcast_to: shape {inputs[0].shape} cannot be repeated to fill shape {shape}")
    return [Spec(tuple(shape), inputs[0].dtype)]


def _reference_broadcast(xp: Any, inputs: Sequence[Any], attributes: Attributes, run: Any) -> list[Any]:
    shape, x = attributes["shape"], inputs[0]
    own = iter(x.shape)
    expanded = x.reshape([1 if axis in attributes["missing"] else next(own) for axis in range(len(shape))])
    if attributes["divide"]:
        expanded = expanded / x.dtype.type(np.prod(shape, dtype=np.int64) / x.size)
    return [xp.broadcast_to(expanded, shape)]


def _broadcast_gradient(node: Any, gradients: Sequence[Tensor]) -> list[Tensor]:
    own, missing = node.inputs[0].shape, node.attributes["missing"]
    name = "mean" if node.attributes["divide"] else "sum"
    present = [axis for axis in range(len(node.attributes["shape"])) if axis not in missing]
    repeated = tuple(
        axis for axis, size in zip(present, own, strict=True) if size == 1 and node.attributes["shape"][axis] != 1
    )
    gradient = gradients[0]
    if repeated:
        gradient = apply(name, gradient, axes=repeated, keepdims=True)
    if missing:
        gradient = apply(name, gradient, axes=tuple(missing), keepdims=False)
    return [gradient]


register(
    Operation(
        "broadcast_to",
        infer=_infer_broadcast,
        reference=_reference_broadcast,
        gradient=_broadcast_gradient,
        kernel=Kernel("broadcast", integers=lambda attributes: (_mask(attributes["missing"]), attributes["divide"])),
    )
)


def _reduce(name: str, x: Operand, axis: Axes, keepdims: bool, out: Array | None) -> Any:
    return dispatch(name, [x], out, axes=normalise_axes(name, axis, rank(name, x)), keepdims=bool(keepdims))


def sum(x: Operand, axis: Axes = None, *, keepdims: bool = False, out: Array | None = None) -> Any:
    """Sum over one axis, several, or all (None); axes that stay keep their order.

    Raises
    ------
    ValueError
        If an axis does not exist or comes twice.
    """
    return _reduce("sum", x, axis, keepdims, out)


def mean(x: Operand, axis: Axes = None, *, keepdims: bool = False, out: Array | None = None) -> Any:
    """Arithmetic mean over one axis, several, or all (None); NaN where there is nothing to average.

    Raises
    ------
    ValueError
        If an axis does not exist or comes twice.
    """
    return _reduce("mean", x, axis, keepdims, out)


def max(x: Operand, axis: Axes = None, *, keepdims: bool = False, out: Array | None = None) -> Any:
    """Largest element along one axis, several, or all (None); NaN if there is one. The gradient goes to the first.

    Raises
    ------
    ValueError
        If an axis does not exist, comes twice or is empty.
    """
    return _reduce("max", x, axis, keepdims, out)


def argmax(x: Operand, axis: int = -1, *, out: Array | None = None) -> Any:
    """Index (int64) of the first largest element along an axis, or of the first NaN.

    Raises
    ------
    ValueError
        If the axis does not exist or is empty.
    """
    return dispatch("argmax", [x], out, axis=normalise_axes("argmax", axis, rank("argmax", x))[0])


def norm_squared(x: Operand, *, out: Array | None = None) -> Any:
    """Sum of the squares of all elements: a tensor without dimensions."""
    return dispatch("norm_squared", [x], out)


def broadcast_to(x: Operand, shape: Sequence[int | Extent], *, out: Array | None = None) -> Any:
    """Repeats x to fill a shape, by NumPy's rules: missing axes come first, and axes of one element are repeated.

    Raises
    ------
    ValueError
        If x cannot fill the shape.
    """
    missing = tuple(range(len(shape) - rank("broadcast_to", x)))
    return dispatch("broadcast_to", [x], out, shape=tuple(shape), missing=missing, divide=False)

"""Operations that only move elements: reshape, flatten, transpose, slice and concatenate."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from fastnn.graph.tensor import Symbol, Tensor, apply
from fastnn.ops._dispatch import Array, Operand, as_array, dispatch, expect_floats
from fastnn.ops.reduction import normalise_axes, rank
from fastnn.program import Attributes, Dimension, Extent, Kernel, Operation, Shape, Spec, register

MOST_PARTS = 8  # inputs of one concatenation


def resolve_shape(old: Shape, new: Sequence[Dimension]) -> Shape:
    """A new shape for the elements of an old one, its -1 replaced by what is left over.

    Extents are only known at run time: each has to appear on both sides, or be what the -1 stands for.

    Raises
    ------
    ValueError
        If the two shapes cannot hold the same elements.
    """
    refusal = f"reshape: shape {tuple(old)} cannot become {tuple(new)}"
    free = [axis for axis, size in enumerate(new) if size == -1]
    if len(free) > 1:
        raise ValueError(f"{refusal}: only one dimension may be -1")
    if any(not isinstance(size, Extent) and size < -1 for size in new):
        raise ValueError(f"{refusal}: a dimension is negative")
    extents = [size for size in old if isinstance(size, Extent)]
    for size in new:
        if isinstance(size, Extent):
            if size not in extents:
                raise ValueError(f"{refusal}: {size!r} is no dimension of the former")
            extents.remove(size)
    have = prod(size for size in old if not isinstance(size, Extent))
    want = prod(size for size in new if not isinstance(size, Extent) and size != -1)
    if free and not extents and want and have % want == 0:
        return tuple(have // want if size == -1 else size for size in new)
    if free and len(extents) == 1 and have == want:
        return tuple(extents[0] if size == -1 else size for size in new)
    if not free and not extents and have == want:
        return tuple(new)
    raise ValueError(refusal)


def _infer_reshape(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
    return [Spec(resolve_shape(inputs[0].shape, attributes["shape"]), inputs[0].dtype)]


register(
    Operation(
        "reshape",
        infer=_infer_reshape,
        reference=lambda xp, inputs, attributes, run: [inputs[0].reshape(attributes["shape"])],
        gradient=lambda node, gradients: [apply("reshape", gradients[0], shape=node.inputs[0].shape)],
        kernel=Kernel("copy"),
        flops=lambda inputs, outputs, attributes: 0,
        view=True,
    )
)


def _infer_transpose(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
    expect_floats("transpose", *inputs)
    shape, axes = inputs[0].shape, attributes["axes"]
    if sorted(axes) != list(range(len(shape))):
        raise ValueError(f"transpose: axes {axes} are not the dimensions of shape {shape}, each once")
    return [Spec(tuple(shape[axis] for axis in axes), inputs[0].dtype)]


def _transpose_gradient(node: Any, gradients: Sequence[Tensor]) -> list[Tensor]:
    axes = node.attributes["axes"]
    return [apply("transpose", gradients[0], axes=tuple(axes.index(axis) for axis in range(len(axes))))]


register(
    Operation(
        "transpose",
        infer=_infer_transpose,
        reference=lambda xp, inputs, attributes, run: [xp.transpose(inputs[0], attributes["axes"])],
        gradient=_transpose_gradient,
        kernel=Kernel("permute", integers=lambda attributes: attributes["axes"]),
        flops=lambda inputs, outputs, attributes: 0,
    )
)


def _with_axis(shape: Shape, axis: int, size: Dimension) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _infer_slice(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
    expect_floats("slice", *inputs)
    shape, axis, start, stop = inputs[0].shape, attributes["axis"], attributes["start"], attributes["stop"]
    size = shape[axis]
    if isinstance(size, Extent):
        raise ValueError(f"slice: axis {axis} of shape {shape} has a size that is only known at run time")
    if not 0 <= start <= stop <= size:
        raise ValueError(f"slice: {start}:{stop} does not lie within axis {axis} of shape {shape}")
    return [Spec(_with_axis(shape, axis, stop - start), inputs[0].dtype)]


def _window(attributes: Attributes, ndim: int) -> tuple[slice, ...]:
    window = [slice(None)] * ndim
    window[attributes["axis"]] = slice(attributes["start"], attributes["stop"])
    return tuple(window)


def _slice_gradient(node: Any, gradients: Sequence[Tensor]) -> list[Tensor]:
    source = node.inputs[0]
    return [apply("slice_gradient", gradients[0], size=source.shape[node.attributes["axis"]], **node.attributes)]


register(
    Operation(
        "slice",
        infer=_infer_slice,
        reference=lambda xp, inputs, attributes, run: [inputs[0][_window(attributes, inputs[0].ndim)]],
        gradient=_slice_gradient,
        kernel=Kernel("slice", integers=lambda attributes: (attributes["axis"], attributes["start"])),
        flops=lambda inputs, outputs, attributes: 0,
    )
)


def _infer_slice_gradient(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
    return [Spec(_with_axis(inputs[0].shape, attributes["axis"], attributes["size"]), inputs[0].dtype)]


def _reference_slice_gradient(xp: Any, inputs: Sequence[Any], attributes: Attributes, run: Any) -> list[Any]:
    dy = inputs[0]
    dx = xp.zeros(_with_axis(dy.shape, attributes["axis"], attributes["size"]), dy.dtype)
    dx[_window(attributes, dy.ndim)] = dy
    return [dx]


register(
    Operation(
        "slice_gradient",
        infer=_infer_slice_gradient,
        reference=_reference_slice_gradient,
        gradient=lambda node, gradients: [
            apply("slice", gradients[0], **{key: node.attributes[key] for key in ("axis", "start", "stop")})
        ],
        kernel=Kernel("slice_gradient", integers=lambda attributes: (attributes["axis"], attributes["start"])),
        flops=lambda inputs, outputs, attributes: 0,
    )
)


def _infer_concatenate(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
    expect_floats("concatenate", *inputs)
    axis, shapes = attributes["axis"], [spec.shape for spec in inputs]
    if any(_with_axis(shape, axis, 0) != _with_axis(shapes[0], axis, 0) for shape in shapes):
        raise ValueError(f"concatenate: shapes {', '.join(map(str, shapes))} differ elsewhere than in axis {axis}")
    sizes = [shape[axis] for shape in shapes]
    if any(isinstance(size, Extent) for size in sizes):
        raise ValueError(f"concatenate: axis {axis} of shape {shapes[0]} has a size that is only known at run time")
    return [Spec(_with_axis(shapes[0], axis, sum(sizes)), inputs[0].dtype)]


def _concatenate_gradient(node: Any, gradients: Sequence[Tensor]) -> list[Tensor]:
    axis, start, parts = node.attributes["axis"], 0, []
    for tensor in node.inputs:
        stop = start + tensor.shape[axis]
        parts.append(apply("slice", gradients[0], axis=axis, start=start, stop=stop))
        start = stop
    return parts


register(
    Operation(
        "concatenate",
        infer=_infer_concatenate,
        reference=lambda xp, inputs, attributes, run: [xp.concatenate(inputs, axis=attributes["axis"])],
        gradient=_concatenate_gradient,
        kernel=Kernel("concatenate", integers=lambda attributes: (attributes["axis"],)),
        flops=lambda inputs, outputs, attributes: 0,
    )
)


def _shape(x: Any) -> Shape:
    return tuple(x.shape) if isinstance(x, Symbol) else as_array(x).shape


def reshape(x: Operand, shape: Sequence[Dimension], *, out: Array | None = None) -> Any:
    """The elements of x, in the same order, under another shape; one dimension may be -1.

    Raises
    ------
    ValueError
        If the shape cannot hold exactly these elements.
    """
    return dispatch("reshape", [x], out, shape=resolve_shape(_shape(x), tuple(shape)))


def flatten(x: Operand, *, out: Array | None = None) -> Any:
    """x[n, ...] as x[n, m]: all dimensions but the first merged into one.

    Raises
    ------
    ValueError
        If x has no dimension.
    """
    shape = _shape(x)
    if not shape:
        raise ValueError("flatten: expected at least one dimension, got a single number")
    if any(isinstance(size, Extent) for size in shape[1:]):
        raise ValueError(f"flatten: only the first dimension of shape {shape} may be known at run time alone")
    rest = prod(size for size in shape[1:] if not isinstance(size, Extent))
    return dispatch("reshape", [x], out, shape=(shape[0], rest))


def transpose(x: Operand, axes: Sequence[int] | None = None, *, out: Array | None = None) -> Any:
    """Puts the axes of x in another order; reversed if none is given.

    Raises
    ------
    ValueError
        If `axes` is not each dimension of x once.
    """
    ndim = rank("transpose", x)
    order = range(ndim)[::-1] if axes is None else [axis + ndim if axis < 0 else axis for axis in axes]
    return dispatch("transpose", [x], out, axes=tuple(order))


def concatenate(parts: Sequence[Operand], axis: int = -1, *, out: Array | None = None) -> Any:
    """Up to eight tensors, one behind the other along an axis.

    Raises
    ------
    ValueError
        If there is none or more than eight, the axis does not exist, or other dimensions differ.
    """
    if not 1 <= len(parts) <= MOST_PARTS:
        raise ValueError(f"concatenate: expected 1 to {MOST_PARTS} tensors, got {len(parts)}")
    ranks = {rank("concatenate", part) for part in parts}
    if len(ranks) > 1:
        raise ValueError(f"concatenate: tensors must have one number of dimensions, got {sorted(ranks)}")
    return dispatch("concatenate", parts, out, axis=normalise_axes("concatenate", axis, ranks.pop())[0])

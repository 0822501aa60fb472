"""Layers that compute nothing: they reshape and join."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from numbers import Integral

from fastnn import ops
from fastnn.graph.tensor import Tensor
from fastnn.layers.base import Layer
from fastnn.program import at_maximum


class Flatten(Layer):
    """(n, a, b, ...) becomes (n, a*b*...)."""

    def __init__(self, *, name: str = "") -> None:
        self.name = name

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """One axis beside the batch."""
        return ops.reshape(x, (x.shape[0], math.prod(at_maximum(x.shape[1:]))))


class Reshape(Layer):
    """Gives each sample another shape with as many elements.

    Parameters
    ----------
    shape
        Of one sample, without the batch axis; one entry may be -1 and is found from the others.
    """

    def __init__(self, shape: int | Sequence[int], *, name: str = "") -> None:
        sizes = tuple(shape) if isinstance(shape, Iterable) else (shape,)
        whole = [isinstance(size, Integral) and (size > 0 or size == -1) for size in sizes]
        if not all(whole) or sizes.count(-1) > 1:
            raise ValueError(f"Reshape: shape must be positive integers with at most one -1, got {shape!r}")
        self.shape = tuple(int(size) for size in sizes)
        self.name = name

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """The same elements in the same order."""
        size = math.prod(at_maximum(x.shape[1:]))
        known = math.prod(each for each in self.shape if each != -1)
        shape = tuple(size // known if each == -1 else each for each in self.shape)
        if math.prod(shape) != size:
            raise ValueError(f"cannot reshape {size} elements a sample into {self.shape}")
        return ops.reshape(x, (x.shape[0], *shape))


class Concatenate(Layer):
    """Joins its inputs along one axis.

    Parameters
    ----------
    axis
        Of the batch array, so never 0; -1 is the last.
    """

    def __init__(self, axis: int = -1, *, name: str = "") -> None:
        if axis == 0 or not isinstance(axis, int):
            raise ValueError(f"Concatenate: axis must be an integer and not the batch axis 0, got {axis!r}")
        self.axis = axis
        self.name = name

    def forward(self, *inputs: Tensor) -> Tensor:
        """The inputs one after the other."""
        if len(inputs) < 2:
            raise ValueError(f"Concatenate joins two or more inputs, got {len(inputs)}")
        return ops.concatenate(inputs, axis=self.axis)


class Add(Layer):
    """The sum of its inputs, all of one shape: the end of a residual connection."""

    def __init__(self, *, name: str = "") -> None:
        self.name = name

    def forward(self, *inputs: Tensor) -> Tensor:
        """x1 + x2 + ..., in order."""
        if len(inputs) < 2:
            raise ValueError(f"Add sums two or more inputs, got {len(inputs)}")
        if any(tensor.shape != inputs[0].shape for tensor in inputs):
            raise ValueError(f"Add: all shapes must be equal, got {[tensor.shape[1:] for tensor in inputs]}")
        return reduce(ops.add, inputs)

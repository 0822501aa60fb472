"""Chains of layers, which most networks are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn import saving
from fastnn.layers.base import Input, Layer, Wire, as_shape
from fastnn.network import Network


class Sequential(Network):
    """A chain of layers.

    Parameters
    ----------
    layers
        Layers in order; the first may be an `fnn.Input(...)`.
    input_shape
        Shape of one sample, without the batch axis: an integer n means (n,).
    seed, dtype, backend
        As for `Network`.

    Raises
    ------
    ValueError
        If there are no layers, or the input shape is given neither here nor by an Input.
    TypeError
        If something in the list is not a layer.
    """

    def __init__(self, layers: Sequence[Any], input_shape: Any = None, *, seed: int = 0,
                 dtype: str | None = None, backend: str | None = None) -> None:  # fmt: skip
        if not isinstance(layers, (list, tuple)):
            raise TypeError(f"Sequential: expected a list of layers, got {type(layers).__name__}")
        chain = list(layers)
        start = chain.pop(0) if chain and isinstance(chain[0], Wire) else None
        for layer in chain:
            if not isinstance(layer, Layer):
                raise TypeError(f"Sequential: expected layers, got {type(layer).__name__}")
        if not chain:
            raise ValueError("Sequential needs at least one layer")
        if len(set(map(id, chain))) < len(chain):
            raise ValueError("Sequential: a layer stands in the list twice; make two, or join them with Network")
        if start is None:
            if input_shape is None:
                raise ValueError("Sequential: give input_shape=..., the shape of one sample without the batch axis")
            start = Input(as_shape(input_shape, "Sequential: input_shape"))
        elif input_shape is not None and as_shape(input_shape, "Sequential: input_shape") != start.shape:
            raise ValueError(f"Sequential: input_shape {input_shape} contradicts the Input of shape {start.shape}")
        wire = start
        for number, layer in enumerate(chain):
            try:
                wire = layer(wire)
            except (ValueError, TypeError) as problem:
                raise type(problem)(f"Sequential, layer {number}: {problem}") from problem
            if isinstance(wire, tuple):
                raise ValueError(f"Sequential: layer {number} has several outputs; join it with Network")
        super().__init__(start, wire, seed=seed, dtype=dtype, backend=backend)


saving.NETWORKS["Sequential"] = Sequential

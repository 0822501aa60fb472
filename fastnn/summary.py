"""A network as a table for people: its layers, their shapes, and how much there is to learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn.layers.base import InputLayer


def summarize(network: Any) -> str:
    """A line for each layer: name and kind, output shape, number of parameters."""
    rows = [("layer", "output shape", "parameters")]
    for layer in network.layers:
        shape = next(wire.shape for wire in network._order if wire.layer is layer)
        size = sum(math.prod(parameter.shape) for parameter in layer.parameters)
        kind = "Input" if isinstance(layer, InputLayer) else type(layer).__name__
        frozen = "" if layer.trainable else ", frozen"
        rows.append((f"{layer.name} ({kind}{frozen})", str(("n", *shape)).replace("'", ""), f"{size:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    line = "-" * (sum(widths) + 4)
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
    size = network.n_parameters * np.dtype(network.dtype).itemsize
    memory = f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"
    total = f"{network.n_parameters:,} parameters, {memory} of {network.dtype}"
    return "\n".join([lines[0], line, *lines[1:], line, total])

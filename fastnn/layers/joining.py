"""From wires to a network: the order of its layers, and their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn.layers.base import InputLayer, Layer, Wire
from fastnn.program import FLOATS


def as_wires(value: Any, what: str) -> list[Wire]:
    """One wire or several as a list; `what` they are, for the message.

    Raises
    ------
    TypeError, ValueError
        If something else is among them, or there is none.
    """
    wires = list(value) if isinstance(value, (list, tuple)) else [value]
    for wire in wires:
        if not isinstance(wire, Wire):
            raise TypeError(f"Network: {what} must be wires (from fnn.Input or a layer), got {type(wire).__name__}")
    if not wires:
        raise ValueError(f"Network: {what} must not be empty")
    return wires


def topological(inputs: Sequence[Wire], outputs: Sequence[Wire]) -> list[Wire]:
    """All wires that the outputs need, sources first."""
    for wire in inputs:
        if not isinstance(wire.layer, InputLayer):
            raise ValueError(f"Network: an input must come from fnn.Input, not from {wire.layer.label}")
    if len(set(inputs)) < len(inputs):
        raise ValueError("Network: an input is listed twice")
    order: dict[Wire, None] = {}
    under_way: set[Wire] = set()
    stack: list[tuple[Wire, bool]] = [(wire, False) for wire in reversed(outputs)]
    while stack:
        wire, sources_done = stack.pop()
        if wire in order:
            continue
        if sources_done:
            under_way.discard(wire)
            order[wire] = None
            continue
        if wire in under_way:
            raise ValueError(f"Network: the layers form a cycle through {wire.layer.label}")
        if not wire.inputs and wire not in inputs:
            raise ValueError(f"Network: an output depends on an Input of shape {wire.shape} that is not among inputs")
        under_way.add(wire)
        stack.append((wire, True))
        stack.extend((source, False) for source in reversed(wire.inputs) if source not in order)
    unused = [number for number, wire in enumerate(inputs) if wire not in order]
    if unused:
        raise ValueError(f"Network: no output depends on input {unused[0]}")
    return list(order)


def output_names(outputs: Sequence[Wire]) -> list[str]:
    """A name for each output: that of its layer, with a number behind where the layer has given one before."""
    layers = [wire.layer.name for wire in outputs]
    names: list[str] = []
    for layer in layers:
        free = (f"{layer}_{number}" for number in range(1, len(layers) + 1))
        names.append(layer if layer not in names else next(name for name in free if name not in (*layers, *names)))
    return names


def refuse_other_floats(inputs: Sequence[Wire], dtype: str) -> None:
    """Refuses inputs that are declared as another float type than the network computes in.

    Raises
    ------
    ValueError
        If there is one.
    """
    for wire in inputs:
        declared = wire.layer.dtype  # type: ignore[attr-defined]
        if declared in FLOATS and declared != dtype:
            raise ValueError(
                f"input {wire.layer.name!r} is declared as {declared}, but the network computes in {dtype}: say "
                f"Network(..., dtype={declared!r}), which converts what comes in; Input's own dtype is for 'uint8'"
            )


def name_layers(layers: Sequence[Layer]) -> None:
    """Gives layers without a name one of their own: dense_1, dense_2, ...

    Raises
    ------
    ValueError
        If two layers share a name.
    """
    counts: dict[str, int] = {}
    given = {layer.name for layer in layers if isinstance(layer.name, str)}
    for layer in layers:
        if not isinstance(layer.name, str):
            raise TypeError(f"Network: a layer's name must be a string, got {layer.name!r}")
        if not layer.name:
            kind = "input" if isinstance(layer, InputLayer) else type(layer).__name__.lower()
            counts[kind] = counts.get(kind, 0) + 1
            while f"{kind}_{counts[kind]}" in given:
                counts[kind] += 1
            layer.name = f"{kind}_{counts[kind]}"
    names = [layer.name for layer in layers]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Network: two layers are named {name!r}")

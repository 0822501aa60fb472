"""All parameters of a network in one block of memory, that never moves: where each lies, reading them and setting them.

A network that is made of another's wires shares the block, and so the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import backends, ops
from fastnn.graph.plan import ALIGNMENT, Place
from fastnn.kernels.executor import Exclusive
from fastnn.layers.base import Parameter, Wire


class ParameterBlock:
    """Parameters side by side, each at the start of a cache line, those with penalties first.

    Attributes
    ----------
    wires
        Those of the network: others that are made of them share the parameters.
    offsets
        Where each parameter starts, in elements.
    size
        Elements of the block, gaps included. Gradients and optimizer states have blocks of the same layout.
    memory
        The block itself, where the backend keeps it.
    training_lock
        Held by the training that changes the parameters.
    """

    def __init__(self, wires: Sequence[Wire], *, seed: int, dtype: str, backend: str) -> None:
        self.wires = frozenset(wires)
        self.dtype = dtype
        self.backend = backends.get(backend)
        self.training_lock = Exclusive()
        layers = list(dict.fromkeys(wire.layer for wire in wires))
        declared = [(layer, parameter) for layer in layers for parameter in layer.parameters]
        for layer, parameter in declared:
            parameter.name = f"{layer.name}.{parameter.name.rpartition('.')[2]}"
        step = ALIGNMENT // np.dtype(dtype).itemsize
        self.offsets: dict[Parameter, int] = {}
        self.size = 0
        for _, parameter in sorted(declared, key=lambda pair: not pair[1].regularized):
            self.offsets[parameter] = self.size
            self.size += -(-math.prod(parameter.shape) // step) * step
        try:
            self.memory = self.backend.block(self.size, dtype)
        except (MemoryError, ValueError) as problem:
            largest = max(self.offsets, key=lambda parameter: math.prod(parameter.shape))
            raise MemoryError(
                f"Network: {self.size:,} parameters do not fit into memory; the largest is {largest.name}, "
                f"{largest.shape}"
            ) from problem
        self.write({parameter: _initial(parameter, seed, number) for number, (_, parameter) in enumerate(declared)})
        for layer in layers:
            layer.block = self

    def place(self, parameter: Parameter, block: str = "parameters") -> Place:
        """Where a parameter, or what belongs to it in a block of the same layout, lies."""
        return Place(block, self.offsets[parameter] * np.dtype(self.dtype).itemsize)

    def view(self, parameter: Parameter, memory: Any = None) -> NDArray[Any]:
        """A parameter, or what belongs to it in memory of the same layout: not a copy, unless it comes from a GPU."""
        start = self.offsets[parameter]
        flat = self.backend.to_numpy(self.memory if memory is None else memory)
        return flat[start : start + math.prod(parameter.shape)].reshape(parameter.shape)

    def write(self, values: Mapping[Parameter, NDArray[Any]]) -> None:
        """Sets some of the parameters in one stroke, so that Ctrl-C finds all of them written or none."""
        memory = self.backend.to_numpy(self.memory).copy()
        with np.errstate(over="ignore"):  # float64 beyond float32's range becomes infinite, as it must
            for parameter, array in values.items():
                self.view(parameter, memory)[...] = array
        self.backend.write(self.memory, 0, memory)

    def __getstate__(self) -> dict[str, Any]:
        values = self.backend.to_numpy(self.memory).copy()
        kept = {"wires": self.wires, "dtype": self.dtype, "offsets": self.offsets}
        return {**kept, "backend": self.backend.name, "values": values}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.wires, self.dtype, self.offsets = state["wires"], state["dtype"], state["offsets"]
        values = state["values"]
        self.backend = backends.get(state["backend"])
        self.training_lock = Exclusive()
        self.size = values.size
        self.memory = self.backend.block(self.size, self.dtype)
        self.backend.write(self.memory, 0, values)


def shared_block(wires: Sequence[Wire]) -> ParameterBlock | None:
    """The block in which the parameters lie already, if the wires are part of a network; None if all is new.

    Raises
    ------
    ValueError
        If a layer belongs to a network of which the wires are no part: its parameters can only live in one.
    """
    owned = [wire.layer for wire in wires if wire.layer.block is not None and wire.layer.parameters]
    if not owned:
        return None
    block = owned[0].block
    if any(wire not in block.wires for wire in wires):
        raise ValueError(
            f"Network: {owned[0].label} belongs to another network already; use a copy.deepcopy of it, which has the "
            "same weights. (A network made only of another's wires, such as Network(net.inputs, net.wire('hidden')), "
            "shares its parameters.)"
        )
    return block


def _initial(parameter: Parameter, seed: int, number: int) -> NDArray[Any]:
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))
    values = ops.as_array(parameter.initializer(parameter.shape, generator), f"{parameter.name}: initial values")
    if values.shape not in (parameter.shape, ()):
        raise ValueError(f"{parameter.name}: its initializer gave shape {values.shape}, not {parameter.shape}")
    return values

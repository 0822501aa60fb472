"""All parameters of a network in one block of memory, that never moves: where each lies, reading them and setting them.

A network that is made of another's wires shares the block, and so the parameters.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import backends, ops
from fastnn.graph.plan import ALIGNMENT, Place
from fastnn.kernels.executor import Changes, Exclusive, OrElse, Unchanged
from fastnn.layers.base import Parameter, Wire

TRAINED_ELSEWHERE = "the network is being trained by another thread: do this in a callback, or when its fit has ended"


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
        Held by whoever changes the parameters, one step or all of a `fit`.
    changes
        Held for as long as parameters are being changed: some steps of a `fit`, not all of it.
    fitted_by
        Process and thread of the `fit` under way: what its callbacks do is no other's business.
    """

    def __init__(self, wires: Sequence[Wire], *, seed: int, dtype: str, backend: str) -> None:
        self.wires = frozenset(wires)
        self.dtype = dtype
        self.backend = backends.get(backend)
        self._open_locks()
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
        self.write({parameter: np.broadcast_to(_initial(parameter, seed, number), parameter.shape)
                    for number, (_, parameter) in enumerate(declared)})  # fmt: skip
        for layer in layers:
            layer.block = self

    def _open_locks(self) -> None:
        self.training_lock = Exclusive()
        self.changes = Changes()
        self.fitted_by: tuple[int, int] | None = None
        self._writers = threading.RLock()

    def place(self, parameter: Parameter, block: str = "parameters") -> Place:
        """Where a parameter, or what belongs to it in a block of the same layout, lies."""
        return Place(block, self.offsets[parameter] * np.dtype(self.dtype).itemsize)

    def view(self, parameter: Parameter, memory: Any = None) -> NDArray[Any]:
        """A parameter, or what belongs to it in memory of the same layout: not a copy, unless it comes from a GPU."""
        start = self.offsets[parameter]
        flat = self.backend.to_numpy(self.memory if memory is None else memory)
        return flat[start : start + math.prod(parameter.shape)].reshape(parameter.shape)

    def copies(self, parameters: Sequence[Parameter]) -> dict[str, NDArray[Any]]:
        """Copies of some parameters by name, as they are between two steps; a training under way waits for them."""
        with Unchanged(self.changes):
            return self.copies_of(self.memory, parameters)

    def copies_of(self, memory: Any, parameters: Sequence[Parameter]) -> dict[str, NDArray[Any]]:
        """The same of what belongs to them in memory of the same layout, such as gradients; nobody waits."""
        memory = self.backend.to_numpy(memory)
        return {parameter.name: self.view(parameter, memory).copy() for parameter in parameters}

    @contextlib.contextmanager
    def fitting(self) -> Iterator[None]:
        """Marks this thread as the one whose `fit` is under way; it holds `training_lock` already."""
        self.fitted_by = os.getpid(), threading.get_ident()
        try:
            yield
        finally:
            self.fitted_by = None

    def between_steps(self) -> contextlib.AbstractContextManager[None]:
        """What to hold while all parameters are written as one: `training_lock`, unless it is held for us.

        Raises
        ------
        RuntimeError
            If another thread is training.
        """
        return contextlib.nullcontext() if self._is_fitted_here else OrElse(self.training_lock, TRAINED_ELSEWHERE)

    @contextlib.contextmanager
    def settled(self) -> Iterator[None]:
        """While this is held, parameters and all that belongs to them are read as one: who wants to train waits.

        Raises
        ------
        RuntimeError
            If another thread is training already.
        """
        if not self._is_fitted_here:
            self.training_lock.expect_free(TRAINED_ELSEWHERE)
        with Unchanged(self.changes):
            yield

    @property
    def _is_fitted_here(self) -> bool:
        """Whether this thread is in a callback of a `fit`."""
        return self.fitted_by == (os.getpid(), threading.get_ident())

    def write(self, values: Mapping[Parameter, NDArray[Any]]) -> None:
        """Sets some of the parameters in one stroke, so that Ctrl-C finds all of them written or none.

        Raises
        ------
        RuntimeError
            If another thread is training.
        """
        if not values:
            return
        start = min(self.offsets[parameter] for parameter in values)
        stop = max(self.offsets[parameter] + math.prod(parameter.shape) for parameter in values)
        with self._writers, self.between_steps(), self.changes:
            memory = self.backend.to_numpy(self.memory)[start:stop].copy()
            self._fill(memory, start, values)
            self.backend.write(self.memory, start, memory)

    def _fill(self, memory: NDArray[Any], start: int, values: Mapping[Parameter, NDArray[Any]]) -> None:
        """Writes values into what is a copy of all memory from `start` on."""
        with np.errstate(over="ignore"):  # float64 beyond float32's range becomes infinite, as it must
            for parameter, array in values.items():
                first = self.offsets[parameter] - start
                memory[first : first + array.size] = array.ravel()

    def blend(self, other: ParameterBlock, tau: float) -> None:
        """Sets all to (1 - tau) times themselves + tau times another block's of the same layout, in one stroke.

        Raises
        ------
        RuntimeError
            If another thread is training.
        """
        with np.errstate(invalid="ignore"):
            with Unchanged(other.changes):  # and not both at once: two threads may blend two networks crosswise
                share = tau * other.memory if tau < 1 else other.memory.copy()
            with self._writers, self.between_steps(), self.changes:
                self.memory[...] = (1 - tau) * self.memory + share if tau < 1 else share

    def __getstate__(self) -> dict[str, Any]:
        with Unchanged(self.changes):
            values = self.backend.to_numpy(self.memory).copy()
        kept = {"wires": self.wires, "dtype": self.dtype, "offsets": self.offsets}
        return {**kept, "backend": self.backend.name, "values": values}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.wires, self.dtype, self.offsets = state["wires"], state["dtype"], state["offsets"]
        values = state["values"]
        self.backend = backends.get(state["backend"])
        self._open_locks()
        self.size = values.size
        self.memory = self.backend.block(self.size, self.dtype)
        self.backend.write(self.memory, 0, values)


def match(parameters: Sequence[Parameter],
          weights: Sequence[ArrayLike] | Mapping[str, ArrayLike]) -> dict[Parameter, NDArray[Any]]:  # fmt: skip
    """Which array is for which parameter: a list has one for each in order, a dict names some.

    Raises
    ------
    ValueError, TypeError
        If the number, a name or a shape does not fit.
    """
    by_name = {parameter.name: parameter for parameter in parameters}
    if isinstance(weights, Mapping):
        unknown = [name for name in weights if name not in by_name]
        if unknown:
            raise ValueError(f"there is no parameter {unknown[0]!r}; there are {', '.join(by_name)}")
        given = {by_name[name]: values for name, values in weights.items()}
    else:
        if not isinstance(weights, Sequence):
            raise TypeError(f"weights: expected a list or a dict of arrays, got {type(weights).__name__}")
        if len(weights) != len(by_name):
            raise ValueError(f"expected {len(by_name)} arrays, one for each parameter, got {len(weights)}")
        given = dict(zip(parameters, weights, strict=True))
    arrays = {parameter: ops.as_array(values, parameter.name) for parameter, values in given.items()}
    for parameter, array in arrays.items():
        if array.shape != parameter.shape:
            raise ValueError(f"{parameter.name}: expected shape {parameter.shape}, got {array.shape}")
    return arrays


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

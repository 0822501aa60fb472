"""Planning: gives every tensor of a trace its place in memory, and turns the trace into a Program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fastnn.graph.fuse import Call, fuse, live_calls
from fastnn.graph.tensor import Graph, Tensor
from fastnn.program import Buffer, Extent, Instruction, Program

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
SERIAL_WORK = 4000.0  # nanoseconds: an instruction with less work at its largest runs on one thread (team.pxi)
LASTING = ("parameters", "state")  # blocks that a step may change only after its commit point


class Place(NamedTuple):
    """Where a tensor has to lie: so many bytes into a block."""

    block: str
    offset: int = 0


@dataclass(eq=False, repr=False)
class _Lifetime:
    """First and last instruction that touch a piece of the arena."""

    size: int
    first: int
    last: int
    offset: int = 0


@dataclass(eq=False, repr=False)
class _Layout:
    """Places found so far. A view has the place of the tensor that it looks at."""

    places: dict[Tensor, Place]
    base: dict[Tensor, Tensor] = field(default_factory=dict)

    def root(self, tensor: Tensor) -> Tensor:
        while tensor in self.base:
            tensor = self.base[tensor]
        return tensor


def aligned(size: int) -> int:
    """The next multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def plan(graph: Graph, outputs: Mapping[str, Tensor], places: Mapping[Tensor, Place], *, fused: bool = True) -> Program:
    """Plans a trace.

    Parameters
    ----------
    graph
        The trace, gradients and updates included.
    outputs
        Results by name. Each is written where `places` says, or into the arena.
    places
        Where variables, gradients and state have to lie. Inputs are bound at each run to blocks "input:<name>".
    fused
        False leaves every operation an instruction of its own: the same bits, more memory traffic.

    Raises
    ------
    ValueError
        If a parameter that the trace reads has no place.
    """
    calls = live_calls(graph.nodes, list(outputs.values()))
    if fused:
        calls = fuse(calls, list(outputs.values()))
    layout = _Layout(dict(places))
    constants = _place_sources(calls, graph, layout)
    calls = _resolve_views(calls, layout, set(outputs.values()))
    _place_updates(calls, layout)
    arena_size = _place_in_arena(calls, layout, outputs.values())
    buffers = _Buffers(layout, {tensor: name for name, tensor in outputs.items()})
    instructions = [
        Instruction(call.operation, buffers.of(call.outputs), buffers.of(call.inputs), call.attributes)
        for call in calls
    ]
    commit = next((i for i, instruction in enumerate(instructions) if _changes_lasting(instruction)), len(instructions))
    _set_barriers(instructions, commit)
    extents = _extents(instructions)
    slots = dict.fromkeys(extent.name for extent in extents)
    for instruction in instructions:
        slots.update(dict.fromkeys(instruction.operation.slots(instruction.attributes)))
    return Program(
        instructions=instructions,
        arena_size=arena_size,
        extents=extents,
        slots=tuple(slots),
        inputs={node.attributes["name"]: buffers.one(node.outputs[0]) for node in graph.nodes
                if node.operation.name == "input"},
        outputs={name: buffers.one(tensor) for name, tensor in outputs.items()},
        commit=commit,
        constants=constants,
    )  # fmt: skip


def _place_sources(calls: Sequence[Call], graph: Graph, layout: _Layout) -> np.ndarray:
    """Inputs get a block each, numbers one block together; returns that block's contents."""
    values: list[float] = []
    used = {tensor for call in calls for tensor in call.inputs}
    for node in graph.nodes:
        output = node.outputs[0] if node.outputs else None
        if output is None or output in layout.places:
            continue
        if node.operation.name == "input":
            layout.places[output] = Place(f"input:{node.attributes['name']}")
        elif node.operation.name == "constant" and output in used:
            layout.places[output] = Place("constants", len(values) * np.dtype(graph.dtype).itemsize)
            values.append(node.attributes["value"])
        elif node.operation.name == "variable" and output in used:
            raise ValueError(f"parameter {node.attributes['variable'].name!r} has no place in memory")
    return np.array(values, graph.dtype)


def _resolve_views(calls: Sequence[Call], layout: _Layout, outputs: set[Tensor]) -> list[Call]:
    """Drops the calls that only look at memory under another shape.

    A view of the caller's own array stays a copy, since that array may be strided; so does one with a place of its own.
    """
    kept = []
    for call in calls:
        output = call.outputs[0] if call.outputs else None
        source = call.inputs[0] if call.inputs else None
        if call.operation.view and output is not None and source is not None and output not in outputs:
            place = layout.places.get(layout.root(source))
            if output not in layout.places and not (place and place.block.startswith("input:")):
                layout.base[output] = source
                continue
        kept.append(call)
    return kept


def _place_updates(calls: Sequence[Call], layout: _Layout) -> None:
    """An update's result lies where its operand did."""
    for call in calls:
        for output, operand in call.operation.in_place:
            result, source = call.outputs[output], call.inputs[operand]
            if result is not None and source is not None:
                layout.places[result] = layout.places[layout.root(source)]


def _place_in_arena(calls: Sequence[Call], layout: _Layout, outputs: Iterable[Tensor]) -> int:
    """Offsets such that tensors alive at the same time never overlap; returns the arena's size.

    Largest first, each at the lowest offset that is free for its whole life.
    """
    lives: dict[Tensor, _Lifetime] = {}
    for position, call in enumerate(calls):
        for tensor in (*call.outputs, *call.inputs):
            if tensor is None:
                continue
            root = layout.root(tensor)
            if root in layout.places:
                continue
            life = lives.setdefault(root, _Lifetime(aligned(max(root.spec.nbytes, 1)), position, position))
            life.last = position
    for tensor in outputs:
        if layout.root(tensor) in lives:
            lives[layout.root(tensor)].last = len(calls)
    placed: list[_Lifetime] = []
    for root, life in sorted(lives.items(), key=lambda item: -item[1].size):
        neighbours = sorted(
            (other for other in placed if other.first <= life.last and life.first <= other.last),
            key=lambda other: other.offset,
        )
        for other in neighbours:
            if life.offset + life.size <= other.offset:
                break
            life.offset = max(life.offset, other.offset + other.size)
        placed.append(life)
        layout.places[root] = Place("arena", life.offset)
    return max((life.offset + life.size for life in placed), default=0)


class _Buffers:
    """Turns tensors into buffers, one each; `names` are those of some tensors."""

    def __init__(self, layout: _Layout, names: Mapping[Tensor, str]) -> None:
        self.layout = layout
        self.names = names
        self.made: dict[Tensor, Buffer] = {}

    def one(self, tensor: Tensor) -> Buffer:
        if tensor not in self.made:
            place = self.layout.places.get(self.layout.root(tensor), Place("unused"))
            self.made[tensor] = Buffer(self._name(tensor), tensor.spec, place.block, place.offset)
        return self.made[tensor]

    def _name(self, tensor: Tensor) -> str:
        """That of an output or a variable; of what is changed in place, its operand's; else the operation's."""
        node = tensor.node
        if tensor in self.names:
            return self.names[tensor]
        if node.operation.name == "variable":
            return node.attributes["variable"].name
        changed = dict(node.operation.in_place).get(node.outputs.index(tensor))
        operand = None if changed is None else node.inputs[changed]
        if operand is not None:
            return self._name(operand)
        return node.attributes.get("name") or f"{node.operation.name}{len(self.made)}"

    def of(self, tensors: Sequence[Tensor | None]) -> tuple[Buffer | None, ...]:
        return tuple(None if tensor is None else self.one(tensor) for tensor in tensors)


def _changes_lasting(instruction: Instruction) -> bool:
    return any(buffer is not None and buffer.block in LASTING for buffer in instruction.outputs)


def _extents(instructions: Sequence[Instruction]) -> tuple[Extent, ...]:
    found: dict[Extent, None] = {}
    for instruction in instructions:
        for buffer in instruction.operands:
            if buffer is not None:
                found.update(dict.fromkeys(size for size in buffer.spec.shape if isinstance(size, Extent)))
    return tuple(found)


def is_serial(instruction: Instruction) -> bool:
    """Whether an instruction always runs on the first thread alone."""
    kernel = instruction.operation.kernel
    return instruction.work < SERIAL_WORK or kernel is None or not kernel.parallel


def _set_barriers(instructions: Sequence[Instruction], commit: int) -> None:
    """A barrier where an instruction touches memory that another thread may have written, or may still be reading.

    The commit point always has one: there all threads learn whether the step is abandoned.
    """
    written: list[tuple[Buffer, bool]] = []
    read: list[tuple[Buffer, bool]] = []
    for position, instruction in enumerate(instructions):
        serial = is_serial(instruction)
        reads = [(buffer, serial) for buffer in instruction.inputs if buffer is not None]
        writes = [(buffer, serial) for buffer in instruction.outputs if buffer is not None]
        if position == commit or _conflict(reads, written) or _conflict(writes, written + read):
            instruction.barrier = True
            written, read = [], []
        written += writes
        read += reads


def _conflict(mine: Sequence[tuple[Buffer, bool]], others: Sequence[tuple[Buffer, bool]]) -> bool:
    return any(_overlap(a, b) and not (serial_a and serial_b) for a, serial_a in mine for b, serial_b in others)


def _overlap(a: Buffer, b: Buffer) -> bool:
    if a.block != b.block:
        return False
    return a.offset < b.offset + max(b.spec.nbytes, 1) and b.offset < a.offset + max(a.spec.nbytes, 1)

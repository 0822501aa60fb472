"""The ground floor: plain data that every room above reads. What an operation is, and what a Program is made of.

An `Operation` is described once, in `fastnn/ops/`, and looked up here by name. A `Program` is a flat list of
instructions over blocks of memory; the backends run it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

FLOATS = ("float32", "float64")
TYPE_CODES = {"float32": 0, "float64": 1, "int32": 2, "int64": 3, "uint8": 4}  # as in kernels/instruction.h
NEAR_BYTES = 1 << 20  # so much stays near the processor ...
NEAR_SPEED, FAR_SPEED = 80.0, 25.0  # ... and comes at this speed; the rest takes longer (bytes a nanosecond)


@dataclass(frozen=True)
class Extent:
    """A dimension that may differ from run to run: a Program is planned at its maximum, and bound at each run."""

    name: str
    maximum: int

    def __repr__(self) -> str:
        return f"{self.name}≤{self.maximum}"


Dimension = int | Extent
Shape = tuple[Dimension, ...]


def at_maximum(shape: Sequence[Dimension]) -> tuple[int, ...]:
    """A shape with every extent at its maximum."""
    return tuple(size.maximum if isinstance(size, Extent) else size for size in shape)


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of a tensor that has no values yet."""

    shape: Shape
    dtype: str

    @property
    def size(self) -> int:
        """Elements, with every extent at its maximum."""
        return math.prod(at_maximum(self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes, with every extent at its maximum."""
        return self.size * np.dtype(self.dtype).itemsize


Attributes = Mapping[str, Any]


class Packing(NamedTuple):
    """A kernel that copies a product's second factor as the product reads it, so that many runs can use the copy."""

    name: str
    size: Callable[[int, int, str], int]  # numbers in the copy of a k x n factor of a dtype; 0: it would not pay
    patience: float  # after so many times its work has gone into runs without a change of the factor, making it pays


class Kernel(NamedTuple):
    """How an operation is handed to compiled code.

    `name` is the kernel's in `kernels/level.pxi`; `integers` and `numbers` turn the operation's attributes into the
    instruction's whole-number and real ones, in the order that the kernel reads them.
    """

    name: str
    integers: Callable[[Attributes], tuple[int, ...]] = lambda attributes: ()
    numbers: Callable[[Attributes], tuple[float, ...]] = lambda attributes: ()
    scratch: Callable[[Sequence[Spec | None], Attributes], int] = lambda operands, attributes: 0  # bytes a thread
    parallel: bool = True
    closes: bool = False  # if it gets scratch memory, it is called once more when all its shares are done
    n_outputs: int | None = None  # outputs are padded with None up to this number
    packing: Packing | None = None  # of the second input, for products


def _one_an_element(inputs: Sequence[Spec | None], outputs: Sequence[Spec | None], attributes: Attributes) -> int:
    return outputs[0].size if outputs[0] else 0


def _each_operand_once(inputs: Sequence[Spec | None], outputs: Sequence[Spec | None]) -> int:
    return sum(spec.nbytes for spec in (*inputs, *outputs) if spec is not None)


class Operation(NamedTuple):
    """Everything there is to know about one operation.

    Attributes
    ----------
    name
        The field's standard term, unique in the table.
    infer
        `(input specs, attributes) -> output specs`; raises ValueError or TypeError with a message that names what was
        expected and what came.
    reference
        `(xp, inputs, attributes, run) -> outputs`, in terms of an array module (NumPy or CuPy): slow and obvious.
        `run` maps the names of the run row's slots to numbers, and has `refuse` for operands that are out of range. On
        a GPU they are numbers that are not known yet: no reference may ask which, nor look at its arrays.
    gradient
        `(node, output gradients) -> input gradients`, in symbols; None where no gradient flows. An output gradient is
        None where nothing depends on that output.
    kernel
        None: this operation cannot run in the native backend, and planning says so.
    slots
        Names of the run row's slots that the kernel reads, from the attributes; their column numbers are put in front
        of the kernel's whole-number attributes.
    flops
        Floating-point operations, from the specs of inputs and outputs.
    nbytes
        Bytes read and written, from the specs of inputs and outputs; each operand once, if not said otherwise.
    epilogue
        For elementwise operations that a product can apply to its tile: "forward" (a function of the product) or
        "slope" (the product times a derivative at the second input). See `graph/fuse.py`.
    takes_epilogue
        True for operations whose kernel applies epilogues.
    with_update
        For operations that can update a weight by their result instead of storing it: the name of the operation that
        does both, from the input specs and attributes; None where it cannot. Its inputs are the same, and the weight.
    plain_update
        For updates: whether these attributes make it w -= learning_rate * rate_scale * gradient and nothing else.
    in_place
        Pairs (output, input) that share one buffer: updates of parameters and state.
    effect
        It does something besides its outputs, and is kept though nobody reads them.
    window
        For an operation that writes only some rows of its output: the slot with the first of them, from the
        attributes. The reference returns those rows.
    view
        The output is the input's memory under another shape.
    eager
        The shape rule, if calls on arrays are to go through the compiled front (`kernels/eager.pyx`): "broadcast" for
        elementwise operations, "product" for a matrix product. Others take the general way, in Python.
    cost
        Nanoseconds a floating-point operation takes on one thread, roughly; used to choose thread counts.
    """

    name: str
    infer: Callable[[Sequence[Spec | None], Attributes], Sequence[Spec]]
    reference: Callable[[ModuleType, Sequence[Any], Attributes, Any], Sequence[Any]]
    gradient: Callable[..., Sequence[Any]] | None = None
    kernel: Kernel | None = None
    slots: Callable[[Attributes], tuple[str, ...]] = lambda attributes: ()
    flops: Callable[[Sequence[Spec | None], Sequence[Spec | None], Attributes], int] = _one_an_element
    nbytes: Callable[[Sequence[Spec | None], Sequence[Spec | None]], int] = _each_operand_once
    epilogue: str | None = None
    takes_epilogue: bool = False
    with_update: Callable[[Sequence[Spec | None], Attributes], str | None] = lambda inputs, attributes: None
    plain_update: Callable[[Attributes], bool] = lambda attributes: False
    in_place: tuple[tuple[int, int], ...] = ()
    cost: float = 0.25
    view: bool = False
    eager: str | None = None
    effect: bool = False
    window: Callable[[Attributes], str] | None = None

    def work(self, inputs: Sequence[Spec | None], outputs: Sequence[Spec | None], attributes: Attributes) -> float:
        """Nanoseconds on one thread, roughly: arithmetic or memory, whichever takes longer."""
        nbytes = self.nbytes(inputs, outputs)
        memory = nbytes / NEAR_SPEED + max(0, nbytes - NEAR_BYTES) / FAR_SPEED
        return max(self.flops(inputs, outputs, attributes) * self.cost, memory)


OPERATIONS: dict[str, Operation] = {}


def register(operation: Operation) -> Operation:
    """Puts an operation into the table.

    Raises
    ------
    ValueError
        If the name is taken.
    """
    if operation.name in OPERATIONS:
        raise ValueError(f"operation {operation.name!r} is already registered")
    OPERATIONS[operation.name] = operation
    return operation


class RunRow(dict[str, Any]):
    """A row of the run table as references see it: numbers by the names of their slots."""

    def refuse(self, condition: Any, message: str) -> None:
        """Raises IndexError if the condition, True or False or an array of one of them, holds."""
        if condition:
            raise IndexError(message)

    def rows_at(self, xp: ModuleType, slot: str, n: int, total: int) -> Any:
        """What picks n rows of `total`, from the one that the slot names on.

        Raises
        ------
        IndexError
            If there are not so many.
        """
        start = int(self[slot])
        self.refuse(start < 0 or start + n > total, f"an index is out of range: {n} rows from {start} on of {total}")
        return slice(start, start + n)


def cast(value: Any, kind: Any) -> Any:
    """A number of the run row in an array's type: it may be an array without dimensions, on a device."""
    return value.astype(kind) if hasattr(value, "astype") else np.dtype(kind).type(value)


class Buffer(NamedTuple):
    """A tensor's place: `offset` bytes into a block. Blocks are named: arena, parameters, gradients, state, ..."""

    name: str
    spec: Spec
    block: str
    offset: int


@dataclass(eq=False, repr=False)
class Instruction:
    """One operation on buffers. `barrier`: it reads or overwrites what another thread may have written."""

    operation: Operation
    outputs: tuple[Buffer | None, ...]
    inputs: tuple[Buffer | None, ...]
    attributes: Attributes
    barrier: bool = False

    @property
    def operands(self) -> tuple[Buffer | None, ...]:
        """Outputs, then inputs: the order in which kernels see them."""
        return self.outputs + self.inputs

    @property
    def flops(self) -> int:
        """Floating-point operations at the extents' maxima."""
        return self.operation.flops(_specs(self.inputs), _specs(self.outputs), self.attributes)

    @property
    def nbytes(self) -> int:
        """Bytes read and written at the extents' maxima."""
        return self.operation.nbytes(_specs(self.inputs), _specs(self.outputs))

    @property
    def work(self) -> float:
        """Nanoseconds on one thread at the extents' maxima, roughly: arithmetic or memory, whichever takes longer."""
        return self.operation.work(_specs(self.inputs), _specs(self.outputs), self.attributes)

    @property
    def least_work(self) -> float:
        """The same where every extent is 1: what does not shrink with the batch is left, such as reading weights."""
        return self.operation.work(_specs(self.inputs, single=True), _specs(self.outputs, single=True), self.attributes)


def _specs(buffers: Sequence[Buffer | None], *, single: bool = False) -> list[Spec | None]:
    """What the buffers hold; `single`: every extent is 1."""
    specs = [None if buffer is None else buffer.spec for buffer in buffers]
    return [None if spec is None else _single(spec) for spec in specs] if single else specs


def _single(spec: Spec) -> Spec:
    return Spec(tuple(1 if isinstance(size, Extent) else size for size in spec.shape), spec.dtype)


@dataclass(eq=False, repr=False)
class Program:
    """A flat list of instructions over blocks of memory.

    Attributes
    ----------
    arena_size
        Bytes of the arena, the block that belongs to one run.
    extents
        In the order of the run table's first columns.
    slots
        Names of all columns of the run table: extents first, then what the instructions read or write.
    inputs
        Blocks bound to the caller's arrays at each run, by name.
    outputs
        Where results lie, by name.
    commit
        Index of the first instruction that changes parameters or state; past the last if none does.
    constants
        The numbers of the trace: contents of the block "constants".
    """

    instructions: list[Instruction]
    arena_size: int
    extents: tuple[Extent, ...]
    slots: tuple[str, ...]
    inputs: dict[str, Buffer] = field(default_factory=dict)
    outputs: dict[str, Buffer] = field(default_factory=dict)
    commit: int = 0
    constants: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


STATUS_MESSAGES = {
    1: "a class label is outside 0 ... classes - 1",
    2: "an index is out of range",
}


def status_message(status: int) -> str:
    """What a kernel's status (kernels/instruction.h) means, in words."""
    return STATUS_MESSAGES.get(status, f"a kernel returned status {status}")

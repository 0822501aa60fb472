"""Runs a Program with the compiled kernels: thousands of steps in one call, without the interpreter."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import kernels
from fastnn.backends import StepError
from fastnn.graph.plan import ALIGNMENT, is_serial
from fastnn.kernels import executor
from fastnn.program import FAR_SPEED, TYPE_CODES, Buffer, Extent, Instruction, Program, at_maximum, status_message

RUN_BLOCK = "run"


class NativeBackend:
    """Blocks are NumPy arrays; the work is done by `fastnn.kernels`."""

    name = "native"

    def block(self, size: int, dtype: str) -> NDArray[Any]:
        """A zeroed array that starts at a cache line."""
        return aligned_zeros(size, dtype)

    def prepare(
        self, program: Program, dtype: str, blocks: Mapping[str, Any], changes: executor.Changes | None = None
    ) -> NativeRunner:
        """Looks up every kernel; fails here, not at run time, where one is missing.

        With `changes`, weights are kept as products read them.

        Raises
        ------
        NotImplementedError
            If an operation has no kernel.
        """
        return NativeRunner(program, dtype, blocks, changes)

    def bring(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The arrays themselves."""
        return dict(arrays)

    def write(self, block: Any, start: int, values: NDArray[Any]) -> None:
        """Copies values into the block."""
        block[start : start + values.size] = values

    def to_numpy(self, block: Any) -> NDArray[Any]:
        """The block itself."""
        return block


class NativeRunner(executor.CompiledRunner):
    """One Program, and as many executors (each with an arena of its own) as runs have been under way at once."""

    def __init__(
        self, program: Program, dtype: str, blocks: Mapping[str, Any], changes: executor.Changes | None
    ) -> None:
        self.program = program
        self._dtype = dtype
        self._lasting = {**blocks, "constants": program.constants}
        buffers = {b.block: None for i in program.instructions for b in i.operands if b is not None}
        self._block_numbers = {name: number for number, name in enumerate([*buffers, RUN_BLOCK])}
        self._columns = {name: column for column, name in enumerate(program.slots)}
        self._described = [self._describe(instruction) for instruction in program.instructions]
        bound = [name for name in buffers if name not in self._lasting and name != "arena"]
        kept = None if changes is None else self._kept(changes)
        super().__init__({name: self._block_numbers[name] for name in bound}, _refused, kept)

    def make_executor(self) -> executor.Executor:
        """One more, with an arena of its own."""
        program = self.program
        blocks: list[Any] = []
        for name in self._block_numbers:
            if name == "arena":
                blocks.append(aligned_zeros(program.arena_size, "uint8"))
            else:
                blocks.append(self._lasting.get(name))
        maxima = tuple(extent.maximum for extent in program.extents)
        run_block = self._block_numbers[RUN_BLOCK]
        whole = kernels.whole_preparation(self._dtype)
        return executor.Executor(self._described, blocks, maxima, len(program.slots), program.commit, run_block, whole)

    def _kept(self, changes: executor.Changes) -> executor.KeptFactors | None:
        """Packed copies of the weights by which products multiply, where they make these faster."""
        if self.program.commit < len(self.program.instructions):
            return None  # it changes weights or state itself
        factors: list[executor.KeptFactor] = []
        patience = 0.0
        for number, instruction in enumerate(self.program.instructions):
            kernel = instruction.operation.kernel
            if kernel is None or kernel.packing is None:
                continue
            weight = instruction.inputs[1]
            if weight is None or weight.block != "parameters":
                continue
            factor = self._factor(weight, bool(instruction.attributes.get("transpose_b")))
            k, n = factor.shape
            if size := kernel.packing.size(k, n, self._dtype):
                pack, work = kernels.address(kernel.packing.name, self._dtype), 2 * factor.nbytes / FAR_SPEED
                factors.append(executor.KeptFactor(product=number, weight=factor, size=size, kernel=pack, work=work))
                patience = max(patience, kernel.packing.patience)
        allocate = functools.partial(aligned_zeros, dtype=self._dtype)
        return executor.KeptFactors(changes, factors, patience, allocate) if factors else None

    def _factor(self, weight: Buffer, turned: bool) -> NDArray[Any]:
        """A weight as the matrix by which a product multiplies, k x n."""
        start = weight.offset // np.dtype(self._dtype).itemsize
        flat = self._lasting["parameters"][start : start + weight.spec.size]
        rows = flat.reshape(-1, at_maximum(weight.spec.shape)[-1])
        return rows.T if turned else rows

    def _describe(self, instruction: Instruction) -> tuple[Any, ...]:
        operation, attributes = instruction.operation, instruction.attributes
        kernel = operation.kernel
        if kernel is None:
            raise NotImplementedError(f"operation {operation.name!r} has no kernel: use backend='numpy'")
        padding = (None,) * ((kernel.n_outputs or 0) - len(instruction.outputs))
        outputs = instruction.outputs + padding
        operands = [self._operand(buffer) for buffer in outputs + instruction.inputs]
        specs = [None if b is None else b.spec for b in outputs + instruction.inputs]
        columns = tuple(self._columns[name] for name in operation.slots(attributes))
        scratch = kernel.scratch(specs, attributes)
        return (
            kernels.address(kernel.name, self._dtype),
            kernels.preparation(kernel.name, self._dtype),
            operands,
            len(outputs),
            columns + tuple(kernel.integers(attributes)),
            tuple(kernel.numbers(attributes)),
            (instruction.work, instruction.least_work),
            1 if is_serial(instruction) else 1 << 20,
            instruction.barrier,
            kernel.closes and scratch > 0,
            scratch,
        )

    def _operand(self, buffer: Buffer | None) -> tuple[Any, ...] | None:
        if buffer is None:
            return None
        extents = self.program.extents
        shape = tuple((extents.index(size),) if isinstance(size, Extent) else size for size in buffer.spec.shape)
        padded = buffer.block == "arena"  # where nothing else lies on a tensor's last cache line
        return self._block_numbers[buffer.block], buffer.offset, shape, TYPE_CODES[buffer.spec.dtype], padded


def _refused(status: int, done: int) -> StepError:
    """A kernel refused its operands (a label or an index out of range) after so many steps."""
    return StepError(status_message(status), done)


def aligned_zeros(size: int, dtype: str) -> NDArray[Any]:
    """Zeros that start at a multiple of ALIGNMENT bytes."""
    kind = np.dtype(dtype)
    memory = np.zeros(size * kind.itemsize + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size * kind.itemsize].view(kind)

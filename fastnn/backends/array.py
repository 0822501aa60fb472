"""Runs a Program with an array module: NumPy (slow and obvious, the check on every kernel) or CuPy (the GPU)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.backends import StepError
from fastnn.graph.plan import LASTING
from fastnn.kernels.executor import Changes, threads
from fastnn.program import Buffer, Extent, Instruction, Program, RunRow


def array_module(name: str) -> ModuleType:
    """NumPy, or CuPy if it is installed and finds a GPU.

    Raises
    ------
    ImportError
        If CuPy cannot be used; says what is missing.
    """
    if name == "numpy":
        return np
    try:
        import cupy
    except ImportError as problem:
        raise ImportError("backend='cupy' needs CuPy: pip install '.[cuda12]' or '.[cuda13]'") from problem
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as problem:
        raise ImportError(f"backend='cupy' needs an NVIDIA GPU and its driver: {problem}") from problem
    if devices == 0:
        raise ImportError("backend='cupy' needs an NVIDIA GPU: CuPy finds none")
    return cupy


class ArrayBackend:
    """Blocks are arrays of `xp`, and so is everything in between."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.xp = array_module(name)

    def block(self, size: int, dtype: str) -> Any:
        """Zeros in the module's memory."""
        return self.xp.zeros(size, dtype)

    def prepare(
        self, program: Program, dtype: str, blocks: Mapping[str, Any], changes: Changes | None = None
    ) -> ArrayRunner:
        """Binds a Program to the lasting blocks; nothing is kept beside them."""
        lasting = {**blocks, "constants": self.xp.asarray(program.constants)}
        if self.xp is np:
            return ArrayRunner(np, program, lasting)
        from fastnn.backends.captured import CapturedRunner

        return CapturedRunner(self.xp, program, lasting)

    def bring(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The arrays in the module's memory: on a GPU a copy, made once."""
        return {name: self.xp.asarray(array) for name, array in arrays.items()}

    def write(self, block: Any, start: int, values: NDArray[Any]) -> None:
        """Copies values into the block."""
        block[start : start + values.size] = self.xp.asarray(values)

    def to_numpy(self, block: Any) -> NDArray[Any]:
        """The block itself for NumPy; a copy for CuPy."""
        return block if self.xp is np else self.xp.asnumpy(block)


class ArrayRunner:
    """Steps and instructions are Python loops; each instruction calls its operation's reference."""

    def __init__(self, xp: ModuleType, program: Program, blocks: Mapping[str, Any]) -> None:
        self.xp = xp
        self.program = program
        self._blocks = blocks

    def run(self, table: NDArray[np.float64], arrays: Mapping[str, Any], done: NDArray[np.int64] | None = None) -> int:
        """Runs one step for each row of the table; see `Runner`.

        Raises
        ------
        StepError
            If an operation refused its operands (a label or an index out of range).
        """
        program = self.program
        counter = np.zeros(1, np.int64) if done is None else done
        blocks = self._bind(arrays)
        for step, row in enumerate(table):
            run, extents = self._read(row)
            try:
                for instruction in program.instructions[: program.commit]:
                    self._execute(instruction, blocks, extents, run)
                self._commit(blocks, extents, run, counter)
            except IndexError as problem:
                raise StepError(str(problem), step) from problem
            row[:] = [float(run[name]) for name in program.slots]
        return len(table)

    def time(self, table: NDArray[np.float64], arrays: Mapping[str, Any]) -> tuple[NDArray[np.float64], list[int]]:
        """Runs one step for each row of the table, with a look at the clock after each instruction; see `Runner`."""
        instructions = self.program.instructions
        times = np.zeros((len(table), len(instructions)))
        blocks = self._bind(arrays)
        for step, row in enumerate(table):
            run, extents = self._read(row)
            for number, instruction in enumerate(instructions):
                began = time.perf_counter()
                self._execute(instruction, blocks, extents, run)
                if self.xp is not np:
                    self.xp.cuda.get_current_stream().synchronize()
                times[step, number] = time.perf_counter() - began
        return times, [threads()] * len(instructions)  # NumPy's products may use as many

    def _bind(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """All blocks of a run: the lasting ones, the caller's arrays, and an arena."""
        arena = self.xp.zeros(self.program.arena_size, np.uint8)
        return {**self._blocks, **{name: self.xp.asarray(array) for name, array in arrays.items()}, "arena": arena}

    def _read(self, row: NDArray[np.float64]) -> tuple[RunRow, dict[Extent, int]]:
        """A row of the run table by name, and the extents in it."""
        run = RunRow(zip(self.program.slots, row.tolist(), strict=True))
        return run, self._extents(run)

    def _extents(self, run: RunRow) -> dict[Extent, int]:
        return {extent: int(run[extent.name]) for extent in self.program.extents}

    def _commit(
        self, blocks: Mapping[str, Any], extents: Mapping[Extent, int], run: RunRow,
        counter: NDArray[np.int64],
    ) -> None:  # fmt: skip
        """The part of a step that changes parameters and state: all of it, or none if Ctrl-C comes in between."""
        before = {name: block.copy() for name, block in self._blocks.items() if name in LASTING}
        made = int(counter[0])
        try:
            for instruction in self.program.instructions[self.program.commit :]:
                self._execute(instruction, blocks, extents, run)
            counter[0] = made + 1
        except BaseException:
            for name, block in before.items():
                self._blocks[name][...] = block
            counter[0] = made
            raise

    def _execute(self, instruction: Instruction, blocks: Mapping[str, Any], extents: Mapping[Extent, int],
                 run: RunRow) -> None:  # fmt: skip
        inputs = [self._view(buffer, blocks, extents) for buffer in instruction.inputs]
        attributes = _bound(dict(instruction.attributes), extents)
        with np.errstate(all="ignore"):
            results = instruction.operation.reference(self.xp, inputs, attributes, run)
        for buffer, result in zip(instruction.outputs, results, strict=False):
            if buffer is not None:
                target = self._view(buffer, blocks, extents)
                rows: Any = ...
                if instruction.operation.window is not None:
                    rows = run.rows_at(self.xp, instruction.operation.window(attributes), len(result), len(target))
                target[rows] = result

    def _view(self, buffer: Buffer | None, blocks: Mapping[str, Any], extents: Mapping[Extent, int]) -> Any:
        if buffer is None:
            return None
        block = blocks[buffer.block]
        if buffer.block.startswith(("input:", "output:")):
            return block
        shape = tuple(extents[size] if isinstance(size, Extent) else size for size in buffer.spec.shape)
        size = int(np.prod(shape, dtype=np.int64))
        kind = np.dtype(buffer.spec.dtype)
        memory = block.view(np.uint8)[buffer.offset : buffer.offset + size * kind.itemsize]
        return memory.view(kind).reshape(shape)


def _bound(value: Any, extents: Mapping[Extent, int]) -> Any:
    """An attribute with every extent replaced by its value in this step."""
    if isinstance(value, Extent):
        return extents[value]
    if isinstance(value, tuple):
        return tuple(_bound(each, extents) for each in value)
    if isinstance(value, dict):
        return {key: _bound(each, extents) for key, each in value.items()}
    return value

"""Two ways to run one Program: `native` (compiled kernels) and `array` (NumPy or CuPy, operation by operation).

A backend makes blocks of memory and prepares Programs; a prepared Program is a `Runner`. They are looked up by name
once, when a network is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastnn.kernels.executor import Changes
from fastnn.program import Program

NAMES = ("native", "numpy", "cupy")


class Runner(Protocol):
    """A Program bound to blocks of memory."""

    program: Program

    def run(self, table: NDArray[np.float64], arrays: dict[str, Any], done: NDArray[np.int64] | None = None) -> int:
        """Runs one step for each row of the table; `arrays` are bound to the blocks of these names.

        Returns the number of steps done, all of them unless an exception is raised; a signal handler's comes through
        between two instructions before the commit point. Slots that instructions write are found in the table
        afterwards. Each finished step adds 1 to `done` in the same breath, so that it is true after an exception too.
        """
        ...

    def time(self, table: NDArray[np.float64], arrays: dict[str, Any]) -> tuple[NDArray[np.float64], list[int]]:
        """Does the same, one instruction after the other.

        Returns the seconds of each instruction (column) in each step (row), and the threads that each used.
        """
        ...


class Backend(Protocol):
    """Memory for blocks, and Runners for Programs."""

    name: str

    def block(self, size: int, dtype: str) -> Any:
        """A block of `size` zeros, aligned to a cache line, that will never move."""
        ...

    def prepare(
        self, program: Program, dtype: str, blocks: Mapping[str, Any], changes: Changes | None = None
    ) -> Runner:
        """Binds a Program to the lasting blocks.

        With `changes`, which counts those of the block "parameters", the runner may keep what follows from parameters
        that the Program does not change itself.
        """
        ...

    def bring(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Arrays that many runs will read, where the backend reads them: moved to the device, if there is one."""
        ...

    def write(self, block: Any, start: int, values: NDArray[Any]) -> None:
        """Copies a flat NumPy array into a block, from element `start` on."""
        ...

    def to_numpy(self, block: Any) -> NDArray[Any]:
        """The block's memory as a NumPy array: itself where it is one, a copy from the device otherwise."""
        ...


class StepError(RuntimeError):
    """A step was abandoned before its commit point; `done` steps of the run were finished before it."""

    def __init__(self, message: str, done: int) -> None:
        super().__init__(message)
        self.done = done


def get(name: str) -> Backend:
    """The backend of this name: "native", "numpy" or "cupy".

    Raises
    ------
    ValueError
        If there is no such backend.
    ImportError
        If CuPy is asked for and is not installed or finds no GPU.
    """
    if name == "native":
        from fastnn.backends.native import NativeBackend

        return NativeBackend()
    if name in NAMES:
        from fastnn.backends.array import ArrayBackend

        return ArrayBackend(name)
    raise ValueError(f"backend must be one of {', '.join(map(repr, NAMES))}, got {name!r}")

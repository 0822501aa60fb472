"""The array backend on a device that works through a queue, a GPU: nothing waits for a number to come back.

A step's row of the run table lies in device memory, and the references read numbers from there, so that the same
commands serve every step. They are given once for real, once while CUDA writes them down as a graph, and from then on
the graph is launched: one command a step. What a reference would refuse (an index out of range) it cannot see at that
time; it leaves a flag, and the flags are looked at when the run is over.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.backends import StepError
from fastnn.backends.array import ArrayRunner
from fastnn.program import Extent, Program, RunRow

Key = tuple[Any, ...]
MOST_GRAPHS = 64  # kept: more kinds of steps begin anew


class DeviceRow(RunRow):
    """A row of the run table in device memory: reading gives arrays without dimensions, setting writes into the row."""

    def __init__(self, xp: ModuleType, row: Any, slots: tuple[str, ...], extents: Mapping[str, int]) -> None:
        self._columns = {name: row[column : column + 1].reshape(()) for column, name in enumerate(slots)}
        super().__init__({**self._columns, **extents})
        self._xp = xp
        self.faults: dict[str, Any] = {}  # by message: whether it happened, in any step so far

    def __setitem__(self, name: str, value: Any) -> None:
        self._columns[name][...] = value

    def refuse(self, condition: Any, message: str) -> None:
        """Notes it; see `CapturedRunner.run`."""
        if message not in self.faults:
            self.faults[message] = self._xp.zeros((), bool)
        self.faults[message] |= condition

    def rows_at(self, xp: ModuleType, slot: str, n: int, total: int) -> Any:
        """The numbers of the rows: where they begin is not known yet."""
        rows = self[slot].astype(np.int64) + xp.arange(n)
        self.refuse(xp.any((rows < 0) | (rows >= total)), f"an index is out of range: there are {total} rows")
        return rows


class CapturedRunner(ArrayRunner):
    """One Program, one arena and one graph for each size of its extents and each set of arrays."""

    def __init__(self, xp: ModuleType, program: Program, blocks: Mapping[str, Any]) -> None:
        super().__init__(xp, program, blocks)
        self._arena = xp.zeros(program.arena_size, np.uint8)
        self._row = xp.zeros(len(program.slots))
        self._graphs: dict[Key, Any] = {}
        self._rows: dict[Key, DeviceRow] = {}
        self._places: dict[Key, Any] = {}
        self._alone = threading.Lock()  # runs share the arena
        self._cuda = getattr(xp, "cuda", None)
        if self._cuda is not None:
            self._stream = self._cuda.Stream(non_blocking=True)
            self._pool = self._cuda.MemoryPool()  # what graphs write to in between belongs to nobody else

    def run(self, table: NDArray[np.float64], arrays: Mapping[str, Any], done: NDArray[np.int64] | None = None) -> int:
        """Queues one step for each row of the table, and waits for the last; see `Runner`.

        Raises
        ------
        StepError
            If an operation refused its operands in any of the steps, all of which were made: there is no commit point
            on a device.
        """
        launched = np.zeros(1, np.int64)
        with self._alone, self._queue():
            blocks = self._bind(arrays)
            rows = self.xp.asarray(table)
            try:
                self._launch(table, rows, blocks, launched)
            finally:
                table[: launched[0]] = self._to_host(rows[: launched[0]])
                if done is not None:
                    done += launched
            self._fetch(arrays, blocks)
            self._raise_faults(int(launched[0]))
        return int(launched[0])

    def _launch(self, table: NDArray[np.float64], rows: Any, blocks: Mapping[str, Any],
                launched: NDArray[np.int64]) -> None:  # fmt: skip
        """All steps, of which `launched` keeps count."""
        for step, line in enumerate(table):
            key = self._key(line, blocks)
            self._row[...] = rows[step]
            self._step(key, blocks)
            rows[step] = self._row
            launched += 1

    def _fetch(self, arrays: Mapping[str, Any], blocks: Mapping[str, Any]) -> None:
        """Copies outputs that were made on the device into the caller's arrays."""
        for name, array in arrays.items():
            if name.startswith("output:") and blocks[name] is not array:
                array[...] = self._to_host(blocks[name])

    def _raise_faults(self, launched: int) -> None:
        """Looks at the flags of all kinds of steps, and takes them down."""
        flags = [(message, flag) for row in self._rows.values() for message, flag in row.faults.items()]
        raised = [message for message, flag in flags if bool(flag)]
        for _, flag in flags if raised else ():
            flag[...] = False
        if raised:
            raise StepError(raised[0], launched)

    def _step(self, key: Key, blocks: Mapping[str, Any]) -> None:
        """The first time command by command; the second time the commands are written down; then the graph."""
        if key not in self._rows:
            if len(self._rows) >= MOST_GRAPHS:
                self._rows.clear()
                self._graphs.clear()
            self._rows[key] = DeviceRow(self.xp, self._row, self.program.slots, dict(key[0]))
            self._commands(key, blocks)
            return
        if key not in self._graphs:
            self._graphs[key] = self._capture(key, blocks)
        if self._graphs[key] is None:
            self._commands(key, blocks)
        else:
            self._graphs[key].launch(self._stream)

    def _capture(self, key: Key, blocks: Mapping[str, Any]) -> Any:
        """The step as a CUDA graph; None where that is not to be had."""
        if self._cuda is None:
            return None
        try:
            self._stream.begin_capture()
            try:
                self._commands(key, blocks)
            finally:
                graph = self._stream.end_capture()
        except Exception as problem:  # CuPy's and CUDA's own classes
            warnings.warn(f"steps run command by command: they could not be captured ({problem})", stacklevel=2)
            return None
        return graph

    def _commands(self, key: Key, blocks: Mapping[str, Any]) -> None:
        pool = self._cuda.using_allocator(self._pool.malloc) if self._cuda is not None else contextlib.nullcontext()
        with pool:
            self._execute_all(self._rows[key], blocks)

    def _execute_all(self, row: DeviceRow, blocks: Mapping[str, Any]) -> None:
        extents = self._extents(row)
        for instruction in self.program.instructions:
            self._execute(instruction, blocks, extents, row)

    def _key(self, line: NDArray[np.float64], blocks: Mapping[str, Any]) -> Key:
        """What a graph is good for: sizes, and the addresses of the caller's arrays."""
        places = tuple(_address(block) for name, block in blocks.items() if name.startswith(("input:", "output:")))
        return self._sizes(line), places

    def _sizes(self, line: NDArray[np.float64]) -> tuple[tuple[str, int], ...]:
        """The extents by name: the run table's first columns."""
        return tuple((extent.name, int(line[column])) for column, extent in enumerate(self.program.extents))

    def _bind(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **self._blocks,
            **{name: self._moved(name, array) for name, array in arrays.items()},
            "arena": self._arena,
        }

    def _moved(self, name: str, array: Any) -> Any:
        """An array of the host's in device memory, in the same place each time: a graph knows addresses."""
        if self.xp is np or not isinstance(array, np.ndarray):
            return array
        key = name, array.shape
        if key not in self._places:
            self._places[key] = self.xp.empty(array.shape, array.dtype)
        if name.startswith("input:"):
            self._places[key].set(np.ascontiguousarray(array))
        return self._places[key]

    def _read(self, row: NDArray[np.float64]) -> tuple[RunRow, dict[Extent, int]]:
        self._row[...] = self.xp.asarray(row)
        run = DeviceRow(self.xp, self._row, self.program.slots, dict(self._sizes(row)))
        return run, self._extents(run)

    @contextlib.contextmanager
    def _queue(self) -> Iterator[None]:
        """Commands go to a queue of their own, after all that was asked for before."""
        if self._cuda is None:
            yield
            return
        self._cuda.Stream.null.synchronize()
        with self._stream:
            yield
            self._stream.synchronize()

    def _to_host(self, array: Any) -> NDArray[Any]:
        return array if self.xp is np else self.xp.asnumpy(array)


def _address(array: Any) -> int:
    return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr

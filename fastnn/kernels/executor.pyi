"""Types of the compiled executor."""

from typing import Any

HAS_OPENMP: bool

def set_cpu_quota(cpus: int) -> None: ...
def set_threads(n: int) -> None: ...
def threads() -> int: ...
def after_fork_in_child() -> None: ...
def is_serial_child() -> bool: ...
def call(
    kernel: int,
    operands: tuple[Any, ...],
    n_outputs: int,
    integers: tuple[int, ...] = ...,
    numbers: tuple[float, ...] = ...,
    work: float = ...,
    n_threads: int = ...,
    scratch: Any = ...,
    run: Any = ...,
) -> int: ...

class Executor:
    def __init__(
        self,
        instructions: list[Any],
        blocks: list[Any],
        maxima: tuple[int, ...],
        n_slots: int,
        commit: int,
        run_block: int,
    ) -> None: ...
    def bind(self, block: int, array: Any) -> None: ...
    def run(self, table: Any) -> tuple[Any, int]: ...

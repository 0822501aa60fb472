"""Types of the compiled front of calls on arrays."""

from collections.abc import Callable, Mapping
from typing import Any

from fastnn.program import Spec

DISTURBED: int
MAX_AXES: int

class Call:
    results: tuple[Spec, ...]
    def __init__(
        self,
        kernel: int,
        *,
        operands: tuple[Any, ...],
        results: tuple[Spec, ...],
        n_inputs: int,
        labels: tuple[int, ...],
        attributes: dict[str, Any],
        slots: tuple[str, ...],
        integers: tuple[int, ...],
        numbers: tuple[float, ...],
        work: float,
        scratch: int,
        parallel: bool,
        closes: bool,
        in_place: bool,
    ) -> None: ...
    def run(
        self, results: tuple[Any, ...], inputs: tuple[Any, ...], run: Mapping[str, float], careful: bool = False
    ) -> int: ...

class Front:
    def __init__(
        self,
        operation: Any,
        address_of: Callable[[str, str], int],
        preparation_of: Callable[[str, str], int],
        scratch_address_of: Callable[[str], int],
    ) -> None: ...
    def remember(
        self, call: Call, inputs: tuple[Any, ...], labels: tuple[int, ...], attributes: dict[str, Any]
    ) -> None: ...
    def find(self, inputs: tuple[Any, ...], labels: tuple[int, ...], attributes: dict[str, Any]) -> Call | None: ...
    def recall(
        self,
        inputs: tuple[Any, ...],
        out: Any,
        labels: tuple[int, ...],
        attributes: dict[str, Any],
        run: Mapping[str, float],
    ) -> tuple[Any, ...] | None: ...

def attempt(front: Front, inputs: tuple[Any, ...], out: Any, attributes: dict[str, Any]) -> Any: ...
def make_dispatch(prepare: Callable[[str], Front], general: Callable[..., Any]) -> Callable[..., Any]: ...
def product_with_front(front: Front, general: Callable[..., Any]) -> Callable[..., Any]: ...

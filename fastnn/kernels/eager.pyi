"""Types of the compiled front of calls on arrays."""

from collections.abc import Callable
from typing import Any

class Front:
    def __init__(
        self,
        operation: Any,
        address_of: Callable[[str, str], int],
        product_scratch: Callable[[int, int, int, str], int],
    ) -> None: ...

def attempt(front: Front, inputs: tuple[Any, ...], out: Any, attributes: dict[str, Any]) -> Any: ...
def make_dispatch(prepare: Callable[[str], Front | None], general: Callable[..., Any]) -> Callable[..., Any]: ...

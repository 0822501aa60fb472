"""Numbers that leave a Program through the run table: the loss of each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn.program import Attributes, Kernel, Operation, Spec, register


def _infer(inputs: Sequence[Spec | None], attributes: Attributes) -> list[Spec]:
    value = inputs[0]
    if value is None or value.shape != ():
        raise ValueError(f"only a single number can be recorded, got shape {value.shape if value else None}")
    return []


def _reference(xp: Any, inputs: Sequence[Any], attributes: Attributes, run: Any) -> list[Any]:
    run[attributes["slot"]] = inputs[0].copy()
    return []


register(
    Operation(
        "record",
        infer=_infer,
        reference=_reference,
        kernel=Kernel("record", parallel=False),
        slots=lambda attributes: (attributes["slot"],),
        flops=lambda inputs, outputs, attributes: 0,
        effect=True,
    )
)

"""Activations: elementwise functions of one tensor, each with its slope beside it."""

from __future__ import annotations

from typing import Any

from fastnn.graph.tensor import Tensor, apply
from fastnn.ops._dispatch import Operand, dispatch, expect_floats
from fastnn.program import Kernel, Operation, register


def _same(name: str):  # type: ignore[no-untyped-def]
    def infer(inputs, attributes):  # type: ignore[no-untyped-def]
        expect_floats(name, *inputs)
        return [inputs[0]]

    return infer


register(
    Operation(
        "relu",
        infer=_same("relu"),
        reference=lambda xp, inputs, attributes, run: [xp.maximum(inputs[0], 0)],
        gradient=lambda node, gradients: [apply("relu_slope", gradients[0], node.outputs[0])],
        kernel=Kernel("unary", integers=lambda attributes: (0,)),
        epilogue="forward",
    )
)


def relu(x: Operand, *, out: Any = None) -> Any:
    """max(x, 0), elementwise; NaN stays NaN."""
    return dispatch("relu", [x], out)


_ = Tensor

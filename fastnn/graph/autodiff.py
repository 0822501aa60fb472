"""Reverse-mode differentiation: walks a trace backwards and records the gradient of every step as further nodes.

Each operation's own rule (`Operation.gradient`) says how; this file only knows the chain rule's bookkeeping.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastnn.graph.tensor import Tensor, apply


def gradients(value: Tensor, variables: Sequence[Tensor]) -> list[Tensor | None]:
    """Symbols of d value / d variable, each with its variable's shape; None where `value` does not depend on it.

    Where a tensor is used several times its contributions are added in reverse order of the trace: this fixes the
    order of arithmetic, and so the bits.

    Raises
    ------
    ValueError
        If `value` is not a single number.
    """
    if value.shape != ():
        raise ValueError(f"only a single number can be differentiated, got shape {value.shape}")
    graph = value.node.graph
    nodes = graph.nodes[: graph.nodes.index(value.node) + 1]
    relevant = _depending_on(variables, nodes)
    contributions: dict[Tensor, Tensor] = {value: graph.constant(1.0)}
    for node in reversed(nodes):
        output_gradients = [contributions.get(output) for output in node.outputs]
        if node not in relevant or node.operation.gradient is None or all(g is None for g in output_gradients):
            continue
        for tensor, gradient in zip(node.inputs, node.operation.gradient(node, output_gradients), strict=False):
            if tensor is None or gradient is None or tensor.node not in relevant:
                continue
            if tensor in contributions:
                contributions[tensor] = apply("add", contributions[tensor], gradient)
            else:
                contributions[tensor] = gradient
    return [contributions.get(variable) for variable in variables]


def _depending_on(variables: Sequence[Tensor], nodes: Sequence) -> set:
    """The nodes whose outputs change when a variable does, the variables' own nodes included."""
    relevant = {variable.node for variable in variables}
    for node in nodes:
        if any(tensor is not None and tensor.node in relevant for tensor in node.inputs):
            relevant.add(node)
    return relevant

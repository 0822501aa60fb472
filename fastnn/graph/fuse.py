"""Fusion: what follows a product moves into it, where its result is still in a register or cache.

Only traits of the operations decide, never their names, and never does a fusion change a bit of the result: the product
applies the very function that the separate instruction would have applied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastnn.graph.tensor import Node, Tensor, specs
from fastnn.program import OPERATIONS, Operation


@dataclass(eq=False, repr=False)
class Call:
    """A node on its way to becoming an instruction: fusion may add outputs, inputs and attributes."""

    operation: Operation
    outputs: list[Tensor | None]
    inputs: list[Tensor | None]
    attributes: dict[str, Any]


SOURCES = ("input", "variable", "constant")


def live_calls(nodes: Sequence[Node], wanted: Sequence[Tensor]) -> list[Call]:
    """The nodes that the wanted tensors depend on, in order; an output that nobody reads becomes None."""
    needed = set(wanted)
    calls: list[Call] = []
    for node in reversed(nodes):
        keeps = node.operation.effect or bool(node.operation.in_place)
        if node.operation.name in SOURCES or not (keeps or any(output in needed for output in node.outputs)):
            continue
        needed.update(tensor for tensor in node.inputs if tensor is not None)
        outputs = [output if keeps or output in needed else None for output in node.outputs]
        calls.append(Call(node.operation, outputs, list(node.inputs), dict(node.attributes)))
    calls.reverse()
    return calls


def fuse(calls: Sequence[Call], wanted: Sequence[Tensor]) -> list[Call]:
    """Moves epilogues into products.

    "forward": y = f(z) joins the product that computes z; where others read z too (the slope of GELU does), the product
    writes both. "slope": dx = dy * f'(s) joins the product that computes dy, if nobody else reads dy.
    """
    readers = Counter(tensor for call in calls for tensor in call.inputs if tensor is not None)
    readers.update(wanted)
    producer: dict[Tensor | None, Call] = {call.outputs[0]: call for call in calls if call.operation.takes_epilogue}
    merged: dict[int, Call] = {}  # id of an absorbed call -> the call that takes its place (or one already placed)
    for call in calls:
        product = producer.get(call.inputs[0]) if call.operation.epilogue and call.inputs else None
        if product is None or "epilogue" in product.attributes or product.attributes.get("accumulate"):
            continue
        before = call.inputs[0]
        assert before is not None
        only_reader = readers[before] == 1
        attributes = {**product.attributes, "epilogue": call.operation.name, "epilogue_attributes": call.attributes}
        if call.operation.epilogue == "forward":
            kept = None if only_reader else before
            inputs = _padded(product.inputs, 3)
            _replace(product, Call(product.operation, [call.outputs[0], kept], inputs, attributes))
            merged[id(call)] = product
        elif call.operation.epilogue == "slope" and only_reader:
            # The saved tensor may be made after the product: the fused call stands where the slope stood.
            inputs = [*_padded(product.inputs, 3), call.inputs[1]]
            _replace(call, Call(product.operation, [call.outputs[0], None], inputs, attributes))
            merged[id(product)] = call
    return _fuse_updates([call for call in calls if id(call) not in merged], wanted)


def _fuse_updates(calls: Sequence[Call], wanted: Sequence[Tensor]) -> list[Call]:
    """Moves plain updates into the calls that compute their gradients, which are then never stored.

    The fused call stands where the gradient was computed, or after the last other call that reads the weight. So that
    none comes to read a weight that has changed already, calls that compute with weights stay as they are.
    """
    readers: Counter[Tensor | None] = Counter(tensor for call in calls for tensor in call.inputs)
    readers.update(wanted)
    position = {call.outputs[0]: number for number, call in enumerate(calls) if call.outputs}
    following: dict[int, list[Call]] = {}  # number of a call -> those that come right after it
    absorbed: set[int] = set()
    updates = {number: call for number, call in enumerate(calls) if call.operation.plain_update(call.attributes)}
    weights = {call.inputs[2] for call in updates.values()}
    for number, call in updates.items():
        if call.inputs[0] not in position:
            continue
        made = position[call.inputs[0]]
        fused = _with_update(calls[made], call) if readers[calls[made].outputs[0]] == 1 else None
        readings = [i for i, other in enumerate(calls) if other is not call and call.inputs[2] in other.inputs]
        viewed = any(calls[i].operation.view for i in readings)  # then some readers know it by another name
        if fused and not viewed and not any(_seen(factor) in weights for factor in fused.inputs[:-1]):
            following.setdefault(max([made, *readings]), []).append(fused)
            absorbed |= {made, number}
    result: list[Call] = []
    for number, call in enumerate(calls):
        result += [] if number in absorbed else [call]
        result += following.get(number, [])
    return result


def _seen(tensor: Tensor | None) -> Tensor | None:
    """What a view looks at; other tensors themselves."""
    while tensor is not None and tensor.node.operation.view:
        tensor = tensor.node.inputs[0]
    return tensor


def _with_update(made: Call, update: Call) -> Call | None:
    """What makes a gradient and the update in one, if it can do that: its inputs are the same, and the weight."""
    name = made.operation.with_update(specs(made.inputs), made.attributes)
    if name is None or update.inputs[1] is not None:  # a scale, which limits the global norm
        return None
    attributes = {**made.attributes, "rate_scale": update.attributes["rate_scale"]}
    inputs = [tensor for tensor in made.inputs if tensor is not None]
    return Call(OPERATIONS[name], list(update.outputs), [*inputs, update.inputs[2]], attributes)


def _padded(inputs: Sequence[Tensor | None], length: int) -> list[Tensor | None]:
    return [*inputs[:length], *[None] * (length - len(inputs))]


def _replace(call: Call, by: Call) -> None:
    call.operation, call.outputs, call.inputs, call.attributes = by.operation, by.outputs, by.inputs, by.attributes

"""One step as a Program: gather a batch, go forward, measure the loss, and, in training, go back and update.

Everything that changes between steps comes from the run table; what is traced here stays as it is for a whole `fit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastnn import ops
from fastnn.feed import Samples
from fastnn.graph.autodiff import gradients
from fastnn.graph.plan import Place, plan
from fastnn.graph.tensor import Graph, Tensor, apply, specs
from fastnn.layers.base import ROWS, Parameter
from fastnn.program import Extent, Program, Spec

LISTED = 2  # parameters that a name lists; of more, the first


class Kind(NamedTuple):
    """What a step has to do; Programs are cached by it.

    Attributes
    ----------
    rows
        The most rows of a batch.
    shuffled
        Whether rows are picked by an index list, or one after the other.
    collect
        Whether predictions are kept, for metrics.
    learn
        "": forward only. "gradients": leave them in their block. "accumulate": add them, times a share, to what is
        there. "update": change the parameters.
    """

    rows: int
    shuffled: bool = False
    collect: bool = False
    learn: str = ""


class Segment(NamedTuple):
    """A run of neighbouring parameters with the same settings, updated in one pass: offsets in elements."""

    start: int
    size: int
    rate_scale: float
    regularized: bool


def segments(network: Any, rate_scales: Mapping[Parameter, float], penalties: bool) -> dict[Parameter, Segment]:
    """The part of the parameter block that belongs to each trainable parameter, and how it is updated.

    `penalties` tells whether regularized parameters have to be told from others.
    """
    offsets = network.block.offsets
    ends = [*offsets.values(), network.block.size][1:]
    return {
        parameter: Segment(start, end - start, rate_scales.get(parameter, 1.0), parameter.regularized and penalties)
        for (parameter, start), end in zip(offsets.items(), ends, strict=True)
        if network.is_trainable(parameter)
    }


def joined(parts: Iterable[Segment]) -> list[Segment]:
    """The same segments, those that are neighbours and alike as one."""
    found: list[Segment] = []
    for part in parts:
        last = found[-1] if found else None
        if last and last == part._replace(start=last.start, size=last.size) and last.start + last.size == part.start:
            found[-1] = last._replace(size=last.size + part.size)
        else:
            found.append(part)
    return found


def trace_step(network: Any, losses: Sequence[Any], loss_weights: Sequence[float], samples: Samples, kind: Kind,
               optimizer: Any = None, rate_scales: Mapping[Parameter, float] | None = None,
               fused: bool = True) -> Program:  # fmt: skip
    """Traces and plans a step for data like `samples`; `rate_scales` multiply the learning rate of some parameters.

    Raises
    ------
    ValueError, TypeError
        If a loss does not suit the network's outputs.
    """
    rows = Extent(ROWS, kind.rows)
    graph = Graph(network.dtype, training=bool(kind.learn), seed=network.seed)
    places: dict[Tensor, Place] = {}
    outputs: dict[str, Tensor] = {}
    with graph:
        index = graph.input("index", (0,), "int64") if kind.shuffled else None
        layers = network.input_layers
        inputs = [_gather(graph, f"x{i}", array, index, rows, network.dtype, layers[i].scale)
                  for i, array in enumerate(samples.inputs)]  # fmt: skip
        predictions = network.trace(inputs)
        value = _total_loss(graph, predictions, losses, loss_weights, samples, index, rows)
        graph.add("record", [value], slot="loss")
        if kind.collect:
            for i, prediction in enumerate(predictions):
                kept = ops.collect(prediction, start="start")
                outputs[f"prediction{i}"] = kept
                places[kept] = Place(f"output:prediction{i}")
        if kind.learn:
            slopes = _differentiate(network, graph, value)
        if kind.learn == "update":
            parts = segments(network, rate_scales or {}, optimizer.has_penalties)
            _update_alone(graph, optimizer, slopes, parts)
            outputs |= _place_gradients(network, slopes, places)
            _update_together(network, graph, optimizer, joined(parts.values()), places)
        elif kind.learn == "accumulate":
            _accumulate(network, graph, slopes, places)
        elif kind.learn:
            outputs |= _place_gradients(network, slopes, places)
    places |= {tensor: network.block.place(variable) for variable, tensor in graph.variables.items()
               if isinstance(variable, Parameter)}  # fmt: skip
    return plan(graph, outputs, places, fused=fused)


def _gather(graph: Graph, name: str, array: Any, index: Tensor | None, rows: Extent, dtype: str,
            scale: float) -> Tensor:  # fmt: skip
    source = graph.input(name, (0, *array.shape[1:]), array.dtype.name)
    spec = Spec((rows, *array.shape[1:]), dtype)
    return apply("gather", source, index, spec=spec, scale=scale)


def _total_loss(graph: Graph, predictions: Sequence[Tensor], losses: Sequence[Any], loss_weights: Sequence[float],
                samples: Samples, index: Tensor | None, rows: Extent) -> Tensor:  # fmt: skip
    """The weighted sum of the outputs' losses."""
    total: Tensor | None = None
    for i, (prediction, loss) in enumerate(zip(predictions, losses, strict=True)):
        dtype = "int64" if samples.kinds[i].labels else graph.dtype
        target = _gather(graph, f"y{i}", samples.targets[i], index, rows, dtype, 1.0)
        factors = samples.weights[i]
        weights = None if factors is None else _gather(graph, f"weights{i}", factors, index, rows, graph.dtype, 1.0)
        value = loss(prediction, target, weights)
        if loss_weights[i] != 1.0:
            value = value * loss_weights[i]
        total = value if total is None else total + value
    assert total is not None
    return total


def trace_update(network: Any, optimizer: Any, rate_scales: Mapping[Parameter, float]) -> Program:
    """Plans the update alone, from gradients that lie in their block."""
    places: dict[Tensor, Place] = {}
    parts = segments(network, rate_scales, optimizer.has_penalties)
    with Graph(network.dtype, training=True, seed=network.seed) as graph:
        _update_together(network, graph, optimizer, joined(parts.values()), places)
    return plan(graph, {}, places)


def _differentiate(network: Any, graph: Graph, value: Tensor) -> dict[Parameter, Tensor]:
    """The gradient of every trainable parameter that the loss depends on."""
    wanted = {parameter: tensor for parameter, tensor in graph.variables.items() if network.is_trainable(parameter)}
    slopes = gradients(value, list(wanted.values()))
    if wanted and all(gradient is None for gradient in slopes):
        raise ValueError(
            "the loss has no gradient: it does not depend on a parameter that is trained, or a 'step' is in between "
            "(which fnn.Rosenblatt() trains)"
        )
    return {parameter: slope for parameter, slope in zip(wanted, slopes, strict=True) if slope is not None}


def _accumulate(network: Any, graph: Graph, slopes: Mapping[Parameter, Tensor], places: dict[Tensor, Place]) -> None:
    """Adds gradients, times the batch's share, to what lies in their block.

    That is a step of plain descent, on the block and with the share as its (negative) rate: the kernel for it is there.
    """
    for parameter, gradient in slopes.items():
        total = graph.variable(BlockPart(f"gradient of {parameter.name}", parameter.shape))
        places[total] = network.block.place(parameter, "gradients")
        ops.update("sgd", total, [], gradient, rate_scale=-1.0)


def _place_gradients(
    network: Any, slopes: Mapping[Parameter, Tensor], places: dict[Tensor, Place]
) -> dict[str, Tensor]:
    """Gives gradients their places in the gradient block, which holds zeros where there is none."""
    found: dict[str, Tensor] = {}
    for parameter, gradient in slopes.items():
        source = gradient.node.operation
        if gradient in places or source.view or source.name in ("input", "variable", "constant"):
            gradient = apply("reshape", gradient, shape=gradient.shape)  # an output of its own is a copy
        places[gradient] = network.block.place(parameter, "gradients")
        found[f"gradient of {parameter.name}"] = gradient
    return found


@dataclass(eq=False, repr=False)
class BlockPart:
    """A stretch of a block under a name: to the graph it is a variable like any other. Two may have one name."""

    name: str
    shape: tuple[int, ...]


def _update_alone(graph: Graph, optimizer: Any, slopes: dict[Parameter, Tensor],
                  parts: dict[Parameter, Segment]) -> None:  # fmt: skip
    """Records an update of its own, and takes it off both lists, for each gradient that fusion may put into its weight.

    Optimizers with state gain nothing: their pass over memory stays one.
    """
    if optimizer.n_states or optimizer.clip_norm is not None:
        return
    for parameter, slope in list(slopes.items()):
        source = slope.node
        if source.operation.with_update(specs(source.inputs), source.attributes):
            optimizer.update(graph.variables[parameter], [], slopes.pop(parameter), None, parts.pop(parameter))


def _update_together(network: Any, graph: Graph, optimizer: Any, parts: Sequence[Segment],
                     places: dict[Tensor, Place]) -> None:  # fmt: skip
    """Records one update for each segment, after the clip scale where the global norm is limited."""
    width = np.dtype(network.dtype).itemsize

    def part(block: str, each: Segment, number: int = 0) -> Tensor:
        covered = _covered(network, each)
        names = {"parameters": covered, "gradients": f"gradient of {covered}", "state": "state"}
        tensor = graph.variable(BlockPart(names[block], (each.size,)))
        places[tensor] = Place(block, (number * network.block.size + each.start) * width)
        return tensor

    slopes = [part("gradients", each) for each in parts]
    scale = ops.clip_scale(slopes, optimizer.clip_norm) if optimizer.clip_norm is not None and slopes else None
    for each, slope in zip(parts, slopes, strict=True):
        states = [part("state", each, number) for number in range(optimizer.n_states)]
        optimizer.update(part("parameters", each), states, slope, scale, each)


def _covered(network: Any, segment: Segment) -> str:
    """The parameters of a segment, in words."""
    offsets = network.block.offsets
    names = [parameter.name for parameter, start in offsets.items()
             if segment.start <= start < segment.start + segment.size]  # fmt: skip
    if len(names) <= LISTED:
        return " and ".join(names)
    return f"all {len(names)} parameters" if len(names) == len(offsets) else f"{names[0]} and {len(names) - 1} more"

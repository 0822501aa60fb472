"""What a training brings down and what it reports: a loss and metrics for each output of a network."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastnn import _check, losses, optimizers
from fastnn import metrics as metrics_module
from fastnn.reporting import Metric, as_list

PROBABILITIES = ("sigmoid", "softmax")  # activations that give them
RESERVED = ("loss", "seconds", "learning_rate")  # in the history beside the metrics


class Objective(NamedTuple):
    """What a network is trained on: the sum of its outputs' losses, each times its weight."""

    losses: tuple[losses.Loss, ...]
    weights: tuple[float, ...]


def find_objective(network: Any, loss: Any, weights: Any = None, optimizer: Any = None) -> Objective:
    """The losses for a network's outputs, from what people pass as `loss` and `loss_weights`.

    Without a loss it is what the network was last trained on; Rosenblatt's rule for its optimizer; or cross-entropy,
    if every output has several numbers.

    Raises
    ------
    ValueError, TypeError
        If a loss is unknown, does not suit the network, or cannot be guessed.
    """
    names = network.output_names
    known = network.objective
    if loss is None and isinstance(optimizer, optimizers.Rosenblatt):
        loss = losses.Rosenblatt()
    if loss is None and known is not None:
        for each in known.losses:
            if isinstance(each, losses.Forgotten):
                raise ValueError(f"the network was trained on {each.name!r}, which its file could only name: pass it "
                                 f"as loss=..., or load with custom_objects={{{each.name!r}: ...}}")  # fmt: skip
        return known if weights is None else Objective(known.losses, _find_weights(weights, names))
    if loss is None:
        if any(shape[-1:] == (1,) or not shape for shape in network.output_shapes):
            raise ValueError("name the loss: for example loss='mse', loss='binary_cross_entropy'")
        loss = "cross_entropy"
    found = tuple(losses.get(each) for each in _one_each(loss, names, "loss", repeat=True))
    for output, each in enumerate(found):
        if each.expects_logits and each.expects_logits == network.output_activations[output]:
            raise ValueError(
                f"{type(each).__name__} takes logits, but the network ends in {each.expects_logits}: leave that "
                "activation out (predict_proba applies it)"
            )
    return Objective(found, _find_weights(weights, names))


def find_metrics(network: Any, objective: Objective, metrics: Any) -> list[Metric]:
    """Metrics for every output, by default those of its loss; with several outputs their names come in front.

    What counts as a right answer depends on what an output says: see `_suited`.

    Raises
    ------
    ValueError, TypeError
        If a metric is unknown, or two have one name.
    """
    names = network.output_names
    if metrics is None:
        chosen = [list(loss.default_metrics) for loss in objective.losses]
    elif isinstance(metrics, Mapping):
        unknown = set(metrics) - set(names)
        if unknown:
            raise ValueError(f"metrics: expected keys among {sorted(names)}, got {sorted(map(str, metrics))}")
        chosen = [as_list(metrics.get(name, ())) for name in names]
    else:
        chosen = [as_list(metrics)] * len(names)
    found: list[Metric] = []
    for output, wanted in enumerate(chosen):
        for each in wanted:
            name, function = metrics_module.get(each)
            if name in RESERVED:
                raise ValueError(f"metrics: {name!r} is the name of something else that is reported")
            function = _suited(each, function, objective.losses[output], network.output_activations[output],
                               network.output_shapes[output])  # fmt: skip
            label = name if len(names) == 1 else f"{names[output]}_{name}"
            if any(label == other.label for other in found):
                raise ValueError(f"metrics: two are called {label!r}; give one another name: ('name', function)")
            found.append(Metric(label, output, function, _takes_weights(function), not isinstance(each, str)))
    return found


def _suited(given: Any, function: Any, loss: losses.Loss, activation: str, shape: tuple[int, ...]) -> Any:
    """A metric that counts right answers, for what an output says: logits or probabilities, one answer or several.

    Outputs that are trained on binary cross-entropy answer yes or no each, and each answer counts by itself. A
    `BinaryAccuracy` that somebody made keeps its threshold.
    """
    threshold = 0.5 if activation in PROBABILITIES else 0.0
    several = shape[-1:] not in ((), (1,))
    is_accuracy = function is metrics_module.accuracy
    if given == "binary_accuracy" or (is_accuracy and several and isinstance(loss, losses.BinaryCrossEntropy)):
        return metrics_module.BinaryAccuracy(threshold)
    return partial(metrics_module.accuracy, threshold=threshold) if is_accuracy and threshold else function


def _find_weights(factors: Any, names: Sequence[str]) -> tuple[float, ...]:
    """A factor for each output's loss."""
    if factors is None:
        return (1.0,) * len(names)
    if not isinstance(factors, (list, tuple, np.ndarray, Mapping)):
        raise ValueError(f"loss_weights: expected {len(names)} factors, one for each output, got {factors!r}")
    given = _one_each(factors, names, "loss_weights")
    for factor in given:
        _check.number("Trainer", "each of loss_weights", factor, low=0.0)
    return tuple(float(factor) for factor in given)


def _one_each(given: Any, names: Sequence[str], what: str, *, repeat: bool = False) -> list[Any]:
    """A list with an entry for each output, from a list in their order or a dict by name; `repeat` spreads a single."""
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise ValueError(f"{what}: expected the keys {sorted(names)}, got {sorted(map(str, given))}")
        return [given[name] for name in names]
    entries = [given] * len(names) if repeat and not isinstance(given, (list, tuple)) else list(given)
    if len(entries) != len(names):
        raise ValueError(f"{what}: expected {len(names)}, one for each output, got {len(entries)}")
    return entries


def _takes_weights(function: Any) -> bool:
    """Whether a metric can be called with `sample_weight=...`."""
    try:
        declared = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled functions may not tell
        return False
    return any(each.name == "sample_weight" or each.kind == inspect.Parameter.VAR_KEYWORD for each in declared)

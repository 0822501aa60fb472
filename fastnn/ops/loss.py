"""Losses: one operation each, which gives a number a row and the slope of their mean by the prediction.

The value of a loss is the mean of its rows, another instruction; so threads can share the rows. The slope is computed
with the rows, since both need the same intermediate results, and already has the mean's factor and the weights in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastnn.graph.tensor import Symbol, Tensor, apply, apply_all
from fastnn.ops._dispatch import Operand, as_array, dispatch, expect_floats
from fastnn.ops.reduction import mean, rank
from fastnn.ops.softmax import log_softmax_reference
from fastnn.program import TYPE_CODES, Attributes, Kernel, Operation, Shape, Spec, register

LABELS = tuple(name for name in TYPE_CODES if "int" in name)


def _check_weights(name: str, weights: Spec | None, prediction: Spec, rows: Shape) -> None:
    expect_floats(name, prediction, weights)
    if weights is not None and weights.shape not in (rows, prediction.shape[:1]):
        raise ValueError(
            f"{name}: weights must have shape {prediction.shape[:1]}, one for each row, got {weights.shape}"
        )


def _averaging_gradient(gradient: Any) -> Tensor | None:
    """The number g if a gradient of rows says "g times their mean"; None if it is anything else."""
    node = gradient.node
    if node.operation.name == "broadcast_to" and node.attributes["divide"] and node.inputs[0].ndim == 0:
        return node.inputs[0]
    return None


def _loss_gradient(node: Any, gradients: Sequence[Any]) -> list[Any]:
    """The slope times what the loss's mean is multiplied with; where rows are used otherwise, their own slopes."""
    if gradients[1] is not None:
        raise NotImplementedError(f"{node.operation.name}: second derivatives are not supported")
    upstream = _averaging_gradient(gradients[0])
    if upstream is not None:
        source, slope = upstream.node, node.outputs[1]
        is_one = source.operation.name == "constant" and source.attributes["value"] == 1.0
        return [slope if is_one else apply("multiply", slope, upstream), None, None]
    slope = apply_all(node.operation.name, *node.inputs, **{**node.attributes, "mean": False})[1]
    factors = apply("broadcast_to", gradients[0], shape=slope.shape, divide=False,
                    missing=tuple(range(gradients[0].ndim, slope.ndim)))  # fmt: skip
    return [apply("multiply", slope, factors), None, None]


def _expand(x: Any, ndim: int) -> Any:
    """An array with axes of one element behind its own."""
    return x.reshape(x.shape + (1,) * (ndim - x.ndim))


def _value_and_slope(values: Any, slopes: Any, weights: Any, mean: bool, scale: float) -> list[Any]:
    """Outputs of a loss operation from unweighted rows and slopes; `scale` is the slope's beside the rows' mean."""
    if weights is not None:
        values = values * _expand(weights, values.ndim)
        slopes = slopes * _expand(weights, slopes.ndim)
    divisor = values.size if mean else 1
    return [values, slopes * values.dtype.type(scale / max(divisor, 1))]


# ---------------------------------------------------------------------------------------------- element by element

# Each gives (losses, slopes), elementwise; `a` is Huber's delta or the label smoothing.
Pointwise = Callable[[Any, Any, Any, float], tuple[Any, Any]]


def _quadratic(xp: Any, p: Any, t: Any, a: float) -> tuple[Any, Any]:
    return (p - t) ** 2 / 2, p - t


def _squared_error(xp: Any, p: Any, t: Any, a: float) -> tuple[Any, Any]:
    return (p - t) ** 2, 2 * (p - t)


def _absolute_error(xp: Any, p: Any, t: Any, a: float) -> tuple[Any, Any]:
    return xp.abs(p - t), xp.sign(p - t)


def _huber(xp: Any, p: Any, t: Any, a: float) -> tuple[Any, Any]:
    d = p - t
    near = xp.abs(d) <= a
    return xp.where(near, d**2 / 2, a * (xp.abs(d) - a / 2)), xp.where(near, d, a * xp.sign(d))


def _hinge(xp: Any, p: Any, t: Any, a: float) -> tuple[Any, Any]:
    margin = 1 - t * p
    return xp.maximum(margin, 0), xp.where(margin > 0, -t, xp.zeros_like(t))


def _binary_cross_entropy(xp: Any, p: Any, t: Any, a: float) -> tuple[Any, Any]:
    t = t * (1 - a) + a / 2
    e = xp.exp(-xp.abs(p))
    return xp.maximum(p, 0) - p * t + xp.log1p(e), xp.where(p < 0, e, xp.ones_like(e)) / (1 + e) - t


def _perceptron(xp: Any, p: Any, t: Any, a: float) -> tuple[Any, Any]:
    y = xp.where(xp.isnan(p), p, (p >= 0).astype(p.dtype))
    return xp.abs(t - y) * xp.abs(p), y - t


# In the order of the kernel's kinds; whether elements are averaged within a row, or summed.
POINTWISE: dict[str, tuple[Pointwise, bool]] = {
    "quadratic": (_quadratic, False),
    "mean_squared_error": (_squared_error, True),
    "mean_absolute_error": (_absolute_error, True),
    "huber": (_huber, True),
    "hinge": (_hinge, True),
    "binary_cross_entropy": (_binary_cross_entropy, True),
    "perceptron": (_perceptron, False),
}


def _register_pointwise(name: str, kind: int, function: Pointwise, averages: bool) -> None:
    def infer(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
        prediction, target, weights = inputs
        expect_floats(name, prediction, target)
        if not prediction.shape or 0 in prediction.shape[1:]:
            raise ValueError(f"{name}: the prediction must have rows that are not empty, got shape {prediction.shape}")
        if target.shape != prediction.shape:
            raise ValueError(
                f"{name}: the target must have the prediction's shape {prediction.shape}, got {target.shape}"
            )
        _check_weights(name, weights, prediction, prediction.shape[:1])
        return [Spec(prediction.shape[:1], prediction.dtype), prediction]

    def reference(xp: Any, inputs: Sequence[Any], attributes: Attributes, run: Any) -> list[Any]:
        prediction, target, weights = inputs
        losses, slopes = function(xp, prediction, target, prediction.dtype.type(attributes["parameter"]))
        losses = losses.reshape(len(losses), -1)
        rows = losses.mean(axis=1) if averages else losses.sum(axis=1)
        scale = 1 / losses.shape[1] if averages else 1.0
        return _value_and_slope(rows, slopes, weights, attributes["mean"], scale)

    register(
        Operation(
            name,
            infer=infer,
            reference=reference,
            gradient=_loss_gradient,
            kernel=Kernel(
                "pointwise_loss",
                integers=lambda attributes: (kind, attributes["mean"]),
                numbers=lambda attributes: (attributes["parameter"],),
            ),
            flops=lambda inputs, outputs, attributes: 8 * inputs[0].size if inputs[0] else 0,
            cost=0.1,
        )
    )


for _kind, (_name, (_function, _averages)) in enumerate(POINTWISE.items()):
    _register_pointwise(_name, _kind, _function, _averages)


# ---------------------------------------------------------------------------------------------- cross-entropy


def _infer_cross_entropy(inputs: Sequence[Any], attributes: Attributes) -> list[Spec]:
    name = "cross_entropy"
    logits, target, weights = inputs
    expect_floats(name, logits)
    if len(logits.shape) < 2 or logits.shape[-1] == 0:
        raise ValueError(f"{name}: logits must have shape (rows, ..., classes), got {logits.shape}")
    rows = logits.shape[:-1]
    if target.dtype in LABELS:
        if target.shape != rows:
            raise ValueError(
                f"{name}: integer labels for logits {logits.shape} must have shape {rows}, got {target.shape}"
            )
    else:
        expect_floats(name, logits, target)
        if target.shape != logits.shape:
            raise ValueError(
                f"{name}: targets for logits {logits.shape} must be integer labels of shape {rows} or probabilities of "
                f"shape {logits.shape}, got {target.dtype} of shape {target.shape}"
            )
    _check_weights(name, weights, logits, rows)
    return [Spec(rows, logits.dtype), logits]


def _reference_cross_entropy(xp: Any, inputs: Sequence[Any], attributes: Attributes, run: Any) -> list[Any]:
    logits, target, weights = inputs
    classes = logits.shape[-1]
    if target.dtype.name in LABELS:
        run.refuse(xp.any((target < 0) | (target >= classes)), f"a class label is outside 0 ... {classes - 1}")
        target = (xp.arange(classes) == target[..., None]).astype(logits.dtype)
    smoothing = attributes["label_smoothing"]
    target = target * logits.dtype.type(1 - smoothing) + logits.dtype.type(smoothing / classes)
    likelihood = log_softmax_reference(xp, logits)
    rows = -xp.sum(xp.where(target == 0, xp.zeros_like(target), target * likelihood), axis=-1)
    slopes = xp.exp(likelihood) * xp.sum(target, axis=-1, keepdims=True) - target
    return _value_and_slope(rows, slopes, weights, attributes["mean"], 1.0)


register(
    Operation(
        "cross_entropy",
        infer=_infer_cross_entropy,
        reference=_reference_cross_entropy,
        gradient=_loss_gradient,
        kernel=Kernel(
            "cross_entropy",
            integers=lambda attributes: (attributes["mean"],),
            numbers=lambda attributes: (attributes["label_smoothing"],),
        ),
        flops=lambda inputs, outputs, attributes: 20 * inputs[0].size if inputs[0] else 0,
        cost=0.1,
    )
)


# ---------------------------------------------------------------------------------------------- public functions


def _check_smoothing(name: str, smoothing: float) -> float:
    if not 0 <= smoothing < 1:
        raise ValueError(f"{name}: label_smoothing must be at least 0 and below 1, got {smoothing!r}")
    return float(smoothing)


def _pointwise(name: str, prediction: Operand, target: Operand, weights: Operand | None, parameter: float = 0.0) -> Any:
    return mean(dispatch(name, [prediction, target, weights], mean=True, parameter=float(parameter))[0])


def cross_entropy(logits: Operand, labels: Operand, *, weights: Operand | None = None,
                  label_smoothing: float = 0.0) -> Any:  # fmt: skip
    """Softmax cross-entropy from logits[..., classes]: the mean over all rows of -log softmax(logits)[label].

    Parameters
    ----------
    logits
        [n, ..., classes], of any size.
    labels
        Whole numbers [...], or probabilities [..., classes].
    weights
        [...] or [n]: a factor for each row, or for each index of the first dimension. The sum of the weighted losses
        is divided by the number of rows, whatever the weights are.
    label_smoothing
        Labels move this much of the way to the uniform distribution (Szegedy et al., 2016).

    Raises
    ------
    TypeError
        If labels of one dimension less than the logits are not whole numbers.
    ValueError
        If shapes do not fit, or a label is outside 0 ... classes - 1.
    """
    smoothing = _check_smoothing("cross_entropy", label_smoothing)
    positions: tuple[int, ...] = ()
    if not isinstance(logits, Symbol):
        labels = as_array(labels, "labels")
        if labels.ndim == rank("cross_entropy", logits) - 1:
            if labels.dtype.kind not in "iu":
                raise TypeError(f"cross_entropy: labels must be whole numbers, got {labels.dtype}")
            positions = (1,)
    rows = dispatch("cross_entropy", [logits, labels, weights], labels=positions, mean=True, label_smoothing=smoothing)[
        0
    ]
    return mean(rows)


def binary_cross_entropy(logits: Operand, target: Operand, *, weights: Operand | None = None,
                         label_smoothing: float = 0.0) -> Any:  # fmt: skip
    """Sigmoid cross-entropy from logits, mean over all elements: max(z, 0) - z t + log(1 + exp(-|z|)).

    `target` has the logits' shape and lies between 0 and 1; `label_smoothing` moves it that much of the way to 1/2;
    `weights` has one factor a row.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    smoothing = _check_smoothing("binary_cross_entropy", label_smoothing)
    return _pointwise("binary_cross_entropy", logits, target, weights, smoothing)


def quadratic(prediction: Operand, target: Operand, *, weights: Operand | None = None) -> Any:
    """Half the squared distance of each row to its target, mean over rows (Nielsen's quadratic cost).

    Shapes: prediction[n, ...], target the same, weights[n].

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    return _pointwise("quadratic", prediction, target, weights)


def mean_squared_error(prediction: Operand, target: Operand, *, weights: Operand | None = None) -> Any:
    """The mean over all elements of (p - t)². Shapes: prediction[n, ...], target the same, weights[n].

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    return _pointwise("mean_squared_error", prediction, target, weights)


def mean_absolute_error(prediction: Operand, target: Operand, *, weights: Operand | None = None) -> Any:
    """The mean over all elements of |p - t|. Shapes: prediction[n, ...], target the same, weights[n].

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    return _pointwise("mean_absolute_error", prediction, target, weights)


def huber(prediction: Operand, target: Operand, *, weights: Operand | None = None, delta: float = 1.0) -> Any:
    """Quadratic up to a distance of delta and linear beyond (Huber, 1964), mean over all elements.

    Shapes: prediction[n, ...], target the same, weights[n].

    Raises
    ------
    ValueError
        If shapes do not fit or delta is not positive.
    """
    if not delta > 0:
        raise ValueError(f"huber: delta must be positive, got {delta!r}")
    return _pointwise("huber", prediction, target, weights, delta)


def hinge(prediction: Operand, target: Operand, *, weights: Operand | None = None) -> Any:
    """max(0, 1 - t p) for targets of -1 and +1, mean over all elements.

    Shapes: prediction[n, ...], target the same, weights[n].

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    return _pointwise("hinge", prediction, target, weights)


def perceptron(z: Operand, target: Operand, *, weights: Operand | None = None) -> Any:
    """Rosenblatt's criterion for step units y = [z >= 0] with targets 0 and 1: sum of |t - y| |z|, mean over rows.

    Its slope by z is (y - t) / n, so that gradient descent is Rosenblatt's rule (1958). Shapes: z[n, ...], target the
    same, weights[n].

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    return _pointwise("perceptron", z, target, weights)

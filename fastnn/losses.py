"""Losses: how far a prediction is from its target, as one number to bring down.

A loss is a small object that records its operations when it is called on symbols; any function
`(prediction, target) -> symbolic number` serves as well. Outputs before softmax or sigmoid are *logits*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from fastnn import _check, ops
from fastnn._config import Configurable
from fastnn.graph.tensor import Tensor


@dataclass(eq=False, repr=False)
class Loss(Configurable):
    """Base class: `loss(prediction, target, weights)` records operations and returns a symbolic number.

    Attributes
    ----------
    targets
        What the loss compares with: "classes" (integer labels, or one row of probabilities a sample), or "values"
        (floats of the prediction's shape).
    default_metrics
        What `evaluate` reports beside the loss when nobody asks for anything.
    """

    targets: ClassVar[str] = "values"
    default_metrics: ClassVar[tuple[str, ...]] = ()
    signs: ClassVar[bool] = False  # targets are -1 or +1 and nothing between
    target_range: ClassVar[tuple[float, float] | None] = None  # what targets that are no labels must lie between
    expects_logits: ClassVar[str | None] = None  # the activation that must not have been applied to the prediction

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean loss of the batch; `weights` has one factor a row."""
        raise NotImplementedError


@dataclass(eq=False, repr=False)
class CrossEntropy(Loss):
    """Softmax cross-entropy from logits (..., classes): mean over rows of -log softmax(z)[label].

    Parameters
    ----------
    label_smoothing
        In [0, 1): this much of each label's probability is spread evenly over all classes (Szegedy et al., 2016).
    """

    label_smoothing: float = 0.0
    targets: ClassVar[str] = "classes"
    target_range: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    expects_logits: ClassVar[str | None] = "softmax"

    def __post_init__(self) -> None:
        _check.number("CrossEntropy", "label_smoothing", self.label_smoothing, low=0.0, high=1.0, high_open=True)

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """See the class."""
        return ops.cross_entropy(prediction, target, weights=weights, label_smoothing=self.label_smoothing)


@dataclass(eq=False, repr=False)
class BinaryCrossEntropy(Loss):
    """Sigmoid cross-entropy from logits, against targets between 0 and 1: mean over all elements.

    Parameters
    ----------
    label_smoothing
        In [0, 1): targets move this much of the way to 1/2.
    """

    label_smoothing: float = 0.0
    default_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    target_range: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    expects_logits: ClassVar[str | None] = "sigmoid"

    def __post_init__(self) -> None:
        _check.number("BinaryCrossEntropy", "label_smoothing", self.label_smoothing, low=0.0, high=1.0, high_open=True)

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """See the class."""
        return ops.binary_cross_entropy(prediction, target, weights=weights, label_smoothing=self.label_smoothing)


@dataclass(eq=False, repr=False)
class Quadratic(Loss):
    """Half the sum of squared differences over the outputs, mean over the batch (Nielsen's quadratic cost)."""

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """See the class."""
        return ops.quadratic(prediction, target, weights=weights)


@dataclass(eq=False, repr=False)
class MeanSquaredError(Loss):
    """The mean over all elements of the squared difference."""

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """See the class."""
        return ops.mean_squared_error(prediction, target, weights=weights)


@dataclass(eq=False, repr=False)
class MeanAbsoluteError(Loss):
    """The mean over all elements of the absolute difference."""

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """See the class."""
        return ops.mean_absolute_error(prediction, target, weights=weights)


@dataclass(eq=False, repr=False)
class Huber(Loss):
    """Quadratic for differences up to delta, linear beyond (Huber, 1964): mean over all elements.

    Parameters
    ----------
    delta
        Positive, in the target's units.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        _check.number("Huber", "delta", self.delta, low=0.0, low_open=True)

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """See the class."""
        return ops.huber(prediction, target, weights=weights, delta=self.delta)


@dataclass(eq=False, repr=False)
class Hinge(Loss):
    """max(0, 1 - t p) for targets of -1 and +1: mean over all elements."""

    signs: ClassVar[bool] = True

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """See the class."""
        return ops.hinge(prediction, target, weights=weights)


@dataclass(eq=False, repr=False)
class Rosenblatt(Loss):
    """Rosenblatt's rule for perceptrons (1958): w += rate * (t - y) x, for step units and targets of 0 and 1.

    The step has no slope, so this is no gradient of the error; it is one of the perceptron criterion |t - y| |z|, where
    z is what enters the step, and plain SGD on that is exactly the rule. The network must end in a "step" activation.
    """

    target_range: ClassVar[tuple[float, float] | None] = (0.0, 1.0)

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """See the class.

        Raises
        ------
        ValueError
            If the prediction does not come from a step.
        """
        before = prediction.node.inputs[0] if prediction.node.operation.name == "step" else None
        if before is None:
            raise ValueError(
                f"Rosenblatt's rule needs a network that ends in a 'step' activation, got one that ends in "
                f"{prediction.node.operation.name!r}"
            )
        return ops.perceptron(before, target, weights=weights)


@dataclass(eq=False, repr=False)
class Custom(Loss):
    """A function `(prediction, target) -> symbolic number` in a Loss's clothes; sample weights are not supported."""

    function: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Calls the function.

        Raises
        ------
        ValueError
            If sample weights are given, or the function returns something other than a symbolic number.
        """
        name = getattr(self.function, "__name__", "the loss")
        if weights is not None:
            raise ValueError(f"loss {name!r} is a plain function, which cannot use sample or class weights")
        value = self.function(prediction, target)
        if not isinstance(value, Tensor) or value.shape != ():
            came = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"loss {name!r} must return one symbolic number (use ops.mean), got {came}")
        return value

    def config(self) -> dict[str, Any]:
        """Functions are saved by name only, and must be given again at loading."""
        return {"type": "Loss.Custom", "function": getattr(self.function, "__name__", "loss")}


@dataclass(eq=False, repr=False)
class Forgotten(Loss):
    """Stands for a loss that a file could only name: a function, or a class that is not defined here."""

    name: str

    def config(self) -> dict[str, Any]:
        """As that of the function."""
        return {"type": "Loss.Custom", "function": self.name}


LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "quadratic": Quadratic,
    "mse": MeanSquaredError,
    "mean_squared_error": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "huber": Huber,
    "hinge": Hinge,
    "rosenblatt": Rosenblatt,
}


def get(loss: Any) -> Loss:
    """A loss by name, object or function.

    Raises
    ------
    ValueError
        If there is no loss of this name.
    TypeError
        If it is neither a name nor callable.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"unknown loss {loss!r}; there are {', '.join(LOSSES)}")
        return LOSSES[loss]()
    if isinstance(loss, type) and issubclass(loss, Loss):
        return loss()
    if callable(loss):
        return Custom(loss)
    raise TypeError(f"loss must be a name, a Loss or a function, got {type(loss).__name__}")

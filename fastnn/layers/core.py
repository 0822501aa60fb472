"""The layers of the textbook: weigh, sum, add a bias and bend; and dropout, which forgets at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastnn import _check, ops
from fastnn.graph.tensor import Tensor, current
from fastnn.layers.base import Layer, as_shape

ActivationLike = str | Callable[[Tensor], Tensor] | None


def check_activation(activation: Any, what: str) -> Any:
    """An activation's name or a function of a symbolic tensor, as it came.

    Raises
    ------
    ValueError, TypeError
        If there is none of this name, or it is something else.
    """
    if activation is None or callable(activation):
        return activation
    if not isinstance(activation, str):
        raise TypeError(f"{what}: activation must be a name, a function or None, got {type(activation).__name__}")
    if activation not in ops.ACTIVATIONS:
        raise ValueError(f"{what}: unknown activation {activation!r}; there are {', '.join(sorted(ops.ACTIVATIONS))}")
    return activation


def activate(x: Tensor, activation: ActivationLike) -> Tensor:
    """Applies an activation given by name, by function, or None for the identity."""
    if activation is None:
        return x
    if callable(activation):
        return activation(x)
    return ops.activate(x, activation)


class Dense(Layer):
    """A fully connected layer: y = f(x W + b).

    Input (..., in), output (..., units); parameters `weight` (in, units) and `bias` (units,).

    Parameters
    ----------
    units
        Number of neurons.
    activation
        A name ("relu", "sigmoid", ...), a function of a symbolic tensor, or None for none.
    use_bias
        False leaves b out.
    weight_initializer, bias_initializer
        See `fastnn.initializers`.

    Raises
    ------
    ValueError
        If units is below 1, or an activation or initializer is unknown.
    """

    def __init__(
        self,
        units: int,
        activation: ActivationLike = None,
        *,
        use_bias: bool = True,
        weight_initializer: Any = "glorot",
        bias_initializer: Any = "zeros",
        name: str = "",
    ) -> None:
        self.units = as_shape(units, "Dense: units")[0]
        self.activation = check_activation(activation, "Dense")
        self.use_bias = use_bias
        self.weight_initializer = weight_initializer
        self.bias_initializer = bias_initializer
        self.name = name

    def build(self, shape: tuple[int, ...]) -> None:  # type: ignore[override]
        """Weight and bias for an input of this shape."""
        if not shape:
            raise ValueError(f"{self.label} needs an input with at least one axis beside the batch, got none")
        self.weight = self.parameter("weight", (shape[-1], self.units), self.weight_initializer)
        self.bias = self.parameter("bias", (self.units,), self.bias_initializer) if self.use_bias else None

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """f(x W + b)."""
        return activate(ops.matmul(x, self.weight, bias=self.bias), self.activation)


class Activation(Layer):
    """An activation as a layer of its own; any shape.

    Parameters
    ----------
    activation
        A name or a function of a symbolic tensor.
    """

    def __init__(self, activation: str | Callable[[Tensor], Tensor], *, name: str = "") -> None:
        if activation is None:
            raise TypeError("Activation: activation must be a name or a function, got None")
        self.activation = check_activation(activation, "Activation")
        self.name = name

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """f(x)."""
        return activate(x, self.activation)


class Dropout(Layer):
    """Sets a random part of its inputs to zero while training and scales the others by 1 / (1 - rate).

    Nothing happens outside training. Srivastava et al., 2014.

    Parameters
    ----------
    rate
        The part that is dropped, in [0, 1).
    """

    def __init__(self, rate: float, *, name: str = "") -> None:
        _check.number("Dropout", "rate", rate, low=0.0, high=1.0, high_open=True)
        self.rate = float(rate)
        self.name = name

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Dropout where the trace is for training, x itself elsewhere."""
        return ops.dropout(x, self.rate) if current().training and self.rate else x

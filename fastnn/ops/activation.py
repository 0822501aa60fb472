"""Activations: elementwise functions of one tensor, each with its slope beside it.

A slope is taken from the output y where that determines it (there is no need to keep x then), else from the input x.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from fastnn.ops._dispatch import Array, Operand, dispatch
from fastnn.ops._elementwise import register_function
from fastnn.program import Attributes

GELU_CUBE = 0.044715  # of Hendrycks and Gimpel's approximation
SERIES_TERMS = 140


# -------------------------------------------------------------------------------- what the references are made of


def erf_reference(xp: ModuleType, x: Any) -> Any:
    """erf(x) in float64, from erf(x) = 2 / sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (2n+1)!! (DLMF 7.6.2).

    All terms have one sign, so nothing cancels; 140 of them reach |x| = 6, where erf rounds to 1.
    """
    x = xp.clip(x.astype(xp.float64), -6.0, 6.0)
    series = xp.ones_like(x)
    for n in range(SERIES_TERMS, 0, -1):
        series = 1.0 + series * (2.0 * x * x / (2 * n + 1))
    return 2.0 / math.sqrt(math.pi) * x * xp.exp(-x * x) * series


def sigmoid_reference(xp: ModuleType, x: Any) -> Any:
    """1 / (1 + exp(-x)), never taking exp of a number above 0."""
    e = xp.exp(-xp.abs(x))
    return xp.where(x < 0, e, 1) / (1 + e)


def _step(xp: ModuleType, x: Any, attributes: Attributes) -> Any:
    return xp.where(x < 0, 0, xp.where(x >= 0, 1, x)).astype(x.dtype)


def _leaky_relu(xp: ModuleType, x: Any, attributes: Attributes) -> Any:
    return xp.where(x < 0, attributes["negative_slope"] * x, x)


def _elu(xp: ModuleType, x: Any, attributes: Attributes) -> Any:
    return xp.where(x < 0, attributes["alpha"] * xp.expm1(xp.minimum(x, 0)), x)


def _normal_distribution(xp: ModuleType, x: Any) -> Any:
    return (0.5 * (1.0 + erf_reference(xp, x * math.sqrt(0.5)))).astype(x.dtype)


def _gelu_gate(xp: ModuleType, x: Any) -> Any:
    return sigmoid_reference(xp, 2.0 * math.sqrt(2.0 / math.pi) * (x + GELU_CUBE * x * x * x))


def _gelu(xp: ModuleType, x: Any, attributes: Attributes) -> Any:
    return x * (_gelu_gate(xp, x) if attributes["approximate"] else _normal_distribution(xp, x))


def _gelu_slope(xp: ModuleType, dy: Any, x: Any, attributes: Attributes) -> Any:
    if attributes["approximate"]:
        gate = _gelu_gate(xp, x)
        inner = 2.0 * math.sqrt(2.0 / math.pi) * (1.0 + 3.0 * GELU_CUBE * x * x)
        return dy * (gate + x * gate * (1.0 - gate) * inner)
    return dy * (_normal_distribution(xp, x) + x / math.sqrt(2.0 * math.pi) * xp.exp(-0.5 * x * x))


def _silu_slope(xp: ModuleType, dy: Any, x: Any, attributes: Attributes) -> Any:
    gate = sigmoid_reference(xp, x)
    return dy * (gate + x * gate * (1.0 - gate))


# ------------------------------------------------------------------------------------------------- the operations

register_function("identity", lambda xp, x, attributes: x, gradient=lambda node, dy: dy, view=True)
register_function("step", _step)
register_function(
    "relu",
    lambda xp, x, attributes: xp.maximum(x, 0),
    lambda xp, dy, y, attributes: xp.where(y <= 0, 0, dy).astype(y.dtype),
)
register_function(
    "leaky_relu",
    _leaky_relu,
    lambda xp, dy, y, attributes: xp.where(y <= 0, attributes["negative_slope"] * dy, dy),
    parameter="negative_slope",
)
register_function(
    "elu",
    _elu,
    lambda xp, dy, y, attributes: xp.where(y <= 0, dy * (y + attributes["alpha"]), dy),
    parameter="alpha",
    cost=0.4,
)
register_function(
    "sigmoid",
    lambda xp, x, attributes: sigmoid_reference(xp, x),
    lambda xp, dy, y, attributes: dy * (y * (1 - y)),
    cost=0.4,
)
register_function(
    "tanh",
    lambda xp, x, attributes: xp.tanh(x),
    lambda xp, dy, y, attributes: dy * (1 - y * y),
    cost=0.4,
)
register_function(
    "softplus",
    lambda xp, x, attributes: xp.logaddexp(x, xp.zeros_like(x)),
    lambda xp, dy, x, attributes: dy * sigmoid_reference(xp, x),
    slope_of="input",
    cost=0.7,
)
register_function(
    "silu",
    lambda xp, x, attributes: x * sigmoid_reference(xp, x),
    _silu_slope,
    slope_of="input",
    cost=0.4,
)
register_function(
    "gelu",
    _gelu,
    _gelu_slope,
    slope_of="input",
    code=lambda attributes: "gelu_tanh" if attributes["approximate"] else "gelu",
    cost=0.6,
)


# --------------------------------------------------------------------------------------------- the public functions


def identity(x: Operand, *, out: Array | None = None) -> Any:
    """The tensor itself: the activation of a linear layer. Any shape; float32 or float64."""
    return dispatch("identity", [x], out)


def step(x: Operand, *, out: Array | None = None) -> Any:
    """1 where x >= 0, else 0: the threshold unit of F. Rosenblatt's perceptron (1958). No gradient flows through it.

    Any shape; float32 or float64. NaN stays NaN.
    """
    return dispatch("step", [x], out)


def relu(x: Operand, *, out: Array | None = None) -> Any:
    """max(x, 0) (V. Nair and G. Hinton, 2010); its slope at 0 is 0. Any shape; float32 or float64. NaN stays NaN."""
    return dispatch("relu", [x], out)


def leaky_relu(x: Operand, negative_slope: float = 0.01, *, out: Array | None = None) -> Any:
    """Leaky ReLU: x where x >= 0, else negative_slope * x (A. Maas and others, 2013). Any shape; float32, float64.

    Raises
    ------
    ValueError
        If negative_slope is below 0: the slope is told from the sign of the result.
    """
    return dispatch(
        "leaky_relu", [x], out, negative_slope=_not_negative("leaky_relu", "negative_slope", negative_slope)
    )


def elu(x: Operand, alpha: float = 1.0, *, out: Array | None = None) -> Any:
    """Exponential linear unit: x where x >= 0, else alpha * (exp(x) - 1) (D.-A. Clevert and others, 2015).

    Any shape; float32 or float64.

    Raises
    ------
    ValueError
        If alpha is below 0: the slope is told from the sign of the result.
    """
    return dispatch("elu", [x], out, alpha=_not_negative("elu", "alpha", alpha))


def sigmoid(x: Operand, *, out: Array | None = None) -> Any:
    """1 / (1 + exp(-x)), the logistic function, within 4 units of the last place. Any shape; float32 or float64."""
    return dispatch("sigmoid", [x], out)


def tanh(x: Operand, *, out: Array | None = None) -> Any:
    """The hyperbolic tangent, within 4 units of the last place. Any shape; float32 or float64."""
    return dispatch("tanh", [x], out)


def softplus(x: Operand, *, out: Array | None = None) -> Any:
    """log(1 + exp(x)) (C. Dugas and others, 2000), without overflow. Any shape; float32 or float64."""
    return dispatch("softplus", [x], out)


def silu(x: Operand, *, out: Array | None = None) -> Any:
    """SiLU or swish, x * sigmoid(x) (S. Elfwing, E. Uchibe and K. Doya, 2017). Any shape; float32 or float64."""
    return dispatch("silu", [x], out)


def gelu(x: Operand, approximate: bool = False, *, out: Array | None = None) -> Any:
    """GELU, x times the standard normal distribution at x (D. Hendrycks and K. Gimpel, 2016).

    Any shape; float32 or float64. Exact, with erf, unless `approximate`; then it is
    0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
    """
    return dispatch("gelu", [x], out, approximate=bool(approximate))


def _not_negative(function: str, name: str, value: float) -> float:
    if not value >= 0:
        raise ValueError(f"{function}: {name} must be at least 0, got {value!r}")
    return float(value)


# What a layer's `activation=` may name: the operation and its attributes.
ACTIVATIONS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "identity": ("identity", {}),
    "linear": ("identity", {}),
    "step": ("step", {}),
    "relu": ("relu", {}),
    "leaky_relu": ("leaky_relu", {"negative_slope": 0.01}),
    "elu": ("elu", {"alpha": 1.0}),
    "sigmoid": ("sigmoid", {}),
    "tanh": ("tanh", {}),
    "softplus": ("softplus", {}),
    "silu": ("silu", {}),
    "swish": ("silu", {}),
    "gelu": ("gelu", {"approximate": False}),
    "gelu_tanh": ("gelu", {"approximate": True}),
    "softmax": ("softmax", {}),
    "log_softmax": ("log_softmax", {}),
}


def activate(x: Operand, activation: str, *, out: Array | None = None) -> Any:
    """Applies the activation of that name, with its default parameters.

    Raises
    ------
    ValueError
        If there is none; the message lists them.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; there are {', '.join(sorted(ACTIVATIONS))}")
    name, attributes = ACTIVATIONS[activation]
    return dispatch(name, [x], out, **attributes)

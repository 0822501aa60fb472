"""Every operation, whole, in one place: shape rule, reference, gradient rule and kernel side by side.

The functions take arrays (and compute at once) or symbolic tensors (and record a node of the graph being traced).
"""

from fastnn.ops import record as _record  # noqa: F401 - fills the table of operations
from fastnn.ops._dispatch import as_array
from fastnn.ops.activation import (
    ACTIVATIONS,
    activate,
    elu,
    gelu,
    identity,
    leaky_relu,
    relu,
    sigmoid,
    silu,
    softplus,
    step,
    tanh,
)
from fastnn.ops.arithmetic import (
    absolute,
    add,
    divide,
    equal,
    erf,
    exp,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    log1p,
    maximum,
    minimum,
    multiply,
    negative,
    reciprocal,
    sign,
    sqrt,
    square,
    subtract,
    where,
)
from fastnn.ops.gather import collect, gather
from fastnn.ops.linear import linear, matmul
from fastnn.ops.loss import (
    binary_cross_entropy,
    cross_entropy,
    hinge,
    huber,
    mean_absolute_error,
    mean_squared_error,
    perceptron,
    quadratic,
)
from fastnn.ops.random import dropout
from fastnn.ops.reduction import argmax, broadcast_to, max, mean, norm_squared, sum
from fastnn.ops.shape import concatenate, flatten, reshape, transpose
from fastnn.ops.softmax import log_softmax, softmax
from fastnn.ops.update import accumulate, clip_scale, fill, update


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "ACTIVATIONS",
    "absolute",
    "accumulate",
    "activate",
    "add",
    "argmax",
    "as_array",
    "binary_cross_entropy",
    "broadcast_to",
    "clip_scale",
    "collect",
    "concatenate",
    "cross_entropy",
    "divide",
    "dropout",
    "elu",
    "equal",
    "erf",
    "exp",
    "fill",
    "flatten",
    "gather",
    "gelu",
    "greater",
    "greater_equal",
    "hinge",
    "huber",
    "identity",
    "leaky_relu",
    "less",
    "less_equal",
    "linear",
    "log",
    "log1p",
    "log_softmax",
    "matmul",
    "max",
    "maximum",
    "mean",
    "mean_absolute_error",
    "mean_squared_error",
    "minimum",
    "multiply",
    "negative",
    "norm_squared",
    "perceptron",
    "quadratic",
    "reciprocal",
    "relu",
    "reshape",
    "sigmoid",
    "sign",
    "silu",
    "softmax",
    "softplus",
    "sqrt",
    "square",
    "step",
    "subtract",
    "sum",
    "tanh",
    "transpose",
    "update",
    "where",
]

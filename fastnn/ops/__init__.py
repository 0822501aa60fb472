"""Every operation, whole, in one place: shape rule, reference, gradient rule and kernel side by side.

The functions take arrays (and compute at once) or symbolic tensors (and record a node of the graph being traced).
"""

from fastnn.ops import record as _record
from fastnn.ops._dispatch import as_array
from fastnn.ops.activation import relu
from fastnn.ops.gather import collect, gather
from fastnn.ops.linear import linear, matmul
from fastnn.ops.random import dropout
from fastnn.ops.reduction import argmax, broadcast_to, max, mean, norm_squared, sum
from fastnn.ops.shape import concatenate, flatten, reshape, transpose

__all__ = [
    "argmax",
    "as_array",
    "broadcast_to",
    "collect",
    "concatenate",
    "dropout",
    "flatten",
    "gather",
    "linear",
    "matmul",
    "max",
    "mean",
    "norm_squared",
    "relu",
    "reshape",
    "sum",
    "transpose",
]

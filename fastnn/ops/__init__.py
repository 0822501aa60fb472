"""Every operation, whole, in one place: shape rule, reference, gradient rule and kernel side by side.

The functions take arrays (and compute at once) or symbolic tensors (and record a node of the graph being traced).
"""

from fastnn.ops.activation import relu
from fastnn.ops.random import dropout

__all__ = ["dropout", "relu"]

"""Where in memory operands lie: at the same place of a page in every run, or the same row would be two."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

PAGE = 4096
OFFSET = 16  # bytes, where NumPy's arrays begin that have pages to themselves: behind what malloc notes about them


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """As `numpy.empty`, but not where malloc happens to have room; like most arrays it begins within a cache line.

    A product of 400 KB from the second-level cache takes a third longer where its rows begin within cache lines than
    where they begin with them.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    block = np.empty(size + 2 * PAGE, np.uint8)
    start = -block.ctypes.data % PAGE + OFFSET
    return block[start : start + size].view(dtype).reshape(shape)


def placed(array: NDArray[Any]) -> NDArray[Any]:
    """A contiguous copy there."""
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy

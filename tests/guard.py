"""Arrays that end, or begin, at memory that must not be touched."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

PAGE = mmap.PAGESIZE
PROT_NONE = 0
_libc = ctypes.CDLL(None, use_errno=True)


def guarded(array: NDArray[Any], *, before: bool = False) -> NDArray[Any]:
    """A contiguous copy that ends where a forbidden page begins (or begins `before`, where one ends).

    Reading or writing past it ends the process.
    """
    copy = guarded_empty(array.shape, array.dtype, before=before)
    copy[...] = array
    return copy


def guarded_empty(shape: tuple[int, ...], dtype: DTypeLike, *, before: bool = False) -> NDArray[Any]:
    """As `guarded`, uninitialised."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    pages = -(-size // PAGE) + 1
    memory = mmap.mmap(-1, pages * PAGE)
    bytes_ = np.frombuffer(memory, np.uint8)  # keeps the mapping alive for as long as a view of it lives
    forbidden = ctypes.c_void_p(bytes_.ctypes.data + (0 if before else (pages - 1) * PAGE))
    if _libc.mprotect(forbidden, ctypes.c_size_t(PAGE), PROT_NONE) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    start = PAGE if before else (pages - 1) * PAGE - size
    return bytes_[start : start + size].view(kind).reshape(shape)

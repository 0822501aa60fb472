"""Compiles reference.c once per test session and calls it through ctypes."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import kernels

Array = NDArray[Any]
SOURCE = Path(__file__).with_name("reference.c")


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled reference; it rounds as the running level does: v2 has no fused multiply-add."""
    fused = int(kernels.tiles("float32")["HAS_FMA"])
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder, "reference.so")
        flags = ["-O1", "-ffp-contract=off", "-fPIC", "-shared", f"-DFUSED={fused}"]
        subprocess.run([os.environ.get("CC", "cc"), *flags, str(SOURCE), "-o", str(built), "-lm"], check=True)
        return ctypes.CDLL(str(built))


def strided(array: Array | None) -> list[Any]:
    """Address and strides in elements, as the reference takes matrices."""
    if array is None:
        return [None, ctypes.c_int64(0), ctypes.c_int64(0)]
    return [ctypes.c_void_p(array.ctypes.data), *(ctypes.c_int64(s // array.itemsize) for s in array.strides)]


def product(a: Array, b: Array, start: Array | None = None) -> Array:
    """start[m, n] + a[m, k] b[k, n]; `start` may also be a row that all rows start from."""
    c = np.empty((a.shape[0], b.shape[1]), a.dtype)
    sizes = [ctypes.c_int64(size) for size in (*c.shape, a.shape[1], kernels.tiles("float32")["KCHAIN"])]
    start = None if start is None else np.broadcast_to(start, c.shape)
    function = getattr(library(), f"product_{a.dtype.name}")
    function(*sizes, *strided(a), *strided(b), *strided(start), *strided(c))
    return c


def row_sum(x: Array, *, squares: bool = False) -> Any:
    """The sum of a one-dimensional array in the order of row sums."""
    function = getattr(library(), f"row_sum_{x.dtype.name}")
    function.restype = np.ctypeslib.as_ctypes_type(x.dtype)
    address, step = ctypes.c_void_p(x.ctypes.data), ctypes.c_int64(x.strides[0] // x.itemsize)
    return x.dtype.type(function(ctypes.c_int64(x.size), address, step, ctypes.c_int(squares)))


def column_sum(x: Array) -> Any:
    """The sum of a one-dimensional array in the order of column sums."""
    function = getattr(library(), f"column_sum_{x.dtype.name}")
    function.restype = np.ctypeslib.as_ctypes_type(x.dtype)
    address, step = ctypes.c_void_p(x.ctypes.data), ctypes.c_int64(x.strides[0] // x.itemsize)
    return x.dtype.type(function(ctypes.c_int64(x.size), address, step))


def sum_over(x: Array, axes: tuple[int, ...]) -> Array:
    """The sum over some axes: rows if the last axis is among them, columns over what lies in front of it."""
    trailing = x.ndim
    while trailing and ((trailing - 1) in axes) == ((x.ndim - 1) in axes):
        trailing -= 1
    kept = [axis for axis in range(trailing) if axis not in axes]
    reduced = [axis for axis in range(trailing) if axis in axes]
    sizes = [int(np.prod([x.shape[a] for a in group])) for group in (kept, reduced, range(trailing, x.ndim))]
    ordered = np.ascontiguousarray(x.transpose(*kept, *reduced, *range(trailing, x.ndim))).reshape(sizes)
    if x.ndim and (x.ndim - 1) in axes:
        rows = np.array([[row_sum(row) for row in group] for group in ordered], x.dtype).reshape(sizes[:2])
        flat = np.array([column_sum(group) for group in rows], x.dtype)
    else:
        flat = np.array([[column_sum(column) for column in group.T] for group in ordered], x.dtype)
    return flat.reshape([size for axis, size in enumerate(x.shape) if axis not in axes])

"""Intel's MKL: `cblas_sgemm` and `cblas_dgemm` of the package "mkl", by ctypes; NumPy knows nothing of it.

The arguments are C's numbers already, so that a call costs about a microsecond before MKL sees it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from importlib.metadata import files
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bench.memory import empty
from bench.peers import repeated
from bench.shapes import ProductShape

ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112


def _library(package: str, start: str) -> ctypes.CDLL:
    for file in files(package) or []:
        if file.name.startswith(start):
            return ctypes.CDLL(str(Path(str(file.locate())).resolve()), mode=ctypes.RTLD_GLOBAL)
    raise ImportError(f"{package} has no {start}")


_library("intel-openmp", "libiomp5.so")  # where MKL looks for its threads
_mkl = _library("mkl", "libmkl_rt.so")


def set_threads(n: int) -> None:
    """Exactly so many, in each call."""
    _mkl.MKL_Set_Dynamic(0)
    _mkl.MKL_Set_Num_Threads(n)


def product(shape: ProductShape, a: NDArray[Any], b: NDArray[Any]) -> Callable[[int], NDArray[Any]]:
    """C = a b, into the same array each time."""
    c = empty((shape.m, shape.n), shape.array_dtype)
    double = shape.dtype == "float64"
    real, integer = (ctypes.c_double if double else ctypes.c_float), ctypes.c_int
    turned = (TRANSPOSED if each else PLAIN for each in (shape.transpose_a, shape.transpose_b))
    # MKL knows only addresses; what data_as gives keeps its array alive.
    left, right, result = ((each.ctypes.data_as(ctypes.c_void_p), integer(each.shape[1])) for each in (a, b, c))
    call = partial(
        _mkl.cblas_dgemm if double else _mkl.cblas_sgemm,
        *map(integer, (ROW_MAJOR, *turned, shape.m, shape.n, shape.k)), real(1.0), *left, *right, real(0.0), *result,
    )  # fmt: skip
    return repeated(call, c)

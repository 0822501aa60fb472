"""BLIS, through cython-blis: products only, on one thread, which is how its wheels are built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blis.py import gemm
from numpy.typing import NDArray

from bench.memory import empty
from bench.shapes import ProductShape

SERIAL = True


def product(shape: ProductShape, a: NDArray[Any], b: NDArray[Any]) -> Callable[[int], NDArray[Any]]:
    """C = a b, into the same array each time."""
    c = empty((shape.m, shape.n), shape.array_dtype)

    def run(times: int) -> NDArray[Any]:
        for _ in range(times):
            gemm(a, b, out=c, trans1=shape.transpose_a, trans2=shape.transpose_b, beta=0.0)
        return c

    return run

"""Matrix products: called from Python against the peers, and inside a Program against the machine's peak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench import tolerances
from bench.peers import fastnn as ours
from bench.shapes import PRODUCTS, PROGRAM_PRODUCTS, ProductShape
from bench.tasks import Calls, Product
from fastnn import kernels


def here(shapes: list[ProductShape]) -> list[ProductShape]:
    """Those that this processor has instructions for."""
    return [shape for shape in shapes if shape.dtype != "bfloat16" or kernels.tiles("float32")["PAIRS"]]


@pytest.mark.parametrize("shape", here(PRODUCTS), ids=lambda shape: shape.name)
def test_product(shape: ProductShape, enter: Callable[..., Any], race: Callable[..., None]) -> None:
    task, entries = Product(ours, shape), enter("product", shape)
    tolerances.check_products(shape, {ours.NAME: task.result, **{entry.name: entry.result for entry in entries}})
    race(shape.work("products"), task, entries)


@pytest.mark.parametrize("shape", here(PROGRAM_PRODUCTS), ids=lambda shape: shape.name)
def test_product_in_a_program(shape: ProductShape, threads: int, race: Callable[..., None]) -> None:
    task = Calls(ours.program_product(shape, *shape.operands()))
    tolerances.check_products(shape, {ours.NAME: task.result})
    race(shape.work("program products"), task, [])

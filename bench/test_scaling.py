"""How time falls with the number of threads, and grows with batch, width and depth: against NumPy and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from bench import tolerances
from bench.harness import processors
from bench.peers import fastnn as ours
from bench.shapes import CURVES, Point, ProductShape, along_threads
from bench.tasks import Product
from bench.training import compared

THREADS = along_threads(processors())
PEERS = ("numpy", "torch")


def run(point: Point, enter: Callable[..., Any], race: Callable[..., None]) -> None:
    """One place on a curve."""
    if isinstance(point.shape, ProductShape):
        task, entries = Product(ours, point.shape), enter("product", point.shape, only=PEERS)
        results = {ours.NAME: task.result, **{entry.name: entry.result for entry in entries}}
        tolerances.check_products(point.shape, results)
    else:
        task, entries = compared(point.shape, partial(enter, only=PEERS))
    race(point.work(), task, entries)


@pytest.mark.parametrize("shape, threads", [(point, point.value) for point in THREADS], indirect=["threads"],
                         ids=[point.name for point in THREADS])  # fmt: skip
def test_threads(shape: Point, enter: Callable[..., Any], race: Callable[..., None]) -> None:
    run(shape, enter, race)


@pytest.mark.parametrize("threads", [processors()], indirect=True, ids=["all-threads"])
@pytest.mark.parametrize("shape", CURVES, ids=lambda point: point.name)
def test_growth(shape: Point, enter: Callable[..., Any], race: Callable[..., None]) -> None:
    run(shape, enter, race)

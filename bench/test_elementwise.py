"""Activations, softmax, losses, dropout, updates and sums, in cache and out of it: against NumPy and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench import tolerances
from bench.peers import fastnn as ours
from bench.shapes import ELEMENTWISE, ElementwiseShape
from bench.tasks import Elementwise


@pytest.mark.parametrize("shape", ELEMENTWISE, ids=lambda shape: shape.name)
def test_elementwise(shape: ElementwiseShape, enter: Callable[..., Any], race: Callable[..., None]) -> None:
    task, entries = Elementwise(ours, shape), enter("elementwise", shape)
    tolerances.check_elementwise(shape, {ours.NAME: task.result, **{each.name: each.result for each in entries}})
    race(shape.work(), task, entries)

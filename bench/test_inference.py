"""Predictions of one row and of many, called from Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench import tolerances
from bench.peers import fastnn as ours
from bench.shapes import PREDICTED, NetworkShape
from bench.tasks import Inference


@pytest.mark.parametrize("shape", PREDICTED, ids=lambda shape: shape.name)
def test_prediction(shape: NetworkShape, enter: Callable[..., Any], race: Callable[..., None]) -> None:
    weights = shape.start()
    task, entries = Inference(ours, shape, weights), enter("inference", shape, weights)
    tolerances.check_predictions({ours.NAME: task.result, **{each.name: each.result for each in entries}})
    race(shape.inference(), task, entries)

"""Training steps: many inside `fit`, or one a call of `trainer.step`, against the peers and the clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.shapes import NETWORKS, NetworkShape
from bench.training import compared


@pytest.mark.parametrize("shape", NETWORKS, ids=lambda shape: shape.name)
def test_training_step(shape: NetworkShape, enter: Callable[..., Any], race: Callable[..., None]) -> None:
    race(shape.training(), *compared(shape, enter))

"""The contestants, each on a page: fastnn as its users write it, the others as their own experts would.

Every module has `NAME`, `product(a, b, repeats)` and `Training`. The first returns a function that computes c = a b so
many times and returns c. `Training(shape, data, weights)` has `train(order)`, which makes one step for each row of the
(steps, batch) array of row numbers and returns the mean loss, and `weights()`, arrays: weight[in, out], bias[out],
weight, ... fastnn chooses the order itself and says which: `order(steps)`, then `fit(steps)`.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

NAMES = ("numpy", "torch")


def available() -> list[ModuleType]:
    """The peers that are installed here."""
    return [importlib.import_module(f"bench.peers.{name}") for name in NAMES if importlib.util.find_spec(name)]

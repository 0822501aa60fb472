"""Square products that fit into the caches, inside a Program: against the machine's peak, NumPy and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench import peers, tolerances
from bench.harness import Contestant
from bench.ledger import Bar
from bench.peers import fastnn as ours
from bench.shapes import PRODUCTS, ProductShape


@pytest.mark.parametrize("shape", PRODUCTS, ids=lambda shape: shape.name)
def test_product(shape: ProductShape, threads: int, race: Callable[..., dict[str, Any]],
                 judge: Callable[..., None]) -> None:  # fmt: skip
    rng = np.random.default_rng(0)
    a = rng.standard_normal((shape.m, shape.k), dtype=np.float32)
    b = rng.standard_normal((shape.k, shape.n), dtype=np.float32)
    contestants = []
    for peer in (ours, *peers.available()):
        run = peer.product(a, b, shape.repeats)
        tolerances.check_product(run(), a, b, peer.NAME)
        contestants.append(Contestant(peer.NAME, run, shape.repeats))
    row = race(shape.work("program products"), contestants[0], contestants[1:])
    if threads == 1 and shape.share_of_peak is not None:
        share = row["flops"] / row["seconds"][ours.NAME]["best"] / row["peak_flops"]
        judge([Bar(f"product {shape.name}: share of the FMA peak", 100 * share, 100 * shape.share_of_peak, "%")])

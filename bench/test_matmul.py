"""Square products that fit into the caches, inside a Program: against the machine's peak, NumPy and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench import peers, tolerances
from bench.harness import Bar, Contestant, Ledger, Row, words
from bench.peak import Peak
from bench.peers import fastnn as ours
from bench.shapes import PRODUCTS, ProductShape


@pytest.mark.parametrize("shape", PRODUCTS, ids=lambda shape: shape.name)
def test_product(shape: ProductShape, threads: int, peak: Peak, race: Callable[..., None], ledger: Ledger,
                 judge: Callable[..., None], benchmark: Any) -> None:  # fmt: skip
    rng = np.random.default_rng(0)
    a = rng.standard_normal((shape.m, shape.k), dtype=np.float32)
    b = rng.standard_normal((shape.k, shape.n), dtype=np.float32)
    contestants = []
    for peer in (ours, *peers.available()):
        run = peer.product(a, b, shape.repeats)
        tolerances.check_product(run(), a, b, peer.NAME)
        contestants.append(Contestant(peer.NAME, run, shape.repeats))
    roof = Contestant("peak", peak.run, peak.flops / shape.flops)
    benchmark.group = f"product, {words(threads)}"
    race(contestants[0], [roof, *contestants[1:]])

    share = roof.seconds / contestants[0].seconds
    times = {each.name: each.seconds * 1e6 for each in contestants}
    ledger.rows.append(Row(f"product {shape.name}", threads, times, share))
    benchmark.extra_info |= {"shape": shape.name, "flops": shape.flops, "microseconds": times,
                             "median_microseconds": {each.name: each.median * 1e6 for each in contestants},
                             "share_of_peak": share, "peak_flops_per_second": shape.flops / roof.seconds}  # fmt: skip
    if threads == 1 and shape.share_of_peak is not None:
        judge([Bar(f"product {shape.name}: share of the FMA peak", 100 * share, 100 * shape.share_of_peak, "%")])

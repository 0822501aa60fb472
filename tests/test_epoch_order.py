"""The order of an epoch's rows: each once, all orders alike, the same for the same seed and epoch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fastnn.epochs import epoch_order


@pytest.mark.parametrize("n", [0, 1, 2, 3, 1000, 70_001])
def test_every_row_once(n: int) -> None:
    order = epoch_order(7, 3, n)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(n))
    assert np.array_equal(order, epoch_order(7, 3, n))


def test_all_orders_are_equally_frequent() -> None:
    """Chi-squared over the 24 orders of four rows, by seed and by epoch: 49.7 is passed once in a thousand times."""
    for keys in ([(seed, 0) for seed in range(6000)], [(0, epoch) for epoch in range(6000)]):
        counts = Counter(tuple(epoch_order(seed, epoch, 4)) for seed, epoch in keys)
        assert len(counts) == 24
        assert sum((count - 250) ** 2 / 250 for count in counts.values()) < 49.7


def test_every_row_is_as_often_in_every_place() -> None:
    """A mean over 4000 orders of 50 rows, whose standard deviation is 14.4 / 63, in each place."""
    places = np.mean([epoch_order(seed, 1, 50) for seed in range(4000)], axis=0)
    assert np.abs(places - 24.5).max() < 5 * 14.43 / np.sqrt(4000)

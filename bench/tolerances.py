"""How closely results must agree before a timing counts. One table, each entry with its reason."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HALF_ULP = 2.0**-24  # float32: the relative error of one rounding

COMPARED_STEPS = 4  # training steps after which weights are compared

# Distance between two trainings' weights over the distance that they have moved: a wrong factor anywhere gives a number
# of order 1. Gradients are sums of up to 784 rounded terms (784 HALF_ULP = 5e-5 at worst), and a weight of order 1 that
# moves by 1e-3 keeps that movement to 6e-5. A kink adds that where z rounds to the other side of zero, a gradient is
# there or not: one of a layer's 65,536, which makes up the square root of that, 4e-3, of one step among several.
MOVEMENT = {"sigmoid": 2e-4, "tanh": 2e-4, "relu": 5e-3}

# The mean loss of those steps, relative: a sum of rounded terms that are all positive.
LOSS = 1e-4


def check_product(c: NDArray[np.float32], a: NDArray[np.float32], b: NDArray[np.float32], who: str) -> None:
    """Every element within the textbook's bound on a sum of k rounded products: k half-ulps of the sum of |terms|.

    Raises
    ------
    AssertionError
        If an element is further off.
    """
    exact = a.astype(np.float64) @ b.astype(np.float64)
    bound = (a.shape[1] + 1) * HALF_ULP * (np.abs(a).astype(np.float64) @ np.abs(b))
    worst = float((np.abs(c - exact) / bound).max())
    assert worst <= 1, f"{who}: an element of the product is {worst:.2g} times the bound away from the exact one"


def check_training(start: list[NDArray[np.float32]], ours: list[NDArray[np.float32]],
                   theirs: list[NDArray[np.float32]], losses: tuple[float, float], activation: str,
                   who: str) -> None:  # fmt: skip
    """Weights and mean losses after the same steps from the same start.

    Raises
    ------
    AssertionError
        If a layer's weights, or the losses, are further apart than the table allows.
    """
    for number, (before, mine, other) in enumerate(zip(start, ours, theirs, strict=True)):
        moved = float(np.linalg.norm(other - before))
        assert moved > 0, f"{who}: parameter {number} has not moved"
        apart = float(np.linalg.norm(mine - other)) / moved
        assert apart <= MOVEMENT[activation], f"{who}: parameter {number} is {apart:.2g} of its movement away from ours"
    apart = abs(losses[0] - losses[1]) / abs(losses[1])
    assert apart <= LOSS, f"{who}: the mean loss is {losses[1]!r}, ours {losses[0]!r}"

"""How closely results must agree before a timing counts. One table, each entry with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.shapes import ElementwiseShape, NetworkShape, ProductShape
from bench.tasks import sample

Array = NDArray[Any]
HALF_ULP = {"float32": 2.0**-24, "float64": 2.0**-53}  # the relative error of one rounding

COMPARED_STEPS = 4  # training steps after which weights are compared

# Distance between two trainings' weights over the distance that they have moved: a wrong factor anywhere gives a
# number of order 1. Gradients are sums of up to 784 rounded terms (784 half-ulps = 5e-5 at worst), and a weight of
# order 1 that moves by 1e-3 keeps that movement to 6e-5. A kink adds that where z rounds to the other side of zero, a
# gradient is there or not: one of a layer's 65,536, which makes up the square root of that, 4e-3, of one step, if it is
# as large as the others, and may be twice as large. (Thinc on 784-512-512-10: 5.1e-3, by a single z of 4e-7.)
MOVEMENT = {"sigmoid": 2e-4, "tanh": 2e-4, "relu": 1e-2}

# Adam's first steps are all of one length, learning rate times the sign of the gradient: where a gradient is zero but
# for rounding, the sign is a matter of chance. A hundredth of the weights may go the other way: twice the root of that.
ADAM_MOVEMENT = 0.2

# The mean loss of those steps, relative: a sum of rounded terms that are all positive.
LOSS = 1e-4

# Predictions, over the largest of them: a layer's sums have up to 2048 rounded terms, of both signs, as a rule less
# than a tenth of the worst case; each layer passes on what it got.
PREDICTION = 1e-4

# Elementwise results, over the largest of the array: activations are good to 4 units of the last place at most
# (2.4e-7), and what is made of them (a slope, a softmax of 128) multiplies or sums a few; NumPy's chains round several
# times.
ELEMENT = 4e-6

# Sums of numbers of order 1, up to 131,072 one after another: partial sums of some 400 round by 1e-5 each time, which
# adds up to 0.01. A term left out or taken twice is worth 1.
SUM = 0.05

# Dropout is a matter of chance: the share of what is left may be so many standard deviations from one half.
DEVIATIONS = 6.0


def check_products(shape: ProductShape, results: Mapping[str, Array]) -> None:
    """Every element within the textbook's bound on a sum of k rounded products: k half-ulps of the sum of |terms|.

    Raises
    ------
    AssertionError
        If an element is further off, or the result has another shape or type.
    """
    a, b = (array.astype(np.longdouble if shape.dtype == "float64" else np.float64) for array in shape.operands())
    a, b = a.T if shape.transpose_a else a, b.T if shape.transpose_b else b
    rows = np.arange(shape.m)
    if shape.flops > 2e9 or shape.dtype == "float64":  # some rows are enough, and long double is slow
        rows = np.unique(np.linspace(0, shape.m - 1, 16).astype(int))
    exact = a[rows] @ b
    bound = (shape.k + 1) * HALF_ULP[shape.array_dtype] * (np.abs(a[rows]) @ np.abs(b))
    for who, c in results.items():
        allowed = bound
        if shape.dtype == "bfloat16" and who == "torch":
            allowed = bound + np.abs(exact) / 256  # its result is a bfloat16 number, too
        assert (c.shape, c.dtype) == ((shape.m, shape.n), shape.array_dtype), (
            f"{who}: the product is {c.dtype} {c.shape}"
        )
        worst = float((np.abs(c[rows] - exact) / allowed).max())
        assert worst <= 1, f"{who}: an element of the product is {worst:.2g} times the bound away from the exact one"


def check_training(shape: NetworkShape, start: list[Array], ours: tuple[float, list[Array]],
                   theirs: tuple[float, list[Array]], who: str) -> None:  # fmt: skip
    """Mean losses and weights after the same steps from the same start.

    Raises
    ------
    AssertionError
        If a layer's weights, or the losses, are further apart than the table allows.
    """
    allowed = ADAM_MOVEMENT if shape.optimizer == "adam" else MOVEMENT[shape.hidden]
    for number, (before, mine, other) in enumerate(zip(start, ours[1], theirs[1], strict=True)):
        moved = float(np.linalg.norm(other - before))
        assert moved > 0, f"{who}: parameter {number} has not moved"
        apart = float(np.linalg.norm(mine - other)) / moved
        assert apart <= allowed, f"{who}: parameter {number} is {apart:.2g} of its movement away from ours"
    apart = abs(ours[0] - theirs[0]) / abs(theirs[0])
    assert apart <= LOSS, f"{who}: the mean loss is {theirs[0]!r}, ours {ours[0]!r}"


def check_predictions(results: Mapping[str, Array]) -> None:
    """Everybody's predictions against those of the first.

    Raises
    ------
    AssertionError
        If they are further apart than the table allows.
    """
    (first, expected), *others = results.items()
    for who, y in others:
        assert y.shape == expected.shape, f"{who}: predictions have shape {y.shape}, {first}'s {expected.shape}"
        apart = float(np.abs(y - expected).max() / np.abs(expected).max())
        assert apart <= PREDICTION, f"{who}: a prediction is {apart:.2g} of the largest away from {first}'s"


def check_elementwise(shape: ElementwiseShape, results: Mapping[str, list[Array]]) -> None:
    """Everybody's results against those of the first; dropout's for what they are.

    Raises
    ------
    AssertionError
        If they are further apart than the table allows.
    """
    if shape.operation == "dropout":
        for who, (y,) in results.items():
            _check_dropout(shape, y, who)
        return
    (first, expected), *others = results.items()
    for who, arrays in others:
        for number, (mine, other) in enumerate(zip(expected, arrays, strict=True)):
            assert mine.shape == other.shape, f"{who}: result {number} has shape {other.shape}, {first}'s {mine.shape}"
            allowed = SUM if shape.operation.startswith("sum") else ELEMENT * float(np.abs(mine).max())
            apart = float(np.abs(mine - other).max())
            assert apart <= allowed, f"{who}: result {number} is {apart:.2g} from {first}'s, {allowed:.2g} is allowed"


def _check_dropout(shape: ElementwiseShape, y: Array, who: str) -> None:
    (x,) = sample(shape.operands())
    left = y != 0
    assert np.array_equal(y[left], 2 * x[left]), f"{who}: what dropout leaves is not twice what was there"
    deviation = (np.count_nonzero(left) / y.size - 0.5) * 2 * np.sqrt(y.size)
    assert abs(deviation) <= DEVIATIONS, f"{who}: dropout leaves {left.mean():.4f} of all elements, not one half"

"""Checks of plain arguments, with one wording for the whole library: who asked, what was expected, what came."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any


def number(owner: str, name: str, value: Any, *, low: float = -math.inf, high: float = math.inf,
           low_open: bool = False, high_open: bool = False) -> None:  # fmt: skip
    """Refuses what is not a finite real number in [low, high]; `low_open` and `high_open` leave an end out.

    Raises
    ------
    TypeError
        If `value` is no real number; a bool is none.
    ValueError
        If it is not finite or lies outside.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{owner}: {name} must be a number, got {value!r}")
    real = float(value)
    outside = not low <= real <= high or (low_open and real == low) or (high_open and real == high)
    if not math.isfinite(real) or outside:
        raise ValueError(f"{owner}: {name} must be {_interval(low, high, low_open, high_open)}, got {value!r}")


def whole(owner: str, name: str, value: Any, *, low: int) -> None:
    """Refuses what is not a whole number of at least `low`.

    Raises
    ------
    TypeError
        If `value` is no whole number; a bool is none.
    ValueError
        If it is too small.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{owner}: {name} must be a whole number, got {value!r}")
    if value < low:
        raise ValueError(f"{owner}: {name} must be at least {low}, got {value!r}")


def seed(value: Any) -> int:
    """A seed of random numbers as an integer.

    Raises
    ------
    ValueError
        If it is no whole number of at least 0.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 0:
        raise ValueError(f"seed must be an integer of at least 0, got {value!r}")
    return int(value)


def one_of(owner: str, name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuses what is not one of the names in `choices`.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    if value not in choices:
        raise ValueError(f"{owner}: {name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _interval(low: float, high: float, low_open: bool, high_open: bool) -> str:
    if low == -math.inf and high == math.inf:
        return "finite"
    above = f"greater than {low:g}" if low_open else f"at least {low:g}"
    return (
        f"finite and {above}" if high == math.inf else f"{above} and {'less than' if high_open else 'at most'} {high:g}"
    )

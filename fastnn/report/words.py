"""Numbers as people read them: three digits, and the unit that fits."""

from __future__ import annotations

from collections.abc import Iterable

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def digits(value: float, count: int = 3) -> str:
    """Rounded to so many significant digits, zeros at the end kept, never in powers of ten: 0.0520, 5.20, 5,200."""
    rounded = float(f"{value:.{count - 1}e}")
    if rounded == 0:
        return "0"
    order = int(f"{rounded:e}".partition("e")[2])
    return f"{rounded:,.{max(0, count - 1 - order)}f}"


def with_unit(value: float, unit: str) -> str:
    """With the prefix that leaves one to three digits before the point: 5.20 µs, 105 GFLOP/s."""
    factor, prefix = _prefix(value)
    return f"{digits(value / factor)} {prefix}{unit}"


def tick(value: float, unit: str) -> str:
    """The same with no more digits than it takes, for the numbers of an axis: 1 µs, 10 k."""
    factor, prefix = _prefix(value)
    return f"{float(f'{value / factor:.3g}'):g} {prefix}{unit}".strip()


def _prefix(value: float) -> tuple[float, str]:
    rounded = abs(float(f"{value:.2e}"))
    return next((pair for pair in _PREFIXES if rounded >= pair[0]), _PREFIXES[-1])


def seconds(value: float) -> str:
    """520 ns, 5.20 µs, 1.30 s."""
    return with_unit(value, "s")


def times(ratio: float) -> str:
    """A ratio: 0.97×, 12.3×, 1,230×, 0.012×; two digits behind the point near 1, where they matter."""
    if 0.1 <= ratio < 10:
        return f"{ratio:.2f}×"
    return f"{digits(ratio, 3 if ratio > 1 else 2)}×"


def percent(share: float) -> str:
    """A share as a percentage: 0.4 %, 12 %."""
    value = 100 * share
    return f"{value:.1f} %" if abs(value) < 9.95 else f"{value:,.0f} %"


def count(number: int, thing: str) -> str:
    """1 thread, 2 threads."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def listed(items: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = list(items) or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last

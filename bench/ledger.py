"""What a session has found out, and how it is printed at its end: a table of times and one of bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.bars import Bar, share_of_peak


@dataclass
class Ledger:
    """Rows are the `extra_info` of races, as bench/harness.py describes it."""

    bars: list[Bar] = field(default_factory=list)
    rows: list[Mapping[str, Any]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Both tables, as text."""
        return [*self._time_lines(), "", *self._bar_lines()]

    def raise_bandwidths(self, machine: Mapping[str, dict[str, float]]) -> None:
        """The bandwidths that races have seen, by threads, where they are more than before them: something ran then."""
        for row in self.rows:
            found = machine["l2_bytes_per_second" if row["shape"].get("in_cache") else "bytes_per_second"]
            threads = str(row["threads"])
            if threads in found and "bytes_per_second" in row and not row["suite"].startswith("GPU"):
                found[threads] = max(found[threads], row["bytes_per_second"])

    def _time_lines(self) -> list[str]:
        names = list(dict.fromkeys(name for row in self.rows for name in row["seconds"]))
        width = max((len(row["what"]) for row in self.rows), default=0)
        heads = "".join(f"{name:>14}" for name in names)
        lines = [f"{'microseconds, best round':<{width}}  threads{heads}  of FMA peak"] if self.rows else []
        for row in self.rows:
            seconds = row["seconds"]
            times = "".join(f"{1e6 * seconds[name]['best']:>14.2f}" if name in seconds else f"{'-':>14}"
                            for name in names)  # fmt: skip
            share = f"{share_of_peak(row):.0%}" if row["flops"] else "-"
            lines.append(f"{row['what']:<{width}}  {row['threads']:>7}{times}  {share:>11}")
        return lines

    def _bar_lines(self) -> list[str]:
        width = max((len(bar.what) for bar in self.bars), default=0)
        words = {True: "met", False: "MISSED", None: "not measured"}
        lines = [f"{'bar':<{width}}  {'measured':>10}  {'required':>13}"] if self.bars else []
        for bar in self.bars:
            measured = "-" if bar.measured is None else f"{bar.measured:.3g} {bar.unit}"
            required = f"{'<=' if bar.at_most else '>='} {bar.required:g} {bar.unit}"
            lines.append(f"{bar.what:<{width}}  {measured:>10}  {required:>13}  {words[bar.met]}")
        return lines

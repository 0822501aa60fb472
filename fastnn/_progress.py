"""Progress of a training, shown while it runs."""

from __future__ import annotations

import sys
from typing import Any


class Progress:
    """A tqdm bar on a terminal, and nothing elsewhere.

    Parameters
    ----------
    title
        Stands before the bar.
    total
        Steps to come, None if nobody knows.
    verbose
        "auto" shows the bar if standard error is a terminal; True or False decides.
    """

    def __init__(self, title: str, total: int | None, verbose: Any) -> None:
        shown = sys.stderr.isatty() if verbose == "auto" else bool(verbose)
        self.bar: Any = None
        if shown:
            from tqdm import tqdm

            self.bar = tqdm(total=total, desc=title, unit=" steps", leave=False, mininterval=0.1)

    def advance(self, steps: int, loss: float) -> None:
        """Shows that so many more steps are done."""
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
            self.bar.update(steps)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

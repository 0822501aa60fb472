"""Watching one metric for improvement: what early stopping, checkpoints and plateau schedules share."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Literal

from fastnn._check import number, one_of
from fastnn.metrics import better

Mode = Literal["auto", "min", "max"]


class Monitor:
    """The best value so far of one metric, and the epochs since.

    NaN never improves; the first finite value always does.

    Attributes
    ----------
    best
        The best value seen; the worst possible one before the first.
    waited
        Observations since then.
    """

    def __init__(self, owner: str, metric: str, mode: Mode = "auto", min_delta: float = 0.0) -> None:
        one_of(owner, "mode", mode, ("auto", "min", "max"))
        number(owner, "min_delta", min_delta, low=0.0)
        direction = better(metric) if mode == "auto" else mode
        if direction is None:
            raise ValueError(f"{owner}: should {metric!r} fall or rise? say mode='min' or mode='max'")
        self.owner = owner
        self.metric = metric
        self.min_delta = float(min_delta)
        self.sign = 1.0 if direction == "min" else -1.0
        self.reset()

    def reset(self) -> None:
        """Forgets everything seen."""
        self.best = self.sign * math.inf
        self.waited = 0

    def state(self) -> dict[str, Any]:
        """What `observe` has changed, and of which metric, for a checkpoint."""
        return {"monitor": self.metric, "best": self.best, "waited": self.waited}

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Goes back to a `state`, if it is of the same metric; says whether it was."""
        if state["monitor"] != self.metric:
            return False
        self.best, self.waited = float(state["best"]), int(state["waited"])
        return True

    def require(self, names: Collection[str]) -> None:
        """Refuses a training that will not report the metric.

        Raises
        ------
        ValueError
            If the metric is not among the names.
        """
        if self.metric not in names:
            hint = "; fit has no validation data" if self.metric.startswith("validation_") else ""
            hint = "; those of validation data begin with 'validation_'" if self.metric.startswith("val_") else hint
            raise ValueError(f"{self.owner}: no {self.metric!r} among the metrics ({', '.join(names)}){hint}")

    def observe(self, metrics: Mapping[str, float]) -> bool:
        """Whether the metric is better than the best by more than `min_delta`.

        Raises
        ------
        ValueError
            If the metric is not among those reported.
        """
        self.require(metrics)
        value = float(metrics[self.metric])
        if self.sign * value < self.sign * self.best - self.min_delta:
            self.best, self.waited = value, 0
            return True
        self.waited += 1
        return False

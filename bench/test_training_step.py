"""Training steps inside `fit`: against NumPy, PyTorch and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench import peers, tolerances
from bench.harness import Contestant, words
from bench.ledger import Bar
from bench.peers import fastnn as ours
from bench.shapes import NETWORKS, NetworkShape

TURN_SECONDS = 0.03  # about how long a peer's turn takes; ours is a whole epoch


class Laps:
    """A peer's turns: so many steps each, on and on through the data set; each shuffles, as ours do."""

    def __init__(self, training: Any, shape: NetworkShape) -> None:
        self.training, self.shape, self.at = training, shape, 0
        self.rng = np.random.default_rng(0)
        self.steps = 8
        began = time.perf_counter()
        self.turn()
        self.steps = min(shape.steps, max(8, int(TURN_SECONDS * 8 / (time.perf_counter() - began))))

    def turn(self) -> None:
        """The next steps."""
        if self.at + self.steps > self.shape.steps:
            self.at = 0
        order = self.at * self.shape.batch + self.rng.permutation(self.steps * self.shape.batch)
        self.training.train(order.reshape(self.steps, self.shape.batch))
        self.at += self.steps


def compared(shape: NetworkShape) -> tuple[ours.Training, list[Any]]:
    """Everybody's training after the same few steps from the same start, checked to have got the same results."""
    mine = ours.Training(shape, shape.data)
    start = mine.weights()
    others = [peer.Training(shape, shape.data, start) for peer in peers.available()]
    order = mine.order(tolerances.COMPARED_STEPS)
    loss = mine.fit(tolerances.COMPARED_STEPS)
    for other in others:
        losses = loss, other.train(order)
        tolerances.check_training(start, mine.weights(), other.weights(), losses, shape.hidden, other.__module__)
    return mine, others


@pytest.mark.parametrize("shape", NETWORKS, ids=lambda shape: shape.name)
def test_training_step(shape: NetworkShape, threads: int, race: Callable[..., dict[str, Any]],
                       judge: Callable[..., None]) -> None:  # fmt: skip
    mine, others = compared(shape)
    contestants = []
    for module, other in zip(peers.available(), others, strict=True):
        laps = Laps(other, shape)
        contestants.append(Contestant(module.NAME, laps.turn, laps.steps))
    epoch = Contestant(ours.NAME, lambda: mine.fit(shape.steps), shape.steps)
    row = race(shape.work("training step", "step"), epoch, contestants)
    for training in (mine, *others):
        assert all(np.isfinite(w).all() for w in training.weights()), f"{training.__module__}: training diverged"
    judge(bars(shape, words(threads), {name: each["best"] for name, each in row["seconds"].items()}))


def bars(shape: NetworkShape, threads: str, seconds: dict[str, float]) -> list[Bar]:
    """The network's bars, against the best times of a step."""
    found = []
    for peer, required in shape.times.items():
        measured = seconds[peer] / seconds[ours.NAME] if peer in seconds else None
        found.append(Bar(f"{shape.name}, {threads}: times {peer}'s speed", measured, required, "x"))
    if shape.microseconds is not None:
        what = f"{shape.name}, {threads}: a step in fit"
        found.append(Bar(what, seconds[ours.NAME] * 1e6, shape.microseconds, "us", at_most=True))
    return found

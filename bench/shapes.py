"""Every shape that is measured, and the bars: what fastnn has to reach on each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.harness import Work


@dataclass(frozen=True)
class ProductShape:
    """c[m, n] = a[m, k] b[k, n], float32."""

    m: int
    n: int
    k: int
    share_of_peak: float | None = None  # bar, on one thread: of the machine's rate of multiply-adds

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.m}x{self.n}x{self.k}"

    @property
    def flops(self) -> int:
        """A multiplication and an addition for each element of c and each of its k terms."""
        return 2 * self.m * self.n * self.k

    @property
    def repeats(self) -> int:
        """Products in one turn: a millisecond or two."""
        return max(1, 200_000_000 // self.flops)

    def work(self, suite: str) -> Work:
        """What is timed."""
        moved = 4 * (self.m * self.k + self.k * self.n + self.m * self.n)
        return Work(suite, self.name, "product", {"m": self.m, "n": self.n, "k": self.k}, self.flops, moved)


@dataclass(frozen=True)
class Data:
    """Training data: inputs x[n, in] and targets y, rows of floats or integer labels."""

    x: NDArray[np.float32]
    y: NDArray[np.float32] | NDArray[np.int64]


@dataclass(frozen=True)
class NetworkShape:
    """A network of dense layers, trained by plain SGD in float32.

    Attributes
    ----------
    sizes
        Neurons of each layer, inputs first.
    hidden, output
        Activations: "sigmoid", "tanh", "relu", or "" for none.
    loss
        "quadratic", "mse" or "cross_entropy" (from logits and integer labels).
    batch, rate, rows
        Rows of a mini-batch, learning rate, rows of the data set (a multiple of the batch).
    times
        Bars: how many times a peer's speed.
    microseconds
        Bar: the longest that a step may take.
    """

    sizes: tuple[int, ...]
    hidden: str
    output: str
    loss: str
    batch: int
    rate: float
    rows: int
    times: dict[str, float] = field(default_factory=dict, hash=False)
    microseconds: float | None = None

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{'-'.join(map(str, self.sizes))}, {self.hidden}, batch {self.batch}"

    @property
    def steps(self) -> int:
        """In an epoch."""
        return self.rows // self.batch

    @property
    def layers(self) -> list[tuple[int, int, str]]:
        """Inputs, neurons and activation of each layer."""
        pairs = list(itertools.pairwise(self.sizes))
        return [(*pair, self.output if i == len(pairs) - 1 else self.hidden) for i, pair in enumerate(pairs)]

    @property
    def flops(self) -> int:
        """Of a step's products: forward, weight gradient, and input gradient except for the first layer."""
        pairs = list(itertools.pairwise(self.sizes))
        return 2 * self.batch * (3 * sum(a * b for a, b in pairs) - pairs[0][0] * pairs[0][1])

    @property
    def weights(self) -> int:
        """How many parameters it has."""
        return sum(a * b + b for a, b in itertools.pairwise(self.sizes))

    def work(self, suite: str, unit: str) -> Work:
        """What is timed. The least that a step moves: weights in and out, a batch of inputs and of targets."""
        moved = 4 * (2 * self.weights + self.batch * (self.sizes[0] + self.sizes[-1]))
        shape = {"sizes": list(self.sizes), "batch": self.batch, "hidden": self.hidden, "loss": self.loss}
        return Work(suite, self.name, unit, {**shape, "optimizer": "sgd"}, self.flops, moved, weights=self.weights)

    @cached_property
    def data(self) -> Data:
        """Random inputs; targets that depend on them, so that there is something to learn."""
        rng = np.random.default_rng(0)
        x = rng.random((self.rows, self.sizes[0]), dtype=np.float32)
        scores = (x - 0.5) @ rng.standard_normal((self.sizes[0], self.sizes[-1])).astype(np.float32)
        if self.loss == "mse":
            return Data(x, np.tanh(scores))
        labels = scores.argmax(axis=1)
        return Data(x, labels if self.loss == "cross_entropy" else np.eye(self.sizes[-1], dtype=np.float32)[labels])


PRODUCTS = [ProductShape(n, n, n, share_of_peak=0.85) for n in (64, 96, 128, 192)]

NETWORKS = [
    NetworkShape((3, 4, 2), "sigmoid", "sigmoid", "quadratic", 1, 0.1, 20_000, microseconds=1.0),
    NetworkShape((784, 30, 10), "sigmoid", "sigmoid", "quadratic", 10, 0.1, 10_000, times={"numpy": 2.5, "torch": 10}),
    NetworkShape((8, 64, 64, 2), "relu", "", "mse", 64, 0.01, 32_768, times={"numpy": 3, "torch": 10}),
    NetworkShape((8, 64, 64, 2), "tanh", "", "mse", 64, 0.01, 32_768, times={"numpy": 3, "torch": 10}),
    NetworkShape((784, 512, 512, 10), "relu", "", "cross_entropy", 128, 0.01, 2_560, times={"numpy": 1.15}),
]

THREADS = [1, 2]
IMPORT_MILLISECONDS = 50.0  # bar: `import fastnn` over `import numpy`

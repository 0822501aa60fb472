"""PyTorch, eager, in the tightest ordinary loop: functional layers, `autograd.grad`, and updates in place.

That takes two thirds of the time of `nn.Sequential`, `backward()` and `optim.SGD` on networks this small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from bench.shapes import Data, NetworkShape

NAME = "torch"
ACTIVATIONS: dict[str, Any] = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "": None}


def product(a: NDArray[Any], b: NDArray[Any], repeats: int) -> Callable[[], NDArray[Any]]:
    """C = a b, into the same array each time."""
    c = np.empty((a.shape[0], b.shape[1]), a.dtype)
    operands, out = (torch.from_numpy(a), torch.from_numpy(b)), torch.from_numpy(c)

    def run() -> NDArray[Any]:
        for _ in range(repeats):
            torch.mm(*operands, out=out)
        return c

    return run


class Training:
    """A network, trained by automatic differentiation."""

    def __init__(self, shape: NetworkShape, data: Data, weights: list[NDArray[Any]]) -> None:
        self.x, self.y = torch.from_numpy(data.x), torch.from_numpy(data.y)
        self.parameters = [torch.from_numpy(np.array(w.T, order="C")).requires_grad_() for w in weights]
        pairs = zip(self.parameters[::2], self.parameters[1::2], shape.layers, strict=True)
        self.layers = [(w, b, ACTIVATIONS[activation]) for w, b, (_, _, activation) in pairs]
        self.rate = shape.rate
        self.loss = {"quadratic": _quadratic, "mse": functional.mse_loss, "cross_entropy": functional.cross_entropy}[
            shape.loss
        ]

    def train(self, order: NDArray[np.int64]) -> float:
        """Forward, backward, downhill, for each mini-batch."""
        total = torch.zeros(())
        for batch in torch.from_numpy(order).unbind():
            a, y = self.x.index_select(0, batch), self.y.index_select(0, batch)
            for w, b, bend in self.layers:
                a = functional.linear(a, w, b)
                if bend:
                    a = bend(a)
            loss = self.loss(a, y)
            gradients = torch.autograd.grad(loss, self.parameters)
            with torch.no_grad():
                for parameter, gradient in zip(self.parameters, gradients, strict=True):
                    parameter.sub_(gradient, alpha=self.rate)
                total += loss
        return float(total) / len(order)

    def weights(self) -> list[NDArray[Any]]:
        """Copies, in order and as x @ w wants them."""
        return [w.detach().numpy().T.copy() for w in self.parameters]


def _quadratic(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.mse_loss(out, y, reduction="sum") * (0.5 / len(out))

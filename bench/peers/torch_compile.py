"""PyTorch, compiled: a whole step, from gathering the batch to the update, is one graph for `torch.compile`.

Gradients come from `torch.func`, so that forward, backward and update are fused together.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no processes that would run beside the others' turns

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from bench.peers.torch import ACTIVATIONS, LOSSES, set_threads
from bench.shapes import Data, NetworkShape

__all__ = ["Inference", "Training", "set_threads"]
Tensors = list[torch.Tensor]


def _forward(shape: NetworkShape, weights: Tensors, a: torch.Tensor) -> torch.Tensor:
    for number, (_, _, activation) in enumerate(shape.layers):
        a = functional.linear(a, weights[2 * number], weights[2 * number + 1])
        bend = ACTIVATIONS[activation]
        if bend:
            a = bend(a)
    return a


def _turned(weights: list[NDArray[Any]]) -> Tensors:
    return [torch.from_numpy(np.array(w.T, order="C")) for w in weights]


class Training:
    """A network, trained by a compiled step."""

    def __init__(self, shape: NetworkShape, data: Data, weights: list[NDArray[Any]]) -> None:
        torch._dynamo.reset()  # what was compiled for other networks is not to be looked through at each call
        self.x, self.y = torch.from_numpy(data.x), torch.from_numpy(data.y)
        self.parameters, self.total = _turned(weights), torch.zeros(())
        adam = shape.optimizer == "adam"
        self.moments = [[torch.zeros_like(w) for w in self.parameters] for _ in range(2)] if adam else [[], []]
        self.done = torch.zeros(())
        self.step: Callable[..., None] = torch.compile(_step(shape), dynamic=False)

    def train(self, order: NDArray[np.int64]) -> float:
        """Forward, backward, downhill, for each mini-batch."""
        self.total.zero_()
        with torch.no_grad():
            for rows in torch.from_numpy(order).unbind():
                self.step(self.parameters, *self.moments, self.done, self.total, self.x, self.y, rows)
        return float(self.total) / len(order)

    def weights(self) -> list[NDArray[Any]]:
        """Copies, in order and as x @ w wants them."""
        return [w.numpy().T.copy() for w in self.parameters]


def _step(shape: NetworkShape) -> Callable[..., None]:
    """What is compiled."""

    def loss_of(weights: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return LOSSES[shape.loss](_forward(shape, weights, x), y)

    def step(weights: Tensors, means: Tensors, squares: Tensors, done: torch.Tensor, total: torch.Tensor,
             x: torch.Tensor, y: torch.Tensor, rows: torch.Tensor) -> None:  # fmt: skip
        batch = x.index_select(0, rows), y.index_select(0, rows)
        gradients, loss = torch.func.grad_and_value(loss_of)(weights, *batch)
        total += loss
        if not means:
            for w, g in zip(weights, gradients, strict=True):
                w.sub_(g, alpha=shape.rate)
            return
        done += 1
        for w, g, m, s in zip(weights, gradients, means, squares, strict=True):
            m.lerp_(g, 0.1)
            s.mul_(0.999).addcmul_(g, g, value=0.001)
            size = s.sqrt() / (1 - 0.999**done).sqrt() + 1e-8
            w.sub_(shape.rate / (1 - 0.9**done) * m / size)

    return step


class Inference:
    """A compiled forward pass."""

    def __init__(self, shape: NetworkShape, weights: list[NDArray[Any]]) -> None:
        torch._dynamo.reset()
        self.parameters = _turned(weights)
        self.forward = torch.compile(lambda weights, x: _forward(shape, weights, x), dynamic=False)

    @torch.inference_mode()
    def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """What the last layer gives."""
        return self.forward(self.parameters, torch.from_numpy(x)).numpy()

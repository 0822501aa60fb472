"""PyTorch, eager, in the tightest ordinary loop: functional layers, `autograd.grad`, and updates in place.

That takes two thirds of the time of `nn.Sequential`, `backward()` and `optim.SGD` on networks this small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from bench.peers.torch_arrays import elementwise
from bench.shapes import Data, NetworkShape, ProductShape

__all__ = ["Inference", "Training", "elementwise", "product", "set_threads"]
ACTIVATIONS: dict[str, Any] = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "": None}


def _quadratic(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.mse_loss(out, y, reduction="sum") * (0.5 / len(out))


LOSSES: dict[str, Any] = {
    "quadratic": _quadratic,
    "mse": functional.mse_loss,
    "cross_entropy": functional.cross_entropy,
}


def set_threads(n: int) -> None:
    """For its own pool."""
    torch.set_num_threads(n)


def product(shape: ProductShape, a: NDArray[Any], b: NDArray[Any]) -> Callable[[int], NDArray[Any]]:
    """C = a b, into the same array each time."""
    left, right = torch.from_numpy(a), torch.from_numpy(b)
    left, right = left.T if shape.transpose_a else left, right.T if shape.transpose_b else right
    if shape.dtype == "bfloat16":  # it keeps factors and result so, and has half as much to read and to write
        left, right = left.bfloat16(), right.bfloat16()
    out = torch.empty(shape.m, shape.n, dtype=left.dtype)

    def run(times: int) -> NDArray[Any]:
        for _ in range(times):
            torch.mm(left, right, out=out)
        return (out.float() if shape.dtype == "bfloat16" else out).numpy()

    return run


class Training:
    """A network, trained by automatic differentiation; all data and parameters stay on the device."""

    device = "cpu"

    def __init__(self, shape: NetworkShape, data: Data, weights: list[NDArray[Any]]) -> None:
        self.x, self.y = (torch.from_numpy(array).to(self.device) for array in (data.x, data.y))
        turned = [torch.from_numpy(np.array(w.T, order="C")) for w in weights]
        self.parameters = [w.to(self.device).requires_grad_() for w in turned]
        pairs = zip(self.parameters[::2], self.parameters[1::2], shape.layers, strict=True)
        self.layers = [(w, b, ACTIVATIONS[activation]) for w, b, (_, _, activation) in pairs]
        self.rate = shape.rate
        self.adam = torch.optim.Adam(self.parameters, lr=shape.rate, fused=True) if shape.optimizer == "adam" else None
        self.loss = LOSSES[shape.loss]

    def train(self, order: NDArray[np.int64]) -> float:
        """Forward, backward, downhill, for each mini-batch."""
        total = torch.zeros((), device=self.device)
        for batch in torch.from_numpy(order).to(self.device).unbind():
            total += self.step(batch)
        return float(total) / len(order)

    def step(self, batch: torch.Tensor) -> torch.Tensor:
        """One of them, with the rows of these numbers; its loss."""
        a, y = self.x.index_select(0, batch), self.y.index_select(0, batch)
        for w, b, bend in self.layers:
            a = functional.linear(a, w, b)
            if bend:
                a = bend(a)
        loss = self.loss(a, y)
        self.update(torch.autograd.grad(loss, self.parameters))
        return loss.detach()

    def update(self, gradients: Sequence[torch.Tensor]) -> None:
        """A step downhill."""
        if self.adam:
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.grad = gradient
            self.adam.step()
            return
        with torch.no_grad():
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=self.rate)

    def weights(self) -> list[NDArray[Any]]:
        """Copies, in order and as x @ w wants them."""
        return [w.detach().cpu().numpy().T.copy() for w in self.parameters]


class Inference:
    """The layers one after another, nothing recorded."""

    def __init__(self, shape: NetworkShape, weights: list[NDArray[Any]]) -> None:
        parameters = [torch.from_numpy(np.array(w.T, order="C")) for w in weights]
        pairs = zip(parameters[::2], parameters[1::2], shape.layers, strict=True)
        self.layers = [(w, b, ACTIVATIONS[activation]) for w, b, (_, _, activation) in pairs]

    @torch.inference_mode()
    def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """What the last layer gives."""
        a = torch.from_numpy(x)
        for w, b, bend in self.layers:
            a = functional.linear(a, w, b)
            if bend:
                a = bend(a)
        return a.numpy()

"""PyTorch on a GPU, a step captured as a CUDA graph and launched again and again."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.peers import torch_cuda
from bench.shapes import Data, NetworkShape


class Training(torch_cuda.Training):
    """The graph reads row numbers from, and adds its loss to, memory of its own."""

    def __init__(self, shape: NetworkShape, data: Data, weights: list[NDArray[Any]]) -> None:
        super().__init__(shape, data, weights)
        if shape.optimizer == "adam":
            self.adam = torch.optim.Adam(self.parameters, lr=shape.rate, fused=True, capturable=True)
        self.batch = torch.arange(shape.batch, device=self.device)
        self.total = torch.zeros((), device=self.device)
        before = [w.detach().clone() for w in self.parameters]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries get ready, and the optimizer makes its state
            for _ in range(3):
                self.step(self.batch)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.total += self.step(self.batch)
        with torch.no_grad():  # as if nothing had happened
            for w, old in zip(self.parameters, before, strict=True):
                w.copy_(old)
            for state in self.adam.state.values() if self.adam else ():
                for value in state.values():
                    value.zero_()

    def train(self, order: NDArray[np.int64]) -> float:
        """Launches it for each mini-batch."""
        self.total.zero_()
        for batch in torch.from_numpy(order).to(self.device).unbind():
            self.batch.copy_(batch)
            self.graph.replay()
        return float(self.total) / len(order)

"""PyTorch on a GPU, eager: the loop of its page for the CPU, with everything on the device."""

from __future__ import annotations

import torch

from bench.peers import torch as cpu

DEVICE = "cuda"

if not torch.cuda.is_available():
    raise NotImplementedError("PyTorch finds no GPU")


class Training(cpu.Training):
    """One number comes back in the end: the mean loss."""

    device = DEVICE

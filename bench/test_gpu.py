"""Training steps on a GPU: the same Program by CuPy, against PyTorch on the same device, eager and as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from bench.conftest import gpu_missing
from bench.peak import DevicePeak
from bench.peers import PEERS
from bench.shapes import GPU_NETWORKS, NetworkShape
from bench.training import compared

HERE = [peer.name for peer in PEERS if peer.gpu]


@pytest.mark.skipif(bool(gpu_missing()), reason=gpu_missing())
@pytest.mark.parametrize("threads", [1], indirect=True, ids=["1-thread"])
@pytest.mark.parametrize("shape", GPU_NETWORKS, ids=lambda shape: shape.name)
def test_training_step_on_a_gpu(shape: NetworkShape, enter: Callable[..., Any], race: Callable[..., None]) -> None:
    race(shape.training("GPU training step"), *compared(shape, partial(enter, only=HERE)), DevicePeak())

"""The contestants, each on a page: fastnn as its users write it, the others as their own experts would.

A page has whatever its library can do of this; what it lacks, or what raises NotImplementedError, is a race without it:

    set_threads(n)                   before anything else; the process is bound to n cores by then
    product(shape, a, b)             a function of `times` that computes c = a b so many times and returns c
    elementwise(shape, arrays)       a function of `times` that does the operation so often and returns its results
    Training(shape, data, weights)   .train(order) makes a step for each row of order[steps, batch], numbers of rows of
                                     the data, and returns the mean loss; .weights() are arrays: weight[in, out],
                                     bias[out], weight, ...; .steps_at_once, if there, is the only number of steps
                                     that it likes to make in a call
    Inference(shape, weights)        .predict(x) is what the last layer gives, an array [batch, out]
    SERIAL = True                    it uses one thread, however many there are

fastnn trains in an order that it chooses itself, and says which: `order(steps)`, then `fit(steps)`.

    python -m bench.peers            the versions of what is installed for this interpreter, as JSON
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar


@dataclass(frozen=True)
class Peer:
    """A contestant that may be installed, or not.

    Attributes
    ----------
    name
        As the report writes it.
    module
        Its page.
    packages
        The distributions that it needs.
    slow
        Getting ready takes it many seconds a row: the quick profile asks it for few rows.
    gpu
        It computes on a GPU, and races fastnn there.
    """

    name: str
    module: str
    packages: tuple[str, ...]
    slow: bool = False
    gpu: bool = False


PEERS = [
    Peer("numpy", "bench.peers.numpy", ("numpy",)),
    Peer("plain numpy", "bench.peers.numpy_plain", ("numpy",)),
    Peer("torch", "bench.peers.torch", ("torch",)),
    Peer("torch.compile", "bench.peers.torch_compile", ("torch",), slow=True),
    Peer("torch cuda", "bench.peers.torch_cuda", ("torch",), gpu=True),
    Peer("torch cuda graph", "bench.peers.torch_cuda_graph", ("torch",), gpu=True),
    Peer("jax", "bench.peers.jax", ("jax", "jaxlib")),
    Peer("jax scan", "bench.peers.jax_scan", ("jax", "jaxlib")),
    Peer("scikit-learn", "bench.peers.sklearn", ("scikit-learn",)),
    Peer("thinc", "bench.peers.thinc", ("thinc",)),
    Peer("onnxruntime", "bench.peers.onnxruntime", ("onnxruntime", "onnx")),
    Peer("blis", "bench.peers.blis", ("blis",)),
    Peer("mkl", "bench.peers.mkl", ("mkl",)),
    Peer("numba", "bench.peers.numba", ("numba",)),
]
Result = TypeVar("Result")


def repeated(call: Callable[[], object], result: Result) -> Callable[[int], Result]:
    """A function of `times` that makes the call so often and returns what the calls write to."""

    def run(times: int) -> Result:
        for _ in range(times):
            call()
        return result

    return run


ROOT = Path(__file__).resolve().parents[2]


def installed(python: str) -> dict[str, str]:
    """Versions of the peers' packages that another interpreter has, by distribution.

    Raises
    ------
    RuntimeError
        If it cannot be run.
    """
    try:
        answer = subprocess.run([python, "-m", "bench.peers"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        details = getattr(problem, "stderr", "") or str(problem)
        raise RuntimeError(f"{python} cannot run the peers: {details.strip()}") from problem
    return json.loads(answer.stdout)


@dataclass(frozen=True)
class Inventory:
    """Which interpreter runs which peer, in what version; and what is missing, and why."""

    interpreters: dict[Peer, str]
    versions: dict[str, str]
    missing: dict[str, str]


def inventory(others: Sequence[str] = (), peers: Sequence[Peer] = PEERS) -> Inventory:
    """Looks for each peer in this interpreter's environment first, and then in those of `others`."""
    found = Inventory({}, {}, {})
    environments = {python: installed(python) for python in (sys.executable, *others)}
    for peer in peers:
        for python, packages in environments.items():
            if all(package in packages for package in peer.packages):
                found.interpreters[peer] = python
                found.versions.update({package: packages[package] for package in peer.packages})
                break
        else:
            found.missing[peer.name] = f"{' and '.join(peer.packages)} not installed"
    return found

"""Results as the benchmark suites write them, made up: a model of a machine on which every contestant has its own cost.

Times are overhead + arithmetic / share of the peak + traffic / bandwidth, with a few per cent of noise from a seed. So
there are wins, losses, floors, and rows that only some contestants have, as in a real run.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

PEAK, BANDWIDTH = 105e9, 12e9  # of one thread
OVERHEAD = {"fastnn": 0.4e-6, "numpy": 1.1e-6, "blis": 2e-6, "mkl": 1e-6, "torch": 6e-6, "torch.compile": 9e-6,
            "jax": 12e-6, "jax scan": 2.6e-6, "scikit-learn": 40e-6, "thinc": 4e-6, "onnxruntime": 5e-6,
            "numba": 0.6e-6}  # fmt: skip
SHARE = {"fastnn": 0.9, "numpy": 0.85, "blis": 0.7, "mkl": 0.93, "torch": 0.92, "torch.compile": 0.93, "jax": 0.8,
         "jax scan": 0.8, "scikit-learn": 0.5, "thinc": 0.4, "onnxruntime": 0.9, "numba": 0.2}  # fmt: skip
CALLS = {
    "fastnn": 1,
    "numpy": 18,
    "torch": 35,
    "torch.compile": 30,
    "jax": 9,
    "jax scan": 1,
    "scikit-learn": 30,
    "thinc": 40,
    "numba": 1,
}  # fmt: skip ; in a training step
NETWORKS = [((3, 4, 2), 1), ((8, 64, 64, 2), 64), ((784, 30, 10), 10), ((784, 128, 10), 32),
            ((784, 512, 512, 10), 128), ((1024,) * 5, 512), ((1800,) * 4, 64)]  # fmt: skip
PRODUCTS = [*[(n, n, n) for n in (8, 16, 32, 64, 128, 256, 512, 1024, 2048)],
            (1, 1000, 1000), (8, 512, 784), (32, 10, 512), (10, 30, 784), (10000, 16, 16), (2048, 64, 8)]  # fmt: skip
OPERATIONS = ("relu", "sigmoid", "tanh", "gelu", "softmax", "cross_entropy", "adam")
LIMITS = {"bytes_per_second": BANDWIDTH, "peak_flops": PEAK}


class Maker:
    """Makes benchmarks; `slower` is a factor on fastnn's times by row name, `noise` the size of the noise."""

    def __init__(self, seed: int = 0, noise: float = 0.02, slower: dict[str, float] | None = None) -> None:
        self._rng = np.random.default_rng(seed)
        self._noise = noise
        self._slower = slower or {}

    def times(self, what: str, flops: float, traffic: float, threads: int, calls: dict[str, int]) -> dict[str, Any]:
        """Best, median and spread of all who take part."""
        found = {}
        for name, count in calls.items():
            team = threads if flops > 1e6 or traffic > 1e6 else 1
            work = flops / (SHARE[name] * PEAK * team) + traffic / (BANDWIDTH * team)
            noise = 1 + self._noise * self._rng.random()
            best = (OVERHEAD[name] * count + work) * noise * (self._slower.get(what, 1.0) if name == "fastnn" else 1.0)
            spread = self._noise * (0.5 + self._rng.random())
            found[name] = {"best": best, "median": best * (1 + spread), "spread": spread}
        return found

    def benchmark(self, suite: str, what: str, unit: str, threads: int, flops: float, traffic: float,
                  calls: dict[str, int], **facts: Any) -> dict[str, Any]:  # fmt: skip
        """One entry of the JSON's list."""
        extra = {
            "suite": suite, "what": what, "unit": unit, "dtype": "float32", "threads": threads, "level": "v4",
            "versions": {"fastnn": "0.1.0", "numpy": "2.4.6", "torch": "2.13.0"}, "flops": flops, "bytes": traffic,
            **{name: threads * value for name, value in LIMITS.items()}, "load": 0.4, "waited": 0.5, "missing": {},
            **({"handover_seconds": 90e-9} if threads > 1 else {}),
            "bars": [], "seconds": self.times(what, flops, traffic if flops == 0 else 0.0, threads, calls), **facts,
        }  # fmt: skip
        name = f"test_{suite}[{what}-{threads}]"
        stats = {"min": extra["seconds"]["fastnn"]["best"], "data": [1.0, 2.0], "rounds": 20}
        return {"name": name, "fullname": f"bench/test.py::{name}", "group": suite, "stats": stats, "extra_info": extra}


def once(*names: str) -> dict[str, int]:
    """One call each."""
    return dict.fromkeys(("fastnn", *names), 1)


def products(maker: Maker) -> list[dict[str, Any]]:
    """Products, called and in a Program."""
    found = []
    for (m, n, k), threads, dtype in itertools.product(PRODUCTS, (1, 2), ("float32", "float64")):
        wide = 1 if dtype == "float32" else 2
        facts = {"shape": {"m": m, "n": n, "k": k}, "dtype": dtype, "peak_flops": threads * PEAK / wide}
        flops, traffic = 2.0 * m * n * k * wide, 4.0 * wide * (m * k + k * n + m * n)
        for suite in ("products", "program products"):
            calls = once("numpy", "torch", "blis", "mkl") if suite == "products" else {"fastnn": 0}
            made = maker.benchmark(suite, f"{m}x{n}x{k}", "product", threads, flops, traffic, calls, **facts)
            made["extra_info"]["flops"] /= wide
            found.append(made)
    turned = {"m": 256, "n": 256, "k": 256, "transpose_a": True}
    found.append(maker.benchmark("products", "AᵀB 256x256x256", "product", 1, 2.0 * 256**3, 12.0 * 256**2,
                                 once("numpy"), shape=turned))  # fmt: skip
    return found


def elementwise(maker: Maker) -> list[dict[str, Any]]:
    """Operations in and out of cache."""
    found = []
    for operation, in_cache, threads in itertools.product(OPERATIONS, (True, False), (1, 2)):
        elements = 4096 if in_cache else 4_194_304
        shape = {"elements": elements, "operation": operation, "in_cache": in_cache}
        what = f"{operation}, {'in' if in_cache else 'out of'} cache"
        found.append(maker.benchmark("elementwise", what, "call", threads, 10.0 * elements, 8.0 * elements,
                                     once("numpy", "torch"), shape=shape))  # fmt: skip
    return found


def network_facts(sizes: tuple[int, ...], batch: int) -> dict[str, Any]:
    """Shape, weights, work and traffic of a dense network."""
    pairs = list(itertools.pairwise(sizes))
    weights = sum(a * b + b for a, b in pairs)
    flops = 2.0 * batch * (3 * sum(a * b for a, b in pairs) - pairs[0][0] * pairs[0][1])
    return {
        "shape": {"sizes": list(sizes), "batch": batch},
        "weights": weights,
        "flops": flops,
        "traffic": 8.0 * weights,
    }


def training(maker: Maker) -> list[dict[str, Any]]:
    """Training steps and predictions, with two bars: one met, one missed."""
    found = []
    for (sizes, batch), threads in itertools.product(NETWORKS, (1, 2)):
        name = f"{'-'.join(map(str, sizes))}, relu, batch {batch}"
        facts = network_facts(sizes, batch)
        work, traffic = facts.pop("flops"), facts.pop("traffic")
        step = maker.benchmark("training step", name, "step", threads, work, traffic, CALLS, **facts)
        seconds = step["extra_info"]["seconds"]
        ratio = seconds["numpy"]["best"] / seconds["fastnn"]["best"]
        bar = {"what": f"{name}, {threads}: times numpy's speed", "measured": ratio, "required": 1.2, "unit": "x",
               "at_most": False, "met": ratio >= 1.2}  # fmt: skip
        step["extra_info"]["bars"] = [bar]
        step["extra_info"]["missing"] = {"cupy": "not installed"}
        single = network_facts(sizes, 1)
        once_work = single.pop("flops") / 3
        single.pop("traffic")
        calls = {"fastnn": 2, "numpy": 6, "torch": 12, "onnxruntime": 1}
        one = f"{'-'.join(map(str, sizes))}, relu, batch 1"
        found += [step, maker.benchmark("inference", one, "prediction", threads, once_work, traffic, calls, **single)]
    return found


def scaling(maker: Maker) -> list[dict[str, Any]]:
    """A curve along each direction."""
    found = []
    peers = {"fastnn": 1, "numpy": 18, "torch": 35}
    curves: dict[str, list[tuple[int, tuple[int, ...], int]]] = {
        "batch": [(n, (784, 128, 10), n) for n in (1, 8, 64, 512)],
        "width": [(n, (64, n, n, 10), 64) for n in (16, 64, 256, 1024)],
        "depth": [(n, (64, *[64] * n, 10), 64) for n in (1, 2, 4, 8, 16)],
        "threads": [(n, (784, 512, 512, 10), 128) for n in (1, 2)],
    }
    for along, places in curves.items():
        for value, sizes, batch in places:
            facts = network_facts(sizes, batch)
            work, traffic = facts.pop("flops"), facts.pop("traffic")
            name = f"{'-'.join(map(str, sizes))}, relu, batch {batch}"
            threads = value if along == "threads" else 1
            found.append(maker.benchmark("scaling", name, "step", threads, work, traffic, peers,
                                         series={"along": along, "value": value}, **facts))  # fmt: skip
    return found


def document(seed: int = 0, noise: float = 0.02, slower: dict[str, float] | None = None) -> dict[str, Any]:
    """A whole file: what `pytest bench --benchmark-json` writes."""
    maker = Maker(seed, noise, slower)
    started = {"fastnn": 40e-3, "numpy": 30e-3}
    seconds = {name: {"best": best, "median": 1.02 * best, "spread": 0.02} for name, best in started.items()}
    bar = {"what": "import fastnn, over import numpy", "measured": 10.0, "required": 50.0,
           "unit": "ms", "at_most": True, "met": True}  # fmt: skip
    importing = maker.benchmark("import", "import fastnn", "process", 1, 0.0, 0.0, once("numpy"), bars=[bar])
    importing["extra_info"]["seconds"] = seconds
    return {
        "datetime": "2026-11-22T12:00:00+00:00",
        "version": "5.3.1",
        "commit_info": {"id": "0123456789abcdef", "time": "2026-11-22T11:00:00+00:00", "dirty": False,
                        "project": "secret-project", "branch": "secret-branch"},
        "bars": [{"what": "products: geometric mean", "measured": 1.1, "required": 1.2, "unit": "x", "at_most": False,
                  "met": False}],
        "machine_info": {
            "node": "secret-host", "processor": "x86_64", "machine": "x86_64", "python_version": "3.11.2",
            "fastnn": {"fastnn": "0.1.0", "python": "3.11.2", "platform": "Linux x86_64", "level": "v4",
                       "processor": "Example(R) Processor 9000 CPU @ 2.60GHz", "level_reason": "the best one here",
                       "openmp": True, "threads": 2, "processors": 2, "quota": 0},
            "versions": {"fastnn": "0.1.0", "numpy": "2.4.6", "torch": "2.13.0"},
            "missing": {"cupy": "not installed", "eigen": "no library in /home/secret-user/env/lib/libeigen.so"},
            "lifted": ["OPENBLAS_CORETYPE"],
            "peak_flops": {"1": PEAK, "2": 2 * PEAK},
            "bytes_per_second": {"1": BANDWIDTH, "2": 2 * BANDWIDTH},
            "l2_bytes_per_second": {"1": 8 * BANDWIDTH, "2": 16 * BANDWIDTH},
            "clock": 3.3e9, "calculated_peak_flops": 105.6e9, "peak_agrees": True,
            "calculation": "105.0 GFLOP/s measured, 105.6 calculated: they agree", "load": 0.4, "profile": "quick",
        },
        "benchmarks": [*products(maker), *elementwise(maker), *training(maker), *scaling(maker), importing],
    }  # fmt: skip

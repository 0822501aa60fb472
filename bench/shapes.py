"""Every shape that is measured, by suite; the quick profile takes those that are marked so.

A shape says what is done, on which numbers, and how much work that is; bench/bars.py says what has to be reached.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.memory import placed

Array = NDArray[Any]


@dataclass(frozen=True)
class Work:
    """What a race is about: that part of `extra_info` (see bench/harness.py) which is known before it starts."""

    suite: str
    what: str
    unit: str
    shape: dict[str, Any]
    flops: float
    bytes: float
    dtype: str = "float32"
    weights: int | None = None
    series: dict[str, Any] | None = None

    def facts(self) -> dict[str, Any]:
        """As `extra_info` has it: what does not apply is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


# ---------------------------------------------------------------------------------------------------- products


@dataclass(frozen=True)
class ProductShape:
    """c[m, n] = a[m, k] b[k, n]; a transposed factor lies in memory as [k, m] or [n, k].

    With dtype "bfloat16", factors are float32 arrays of numbers that bfloat16 holds: whoever multiplies them as either
    multiplies the same.
    """

    m: int
    n: int
    k: int
    transpose_a: bool = False
    transpose_b: bool = False
    dtype: str = "float32"
    quick: bool = False

    @property
    def array_dtype(self) -> str:
        """In which factors and result lie in memory."""
        return "float32" if self.dtype == "bfloat16" else self.dtype

    @property
    def name(self) -> str:
        """As people write it: m x n x k, turned factors in front."""
        turned = {(False, False): "", (True, False): "AᵀB ", (False, True): "ABᵀ ", (True, True): "AᵀBᵀ "}
        kind = "" if self.dtype == "float32" else f", {self.dtype}"
        return f"{turned[self.transpose_a, self.transpose_b]}{self.m}x{self.n}x{self.k}{kind}"

    @property
    def flops(self) -> int:
        """A multiplication and an addition for each element of c and each of its k terms."""
        return 2 * self.m * self.n * self.k

    def operands(self) -> tuple[Array, Array]:
        """Random factors, as they lie in memory."""
        rng = np.random.default_rng(0)
        a = rng.standard_normal((self.k, self.m) if self.transpose_a else (self.m, self.k), dtype=np.float32)
        b = rng.standard_normal((self.n, self.k) if self.transpose_b else (self.k, self.n), dtype=np.float32)
        if self.dtype == "bfloat16":
            a, b = ((each.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32) for each in (a, b))
        return placed(a.astype(self.array_dtype, copy=False)), placed(b.astype(self.array_dtype, copy=False))

    def work(self, suite: str, series: dict[str, Any] | None = None) -> Work:
        """What is timed."""
        moved = np.dtype(self.array_dtype).itemsize * (self.m * self.k + self.k * self.n + self.m * self.n)
        shape: dict[str, Any] = {"m": self.m, "n": self.n, "k": self.k}
        shape |= {name: True for name in ("transpose_a", "transpose_b") if getattr(self, name)}
        return Work(suite, self.name, "product", shape, self.flops, moved, self.dtype, series=series)


def _squares(sizes: str, *, dtype: str = "float32", quick: bool = False) -> list[ProductShape]:
    return [ProductShape(int(n), int(n), int(n), dtype=dtype, quick=quick) for n in sizes.split()]


def _products(*shapes: tuple[int, int, int], quick: bool = False, **options: Any) -> list[ProductShape]:
    return [ProductShape(*shape, quick=quick, **options) for shape in shapes]


SQUARES = [
    *_squares("8 16 32 64 128 256 512 1024 2048", quick=True),
    *_squares("12 24 48 96 192 384 768 1536"),
]
PRODUCTS = [
    *SQUARES,
    # Layers forward: batch x neurons x inputs.
    *_products((1, 128, 784), (10, 30, 784), (32, 128, 784), (128, 512, 784), (64, 64, 8), quick=True),
    *_products((128, 10, 512), (64, 2, 64), (128, 512, 512), (32, 1024, 1024), (512, 1024, 1024)),
    # Gradients of weights: inputs x neurons x batch.
    *_products((784, 30, 10), (784, 512, 128), (512, 512, 128), transpose_a=True, quick=True),
    *_products((8, 64, 64), (784, 128, 32), (512, 10, 128), (1024, 1024, 512), transpose_a=True),
    # Gradients of inputs: batch x inputs x neurons.
    *_products((64, 64, 2), (32, 784, 128), (128, 512, 512), transpose_b=True, quick=True),
    *_products((10, 784, 30), (128, 512, 10), (512, 1024, 1024), transpose_b=True),
    *_products((256, 256, 256), transpose_a=True, transpose_b=True, quick=True),
    *_products((256, 256, 256), transpose_a=True),
    *_products((256, 256, 256), transpose_b=True),
    # Skinny: one side of 1 ... 32.
    *_products((1, 1024, 1024), (8, 1024, 1024), (1024, 1, 1024), (1024, 16, 1024), (100_000, 16, 16), quick=True),
    *_products((4, 1024, 1024), (16, 1024, 1024), (1, 4096, 4096), (1024, 4, 1024), (1024, 32, 1024)),
    *_products((1024, 1024, 1), (1024, 1024, 16), (16, 16, 100_000), (2, 2, 2)),
    *_products((1, 1024, 1024), (8, 1024, 1024), transpose_b=True),
    # float64.
    *_squares("16 64 256 1024", dtype="float64", quick=True),
    *_squares("8 32 128 512 2048", dtype="float64"),
    *_products((32, 128, 784), (128, 512, 784), (1, 1024, 1024), dtype="float64"),
    # Factors rounded to bfloat16.
    *_squares("512 1024 2048", dtype="bfloat16"),
    *_products((128, 512, 784), dtype="bfloat16"),
]
PROGRAM_PRODUCTS = [
    *_squares("32 64 96 128 192 256 512 1024", quick=True),
    *_squares("16 48 384 768 1536 2048"),
    *_products((10, 30, 784), (32, 128, 784), (128, 512, 784), (100_000, 16, 16)),
    *_squares("512 1024 2048", dtype="bfloat16"),
]


# ------------------------------------------------------------------------------------------------- elementwise

ELEMENTS = {True: 1 << 15, False: 1 << 24}  # in L2 with four operands, and beyond every cache
ACTIVATIONS = ("relu", "leaky_relu", "elu", "sigmoid", "tanh", "softplus", "silu", "gelu", "gelu_tanh")
UPDATES = {"sgd": 0, "momentum": 1, "nesterov": 1, "rmsprop": 1, "rmsprop_momentum": 2, "adagrad": 1, "adam": 2,
           "adamw": 2}  # and how many states they have  # fmt: skip
CLASSES = 128  # columns of what has rows
QUICK_OPERATIONS = {"relu", "sigmoid", "tanh", "gelu", "relu slope", "tanh slope", "softmax", "cross_entropy",
                    "dropout", "sgd update", "adam update", "sum of columns"}  # fmt: skip


@dataclass(frozen=True)
class ElementwiseShape:
    """An activation, its slope, a softmax, a loss, dropout, an update or a sum, on float32.

    Attributes
    ----------
    operation
        "relu", "relu slope", "softmax", "cross_entropy", "adam update", "sum of rows", ...
    elements
        Of each operand; rows are of CLASSES elements.
    in_cache
        Whether all operands together stay in the second-level cache of one core.
    """

    operation: str
    in_cache: bool

    @property
    def quick(self) -> bool:
        """Whether it is in the quick profile."""
        return self.operation in QUICK_OPERATIONS

    @property
    def elements(self) -> int:
        """Of each operand."""
        return ELEMENTS[self.in_cache]

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.operation}, {'in' if self.in_cache else 'out of'} cache"

    @property
    def update(self) -> str:
        """The rule of an update, else nothing."""
        rule, _, kind = self.operation.partition(" ")
        return rule if kind == "update" else ""

    def operands(self) -> list[Array]:
        """Its inputs: x; dy and what the slope is taken of; logits and labels; gradient, parameter and states."""
        if self.update:
            states = [placed(np.abs(self._numbers(i + 2))) for i in range(self.n_states)]
            return [self._numbers(0), self._numbers(1), *states]
        if self.operation == "cross_entropy":
            labels = np.random.default_rng(1).integers(0, CLASSES, self.elements // CLASSES)
            return [self._numbers(0).reshape(-1, CLASSES), labels]
        both = self.operation.endswith(("slope", "gradient"))
        arrays = [self._numbers(i) for i in range(1 + both)]
        return [array.reshape(-1, CLASSES) for array in arrays] if self.has_rows else arrays

    @property
    def n_states(self) -> int:
        """What an update's optimizer remembers."""
        return UPDATES[self.update]

    @property
    def has_rows(self) -> bool:
        """Whether rows and columns matter."""
        return self.operation.startswith(("softmax", "log_softmax", "cross_entropy", "sum of"))

    def _numbers(self, number: int) -> Array:
        """Normally distributed; long arrays repeat a shorter one, of a length that fits no vector."""
        rng = np.random.default_rng(number)
        return placed(np.resize(rng.standard_normal(min(self.elements, 100_003), dtype=np.float32), self.elements))

    def work(self) -> Work:
        """What is timed: each operand is read once, each result written once."""
        if self.update:
            passes = 3 + 2 * self.n_states
        elif self.operation == "cross_entropy" or not self.operation.startswith("sum"):
            passes = 3 if self.operation.endswith(("slope", "gradient")) else 2
        else:
            passes = 1
        shape = {"elements": self.elements, "operation": self.operation, "in_cache": self.in_cache}
        return Work("elementwise", self.name, "call", shape, self.elements, 4 * passes * self.elements)


OPERATIONS = [
    *ACTIVATIONS,
    *(f"{name} slope" for name in ACTIVATIONS),
    *("softmax", "softmax gradient", "log_softmax", "log_softmax gradient", "cross_entropy", "dropout"),
    *(f"{name} update" for name in UPDATES),
    *("sum", "sum of rows", "sum of columns"),
]
ELEMENTWISE = [ElementwiseShape(operation, in_cache) for in_cache in (True, False) for operation in OPERATIONS]


# ---------------------------------------------------------------------------------------------------- networks


@dataclass(frozen=True)
class Data:
    """Training data: inputs x[n, in] and targets y, rows of floats or integer labels."""

    x: NDArray[np.float32]
    y: NDArray[np.float32] | NDArray[np.int64]


@dataclass(frozen=True)
class NetworkShape:
    """A network of dense layers in float32.

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
    optimizer
        "sgd" or "adam" (Kingma and Ba's numbers).
    one_call
        How fastnn makes a step: many in a call of `fit`, or each by a call of `trainer.step`.
    backend
        fastnn's: "native", or "cupy" for a GPU.
    """

    sizes: tuple[int, ...]
    hidden: str
    output: str
    loss: str
    batch: int
    rate: float
    rows: int
    optimizer: str = "sgd"
    one_call: bool = True
    quick: bool = False
    backend: str = "native"

    @property
    def name(self) -> str:
        """As people write it."""
        extra = [] if self.optimizer == "sgd" else [self.optimizer.capitalize()]
        extra += [] if self.one_call else ["trainer.step"]
        return ", ".join(["-".join(map(str, self.sizes)), self.hidden, f"batch {self.batch}", *extra])

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

    def _shape(self) -> dict[str, Any]:
        return {"sizes": list(self.sizes), "batch": self.batch, "hidden": self.hidden}

    def training(self, suite: str = "training step", series: dict[str, Any] | None = None) -> Work:
        """A step. The least that it moves: weights (Adam: moments too) in and out, inputs and targets of a batch."""
        lasting = self.weights * (3 if self.optimizer == "adam" else 1)
        moved = 4 * (2 * lasting + self.batch * (self.sizes[0] + self.sizes[-1]))
        shape = {**self._shape(), "loss": self.loss, "optimizer": self.optimizer, "one_call": self.one_call}
        return Work(suite, self.name, "step", shape, self.flops, moved, weights=self.weights, series=series)

    def inference(self) -> Work:
        """A prediction of a batch. The least that it moves: weights, inputs and results."""
        flops = 2 * self.batch * sum(a * b for a, b in itertools.pairwise(self.sizes))
        moved = 4 * (self.weights + self.batch * (self.sizes[0] + self.sizes[-1]))
        return Work("inference", self.name, "prediction", self._shape(), flops, moved, weights=self.weights)

    def start(self) -> list[Array]:
        """Random weights, He's for ReLU and Glorot's else, and biases: weight[in, out], bias[out], weight, ..."""
        rng, found = np.random.default_rng(1), []
        for inputs, units, activation in self.layers:
            spread = np.sqrt(2 / inputs if activation == "relu" else 2 / (inputs + units))
            found.append(rng.standard_normal((inputs, units), dtype=np.float32) * np.float32(spread))
            found.append(rng.standard_normal(units, dtype=np.float32) * np.float32(0.01))
        return found


@lru_cache(maxsize=2)
def training_data(shape: NetworkShape) -> Data:
    """Random inputs; targets that depend on them, so that there is something to learn."""
    rng = np.random.default_rng(0)
    x = rng.random((shape.rows, shape.sizes[0]), dtype=np.float32)
    scores = (x - 0.5) @ rng.standard_normal((shape.sizes[0], shape.sizes[-1])).astype(np.float32)
    if shape.loss == "mse":
        return Data(x, np.tanh(scores))
    labels = scores.argmax(axis=1)
    return Data(x, labels if shape.loss == "cross_entropy" else np.eye(shape.sizes[-1], dtype=np.float32)[labels])


TINY = NetworkShape((3, 4, 2), "sigmoid", "sigmoid", "quadratic", 1, 0.1, 20_000, quick=True)
NIELSEN = NetworkShape((784, 30, 10), "sigmoid", "sigmoid", "quadratic", 10, 0.1, 10_000, quick=True)
AGENT = NetworkShape((8, 64, 64, 2), "relu", "", "mse", 64, 0.01, 32_768, quick=True)
DIGITS = NetworkShape((784, 128, 10), "relu", "", "cross_entropy", 32, 0.01, 5_120, quick=True)
WIDE = NetworkShape((784, 512, 512, 10), "relu", "", "cross_entropy", 128, 0.01, 1_280, quick=True)
LARGE = NetworkShape((784, 2048, 2048, 2048, 10), "relu", "", "cross_entropy", 32, 0.001, 128, quick=True)
NETWORKS = [
    TINY,
    NetworkShape((8, 16, 16, 2), "tanh", "", "mse", 16, 0.01, 32_768),
    AGENT,
    replace(AGENT, hidden="tanh", quick=False),
    NIELSEN,
    DIGITS,
    replace(DIGITS, optimizer="adam", rate=0.001),
    WIDE,
    NetworkShape((1024,) * 5, "relu", "", "mse", 512, 0.01, 1_024),
    LARGE,
    NetworkShape((4096,) * 4, "relu", "", "mse", 64, 0.001, 128),
    NetworkShape((4096,) * 4, "relu", "", "mse", 64, 0.0001, 128, optimizer="adam"),
    replace(TINY, one_call=False),
    replace(AGENT, one_call=False, quick=False),
]
GPU_NETWORKS = [
    replace(shape, backend="cupy")
    for shape in (NIELSEN, AGENT, DIGITS, replace(DIGITS, optimizer="adam", rate=0.001), WIDE, LARGE)
]
FOR_SLOW_PEERS = [TINY, DIGITS]  # what the quick profile asks of them: their floor, and an ordinary network
PREDICTED = [
    *(replace(shape, batch=batch) for shape in (AGENT, DIGITS, WIDE) for batch in (1, 256)),
    *(replace(shape, batch=batch, quick=False) for shape in (TINY, NIELSEN, LARGE) for batch in (1, 64)),
    replace(DIGITS, batch=4096, rows=8192, quick=False),
]


# ----------------------------------------------------------------------------------------------------- scaling


@dataclass(frozen=True)
class Point:
    """A place on a curve: how the time of `shape` grows along "threads", "batch", "width" or "depth"."""

    shape: NetworkShape | ProductShape
    along: str
    value: int
    quick: bool = True

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.along} {self.value}: {self.shape.name}"

    def work(self) -> Work:
        """What is timed."""
        series = {"along": self.along, "value": self.value}
        if isinstance(self.shape, ProductShape):
            return self.shape.work("scaling", series)
        return self.shape.training("scaling", series)


def thread_counts(processors: int) -> list[int]:
    """1, 2, 4, ... and all."""
    return sorted({min(2**i, processors) for i in range(processors.bit_length() + 1)})


def along_threads(processors: int) -> list[Point]:
    """The same work on more and more threads."""
    shapes = [NIELSEN, WIDE, ProductShape(256, 256, 256), ProductShape(1024, 1024, 1024)]
    return [Point(shape, "threads", n) for shape in shapes for n in thread_counts(processors)]


DEEP = replace(DIGITS, sizes=(64, 64, 10), rows=4_096)
CURVES = [
    *(
        Point(replace(DIGITS, batch=n, rows=max(4_096, n)), "batch", n, n in (1, 16, 256))
        for n in (1, 4, 16, 64, 256, 1024)
    ),
    *(Point(replace(DEEP, sizes=(64, n, n, 10)), "width", n, n in (16, 128, 1024)) for n in (16, 32, 128, 512, 1024)),
    *(Point(replace(DEEP, sizes=(64,) * (n + 1) + (10,)), "depth", n, n in (1, 4, 16)) for n in (1, 2, 4, 8, 16)),
]

THREADS = [1, 2]

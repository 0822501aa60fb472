"""Steps of small networks, whose instructions are run in one go: the bits are those of the instructions one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from guard import guarded
from numpy.typing import NDArray

import fastnn as fnn
from fastnn import kernels
from fastnn.backends import StepError
from fastnn.step import Kind, trace_step
from fastnn.stepper import Stepper

pytestmark = pytest.mark.kernel

ROWS = 40
ACTIVATIONS = ["linear", "relu", "leaky_relu", "elu", "sigmoid", "tanh", "softplus", "silu", "gelu"]
LOSSES = [  # the last takes logits
    "quadratic",
    "mse",
    "mae",
    "huber",
    "hinge",
    "binary_cross_entropy",
]


def make(
    sizes: tuple[int, ...], activation: str = "sigmoid", *, loss: str = "quadratic", last: str | None = None,
    dtype: str = "float32", use_bias: bool = True, optimizer: Any = None, rate: float = 0.1,
) -> Stepper:  # fmt: skip
    hidden = [fnn.Dense(n, activation, use_bias=use_bias) for n in sizes[1:-1]]
    output = fnn.Dense(sizes[-1], activation if last is None else last, use_bias=use_bias)
    net = fnn.Sequential([*hidden, output], input_shape=sizes[0], dtype=dtype, backend="native", seed=7)
    return fnn.Trainer(net, loss, optimizer or fnn.SGD(rate))._stepper


def data(stepper: Stepper, n: int = ROWS) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs and targets that every loss takes: -1 and 1 for hinge, 0 and 1 for the others."""
    rng, net = np.random.default_rng(3), stepper.network
    x = rng.standard_normal((n, *net.input_layers[0].shape)).astype(net.dtype)
    y = rng.integers(0, 2, (n, *net.output_shapes[0])).astype(net.dtype)
    return x, (2 * y - 1 if "hinge" in type(stepper.objective.losses[0]).__name__.lower() else y)


def train(stepper: Stepper, one_by_one: bool, *, order: NDArray[np.int64] | None = None, rows: int = 1,
          **more: Any) -> tuple[bytes, bytes, bool]:  # fmt: skip
    """Trains on all rows, in this order; returns the bytes of losses and parameters, and whether it was in one go."""
    samples = stepper.samples(*data(stepper), **more)
    runner = stepper.runner(samples, Kind(rows, order is not None, learn="update"))
    arrays = samples.bound() | ({} if order is None else {"input:index": order})
    table = stepper.table(runner, np.full(ROWS // rows, rows), np.arange(0, ROWS, rows))
    (runner.time if one_by_one else runner.run)(table, arrays)
    return table.tobytes(), stepper.network.block.memory.tobytes(), runner.idle[0].in_one_go


def same_bits(rows: int = 1, order: NDArray[np.int64] | None = None, more: Any = None, **options: Any) -> bool:
    """Trains in both ways, expects equal bits, and returns whether one of the ways was in one go."""
    whole = train(make(**options), False, rows=rows, order=order, **(more or {}))
    single = train(make(**options), True, rows=rows, order=order, **(more or {}))
    assert whole[:2] == single[:2]
    return whole[2]


def vector(dtype: str) -> int:
    return kernels.tiles(dtype)["VL"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation: str, dtype: str) -> None:
    assert same_bits(sizes=(2, 2, 2), activation=activation, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "loss, last", [*((loss, "linear") for loss in LOSSES), *((loss, "tanh") for loss in LOSSES[:-1])]
)
def test_losses(loss: str, last: str, dtype: str) -> None:
    assert same_bits(sizes=(2, 2, 2), loss=loss, last=last, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_every_width_up_to_a_vector(depth: int, use_bias: bool, dtype: str) -> None:
    widths = range(1, vector(dtype) + 1)
    for width in widths:
        sizes = tuple((width + 5 * place - 1) % len(widths) + 1 for place in range(depth + 1))
        assert same_bits(sizes=sizes, use_bias=use_bias, dtype=dtype), sizes


def test_shuffled_rows() -> None:
    order = np.random.default_rng(5).permutation(ROWS)
    assert same_bits(order=order, sizes=(3, 4, 2))


@pytest.mark.parametrize("case", ["wide", "deep", "rows", "momentum", "adam", "weights", "labels"])
def test_what_is_run_one_by_one(case: str) -> None:
    """Other steps, for which there is no such way; what they leave is the same in any case."""
    options: dict[str, Any] = {"sizes": (3, 4, 2)}
    if case == "wide":
        options["sizes"] = (3, vector("float32") + 1, 2)
    elif case == "deep":
        options["sizes"] = (2, 2, 2, 2, 2, 2)
    elif case == "rows":
        options["rows"] = 2
    elif case == "momentum":
        options["optimizer"] = fnn.SGD(0.1, momentum=0.9)
    elif case == "adam":
        options["optimizer"] = fnn.Adam(0.01)
    elif case == "weights":
        options["more"] = {"sample_weight": np.linspace(0, 1, ROWS)}
    else:
        options |= {"loss": "cross_entropy", "last": "linear"}
    assert not same_bits(**options)


def test_layers_of_other_rates_and_frozen_ones() -> None:
    def step(freeze: bool, one_by_one: bool) -> tuple[bytes, bytes, bool]:
        layers = [fnn.Dense(4, "tanh"), fnn.Dense(2, name="output")]
        net = fnn.Sequential(layers, input_shape=3, seed=1, backend="native")
        layers[-1].trainable = not freeze
        rates = {} if freeze else {"output": 0.5}
        return train(fnn.Trainer(net, "mse", fnn.SGD(0.1), learning_rates=rates)._stepper, one_by_one)

    for freeze in (False, True):
        whole, single = step(freeze, False), step(freeze, True)
        assert whole[:2] == single[:2]
        assert not whole[2]


def test_a_row_that_is_not_there_changes_nothing() -> None:
    stepper = make((3, 4, 2))
    samples = stepper.samples(*data(stepper))
    runner = stepper.runner(samples, Kind(1, True, learn="update"))
    before = stepper.network.block.memory.copy()
    for index in (ROWS, -1, 2**62):
        arrays = samples.bound() | {"input:index": np.array([index])}
        with pytest.raises(StepError):
            runner.run(stepper.table(runner, np.ones(1, np.int64), np.zeros(1, np.int64)), arrays)
    with pytest.raises(StepError):
        runner.run(stepper.table(runner, np.ones(1, np.int64), np.ones(1, np.int64)), arrays)
    assert np.array_equal(stepper.network.block.memory, before)
    assert runner.idle[0].in_one_go


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_memory_around_the_operands_is_touched(dtype: str, before: bool) -> None:
    for width in range(1, vector(dtype) + 1):
        stepper = make((width, width, width), dtype=dtype)
        net = stepper.network
        x, y = (guarded(array, before=before) for array in data(stepper))
        samples = stepper.samples(x, y)
        program = trace_step(net, stepper.objective.losses, stepper.objective.weights, samples, Kind(1, learn="update"),
                             stepper.optimizer, {}, True)  # fmt: skip
        blocks = {"parameters": guarded(net.block.memory, before=before), "gradients": stepper.gradients,
                  "state": stepper.state}  # fmt: skip
        runner = net.block.backend.prepare(program, dtype, blocks)
        runner.run(stepper.table(runner, np.ones(ROWS, np.int64), np.arange(ROWS)), samples.bound())
        assert runner.idle[0].in_one_go


def test_batches_of_one_row_and_of_more_in_turn() -> None:
    """The same executor goes from one way to the other and back."""
    results = []
    for one_by_one in (False, True):
        stepper = make((3, 4, 2))
        samples = stepper.samples(*data(stepper))
        runner = stepper.runner(samples, Kind(8, learn="update"))
        rows = np.array([1, 1, 8, 1, 3, 1])
        table = stepper.table(runner, rows, np.cumsum(rows) - rows)
        (runner.time if one_by_one else runner.run)(table, samples.bound())
        results.append((table.tobytes(), stepper.network.block.memory.tobytes()))
    assert results[0] == results[1]

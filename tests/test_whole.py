"""Steps of small networks, whose instructions are run in one go: the bits are those of the instructions one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from guard import guarded
from numpy.typing import NDArray

import fastnn as fnn
from fastnn import kernels
from fastnn.backends import StepError
from fastnn.step import Kind
from fastnn.stepper import Stepper

pytestmark = pytest.mark.kernel

ROWS = 40
ONE_ROW = Kind(1, learn="update")
SHUFFLED = Kind(1, shuffled=True, learn="update")
ACTIVATIONS = ["linear", "relu", "leaky_relu", "elu", "sigmoid", "tanh", "softplus", "silu", "gelu"]
LOSSES = ["binary_cross_entropy", "hinge", "quadratic", "mse", "mae", "huber"]  # the first two take no activations


def make(
    sizes: tuple[int, ...], activation: Any = "sigmoid", *, loss: Any = "quadratic", last: str | None = None,
    dtype: str = "float32", use_bias: bool = True, optimizer: Any = None, scale: float = 1.0,
) -> Stepper:  # fmt: skip
    hidden = [fnn.Dense(n, activation, use_bias=use_bias) for n in sizes[1:-1]]
    output = fnn.Dense(sizes[-1], activation if last is None else last, use_bias=use_bias)
    x = y = fnn.Input(sizes[0], scale=scale)
    for layer in [*hidden, output]:
        y = layer(y)
    return stepper_of(fnn.Network(x, y, dtype=dtype, backend="native", seed=7), loss, optimizer)


def stepper_of(net: fnn.Network, loss: Any = "quadratic", optimizer: Any = None, **options: Any) -> Stepper:
    return fnn.Trainer(net, loss, optimizer or fnn.SGD(0.1), **options)._stepper


def data(stepper: Stepper, n: int = ROWS) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs and targets that every loss takes: -1 and 1 for hinge, 0 and 1 for the others."""
    rng, net = np.random.default_rng(3), stepper.network
    x = rng.standard_normal((n, *net.input_layers[0].shape)).astype(net.dtype)
    y = rng.integers(0, 2, (n, *net.output_shapes[0])).astype(net.dtype)
    return x, (2 * y - 1 if "hinge" in type(stepper.objective.losses[0]).__name__.lower() else y)


def train(stepper: Stepper, one_by_one: bool, x: NDArray[Any], y: NDArray[Any], kind: Kind, *,
          order: NDArray[np.int64] | None = None, weights: Any = None, fused: bool = True
          ) -> tuple[list[NDArray[Any]], bool]:  # fmt: skip
    """Trains on all rows, in this order; returns run table, parameters and gradients, and whether it was in one go."""
    samples = stepper.samples(x, y, weights)
    runner = stepper.runner(samples, kind, fused=fused)
    arrays = samples.bound() | stepper.collectors(samples.n, kind.collect)[1]
    if order is not None:
        arrays["input:index"] = order
    starts = np.arange(0, samples.n, kind.rows)
    table = stepper.table(runner, np.minimum(kind.rows, samples.n - starts), starts)
    with np.errstate(all="ignore"):
        (runner.time if one_by_one else runner.run)(table, arrays)
    return [table, stepper.network.block.memory, stepper.gradients], runner.idle[0].in_one_go


def same_bits(make_one: Callable[[], Stepper], kind: Kind = ONE_ROW, *, x: Any = None, y: Any = None,
              **options: Any) -> bool:  # fmt: skip
    """Trains in both ways, expects equal bits (any NaN equals any other), and returns whether one was in one go."""
    usual = data(make_one())
    x, y = (mine if given is None else given for given, mine in zip((x, y), usual, strict=True))
    whole, in_one_go = train(make_one(), False, x, y, kind, **options)
    single, _ = train(make_one(), True, x, y, kind, **options)
    for mine, other in zip(whole, single, strict=True):
        np.testing.assert_array_equal(mine, other)
        np.testing.assert_array_equal(np.signbit(mine) & ~np.isnan(mine), np.signbit(other) & ~np.isnan(other))
    return in_one_go


def vector(dtype: str) -> int:
    return kernels.tiles(dtype)["VL"]


each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@each_dtype
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation: Any, dtype: str) -> None:
    assert same_bits(lambda: make((2, 2, 2), activation, dtype=dtype))


@each_dtype
@pytest.mark.parametrize(
    "loss, last", [*((loss, "linear") for loss in LOSSES), *((loss, "tanh") for loss in LOSSES[2:])]
)
def test_losses(loss: Any, last: str, dtype: str) -> None:
    assert same_bits(lambda: make((2, 2, 2), loss=loss, last=last, dtype=dtype))


@each_dtype
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_every_width_up_to_a_vector(depth: int, use_bias: bool, dtype: str) -> None:
    widths = range(1, vector(dtype) + 1)
    for width in widths:
        sizes = tuple((width + 5 * place - 1) % len(widths) + 1 for place in range(depth + 1))
        assert same_bits(partial(make, sizes, use_bias=use_bias, dtype=dtype)), sizes


def test_rows_of_any_order_and_layout() -> None:
    rng = np.random.default_rng(5)
    small = partial(make, (3, 4, 2))
    wide = rng.standard_normal((ROWS, 9)).astype("f4")
    assert same_bits(small, SHUFFLED, x=wide[:, 2:5], y=wide[:, 5:7], order=rng.permutation(ROWS))
    order = rng.permutation(2 * ROWS)[::2] % (ROWS // 2)
    assert same_bits(small, SHUFFLED, x=wide[::2, :3], y=wide[::2, 5:7], order=order)
    assert same_bits(partial(make, (3, 4, 2), scale=0.25))


@each_dtype
@pytest.mark.parametrize("loss", ["quadratic", "huber", "binary_cross_entropy"])
def test_numbers_at_the_ends(loss: str, dtype: str) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([[0, -0.0], [np.inf, 1], [np.nan, 1], [-np.inf, 0], [tiny, -tiny], [1e4, -1e4]], dtype)
    for first in range(len(x)):  # what comes after NaN is NaN
        step = partial(make, (2, 2, 2), last="linear", loss=loss, dtype=dtype)
        assert same_bits(step, x=x[first:], y=np.zeros_like(x[first:]))


def twice(added: bool) -> Stepper:
    """The same layer two times, one after the other; perhaps with what it gave first added."""
    layer, x = fnn.Dense(3, "tanh"), fnn.Input(3)
    inner = layer(x)
    outer = layer(inner)
    return stepper_of(fnn.Network(x, fnn.Add()(inner, outer) if added else outer, backend="native", seed=1))


def with_dropout() -> Stepper:
    layers = [fnn.Dense(4, "tanh"), fnn.Dropout(0.5), fnn.Dense(2)]
    return stepper_of(fnn.Sequential(layers, input_shape=3, backend="native", seed=1))


def with_layers(*, freeze: bool = False, **options: Any) -> Stepper:
    layers = [fnn.Dense(4, "tanh"), fnn.Dense(2, name="output")]
    net = fnn.Sequential(layers, input_shape=3, seed=1, backend="native")
    layers[0].trainable = not freeze
    return stepper_of(net, "mse", fnn.SGD(0.1), **options)


OTHERS: dict[str, tuple[Callable[[], Stepper], dict[str, Any]]] = {
    "deep": (partial(make, (2, 2, 2, 2, 2, 2)), {}),
    "several rows": (partial(make, (3, 4, 2)), {"kind": Kind(2, learn="update")}),
    "gradients": (partial(make, (3, 4, 2)), {"kind": Kind(1, learn="gradients")}),
    "accumulated": (partial(make, (3, 4, 2)), {"kind": Kind(1, learn="accumulate")}),
    "kept predictions": (partial(make, (3, 4, 2)), {"kind": Kind(1, collect=True, learn="update")}),
    "loss alone": (partial(make, (3, 4, 2)), {"kind": Kind(1)}),
    "not fused": (partial(make, (3, 4, 2)), {"fused": False}),
    "sample weights": (partial(make, (3, 4, 2)), {"weights": np.linspace(0, 1, ROWS)}),
    "bytes": (partial(make, (3, 4, 2)), {"x": np.arange(3 * ROWS, dtype=np.uint8).reshape(ROWS, 3)}),
    "momentum": (partial(make, (3, 4, 2), optimizer=fnn.SGD(0.1, momentum=0.9)), {}),
    "adam": (partial(make, (3, 4, 2), optimizer=fnn.Adam(0.01)), {}),
    "l1": (partial(make, (3, 4, 2), optimizer=fnn.SGD(0.1, l1=0.01)), {}),
    "l2": (partial(make, (3, 4, 2), optimizer=fnn.SGD(0.1, l2=0.01)), {}),
    "weight decay": (partial(make, (3, 4, 2), optimizer=fnn.SGD(0.1, weight_decay=0.01)), {}),
    "values limited": (partial(make, (3, 4, 2), optimizer=fnn.SGD(0.1, clip_value=0.01)), {}),
    "norm limited": (partial(make, (3, 4, 2), optimizer=fnn.SGD(0.1, clip_norm=0.01)), {}),
    "cross-entropy": (partial(make, (3, 4, 2), loss="cross_entropy", last="linear"), {}),
    "a layer twice": (partial(twice, False), {}),
    "a layer twice, and a sum": (partial(twice, True), {}),
    "dropout": (with_dropout, {}),
    "frozen": (partial(with_layers, freeze=True), {}),
    "own rates": (partial(with_layers, learning_rates={"output": 0.5}), {}),
    "weighted loss": (partial(with_layers, loss_weights=[0.5]), {}),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_run_one_by_one(case: str) -> None:
    """Other steps, for which there is no such way; what they leave is the same in any case."""
    make_one, options = OTHERS[case]
    assert not same_bits(make_one, **options)


def test_what_is_wider_than_a_vector_is_run_one_by_one() -> None:
    for sizes in itertools.permutations((vector("float32") + 1, 4, 2)):
        assert not same_bits(partial(make, sizes))


def test_a_row_that_is_not_there_changes_nothing() -> None:
    """The steps before it stand."""
    results = []
    for one_by_one in (False, True):
        for bad in (ROWS, -1, 2**62):
            stepper = make((3, 4, 2))
            samples = stepper.samples(*data(stepper))
            runner = stepper.runner(samples, SHUFFLED)
            table = stepper.table(runner, np.ones(3, np.int64), np.arange(3))
            before = table.copy()
            with pytest.raises(StepError) as raised:
                (runner.time if one_by_one else runner.run)(
                    table, samples.bound() | {"input:index": np.array([5, bad, 6])}
                )
            assert raised.value.done == 1
            np.testing.assert_array_equal(table[1:], before[1:])
            assert table[0].tobytes() != before[0].tobytes()
            assert one_by_one or runner.idle[0].in_one_go
            results.append((table.tobytes(), stepper.network.block.memory.tobytes()))
    assert len(set(results)) == 1


@pytest.mark.parametrize("before", [False, True])
@each_dtype
def test_no_memory_around_the_rows_is_touched(dtype: str, before: bool) -> None:
    """Around the parameters, that comparing all of their block would show."""
    for width in range(1, vector(dtype) + 1):
        sizes = (width, width, width)
        x, y = (guarded(array, before=before) for array in data(make(sizes, dtype=dtype)))
        assert same_bits(partial(make, sizes, dtype=dtype), x=x, y=y)


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
        assert runner.idle[0].in_one_go
        results.append((table.tobytes(), stepper.network.block.memory.tobytes()))
    assert results[0] == results[1]

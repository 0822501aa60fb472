"""Weights that are kept packed from run to run: the same bits, and the copies follow wherever the weights change."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
from typing import Any

import guard
import numpy as np
import pytest
import reference
from networks import both
from numpy.typing import NDArray

import fastnn as fnn
from fastnn import kernels, ops
from fastnn.backends import native
from fastnn.kernels import executor
from fastnn.ops.linear import rounded_to_bfloat16

pytestmark = pytest.mark.kernel

Array = NDArray[Any]
PATIENCE = 150  # predictions of unchanged weights that are more than enough for copies to be made
INPUTS, WIDE = 700, 520  # a layer whose weight the second-level cache does not hold


def numbers(*shape: int, seed: int = 0, dtype: str = "float32") -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("k", [1, 2, 31, 511, 512, 513, 1300])
@pytest.mark.parametrize("name, dtype", [("", "float32"), ("", "float64"), ("_bfloat16", "float32")])
def test_the_bits_of_a_product_with_a_kept_factor(name: str, dtype: str, k: int, n_threads: int) -> None:
    """Neither the copy's memory nor b's is touched beyond its end."""
    tiles, sizes = kernels.tiles(dtype), kernels._module(dtype)
    columns, rows = tiles["NR"], tiles["MR"]
    scratch = np.empty((kernels.rounded_scratch(20 * rows, 10 * columns, k, dtype) + 64) * n_threads, np.uint8)
    product, pack = (kernels.address(kernel + name, dtype) for kernel in ("product", "pack"))
    for n in (1, 10, columns, columns + 1, 2 * columns - 1, 9 * columns + 3):
        b = numbers(k, n, seed=1, dtype=dtype)
        kept = guard.guarded_empty((sizes.kept_reals(k, n, bool(name)),), dtype)
        for packed_from in (guard.guarded(b), b.T.copy().T):  # rows or columns are contiguous
            kept.fill(np.nan)
            assert executor.call(pack, (kept, packed_from), 1, (), (), 0.0, n_threads) == 0
            for m in (1, 2, 3, 4, rows, 2 * rows + 1, 9 * rows + 5):
                a, bias = numbers(m, k, seed=m, dtype=dtype), numbers(n, seed=2, dtype=dtype)
                c, factors = np.full((m, n), np.nan, dtype), [a, b]
                operands = (c, None, a, b, bias, None, kept)
                assert executor.call(product, operands, 2, (0, 0, 0, 0, 0), (), 0.0, n_threads, scratch) == 0
                if name:
                    factors = [rounded_to_bfloat16(np, factor) for factor in factors]
                np.testing.assert_array_equal(c, reference.product(*factors, bias), err_msg=f"{m} x {n} x {k}")


def network(backend: str = "native", seed: int = 0) -> fnn.Sequential:
    return fnn.Sequential(
        [fnn.Dense(WIDE, "relu"), fnn.Dense(WIDE, "tanh"), fnn.Dense(5)], input_shape=INPUTS, seed=seed, backend=backend
    )


def kept_by(net: fnn.Network, dtype: str | None = None) -> executor.KeptFactors:
    """What it may keep for predictions of this dtype."""
    predictor = net._predictor() if dtype is None else net._rounding_predictor(dtype)
    return predictor.runner.kept


def copies(net: fnn.Network, dtype: str | None = None) -> int:
    """How many weights a network keeps packed just now."""
    return len(kept_by(net, dtype).copies or [])


def predictions_before_copies(net: fnn.Network, x: Array, dtype: str | None = None) -> int:
    """How often it predicts until they come; a network that has none yet."""
    assert copies(net, dtype) == 0
    for number in range(PATIENCE):
        net.predict(x, dtype=dtype)
        if copies(net, dtype):
            return number
    raise AssertionError("there are no copies yet")


def settle(net: fnn.Network, x: Array, dtype: str | None = None) -> Array:
    """The prediction, once copies are in use; all before it were the same."""
    first = net.predict(x, dtype=dtype)
    for _ in range(PATIENCE):
        np.testing.assert_array_equal(net.predict(x, dtype=dtype), first)
    assert copies(net, dtype) >= 2, "of the two large weights, or none is tested here"
    return first


def fresh(net: fnn.Network, x: Array, dtype: str | None = None) -> Array:
    """What a network that has kept nothing yet predicts."""
    return copy.deepcopy(net).predict(x, dtype=dtype)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("rows", [1, 3, 40, 300])
def test_predictions_follow_the_weights(rows: int, dtype: str | None) -> None:
    net, other, x = network(), network(seed=1), numbers(rows, INPUTS)
    targets = numbers(rows, 5, seed=3)
    trainer = fnn.Trainer(net, "mse", "sgd")
    state = trainer.__getstate__()
    hidden = fnn.Network(net.inputs, net.wire(net.layers[2].name))

    def train_a_part() -> None:
        hidden.fit(x, numbers(rows, WIDE, seed=4), loss="mse", optimizer="sgd", epochs=1, verbose=0)

    changes = [
        lambda: net.set_weights(other.get_weights()),
        lambda: net.set_weights({net.layers[1].name + ".weight": numbers(INPUTS, WIDE, seed=5)}),
        lambda: net.copy_weights_from(other, tau=0.5),
        lambda: trainer.step(x, targets),
        lambda: net.fit(x, targets, loss="mse", optimizer="adam", epochs=1, verbose=0),
        train_a_part,
        lambda: trainer.__setstate__(state),
    ]
    seen = [settle(net, x, dtype)]
    for change in changes:
        change()
        seen.append(fresh(net, x, dtype))
        np.testing.assert_array_equal(settle(net, x, dtype), seen[-1])
        assert not np.array_equal(seen[-1], seen[-2]), "this changes nothing, or is not noticed"


@both
def test_other_backends_keep_nothing(backend: str) -> None:
    net, x = network(backend), numbers(2, INPUTS)
    first = net.predict(x)
    net.set_weights([0 * weight for weight in net.get_weights()])
    assert first.any()
    assert not net.predict(x).any()


def test_copies_are_made_only_of_weights_that_stay() -> None:
    net, x, targets = network(), numbers(2, INPUTS), numbers(2, 5)
    trainer = fnn.Trainer(net, "mse", "sgd")
    for _ in range(4):
        for _ in range(5):
            net.predict(x)
        trainer.step(x, targets)
    assert copies(net) == 0
    settle(net, x)


def test_copies_are_given_back_when_weights_change_too_often() -> None:
    net, x, targets = network(), numbers(2, INPUTS), numbers(2, 5)
    trainer = fnn.Trainer(net, "mse", "sgd")
    settle(net, x)
    trainer.step(x, targets)
    net.predict(x)
    assert copies(net) == 2, "which the next ones will replace, if there will be any"
    trainer.step(x, targets)
    np.testing.assert_array_equal(net.predict(x), fresh(net, x))
    assert copies(net) == 0


def test_rounded_weights_are_kept_sooner_and_whatever_their_size() -> None:
    net, x = network(), numbers(2, INPUTS)
    assert 0 < predictions_before_copies(net, x, "bfloat16") < predictions_before_copies(net, x)
    assert (copies(net), copies(net, "bfloat16")) == (2, 3)


def test_the_more_rows_the_sooner() -> None:
    few, many = network(), network()
    wide = numbers(200, INPUTS)
    assert 0 < predictions_before_copies(many, wide) < predictions_before_copies(few, wide[:1])


@pytest.mark.parametrize("rows", [1, 3, 4, 40])
def test_rounded_copies_are_read_whatever_their_size(rows: int) -> None:
    net, x = fnn.Sequential([fnn.Dense(1100), fnn.Dense(1100)], input_shape=1100), numbers(rows, 1100)
    settle(net, x, "bfloat16")
    for kept in kept_by(net, "bfloat16").copies:
        kept[...] = 0
    assert not net.predict(x, dtype="bfloat16").any()


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_the_copies_are_what_is_read(dtype: str | None) -> None:
    net, x = network(), numbers(2, INPUTS)
    settle(net, x, dtype)
    for kept in kept_by(net, dtype).copies:
        kept[...] = 0
    np.testing.assert_array_equal(net.predict(x, dtype=dtype), np.zeros((2, 5)))


def test_small_weights_are_not_kept() -> None:
    net = fnn.Sequential([fnn.Dense(30, "relu"), fnn.Dense(5)], input_shape=20)
    net.predict(numbers(2, 20))
    assert kept_by(net) is None


class Tied(fnn.Layer):
    """x W, bent, times the transpose of the same W."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.weight = self.parameter("weight", (shape[-1], WIDE), "glorot")

    def forward(self, x: Any) -> Any:
        return ops.matmul(ops.tanh(ops.matmul(x, self.weight)), self.weight, transpose_b=True)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_a_weight_that_is_used_both_ways(dtype: str | None) -> None:
    net, x = fnn.Sequential([Tied()], input_shape=INPUTS), numbers(7, INPUTS)
    np.testing.assert_array_equal(settle(net, x, dtype), fresh(net, x, dtype))
    net.set_weights([numbers(INPUTS, WIDE, seed=2)])
    np.testing.assert_array_equal(settle(net, x, dtype), fresh(net, x, dtype))


def test_predictions_in_a_callback() -> None:
    net, x = network(), numbers(40, INPUTS)
    seen: list[Array] = []

    class Look(fnn.callbacks.Callback):
        def on_epoch_end(self, *_: Any) -> None:
            seen.append(settle(net, x[:3]))
            np.testing.assert_array_equal(seen[-1], fresh(net, x[:3]))

    net.fit(x, numbers(40, 5), loss="mse", optimizer="sgd", epochs=3, verbose=0, callbacks=[Look()])
    assert len(seen) == 3
    assert not np.array_equal(seen[0], seen[1])


def test_threads_that_predict_while_another_changes_the_weights() -> None:
    """Whoever predicts last, when all is quiet, gets what the last weights give."""
    net, x = network(), numbers(3, INPUTS)
    weights = [network(seed=seed).get_weights() for seed in (1, 2)]
    running = True

    def predict() -> None:
        while running:
            net.predict(x)
            net.predict(x, dtype="bfloat16")

    readers = [threading.Thread(target=predict) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(60):
        net.set_weights(weights[turn % 2])
        if turn % 10 == 9:
            for dtype in (None, "bfloat16"):
                for _ in range(PATIENCE + 2):
                    found = net.predict(x, dtype=dtype)
                np.testing.assert_array_equal(found, fresh(net, x, dtype))
    running = False
    for reader in readers:
        reader.join()
    for dtype in (None, "bfloat16"):
        np.testing.assert_array_equal(settle(net, x, dtype), fresh(net, x, dtype))


FORKED = """
import copy, os, signal
import numpy as np
import fastnn as fnn

net = fnn.Sequential([fnn.Dense(700, "relu"), fnn.Dense(700, "tanh"), fnn.Dense(5)], input_shape=700, seed=0)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(2000, 700)).astype("float32"), rng.normal(size=(2000, 5)).astype("float32")
trainer, parent, children = fnn.Trainer(net, "mse", "sgd"), os.getpid(), []

def handler(*_):
    if os.getpid() != parent or len(children) >= 3:
        return
    children.append(os.fork())
    if children[-1] == 0:
        net.get_weights()
        for _ in range(100):
            net.predict(x[:3])
            net.predict(x[:3], dtype="bfloat16")

trainer.step(x, y)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.03)
while os.getpid() == parent and len(children) < 3:
    trainer.step(x, y)
signal.setitimer(signal.ITIMER_REAL, 0)
fine = all(np.array_equal(net.predict(x[:3], dtype=dtype), copy.deepcopy(net).predict(x[:3], dtype=dtype))
           for dtype in (None, "bfloat16"))
if os.getpid() != parent:
    os._exit(0 if fine else 1)
print(fine, any([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))
"""


def test_a_child_that_was_forked_in_the_midst_of_a_step() -> None:
    """It predicts there, in the signal's handler, and what is kept then must not outlive the step's commit."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True False\n", done.stdout + done.stderr


def test_predictions_go_on_where_memory_does_not_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    allocate = native.aligned_zeros

    def refuse(size: int, dtype: str) -> Array:
        if dtype == "float32" and size > 200_000:
            raise MemoryError
        return allocate(size, dtype)

    net, x = network(), numbers(2, INPUTS)
    monkeypatch.setattr(native, "aligned_zeros", refuse)
    first = net.predict(x)
    for _ in range(PATIENCE + 3):
        np.testing.assert_array_equal(net.predict(x), first)
    assert copies(net) == 0

"""Gradient accumulation: several batches make the step of one, whatever the optimizer, rests of epochs included."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import CLOSE, blobs, both, classifier, same_weights

import fastnn as fnn

OPTIMIZERS = {
    "sgd": fnn.SGD(0.3),
    "adam, norm": fnn.Adam(0.02, clip_norm=0.5),
    "nesterov, penalties": fnn.SGD(0.1, momentum=0.9, nesterov=True, l1=1e-3, l2=1e-2, clip_value=0.1),
    "adamw, schedule": fnn.AdamW(fnn.schedules.Cosine(0.05, steps=12)),
}


def close(a: fnn.Network, b: fnn.Network) -> bool:
    pairs = zip(a.get_weights(), b.get_weights(), strict=True)
    return all(np.allclose(one, other, atol=CLOSE, rtol=CLOSE) for one, other in pairs)


@both
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("rows", [96, 90, 70, 3])  # whole updates; a short last batch; fewer batches; less than one
def test_several_batches_make_the_step_of_one(rows: int, optimizer: Any, backend: str) -> None:
    x, labels = blobs(rows)
    weights = np.random.default_rng(0).uniform(size=rows)
    at_once, piecemeal = (classifier(backend, dtype="float64") for _ in range(2))
    options = {"optimizer": optimizer, "epochs": 3, "sample_weight": weights, "verbose": 0}
    a = at_once.fit(x, labels, batch_size=32, **options)
    b = piecemeal.fit(x, labels, batch_size=8, gradient_accumulation_steps=4, **options)
    assert at_once.trainer is not None
    assert piecemeal.trainer is not None
    assert at_once.trainer.steps == piecemeal.trainer.steps == 3 * -(-rows // 32)
    for one, other in zip(at_once.get_weights(), piecemeal.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-10)
    np.testing.assert_allclose(a["accuracy"], b["accuracy"], rtol=1e-10)
    assert a["learning_rate"] == b["learning_rate"]


@both
def test_an_iterable_of_batches_of_any_size(backend: str) -> None:
    x, labels = blobs(60)
    cuts = [0, 10, 13, 30, 31, 50, 60]
    batches = [(x[a:b], labels[a:b]) for a, b in pairwise(cuts)]
    net, expected = classifier(backend), fnn.Trainer(classifier(backend), "cross_entropy", fnn.SGD(0.3))
    history = net.fit(batches, optimizer=fnn.SGD(0.3), gradient_accumulation_steps=4, verbose=0)
    losses = [expected.step(x[:31], labels[:31]), expected.step(x[31:], labels[31:])]
    assert close(net, expected.network)
    assert history["loss"][0] == pytest.approx((31 * losses[0] + 29 * losses[1]) / 60, rel=1e-5)
    assert 0 < history["accuracy"][0] <= 1


def test_frozen_layers_and_unused_parameters() -> None:
    x, labels = blobs()
    net = classifier()
    net.freeze("hidden")
    before = net.get_weights()
    net.fit(x, labels, batch_size=8, gradient_accumulation_steps=3, verbose=0)
    after = net.get_weights()
    assert all(map(np.array_equal, before[:2], after[:2]))
    assert not np.array_equal(before[2], after[2])


def noisy() -> fnn.Sequential:
    return fnn.Sequential([fnn.Dense(8, "relu"), fnn.Dropout(0.5), fnn.Dense(3)], input_shape=6)


def test_each_batch_has_its_own_dropout() -> None:
    """The same rows twice in one update: with one mask for both, two halves would be the step of either."""
    x, labels = blobs(16)
    twice = np.concatenate([x, x]), np.concatenate([labels, labels])
    once, accumulated = noisy(), noisy()
    options = {"optimizer": fnn.SGD(0.5), "batch_size": 16, "shuffle": False, "verbose": 0}
    once.fit(x, labels, **options)
    accumulated.fit(*twice, gradient_accumulation_steps=2, **options)
    assert not close(once, accumulated)


@pytest.mark.parametrize("threads", [1, 4])
def test_resumed_sliced_or_not_to_the_same_bits(threads: int, tmp_path: Path) -> None:
    fnn.set_num_threads(threads)
    x, labels = blobs()
    options = {"batch_size": 8, "gradient_accumulation_steps": 3, "verbose": 0}
    whole = fnn.Trainer(noisy(), "cross_entropy")
    whole.fit(x, labels, epochs=4, **options)
    first = fnn.Trainer(noisy(), "cross_entropy")
    seen: list[int] = []
    watch = fnn.callbacks.LambdaCallback(on_batch_end=lambda trainer, step, loss: seen.append(step))
    first.fit(x, labels, epochs=2, callbacks=watch, **options)
    assert seen == list(range(8))  # updates
    first.save(tmp_path / "run")
    second = fnn.Trainer.load(tmp_path / "run")
    second.fit(x, labels, epochs=2, **options)
    assert same_weights(second.network, whole.network)
    assert second.history["loss"] == whole.history["loss"]


def test_a_step_that_fails_leaves_no_gradient_behind() -> None:
    x, labels = blobs()
    net, expected = (classifier() for _ in range(2))
    bad = [(x[:8], labels[:8]), (x[8:16], np.full(8, 7))]
    with pytest.raises(ValueError, match="labels must be in"):
        net.fit(bad, gradient_accumulation_steps=2, verbose=0)
    assert same_weights(net, expected)
    for each in (net, expected):
        each.fit(x, labels, batch_size=8, gradient_accumulation_steps=2, verbose=0)
    assert same_weights(net, expected)


@pytest.mark.parametrize("steps, error", [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_wrong_number_of_batches(steps: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="gradient_accumulation_steps must be"):
        classifier().fit(*blobs(), gradient_accumulation_steps=steps, verbose=0)

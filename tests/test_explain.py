"""`explain`: a Program in words that somebody understands who has not seen the code."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn as fnn


def network(layers: int = 1) -> fnn.Sequential:
    hidden = [fnn.Dense(6, "relu") for _ in range(layers)]
    return fnn.Sequential([*hidden, fnn.Dense(2, name="out")], input_shape=8)


def lines(text: str, operation: str) -> list[str]:
    """What the instructions of an operation read and write, without runs of spaces."""
    found = [" ".join(line.split()) for line in text.splitlines()]
    return [line.partition(operation)[2].strip() for line in found if f" {operation} " in line]


def test_what_is_changed_in_place_keeps_its_name() -> None:
    text = fnn.Trainer(network(), "mse", fnn.SGD(0.1)).explain()
    assert not lines(text, "update_sgd")
    fused = lines(text, "matmul_update")
    assert "out.weight (6, 2) → out.weight " in fused[0]
    assert "dense_1.weight (8, 6) → dense_1.weight " in fused[1]
    summed = lines(text, "sum_update")
    assert summed[0].startswith("(32, 2), out.bias (2) → out.bias ")
    assert summed[1].startswith("(32, 6), dense_1.bias (6) → dense_1.bias ")


def test_an_update_of_two_names_both() -> None:
    text = fnn.Trainer(network(), "mse", fnn.SGD(0.1, momentum=0.9, l2=0.1)).explain()
    biases = "dense_1.bias and out.bias"
    _, update = lines(text, "update_momentum")
    assert update.startswith(f"gradient of {biases} (32), {biases} (32), state (32) → {biases}, state ")


@pytest.mark.parametrize("layers, named", [(1, "all 4 parameters"), (3, "all 8 parameters")])
def test_an_update_of_everything_says_so(layers: int, named: str) -> None:
    text = fnn.Trainer(network(layers), "mse", "adam").explain()
    (update,) = lines(text, "update_adam")
    size = network(layers).block.size
    read = f"gradient of {named} ({size}), {named} ({size}), state ({size}), state ({size})"
    assert update.startswith(f"{read} → {named}, state, state ")
    assert "→ gradient of out.weight (6, 2) " in text


def test_an_update_of_many_names_the_first() -> None:
    text = fnn.Trainer(network(3), "mse", fnn.SGD(0.1, momentum=0.9, l2=0.1)).explain()
    weights, biases = lines(text, "update_momentum")
    assert "dense_1.weight and 3 more, state" in weights
    assert "dense_1.bias and 3 more, state" in biases


@pytest.mark.parametrize("optimizer", ["sgd", "adam", fnn.SGD(0.1, momentum=0.9, clip_norm=1.0)], ids=str)
def test_the_loss_is_called_so_and_no_name_is_a_number_of_ours(optimizer: object) -> None:
    net = network()
    trainer = fnn.Trainer(net, "mse", optimizer)
    text = trainer.explain()
    (record,) = lines(text, "record")
    assert record.startswith("a number → the step's loss ")
    timings = trainer.profile(np.zeros((4, 8)), np.zeros((4, 2))).timings
    for words in (text.partition("threads\n")[2], *(timing.shapes for timing in timings)):
        assert " to " not in words.replace("is at most", "")
        assert "()" not in words
        for operation in ("update_sgd", "update_adam", "update_momentum", "matmul"):
            assert not any(f"{operation}{digit}" in words for digit in range(10))


def test_predictions_are_called_as_in_the_program() -> None:
    text = network().explain()
    assert "out.bias (2) → y0 (256, 2)" in text
    assert "reads → writes" in text

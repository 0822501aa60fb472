"""The runner of a device's queue, on NumPy: numbers of the run row that nobody may look at, the same bits all the same.

On a GPU the array backend's whole suite runs through it (see `networks.BACKENDS`), CUDA graphs included; what is here
holds where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from networks import BACKENDS, blobs, classifier, same_weights

import fastnn as fnn
from fastnn.backends import StepError
from fastnn.backends.array import ArrayBackend
from fastnn.backends.captured import CapturedRunner, DeviceRow
from fastnn.program import Program


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the NumPy backend run its Programs as a device would."""

    def prepare(
        self: ArrayBackend, program: Program, dtype: str, blocks: Mapping[str, Any], changes: Any = None
    ) -> CapturedRunner:
        return CapturedRunner(np, program, {**blocks, "constants": program.constants})

    monkeypatch.setattr(ArrayBackend, "prepare", prepare)


OPTIMIZERS = {
    "sgd": fnn.SGD(0.2),
    "nesterov": fnn.SGD(fnn.schedules.Exponential(0.2, 0.99), momentum=0.9, nesterov=True),
    "rmsprop": fnn.RMSprop(0.01),
    "adamw": fnn.AdamW(0.01, weight_decay=0.01),
    "clipped": fnn.Adam(0.01, clip_norm=0.5),
}


def train(optimizer: Any) -> tuple[fnn.Network, fnn.History, np.ndarray]:
    x, labels = blobs(70)
    layers = [fnn.Dense(8, "gelu"), fnn.Dropout(0.3), fnn.Dense(3)]
    net = fnn.Sequential(layers, input_shape=6, seed=0, backend="numpy")
    history = net.fit(x, labels, loss="cross_entropy", optimizer=optimizer, epochs=3, batch_size=16,
                      validation_split=0.2, verbose=0)  # fmt: skip
    return net, history, net.predict(x)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_same_bits(optimizer: Any, request: pytest.FixtureRequest) -> None:
    one_by_one = train(optimizer)
    request.getfixturevalue("queued")
    at_once = train(optimizer)
    assert same_weights(one_by_one[0], at_once[0])
    assert one_by_one[1]["loss"] == at_once[1]["loss"]
    assert one_by_one[1]["validation_accuracy"] == at_once[1]["validation_accuracy"]
    np.testing.assert_array_equal(one_by_one[2], at_once[2])


def test_references_do_not_look(queued: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """None asks a number of the row for its value: on a device that would wait for all that is queued."""

    class Secret(np.ndarray):
        def __float__(self) -> float:
            raise AssertionError("looked at")

        __int__ = __index__ = __bool__ = __float__  # type: ignore[assignment]

    def secretive(self: DeviceRow, name: str) -> Any:
        value = dict.__getitem__(self, name)
        return value if isinstance(value, int) else np.asarray(value).view(Secret)

    monkeypatch.setattr(DeviceRow, "__getitem__", secretive)
    for optimizer in OPTIMIZERS.values():
        train(optimizer)


def test_faults_show_at_the_end_of_the_run(queued: None) -> None:
    net = classifier("numpy")
    trainer = fnn.Trainer(net, "cross_entropy", "sgd")
    x, labels = blobs(20)
    trainer.step(x, labels)
    runner = next(iter(trainer._stepper.runners.values()))
    samples = trainer._stepper.samples(x, labels)
    wrong = samples.bound()
    wrong["input:y0"] = np.where(labels == 1, 7, labels)
    table = np.zeros((2, len(runner.program.slots)))
    table[:, runner.program.slots.index("rows")] = 20
    with pytest.raises(StepError, match="label is outside"):
        runner.run(table, wrong)
    runner.run(table, samples.bound())  # the flag is down again
    table[1, runner.program.slots.index("rows")] = 10
    first = wrong["input:y0"]
    first[:10] = labels[:10]  # only the first step, of another size than the last, meets a wrong one
    assert (first[10:] == 7).any()
    with pytest.raises(StepError, match="label is outside"):
        runner.run(table, wrong)
    runner.run(table, samples.bound())


@pytest.mark.skipif("cupy" in BACKENDS, reason="there is a GPU")
def test_without_a_gpu_the_error_says_what_is_missing() -> None:
    with pytest.raises(ImportError, match=r"backend='cupy' needs (CuPy: pip install|an NVIDIA GPU)"):
        classifier("cupy")

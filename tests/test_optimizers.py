"""Optimizers in training, against their formulas in NumPy; the kernels' own tests are in test_update.py."""

from __future__ import annotations

import numpy as np
import pytest
from networks import blobs, both, classifier, same_weights

import fastnn as fnn

RATE, ALPHA, EPS, MOMENTUM, DECAY, STEPS = 0.02, 0.9, 1e-6, 0.8, 0.1, 20
WEIGHTS = np.array([1, 1, 1, 1, 0])  # the last parameter is the bias, which has no penalty


class Textbook:
    """The rules in float64: each method takes the gradient and the weights, and returns what the rate is times."""

    def __init__(self, size: int) -> None:
        self.first, self.second, self.step = np.zeros(size), np.zeros(size), 0

    def sgd(self, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return g

    def momentum(self, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        self.first = MOMENTUM * self.first + g
        return self.first

    def nesterov(self, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return g + MOMENTUM * self.momentum(g, w)

    def decayed(self, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return self.momentum(g + DECAY * w * WEIGHTS, w)

    def adagrad(self, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        self.second += g * g
        return g / (np.sqrt(self.second) + EPS)

    def rmsprop(self, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        self.second = ALPHA * self.second + (1 - ALPHA) * g * g
        return g / (np.sqrt(self.second) + EPS)

    def rmsprop_momentum(self, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return self.momentum(self.rmsprop(g, w), w)

    def adam(self, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        self.step += 1
        self.first = 0.7 * self.first + 0.3 * g
        self.second = 0.95 * self.second + 0.05 * g * g
        return self.first / (1 - 0.7**self.step) / (np.sqrt(self.second / (1 - 0.95**self.step)) + EPS)

    def adamw(self, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return self.adam(g, w) + DECAY * w


BETAS = {"beta1": 0.7, "beta2": 0.95, "eps": EPS}
RULES = {
    "sgd": fnn.SGD(RATE),
    "momentum": fnn.SGD(RATE, momentum=MOMENTUM),
    "nesterov": fnn.SGD(RATE, momentum=MOMENTUM, nesterov=True),
    "decayed": fnn.SGD(RATE, momentum=MOMENTUM, l2=DECAY),
    "adagrad": fnn.Adagrad(RATE, eps=EPS),
    "rmsprop": fnn.RMSprop(RATE, alpha=ALPHA, eps=EPS),
    "rmsprop_momentum": fnn.RMSprop(RATE, alpha=ALPHA, eps=EPS, momentum=MOMENTUM),
    "adam": fnn.Adam(RATE, **BETAS),
    "adamw": fnn.AdamW(RATE, weight_decay=DECAY, **BETAS),
}


@both
@pytest.mark.parametrize("rule", RULES)
def test_training_follows_the_textbook(rule: str, backend: str) -> None:
    """Linear regression, whose gradient is known; each state of each parameter has a place of its own."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((32, 4)), rng.standard_normal((32, 1))
    net = fnn.Sequential([fnn.Dense(1)], input_shape=4, dtype="float64", backend=backend)
    w = np.concatenate([each.ravel() for each in net.get_weights()])
    inputs = np.column_stack([x, np.ones(32)])
    direction = getattr(Textbook(5), rule)
    trainer = fnn.Trainer(net, "mse", RULES[rule])
    for _ in range(STEPS):
        w = w - RATE * direction(2.0 / 32 * inputs.T @ (inputs @ w - y[:, 0]), w)
        trainer.step(x, y)
    np.testing.assert_allclose(np.concatenate([each.ravel() for each in net.get_weights()]), w, rtol=1e-9)


class HalvedRate(fnn.schedules.Constant):
    """Not what its attribute says."""

    def table(self, steps: np.ndarray) -> np.ndarray:
        return super().table(steps) / 2


class HalvedSGD(fnn.SGD):
    """Its columns are not those of its schedule."""

    def columns(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        return {name: column / 2 for name, column in super().columns(steps).items()}


STEADY = fnn.schedules.StepDecay(0.05, every=10**9)


@both
@pytest.mark.parametrize(
    "one, other",
    [(fnn.SGD(0.05), fnn.SGD(STEADY)), (fnn.Adam(0.05), fnn.Adam(STEADY)), (fnn.SGD(0.05), fnn.SGD(HalvedRate(0.1))),
     (fnn.SGD(0.05), HalvedSGD(0.1))],
    ids=["sgd", "adam", "derived schedule", "derived optimizer"],
)  # fmt: skip
def test_a_constant_rate_is_that_of_a_schedule_that_never_changes(
    one: fnn.optimizers.Optimizer, other: fnn.optimizers.Optimizer, backend: str
) -> None:
    """A constant is written into run tables without asking for each step's rate, unless somebody derived from it."""
    x, y = blobs()
    nets = classifier(backend), classifier(backend)
    for net, optimizer in zip(nets, (one, other), strict=True):
        fnn.Trainer(net, "cross_entropy", optimizer).fit(x, y, epochs=3, batch_size=7, verbose=0)
    assert same_weights(*nets)


def test_rmsprop_without_momentum_keeps_one_state() -> None:
    assert fnn.RMSprop().n_states == 1
    assert fnn.RMSprop(momentum=0.5).n_states == 2
    with pytest.raises(ValueError, match=r"RMSprop: momentum must be in \[0, 1\), got 1"):
        fnn.RMSprop(momentum=1.0)


def test_what_is_shown_is_what_one_would_write() -> None:
    rate = "learning_rate=Constant(rate=0.1)"
    assert repr(fnn.SGD(0.1, momentum=0.9, clip_norm=1.0)) == f"SGD({rate}, momentum=0.9, clip_norm=1.0)"
    trainer = fnn.Trainer(fnn.Sequential([fnn.Dense(1)], input_shape=2, dtype=np.float64), "mse", fnn.SGD(0.1))
    trainer.fit(np.ones((8, 2)), np.zeros((8, 1)), epochs=2, batch_size=4, verbose=0)
    assert repr(trainer) == f"<Trainer: MeanSquaredError(), SGD({rate}); 4 steps in 2 epochs>"


def test_a_trainer_keeps_its_optimizer() -> None:
    """Another one would need another state: assigning it must not be silently ignored."""
    trainer = fnn.Trainer(fnn.Sequential([fnn.Dense(1)], input_shape=2), "mse", fnn.SGD(0.1))
    with pytest.raises(AttributeError):
        trainer.optimizer = fnn.SGD(0.01)
    with pytest.raises(AttributeError, match=r"SGD\.learning_rate cannot be changed: make another"):
        trainer.optimizer.learning_rate = 0.01


def test_momentum_is_a_part_of_what_is_saved(tmp_path) -> None:
    x, y = np.ones((8, 2)), np.zeros((8, 1))
    trainer = fnn.Trainer(fnn.Sequential([fnn.Dense(1)], input_shape=2), "mse", fnn.RMSprop(momentum=0.9))
    trainer.fit(x, y, epochs=2, verbose=0)
    trainer.save(tmp_path / "run")
    resumed = fnn.Trainer.load(tmp_path / "run")
    for each in (trainer, resumed):
        each.fit(x, y, epochs=2, verbose=0)
    assert same_weights(trainer.network, resumed.network)

"""Optimizers: how a gradient becomes a step downhill. Each is a few numbers; the arithmetic is one pass over memory.

Names, defaults and formulas follow PyTorch. `l1` and `l2` are penalties on weights alone (not on biases): they add
l1 sign(w) + l2 w to the gradient; `weight_decay` means what it means in PyTorch, and applies to all parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastnn import ops, schedules
from fastnn._config import Configurable
from fastnn.graph.tensor import Tensor


@dataclass(eq=False, repr=False, kw_only=True)
class _Options:
    """What all optimizers share.

    Attributes
    ----------
    weight_decay
        Added to the gradient as weight_decay * w (decoupled in AdamW).
    l1, l2
        Penalties on weights, not on biases.
    clip_value
        Gradients are limited to [-clip_value, clip_value] before anything else.
    clip_norm
        The gradient of all parameters together is scaled down to this norm if it is longer.
    """

    weight_decay: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None


@dataclass(eq=False, repr=False)
class Optimizer(_Options, Configurable):
    """Base class of the optimizers.

    Parameters
    ----------
    learning_rate
        A positive number, or a schedule from `fastnn.schedules`.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range.
    """

    learning_rate: Any = 0.01
    rule: ClassVar[str] = ""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "learning_rate", schedules.get(self.learning_rate))
        except (TypeError, ValueError) as problem:
            raise type(problem)(f"{type(self).__name__}: learning_rate: {problem}") from problem
        for name in ("weight_decay", "l1", "l2"):
            self._check(name, 0.0, math.inf)
        for name in ("clip_value", "clip_norm"):
            if getattr(self, name) is not None:
                self._check(name, 0.0, math.inf, open_low=True)

    def _check(self, name: str, low: float, high: float, *, open_low: bool = False) -> None:
        value = getattr(self, name)
        owner = type(self).__name__
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise TypeError(f"{owner}: {name} must be a number, got {value!r}")
        if not (low < value < high if open_low else low <= value < high):
            raise ValueError(f"{owner}: {name} must be in {'(' if open_low else '['}{low:g}, {high:g}), got {value!r}")

    @property
    def n_states(self) -> int:
        """How many numbers are remembered for each parameter."""
        return 0

    @property
    def has_penalties(self) -> bool:
        """Whether weights are treated otherwise than biases."""
        return bool(self.l1 or self.l2)

    def columns(self, steps: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """The run table's columns for these steps (0 is the first of all)."""
        return {"learning_rate": np.asarray(self.learning_rate(steps), np.float64)}

    @property
    def constants(self) -> dict[str, float]:
        """Those of the columns that are one number for all steps. (Derived classes may compute them otherwise.)"""
        rate = self.learning_rate
        fixed = type(rate) is schedules.Constant and type(self).columns is Optimizer.columns
        return {"learning_rate": rate.rate} if fixed else {}

    def hyperparameters(self) -> dict[str, Any]:
        """The rule's own numbers, as attributes of the update operation."""
        return {}

    def update(self, parameter: Tensor, states: Sequence[Tensor], gradient: Tensor, scale: Tensor | None,
               segment: Any) -> None:  # fmt: skip
        """Records the update of one segment of the parameters."""
        ops.update(
            self.rule, parameter, states, gradient, scale,
            rate_scale=segment.rate_scale,
            weight_decay=self.weight_decay,
            l1=self.l1 if segment.regularized else 0.0,
            l2=self.l2 if segment.regularized else 0.0,
            clip_value=self.clip_value,
            **self.hyperparameters(),
        )  # fmt: skip

    def observe(self, numbers: Mapping[str, float]) -> None:
        """Tells a schedule that watches metrics how the epoch went."""
        if hasattr(self.learning_rate, "observe"):
            self.learning_rate.observe(numbers)

    def state(self) -> dict[str, float]:
        """What a schedule that watches metrics remembers, to be saved."""
        return self.learning_rate.state() if hasattr(self.learning_rate, "state") else {}

    def restore(self, state: Mapping[str, float]) -> None:
        """Sets what `state` gave."""
        if hasattr(self.learning_rate, "restore"):
            self.learning_rate.restore(state)


@dataclass(eq=False, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent: w -= rate * g; with momentum v = momentum v + (1 - dampening) g, w -= rate * v.

    Nesterov's form steps along g + momentum v (Sutskever et al., 2013).
    """

    momentum: float = 0.0
    nesterov: bool = False
    dampening: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("momentum", 0.0, 1.0)
        self._check("dampening", 0.0, 1.0)
        if self.nesterov and (not self.momentum or self.dampening):
            raise ValueError("SGD: nesterov needs a momentum above 0 and no dampening")

    @property
    def rule(self) -> str:  # type: ignore[override]
        """Which rule of the kernel."""
        if not self.momentum:
            return "sgd"
        return "nesterov" if self.nesterov else "momentum"

    @property
    def n_states(self) -> int:
        """The velocity, with momentum."""
        return 1 if self.momentum else 0

    def hyperparameters(self) -> dict[str, Any]:
        """See the class."""
        return {"momentum": self.momentum, "dampening": self.dampening} if self.momentum else {}


@dataclass(eq=False, repr=False)
class RMSprop(Optimizer):
    """s = alpha s + (1 - alpha) g²; w -= rate * g / (sqrt(s) + eps) (Hinton, 2012).

    With momentum v = momentum v + g / (sqrt(s) + eps), w -= rate * v.
    """

    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("alpha", 0.0, 1.0)
        self._check("eps", 0.0, math.inf)
        self._check("momentum", 0.0, 1.0)

    @property
    def rule(self) -> str:  # type: ignore[override]
        """Which rule of the kernel."""
        return "rmsprop_momentum" if self.momentum else "rmsprop"

    @property
    def n_states(self) -> int:
        """The mean square and, with momentum, the velocity."""
        return 2 if self.momentum else 1

    def hyperparameters(self) -> dict[str, Any]:
        """See the class."""
        own = {"alpha": self.alpha, "eps": self.eps}
        return {**own, "momentum": self.momentum} if self.momentum else own


@dataclass(eq=False, repr=False)
class Adagrad(Optimizer):
    """s = s + g²; w -= rate * g / (sqrt(s) + eps) (Duchi et al., 2011)."""

    eps: float = 1e-10
    rule: ClassVar[str] = "adagrad"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("eps", 0.0, math.inf)

    @property
    def n_states(self) -> int:
        """The sum of squares."""
        return 1

    def hyperparameters(self) -> dict[str, Any]:
        """See the class."""
        return {"eps": self.eps}


@dataclass(eq=False, repr=False)
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), with bias correction.

    m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g²; w -= rate * m̂ / (sqrt(v̂) + eps).
    """

    learning_rate: Any = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    rule: ClassVar[str] = "adam"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("beta1", 0.0, 1.0)
        self._check("beta2", 0.0, 1.0)
        self._check("eps", 0.0, math.inf)

    @property
    def n_states(self) -> int:
        """The two moments."""
        return 2

    def columns(self, steps: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Learning rate and bias corrections."""
        made = np.asarray(steps, np.float64) + 1.0
        return {
            **super().columns(steps),
            "correction1": 1.0 - self.beta1**made,
            "correction2": 1.0 - self.beta2**made,
        }

    def hyperparameters(self) -> dict[str, Any]:
        """See the class."""
        return {"beta1": self.beta1, "beta2": self.beta2, "eps": self.eps}


@dataclass(eq=False, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay: w -= rate * weight_decay * w (Loshchilov and Hutter, 2019)."""

    weight_decay: float = field(default=0.01, kw_only=True)
    rule: ClassVar[str] = "adamw"


@dataclass(eq=False, repr=False)
class Rosenblatt(SGD):
    """Rosenblatt's rule for perceptrons (1958): w += rate * (t - y) x, for step units and targets of 0 and 1.

    Plain SGD on the perceptron criterion; `fit` takes that as the loss if none is named.
    """

    learning_rate: Any = 1.0


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "adam": Adam,
    "adamw": AdamW,
    "rosenblatt": Rosenblatt,
}


def get(optimizer: Any) -> Optimizer:
    """An optimizer by name or object; None means Adam.

    Raises
    ------
    ValueError
        If there is no optimizer of this name.
    TypeError
        If it is something else.
    """
    if optimizer is None:
        return Adam()
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        return optimizer()
    if not isinstance(optimizer, str):
        raise TypeError(f"optimizer must be a name or an optimizer, got {type(optimizer).__name__}")
    if optimizer.lower() not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {optimizer!r}; there are {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[optimizer.lower()]()

"""fastnn: small and middle-sized neural networks on CPUs, as fast as the machine allows.

>>> import fastnn as fnn
>>> digits = fnn.datasets.digits()
>>> net = fnn.Sequential([fnn.Dense(64, "relu"), fnn.Dense(10)], input_shape=64, seed=0)
>>> history = net.fit(digits.x_train, digits.y_train, loss="cross_entropy", optimizer=fnn.Adam(1e-3), epochs=20)
>>> net.evaluate(digits.x_test, digits.y_test)["accuracy"] > 0.9
True
"""

from types import ModuleType
from typing import TYPE_CHECKING

from fastnn import (
    callbacks,
    initializers,
    losses,
    metrics,
    ops,
    optimizers,
    schedules,
)
from fastnn._version import __version__
from fastnn.feed import one_hot
from fastnn.layers import (
    Activation,
    Add,
    Concatenate,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    Reshape,
)
from fastnn.losses import Loss
from fastnn.network import Network, load
from fastnn.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop, Rosenblatt
from fastnn.runtime import get_num_threads, set_num_threads, show_config
from fastnn.sequential import Sequential
from fastnn.trainer import History, Trainer

if TYPE_CHECKING:
    from fastnn import datasets, plots

__all__ = [
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "Add",
    "Concatenate",
    "Dense",
    "Dropout",
    "Flatten",
    "History",
    "Input",
    "Layer",
    "Loss",
    "Network",
    "RMSprop",
    "Reshape",
    "Rosenblatt",
    "Sequential",
    "Trainer",
    "__version__",
    "callbacks",
    "datasets",
    "get_num_threads",
    "initializers",
    "load",
    "losses",
    "metrics",
    "one_hot",
    "ops",
    "optimizers",
    "plots",
    "schedules",
    "set_num_threads",
    "show_config",
]


def __getattr__(name: str) -> ModuleType:
    """Data sets and plots are imported when they are asked for: many programs never do."""
    if name in ("datasets", "plots"):
        from importlib import import_module

        return import_module(f"fastnn.{name}")
    raise AttributeError(f"module 'fastnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

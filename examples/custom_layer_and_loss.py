"""A layer and a loss of one's own: compositions of operations, differentiated and compiled like the built-in ones.

    python examples/custom_layer_and_loss.py

The layer is a radial basis: each unit answers to points near its own centre. The loss forgives outliers, of which the
data has plenty; squared error on the same network does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn as fnn
from fastnn import ops


class Radial(fnn.Layer):
    """exp(-w² (x - c)²) of a single input for each of `units` centres c and widths 1/w, both learned."""

    def __init__(self, units: int, name: str = "") -> None:
        self.units = units
        self.name = name

    def build(self, *shapes: tuple[int, ...]) -> None:
        """Centres are spread over the data's range."""
        self.centres = self.parameter("centres", (self.units,), fnn.initializers.Uniform(-3.0, 3.0))
        self.widths = self.parameter("widths", (self.units,), "ones")

    def forward(self, x: Any) -> Any:
        """(n, 1) to (n, units)."""
        distance = (x - self.centres) * self.widths
        return ops.exp(-(distance * distance))


def log_cosh(prediction: Any, target: Any) -> Any:
    """Mean of log cosh(difference): quadratic near 0, linear far out."""
    difference = prediction - target
    return ops.mean(difference + ops.softplus(-2.0 * difference) - float(np.log(2.0)))


def main() -> None:
    """Fits sin(2x) through data of which every tenth value is far off, with both losses."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-3.0, 3.0, (2000, 1))
    y = np.sin(2.0 * x) + 0.05 * rng.standard_normal(x.shape)
    y[::10] += 8.0
    grid = np.linspace(-2.8, 2.8, 500)[:, None]
    for loss in ("mse", log_cosh):
        network = fnn.Sequential([Radial(24), fnn.Dense(1)], input_shape=1, seed=0)
        history = network.fit(x, y, loss=loss, optimizer=fnn.Adam(1e-2), epochs=60, batch_size=50, verbose=0)
        error = fnn.metrics.get("rmse")[1](np.sin(2.0 * grid), network.predict(grid))
        name = loss if isinstance(loss, str) else loss.__name__
        print(f"{name:>8}: error against the true curve {error:.3f}, {sum(history['seconds']):.2f} s of training")
    network.summary()
    print(network.explain())


if __name__ == "__main__":
    main()

"""JAX, with many steps in one jitted call: `lax.scan` over the mini-batches."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from numpy.typing import NDArray

from bench.peers.jax import learn
from bench.shapes import Data, NetworkShape
from bench.tasks import TURN_SECONDS

GUESS = 2e10, 1e-6  # floating-point operations a second, and seconds that a step takes at least


class Training:
    """A network, trained by a scan over steps.

    Attributes
    ----------
    steps_at_once
        How many go into a call: another number would be compiled anew.
    """

    def __init__(self, shape: NetworkShape, data: Data, weights: list[NDArray[Any]]) -> None:
        self.x, self.y = jnp.asarray(data.x), jnp.asarray(data.y)
        moments = [(jnp.zeros_like(w), jnp.zeros_like(w)) for w in weights] if shape.optimizer == "adam" else []
        self.state: Any = ([jnp.array(w) for w in weights], moments, jnp.zeros((), jnp.int32))
        rate, least = GUESS
        self.steps_at_once = max(1, min(shape.steps, round(TURN_SECONDS / (shape.flops / rate + least))))

        @partial(jax.jit, donate_argnums=0)
        def steps(state: Any, x: jax.Array, y: jax.Array, order: jax.Array) -> Any:
            def body(state: Any, rows: jax.Array) -> Any:
                return learn(shape, state, x[rows], y[rows]), None

            return jax.lax.scan(body, state, order)[0]

        self.steps = steps

    def train(self, order: NDArray[np.int64]) -> float:
        """Forward, backward, downhill, for each mini-batch, in one call."""
        *self.state, total = self.steps((*self.state, jnp.zeros(())), self.x, self.y, order.astype(np.int32))
        return float(total) / len(order)

    def weights(self) -> list[NDArray[Any]]:
        """Copies, in order."""
        return [np.array(w) for w in self.state[0]]

"""Thinc, as its guide writes a training loop: begin_update, the loss's gradient, backpropagation, finish_update.

Its products are those of BLIS, on one thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from thinc import api

from bench.shapes import Data, NetworkShape

SERIAL = True
LAYERS: dict[str, Any] = {"relu": api.Relu, "sigmoid": api.Sigmoid, "": api.Linear}


def _model(shape: NetworkShape, weights: list[NDArray[Any]], last: Any) -> Any:
    if any(activation not in LAYERS for _, _, activation in shape.layers):
        raise NotImplementedError("Thinc has no tanh")
    layers = [LAYERS[activation](units, inputs) for inputs, units, activation in shape.layers]
    if last is not None:
        layers[-1] = last(*reversed(shape.layers[-1][:2]))
    model = api.chain(*layers)
    model.initialize()
    for layer, w, b in zip(layers, weights[::2], weights[1::2], strict=True):
        layer.set_param("W", np.array(w.T, order="C"))
        layer.set_param("b", b.copy())
    return model


class Training:
    """A chain of layers and its optimizer."""

    def __init__(self, shape: NetworkShape, data: Data, weights: list[NDArray[Any]]) -> None:
        self.data, self.loss, self.rows = data, shape.loss, np.arange(shape.batch)
        self.model = _model(shape, weights, api.Softmax if shape.loss == "cross_entropy" else None)
        plain = {"L2": 0.0, "grad_clip": 0.0, "use_averages": False}
        kind = api.Adam if shape.optimizer == "adam" else api.SGD
        self.optimizer = kind(shape.rate, **plain)

    def train(self, order: NDArray[np.int64]) -> float:
        """Forward, backward, downhill, for each mini-batch."""
        total = 0.0
        for batch in order:
            out, backpropagate = self.model.begin_update(self.data.x[batch])
            loss, gradient = self._loss(out, self.data.y[batch])
            backpropagate(gradient)
            self.model.finish_update(self.optimizer)
            total += loss
        return total / len(order)

    def _loss(self, out: NDArray[Any], y: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        if self.loss == "cross_entropy":  # the softmax layer's gradient is that of the logits
            loss = -np.log(out[self.rows, y]).mean()
            gradient = out / np.float32(len(y))
            gradient[self.rows, y] -= np.float32(1 / len(y))
            return float(loss), gradient
        difference = out - y
        squares = float(np.vdot(difference, difference))
        if self.loss == "mse":
            return squares / difference.size, difference * np.float32(2 / difference.size)
        return squares / (2 * len(y)), difference / np.float32(len(y))

    def weights(self) -> list[NDArray[Any]]:
        """Copies, in order and as x @ w wants them."""
        return [layer.get_param(name).T.copy() for layer in self.model.layers for name in ("W", "b")]


class Inference:
    """`predict` of the chain."""

    def __init__(self, shape: NetworkShape, weights: list[NDArray[Any]]) -> None:
        self.predict = _model(shape, weights, None).predict

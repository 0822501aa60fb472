"""scikit-learn: `partial_fit` of its multi-layer perceptrons, on as many rows at once as a turn has.

Its regressor has linear outputs and half the squared error, summed over the outputs; its classifier has softmax. Other
outputs it does not have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier, MLPRegressor

from bench.shapes import Data, NetworkShape

ACTIVATIONS = {"sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}


class Training:
    """A multi-layer perceptron without penalty and momentum."""

    def __init__(self, shape: NetworkShape, data: Data, weights: list[NDArray[Any]]) -> None:
        if shape.output or shape.loss not in ("mse", "cross_entropy") or shape.batch < 2:
            raise NotImplementedError("scikit-learn has no such output, loss, or batch of one row")
        kind = MLPRegressor if shape.loss == "mse" else MLPClassifier
        self.factor = 2 / shape.sizes[-1] if shape.loss == "mse" else 1.0  # our loss over theirs, in the gradient
        adam = shape.optimizer == "adam"  # whose steps do not depend on the gradient's scale, but for epsilon
        self.data, self.batch = data, shape.batch
        self.model = kind(
            hidden_layer_sizes=shape.sizes[1:-1], activation=ACTIVATIONS[shape.hidden], solver=shape.optimizer,
            learning_rate_init=shape.rate * (1.0 if adam else self.factor), epsilon=1e-8 / self.factor,
            batch_size=shape.batch, shuffle=False, alpha=0.0, momentum=0.0, nesterovs_momentum=False,
            n_iter_no_change=np.inf,
        )  # fmt: skip
        classes = {"classes": np.arange(shape.sizes[-1])} if kind is MLPClassifier else {}
        self._fit(np.arange(shape.batch), **classes)
        theirs = [*self.model.coefs_, *self.model.intercepts_]
        for their, our in zip(theirs, weights[::2] + weights[1::2], strict=True):
            their[...] = our
        del self.model._optimizer  # it has seen a step that does not count; the next call makes another

    def train(self, order: NDArray[np.int64]) -> float:
        """All steps in one call; it shuffles nothing, the order is ours."""
        self._fit(order.ravel())
        return float(self.model.loss_) * (2 if isinstance(self.model, MLPRegressor) else 1)

    def _fit(self, rows: NDArray[np.int64], **classes: Any) -> None:
        self.model.partial_fit(self.data.x[rows], self.data.y[rows], **classes)

    def weights(self) -> list[NDArray[Any]]:
        """Copies, in order."""
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [np.array(each) for pair in pairs for each in pair]

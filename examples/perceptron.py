"""Rosenblatt's perceptron, 1958: a step unit learns AND and OR, and cannot learn XOR.

    python examples/perceptron.py

The rule is w += (t - y) x, sample by sample; the weights are printed after each epoch. No straight line separates XOR
(Minsky and Papert, 1969): there the weights go round in circles, and soon every epoch ends where it began.
"""

from __future__ import annotations

import numpy as np

import fastnn as fnn

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
TARGETS = {"AND": [0, 0, 0, 1], "OR": [0, 1, 1, 1], "XOR": [0, 1, 1, 0]}
EPOCHS = 12


def learn(name: str) -> bool:
    """Trains until all four answers are right or the epochs are over; returns whether they are."""
    targets = np.array(TARGETS[name])
    unit = fnn.Dense(1, "step", weight_initializer="zeros")
    network = fnn.Sequential([unit], input_shape=2)
    print(f"{name}\n  epoch   w1   w2  bias   answers")
    for epoch in range(1, EPOCHS + 1):
        network.fit(INPUTS, targets, optimizer=fnn.Rosenblatt(), epochs=1, batch_size=1, shuffle=False, verbose=0)
        weights, bias = network.get_weights()
        answers = network.predict_class(INPUTS)
        print(f"  {epoch:5} {weights[0, 0]:4.0f} {weights[1, 0]:4.0f}  {bias[0]:4.0f}   {answers}")
        if np.array_equal(answers, targets):
            print(f"  learned: y = 1 where {weights[0, 0]:g} x1 + {weights[1, 0]:g} x2 >= {-bias[0]:g}\n")
            return True
    print(f"  not learned after {EPOCHS} epochs, and it never will be\n")
    return False


if __name__ == "__main__":
    for function in TARGETS:
        learn(function)

"""Regression: the damped oscillation behind noisy measurements.

    python examples/regression.py

The learning rate falls along half a cosine, a fifth of the data says when to stop, and the best weights are kept.
"""

from __future__ import annotations

import numpy as np

import fastnn as fnn

N, EPOCHS, BATCH, NOISE = 2000, 120, 32, 0.1


def oscillation(time: np.ndarray) -> np.ndarray:
    """What the measurements are of."""
    return np.exp(-0.4 * time) * np.cos(4.0 * time)


def main() -> None:
    """Trains, and compares the curve with the truth that the network never saw."""
    rng = np.random.default_rng(0)
    time = rng.uniform(0.0, 5.0, (N, 1))
    measured = oscillation(time) + NOISE * rng.standard_normal(time.shape)

    network = fnn.Sequential([fnn.Dense(32, "tanh"), fnn.Dense(32, "tanh"), fnn.Dense(1)], input_shape=1, seed=0)
    steps = EPOCHS * -(-int(N * 0.8) // BATCH)
    stopping = fnn.callbacks.EarlyStopping(patience=40)
    history = network.fit(time, measured, loss="mse", optimizer=fnn.AdamW(fnn.schedules.Cosine(1e-2, steps)),
                          epochs=EPOCHS, batch_size=BATCH, validation_split=0.2, metrics=["r2"],
                          callbacks=[stopping], verbose=0)  # fmt: skip
    took = f"{sum(history['seconds']):.2f} s of training"
    print(f"best epoch {stopping.best_epoch + 1} of {len(history['loss'])}, {took}")
    print(f"validation error {stopping.best**0.5:.3f} (root mean square); the noise alone makes {NOISE}\n")

    print(" time   truth   network")
    grid = np.linspace(0.0, 5.0, 11)[:, None]
    for moment, truth, answer in zip(grid[:, 0], oscillation(grid)[:, 0], network.predict(grid)[:, 0], strict=True):
        print(f"{moment:5.1f}  {truth:+.3f}  {answer:+.3f}")
    fine = np.linspace(0.0, 5.0, 1001)[:, None]
    print(f"\nR² against the truth: {fnn.metrics.r2(oscillation(fine), network.predict(fine)):.4f}")


if __name__ == "__main__":
    main()

"""Networks: construction, prediction, evaluation, copies, frozen layers, own metrics and losses; on both backends."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest
from networks import CLOSE, blobs, both, classifier, logits, same_weights, softmax

import fastnn as fnn

# ---- construction and summary


def test_summary_lists_layers_shapes_and_counts() -> None:
    net = classifier()
    text = io.StringIO()
    net.summary(file=text)
    rows = [" ".join(line.split()) for line in text.getvalue().splitlines()]
    assert "hidden (Dense) (n, 8) 56" in rows
    assert "output (Dense) (n, 3) 27" in rows
    assert rows[-1].startswith("83 parameters")
    net.freeze("hidden")
    net.summary(file=text)
    assert "hidden (Dense, frozen)" in text.getvalue()


def test_parameters_are_read_only_views_in_order() -> None:
    net = classifier()
    views = net.parameters()
    assert {name: view.shape for name, view in views.items()} == {
        "hidden.weight": (6, 8), "hidden.bias": (8,), "output.weight": (8, 3), "output.bias": (3,)
    }  # fmt: skip
    with pytest.raises(ValueError, match="read-only"):
        views["hidden.bias"][0] = 1
    net.set_weights({"hidden.bias": np.arange(8)})
    assert views["hidden.bias"].tolist() == list(range(8))


def test_the_seed_decides_the_first_weights() -> None:
    assert same_weights(classifier(seed=4), classifier(seed=4))
    assert not same_weights(classifier(seed=4), classifier(seed=5))


def test_a_layer_may_be_used_twice_and_shares_its_weights() -> None:
    left, right = fnn.Input(4), fnn.Input(4)
    shared = fnn.Dense(3, "tanh")
    net = fnn.Network([left, right], fnn.Add()([shared(left), shared(right)]))
    assert net.n_parameters == 4 * 3 + 3
    a, b = np.random.default_rng(0).standard_normal((2, 5, 4)).astype("f4")
    weight, bias = net.get_weights()
    expected = np.tanh(a @ weight + bias) + np.tanh(b @ weight + bias)
    np.testing.assert_allclose(net.predict((a, b)), expected, atol=CLOSE)


@pytest.mark.parametrize("declared, network", [("float64", "float32"), ("float64", None), ("float32", "float64")])
def test_an_input_of_another_float_type_is_refused(declared: str, network: str | None) -> None:
    layer = fnn.Dense(2)
    x = fnn.Input(3, dtype=declared, name="x")
    message = f"input 'x' is declared as {declared}, but .* {network or 'float32'}.*dtype='{declared}'"
    with pytest.raises(ValueError, match=message):
        fnn.Network(x, layer(x), dtype=network)
    with pytest.raises(ValueError, match=message):
        fnn.Sequential([x, fnn.Dense(2)], dtype=network)
    assert fnn.Network(x, layer(x), dtype=declared).dtype == declared  # nothing has happened to the layers


def test_weights_beyond_float32_become_infinite_without_a_warning() -> None:
    net = classifier()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.set_weights({"output.bias": [1e300, -1e300, 0.0]})
    assert np.array_equal(net.parameters()["output.bias"], [np.inf, -np.inf, 0.0])


# ---- prediction and evaluation


@both
@pytest.mark.parametrize("n", [0, 1, 255, 256, 257])
def test_predictions_match_numpy(n: int, backend: str) -> None:
    net = classifier(backend)
    x, _ = blobs(n)
    expected = logits(net, x)
    result = net.predict(x)
    assert result.shape == (n, 3)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=CLOSE)
    np.testing.assert_allclose(net.predict_proba(x), softmax(expected), atol=CLOSE)
    assert net.predict_class(x).dtype == np.int64
    assert np.array_equal(net.predict_class(x), expected.argmax(axis=1))


@both
def test_one_logit_means_two_classes(backend: str) -> None:
    x, labels = blobs(classes=2)
    net = fnn.Sequential([fnn.Dense(1)], input_shape=6, backend=backend)
    net.fit(x, labels, loss="binary_cross_entropy", optimizer=fnn.SGD(0.5), epochs=5, verbose=0)
    z = net.predict(x).astype(np.float64)
    np.testing.assert_allclose(net.predict_proba(x), 1 / (1 + np.exp(-z)), atol=CLOSE)
    assert np.array_equal(net.predict_class(x), (z[:, 0] > 0).astype(int))
    assert net.evaluate(x, labels)["accuracy"] == np.mean((z[:, 0] > 0) == labels) > 0.8


@both
def test_accuracy_of_a_sigmoid_takes_probabilities(backend: str) -> None:
    x, labels = blobs(classes=2)
    net = fnn.Sequential([fnn.Dense(1, "sigmoid")], input_shape=6, backend=backend)
    history = net.fit(x, labels, loss="mse", optimizer=fnn.SGD(2.0), epochs=10, metrics="accuracy", verbose=0)
    expected = np.mean((net.predict(x)[:, 0] > 0.5) == labels)
    assert expected > 0.8
    assert net.evaluate(x, labels, metrics="accuracy")["accuracy"] == expected
    assert np.array_equal(net.predict_class(x), net.predict(x)[:, 0] > 0.5)
    assert history["accuracy"][-1] > 0.8


@both
def test_several_binary_outputs_give_sigmoids_after_binary_training(backend: str) -> None:
    x, labels = blobs()
    net = classifier(backend)
    net.fit(x, fnn.one_hot(labels, 3), loss="binary_cross_entropy", metrics=[], verbose=0)
    np.testing.assert_allclose(net.predict_proba(x), 1 / (1 + np.exp(-net.predict(x))), atol=CLOSE)


@both
def test_evaluate_is_the_mean_over_all_rows(backend: str) -> None:
    net = classifier(backend)
    x, labels = blobs(300)  # more than the rows of one run, and not a multiple of them
    found = net.evaluate(x, labels, loss="cross_entropy")
    z = logits(net, x)
    assert found["loss"] == pytest.approx(-np.log(softmax(z)[np.arange(300), labels]).mean(), abs=CLOSE)
    assert found["accuracy"] == np.mean(z.argmax(axis=1) == labels)
    weights = np.linspace(0.0, 2.0, 300)
    weighted = net.evaluate(x, labels, loss="cross_entropy", sample_weight=weights)["loss"]
    assert weighted == pytest.approx(np.mean(-np.log(softmax(z)[np.arange(300), labels]) * weights), abs=CLOSE)


def test_dropout_only_while_training() -> None:
    net = fnn.Sequential([fnn.Dropout(0.5), fnn.Dense(1, weight_initializer="ones")], input_shape=100)
    x = np.ones((4, 100), "f4")
    assert np.array_equal(net.predict(x), np.full((4, 1), 100.0))
    trainer = fnn.Trainer(net, "mse", fnn.SGD(0.0))
    assert trainer.evaluate(x, np.full((4, 1), 100.0))["loss"] == 0.0
    assert trainer.step(x, np.full((4, 1), 100.0)) > 0.0


# ---- rates, freezing, copying


@both
def test_schedules_set_the_rate_of_each_step(backend: str) -> None:
    """With SGD on a constant gradient, the weight moves by exactly the sum of the rates."""
    net = fnn.Sequential([fnn.Dense(1, use_bias=False, weight_initializer="zeros")], input_shape=1, backend=backend)
    schedule = fnn.schedules.Piecewise((3, 5), (1.0, 0.25, 0.125))
    trainer = fnn.Trainer(net, lambda prediction, target: fnn.ops.mean(prediction), fnn.SGD(schedule))
    history = trainer.fit(np.ones((8, 1)), np.zeros((8, 1)), epochs=2, batch_size=2, verbose=0)
    assert net.get_weights()[0].item() == -(3 * 1.0 + 2 * 0.25 + 3 * 0.125)
    assert history["learning_rate"] == [1.0, 0.25]


def test_reduce_on_plateau_hears_of_each_epoch() -> None:
    """At such a rate nothing moves, so nothing improves."""
    x, labels = blobs()
    schedule = fnn.schedules.ReduceOnPlateau(1e-12, monitor="loss", patience=1, factor=0.5, min_delta=1e-3)
    history = classifier().fit(x, labels, optimizer=fnn.SGD(schedule), epochs=4, verbose=0)
    assert history["learning_rate"] == pytest.approx([1e-12, 1e-12, 5e-13, 2.5e-13])


@both
def test_learning_rates_by_layer_and_parameter(backend: str) -> None:
    x, labels = blobs(20)
    plain, scaled = classifier(backend), classifier(backend)
    before = plain.get_weights()
    fnn.Trainer(plain, optimizer=fnn.SGD(0.5)).step(x, labels)
    rates = {"hidden": 0.25, "output.bias": 0.0}
    fnn.Trainer(scaled, optimizer=fnn.SGD(0.5), learning_rates=rates).step(x, labels)
    for start, full, part, factor in zip(before, plain.get_weights(), scaled.get_weights(), (0.25, 0.25, 1, 0),
                                         strict=True):  # fmt: skip
        np.testing.assert_allclose(part - start, factor * (full - start), atol=CLOSE)
        assert np.abs(full - start).max() > 1e-3


@both
@pytest.mark.parametrize("optimizer", [fnn.SGD(0.1, momentum=0.9, weight_decay=0.1), fnn.AdamW(0.1, l2=0.1)],
                         ids=["sgd", "adamw"])  # fmt: skip
def test_frozen_layers_keep_every_bit(optimizer: Any, backend: str) -> None:
    x, labels = blobs()
    net = classifier(backend)
    net.freeze("hidden")
    before = net.get_weights()
    net.fit(x, labels, optimizer=optimizer, epochs=2, verbose=0)
    after = net.get_weights()
    assert np.array_equal(after[0], before[0])
    assert np.array_equal(after[1], before[1])
    assert not np.array_equal(after[2], before[2])
    net.unfreeze()
    net.fit(x, labels, epochs=1, verbose=0)
    assert not np.array_equal(net.get_weights()[0], before[0])


@both
def test_copy_weights_from(backend: str) -> None:
    a, b = classifier(backend, seed=1), classifier(backend, seed=2)
    mine, theirs = a.get_weights(), b.get_weights()
    a.copy_weights_from(b, tau=0.25)
    for found, old, new in zip(a.get_weights(), mine, theirs, strict=True):
        np.testing.assert_allclose(found, 0.75 * old + 0.25 * new, atol=1e-7)
    a.copy_weights_from(b)
    assert same_weights(a, b)
    assert a.parameters()["hidden.weight"].dtype == np.float32
    with pytest.raises(ValueError, match="differ"):
        a.copy_weights_from(fnn.Sequential([fnn.Dense(3)], input_shape=6))


@both
@pytest.mark.parametrize("tau", [0.0, 0.1, 1.0])
def test_copied_weights_are_the_same_bits_whatever_way_they_take(tau: float, backend: str) -> None:
    """Networks of one layout go from block to block; a part, which shares its block with others, by parameter."""
    whole, other = classifier(backend, seed=1), classifier(backend, seed=2)
    part, body = (
        fnn.Network(whole.inputs, whole.wire("hidden")),
        fnn.Sequential([fnn.Dense(8, "tanh")], input_shape=6, seed=2, backend=backend),
    )
    head = whole.get_weights()[2:]
    expected = [(1 - tau) * a + tau * b for a, b in zip(part.get_weights(), body.get_weights(), strict=True)]
    part.copy_weights_from(body, tau)
    assert all(map(np.array_equal, part.get_weights(), expected))
    assert all(map(np.array_equal, whole.get_weights()[2:], head))
    expected = [(1 - tau) * a + tau * b for a, b in zip(whole.get_weights(), other.get_weights(), strict=True)]
    whole.copy_weights_from(other, tau)
    assert all(map(np.array_equal, whole.get_weights(), expected))


def test_weights_of_another_float_type_are_converted() -> None:
    net, precise = classifier(seed=1), classifier(seed=2, dtype="float64")
    net.copy_weights_from(precise)
    assert [w.dtype for w in net.get_weights()] == [np.float32] * 4
    assert all(np.array_equal(a, b.astype("f4")) for a, b in zip(net.get_weights(), precise.get_weights(), strict=True))


def test_a_copy_is_independent() -> None:
    x, labels = blobs()
    net = classifier()
    other = net.copy()
    assert same_weights(net, other)
    other.fit(x, labels, verbose=0)
    assert not same_weights(net, other)
    assert same_weights(net, classifier())


# ---- metrics and losses of one's own


@both
def test_own_metrics(backend: str) -> None:
    def first_class(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        return float(np.mean(y_pred.argmax(axis=1) == 0))

    x, labels = blobs()
    net = classifier(backend)
    found = net.evaluate(x, labels, loss="cross_entropy", metrics=[first_class, "top_2"])
    assert set(found) == {"loss", "first_class", "top_2"}
    assert found["first_class"] == np.mean(net.predict_class(x) == 0)


@both
def test_own_loss_equals_the_built_in_one(backend: str) -> None:
    def squares(prediction: Any, target: Any) -> Any:
        return fnn.ops.mean(fnn.ops.square(prediction - target))

    x, _ = blobs()
    a, b = (fnn.Sequential([fnn.Dense(4, "tanh"), fnn.Dense(2)], input_shape=6, backend=backend) for _ in range(2))
    a.fit(x, x[:, :2], loss=squares, epochs=3, verbose=0)
    b.fit(x, x[:, :2], loss="mse", epochs=3, verbose=0)
    for own, builtin in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(own, builtin, atol=1e-4)  # Adam divides small gradients by small numbers


# ---- losses that take logits


@pytest.mark.parametrize("activation, loss", [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")])
def test_logits_are_wanted_of_every_output(activation: str, loss: str) -> None:
    x = fnn.Input(4)
    outputs = [fnn.Dense(2)(x), fnn.Dense(2, activation)(x)]
    net = fnn.Network(x, outputs)
    with pytest.raises(ValueError, match=f"ends in {activation}"):
        fnn.Trainer(net, ["mse", loss])
    fnn.Trainer(net, [loss, "mse"])  # a squared error of probabilities is nobody else's business

"""The public face: what networks and trainers promise their users, on the native and on the NumPy backend."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn as fnn

BACKENDS = ("native", "numpy")
CLOSE = 1e-5  # a few hundred float32 operations, each within 6e-8

both = pytest.mark.parametrize("backend", BACKENDS)


def blobs(n: int = 90, width: int = 6, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clouds of points around a centre for each class: easy, but not at the first step."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return (rng.standard_normal((classes, width))[labels] + 0.7 * rng.standard_normal((n, width))).astype("f4"), labels


def classifier(backend: str = "native", seed: int = 0, **options: Any) -> fnn.Sequential:
    """6-8-3, with logits."""
    layers = [fnn.Dense(8, "tanh", name="hidden"), fnn.Dense(3, name="output")]
    return fnn.Sequential(layers, input_shape=6, seed=seed, backend=backend, **options)


def same_weights(a: fnn.Network, b: fnn.Network) -> bool:
    """Whether two networks' parameters agree in every bit."""
    return all(map(np.array_equal, a.get_weights(), b.get_weights()))


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def logits(net: fnn.Network, x: np.ndarray) -> np.ndarray:
    """What `classifier` computes, in float64."""
    w1, b1, w2, b2 = (each.astype(np.float64) for each in net.get_weights())
    return np.tanh(x @ w1 + b1) @ w2 + b2


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


# ---- fit


@both
def test_training_matches_a_numpy_loop(backend: str) -> None:
    """Plain SGD, five epochs in order, against the textbook's formulas in float64."""
    net = classifier(backend)
    x, labels = blobs(50)
    w1, b1, w2, b2 = (each.astype(np.float64) for each in net.get_weights())
    losses = []
    for _ in range(5):
        total = 0.0
        for start in range(0, 50, 16):
            a, t = x[start : start + 16].astype(np.float64), np.eye(3)[labels[start : start + 16]]
            h = np.tanh(a @ w1 + b1)
            p = softmax(h @ w2 + b2)
            total -= np.sum(t * np.log(p))
            d2 = (p - t) / len(a)
            d1 = d2 @ w2.T * (1 - h * h)
            w2, b2, w1, b1 = w2 - 0.5 * h.T @ d2, b2 - 0.5 * d2.sum(0), w1 - 0.5 * a.T @ d1, b1 - 0.5 * d1.sum(0)
        losses.append(total / 50)
    history = net.fit(x, labels, loss="cross_entropy", optimizer=fnn.SGD(0.5), epochs=5, batch_size=16,
                      shuffle=False, verbose=0)  # fmt: skip
    assert losses[-1] < losses[0] / 2
    np.testing.assert_allclose(history["loss"], losses, rtol=CLOSE)
    for found, expected in zip(net.get_weights(), (w1, b1, w2, b2), strict=True):
        np.testing.assert_allclose(found, expected, atol=CLOSE)


@both
def test_history_has_a_number_an_epoch(backend: str) -> None:
    x, labels = blobs()
    history = classifier(backend).fit(x, labels, epochs=3, validation_data=blobs(seed=1), metrics=["accuracy", "top_2"],
                                      verbose=0)  # fmt: skip
    names = {"loss", "accuracy", "top_2", "seconds", "learning_rate"}
    assert set(history) == names | {"validation_loss", "validation_accuracy", "validation_top_2"}
    assert {len(values) for values in history.values()} == {3}
    assert history["learning_rate"] == [1e-3] * 3
    assert history["loss"][-1] < history["loss"][0]
    assert history.history is history


@both
def test_training_accuracy_is_of_the_epoch_s_own_predictions(backend: str) -> None:
    x, labels = blobs()
    net = classifier(backend)
    before = np.mean(net.predict_class(x) == labels)
    history = net.fit(x, labels, optimizer=fnn.SGD(0.0), batch_size=32, verbose=0)  # nothing moves
    assert history["accuracy"] == [before]


@both
def test_validation_split_is_the_end_of_the_data(backend: str) -> None:
    x, labels = blobs(100)
    split, explicit = classifier(backend), classifier(backend)
    options = {"epochs": 2, "batch_size": 16, "verbose": 0}
    a = split.fit(x, labels, validation_split=0.2, **options)
    b = explicit.fit(x[:80], labels[:80], validation_data=(x[80:], labels[80:]), **options)
    assert same_weights(split, explicit)
    assert a["validation_loss"] == b["validation_loss"]


@both
def test_class_weight_equals_sample_weight(backend: str) -> None:
    x, labels = blobs()
    a, b, plain = (classifier(backend) for _ in range(3))
    factors = {0: 3.0, 2: 0.5}
    options = {"epochs": 2, "verbose": 0}
    a.fit(x, labels, class_weight=factors, **options)
    b.fit(x, labels, sample_weight=np.array([3.0, 1.0, 0.5])[labels], **options)
    plain.fit(x, labels, **options)
    assert same_weights(a, b)
    assert not same_weights(a, plain)


@both
def test_a_weight_of_zero_is_a_missing_row(backend: str) -> None:
    x, labels = blobs(8)
    with_zero = fnn.Trainer(classifier(backend), "cross_entropy", "sgd")
    without = fnn.Trainer(classifier(backend), "cross_entropy", "sgd")
    found = with_zero.gradients(x, labels, sample_weight=np.array([2.0] * 4 + [0.0] * 4))
    for name, expected in without.gradients(x[:4], labels[:4]).items():
        np.testing.assert_allclose(found[name], expected, atol=CLOSE)


@both
def test_all_epochs_at_once_are_one_at_a_time(backend: str) -> None:
    x, labels = blobs()
    optimizer = fnn.Adam(fnn.schedules.Cosine(0.05, steps=15))
    at_once, one_by_one = classifier(backend), classifier(backend)
    a = at_once.fit(x, labels, optimizer=optimizer, epochs=5, batch_size=32, verbose=0)
    for _ in range(5):
        b = one_by_one.fit(x, labels, optimizer=optimizer, epochs=1, batch_size=32, verbose=0)
    assert same_weights(at_once, one_by_one)
    assert a["loss"] == b["loss"]
    assert a["learning_rate"] == b["learning_rate"]


def test_the_order_of_rows_changes_with_the_epoch_and_the_seed() -> None:
    x, labels = blobs(64)

    def losses(seed: int, shuffle: bool) -> list[float]:
        net = classifier(seed=seed)
        net.set_weights(classifier().get_weights())
        found: list[float] = []
        watch = fnn.callbacks.LambdaCallback(on_batch_end=lambda trainer, step, loss: found.append(loss))
        net.fit(x, labels, optimizer=fnn.SGD(0.0), epochs=2, batch_size=16, shuffle=shuffle, callbacks=[watch],
                verbose=0)  # fmt: skip
        return found

    shuffled, ordered = losses(0, True), losses(0, False)
    assert ordered[:4] == ordered[4:]
    assert shuffled[:4] != shuffled[4:]
    assert shuffled == losses(0, True) != losses(1, True)
    assert np.mean(shuffled[:4]) == pytest.approx(np.mean(ordered[:4]), abs=CLOSE)  # every row once


def test_another_loss_or_optimizer_starts_afresh_and_says_so() -> None:
    x, labels = blobs()
    net = classifier()
    net.fit(x, labels, loss="cross_entropy", optimizer=fnn.Adam(1e-2), epochs=2, verbose=0)
    first = net.trainer
    net.fit(x, labels, loss="cross_entropy", optimizer=fnn.Adam(1e-2), verbose=0)  # equal ones go on
    net.fit(x, labels, verbose=0)
    assert net.trainer is first
    assert len(first.history["loss"]) == 4
    with pytest.warns(UserWarning, match="another optimizer: training starts afresh"):
        net.fit(x, labels, optimizer=fnn.SGD(0.1), verbose=0)
    assert net.trainer is not first
    assert len(net.trainer.history["loss"]) == 1
    with pytest.warns(UserWarning, match="another loss"):
        net.fit(x, fnn.one_hot(labels, 3), loss="mse", metrics=[], verbose=0)


@both
def test_a_batch_longer_than_the_data_and_one_that_does_not_divide_it(backend: str) -> None:
    x, labels = blobs(10)
    for batch, steps in ((100, 1), (10, 1), (3, 4), (1, 10)):
        net = classifier(backend)
        net.fit(x, labels, batch_size=batch, verbose=0)
        assert net.trainer is not None
        assert net.trainer.steps == steps


# ---- what can be passed as data


@both
def test_bytes_with_a_scale_equal_floats(backend: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    labels = np.random.default_rng(1).integers(0, 3, 60)

    def network(**options: Any) -> fnn.Sequential:
        layers = [fnn.Input((4, 4), **options), fnn.Flatten(), fnn.Dense(8, "relu"), fnn.Dense(3)]
        return fnn.Sequential(layers, seed=2, backend=backend)

    of_bytes, of_floats = network(dtype="uint8", scale=1 / 255), network()
    floats = pixels.astype("f4") * np.float32(1 / 255)
    np.testing.assert_allclose(of_bytes.predict(pixels), of_floats.predict(floats), atol=CLOSE)
    of_bytes.fit(pixels, labels, epochs=2, verbose=0)
    of_floats.fit(floats, labels, epochs=2, verbose=0)
    for a, b in zip(of_bytes.get_weights(), of_floats.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=CLOSE)
    with pytest.raises(TypeError, match="declared as uint8"):
        of_bytes.predict(floats)


def test_strides_and_types_make_no_difference() -> None:
    x, labels = blobs(40)
    padded = np.zeros((80, 12), "f4")
    padded[::2, ::-2] = x
    read_only = np.asfortranarray(x)
    read_only.flags.writeable = False
    nets = []
    for array, targets in ((x, labels), (padded[::2, ::-2], labels.astype("u1")), (read_only, labels.astype("f8")),
                           (x.astype("f8"), labels[:, None]), (x.tolist(), labels.tolist())):  # fmt: skip
        net = classifier()
        net.fit(array, targets, epochs=2, batch_size=16, verbose=0)
        nets.append(net)
    assert all(same_weights(nets[0], net) for net in nets[1:])


def test_memory_mapped_arrays(tmp_path: Path) -> None:
    x, labels = blobs()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    a, b = classifier(), classifier()
    a.fit(mapped, labels, epochs=2, verbose=0)
    b.fit(x, labels, epochs=2, verbose=0)
    assert same_weights(a, b)
    assert np.array_equal(a.predict(mapped), b.predict(x))


class Batches:
    """Goes through the same batches every time."""

    def __init__(self, x: np.ndarray, labels: np.ndarray, size: int) -> None:
        self.batches = [(x[i : i + size], labels[i : i + size]) for i in range(0, len(x), size)]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return iter(self.batches)


@both
def test_batches_from_an_iterable(backend: str) -> None:
    x, labels = blobs()
    a, b = classifier(backend), classifier(backend)
    history = a.fit(Batches(x, labels, 32), epochs=2, validation_data=(x, labels), verbose=0)
    expected = b.fit(x, labels, epochs=2, batch_size=32, shuffle=False, validation_data=(x, labels), verbose=0)
    assert same_weights(a, b)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-12)
    assert history["validation_accuracy"] == expected["validation_accuracy"]


def test_an_iterator_is_good_for_one_epoch() -> None:
    x, labels = blobs()
    net = classifier()
    before = net.get_weights()
    with pytest.raises(ValueError, match="gone through once"):
        net.fit(iter(Batches(x, labels, 32)), epochs=2, verbose=0)
    assert all(map(np.array_equal, net.get_weights(), before))
    net.fit(iter(Batches(x, labels, 32)), epochs=1, verbose=0)
    assert not all(map(np.array_equal, net.get_weights(), before))


@both
def test_several_inputs_and_outputs_by_tuple_or_name(backend: str) -> None:
    def network() -> fnn.Network:
        a, b = fnn.Input(6, name="a"), fnn.Input(2, name="b")
        joined = fnn.Concatenate()([fnn.Dense(5, "tanh")(a), b])
        outputs = [fnn.Dense(3, name="kind")(joined), fnn.Dense(1, name="price")(joined)]
        return fnn.Network([a, b], outputs, backend=backend)

    x, labels = blobs()
    side, price = x[:, :2] * 2, x[:, 0]
    by_name, by_order = network(), network()
    options = {"epochs": 2, "batch_size": 32, "verbose": 0}
    losses = {"price": "mse", "kind": "cross_entropy"}
    history = by_name.fit({"b": side, "a": x}, {"price": price, "kind": labels}, loss=losses, **options)
    by_order.fit((x, side), (labels, price), loss=["cross_entropy", "mse"], **options)
    assert same_weights(by_name, by_order)
    assert "kind_accuracy" in history  # each output has its own loss's metrics
    assert "price_accuracy" not in history
    kind, value = by_name.predict({"a": x, "b": side})
    assert kind.shape == (90, 3)
    assert value.shape == (90, 1)
    found = by_name.evaluate((x, side), (labels, price))["loss"]
    entropy = -np.log(softmax(kind.astype(np.float64))[np.arange(90), labels]).mean()
    assert found == pytest.approx(entropy + np.mean((value[:, 0] - price) ** 2), abs=CLOSE)
    with pytest.raises(ValueError, match="one output"):
        by_name.predict_class((x, side))


def test_loss_weights_scale_each_output() -> None:
    x = fnn.Input(6)
    net = fnn.Network(x, [fnn.Dense(1)(x), fnn.Dense(1)(x)])
    data, y = blobs()[0], np.ones((90, 1))
    first, second = (fnn.Trainer(net, "mse", loss_weights=w).evaluate(data, (y, y))["loss"] for w in ([1, 0], [0, 1]))
    both_losses = fnn.Trainer(net, "mse", loss_weights=[2.0, 0.5]).evaluate(data, (y, y))["loss"]
    assert both_losses == pytest.approx(2 * first + 0.5 * second, rel=1e-6)
    assert first != second


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


def test_a_copy_is_independent() -> None:
    x, labels = blobs()
    net = classifier()
    other = net.copy()
    assert same_weights(net, other)
    other.fit(x, labels, verbose=0)
    assert not same_weights(net, other)
    assert same_weights(net, classifier())


# ---- callbacks


class Diary(fnn.callbacks.Callback):
    """Writes down who calls."""

    def __init__(self, entries: list[str], name: str = "") -> None:
        self.entries, self.name = entries, name

    def on_fit_begin(self, trainer: Any) -> None:
        self.entries.append(f"{self.name}fit")

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:
        self.entries.append(f"{self.name}epoch {epoch}")

    def on_batch_end(self, trainer: Any, step: int, loss: float) -> None:
        self.entries.append(f"{self.name}step {step}")

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: dict[str, float]) -> None:
        self.entries.append(f"{self.name}end {epoch}")

    def on_fit_end(self, trainer: Any) -> None:
        self.entries.append(f"{self.name}done")


@both
def test_callbacks_are_called_in_order(backend: str) -> None:
    x, labels = blobs(40)
    entries: list[str] = []
    net = classifier(backend)
    net.fit(x, labels, epochs=1, batch_size=20, callbacks=[Diary(entries)], verbose=0)
    net.fit(x, labels, epochs=1, batch_size=20, callbacks=[Diary(entries, "a "), Diary(entries, "b ")], verbose=0)
    assert entries[:6] == ["fit", "epoch 0", "step 0", "step 1", "end 0", "done"]
    expected = ["fit", "epoch 1", "step 2", "step 3", "end 1", "done"]
    assert entries[6:] == [f"{name} {entry}" for entry in expected for name in "ab"]


def test_watching_every_step_changes_no_bit() -> None:
    x, labels = blobs()
    watched, alone = classifier(), classifier()
    watched.fit(x, labels, epochs=3, batch_size=8, callbacks=[Diary([])], verbose=0)
    alone.fit(x, labels, epochs=3, batch_size=8, verbose=0)
    assert same_weights(watched, alone)


def test_early_stopping_restores_the_best_weights() -> None:
    x, labels = blobs()
    net = classifier()
    seen: list[list[np.ndarray]] = []
    stopping = fnn.callbacks.EarlyStopping(patience=3)
    keeping = fnn.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(net.get_weights()))
    wrong = np.random.default_rng(3).permutation(labels)  # nothing to generalise to: soon it gets worse
    history = net.fit(x, labels, optimizer=fnn.Adam(0.05), epochs=200, validation_data=(x, wrong),
                      callbacks=[keeping, stopping], verbose=0)  # fmt: skip
    best = int(np.argmin(history["validation_loss"]))
    assert stopping.stopped
    assert stopping.best_epoch == best
    assert len(history["loss"]) == best + 1 + 3 < 200
    assert all(map(np.array_equal, net.get_weights(), seen[best]))
    assert not all(map(np.array_equal, net.get_weights(), seen[-1]))


def test_a_callback_can_stop_within_an_epoch() -> None:
    x, labels = blobs()
    net = classifier()
    stop = fnn.callbacks.LambdaCallback(on_batch_end=lambda trainer, step, _: trainer.stop() if step == 2 else None)
    history = net.fit(x, labels, epochs=5, batch_size=10, callbacks=[stop], verbose=0)
    assert net.trainer is not None
    assert net.trainer.steps == 3
    assert len(history["loss"]) == 1


def test_an_exception_in_a_callback_ends_the_training_and_leaves_a_usable_network() -> None:
    x, labels = blobs()
    net = classifier()

    def fail(*_: Any) -> None:
        raise RuntimeError("enough")

    entries: list[str] = []
    with pytest.raises(RuntimeError, match="enough"):
        net.fit(x, labels, epochs=2, callbacks=[fnn.callbacks.LambdaCallback(on_epoch_end=fail), Diary(entries)],
                verbose=0)  # fmt: skip
    assert entries[-1] == "done"
    net.fit(x, labels, verbose=0)
    assert np.isfinite(net.predict(x)).all()


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


# ---- the perceptron


@both
@pytest.mark.parametrize("name, targets, learnable", [
    ("and", [0, 0, 0, 1], True), ("or", [0, 1, 1, 1], True), ("xor", [0, 1, 1, 0], False),
], ids=["and", "or", "xor"])  # fmt: skip
def test_perceptron_follows_rosenblatt_s_rule(name: str, targets: list[int], learnable: bool, backend: str) -> None:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "f4")
    unit = fnn.Dense(1, "step", weight_initializer="zeros")
    net = fnn.Sequential([unit], input_shape=2, backend=backend)
    net.fit(x, targets, optimizer=fnn.Rosenblatt(), epochs=12, batch_size=1, shuffle=False, verbose=0)
    weights, bias = np.zeros(2), 0.0
    for _ in range(12):
        for sample, target in zip(x, targets, strict=True):
            error = target - float(weights @ sample + bias >= 0)
            weights, bias = weights + error * sample, bias + error
    assert net.get_weights()[0].ravel().tolist() == weights.tolist()
    assert net.get_weights()[1].item() == bias
    assert (net.predict_class(x).tolist() == targets) == learnable


def test_rosenblatt_needs_a_step() -> None:
    x, labels = blobs(classes=2)
    net = fnn.Sequential([fnn.Dense(1)], input_shape=6)
    with pytest.raises(ValueError, match="'step'"):
        net.fit(x, labels, optimizer=fnn.Rosenblatt(), verbose=0)


# ---- losses that take logits


@pytest.mark.parametrize("activation, loss", [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")])
def test_logits_are_wanted_of_every_output(activation: str, loss: str) -> None:
    x = fnn.Input(4)
    outputs = [fnn.Dense(2)(x), fnn.Dense(2, activation)(x)]
    net = fnn.Network(x, outputs)
    with pytest.raises(ValueError, match=f"ends in {activation}"):
        fnn.Trainer(net, ["mse", loss])
    fnn.Trainer(net, [loss, "mse"])  # a squared error of probabilities is nobody else's business

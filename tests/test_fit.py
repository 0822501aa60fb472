"""`fit`: what it computes, what it takes as data, who is called meanwhile; on the native and on the NumPy backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import CLOSE, blobs, both, classifier, same_weights, softmax

import fastnn as fnn

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
def test_class_weight_counts_in_training_and_not_in_validation(backend: str) -> None:
    """However the validation data is given; sample weights of rows that are split off do count."""
    x, labels = blobs(100)
    weights = np.linspace(0.5, 1.5, 100)
    split, explicit = classifier(backend), classifier(backend)
    options = {"class_weight": {0: 100.0}, "batch_size": 16, "verbose": 0}
    a = split.fit(x, labels, validation_split=0.2, sample_weight=weights, **options)
    b = explicit.fit(x[:80], labels[:80], sample_weight=weights[:80],
                     validation_data=(x[80:], labels[80:], weights[80:]), **options)  # fmt: skip
    assert same_weights(split, explicit)
    for name in ("loss", "accuracy", "validation_loss", "validation_accuracy"):
        assert a[name] == b[name]
    assert a["validation_loss"] == [split.evaluate(x[80:], labels[80:], sample_weight=weights[80:])["loss"]]


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


def test_a_layer_that_gives_two_outputs() -> None:
    """Each has a name of its own, and none takes the name of another layer."""
    layer = fnn.Dense(2, name="s")
    a, b = fnn.Input(6, name="a"), fnn.Input(6, name="b")
    outputs = [layer(a), fnn.Dense(1, name="s_1")(a), layer(b)]
    net = fnn.Network([a, b], outputs)
    assert net.output_names == ["s", "s_1", "s_2"]
    x = blobs()[0]
    inputs = {"a": x, "b": 2 * x}
    targets = {"s_2": 2 * x[:, :2], "s": x[:, :2], "s_1": x[:, 2]}
    history = net.fit(inputs, targets, loss={"s": "mse", "s_1": "mae", "s_2": "mse"},
                      metrics={"s": "mae", "s_2": ["mae", "r2"]}, epochs=2, verbose=0)  # fmt: skip
    assert {"s_mae", "s_2_mae", "s_2_r2"} < set(history)
    found = net.evaluate(inputs, targets, metrics=["mae"])
    expected = [np.abs(p - targets[name].reshape(p.shape)).mean()
                for name, p in zip(net.output_names, net.predict(inputs), strict=True)]  # fmt: skip
    assert [found[f"{name}_mae"] for name in net.output_names] == pytest.approx(expected, rel=1e-6)


def test_loss_weights_scale_each_output() -> None:
    x = fnn.Input(6)
    net = fnn.Network(x, [fnn.Dense(1)(x), fnn.Dense(1)(x)])
    data, y = blobs()[0], np.ones((90, 1))
    first, second = (fnn.Trainer(net, "mse", loss_weights=w).evaluate(data, (y, y))["loss"] for w in ([1, 0], [0, 1]))
    both_losses = fnn.Trainer(net, "mse", loss_weights=[2.0, 0.5]).evaluate(data, (y, y))["loss"]
    assert both_losses == pytest.approx(2 * first + 0.5 * second, rel=1e-6)
    assert first != second


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


def test_a_checkpoint_s_path_is_tried_before_training(tmp_path: Path) -> None:
    x, labels = blobs()
    net = classifier()
    before = net.get_weights()
    for name in ("{validation_loss:.2f}", "{}", "{epoch:q}", "{loss.mean}"):
        with pytest.raises(ValueError, match=r"Checkpoint: (no 'validation_loss' for|the path .* cannot be filled in)"):
            net.fit(x, labels, callbacks=fnn.callbacks.Checkpoint(tmp_path / name), verbose=0)
    assert all(map(np.array_equal, net.get_weights(), before))
    net.fit(x, labels, callbacks=fnn.callbacks.Checkpoint(tmp_path / "{epoch:02d}-{accuracy:.0f}-{loss}"), verbose=0)
    assert len(list(tmp_path.iterdir())) == 1


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


def test_what_cannot_train_is_refused() -> None:
    x, y = np.ones((4, 2)), np.ones((4, 1))
    net = fnn.Sequential([fnn.Dense(1)], input_shape=2)
    with pytest.raises(ValueError, match="loss has no gradient"):
        net.fit(x, y, loss=lambda prediction, target: fnn.ops.mean(target))
    with pytest.raises(ValueError, match="Rosenblatt"):
        fnn.Sequential([fnn.Dense(1, "step")], input_shape=2).fit(x, y, loss="mse")
    with pytest.raises(ValueError, match="-1 and \\+1"):
        net.fit(x, 0 * y, loss="hinge")
    with pytest.raises(ValueError, match="name of something else"):
        net.fit(x, y, loss="mse", metrics=[("loss", lambda t, p: 0.0)])
    with pytest.raises(ValueError, match="metric 'odd'"):
        net.fit(x, y, loss="mse", metrics=[("odd", lambda t, p: 1 / 0)])


def test_binary_targets_survive_saving(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).standard_normal((20, 4)), np.random.default_rng(1).integers(0, 2, (20, 3))
    net = fnn.Sequential([fnn.Dense(3)], input_shape=4)
    net.fit(x, y, loss="binary_cross_entropy")
    net.save(tmp_path / "net.safetensors")
    for other in (fnn.load(tmp_path / "net.safetensors"), net.copy()):
        np.testing.assert_array_equal(other.predict_proba(x), net.predict_proba(x))
    assert not np.allclose(net.predict_proba(x).sum(axis=1), 1)


@pytest.mark.usefixtures("threads_as_before")
def test_a_last_batch_whose_sums_are_products() -> None:
    """The sums of a bias's update have two chunks in all batches but the last, where they are a product with ones."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((624, 8)), rng.standard_normal((624, 2))
    weights = []
    fnn.set_num_threads(1)
    for backend in ("native", "numpy"):
        net = fnn.Sequential([fnn.Dense(64, "relu"), fnn.Dense(2)], input_shape=8, seed=0, backend=backend)
        net.fit(x, y, loss="mse", optimizer=fnn.SGD(0.1), batch_size=600, epochs=3, verbose=0)
        weights.append(net.get_weights())
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)

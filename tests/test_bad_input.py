"""Wrong calls of the public face: each is an error whose message helps, and leaves the network as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn as fnn
from fastnn import initializers, ops, schedules

NAN, INF = float("nan"), float("inf")


@dataclass
class Scene:
    """A network that has been trained for an epoch, its trainer and its data: 12 rows of 4 numbers, 3 classes."""

    net: fnn.Sequential
    trainer: fnn.Trainer
    x: np.ndarray
    y: np.ndarray
    folder: Path


def make_scene(folder: Path) -> Scene:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 4)).astype(np.float32)
    y = rng.integers(0, 3, 12)
    net = fnn.Sequential([fnn.Dense(5, "tanh", name="hidden"), fnn.Dense(3, name="out")], input_shape=4, seed=1)
    net.fit(x, y, loss="cross_entropy", optimizer=fnn.Adam(0.01), batch_size=4)
    assert net.trainer is not None
    net.save(folder / "net.safetensors")
    net.trainer.save(folder / "trainer.safetensors")
    return Scene(net, net.trainer, x, y, folder)


def state(scene: Scene) -> list[bytes]:
    """Everything that a failed call must not touch, bit for bit."""
    trainer = scene.trainer
    weights = [value.tobytes() for value in scene.net.get_weights()]
    assert scene.net.trainer is trainer
    counters = repr((trainer.steps, trainer.epoch, dict(trainer.history)))
    return [*weights, trainer._stepper.state.tobytes(), counters.encode()]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("bad_input"))


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    """A float copy with one entry replaced."""
    changed = array.astype(np.float64)
    changed.flat[5] = value
    return changed


def regression(**options: Any) -> fnn.Sequential:
    return fnn.Sequential([fnn.Dense(1)], input_shape=4, **options)


def two_headed() -> fnn.Network:
    """Two inputs, two outputs."""
    a, b = fnn.Input(4, name="left"), fnn.Input(2, name="right")
    both = fnn.Concatenate()(a, b)
    return fnn.Network([a, b], [fnn.Dense(3, name="first")(both), fnn.Dense(1, name="second")(both)])


def train_two(x: Any, y: Any, **options: Any) -> None:
    fnn.Trainer(two_headed(), ["cross_entropy", "mse"], "sgd").fit(x, y, **options)


def own_layer(forward: Callable[..., Any]) -> Any:
    """A layer with this `forward`, on an input of 4 numbers."""
    kind = type("Own", (fnn.Layer,), {"forward": forward})
    return kind()(fnn.Input(4))


def own_parameter(*arguments: Any, **options: Any) -> Any:
    """A layer that declares a parameter so."""

    def build(self: Any, shape: Any) -> None:
        self.parameter("w", (4,))
        self.parameter(*arguments, **options)

    return type("Own", (fnn.Layer,), {"build": build, "forward": lambda self, x: x})()(fnn.Input(4))


def cycle() -> None:
    first = fnn.Dense(4)(start := fnn.Input(4))
    second = fnn.Dense(4)(first)
    first.inputs = (second,)
    fnn.Network(start, second)


def shared_layer() -> None:
    layer = fnn.Dense(2)
    fnn.Sequential([layer], input_shape=4)
    fnn.Sequential([layer], input_shape=4)


def foreign_file(scene: Scene) -> Path:
    """A safetensors file of somebody else."""
    from safetensors.numpy import save_file

    save_file({"weight": np.ones(3)}, scene.folder / "foreign.safetensors")
    return scene.folder / "foreign.safetensors"


def changed_file(scene: Scene, change: Callable[[bytearray], Any], source: str = "net.safetensors") -> Path:
    content = bytearray((scene.folder / source).read_bytes())
    replaced = change(content)
    target = scene.folder / "changed.safetensors"
    target.write_bytes(content if replaced is None else replaced)
    return target


def flip_last(content: bytearray) -> None:
    content[-3] ^= 4


def text_file(scene: Scene) -> Path:
    path = scene.folder / "text.safetensors"
    path.write_text("these are no weights\n" * 10)
    return path


Wrong = Callable[[Scene], Any]
CASES: dict[str, list[tuple[str, Wrong, str]]] = {
    "predict": [
        ("masked", lambda s: s.net.predict(np.ma.masked_array(s.x, s.x > 0)), r"x is an array with masked elements"),
        ("too narrow", lambda s: s.net.predict(s.x[:, :3]), r"x: expected shape \(n, 4\), got \(12, 3\)"),
        ("too many axes", lambda s: s.net.predict(s.x[None]), r"x: expected shape \(n, 4\), got \(1, 12, 4\)"),
        ("one sample", lambda s: s.net.predict(s.x[0]), r"x: .*one sample \(4,\); use x\[None\]"),
        ("a number", lambda s: s.net.predict(3.0), r"x: expected shape \(n, 4\), got \(\)"),
        ("strings", lambda s: s.net.predict(np.full((2, 4), "a")), r"x must hold numbers"),
        ("objects", lambda s: s.net.predict(np.full((2, 4), None)), r"x must hold numbers.*object"),
        ("complex", lambda s: s.net.predict(s.x + 1j), r"x must hold numbers.*complex"),
        ("dates", lambda s: s.net.predict(np.zeros((2, 4), "datetime64[s]")), r"x must hold numbers.*datetime"),
        ("ragged rows", lambda s: s.net.predict([[1, 2, 3, 4], [1, 2]]), r"x must hold numbers in rows of one length"),
        ("nothing", lambda s: s.net.predict(None), r"x is missing"),
        ("no features", lambda s: s.net.predict(np.zeros((0,))), r"x: expected shape \(n, 4\), got \(0,\)"),
        ("a dict of wrong names", lambda s: s.net.predict({"nobody": s.x}), r"x: expected the keys \['input_1'\]"),
        ("one of two inputs", lambda s: two_headed().predict(s.x), r"tuple or dict of 2 arrays \(left, right\)"),
        ("rows that differ", lambda s: two_headed().predict((s.x, s.x[:5, :2])), r"same number of rows.*\[5, 12\]"),
        ("wrong second input", lambda s: two_headed().predict((s.x, s.x)), r"x\['right'\]: expected shape \(n, 2\)"),
        ("bytes wanted", lambda s: fnn.Sequential([fnn.Input(4, dtype="uint8"), fnn.Dense(2)]).predict(s.x),
         r"x: the input is declared as uint8, got float32"),
    ],
    "predict_proba": [
        ("several outputs", lambda s: two_headed().predict_proba((s.x, s.x[:, :2])), r"one output, this one has 2"),
        ("too wide", lambda s: s.net.predict_proba(np.zeros((2, 5))), r"x: expected shape \(n, 4\), got \(2, 5\)"),
    ],
    "predict_class": [
        ("several outputs", lambda s: two_headed().predict_class((s.x, s.x[:, :2])), r"one output, this one has 2"),
    ],
    "fit": [
        ("labels too large", lambda s: s.net.fit(s.x, s.y + 1), r"y: labels must be in 0 \.\.\. 2, got 3"),
        ("negative label", lambda s: s.net.fit(s.x, s.y - 1), r"y: labels must be in 0 \.\.\. 2, got -1"),
        ("NaN label", lambda s: s.net.fit(s.x, with_value(s.y, NAN)), r"y: labels must be whole numbers without NaN"),
        ("infinite label", lambda s: s.net.fit(s.x, with_value(s.y, INF)), r"y: labels must be in 0 \.\.\. 2, got inf"),
        ("half a label", lambda s: s.net.fit(s.x, s.y + 0.5), r"y: labels must be whole numbers"),
        ("labels as words", lambda s: s.net.fit(s.x, np.full(12, "cat")), r"y must hold numbers"),
        ("too few labels", lambda s: s.net.fit(s.x, s.y[:-1]), r"y: expected 12 rows, as many as x has, got 11"),
        ("no labels", lambda s: s.net.fit(s.x), r"y is missing"),
        ("one label for all", lambda s: s.net.fit(s.x, 1), r"y: expected one target a row, got a single number"),
        ("probabilities over 1", lambda s: s.net.fit(s.x, np.full((12, 3), 2.0)), r"y: .*between 0 and 1, got 2"),
        ("NaN probability", lambda s: s.net.fit(s.x, with_value(np.ones((12, 3)), NAN)), r"y: expected finite.*nan"),
        ("wrong width", lambda s: s.net.fit(s.x, np.ones((12, 4))), r"y: expected shape \(n, 3\), got \(12, 4\)"),
        ("no rows", lambda s: s.net.fit(s.x[:0], s.y[:0]), r"x has no rows"),
        ("wrong x", lambda s: s.net.fit(s.x.T, s.y), r"x: expected shape \(n, 4\), got \(4, 12\)"),
        ("no epochs", lambda s: s.net.fit(s.x, s.y, epochs=0), r"epochs must be at least 1, got 0"),
        ("half an epoch", lambda s: s.net.fit(s.x, s.y, epochs=0.5), r"epochs must be a whole number, got 0\.5"),
        ("no batch", lambda s: s.net.fit(s.x, s.y, batch_size=0), r"batch_size must be at least 1, got 0"),
        ("batch as a word", lambda s: s.net.fit(s.x, s.y, batch_size="all"), r"batch_size must be a whole number"),
        ("unknown option", lambda s: s.net.fit(s.x, s.y, epoch=3), r"unexpected keyword argument 'epoch'"),
        ("unknown loss", lambda s: s.net.fit(s.x, s.y, loss="crossentropy"), r"unknown loss 'crossentropy'; there are"),
        ("unknown optimizer", lambda s: s.net.fit(s.x, s.y, optimizer="adamm"), r"unknown optimizer 'adamm'; there"),
        ("loss of another kind", lambda s: s.net.fit(s.x, s.y, loss=3), r"loss must be a name, a Loss or a function"),
        ("another loss and wrong y", lambda s: s.net.fit(s.x, s.y, loss="mse"), r"y: expected shape \(n, 3\).*one_hot"),
        ("unknown metric", lambda s: s.net.fit(s.x, s.y, metrics="accurate"), r"unknown metric 'accurate'"),
        ("bad callback", lambda s: s.net.fit(s.x, s.y, callbacks=[print]), r"callbacks: expected objects of fastnn"),
        ("callback class", lambda s: s.net.fit(s.x, s.y, callbacks=[fnn.callbacks.CSVLogger]), r"callbacks: expected"),
        ("unwatched metric", lambda s: s.net.fit(s.x, s.y, callbacks=fnn.callbacks.EarlyStopping()),
         r"no 'validation_loss' among the metrics.*no validation data"),
        ("split of all", lambda s: s.net.fit(s.x, s.y, validation_split=1.0), r"validation_split must be in"),
        ("split of nothing", lambda s: s.net.fit(s.x, s.y, validation_split=0.01), r"12 rows cannot be split so"),
        ("bad validation x", lambda s: s.net.fit(s.x, s.y, validation_data=(s.x.T, s.y)), r"validation.*expected"),
        ("validation x alone", lambda s: s.net.fit(s.x, s.y, validation_data=s.x), r"validation_data: expected"),
        ("weights too short", lambda s: s.net.fit(s.x, s.y, sample_weight=np.ones(3)), r"sample_weight: .*\(12,\)"),
        ("weight below 0", lambda s: s.net.fit(s.x, s.y, sample_weight=-np.ones(12)), r"sample_weight: .*at least 0"),
        ("NaN weight", lambda s: s.net.fit(s.x, s.y, sample_weight=np.full(12, NAN)), r"sample_weight: .*finite"),
        ("class that is none", lambda s: s.net.fit(s.x, s.y, class_weight={3: 2.0}), r"class_weight: .*0 \.\.\. 2.*3"),
        ("class factor below 0", lambda s: s.net.fit(s.x, s.y, class_weight={1: -2}), r"class 1 must be .*at least 0"),
        ("class weights as a list", lambda s: s.net.fit(s.x, s.y, class_weight=[1, 2, 3]), r"class_weight: expected"),
        ("verbose as a word", lambda s: s.net.fit(s.x, s.y, verbose="loud"), r"verbose must be 0, 1 or 'auto'"),
        ("one target of two", lambda s: train_two((s.x, s.x[:, :2]), s.y), r"y: expected a tuple or dict of 2 arrays"),
        ("second target wrong", lambda s: train_two((s.x, s.x[:, :2]), (s.y, np.ones((12, 2)))),
         r"y\['second'\]: expected shape \(n, 1\), got \(12, 2\)"),
        ("binary label of 2", lambda s: regression().fit(s.x, np.full(12, 2), loss="binary_cross_entropy"),
         r"y: this loss expects targets between 0 and 1, got 2"),
        ("NaN value", lambda s: regression().fit(s.x, np.full(12, NAN), loss="mse"), r"y: expected finite.*nan"),
        ("loss not named", lambda s: regression().fit(s.x, s.y), r"name the loss"),
        ("loss gives a vector", lambda s: regression().fit(s.x, s.y, loss=lambda p, t: p - t), r"one symbolic number"),
        ("own loss, weights", lambda s: regression().fit(s.x, s.y, loss=lambda p, t: ops.mean(p - t),
                                                         sample_weight=np.ones(12)), r"cannot use sample"),
        ("Rosenblatt without step", lambda s: regression().fit(s.x, s.y > 0, optimizer="rosenblatt"), r"'step' activ"),
        ("weights for no output", lambda s: s.net.fit(s.x, s.y, sample_weight={"dens": np.ones(12)}),
         r"sample_weight: expected keys among \['[a-z_0-9]+'\], got \['dens'\]"),
        ("weights of other length", lambda s: s.net.fit(s.x, s.y, sample_weight=np.ones(11)),
         r"sample_weight: expected shape \(12,\), got \(11,\)"),
        ("no batches for an update", lambda s: s.net.fit(s.x, s.y, gradient_accumulation_steps=0),
         r"gradient_accumulation_steps must be at least 1, got 0"),
        ("weights of losses", lambda s: s.net.fit(s.x, s.y, loss_weights=[1, 2]), r"loss_weights: expected 1"),
        ("weight of no loss", lambda s: s.net.fit(s.x, s.y, loss_weights={"other": 1}), r"loss_weights: .* the keys"),
        ("weight of a loss", lambda s: s.net.fit(s.x, s.y, loss_weights=2.0), r"loss_weights: expected 1 factors"),
        ("failing metric", lambda s: s.net.fit(s.x, s.y, metrics=[("own", lambda t, p: t["x"])]),
         r"metric 'own': only integers"),
        ("top of too few", lambda s: s.net.fit(s.x, s.y, metrics="top_3"), r"top_3 of 3 classes is always 1"),
        ("metrics of no kind", lambda s: s.net.fit(s.x, s.y, metrics=5), r"expected names or functions, got 5"),
        ("another library's name", lambda s: s.net.fit(s.x, s.y, validation_split=0.5,
                                                       callbacks=fnn.callbacks.EarlyStopping("val_loss")),
         r"no 'val_loss' among the metrics .*'validation_'"),
        ("metric twice", lambda s: s.net.fit(s.x, s.y, metrics=["mae", "mae"]), r"two are called 'mae'"),
        ("weights beside batches", lambda s: s.net.fit([(s.x, s.y)], sample_weight=np.ones(12)),
         r"sample_weight needs arrays x and y: a batch may be"),
        ("batches of nothing", lambda s: s.net.fit([]), r"x: the iterable gave no batch"),
        ("bad batch", lambda s: s.net.fit([s.x]), r"x: expected batches \(x, y\)"),
        ("iterator twice", lambda s: s.net.fit(iter([(s.x, s.y)]), epochs=2), r"x is an iterator"),
    ],
    "step": [
        ("wrong x", lambda s: s.trainer.step(s.x[:, :2], s.y), r"x: expected shape \(n, 4\), got \(12, 2\)"),
        ("label out of range", lambda s: s.trainer.step(s.x, s.y + 5), r"y: labels must be in 0 \.\.\. 2, got 7"),
        ("NaN label", lambda s: s.trainer.step(s.x, with_value(s.y, NAN)), r"y: labels .* without NaN"),
        ("no rows", lambda s: s.trainer.step(s.x[:0], s.y[:0]), r"x has no rows"),
        ("weights as words", lambda s: s.trainer.step(s.x, s.y, np.full(12, "a")), r"sample_weight must hold numbers"),
    ],
    "gradients": [
        ("wrong y", lambda s: s.trainer.gradients(s.x, s.y[:3]), r"y: expected 12 rows"),
        ("wrong x", lambda s: s.trainer.gradients([s.x], s.y), r"x: expected shape \(n, 4\), got \(1, 12, 4\)"),
    ],
    "evaluate": [
        ("wrong y", lambda s: s.net.evaluate(s.x, s.y - 9), r"y: labels must be in 0 \.\.\. 2, got -9"),
        ("no rows", lambda s: s.net.evaluate(s.x[:0], s.y[:0]), r"x has no rows"),
        ("unknown metric", lambda s: s.net.evaluate(s.x, s.y, metrics=["r3"]), r"unknown metric 'r3'"),
        ("metric of another kind", lambda s: s.net.evaluate(s.x, s.y, metrics=[5]), r"expected a metric.* got 5"),
    ],
    "Trainer": [
        ("no network", lambda s: fnn.Trainer("net", "mse"), r"Trainer: expected a network, got str"),
        ("losses too few", lambda s: fnn.Trainer(two_headed(), ["mse"]), r"loss: expected 2, .* got 1"),
        ("losses by wrong names", lambda s: fnn.Trainer(two_headed(), {"a": "mse"}), r"keys \['first', 'second'\]"),
        ("rate of nobody", lambda s: fnn.Trainer(s.net, learning_rates={"middle": 1}), r"no layer or .*'middle'"),
        ("rate below 0", lambda s: fnn.Trainer(s.net, learning_rates={"out": -1}), r"learning_rates\['out'\].*least 0"),
        ("loss weights too many", lambda s: fnn.Trainer(s.net, loss_weights=[1, 2]), r"loss_weights: expected 1"),
        ("loss weight NaN", lambda s: fnn.Trainer(s.net, loss_weights=[NAN]), r"loss_weights must be finite"),
        ("softmax twice", lambda s: fnn.Trainer(fnn.Sequential([fnn.Activation(ops.softmax)], 4)),
         r"logits.*softmax"),
    ],
    "set_weights": [
        ("too few", lambda s: s.net.set_weights(s.net.get_weights()[:-1]), r"expected 4 arrays.* got 3"),
        ("a wrong shape last", lambda s: s.net.set_weights([*[w + 1 for w in s.net.get_weights()[:-1]], np.ones(7)]),
         r"out\.bias: expected shape \(3,\), got \(7,\)"),
        ("nobody's", lambda s: s.net.set_weights({"out.bias": np.ones(3), "out.slope": 1}), r"no parameter 'out\.slo"),
        ("words", lambda s: s.net.set_weights({"out.bias": ["a", "b", "c"]}), r"out\.bias must hold numbers"),
        ("complex", lambda s: s.net.set_weights({"out.bias": np.ones(3) * 1j}), r"out\.bias must hold numbers"),
        ("a number", lambda s: s.net.set_weights(3), r"weights: expected a list or a dict"),
        ("through a view", lambda s: s.net.parameters()["out.bias"].__setitem__(0, 1.0), r"read-only"),
    ],
    "copy_weights_from": [
        ("other shapes", lambda s: s.net.copy_weights_from(regression()), r"differ in number or shape"),
        ("tau", lambda s: s.net.copy_weights_from(s.net.copy(), tau=1.5), r"tau must be in \[0, 1\], got 1\.5"),
        ("no network", lambda s: s.net.copy_weights_from([1, 2]), r"expected a network, got list"),
    ],
    "freeze": [("nobody", lambda s: s.net.freeze("middle"), r"no layer 'middle'; there are input_1, hidden, out")],
    "save": [
        ("no folder", lambda s: s.net.save(s.folder / "no" / "net"), r"there is no directory"),
        ("a folder", lambda s: s.net.save(s.folder), r"it is a directory"),
        ("a number as path", lambda s: s.net.save(7), r"path: expected a string or a path, got int"),
        ("a lambda", lambda s: fnn.Sequential([fnn.Activation(lambda x: x * x, name="own")], 4).save(s.folder / "f"),
         r"layer 'own' cannot be saved: its argument 'activation'"),
        ("trainer, no folder", lambda s: s.trainer.save(s.folder / "no" / "net"), r"there is no directory"),
    ],
    "load": [
        ("no file", lambda s: fnn.load(s.folder / "nothing"), r"nothing.*there is no such file"),
        ("a folder", lambda s: fnn.load(s.folder), r"it is a directory"),
        ("a number as path", lambda s: fnn.load(3), r"path: expected a string or a path, got int"),
        ("an empty file", lambda s: fnn.load(changed_file(s, lambda c: b"")), r"damaged.*ends within its header"),
        ("seven bytes", lambda s: fnn.load(changed_file(s, lambda c: c[:7])), r"damaged.*ends within its header"),
        ("half a header", lambda s: fnn.load(changed_file(s, lambda c: c[:100])), r"damaged.*ends within its header"),
        ("half the data", lambda s: fnn.load(changed_file(s, lambda c: c[:-50])), r"damaged.*checksum"),
        ("a byte too many", lambda s: fnn.load(changed_file(s, lambda c: c + b"x")), r"damaged.*checksum"),
        ("a flipped bit", lambda s: fnn.load(changed_file(s, flip_last)), r"damaged.*checksum"),
        ("text", lambda s: fnn.load(text_file(s)), r"damaged or was not saved by fastnn"),
        ("somebody else's", lambda s: fnn.load(foreign_file(s)), r"not saved by fastnn: it holds no description"),
        ("unknown backend", lambda s: fnn.load(s.folder / "net.safetensors", backend="tpu"), r"backend must be one of"),
    ],
    "Trainer.load": [
        ("no file", lambda s: fnn.Trainer.load(s.folder / "nothing"), r"there is no such file"),
        ("a network's file", lambda s: fnn.Trainer.load(s.folder / "net.safetensors"), r"network without a trainer"),
        ("a flipped bit", lambda s: fnn.Trainer.load(changed_file(s, flip_last, "trainer.safetensors")), r"checksum"),
    ],
    "Sequential": [
        ("no list", lambda s: fnn.Sequential(fnn.Dense(3), fnn.Dense(2)), r"expected a list of layers, got Dense"),
        ("type of whole numbers", lambda s: fnn.Sequential([fnn.Dense(3)], 2, dtype=np.int32), r"dtype must be"),
        ("no layers", lambda s: fnn.Sequential([], input_shape=4), r"Sequential needs at least one layer"),
        ("no shape", lambda s: fnn.Sequential([fnn.Dense(2)]), r"give input_shape"),
        ("a word as layer", lambda s: fnn.Sequential(["relu"], input_shape=4), r"expected layers, got str"),
        ("a class as layer", lambda s: fnn.Sequential([fnn.Flatten], input_shape=4), r"expected layers, got type"),
        ("twice the same", lambda s: fnn.Sequential([d := fnn.Dense(4), d], input_shape=4), r"in the list twice"),
        ("in two networks", lambda s: shared_layer(), r"belongs to another network already"),
        ("contradiction", lambda s: fnn.Sequential([fnn.Input(3), fnn.Dense(2)], 4), r"contradicts the Input"),
        ("shape below 1", lambda s: regression().__class__([fnn.Dense(1)], input_shape=0), r"at least 1, got 0"),
        ("shape of words", lambda s: fnn.Sequential([fnn.Dense(1)], input_shape="4"), r"must be an integer, got '4'"),
        ("more than fits", lambda s: fnn.Sequential([fnn.Dense(10**14, name="big")], 4), r"largest is big\.weight"),
        ("more than can be", lambda s: fnn.Sequential([fnn.Dense(2**62)], 2**10), r"do not fit into memory"),
        ("reshape that cannot be", lambda s: fnn.Sequential([fnn.Dense(6), fnn.Reshape((4, 2))], 4),
         r"layer 1: .*cannot reshape 6 elements"),
        ("dense on a number", lambda s: fnn.Sequential([fnn.Dense(6)], ()), r"layer 0: .*at least one axis"),
        ("dtype", lambda s: regression(dtype="float16"), r"dtype must be 'float32' or 'float64', got 'float16'"),
        ("backend", lambda s: regression(backend="gpu"), r"backend must be one of .* got 'gpu'"),
        ("seed below 0", lambda s: regression(seed=-1), r"seed must be an integer of at least 0, got -1"),
        ("seed as a word", lambda s: regression(seed="a"), r"seed must be an integer"),
    ],
    "Network": [
        ("a cycle", lambda s: cycle(), r"form a cycle through"),
        ("an array as input", lambda s: fnn.Network(s.x, s.x), r"inputs must be wires.* got ndarray"),
        ("no outputs", lambda s: fnn.Network(fnn.Input(3), []), r"outputs must not be empty"),
        ("input left out", lambda s: fnn.Network(fnn.Input(3), fnn.Dense(1)(fnn.Input(3))), r"not among inputs"),
        ("input unused", lambda s: fnn.Network([a := fnn.Input(3), fnn.Input(2)], fnn.Dense(1)(a)), r"on input 1"),
        ("input twice", lambda s: fnn.Network([a := fnn.Input(3), a], fnn.Dense(1)(a)), r"listed twice"),
        ("a layer's output as input", lambda s: fnn.Network(h := fnn.Dense(2)(fnn.Input(3)), fnn.Dense(1)(h)),
         r"must come from fnn\.Input"),
        ("one name twice", lambda s: fnn.Network(a := fnn.Input(3), fnn.Dense(2, name="d")(fnn.Dense(2, name="d")(a))),
         r"two layers are named 'd'"),
        ("a number as name", lambda s: fnn.Network(a := fnn.Input(3), fnn.Dense(2, name=3)(a)), r"a string, got 3"),
    ],
    "layers": [
        ("no units", lambda s: fnn.Dense(0), r"Dense: units: a size must be at least 1, got 0"),
        ("half a unit", lambda s: fnn.Dense(2.5), r"Dense: units: a size must be an integer, got 2\.5"),
        ("unknown activation", lambda s: fnn.Dense(2, "rleu"), r"Dense: unknown activation 'rleu'; there are"),
        ("activation of another kind", lambda s: fnn.Activation(7), r"must be a name, a function or None, got int"),
        ("unknown initializer", lambda s: fnn.Dense(2, weight_initializer="glorto")(fnn.Input(3)), r"unknown init"),
        ("drops all", lambda s: fnn.Dropout(1.0), r"Dropout: rate must be .*less than 1, got 1\.0"),
        ("drops NaN", lambda s: fnn.Dropout(NAN), r"Dropout: rate must be"),
        ("two unknown sizes", lambda s: fnn.Reshape((-1, -1)), r"Reshape: shape must be positive integers"),
        ("join along rows", lambda s: fnn.Concatenate(axis=0), r"not the batch axis 0"),
        ("join of one", lambda s: fnn.Concatenate()(fnn.Input(3)), r"joins two or more inputs, got 1"),
        ("join of unlike", lambda s: fnn.Concatenate()(fnn.Input((2, 3)), fnn.Input((3, 3))), r"differ elsewhere"),
        ("sum of unlike", lambda s: fnn.Add()(fnn.Input(3), fnn.Input(4)), r"all shapes must be equal"),
        ("called on an array", lambda s: fnn.Dense(2)(s.x), r"called on fnn\.Input.* got ndarray"),
        ("too many inputs", lambda s: fnn.Dense(2)(fnn.Input(3), fnn.Input(3)), r"Dense does not take 2 inputs"),
        ("input dtype", lambda s: fnn.Input(3, dtype="int8"), r"Input: dtype must be .* got 'int8'"),
        ("input of seven axes", lambda s: fnn.Input((1,) * 7), r"at most 5 axes beside the batch"),
        ("input scale", lambda s: fnn.Input(3, scale="small"), r"Input: scale must be a number, got 'small'"),
        ("forward gives an array", lambda s: own_layer(lambda self, x: np.ones(3)), r"must return a symbolic tensor"),
        ("forward uses NumPy", lambda s: own_layer(lambda self, x: np.exp(x)), r"Own.*\(4,\)"),
        ("forward branches", lambda s: own_layer(lambda self, x: x if x > 0 else -x), r"Own.*\(4,\)"),
        ("forward loses rows", lambda s: own_layer(lambda self, x: ops.sum(x)), r"mixes the rows of the batch"),
        ("parameter twice", lambda s: own_parameter("w", (4,)), r"parameter 'w' is declared twice"),
        ("parameter of no size", lambda s: own_parameter("v", (0,)), r"parameter 'v': a size must be at least 1"),
    ],
    "ops": [
        ("shapes", lambda s: ops.matmul(np.ones((2, 3)), np.ones((2, 3))), r"matmul: .*\(2, 3\)"),
        ("complex", lambda s: ops.matmul(np.ones((2, 2)) * 1j, np.ones((2, 2))), r"matmul: a must hold numbers"),
        ("out of another shape", lambda s: ops.relu(s.x, out=np.empty((4, 4), np.float32)), r"out must have shape"),
        ("out of another dtype", lambda s: ops.relu(s.x, out=np.empty(s.x.shape)), r"out must .*dtype float32"),
        ("read-only out", lambda s: ops.add(1.0, 1.0, out=s.net.parameters()["out.bias"][:1].reshape(())), r"out "),
        ("seven dimensions", lambda s: ops.relu(np.zeros((1,) * 7)), r"relu: .*up to 6 dimensions, got .*\(1, 1, 1, 1"),
        ("seven, integers", lambda s: ops.sum(np.zeros((1,) * 7, int)), r"sum: .*up to 6 dimensions, got .*\(1, 1, 1"),
        ("seven come out", lambda s: ops.reshape(s.x, (1,) * 5 + s.x.shape), r"reshape: .*up to 6 dim.* got .*12, 4"),
        ("seven in a network", lambda s: own_layer(lambda self, x: ops.reshape(x, (-1, 1, 1, 1, 1, 1, 4))),
         r"Own.*\(4,\): reshape: up to 6 dimensions .*, got shape \(rows.*, 1, 1, 1, 1, 1, 4\)"),
        ("outside of a network", lambda s: ops.matmul(fnn.layers.base.Parameter("w", (2, 2), "ones"), s.x), r"traced"),
    ],
    "optimizers": [
        ("rate below 0", lambda s: fnn.SGD(-0.1), r"SGD: learning_rate: .*-0\.1"),
        ("rate of another kind", lambda s: fnn.Adam("fast"), r"Adam: learning_rate: .*got 'fast'"),
        ("rate NaN", lambda s: fnn.Adam(NAN), r"nan"),
        ("rate as a word", lambda s: fnn.Adam("fast"), r"learning rate must be a number or a Schedule, got 'fast'"),
        ("momentum", lambda s: fnn.SGD(0.1, momentum=1.5), r"SGD: momentum must be in \[0, 1\), got 1\.5"),
        ("beta", lambda s: fnn.Adam(beta1=-1), r"Adam: beta1 must be in \[0, 1\), got -1"),
        ("clip at nothing", lambda s: fnn.SGD(clip_norm=0), r"SGD: clip_norm must be in \(0, inf\), got 0"),
        ("nesterov alone", lambda s: fnn.SGD(nesterov=True), r"nesterov needs a momentum"),
        ("decay as a word", lambda s: fnn.AdamW(weight_decay="some"), r"weight_decay must be a number, got 'some'"),
        ("of another kind", lambda s: fnn.Trainer(s.net, optimizer=0.1), r"optimizer must be a name or an optimizer"),
    ],
    "threads": [
        ("none", lambda s: fnn.set_num_threads(0), r"must be in 1 \.\.\. 4096, got 0"),
        ("half", lambda s: fnn.set_num_threads(1.5), r"must be an integer, got 1\.5"),
        ("true", lambda s: fnn.set_num_threads(True), r"must be an integer, got True"),
    ],
    "helpers": [
        ("one_hot, label", lambda s: fnn.one_hot([0, 3], 3), r"labels must be in 0 \.\.\. 2, got 3"),
        ("one_hot, floats", lambda s: fnn.one_hot([0.5], 3), r"labels must be integers, got float64"),
        ("one_hot, no classes", lambda s: fnn.one_hot([0], 0), r"classes must be at least 1, got 0"),
        ("explain", lambda s: regression().explain(training=True), r"no training step yet"),
        ("layer by name", lambda s: s.net.layer("nobody"), r"there is no layer 'nobody'"),
        ("schedule", lambda s: schedules.Cosine(0.1, 0), r"Cosine: .*at least 1, got 0"),
        ("initializer", lambda s: initializers.Uniform(1, 0), r"low must not exceed high"),
        ("smoothing", lambda s: fnn.losses.CrossEntropy(1.5), r"label_smoothing must be .*less than 1, got 1\.5"),
        ("huber", lambda s: fnn.losses.Huber(0), r"delta must be .*greater than 0, got 0"),
        ("early stopping", lambda s: fnn.callbacks.EarlyStopping(patience=0), r"patience must be at least 1, got 0"),
    ],
}  # fmt: skip
TABLE = [
    pytest.param(wrong, message, id=f"{entry}-{name}")
    for entry, cases in CASES.items()
    for name, wrong, message in cases
]


@pytest.mark.filterwarnings("ignore:fit. another")  # that training would start afresh, which it does not
@pytest.mark.parametrize("wrong, message", TABLE)
def test_wrong_call(scene: Scene, wrong: Wrong, message: str) -> None:
    before = state(scene)
    with pytest.raises((ValueError, TypeError, OSError, RuntimeError, MemoryError), match=message):
        wrong(scene)
    assert state(scene) == before
    assert scene.net.predict(scene.x).shape == (12, 3)


def test_the_table_is_wide() -> None:
    assert len(TABLE) >= 80
    assert len(CASES) >= 15


def test_a_failed_build_leaves_the_layer_as_it_was() -> None:
    layer = fnn.Dense(3, weight_initializer=initializers.Constant(np.ones((2, 3))))
    with pytest.raises(ValueError, match="at least one axis"):
        layer(fnn.Input(()))
    assert not layer.built
    assert not layer.parameters
    assert layer(fnn.Input(2)).shape == (3,)


def test_training_goes_on_after_errors(tmp_path: Path) -> None:
    """The same bits as if nobody had made a mistake."""
    scene, untouched = (make_scene(tmp_path) for _ in range(2))
    for bad in (scene.y + 1, with_value(scene.y, NAN), scene.y[:4]):
        with pytest.raises(ValueError):
            scene.net.fit(scene.x, bad)
        with pytest.raises(ValueError):
            scene.trainer.step(scene.x, bad)
    for each in (scene, untouched):
        each.net.fit(each.x, each.y, epochs=2, batch_size=5)
    assert state(scene)[:-1] == state(untouched)[:-1]


def test_a_copy_is_not_changed_by_its_original(scene: Scene) -> None:
    twin = copy.deepcopy(scene.net)
    weights = twin.get_weights()
    twin.fit(scene.x, scene.y, loss="cross_entropy", optimizer="sgd")
    assert any(not np.array_equal(a, b) for a, b in zip(weights, twin.get_weights(), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(weights, scene.net.get_weights(), strict=True))

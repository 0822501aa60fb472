"""Damaged files are noticed, every one of them, and are an error; whole ones give back what was saved, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fastnn as fnn
from fastnn import archive, ops

FILES = 500  # of each kind


def network(**options: object) -> fnn.Sequential:
    return fnn.Sequential([fnn.Dense(3, "relu", name="hidden"), fnn.Dense(2, name="out")], input_shape=4, **options)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A network's file and a trainer's, in bytes."""
    folder = tmp_path_factory.mktemp("whole")
    net = network(seed=2)
    trainer = fnn.Trainer(net, "cross_entropy", fnn.Adam(0.01))
    trainer.fit(np.ones((6, 4)), np.zeros(6, int), epochs=2)
    net.save(folder / "net")
    trainer.save(folder / "trainer")
    return {"network": (folder / "net").read_bytes(), "trainer": (folder / "trainer").read_bytes()}


def flip_bits(content: bytearray, rng: np.random.Generator) -> bytearray:
    for place in rng.choice(len(content), rng.integers(1, 4), replace=False):
        content[place] ^= 1 << rng.integers(8)
    return content


def overwrite(content: bytearray, rng: np.random.Generator) -> bytearray:
    start = rng.integers(len(content))
    stop = min(len(content), start + rng.integers(1, 64))
    content[start:stop] = rng.bytes(stop - start)
    return content


def truncate(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: rng.integers(len(content))]


def insert(content: bytearray, rng: np.random.Generator) -> bytearray:
    place = rng.integers(len(content) + 1)
    return content[:place] + bytearray(rng.bytes(rng.integers(1, 16))) + content[place:]


def cut_out(content: bytearray, rng: np.random.Generator) -> bytearray:
    start = rng.integers(len(content))
    return content[:start] + content[start + rng.integers(1, 16) :]


def repeat(content: bytearray, rng: np.random.Generator) -> bytearray:
    start = rng.integers(len(content))
    return content[:start] + content[start : start + 8] + content[start:]


def another_length(content: bytearray, rng: np.random.Generator) -> bytearray:
    return bytearray(rng.bytes(8)) + content[8:] if rng.random() < 0.3 else bytearray(
        int(rng.integers(len(content) * 2)).to_bytes(8, "little")) + content[8:]  # fmt: skip


def swap_digits(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Another digit in the header: shapes, offsets, seeds and counters that are well-formed and wrong."""
    size = int.from_bytes(content[:8], "little")
    places = [i for i in range(8, 8 + size) if chr(content[i]).isdigit()]
    content[rng.choice(places)] = ord(str(rng.integers(10)))
    return content


DAMAGES: list[Callable[[bytearray, np.random.Generator], bytearray]] = [
    flip_bits, overwrite, truncate, insert, cut_out, repeat, another_length, swap_digits,
]  # fmt: skip


@pytest.mark.parametrize("kind", ["network", "trainer"])
def test_damage_is_an_error(kind: str, contents: dict[str, bytes], tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    load = fnn.load if kind == "network" else fnn.Trainer.load
    path, damaged = tmp_path / "damaged", 0
    while damaged < FILES:
        change = DAMAGES[damaged % len(DAMAGES)]
        content = bytes(change(bytearray(contents[kind]), rng))
        if content == contents[kind]:
            continue
        damaged += 1
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged' is damaged or was not saved by fastnn"):
            load(path)


def test_no_byte_of_a_file_is_idle(tmp_path: Path) -> None:
    fnn.Sequential([fnn.Dense(1, name="d")], input_shape=1).save(tmp_path / "net")
    content = bytearray((tmp_path / "net").read_bytes())
    for place in [*range(64), *range(64, len(content), 5)]:
        content[place] ^= 1 << place % 8
        (tmp_path / "net").write_bytes(content)
        with pytest.raises(ValueError, match="damaged"):
            archive.read(tmp_path / "net")
        content[place] ^= 1 << place % 8
    (tmp_path / "net").write_bytes(content)
    fnn.load(tmp_path / "net")


def resigned(content: bytes, change: Callable[[dict], object]) -> bytes:
    """The file with another description and a checksum that fits: what only a hand can do."""
    size = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:size])
    description = json.loads(header["__metadata__"]["fastnn"])
    change(description)
    description["sha256"] = archive.UNSIGNED
    header["__metadata__"]["fastnn"] = json.dumps(description)
    text = json.dumps(header).encode()
    return b"".join(archive._signed(len(text).to_bytes(8, "little") + text + content[size:]))


NONSENSE = {
    "format": (lambda d: d.update(format=99), "saved by another version, .* in format 99: version .* reads format 2"),
    "no network": (lambda d: d.pop("network"), "network"),
    "network of another kind": (lambda d: d.update(network=[1, 2]), "cannot be loaded"),
    "unknown class": (lambda d: d["network"]["layers"][1].update({"class": "Dance"}), "unknown layer class 'Dance'"),
    "no layer": (lambda d: d["network"]["layers"][1].update({"class": "Layer"}), "unknown layer class 'Layer'"),
    "wrong argument": (lambda d: d["network"]["layers"][1]["config"].update(unit=3), "cannot be loaded.*unit"),
    "wrong units": (lambda d: d["network"]["layers"][1]["config"].update(units=7), "hidden.weight.*should be"),
    "negative units": (lambda d: d["network"]["layers"][1]["config"].update(units=-7), "units"),
    "huge units": (lambda d: d["network"]["layers"][1]["config"].update(units=10**30), "do not fit into memory"),
    "layers swapped": (lambda d: d["network"]["layers"].reverse(), "cannot be loaded"),
    "no layers": (lambda d: d["network"].update(layers=[]), "cannot be loaded"),
    "dtype": (lambda d: d["network"].update(dtype="float8"), "dtype must be"),
    "seed": (lambda d: d["network"].update(seed="one"), "seed must be"),
    "other name": (lambda d: d["network"]["layers"][2].update(name="in"), "parameter 'in.weight' is missing"),
    "cycle": (lambda d: (d["network"].update({"class": "Network"}),
                         d["network"]["wires"][1].update(inputs=[2])), "joined in a cycle"),
}  # fmt: skip


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_under_a_right_checksum(name: str, contents: dict[str, bytes], tmp_path: Path) -> None:
    change, message = NONSENSE[name]
    (tmp_path / "net").write_bytes(resigned(contents["network"], change))
    with pytest.raises((ValueError, MemoryError), match=message):
        fnn.load(tmp_path / "net")


TRAINER_NONSENSE = {
    "kind": (lambda d: d.update(kind="network"), "network without a trainer"),
    "no trainer": (lambda d: d.pop("trainer"), "no entry 'trainer'"),
    "optimizer": (lambda d: d["trainer"]["optimizer"].update(type="Optimizer.Magic"), "unknown Optimizer"),
    "rate": (lambda d: d["trainer"]["optimizer"].update(learning_rate="fast"), "learning rate must be"),
    "no state": (lambda d: d["trainer"]["optimizer"].update(type="Optimizer.SGD"), "does not fit"),
    "loss": (lambda d: d["trainer"]["objective"].update(losses=[{"type": "Loss.Win"}]), "unknown Loss"),
    "epoch": (lambda d: d["trainer"].update(epoch="many"), "cannot be loaded.*many"),
    "history": (lambda d: d["trainer"].update(history=[1, 2, 3]), "cannot be loaded"),
}


@pytest.mark.parametrize("name", TRAINER_NONSENSE)
def test_nonsense_in_a_trainer(name: str, contents: dict[str, bytes], tmp_path: Path) -> None:
    change, message = TRAINER_NONSENSE[name]
    (tmp_path / "trainer").write_bytes(resigned(contents["trainer"], change))
    with pytest.raises(ValueError, match=message):
        fnn.Trainer.load(tmp_path / "trainer")


class Shift(fnn.Layer):
    """A layer of one's own, with a parameter and an argument."""

    def __init__(self, start: float = 0.0, name: str = "") -> None:
        self.start = start
        self.name = name

    def build(self, shape: tuple[int, ...]) -> None:
        self.offset = self.parameter("offset", shape, fnn.initializers.Constant(self.start))

    def forward(self, x: object) -> object:
        return x + self.offset


def double(x: object) -> object:
    return x + x


def wide() -> fnn.Network:
    """Two inputs, two outputs, a shared layer, a frozen one, one of one's own."""
    left, right = fnn.Input(4, name="left"), fnn.Input((2, 2), dtype="uint8", scale=1 / 255, name="right")
    shared = fnn.Dense(4, "tanh", name="shared")
    a = shared(left)
    b = shared(fnn.Flatten()(right))
    both = fnn.Concatenate()(fnn.Add()(a, b), fnn.Dropout(0.3)(b))
    first = fnn.Dense(3, double, name="first")(Shift(0.5, name="shift")(both))
    second = fnn.Dense(1, use_bias=False, name="second")(fnn.Reshape((2, 4))(both))
    net = fnn.Network([left, right], [first, second], seed=9, dtype="float64")
    net.freeze("shift")
    return net


def test_a_graph_comes_back(tmp_path: Path) -> None:
    net = wide()
    net.save(tmp_path / "net")
    found = fnn.load(tmp_path / "net", custom_objects={"double": double})
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((5, 4)), rng.integers(0, 256, (5, 2, 2)).astype(np.uint8))
    for one, other in zip(net.predict(x), found.predict(x), strict=True):
        assert one.tobytes() == other.tobytes()
    assert type(found) is fnn.Network
    assert found.output_shapes == [(3,), (2, 1)]
    assert not found.layer("shift").trainable
    assert isinstance(found.layer("shift"), Shift)
    assert list(found.parameters()) == list(net.parameters())


def test_unknown_functions_and_classes_are_named(tmp_path: Path) -> None:
    wide().save(tmp_path / "net")
    with pytest.raises(ValueError, match=r"unknown function 'double'.*custom_objects"):
        fnn.load(tmp_path / "net")
    own = fnn.Layer.classes.pop("Shift")
    try:
        with pytest.raises(ValueError, match=r"unknown layer class 'Shift'.*custom_objects"):
            fnn.load(tmp_path / "net", custom_objects={"double": double})
        fnn.load(tmp_path / "net", custom_objects={"double": double, "Shift": own})
    finally:
        fnn.Layer.classes["Shift"] = own


def test_saving_over_a_link_keeps_the_link(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "net").write_text("old")
    (tmp_path / "net").symlink_to(tmp_path / "store" / "net")
    network().save(tmp_path / "net")
    assert (tmp_path / "net").is_symlink()
    fnn.load(tmp_path / "store" / "net")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network(seed=1).save(tmp_path / "net")
    before = (tmp_path / "net").read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(archive.os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        network(seed=2).save(tmp_path / "net")
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    assert (tmp_path / "net").read_bytes() == before


def test_own_losses_come_back_by_name(tmp_path: Path) -> None:
    def gap(prediction: object, target: object) -> object:
        return ops.mean(ops.square(prediction - target))

    trainer = fnn.Trainer(network(), gap, "sgd")
    trainer.step(np.ones((3, 4)), np.zeros((3, 2)))
    trainer.save(tmp_path / "trainer")
    with pytest.raises(ValueError, match=r"unknown function 'gap'"):
        fnn.Trainer.load(tmp_path / "trainer")
    found = fnn.Trainer.load(tmp_path / "trainer", custom_objects={"gap": gap})
    assert found.steps == 1

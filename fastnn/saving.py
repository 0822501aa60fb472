"""Networks and trainers as safetensors files: arrays by name, everything else as JSON in the header.

A file is written beside its target and renamed: a crash leaves the old file or the new one, never half of one. A
checksum over all of it, header included, tells a damaged one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fastnn import losses
from fastnn._config import Configurable
from fastnn._version import __version__
from fastnn.callbacks import by_class
from fastnn.layers.base import InputLayer, Layer, Parameter, Wire
from fastnn.losses import Loss
from fastnn.objective import Objective
from fastnn.optimizers import Optimizer

try:
    import fcntl
except ImportError:  # only POSIX systems have it
    fcntl = None  # type: ignore[assignment]

FORMAT = 2  # changes with the layout of what is written: other files are refused, and not half understood
UNSIGNED = "0" * 64  # stands in the checksum's place while it is computed
NETWORKS: dict[str, Any] = {}  # the classes "Network" and "Sequential": filled by the room above that defines them


def write(path: Any, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> None:
    """Writes arrays and a description atomically; the same contents give the same bytes.

    Raises
    ------
    TypeError
        If the description holds something that JSON cannot, or the path is not one.
    OSError
        If the folder does not exist or cannot be written to.
    """
    from safetensors.numpy import save

    target = Path(os.path.realpath(_as_path(path)))  # a link stays one: its target is replaced
    text = json.dumps({"format": FORMAT, "fastnn": __version__, "sha256": UNSIGNED, **description})
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata={"fastnn": text})
    if target.is_dir():
        raise IsADirectoryError(f"cannot save to {str(target)!r}: it is a directory")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {str(target)!r}: there is no directory {str(target.parent)!r}")
    with suppress(OSError):
        _clear(target)
    beside, file = _open_beside(target)
    try:
        with file:
            for part in _signed(content):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            os.replace(beside, target)  # while it is locked: nobody can take it for abandoned
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _open_beside(target: Path) -> tuple[Path, BinaryIO]:
    """A new file in the same folder, locked for as long as it is open."""
    while True:
        beside = target.with_name(f".{target.name}.{os.urandom(4).hex()}.part")
        file = open(beside, "xb")  # noqa: SIM115 (the caller closes it)
        with suppress(OSError):  # without locks nothing is cleared either
            _lock(file, wait=True)
        if os.fstat(file.fileno()).st_nlink:
            return beside, file
        file.close()  # `_clear` found it in the moment before it was locked


def _clear(target: Path) -> None:
    """Removes what killed saves to this target have left: files of our naming that no living process has locked."""
    name = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.part")
    for path in target.parent.iterdir():
        if name.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            with suppress(OSError), open(path, "rb") as file:
                _lock(file, wait=False)
                path.unlink()


def _lock(file: Any, *, wait: bool) -> None:
    """Locks a file until it is closed.

    Raises
    ------
    OSError
        If somebody else has, or the file system or the operating system knows no such locks.
    """
    if fcntl is None:
        raise OSError("this system has no flock")
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def read(path: Any) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays and the description of a file that `write` made.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, be it by a single bit, of another version's format, or something else than a file of fastnn.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    source = _as_path(path)
    if source.is_dir():
        raise IsADirectoryError(f"cannot load {str(source)!r}: it is a directory")
    if not source.exists():
        raise FileNotFoundError(f"cannot load {str(source)!r}: there is no such file")
    content = source.read_bytes()
    try:
        header = content[: _header_size(content)]
        metadata = json.loads(header[8:]).get("__metadata__", {})
        if "fastnn" not in metadata:
            raise ValueError("it holds no description of a network")
        description = json.loads(metadata["fastnn"])
        _check_signature(content, description["sha256"])
        if description["format"] == FORMAT:
            return load(content), description
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError, AttributeError) as problem:
        reason = f"no entry {problem}" if isinstance(problem, KeyError) else str(problem)
        raise ValueError(f"{str(source)!r} is damaged or was not saved by fastnn: {reason}") from problem
    raise ValueError(
        f"{str(source)!r} was saved by another version, fastnn {description.get('fastnn')}, in format "
        f"{description['format']!r}: version {__version__} reads format {FORMAT}"
    )


def _as_path(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: expected a string or a path, got {type(path).__name__}")
    return Path(path)


def _header_size(content: bytes) -> int:
    """Bytes of a safetensors file before its data: a length (8 bytes) and so much JSON."""
    size = 8 + int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > len(content):
        raise ValueError(f"it ends within its header, after {len(content)} bytes")
    return size


def _signed(content: bytes) -> tuple[bytes, memoryview]:
    """Header and data, with the checksum of both in its place in the header."""
    from hashlib import sha256  # not before: it loads a library

    size = _header_size(content)
    digest = sha256(content).hexdigest()
    return content[:size].replace(_signature(UNSIGNED), _signature(digest), 1), memoryview(content)[size:]


def _check_signature(content: bytes, digest: str) -> None:
    """Refuses contents whose checksum, taken with zeros in its own place, is another: nothing else goes unnoticed."""
    from hashlib import sha256

    size = _header_size(content)
    header = content[:size].replace(_signature(digest), _signature(UNSIGNED), 1)
    found = sha256(header)
    found.update(memoryview(content)[size:])
    if found.hexdigest() != digest:
        raise ValueError("its contents do not have the checksum that they were saved with")


def _signature(digest: str) -> bytes:
    """How the checksum stands in the header: in JSON within JSON."""
    return json.dumps(json.dumps({"sha256": digest}))[2:-2].encode()


def read_network(path: Any, custom_objects: Mapping[str, Any], backend: str) -> Any:
    """The network in a file of a network or a trainer: see `fastnn.load`."""
    arrays, description = read(path)
    with _naming(path):
        network = rebuild(description["network"], custom_objects, backend)
        restore(network, arrays)
    return network


@contextmanager
def _naming(path: Any) -> Iterator[None]:
    """Turns whatever a description that makes no sense brings about into a ValueError that names the file."""
    try:
        yield
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, MemoryError) as problem:
        reason = f"no entry {problem}" if isinstance(problem, KeyError) else str(problem)
        raise ValueError(f"{str(path)!r} cannot be loaded: {reason}") from problem


def describe(network: Any) -> dict[str, Any]:
    """A network's structure as plain data.

    Raises
    ------
    TypeError
        If a layer's argument cannot be written as JSON.
    """
    numbers = {wire: number for number, wire in enumerate(network._order)}
    layers = list(network.layers)
    return {
        "class": "Sequential" if type(network).__name__ == "Sequential" else "Network",
        "seed": network.seed,
        "dtype": network.dtype,
        "objective": None if network.objective is None else _describe_objective(network.objective),
        "layers": [_describe_layer(layer) for layer in layers],
        "wires": [
            {"layer": layers.index(wire.layer), "inputs": [numbers[source] for source in wire.inputs],
             "index": wire.index} for wire in network._order
        ],
        "inputs": [numbers[wire] for wire in network.inputs],
        "outputs": [numbers[wire] for wire in network.outputs],
    }  # fmt: skip


def _describe_objective(objective: Objective) -> dict[str, Any]:
    return {"losses": [loss.config() for loss in objective.losses], "weights": list(objective.weights)}


def _rebuild_objective(description: Mapping[str, Any], custom_objects: Mapping[str, Any], *, need: bool) -> Objective:
    """What `_describe_objective` wrote; a loss that is unknown here is `Forgotten`, or an error if it is needed."""
    found = []
    for entry in description["losses"]:
        try:
            found.append(_rebuild_loss(entry, custom_objects))
        except ValueError:
            if need:
                raise
            found.append(losses.Forgotten(entry.get("function") or str(entry["type"]).partition(".")[2]))
    return Objective(tuple(found), tuple(map(float, description["weights"])))


def _rebuild_loss(config: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> Loss:
    if config["type"] == "Loss.Custom":
        return losses.get(_unplain({"function": config["function"]}, custom_objects))
    return Loss.from_config(config)


def _describe_layer(layer: Layer) -> dict[str, Any]:
    config = {key: _plain(value, layer, key) for key, value in layer.config().items()}
    return {"class": type(layer).__name__, "name": layer.name, "trainable": layer.trainable, "config": config}


def _plain(value: Any, layer: Layer, key: str) -> Any:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(each, layer, key) for each in value]
    if isinstance(value, Configurable):
        return value.config()
    if isinstance(value, dict):
        return {str(name): _plain(each, layer, key) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if callable(value) and getattr(value, "__name__", "<lambda>") != "<lambda>":
        return {"function": value.__name__}
    raise TypeError(f"{layer.label} cannot be saved: its argument {key!r} is a {type(value).__name__}")


def rebuild(description: Any, custom_objects: Mapping[str, Any], backend: str) -> Any:
    """A network of the structure that `describe` wrote, with fresh parameters; see `_naming` for errors."""
    layers = [_rebuild_layer(entry, custom_objects) for entry in description["layers"]]
    options = {"seed": description["seed"], "dtype": description["dtype"], "backend": backend}
    if description["class"] == "Sequential":
        first = layers[0]
        start = Wire(first, (), first.shape)  # type: ignore[attr-defined]
        network = NETWORKS["Sequential"]([start, *layers[1:]], **options)
    else:
        wires = _rebuild_wires(description["wires"], layers)
        inputs, outputs = ([wires[number] for number in description[key]] for key in ("inputs", "outputs"))
        network = NETWORKS["Network"](inputs, outputs, **options)
    if description["objective"] is not None:
        network.objective = _rebuild_objective(description["objective"], custom_objects, need=False)
    return network


def _rebuild_wires(entries: Any, layers: list[Layer]) -> list[Wire]:
    wires: list[Wire] = []
    made: dict[tuple[int, tuple[int, ...]], Any] = {}
    for entry in entries:
        number, sources = entry["layer"], tuple(entry["inputs"])
        if any(source >= len(wires) or source < 0 for source in sources):
            raise ValueError("its layers are joined in a cycle")
        if (number, sources) not in made:
            layer = layers[number]
            inputs = [wires[source] for source in sources]
            made[number, sources] = Wire(layer, (), layer.shape) if isinstance(layer, InputLayer) else layer(*inputs)
        wire = made[number, sources]
        wires.append(wire[entry["index"]] if isinstance(wire, tuple) else wire)
    return wires


def _rebuild_layer(entry: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> Layer:
    name = entry["class"]
    known = custom_objects.get(name) or Layer.classes.get(name)
    if known is None:
        raise ValueError(f"unknown layer class {name!r}: define it, or pass custom_objects={{{name!r}: ...}}")
    arguments = {key: _unplain(value, custom_objects) for key, value in entry["config"].items()}
    layer = known(**arguments)
    if not isinstance(layer, Layer):
        raise ValueError(f"{name!r} is not a layer")
    layer.name = entry["name"]
    layer.trainable = entry["trainable"]
    return layer


def _unplain(value: Any, custom_objects: Mapping[str, Any]) -> Any:
    if isinstance(value, dict) and "function" in value:
        if value["function"] not in custom_objects:
            raise ValueError(f"unknown function {value['function']!r}: pass it in custom_objects")
        return custom_objects[value["function"]]
    if isinstance(value, dict) and "type" in value:
        return Configurable.from_config(value)
    if isinstance(value, list):
        return tuple(_unplain(each, custom_objects) for each in value)
    return value


def restore(network: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Sets a network's parameters from a file's arrays.

    Raises
    ------
    ValueError
        If one is missing or has another shape or dtype.
    """
    expected = network.parameters()
    for name, current in expected.items():
        if name not in arrays:
            raise ValueError(f"parameter {name!r} is missing")
        if arrays[name].shape != current.shape or arrays[name].dtype != current.dtype:
            raise ValueError(
                f"parameter {name!r} should be {current.dtype} {current.shape}, "
                f"is {arrays[name].dtype} {arrays[name].shape}"
            )
    network.set_weights({name: arrays[name] for name in expected})


def write_trainer(path: Any, trainer: Any) -> None:
    """Writes a trainer with its network, as they are between two steps: see `Trainer.save`."""
    with trainer.network.block.between_steps():
        arrays, description = _describe_trainer(trainer)
    write(path, arrays, description)


def _describe_trainer(trainer: Any) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Copies of all arrays, and everything else as plain data."""
    network = trainer.network
    block = network.block
    states = block.backend.to_numpy(trainer._stepper.state).reshape(-1, block.size)
    arrays = {name: array.copy() for name, array in network.parameters().items()}
    for parameter in _parameters(network):
        for number, state in enumerate(states):
            arrays[f"state{number + 1}/{parameter.name}"] = block.view(parameter, state).copy()
    optimizer = trainer.optimizer
    remembered: dict[str, dict[str, Any]] = {}
    for name, callback in by_class(trainer.callbacks).items():
        state = callback.state()
        arrays |= {f"{name}/{key}": value for key, value in state.items() if isinstance(value, np.ndarray)}
        if state:
            remembered[name] = {key: value for key, value in state.items() if not isinstance(value, np.ndarray)}
    description = {
        "kind": "trainer",
        "network": describe(network),
        "trainer": {
            "objective": _describe_objective(trainer.objective),
            "optimizer": optimizer.config(),
            "optimizer_state": optimizer.state(),
            "learning_rates": trainer.learning_rates,
            "epoch": trainer.epoch,
            "steps": trainer.steps,
            "history": {name: values for name, values in trainer.history.items() if name != "seconds"},
            "callbacks": remembered,
        },
    }
    return arrays, description


def read_trainer(path: Any, trainer_class: Any, custom_objects: Mapping[str, Any], backend: str) -> Any:
    """A trainer and its network: see `Trainer.load`."""
    arrays, description = read(path)
    if description.get("kind") != "trainer":
        raise ValueError(f"{str(path)!r} holds a network without a trainer: use fastnn.load")
    with _naming(path):
        network = rebuild(description["network"], custom_objects, backend)
        restore(network, arrays)
        saved = description["trainer"]
        optimizer = Optimizer.from_config(saved["optimizer"])
        network.objective = _rebuild_objective(saved["objective"], custom_objects, need=True)
        trainer = trainer_class(network, None, optimizer, learning_rates=saved["learning_rates"])
        trainer.epoch, trainer.steps = int(saved["epoch"]), int(saved["steps"])
        trainer.history.update(saved["history"])
        trainer.optimizer.restore(saved["optimizer_state"])
        _restore_state(trainer, arrays)
        trainer.remembered = {name: state | _starting(arrays, f"{name}/") for name, state in saved["callbacks"].items()}
    network.trainer = trainer
    return trainer


def _restore_state(trainer: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    block = trainer.network.block
    states = np.zeros((trainer.optimizer.n_states, block.size), block.dtype)
    for number, state in enumerate(states):
        for parameter in _parameters(trainer.network):
            name = f"state{number + 1}/{parameter.name}"
            if name not in arrays or arrays[name].shape != parameter.shape or arrays[name].dtype != block.dtype:
                raise ValueError(f"{name!r} is missing or does not fit")
            start = block.offsets[parameter]
            state[start : start + arrays[name].size] = arrays[name].ravel()
    block.backend.write(trainer._stepper.state, 0, states.ravel())


def _starting(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays whose names start so, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _parameters(network: Any) -> list[Parameter]:
    """The network's own; its block may hold those of others that share it."""
    return [parameter for parameter in network.block.offsets if network.owns(parameter)]

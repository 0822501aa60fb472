"""Networks and trainers as arrays by name and plain data, and back.

archive.py makes a file of that. It is imported when one is written or read: most programs never do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import losses
from fastnn._config import Configurable
from fastnn.callbacks import by_class
from fastnn.layers.base import InputLayer, Layer, Parameter, Wire
from fastnn.losses import Loss
from fastnn.objective import Objective
from fastnn.optimizers import Optimizer

NETWORKS: dict[str, Any] = {}  # the classes "Network" and "Sequential": filled by the room above that defines them


def write_network(path: Any, network: Any) -> None:
    """Writes structure and parameters: see `Network.save`."""
    from fastnn import archive

    arrays = network.block.copies(_parameters(network))
    archive.write(path, arrays, {"kind": "network", "network": describe(network)})


def read_network(path: Any, custom_objects: Mapping[str, Any], backend: str) -> Any:
    """The network in a file of a network or a trainer: see `fastnn.load`."""
    from fastnn import archive

    arrays, description = archive.read(path)
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
    from fastnn import archive

    with trainer.network.block.settled():
        arrays, description = _describe_trainer(trainer)
    archive.write(path, arrays, description)


def _describe_trainer(trainer: Any) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Copies of all arrays, and everything else as plain data."""
    network = trainer.network
    block = network.block
    states = block.backend.to_numpy(trainer._stepper.state).reshape(-1, block.size)
    parameters = _parameters(network)
    arrays = block.copies(parameters)
    for parameter in parameters:
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
    from fastnn import archive

    arrays, description = archive.read(path)
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

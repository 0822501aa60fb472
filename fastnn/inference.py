"""Forward passes without training: the Program that `predict` runs, and the runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.feed import as_input_arrays, count_rows
from fastnn.graph.plan import Place, plan
from fastnn.graph.tensor import Graph, Tensor, apply
from fastnn.kernels.executor import PredictAgain
from fastnn.layers.base import ROWS
from fastnn.ops.linear import product_of
from fastnn.program import Extent, Program

if TYPE_CHECKING:
    from fastnn.profiling import Profile

PREDICT_ROWS = 256  # rows of one run: activations stay in the cache


class Predictor:
    """A network's forward pass, planned for batches of up to PREDICT_ROWS rows.

    Parameters
    ----------
    network
        Of which the weights are used as they are at each run.
    dtype
        What the factors of its products are rounded to: "bfloat16", or None.

    Raises
    ------
    ValueError
        If dtype is neither, or the network is not of float32.
    """

    def __init__(self, network: Any, dtype: str | None = None) -> None:
        self._instead = {"matmul": product_of(dtype, "predict")}
        if dtype and network.dtype != "float32":
            raise ValueError(f"predict: bfloat16 is for networks of float32, this one is of {network.dtype}")
        self.network = network
        self.runner = self._prepare(PREDICT_ROWS)
        has_rows = bool(self.runner.program.extents)  # a network may ignore its inputs
        counts = np.arange(PREDICT_ROWS + 1, dtype=np.float64)[:, None]
        self._table = counts if has_rows else counts[:, :0]  # the run table of n rows is its line n
        plain = len(network.inputs) == len(network.outputs) == 1 and network.input_layers[0].dtype != "uint8"
        self._short_way = PredictAgain(self.runner, self._table, np.dtype(network.dtype), network.input_shapes[0],
                                       network.output_shapes[0]).run if plain else None  # fmt: skip

    def _prepare(self, rows: int) -> Any:
        block = self.network.block
        program = _trace(self.network, rows, self._instead)
        return block.backend.prepare(program, block.dtype, {"parameters": block.memory}, block.changes)

    def predict(self, x: Any) -> Any:
        """An array (n, *output_shape), or a tuple of them for several outputs.

        Raises
        ------
        ValueError, TypeError
            If the arrays do not fit the network's inputs.
        """
        if self._short_way is not None and (result := self._short_way(x)) is not None:
            return result
        network = self.network
        arrays = as_input_arrays(x, network.input_layers)
        n = count_rows(arrays)
        results = [np.empty((n, *shape), network.dtype) for shape in network.output_shapes]
        for start in range(0, n, PREDICT_ROWS):
            stop = min(n, start + PREDICT_ROWS)
            bound = {f"output:y{i}": result[start:stop] for i, result in enumerate(results)}
            for i, array in enumerate(arrays):
                with np.errstate(over="ignore"):  # float64 beyond float32's range becomes infinite, as it must
                    bound[f"input:x{i}"] = np.asarray(array[start:stop], network.dtype)
            n_rows = stop - start
            self.runner.run(self._table[n_rows : n_rows + 1], bound)
        return results[0] if len(results) == 1 else tuple(results)

    def profile(self, x: Any) -> Profile:
        """Times every instruction of a run on these rows, at most PREDICT_ROWS; see `Network.profile`."""
        from fastnn.profiling import profile  # not when fastnn is imported: few ask for it

        arrays = as_input_arrays(x, self.network.input_layers)
        n = min(count_rows(arrays), PREDICT_ROWS)
        bound = {f"output:y{i}": np.empty((n, *shape), self.network.dtype)
                 for i, shape in enumerate(self.network.output_shapes)}  # fmt: skip
        bound |= {f"input:x{i}": np.asarray(array[:n], self.network.dtype) for i, array in enumerate(arrays)}
        return profile(self._prepare(n), self._table[n], bound, self.network.dtype, f"predict, {n} row{'s' * (n > 1)}")


def _trace(network: Any, most: int, instead: Mapping[str, str]) -> Program:
    rows = Extent(ROWS, most)
    with Graph(network.dtype, seed=network.seed, instead=instead) as graph:
        inputs = [graph.input(f"x{i}", (rows, *shape)) for i, shape in enumerate(network.input_shapes)]
        scaled = [x if layer.scale == 1.0 else x * layer.scale
                  for x, layer in zip(inputs, network.input_layers, strict=True)]  # fmt: skip
        outputs: dict[str, Tensor] = {}
        for number, result in enumerate(network.trace(scaled)):
            is_computed = result.node.operation.name not in ("input", "variable", "constant")
            fresh = is_computed and not result.node.operation.view and result not in outputs.values()
            outputs[f"y{number}"] = result if fresh else apply("reshape", result, shape=result.shape)
    places = {tensor: network.block.place(parameter) for parameter, tensor in graph.variables.items()}
    places |= {tensor: Place(f"output:{name}") for name, tensor in outputs.items()}
    return plan(graph, outputs, places)


def output_activations(network: Any) -> list[str]:
    """For each output, the name of the last operation before it that does more than reshape."""
    with Graph(network.dtype) as graph:
        inputs = [graph.input(f"x{i}", (Extent(ROWS, 1), *shape)) for i, shape in enumerate(network.input_shapes)]
        nodes = [result.node for result in network.trace(inputs)]
    for number, node in enumerate(nodes):
        while node.operation.view and node.inputs[0] is not None:
            node = node.inputs[0].node
        nodes[number] = node
    return [node.operation.name for node in nodes]

"""ONNX Runtime: the network as a graph of Gemm and activations, all optimizations on, input and output bound once."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.shapes import NetworkShape

ACTIVATIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}
OPSET, FORMAT = 17, 8  # old enough for any runtime of the last years
_threads = 1


def set_threads(n: int) -> None:
    """For the sessions that are made from now on."""
    global _threads
    _threads = n


def _graph(shape: NetworkShape, weights: list[NDArray[Any]]) -> bytes:
    nodes: list[Any] = []
    constants: list[Any] = []
    name = "x"
    for number, (_, _, activation) in enumerate(shape.layers):
        w, b, z = f"w{number}", f"b{number}", f"z{number}"
        constants += map(numpy_helper.from_array, weights[2 * number : 2 * number + 2], (w, b))
        nodes.append(helper.make_node("Gemm", [name, w, b], [z]))
        name = z
        if activation:
            nodes.append(helper.make_node(ACTIVATIONS[activation], [z], [f"a{number}"]))
            name = f"a{number}"
    ends = [
        helper.make_tensor_value_info(each, TensorProto.FLOAT, [shape.batch, size])
        for each, size in (("x", shape.sizes[0]), (name, shape.sizes[-1]))
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=FORMAT)
    return model.SerializeToString()


class Inference:
    """A session; input and output lie in arrays that it knows."""

    def __init__(self, shape: NetworkShape, weights: list[NDArray[Any]]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = _threads, 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(_graph(shape, weights), options, ["CPUExecutionProvider"])
        self.x = np.empty((shape.batch, shape.sizes[0]), np.float32)
        self.y = np.empty((shape.batch, shape.sizes[-1]), np.float32)
        self.binding = self.session.io_binding()
        self.binding.bind_input("x", "cpu", 0, np.float32, self.x.shape, self.x.ctypes.data)
        output = self.session.get_outputs()[0].name
        self.binding.bind_output(output, "cpu", 0, np.float32, self.y.shape, self.y.ctypes.data)

    def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """What the last layer gives."""
        self.x[...] = x
        self.session.run_with_iobinding(self.binding)
        return self.y

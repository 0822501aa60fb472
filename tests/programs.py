"""Runs a trace as a Program, on either backend, at any size of its extents."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import backends
from fastnn.graph.plan import Place, plan
from fastnn.graph.tensor import Graph, Tensor
from fastnn.program import Extent

Array = NDArray[Any]


def run(graph: Graph, wanted: Tensor, values: dict[str, Array], sizes: dict[str, int] | None = None,
        backend: str = "native") -> Array:  # fmt: skip
    """The value of a symbol; `values` are the inputs by name, `sizes` the extents."""
    sizes = sizes or {}
    program = plan(graph, {"result": wanted}, {wanted: Place("output:result")})
    shape = tuple(sizes[size.name] if isinstance(size, Extent) else size for size in wanted.shape)
    result = np.full(shape, np.nan, wanted.dtype)
    runner = backends.get(backend).prepare(program, graph.dtype, {})
    table = np.array([[float(sizes[name]) for name in program.slots]]).reshape(1, len(program.slots))
    arrays = {f"input:{name}": array for name, array in values.items() if name in program.inputs}
    runner.run(table, {**arrays, "output:result": result})
    return result


def assert_gradient(graph: Graph, value: Tensor, gradient: Tensor | None, values: dict[str, Array], name: str,
                    backend: str, least: float) -> None:  # fmt: skip
    """Compares a gradient by the input `name` with central differences, some of which must reach `least`."""
    assert gradient is not None
    got = run(graph, gradient, values, backend=backend)
    want = central_differences(graph, value, values, name)
    assert np.abs(want).max() > least
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * np.abs(want).max())


def central_differences(graph: Graph, value: Tensor, values: dict[str, Array], name: str, step: float = 1e-6) -> Array:
    """Derivative of a float64 value by the input `name`, from values of the native backend."""
    found = np.zeros(values[name].shape)
    for index in np.ndindex(found.shape):
        results = []
        for shift in (step, -step):
            moved = values[name].copy()
            moved[index] += shift
            results.append(run(graph, value, {**values, name: moved}))
        found[index] = (results[0] - results[1]) / (2 * step)
    return found

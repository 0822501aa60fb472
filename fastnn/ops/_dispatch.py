"""One entry for every operation: symbols are recorded in the graph, arrays are computed at once.

A call on arrays fills one instruction and runs the kernel: no plan, no cache, and the same machine code that Programs
run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import kernels
from fastnn.graph.tensor import Symbol, apply_all
from fastnn.kernels import executor
from fastnn.program import FLOATS, OPERATIONS, Operation, Spec, status_message

Array = NDArray[Any]
Operand = ArrayLike | Symbol  # what the functions of fastnn.ops accept
NO_SLOTS: Mapping[str, float] = {}


def as_array(value: Any, name: str = "array") -> Array:
    """Anything with the buffer protocol, `__array__` or `__dlpack__` as an array, without a copy where possible.

    Raises
    ------
    TypeError
        If it cannot become an array of numbers.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return value
    if not hasattr(value, "__array__") and hasattr(value, "__dlpack__"):
        return np.from_dlpack(value)
    try:
        array = np.asarray(value)
    except ValueError as problem:  # rows of different lengths
        raise TypeError(f"{name} must hold numbers in rows of one length: {problem}") from problem
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold numbers, got {type(value).__name__} of dtype {array.dtype}")
    return array


def dispatch(name: str, inputs: Sequence[Any], out: Array | Sequence[Array] | None = None, *,
             labels: tuple[int, ...] = (), run: Mapping[str, float] = NO_SLOTS, **attributes: Any) -> Any:  # fmt: skip
    """Records operation `name` if an input is symbolic; otherwise computes it. Returns the first output, or all.

    `labels` are the positions of inputs that stay whole numbers (classes, indices). `run` has the values of the run
    row's slots that a kernel reads when it is called on arrays.
    """
    if any(isinstance(value, Symbol) for value in inputs):
        if out is not None:
            raise TypeError(f"{name}: out= is for arrays; a symbolic tensor has no memory yet")
        outputs = apply_all(name, *inputs, **attributes)
    else:
        outputs = compute(OPERATIONS[name], inputs, out, labels, attributes, run)
    return outputs[0] if len(outputs) == 1 else outputs


def float_type(arrays: Sequence[Array | None]) -> str:
    """The type a computation on these arrays has: float32 if all floats are, float64 otherwise."""
    kinds = {array.dtype for array in arrays if array is not None and array.ndim > 0}
    return "float32" if kinds and all(kind == np.float32 for kind in kinds) else "float64"


def compute(operation: Operation, inputs: Sequence[Any], out: Array | Sequence[Array] | None, labels: tuple[int, ...],
            attributes: dict[str, Any], run: Mapping[str, float] = NO_SLOTS) -> tuple[Array, ...]:  # fmt: skip
    """Runs one operation's kernel on arrays.

    Raises
    ------
    TypeError, ValueError
        If operands do not fit the operation or `out` does not fit the result.
    """
    arrays = [None if value is None else as_array(value, operation.name) for value in inputs]
    dtype = float_type([array for position, array in enumerate(arrays) if position not in labels])
    for position, array in enumerate(arrays):
        if array is not None:
            wanted = "int64" if position in labels else dtype
            if array.dtype != wanted and not (position in labels and array.dtype in (np.int32, np.uint8)):
                arrays[position] = array.astype(wanted)
    specs = specs_of(arrays)
    targets = targets_for(operation, operation.infer(specs, attributes), out)
    execute(operation, targets, arrays, dtype, attributes, run)
    return tuple(targets)


def execute(operation: Operation, targets: Sequence[Array], arrays: Sequence[Array | None], dtype: str,
            attributes: dict[str, Any], run: Mapping[str, float] = NO_SLOTS) -> None:  # fmt: skip
    """Runs an operation's kernel for `dtype` on operands that fit it.

    Raises
    ------
    NotImplementedError
        If there is no kernel.
    ValueError
        If the kernel refuses what it finds in the operands (labels, indices).
    """
    kernel = operation.kernel
    if kernel is None:
        raise NotImplementedError(f"operation {operation.name!r} has no kernel and cannot be called on arrays")
    absent = [None] * ((kernel.n_outputs or 0) - len(targets))
    results, specs = specs_of(targets), specs_of(arrays)
    flops = operation.flops(specs, results, attributes)
    work = max(flops * operation.cost, operation.nbytes(specs, results) / 20.0)
    scratch = kernel.scratch([*results, *absent, *specs], attributes)
    n_threads = max(1, min(executor.threads(), int(work / 8000.0))) if kernel.parallel else 1
    memory = np.empty((scratch + 64) * n_threads, np.uint8) if scratch else None
    slots = operation.slots(attributes)
    row = np.array([run[slot] for slot in slots], np.float64) if slots else None
    integers = (*range(len(slots)), *kernel.integers(attributes))
    status = executor.call(kernels.address(kernel.name, dtype), (*targets, *absent, *arrays),
                           len(targets) + len(absent), integers, kernel.numbers(attributes), work, n_threads, memory,
                           row)  # fmt: skip
    if status:
        raise ValueError(f"{operation.name}: {status_message(status)}")


def specs_of(arrays: Sequence[Array | None]) -> list[Spec | None]:
    """Shapes and dtypes; None for absent operands."""
    return [None if array is None else Spec(array.shape, array.dtype.name) for array in arrays]


def targets_for(operation: Operation, results: Sequence[Spec], out: Array | Sequence[Array] | None) -> list[Array]:
    """The arrays that receive the results: new ones, or the caller's after a check."""
    if out is None:
        return [np.empty(spec.shape, spec.dtype) for spec in results]
    targets = [out] if isinstance(out, np.ndarray) else list(out)
    if len(targets) != len(results):
        raise ValueError(f"{operation.name}: out must be {len(results)} arrays, got {len(targets)}")
    for target, spec in zip(targets, results, strict=True):
        if not isinstance(target, np.ndarray):
            raise TypeError(f"{operation.name}: out must be a NumPy array, got {type(target).__name__}")
        if target.shape != spec.shape or target.dtype != spec.dtype:
            raise ValueError(
                f"{operation.name}: out must have shape {spec.shape} and dtype {spec.dtype}, "
                f"got {target.shape} and {target.dtype}"
            )
        if not target.flags.writeable:
            raise ValueError(f"{operation.name}: out is read-only")
    return targets


def expect_floats(name: str, *specs: Spec | None) -> None:
    """Refuses operands that are not float32 or float64, or not all of one type."""
    kinds = {spec.dtype for spec in specs if spec is not None}
    if not kinds <= set(FLOATS):
        raise TypeError(f"{name}: expected float32 or float64, got {', '.join(sorted(kinds - set(FLOATS)))}")
    if len(kinds) > 1:
        raise TypeError(f"{name}: operands must have one dtype, got {' and '.join(sorted(kinds))}")

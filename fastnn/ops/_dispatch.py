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
from fastnn.kernels.eager import Front, make_dispatch
from fastnn.program import FLOATS, OPERATIONS, TYPE_CODES, Operation, Spec, at_maximum, status_message

Array = NDArray[Any]
Operand = ArrayLike | Symbol  # what the functions of fastnn.ops accept
NO_SLOTS: Mapping[str, float] = {}
FLOAT32 = np.dtype(np.float32)
NAMES = {np.dtype(name): name for name in TYPE_CODES}


def as_array(value: Any, name: str = "array") -> Array:
    """Anything with the buffer protocol, `__array__` or `__dlpack__` as an array, without a copy where possible.

    Raises
    ------
    TypeError
        If it cannot become an array of numbers.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        if type(value) is not np.ndarray and np.ma.is_masked(value):
            raise TypeError(
                f"{name} is an array with masked elements, which nothing here knows of: use its filled(...)"
            )
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


def _general(name: str, inputs: Sequence[Any], out: Array | Sequence[Array] | None, labels: tuple[int, ...],
             run: Mapping[str, float] | None, attributes: dict[str, Any]) -> Any:  # fmt: skip
    """What `dispatch` does where the compiled front does not know how."""
    if any(isinstance(value, Symbol) for value in inputs):
        if out is not None:
            raise TypeError(f"{name}: out= is for arrays; a symbolic tensor has no memory yet")
        symbols = apply_all(name, *inputs, **attributes)
        return symbols[0] if len(symbols) == 1 else symbols
    outputs = compute(OPERATIONS[name], inputs, out, labels, attributes, run or NO_SLOTS)
    return outputs[0] if len(outputs) == 1 else outputs


def front(name: str) -> Front:
    """The compiled front of an operation with an `eager` rule."""
    return Front(OPERATIONS[name], kernels.address, kernels.product_scratch)


# dispatch(name, inputs, out=None, *, labels=(), run=None, **attributes) records operation `name` if an input is
# symbolic; otherwise it computes it. It returns the first output, or all. `labels` are the positions of inputs that
# stay whole numbers (classes, indices). `run` has the values of the run row's slots that a kernel reads when it is
# called on arrays.
dispatch = make_dispatch(lambda name: front(name) if OPERATIONS[name].eager else None, _general)


def float_type(arrays: Sequence[Array | None]) -> str:
    """The type a computation on these arrays has: float32 if all floats with dimensions are, else float64.

    Whole numbers have no say, and numbers without dimensions only if there is nothing else.
    """
    floats = [array for array in arrays if array is not None and array.dtype.kind == "f"]
    kinds = {array.dtype for array in floats if array.ndim > 0} or {array.dtype for array in floats}
    return "float32" if kinds == {FLOAT32} else "float64"


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
            fits = array.dtype == wanted or (position in labels and array.dtype in (np.int32, np.uint8))
            if not fits or not array.flags.aligned:
                arrays[position] = array.astype(array.dtype if fits else wanted)
    specs = specs_of(arrays)
    targets = targets_for(operation, operation.infer(specs, attributes), out)
    # Where a result would overwrite what is still to be read, or a kernel cannot write, it is made in a copy first.
    apart = [np.array(each) if out is not None and _is_blocked(operation, each, arrays) else each for each in targets]
    execute(operation, apart, arrays, dtype, attributes, run)
    for target, result in zip(targets, apart, strict=True):
        if target is not result:
            target[...] = result
    return tuple(targets)


def _is_blocked(operation: Operation, target: Array, arrays: Sequence[Array | None]) -> bool:
    """Whether a result cannot be written where it belongs: it is not aligned, or shares memory with an input.

    To an elementwise operation the very same place does no harm.
    """
    if not target.flags.aligned:
        return True
    for array in arrays:
        if array is not None and np.may_share_memory(target, array):
            same = (array.ctypes.data, array.shape, array.strides) == (target.ctypes.data, target.shape, target.strides)
            if not (same and operation.eager == "broadcast"):
                return True
    return False


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
    return [None if array is None else Spec(array.shape, _name(array.dtype)) for array in arrays]


def _name(dtype: np.dtype[Any]) -> str:
    return NAMES.get(dtype) or dtype.name  # NumPy makes the name anew each time, in a microsecond


def targets_for(operation: Operation, results: Sequence[Spec], out: Array | Sequence[Array] | None) -> list[Array]:
    """The arrays that receive the results: new ones, or the caller's after a check."""
    if out is None:
        return [np.empty(at_maximum(spec.shape), spec.dtype) for spec in results]
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

"""One entry for every operation: symbols are recorded in the graph, arrays are computed at once.

A call on arrays fills one instruction and runs the kernel, the same machine code that Programs run. There is no plan;
what follows from shapes and types alone is remembered (`kernels/remembered.pxi`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, update_wrapper
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import kernels
from fastnn.graph.tensor import Symbol, apply_all
from fastnn.kernels.eager import DISTURBED, MAX_AXES, Call, Front, make_dispatch, product_with_front
from fastnn.program import FLOATS, OPERATIONS, Operation, Spec, at_maximum, status_message

Array = NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])
Operand = ArrayLike | Symbol  # what the functions of fastnn.ops accept
NO_SLOTS: Mapping[str, float] = {}
FLOAT32 = np.dtype(np.float32)
LABELS = tuple(map(np.dtype, (np.int64, np.int32, np.uint8)))  # types in which kernels read labels


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


@cache
def front(name: str) -> Front:
    """The compiled front of an operation."""
    return Front(OPERATIONS[name], kernels.address, kernels.preparation, kernels.product_scratch_address)


# dispatch(name, inputs, out=None, *, labels=(), run=None, **attributes) records operation `name` if an input is
# symbolic; otherwise it computes it. It returns the first output, or all. `labels` are the positions of inputs that
# stay whole numbers (classes, indices). `run` has the values of the run row's slots that a kernel reads when it is
# called on arrays.
dispatch = make_dispatch(front, _general)


def product(function: Function) -> Function:
    """A function that is called as `ops.matmul` is, with the compiled front before it."""
    return cast(Function, update_wrapper(product_with_front(front("matmul"), function), function))


def float_type(operands: Sequence[tuple[np.dtype[Any], int]]) -> str:
    """The type a computation on operands of these types and ranks has: float32 if all floats with dimensions are, else
    float64.

    Whole numbers have no say, and numbers without dimensions only if there is nothing else.
    """
    floats = [(kind, rank) for kind, rank in operands if kind.kind == "f"]
    kinds = {kind for kind, rank in floats if rank > 0} or {kind for kind, _ in floats}
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
    dtype = float_type([(each.dtype, each.ndim) for position, each in enumerate(arrays)
                        if each is not None and position not in labels])  # fmt: skip
    for position, array in enumerate(arrays):
        if array is not None:
            arrays[position] = _converted(array, _label_type(array) if position in labels else np.dtype(dtype))
    known = front(operation.name)
    call = known.find(tuple(arrays), labels, attributes)
    if call is None:
        results = inferred(operation, arrays, attributes)
        shapes = [(at_maximum(spec.shape), np.dtype(spec.dtype)) for spec in results]
        call = _new_call(operation, dtype, shapes, arrays, labels, attributes)
        known.remember(call, tuple(arrays), labels, attributes)
    targets = targets_for(operation, call.results, out)
    _run(operation, call, targets, arrays, run)
    return tuple(targets)


def inferred(operation: Operation, arrays: Sequence[Array | None], attributes: dict[str, Any]) -> Sequence[Spec]:
    """The results of an operation on arrays as they are.

    Raises
    ------
    TypeError, ValueError
        If they do not fit it.
    """
    return operation.infer(_specs(arrays), attributes)


Description = tuple[tuple[int, ...], np.dtype[Any]]  # shape and type of an operand


def _specs(arrays: Sequence[Array | None]) -> list[Spec | None]:
    return [None if array is None else Spec(array.shape, array.dtype.name) for array in arrays]


def _label_type(array: Array) -> np.dtype[Any]:
    """The type in which a kernel reads labels that come in this array."""
    return array.dtype if array.dtype in LABELS else np.dtype(np.int64)


def _converted(array: Array, kind: np.dtype[Any] | None) -> Array:
    """An array of that type whose numbers are aligned, itself if it is one."""
    return array if array.dtype == kind and array.flags.aligned else array.astype(kind)


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
    known = front(operation.name)
    if known.recall(tuple(arrays), tuple(targets), (), attributes, run) is None:
        results = [(target.shape, target.dtype) for target in targets]
        call = _new_call(operation, dtype, results, arrays, (), attributes)
        _run(operation, call, targets, arrays, run)
        known.remember(call, tuple(arrays), (), attributes)


def _run(operation: Operation, call: Call, targets: Sequence[Array], arrays: Sequence[Array | None],
         run: Mapping[str, float]) -> None:  # fmt: skip
    """Where a result would overwrite what is still to be read, or a kernel cannot write, it is made in a copy first."""
    aligned = all(target.flags.aligned for target in targets)
    status = call.run(tuple(targets), tuple(arrays), run, careful=True) if aligned else DISTURBED
    if status == DISTURBED:
        apart = tuple([np.array(target) for target in targets])
        status = call.run(apart, tuple(arrays), run)
        if not status:
            for target, result in zip(targets, apart, strict=True):
                target[...] = result
    if status:
        raise ValueError(f"{operation.name}: {status_message(status)}")


def _new_call(operation: Operation, dtype: str, results: Sequence[Description], arrays: Sequence[Array | None],
              labels: tuple[int, ...], attributes: dict[str, Any]) -> Call:  # fmt: skip
    """What the kernel for `dtype` needs for operands of these shapes and types."""
    kernel, inputs = operation.kernel, [None if each is None else (each.shape, each.dtype) for each in arrays]
    if kernel is None:
        raise NotImplementedError(f"operation {operation.name!r} has no kernel and cannot be called on arrays")
    for shape, _ in filter(None, (*inputs, *results)):
        if len(shape) > MAX_AXES:
            raise ValueError(f"{operation.name}: arrays may have up to {MAX_AXES} dimensions, got shape {shape}")
    absent = (None,) * ((kernel.n_outputs or 0) - len(results))
    outputs, specs = [Spec(shape, kind.name) for shape, kind in results], _specs(arrays)
    slots = operation.slots(attributes)
    scratch = kernel.scratch([*outputs, *absent, *specs], attributes)
    return Call(
        kernels.address(kernel.name, dtype),
        operands=(*results, *absent, *inputs),
        results=tuple(outputs),
        n_inputs=len(inputs),
        labels=labels,
        attributes=attributes,
        slots=slots,
        integers=(*range(len(slots)), *kernel.integers(attributes)),
        numbers=kernel.numbers(attributes),
        work=operation.work(specs, outputs, attributes),
        scratch=scratch,
        parallel=kernel.parallel,
        closes=kernel.closes and scratch > 0,
        in_place=bool(operation.in_place) or operation.eager == "broadcast",
    )


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

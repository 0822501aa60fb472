"""One entry for every operation: symbols are recorded in the graph, arrays are computed at once.

A call on arrays fills one instruction and runs the kernel, the same machine code that Programs run. There is no plan;
what follows from shapes and types alone is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

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
REMEMBERED = 1024  # kinds of calls: what shapes and types decide is found out once
LABELS = tuple(map(np.dtype, (np.int64, np.int32, np.uint8)))  # types in which kernels read labels
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
    form = _form(operation.name, _described(arrays), labels, tuple(attributes.items()))
    for position, array in enumerate(arrays):
        if array is not None and not (array.dtype is form.types[position] and array.flags.aligned):
            arrays[position] = _converted(array, form.types[position])
    targets = targets_for(operation, form.results, out)
    # Where a result would overwrite what is still to be read, or a kernel cannot write, it is made in a copy first.
    apart = [np.array(each) if out is not None and _is_blocked(operation, each, arrays) else each for each in targets]
    _run(operation, form.setting, apart, arrays, run)
    for target, result in zip(targets, apart, strict=True):
        if target is not result:
            target[...] = result
    return tuple(targets)


def inferred(operation: Operation, arrays: Sequence[Array | None], attributes: dict[str, Any]) -> Sequence[Spec]:
    """The results of an operation on arrays as they are.

    Raises
    ------
    TypeError, ValueError
        If they do not fit it.
    """
    return _inferred(operation.name, _described(arrays), tuple(attributes.items()))


Description = tuple[tuple[tuple[int, ...], np.dtype[Any]] | None, ...]  # shape and type of each operand


def _described(arrays: Sequence[Array | None]) -> Description:
    return tuple([None if array is None else (array.shape, array.dtype) for array in arrays])


def _specs(described: Description) -> list[Spec | None]:
    return [None if each is None else Spec(each[0], dtype_name(each[1])) for each in described]


@lru_cache(maxsize=REMEMBERED)
def _inferred(name: str, inputs: Description, attributes: tuple[tuple[str, Any], ...]) -> Sequence[Spec]:
    return OPERATIONS[name].infer(_specs(inputs), dict(attributes))


class Form(NamedTuple):
    """What follows from the shapes and types of a call's inputs: the types that they need (None for absent ones), the
    results, and what the kernel is called with.
    """

    types: list[np.dtype[Any] | None]
    results: Sequence[Spec]
    setting: Setting


@lru_cache(maxsize=REMEMBERED)
def _form(name: str, inputs: Description, labels: tuple[int, ...], attributes: tuple[tuple[str, Any], ...]) -> Form:
    floats = [each for position, each in enumerate(inputs) if each is not None and position not in labels]
    dtype = float_type([(kind, len(shape)) for shape, kind in floats])
    types: list[np.dtype[Any] | None] = []
    for position, each in enumerate(inputs):
        if each is None:
            types.append(None)
        elif position in labels:
            types.append(each[1] if each[1] in LABELS else np.dtype(np.int64))
        else:
            types.append(np.dtype(dtype))
    converted = tuple([None if each is None or kind is None else (each[0], kind)
                       for each, kind in zip(inputs, types, strict=True)])  # fmt: skip
    results = _inferred(name, converted, attributes)
    outputs = tuple([(at_maximum(spec.shape), np.dtype(spec.dtype)) for spec in results])
    return Form(types, results, _setting(name, dtype, outputs, converted, attributes))


def _converted(array: Array, kind: np.dtype[Any] | None) -> Array:
    """An array of that type whose numbers are aligned, itself if it is one."""
    return array if array.dtype == kind and array.flags.aligned else array.astype(kind)


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
    described = _described(targets), _described(arrays)
    _run(operation, _setting(operation.name, dtype, *described, tuple(attributes.items())), targets, arrays, run)


def _run(operation: Operation, found: Setting, targets: Sequence[Array], arrays: Sequence[Array | None],
         run: Mapping[str, float]) -> None:  # fmt: skip
    n_threads = max(1, min(executor.threads(), int(found.work / 8000.0))) if found.parallel else 1
    memory = np.empty((found.scratch + 64) * n_threads, np.uint8) if found.scratch else None
    row = np.array([run[slot] for slot in found.slots], np.float64) if found.slots else None
    operands = (*targets, *found.absent, *arrays)
    status = executor.call(found.address, operands, len(targets) + len(found.absent), found.integers, found.numbers,
                           found.work, n_threads, memory, row)  # fmt: skip
    if status:
        raise ValueError(f"{operation.name}: {status_message(status)}")


class Setting(NamedTuple):
    """What a kernel is called with besides arrays; it follows from their shapes and types."""

    address: int
    absent: tuple[None, ...]
    slots: tuple[str, ...]
    integers: tuple[int, ...]
    numbers: tuple[float, ...]
    work: float
    scratch: int
    parallel: bool


@lru_cache(maxsize=REMEMBERED)
def _setting(name: str, dtype: str, outputs: Description, inputs: Description,
             given: tuple[tuple[str, Any], ...]) -> Setting:  # fmt: skip
    operation, attributes = OPERATIONS[name], dict(given)
    kernel = operation.kernel
    if kernel is None:
        raise NotImplementedError(f"operation {name!r} has no kernel and cannot be called on arrays")
    absent = (None,) * ((kernel.n_outputs or 0) - len(outputs))
    results, specs = _specs(outputs), _specs(inputs)
    work = max(operation.flops(specs, results, attributes) * operation.cost, operation.nbytes(specs, results) / 20.0)
    slots = operation.slots(attributes)
    return Setting(
        kernels.address(kernel.name, dtype), absent, slots, (*range(len(slots)), *kernel.integers(attributes)),
        kernel.numbers(attributes), work, kernel.scratch([*results, *absent, *specs], attributes), kernel.parallel,
    )  # fmt: skip


def dtype_name(dtype: np.dtype[Any]) -> str:
    """NumPy's name of a type, which NumPy itself makes anew each time, in a microsecond."""
    return NAMES.get(dtype) or dtype.name


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
        if target.shape != spec.shape or dtype_name(target.dtype) != spec.dtype:
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

"""Moving rows: `gather` takes a mini-batch out of the training set, `collect` puts predictions into their array.

Both read where to begin from the run row's slot "start", so that one Program serves every batch of an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from fastnn.graph.tensor import Symbol, apply
from fastnn.ops._dispatch import Array, Operand, as_array, execute, inferred, targets_for
from fastnn.program import FLOATS, OPERATIONS, Attributes, Dimension, Extent, Kernel, Operation, RunRow, Spec, register

SOURCES = ("float32", "float64", "int32", "int64", "uint8")
TARGETS = ("float32", "float64", "int32", "int64")


def _size(dimension: Dimension, run: RunRow) -> int:
    return int(run[dimension.name]) if isinstance(dimension, Extent) else dimension


def _gather(xp: ModuleType, inputs: Sequence[Any], attributes: Attributes, run: RunRow) -> Sequence[Any]:
    source, index = inputs
    spec = attributes["spec"]
    n = _size(spec.shape[0], run)
    if index is None:
        rows = source[run.rows_at(xp, "start", n, len(source))]
    else:
        chosen = index[run.rows_at(xp, "start", n, len(index))]
        outside = xp.any((chosen < 0) | (chosen >= len(source)))
        run.refuse(outside, f"an index is out of range: rows are 0 ... {len(source) - 1}")
        rows = source[chosen]
    rows = rows.astype(spec.dtype)
    return [rows * rows.dtype.type(attributes["scale"]) if spec.dtype in FLOATS else rows]


def _infer_gather(inputs: Sequence[Spec | None], attributes: Attributes) -> Sequence[Spec]:
    source, index = inputs
    spec, scale = attributes["spec"], attributes["scale"]
    if source is None or not source.shape:
        raise ValueError("gather: the source must have rows: at least one dimension")
    if source.dtype not in SOURCES:
        raise TypeError(f"gather: the source must be one of {', '.join(SOURCES)}, got {source.dtype}")
    if index is not None and (index.dtype != "int64" or len(index.shape) != 1):
        raise TypeError(f"gather: the index must be int64 with one dimension, got {index.dtype} {index.shape}")
    if spec.dtype not in TARGETS:
        raise TypeError(f"gather: the batch must be one of {', '.join(TARGETS)}, got {spec.dtype}")
    if spec.shape[1:] != source.shape[1:]:
        raise ValueError(f"gather: rows of shape {source.shape[1:]} do not make a batch of shape {spec.shape}")
    if spec.dtype not in FLOATS and not np.can_cast(source.dtype, spec.dtype):
        raise TypeError(f"gather: {source.dtype} does not fit into {spec.dtype}")
    if spec.dtype not in FLOATS and scale != 1.0:
        raise ValueError(f"gather: scale is for floats, not for {spec.dtype}")
    return [spec]


register(
    Operation(
        "gather",
        infer=_infer_gather,
        reference=_gather,
        slots=lambda attributes: ("start",),
        kernel=Kernel("gather", numbers=lambda attributes: (attributes["scale"],)),
        nbytes=lambda inputs, outputs: 2 * outputs[0].nbytes if outputs[0] else 0,  # few rows of many
    )
)


def gather(source: Operand, index: Operand | None = None, *, rows: Dimension | None = None, start: int = 0,
           dtype: str | None = None, scale: float = 1.0, out: Any = None) -> Any:  # fmt: skip
    """A batch of rows: `source[index[start : start + rows]] * scale`, or `source[start : start + rows] * scale`.

    Parameters
    ----------
    source
        Shape (n, ...); float32, float64, int32, int64 or uint8, of any strides.
    index
        Which rows, in order: int64, shape (total,). None: the rows as they lie.
    rows
        The batch's size; in a trace usually an Extent. On arrays, None takes all from `start` on.
    start
        Where the batch begins in `index` (or in `source`). In a trace it comes from the run row's slot "start".
    dtype
        Of the batch: a float type, or a whole-number type that holds every value of the source's. None: the
        source's own, and float32 for uint8.
    scale
        Multiplies the batch, after its conversion to `dtype`; floats only.
    out
        Receives the batch, if `source` is an array.

    Returns
    -------
    Shape (rows, ...).

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit, or an index or a row is out of range (a negative index is).
    """
    if isinstance(source, Symbol):
        if rows is None or start or out is not None:
            raise ValueError("gather: a trace needs rows=, takes start from the run row, and has no out=")
        symbol: Any = source
        spec = Spec((rows, *symbol.shape[1:]), dtype or _natural(symbol.dtype))
        return apply("gather", source, index, spec=spec, scale=float(scale))
    array = as_array(source, "source")
    chosen = None if index is None else _as_index(index)
    total = (len(array) if array.ndim else 0) if chosen is None else len(chosen)
    n = total - start if rows is None else rows
    if not isinstance(n, int) or n < 0 or start < 0:
        raise ValueError(f"gather: expected 0 <= start and 0 <= rows, of {total} in all; got {start} and {rows}")
    kind = dtype or _natural(array.dtype.name)
    attributes = {"spec": Spec((n, *array.shape[1:]), kind), "scale": float(scale)}
    operation = OPERATIONS["gather"]
    targets = targets_for(operation, inferred(operation, [array, chosen], attributes), out)
    execute(operation, targets, [array, chosen], _module(kind), attributes, {"start": start})
    return targets[0]


def _natural(dtype: str) -> str:
    """The batch's dtype where nobody asks for one."""
    return "float32" if dtype == "uint8" else dtype


def _module(dtype: str) -> str:
    """Which module's kernel moves rows of this dtype: whole numbers are the same in both."""
    return dtype if dtype in FLOATS else "float32"


def _as_index(value: Any) -> Array:
    """Whole numbers as int64.

    Raises
    ------
    TypeError
        If they are not whole numbers.
    """
    index = as_array(value, "index")
    if index.dtype.kind not in "iu":
        raise TypeError(f"gather: the index must be whole numbers, got {index.dtype}")
    return index.astype(np.int64, copy=False)


def _infer_collect(inputs: Sequence[Spec | None], attributes: Attributes) -> Sequence[Spec]:
    batch = inputs[0]
    if batch is None or not batch.shape:
        raise ValueError("collect: the batch must have rows: at least one dimension")
    if batch.dtype not in TARGETS:
        raise TypeError(f"collect: the batch must be one of {', '.join(TARGETS)}, got {batch.dtype}")
    return [Spec((0, *batch.shape[1:]), batch.dtype)]  # how many rows in all is known when the result is bound


register(
    Operation(
        "collect",
        infer=_infer_collect,
        reference=lambda xp, inputs, attributes, run: [inputs[0]],
        slots=lambda attributes: (attributes["start"],),
        kernel=Kernel("collect"),
        flops=lambda inputs, outputs, attributes: inputs[0].size if inputs[0] else 0,
        nbytes=lambda inputs, outputs: 2 * inputs[0].nbytes if inputs[0] else 0,
        window=lambda attributes: attributes["start"],
    )
)


def collect(batch: Operand, *, start: str | int, out: Any = None) -> Any:
    """Puts a batch into its place among all rows: `out[start : start + n] = batch`; other rows stay as they are.

    Parameters
    ----------
    batch
        Shape (n, ...): float32, float64, int32 or int64.
    start
        The first row that is written; in a trace, the name of the run row's slot that says so.
    out
        Shape (total, ...), of the batch's dtype. In a trace the result is a tensor to be placed in a block of its own.

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit, or the rows lie outside `out`.
    """
    if isinstance(batch, Symbol):
        if not isinstance(start, str) or out is not None:
            raise TypeError("collect: in a trace start is the name of a slot, and there is no out=")
        return apply("collect", batch, start=start)
    rows = as_array(batch, "batch")
    if not isinstance(out, np.ndarray) or isinstance(start, str):
        raise TypeError("collect: arrays need out=, a NumPy array, and a whole number as start")
    operation, attributes = OPERATIONS["collect"], {"start": "start"}
    expected = inferred(operation, [rows], attributes)[0]
    targets = targets_for(operation, [Spec((*out.shape[:1], *expected.shape[1:]), expected.dtype)], out)
    execute(operation, targets, [rows], _module(rows.dtype.name), attributes, {"start": start})
    return out

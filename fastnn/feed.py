"""What people pass as x, y and sample weights, checked and brought into the form that a Program reads.

Nothing is copied that the gather kernel can read where it lies: any strides, floats, integers and bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import ops
from fastnn.layers.base import InputLayer

READABLE = ("float32", "float64", "uint8", "int32", "int64")


def as_input_arrays(x: Any, layers: Sequence[InputLayer]) -> list[NDArray[Any]]:
    """X as one array for each input of the network.

    Raises
    ------
    ValueError
        If a shape or the number of arrays does not fit; names the input, what was expected and what came.
    TypeError
        If something is not an array of numbers.
    """
    names = [layer.name for layer in layers]
    arrays = []
    for layer, value in zip(layers, _in_order(x, names, "x"), strict=True):
        what = "x" if len(layers) == 1 else f"x[{layer.name!r}]"
        array = _readable(ops.as_array(value, what), what)
        if array.ndim == len(layer.shape) and array.shape == layer.shape:
            raise ValueError(f"{what}: expected (n, {_listed(layer.shape)}), got one sample {array.shape}; use x[None]")
        if array.shape[1:] != layer.shape or array.ndim == 0:
            raise ValueError(f"{what}: expected shape (n, {_listed(layer.shape)}), got {array.shape}")
        if layer.dtype == "uint8" and array.dtype != np.uint8:
            raise TypeError(f"{what}: the input is declared as uint8, got {array.dtype}")
        arrays.append(array)
    return arrays


def count_rows(arrays: Sequence[NDArray[Any]]) -> int:
    """The number of rows, the same for all arrays.

    Raises
    ------
    ValueError
        If they differ.
    """
    counts = {len(array) for array in arrays}
    if len(counts) > 1:
        raise ValueError(f"all inputs must have the same number of rows, got {sorted(counts)}")
    return counts.pop()


@dataclass(frozen=True)
class Target:
    """What an output is compared with: how many dimensions its array has, and whether it holds class labels."""

    labels: bool
    shape: tuple[int, ...]  # of one sample


@dataclass(frozen=True)
class Samples:
    """Checked training data: arrays that Programs read in place.

    Attributes
    ----------
    inputs, targets
        An array for each input and for each output with a loss.
    kinds
        A Target for each of `targets`.
    weights
        One factor a row, or None.
    """

    inputs: list[NDArray[Any]]
    targets: list[NDArray[Any]]
    kinds: tuple[Target, ...]
    weights: NDArray[Any] | None

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.inputs[0])

    @property
    def signature(self) -> tuple[Any, ...]:
        """What a Program that reads these arrays depends on."""
        arrays = [*self.inputs, *self.targets, *([] if self.weights is None else [self.weights])]
        return tuple(array.dtype.name for array in arrays), self.kinds, self.weights is not None

    def bound(self) -> dict[str, NDArray[Any]]:
        """The arrays under the names of the blocks that a Program binds them to."""
        named = {f"input:x{i}": array for i, array in enumerate(self.inputs)}
        named |= {f"input:y{i}": array for i, array in enumerate(self.targets)}
        return named if self.weights is None else {**named, "input:weights": self.weights}

    def take(self, rows: Any) -> Samples:
        """Some of the rows: a slice (views) or an index array (copies)."""
        weights = None if self.weights is None else self.weights[rows]
        return Samples([a[rows] for a in self.inputs], [a[rows] for a in self.targets], self.kinds, weights)


def as_samples(x: Any, y: Any, layers: Sequence[InputLayer], output_names: Sequence[str],
               output_shapes: Sequence[tuple[int, ...]], losses: Sequence[Any], sample_weight: Any = None,
               class_weight: Mapping[int, float] | None = None) -> Samples:  # fmt: skip
    """Checks everything that training or evaluation reads, before anything changes.

    Raises
    ------
    ValueError, TypeError
        If shapes, numbers of rows, labels or weights do not fit; the message names the argument.
    """
    inputs = as_input_arrays(x, layers)
    n = count_rows(inputs)
    if n == 0:
        raise ValueError("x has no rows")
    targets, kinds = [], []
    for position, value in enumerate(_in_order(y, output_names, "y")):
        what = "y" if len(output_names) == 1 else f"y[{output_names[position]!r}]"
        target, kind = _target(ops.as_array(value, what), what, output_shapes[position], losses[position])
        if len(target) != n:
            raise ValueError(f"{what}: expected {n} rows, as many as x has, got {len(target)}")
        targets.append(target)
        kinds.append(kind)
    weights = _weights(sample_weight, class_weight, targets, kinds, n)
    return Samples(inputs, targets, tuple(kinds), weights)


def one_hot(labels: Any, classes: int, dtype: str = "float32") -> NDArray[Any]:
    """Integer labels (n,) as rows of zeros with a single one: (n, classes).

    Raises
    ------
    ValueError
        If a label is outside 0 ... classes - 1.
    """
    array = ops.as_array(labels, "labels")
    _check_labels(array, classes, "labels")
    result = np.zeros((*array.shape, classes), dtype)
    np.put_along_axis(result, array[..., None].astype(np.int64), 1, axis=-1)
    return result


def _in_order(value: Any, names: Sequence[str], what: str) -> list[Any]:
    """The arrays of a single value, a tuple or list of several, or a dict by name, in the order of `names`."""
    if value is None:
        raise TypeError(f"{what} is missing")
    if isinstance(value, Mapping):
        if set(value) != set(names):
            raise ValueError(f"{what}: expected the keys {sorted(names)}, got {sorted(map(str, value))}")
        return [value[name] for name in names]
    if len(names) == 1:
        return [value[0] if isinstance(value, tuple) and len(value) == 1 else value]
    if not isinstance(value, (tuple, list)) or len(value) != len(names):
        came = f"{len(value)}" if isinstance(value, (tuple, list)) else type(value).__name__
        raise ValueError(f"{what}: expected a tuple or dict of {len(names)} arrays ({', '.join(names)}), got {came}")
    return list(value)


def _readable(array: NDArray[Any], what: str) -> NDArray[Any]:
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what}: expected numbers, got dtype {array.dtype}")
    if array.dtype.name in READABLE and array.dtype.isnative:
        return array
    return array.astype(np.float64 if array.dtype.kind == "f" and array.dtype.itemsize > 4 else np.float32)


def _target(array: NDArray[Any], what: str, output: tuple[int, ...], loss: Any) -> tuple[NDArray[Any], Target]:
    """A target array and its kind: labels where the loss wants classes, else values of the output's shape."""
    if array.ndim == 0:
        raise ValueError(f"{what}: expected one target a row, got a single number")
    sample = array.shape[1:]
    if loss.targets == "classes" and sample in (output[:-1], (*output[:-1], 1)) and sample != output:
        labels = array.reshape(array.shape[0], *output[:-1])
        if labels.dtype.kind == "f":
            if not np.all(np.equal(np.floor(labels), labels)):
                raise ValueError(f"{what}: labels must be whole numbers without NaN")
            labels = labels.astype(np.int64)
        _check_labels(labels, output[-1], what)
        readable = labels if labels.dtype.name in ("int32", "int64", "uint8") else labels.astype(np.int64)
        return readable, Target(True, output[:-1])
    if sample == output[:-1] and output[-1:] == (1,):  # (n,) for an output of (n, 1), which NumPy would broadcast
        array, sample = array[..., None], output
    if sample != output:
        hint = "; use fnn.one_hot(y, classes) for labels" if sample == output[:-1] and array.dtype.kind in "iu" else ""
        raise ValueError(f"{what}: expected shape (n, {_listed(output)}), got {array.shape}{hint}")
    if array.dtype.kind == "f" and bool(np.isnan(array).any()):
        raise ValueError(f"{what}: contains NaN")
    return _readable(array, what), Target(False, output)


def _check_labels(labels: NDArray[Any], classes: int, what: str) -> None:
    if labels.dtype.kind not in "iub":
        raise TypeError(f"{what}: labels must be integers, got {labels.dtype}")
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        bad = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(f"{what}: labels must be in 0 ... {classes - 1}, got {bad}")


def _weights(sample_weight: Any, class_weight: Mapping[int, float] | None, targets: Sequence[NDArray[Any]],
             kinds: Sequence[Target], n: int) -> NDArray[Any] | None:  # fmt: skip
    """One factor a row from sample weights and class weights, multiplied."""
    weights = None
    if sample_weight is not None:
        weights = ops.as_array(sample_weight, "sample_weight").astype(np.float64)
        if weights.shape != (n,):
            raise ValueError(f"sample_weight: expected shape ({n},), got {weights.shape}")
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError("sample_weight: expected finite numbers of at least 0")
    if class_weight is not None:
        if len(targets) != 1:
            raise ValueError("class_weight needs a network with one output")
        labels = targets[0] if kinds[0].labels else np.round(np.reshape(targets[0], (n, -1))[:, 0])
        if labels.shape != (n,):
            raise ValueError("class_weight needs one integer label a row")
        try:
            factors = {int(key): float(factor) for key, factor in class_weight.items()}
        except (AttributeError, TypeError, ValueError) as problem:
            raise TypeError("class_weight: expected a dict of class to factor") from problem
        if any(not factor >= 0 or factor == float("inf") for factor in factors.values()):
            raise ValueError("class_weight: factors must be finite and at least 0")
        values, inverse = np.unique(labels, return_inverse=True)
        per_row = np.array([factors.get(int(value), 1.0) for value in values])[inverse]
        weights = per_row if weights is None else weights * per_row
    return weights


def _listed(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape)) or "..."

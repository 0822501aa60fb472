"""What people pass as x, y and sample weights, checked and brought into the form that a Program reads.

Nothing is copied that the gather kernel can read where it lies: any strides, floats, integers and bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn import ops
from fastnn._check import number, whole
from fastnn.layers.base import InputLayer

READABLE = frozenset(map(np.dtype, ("float32", "float64", "uint8", "int32", "int64")))  # in native byte order


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
        array = _readable(ops.as_array(value, what))
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


class Target(NamedTuple):
    """What an output is compared with: how many dimensions its array has, and whether it holds class labels."""

    labels: bool
    shape: tuple[int, ...]  # of one sample


class Samples(NamedTuple):
    """Checked training data: arrays that Programs read in place.

    Attributes
    ----------
    inputs, targets
        An array for each input and for each output with a loss.
    kinds
        A Target for each of `targets`.
    weights
        For each of `targets` one factor a row, or None.
    """

    inputs: list[NDArray[Any]]
    targets: list[NDArray[Any]]
    kinds: tuple[Target, ...]
    weights: list[NDArray[Any] | None]

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.inputs[0])

    @property
    def signature(self) -> tuple[Any, ...]:
        """What a Program that reads these arrays depends on."""
        return (tuple(array.dtype for array in (*self.inputs, *self.targets)), self.kinds,
                tuple(weights is not None for weights in self.weights))  # fmt: skip

    def bound(self) -> dict[str, NDArray[Any]]:
        """The arrays under the names of the blocks that a Program binds them to."""
        named = {f"input:x{i}": array for i, array in enumerate(self.inputs)}
        named |= {f"input:y{i}": array for i, array in enumerate(self.targets)}
        return named | {f"input:weights{i}": array for i, array in enumerate(self.weights) if array is not None}

    def take(self, rows: Any) -> Samples:
        """Some of the rows: a slice (views) or an index array (copies)."""
        weights = [None if each is None else each[rows] for each in self.weights]
        return Samples([a[rows] for a in self.inputs], [a[rows] for a in self.targets], self.kinds, weights)

    def weighted_by_class(self, class_weight: Mapping[int, float], output: tuple[int, ...]) -> Samples:
        """The same, each row's weight multiplied by the factor of its class; `output` is the shape of a prediction.

        Raises
        ------
        ValueError, TypeError
            If there are several outputs or classes a row, or a class or factor is none.
        """
        factors = _class_factors(class_weight, self.targets, self.kinds, output)
        own = self.weights[0]
        return self._replace(weights=[factors if own is None else own * factors])


def as_samples(x: Any, y: Any, layers: Sequence[InputLayer], output_names: Sequence[str],
               output_shapes: Sequence[tuple[int, ...]], losses: Sequence[Any],
               sample_weight: Any = None) -> Samples:  # fmt: skip
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
    return Samples(inputs, targets, tuple(kinds), _sample_factors(sample_weight, output_names, n))


def one_hot(labels: Any, classes: int, dtype: str = "float32") -> NDArray[Any]:
    """Integer labels (n,) as rows of zeros with a single one: (n, classes).

    Raises
    ------
    TypeError
        If labels or the number of classes are no whole numbers.
    ValueError
        If a label is outside 0 ... classes - 1.
    """
    whole("one_hot", "classes", classes, low=1)
    array = ops.as_array(labels, "labels")
    if array.dtype.kind == "f" and array.size:
        raise TypeError(f"labels must be integers, got {array.dtype}")
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


def _readable(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself where kernels can read it, else a copy: other types, or fields of packed records."""
    if array.dtype in READABLE and array.flags.aligned:
        if array.flags.c_contiguous or all(stride % array.itemsize == 0 for stride in array.strides):
            return array
        return np.ascontiguousarray(array)
    return array.astype(np.float64 if array.dtype.kind == "f" and array.dtype.itemsize > 4 else np.float32)


def _target(array: NDArray[Any], what: str, output: tuple[int, ...], loss: Any) -> tuple[NDArray[Any], Target]:
    """A target array and its kind: labels where the loss wants classes, else values of the output's shape."""
    if array.ndim == 0:
        raise ValueError(f"{what}: expected one target a row, got a single number")
    sample = array.shape[1:]
    if loss.targets == "classes" and sample in (output[:-1], (*output[:-1], 1)) and sample != output:
        labels = array.reshape(array.shape[0], *output[:-1])
        if labels.dtype.kind == "f" and not np.array_equal(np.floor(labels), labels):
            raise ValueError(f"{what}: labels must be whole numbers without NaN")
        _check_labels(labels, output[-1], what)
        is_whole = labels.dtype.kind in "iu" and labels.dtype in READABLE
        return _readable(labels if is_whole else labels.astype(np.int64)), Target(True, output[:-1])
    if sample == output[:-1] and output[-1:] == (1,):  # (n,) for an output of (n, 1), which NumPy would broadcast
        array, sample = array[..., None], output
    if sample != output:
        hint = "; use fnn.one_hot(y, classes) for labels" if sample == output[:-1] and array.dtype.kind in "iu" else ""
        raise ValueError(f"{what}: expected shape (n, {_listed(output)}), got {array.shape}{hint}")
    _check_values(array, loss.target_range, what)
    if loss.signs and array.size and not (np.abs(array) == 1).all():
        raise ValueError(f"{what}: this loss expects targets of -1 and +1")
    return _readable(array), Target(False, output)


def _check_values(array: NDArray[Any], allowed: tuple[float, float] | None, what: str) -> None:
    """Refuses targets that are not finite, or outside what the loss can compare with."""
    if not array.size:
        return
    low, high = array.min(), array.max()  # NaN if there is one
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{what}: expected finite numbers, got {high if np.isfinite(low) else low}")
    if allowed is not None and not (allowed[0] <= low and high <= allowed[1]):
        bad = low if low < allowed[0] else high
        raise ValueError(f"{what}: this loss expects targets between {allowed[0]:g} and {allowed[1]:g}, got {bad:g}")


def _check_labels(labels: NDArray[Any], classes: int, what: str) -> None:
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        bad = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(f"{what}: labels must be in 0 ... {classes - 1}, got {bad:g}")


def _sample_factors(sample_weight: Any, names: Sequence[str], n: int) -> list[NDArray[Any] | None]:
    """Sample weights for each output: one array for all, a dict by name, or a tuple or list of arrays and Nones."""
    if isinstance(sample_weight, Mapping):
        unknown = set(sample_weight) - set(names)
        if unknown:
            came = sorted(map(str, sample_weight))
            raise ValueError(f"sample_weight: expected keys among {sorted(names)}, got {came}")
        return [_factors(sample_weight.get(name), f"sample_weight[{name!r}]", n) for name in names]
    several = isinstance(sample_weight, (tuple, list)) and len(sample_weight) == len(names)
    if several and any(each is None or np.ndim(each) for each in sample_weight):
        return [_factors(each, f"sample_weight[{name!r}]", n) for name, each in zip(names, sample_weight, strict=True)]
    return [_factors(sample_weight, "sample_weight", n)] * len(names)


def _factors(value: Any, what: str, n: int) -> NDArray[Any] | None:
    """One factor a row."""
    if value is None:
        return None
    weights = ops.as_array(value, what).astype(np.float64)
    if weights.shape != (n,):
        raise ValueError(f"{what}: expected shape ({n},), got {weights.shape}")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"{what}: expected finite numbers of at least 0")
    return weights


def _class_factors(class_weight: Mapping[int, float], targets: Sequence[NDArray[Any]], kinds: Sequence[Target],
                   output: tuple[int, ...]) -> NDArray[Any]:  # fmt: skip
    """The factor of each row's class; classes that are not named have 1."""
    if len(targets) != 1:
        raise ValueError("class_weight needs a network with one output")
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"class_weight: expected a dict of class to factor, got {type(class_weight).__name__}")
    labels = _labels(targets[0], kinds[0])
    if labels.ndim != 1:
        raise ValueError("class_weight needs one class a row")
    classes = max(2, *output[-1:])  # a single number tells two
    for key, factor in class_weight.items():
        if isinstance(key, bool) or not isinstance(key, (int, np.integer)) or not 0 <= key < classes:
            raise ValueError(f"class_weight: expected classes in 0 ... {classes - 1} as keys, got {key!r}")
        number("class_weight", f"the factor of class {key}", factor, low=0.0)
    values, inverse = np.unique(labels, return_inverse=True)
    return np.array([class_weight.get(int(value), 1.0) for value in values], np.float64)[inverse]


def _labels(target: NDArray[Any], kind: Target) -> NDArray[Any]:
    """Classes of the rows: labels as they are, 0 or 1 of a single number, the largest of several."""
    if kind.labels:
        return target
    return np.round(target[..., 0]) if kind.shape[-1:] == (1,) else np.argmax(target, axis=-1)


def _listed(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape)) or "..."

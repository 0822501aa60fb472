"""What a layer is: it declares parameters, and combines symbolic tensors in `forward`.

Layers are joined by calling them on `Wire`s, which know a shape and where they come from. Values, gradients and memory
belong to the network that is made from them.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastnn import _check, initializers
from fastnn.graph.tensor import Graph, Symbol, Tensor
from fastnn.kernels.eager import MAX_AXES
from fastnn.program import Extent

ROWS = "rows"  # the name of the extent that counts a batch's rows


class Parameter(Symbol):
    """An array that training changes: its name, shape and how it starts.

    In `forward` it stands for its own tensor: `ops.matmul(x, self.weight)`, `x * self.scale`.

    Attributes
    ----------
    name
        "<layer>.<parameter>" once the layer belongs to a network.
    shape
        A tuple of positive integers.
    initializer
        A callable `(shape, rng) -> array`, see `fastnn.initializers`.
    regularized
        Whether L1 and L2 penalties apply: by default to everything with two dimensions or more, so not to biases.
    """

    def __init__(self, name: str, shape: Sequence[int], initializer: Any, regularized: bool | None = None) -> None:
        self.name = name
        self._shape = tuple(_positive(size, f"parameter {name!r}") for size in shape)
        self.initializer = initializers.get(initializer)
        self.regularized = len(self._shape) >= 2 if regularized is None else regularized

    @property
    def shape(self) -> tuple[int, ...]:
        """All dimensions are numbers."""
        return self._shape

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, {self.shape})"


class Wire:
    """The output of a layer, or an input of the network, before there is a network.

    Attributes
    ----------
    shape
        Of one sample: without the batch axis.
    """

    def __init__(self, layer: Layer, inputs: tuple[Wire, ...], shape: tuple[int, ...], index: int = 0) -> None:
        self.layer = layer
        self.inputs = inputs
        self.shape = shape
        self.index = index

    def __repr__(self) -> str:
        return f"Wire(from {self.layer.name}, shape={self.shape})"


class Layer:
    """Base class of all layers.

    A layer of one's own is one class: store the constructor's arguments under their own names (they are saved with the
    network), declare parameters in `build`, compute in `forward`. Nobody writes a gradient by hand. The `copy.deepcopy`
    of a layer takes its weights along, into another network.

    >>> class Scale(Layer):
    ...     def build(self, shape):
    ...         self.factor = self.parameter("factor", shape[-1:], "ones")
    ...     def forward(self, x):
    ...         return x * self.factor
    """

    classes: ClassVar[dict[str, type[Layer]]] = {}
    name: str = ""
    trainable: bool = True
    block: Any = None  # the ParameterBlock that its parameters lie in, once a network has made one

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        Layer.classes[cls.__name__] = cls

    @property
    def parameters(self) -> list[Parameter]:
        """The parameters declared so far, in order."""
        return self.__dict__.setdefault("_parameters", [])

    @property
    def built(self) -> bool:
        """Whether `build` has run."""
        return bool(self.__dict__.get("_built", False))

    def parameter(self, name: str, shape: Sequence[int], initializer: Any = "zeros", *,
                  regularized: bool | None = None) -> Parameter:  # fmt: skip
        """Declares a parameter; call it in `build`.

        Raises
        ------
        ValueError
            If the name is taken, or the shape or the initializer is not valid.
        """
        if any(other.name == name for other in self.parameters):
            raise ValueError(f"{type(self).__name__}: parameter {name!r} is declared twice")
        made = Parameter(name, shape, initializer, regularized)
        self.parameters.append(made)
        return made

    def build(self, *shapes: tuple[int, ...]) -> None:
        """Declares parameters, given the shapes of the inputs (of one sample each). Layers without any skip it."""

    def forward(self, *inputs: Tensor) -> Any:
        """Combines symbolic tensors, the batch axis first, into one or a tuple of them."""
        raise NotImplementedError(f"{type(self).__name__} must define forward()")

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, from the attributes of the same names."""
        declared = inspect.signature(type(self).__init__).parameters.values()
        several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        names = [each.name for each in declared if each.name != "self" and each.kind not in several]
        missing = [name for name in names if not hasattr(self, name)]
        if missing:
            raise TypeError(
                f"{type(self).__name__} cannot be saved: it keeps no attribute {missing[0]!r} for its constructor's "
                "argument of that name"
            )
        return {name: getattr(self, name) for name in names}

    def __call__(self, *wires: Any) -> Any:
        """Joins the layer to wires (several arguments, or one list); returns its output wire, or a tuple of them.

        Raises
        ------
        TypeError
            If an argument is not a wire.
        ValueError
            If the shapes do not suit the layer.
        """
        flat = tuple(wires[0]) if len(wires) == 1 and isinstance(wires[0], (list, tuple)) else wires
        for wire in flat:
            if not isinstance(wire, Wire):
                raise TypeError(
                    f"{self.label}: a layer is called on fnn.Input(...) or on another layer's output, "
                    f"got {type(wire).__name__}"
                )
        shapes = [wire.shape for wire in flat]
        if self.parameters and self.built and shapes != self.__dict__["_built_for"]:
            raise ValueError(f"{self.label} was built for inputs {self.__dict__['_built_for']}, got {shapes}")
        outputs = self._output_shapes(shapes) if self.built else self._build_for(shapes)
        made = tuple(Wire(self, flat, shape, index) for index, shape in enumerate(outputs))
        return made[0] if len(made) == 1 else made

    def _build_for(self, shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Builds the layer and returns its outputs' shapes; if that fails, the layer is as it was before."""
        if not (self._accepts(self.build, len(shapes)) and self._accepts(self.forward, len(shapes))):
            raise ValueError(f"{self.label} does not take {len(shapes)} inputs")
        try:
            self.build(*shapes)
            outputs = self._output_shapes(shapes)
        except BaseException:
            self.parameters.clear()
            raise
        self.__dict__["_built"] = True
        self.__dict__["_built_for"] = shapes
        return outputs

    @property
    def label(self) -> str:
        """How errors call this layer."""
        return f"layer {self.name!r}" if self.name else type(self).__name__

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "block"}

    def __deepcopy__(self, memo: dict[int, Any]) -> Layer:
        """A layer that belongs to no network yet, and starts from the weights that this one has now."""
        made = object.__new__(type(self))
        memo[id(self)] = made
        made.__dict__.update(copy.deepcopy(self.__getstate__(), memo))
        if self.block is not None and id(self.block) not in memo:  # else the whole network is copied, memory and all
            for mine, its in zip(self.parameters, made.parameters, strict=True):
                its.initializer = _PresentValues(self.block.view(mine).copy())
        return made

    @staticmethod
    def _accepts(function: Any, count: int) -> bool:
        try:
            inspect.signature(function).bind(*[None] * count)
        except TypeError:
            return False
        return True

    def _output_shapes(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Traces `forward` on inputs of these shapes, only to learn what comes out."""
        rows = Extent(ROWS, 1)
        if not self._accepts(self.forward, len(shapes)):
            raise ValueError(f"{self.label} does not take {len(shapes)} inputs")
        with Graph() as graph:
            inputs = [graph.input(f"input{i}", (rows, *shape)) for i, shape in enumerate(shapes)]
            try:
                results = self.forward(*inputs)
            except (ValueError, TypeError, AttributeError) as problem:
                raise type(problem)(f"{self.label}, given {_listed(shapes)}: {problem}") from problem
        _refuse_mixing(graph, rows, self.label)
        tensors = results if isinstance(results, tuple) else (results,)
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{self.label}: forward() must return a symbolic tensor, got {type(tensor).__name__}")
            if tensor.shape[:1] != (rows,):
                raise ValueError(f"{self.label}: forward() must keep the batch axis first, got shape {tensor.shape}")
        return [tuple(int(size) for size in tensor.shape[1:]) for tensor in tensors]


class _PresentValues(initializers.Initializer):
    """Those that a parameter has at this moment: how its copy begins."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values

    def sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
        """The values."""
        return self.values


def _refuse_mixing(graph: Graph, rows: Extent, label: str) -> None:
    """A row's result must not depend on the other rows of its batch.

    Raises
    ------
    ValueError
        If an operation loses the batch axis.
    """
    for node in graph.nodes:
        mixes = any(tensor is not None and rows in tensor.shape for tensor in node.inputs)
        if mixes and not any(rows in output.shape for output in node.outputs):
            raise ValueError(f"{label}: {node.operation.name} mixes the rows of the batch; use an axis other than 0")


class InputLayer(Layer):
    """Where data enters the network; made by `Input`."""

    def __init__(self, shape: tuple[int, ...], dtype: str | None = None, scale: float = 1.0, name: str = "") -> None:
        self.shape = shape
        self.dtype = dtype
        self.scale = scale
        self.name = name

    def forward(self, *inputs: Tensor) -> Tensor:
        """The input itself."""
        return inputs[0]


def Input(shape: int | Sequence[int], dtype: Any = None, scale: float = 1.0, name: str = "") -> Wire:
    """An input of a network.

    Parameters
    ----------
    shape
        Of one sample, without the batch axis; an integer n means (n,).
    dtype
        "uint8" declares byte images: they stay bytes in memory and are converted a batch at a time. None means the
        network's own dtype.
    scale
        Every value is multiplied by it on the way in, e.g. 1/255 for bytes.
    name
        By which a dict of arrays refers to it.

    Raises
    ------
    ValueError, TypeError
        If the shape has a size below 1 or too many axes, dtype is something else, or scale is no finite number.
    """
    kind = dtype if dtype is None or isinstance(dtype, str) else np.dtype(dtype).name
    if kind not in (None, "uint8", "float32", "float64"):
        raise ValueError(f"Input: dtype must be None, 'uint8', 'float32' or 'float64', got {dtype!r}")
    _check.number("Input", "scale", scale)
    layer = InputLayer(as_shape(shape, "Input"), kind, float(scale), name)
    return Wire(layer, (), layer.shape)


def as_shape(shape: Any, what: str) -> tuple[int, ...]:
    """A shape as a tuple of positive integers; a single integer means one axis."""
    sizes = (shape,) if isinstance(shape, int) or not hasattr(shape, "__iter__") else tuple(shape)
    if len(sizes) >= MAX_AXES:
        raise ValueError(f"{what}: at most {MAX_AXES - 1} axes beside the batch are possible, got {len(sizes)}")
    return tuple(_positive(size, what) for size in sizes)


def _positive(size: Any, what: str) -> int:
    if isinstance(size, bool) or not hasattr(size, "__index__"):
        raise TypeError(f"{what}: a size must be an integer, got {size!r}")
    if int(size) < 1:
        raise ValueError(f"{what}: a size must be at least 1, got {size}")
    return int(size)


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(f"an input of shape {shape}" for shape in shapes)

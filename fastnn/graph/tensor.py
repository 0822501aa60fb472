"""Symbols: a `Tensor` stands for an array that a Program will compute; a `Graph` records how.

Inside `with Graph(...)`, every operation applied to a Tensor, a number or a Parameter becomes a `Node`. The graph knows
operations only by what the table in `program.py` says of them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from fastnn.kernels.eager import MAX_AXES
from fastnn.program import OPERATIONS, Extent, Operation, Shape, Spec


class Variable(Protocol):
    """What a graph needs to know of a parameter: a block of memory that outlives the run."""

    @property
    def name(self) -> str:
        """By which people know it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """All its dimensions are numbers."""


class Node:
    """One operation applied to tensors."""

    def __init__(self, operation: Operation, inputs: Sequence[Tensor | None], attributes: Mapping[str, Any],
                 graph: Graph) -> None:  # fmt: skip
        self.operation = operation
        self.inputs = tuple(inputs)
        self.attributes = dict(attributes)
        self.graph = graph
        found = operation.infer(specs(inputs), attributes)
        for spec in found:
            if len(spec.shape) > MAX_AXES:
                raise ValueError(f"{operation.name}: up to {MAX_AXES} dimensions are possible, got shape {spec.shape}")
        self.outputs = tuple(Tensor(self, index, spec) for index, spec in enumerate(found))

    def __repr__(self) -> str:
        return f"{self.operation.name}{self.inputs}"


def specs(tensors: Sequence[Tensor | None]) -> list[Spec | None]:
    """Their shapes and types."""
    return [None if tensor is None else tensor.spec for tensor in tensors]


class Symbol:
    """Something that stands for an array in a trace: a Tensor or a parameter. Arithmetic on it records nodes."""

    __array_priority__: ClassVar[float] = 1000.0  # NumPy arrays leave mixed arithmetic to us

    @property
    def shape(self) -> Shape:
        """Dimensions; an Extent where the size is only known at run time."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a symbolic tensor has no {name!r}: what can be done with it is in fastnn.ops, such as "
                             "ops.mean(x), ops.reshape(x, ...)")  # fmt: skip

    def __bool__(self) -> bool:
        raise TypeError("a symbolic tensor has no value yet: Python's if, and, or and while cannot depend on it")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("a symbolic tensor has no value yet: use fastnn.ops on it instead of NumPy's functions")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Tensor:
        """What NumPy's numbers call for `np.float32(2) * x`; its functions proper are refused."""
        name, swapped = ufunc.__name__, {"greater": "less", "greater_equal": "less_equal"}
        plain = method == "__call__" and not options
        if plain and name in swapped:
            return apply(swapped[name], *reversed(inputs))
        if plain and name in ("add", "subtract", "multiply", "divide", *swapped.values()):
            return apply(name, *inputs)
        raise TypeError(f"a symbolic tensor has no value yet: use fastnn.ops on it instead of NumPy's {name}")

    def __float__(self) -> float:
        raise TypeError("a symbolic tensor has no value yet: it cannot become a number while a Program is traced")

    def __add__(self, other: Any) -> Tensor:
        return apply("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return apply("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return apply("subtract", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return apply("subtract", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return apply("multiply", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return apply("multiply", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return apply("divide", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return apply("divide", other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return apply("matmul", self, other, None)

    def __neg__(self) -> Tensor:
        return apply("negative", self)

    def __abs__(self) -> Tensor:
        return apply("absolute", self)

    def __lt__(self, other: Any) -> Tensor:
        return apply("less", self, other)

    def __le__(self, other: Any) -> Tensor:
        return apply("less_equal", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return apply("less", other, self)

    def __ge__(self, other: Any) -> Tensor:
        return apply("less_equal", other, self)

    def __eq__(self, other: object) -> bool:
        """Two symbols are equal if they are one: lists and dicts of them depend on it."""
        if not isinstance(other, Symbol) and (isinstance(other, (int, float)) or hasattr(other, "__array__")):
            raise TypeError("a symbolic tensor has no value yet: ops.equal(x, y) is 1 where they are equal, else 0")
        return self is other

    __hash__ = object.__hash__

    def __pow__(self, exponent: Any) -> Tensor:
        names = {2: "square", 0.5: "sqrt", -1: "reciprocal"}
        if isinstance(exponent, (int, float)) and exponent in names:
            return apply(names[exponent], self)
        if isinstance(exponent, int) and exponent > 2:
            return apply("multiply", self ** (exponent - 1), self)
        raise TypeError(
            f"a symbolic tensor can be raised to 2, 3, 4, ..., 0.5 and -1, got {exponent!r}; "
            "for other powers use ops.exp(exponent * ops.log(x))"
        )

    def __getitem__(self, key: Any) -> Tensor:
        """Slices without steps, of axes whose size is known: `x[:, 2:5]`."""
        result = self if isinstance(self, Tensor) else current().variable(self)  # type: ignore[arg-type]
        for axis, part in enumerate(key if isinstance(key, tuple) else (key,)):
            if part == slice(None):
                continue
            if not isinstance(part, slice) or part.step not in (None, 1) or axis >= result.ndim:
                raise TypeError(f"a symbolic tensor takes slices without steps, such as x[:, 2:5], got {key!r}")
            size = result.shape[axis]
            if isinstance(size, Extent):
                raise TypeError(f"axis {axis} has a size that is only known at run time, and cannot be sliced")
            start, stop, _ = part.indices(size)
            result = apply("slice", result, axis=axis, start=start, stop=max(start, stop))
        return result


class Tensor(Symbol):
    """The symbol of one array: output `index` of a node."""

    def __init__(self, node: Node, index: int, spec: Spec) -> None:
        self.node = node
        self.index = index
        self.spec = spec

    @property
    def shape(self) -> Shape:
        """Dimensions; an Extent where the size is only known at run time."""
        return self.spec.shape

    @property
    def dtype(self) -> str:
        """The dtype's name."""
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.spec.shape)

    def __repr__(self) -> str:
        return f"Tensor({self.node.operation.name}, shape={self.shape}, {self.dtype})"


class Graph:
    """The nodes of one trace, in the order they were made (so every node's inputs come before it).

    Parameters
    ----------
    dtype
        Of parameters and of numbers that enter the trace.
    training
        What layers such as Dropout ask for.
    seed
        Of the random operations in it.
    instead
        Operations that are recorded in place of others, by name.
    """

    def __init__(self, dtype: str = "float32", *, training: bool = False, seed: int = 0,
                 instead: Mapping[str, str] | None = None) -> None:  # fmt: skip
        self.dtype = dtype
        self.instead = instead or {}
        self.training = training
        self.seed = seed
        self.nodes: list[Node] = []
        self.variables: dict[Any, Tensor] = {}
        self.random_operations = 0

    def __enter__(self) -> Graph:
        _active.graphs.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        del _active.graphs[_active.graphs.index(self) :]  # and what a signal's exception has left behind above it

    def add(self, name: str, inputs: Sequence[Tensor | None] = (), /, **attributes: Any) -> Node:
        """Records an operation, by its name in the table."""
        node = Node(OPERATIONS[self.instead.get(name, name)], inputs, attributes, self)
        self.nodes.append(node)
        return node

    def input(self, name: str, shape: Shape, dtype: str | None = None) -> Tensor:
        """A tensor whose values come from outside, at each run."""
        return self.add("input", name=name, spec=Spec(tuple(shape), dtype or self.dtype)).outputs[0]

    def variable(self, variable: Variable) -> Tensor:
        """The tensor that stands for a parameter, one per parameter and graph."""
        if variable not in self.variables:
            spec = Spec(tuple(variable.shape), self.dtype)
            self.variables[variable] = self.add("variable", variable=variable, spec=spec).outputs[0]
        return self.variables[variable]

    def constant(self, value: float) -> Tensor:
        """A number as a tensor without dimensions."""
        return self.add("constant", value=float(value), spec=Spec((), self.dtype)).outputs[0]

    def next_random(self) -> int:
        """The number of the next random operation: with the seed and the step it picks a stream of its own."""
        self.random_operations += 1
        return self.random_operations - 1


class _Active(threading.local):
    def __init__(self) -> None:
        self.graphs: list[Graph] = []


_active = _Active()


def current() -> Graph:
    """The graph being traced in this thread.

    Raises
    ------
    RuntimeError
        If nothing is being traced.
    """
    if not _active.graphs:
        raise RuntimeError("nothing is being traced: a layer's forward() runs only inside a network")
    return _active.graphs[-1]


def as_tensor(value: Any) -> Tensor | None:
    """A value as a tensor of the current graph: a Tensor, a parameter, a number, or None."""
    if value is None or isinstance(value, Tensor):
        return value
    if isinstance(value, Symbol):
        return current().variable(value)  # type: ignore[arg-type]
    if isinstance(value, (int, float)) or getattr(value, "ndim", None) == 0:
        return current().constant(float(value))
    raise TypeError(
        f"a {type(value).__name__} cannot enter a traced computation: expected a symbolic tensor, a parameter or a "
        "number; arrays become parameters (Layer.parameter) or inputs"
    )


def apply(name: str, *values: Any, **attributes: Any) -> Tensor:
    """Records an operation with one output of interest and returns its first output."""
    return apply_all(name, *values, **attributes)[0]


def apply_all(name: str, *values: Any, **attributes: Any) -> tuple[Tensor, ...]:
    """Records an operation and returns all its outputs."""
    tensors = [as_tensor(value) for value in values]
    graph = next((tensor.node.graph for tensor in tensors if tensor is not None), None) or current()
    return graph.add(name, tensors, **attributes).outputs


# The three sources of tensors. They have no kernel: the planner gives them memory.
for _name in ("input", "variable", "constant"):
    OPERATIONS[_name] = Operation(
        _name,
        infer=lambda inputs, attributes: [attributes["spec"]],
        reference=lambda xp, inputs, attributes, run: [],
        flops=lambda inputs, outputs, attributes: 0,
    )

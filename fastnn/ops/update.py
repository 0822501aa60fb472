"""Updates: what a gradient does to a parameter and to what its optimizer remembers, in one pass over memory.

With gradient g, parameter w, rate = learning_rate * rate_scale, and states in the order of the table below:

    sgd                w -= rate g
    momentum           v = momentum v + (1 - dampening) g;  w -= rate v
    nesterov           the same v;  w -= rate (g + momentum v)                  (Sutskever et al., 2013)
    rmsprop            s = alpha s + (1 - alpha) g²;  w -= rate g / (√s + eps)  (Hinton, 2012)
    rmsprop_momentum   the same s;  v = momentum v + g / (√s + eps);  w -= rate v
    adagrad            s += g²;  w -= rate g / (√s + eps)                       (Duchi et al., 2011)
    adam, adamw        m = beta1 m + (1 - beta1) g;  s = beta2 s + (1 - beta2) g²
                       w -= rate (m / correction1) / (√(s / correction2) + eps) (Kingma and Ba, 2015)

where correction1 = 1 - beta1^t and correction2 = 1 - beta2^t in step t = 1, 2, ... Before the rule, g is multiplied by
`scale` (see `clip_scale`), limited to [-clip_value, clip_value], and l2 w, weight_decay w and l1 sign(w) are added to
it; adamw instead starts with w *= 1 - rate weight_decay (Loshchilov and Hutter, 2019). These are PyTorch's formulas,
but for dampening, which PyTorch leaves out in the very first step, and for states that have decayed below the smallest
normal number (1.2e-38 in float32), which become 0. The exact order is in kernels/update.pxi.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from fastnn.graph.tensor import Symbol, apply, apply_all
from fastnn.ops._dispatch import Array, Operand, as_array, dispatch, execute, expect_floats, front, inferred
from fastnn.ops._elementwise import COMBINATIONS
from fastnn.program import FLOATS, OPERATIONS, Attributes, Kernel, Operation, Spec, cast, register

NORM_CHUNK = 4096  # as in kernels/update.pxi
ADJUSTMENTS = ("weight_decay", "l1", "l2", "clip_value")  # what may be done to a gradient before the rule sees it
SUMS_AT_ONCE = 11  # an instruction has room for twelve operands, and one is the result


class Rule(NamedTuple):
    """One row of the table above: the kernel's code, and the names of its three numbers ("" where it has none)."""

    code: int
    n_states: int
    numbers: tuple[str, str, str]
    flops: int

    @property
    def adam(self) -> bool:
        """Whether it needs bias corrections."""
        return self.code == 6


RULES = {
    "sgd": Rule(0, 0, ("", "", ""), 2),
    "momentum": Rule(1, 1, ("momentum", "dampening", ""), 5),
    "nesterov": Rule(2, 1, ("momentum", "dampening", ""), 7),
    "rmsprop": Rule(3, 1, ("", "alpha", "eps"), 9),
    "rmsprop_momentum": Rule(4, 2, ("momentum", "alpha", "eps"), 11),
    "adagrad": Rule(5, 1, ("", "", "eps"), 7),
    "adam": Rule(6, 2, ("beta1", "beta2", "eps"), 14),
    "adamw": Rule(6, 2, ("beta1", "beta2", "eps"), 14),
}
NEEDED = {name: frozenset(filter(None, rule.numbers)) for name, rule in RULES.items()}


def _penalties(name: str, attributes: Attributes) -> tuple[float, float]:
    """Decoupled decay, and all that is added to the gradient in proportion to w."""
    decay, l2 = attributes["weight_decay"], attributes["l2"]
    return (decay, l2) if name == "adamw" else (0.0, l2 + decay)


def _numbers(name: str) -> Callable[[Attributes], tuple[float, ...]]:
    def numbers(attributes: Attributes) -> tuple[float, ...]:
        decay, l2 = _penalties(name, attributes)
        clip = math.inf if attributes["clip_value"] is None else attributes["clip_value"]
        own = (attributes[each] if each else 0.0 for each in RULES[name].numbers)
        return (attributes["rate_scale"], decay, attributes["l1"], l2, clip, *own)

    return numbers


def _adjusted(xp: ModuleType, name: str, g: Any, scale: Any, w: Any, attributes: Attributes) -> Any:
    """The gradient as the rule sees it."""
    _, l2 = _penalties(name, attributes)
    kind = w.dtype.type
    if scale is not None:
        g = g * scale
    if attributes["clip_value"] is not None:
        g = xp.clip(g, -kind(attributes["clip_value"]), kind(attributes["clip_value"]))
    if l2:
        g = g + kind(l2) * w
    if attributes["l1"]:
        g = g + kind(attributes["l1"]) * xp.sign(w)
    return g


def _reference(name: str) -> Callable[..., Sequence[Any]]:
    """The rule in terms of an array module; inputs are gradient, scale, parameter, states."""
    rule = RULES[name]

    def reference(xp: ModuleType, inputs: Sequence[Any], attributes: Attributes, run: Mapping[str, float]) -> list[Any]:
        parameter, *states = changed(xp, inputs, attributes, run)
        return [parameter, *(xp.where(abs(each) < xp.finfo(each.dtype).tiny, 0, each) for each in states)]

    def changed(xp: ModuleType, inputs: Sequence[Any], attributes: Attributes, run: Mapping[str, float]) -> list[Any]:
        g, scale, w, *states = inputs
        kind = w.dtype.type
        g = _adjusted(xp, name, g, scale, w, attributes)
        rate = run["learning_rate"] * attributes["rate_scale"]
        down = cast(rate, kind)
        first, second, eps = (attributes[each] if each else 0.0 for each in rule.numbers)
        if name == "sgd":
            return [w - down * g]
        if name in ("momentum", "nesterov"):
            v = kind(first) * states[0] + kind(1 - second) * g
            return [w - down * (v if name == "momentum" else g + kind(first) * v), v]
        if rule.adam:
            m = states[0] + kind(1 - first) * (g - states[0])
            s = kind(second) * states[1] + kind(1 - second) * g * g
            size = xp.sqrt(s) * cast(run["correction2"] ** -0.5, kind) + kind(eps)
            decay, _ = _penalties(name, attributes)
            shrink = cast(1 - rate * decay, kind)
            return [w * shrink - cast(rate / run["correction1"], kind) * (m / size), m, s]
        s = states[0] + g * g if name == "adagrad" else kind(second) * states[0] + kind(1 - second) * g * g
        step = g / (xp.sqrt(s) + kind(eps))
        if name == "rmsprop_momentum":
            v = kind(first) * states[1] + step
            return [w - down * v, s, v]
        return [w - down * step, s]

    return reference


def _infer(name: str) -> Callable[..., Sequence[Spec]]:
    n_states = RULES[name].n_states

    def infer(inputs: Sequence[Spec | None], attributes: Attributes) -> Sequence[Spec]:
        gradient, scale, *changed = inputs
        present = [spec for spec in (gradient, *changed) if spec is not None]
        if len(present) != n_states + 2:
            raise ValueError(f"update: {name} has {n_states} states, got {len(present) - 2}")
        expect_floats("update", *present)
        if any(spec.shape != present[0].shape for spec in present):
            shapes = ", ".join(str(spec.shape) for spec in present)
            raise ValueError(f"update: gradient, parameter and states must have one shape, got {shapes}")
        if scale is not None and (scale.shape or scale.dtype != present[0].dtype):
            raise ValueError(f"update: scale must be one {present[0].dtype}, got {scale.dtype} {scale.shape}")
        return present[1:]

    return infer


def _register_rule(name: str) -> None:
    rule = RULES[name]
    slots = ("learning_rate", "correction1", "correction2") if rule.adam else ("learning_rate",)
    register(
        Operation(
            f"update_{name}",
            infer=_infer(name),
            reference=_reference(name),
            slots=lambda attributes: slots,
            kernel=Kernel(
                "update_adam" if rule.adam else "update",
                integers=lambda attributes: () if rule.adam else (rule.code,),
                numbers=_numbers(name),
                n_outputs=3,
            ),
            flops=lambda inputs, outputs, attributes: rule.flops * inputs[0].size if inputs[0] else 0,
            plain_update=lambda attributes: rule.code == 0 and not any(map(attributes.get, ADJUSTMENTS)),
            in_place=tuple((i, i + 2) for i in range(1 + rule.n_states)),
            cost=0.04,
        )
    )


for _name in RULES:
    _register_rule(_name)
UPDATES = {name: OPERATIONS[f"update_{name}"] for name in RULES}


def update(rule: str, parameter: Any, states: Sequence[Any], gradient: Operand, scale: Any = None, *,
           learning_rate: float | None = None, step: int | None = None, rate_scale: float = 1.0,
           weight_decay: float = 0.0, l1: float = 0.0, l2: float = 0.0, clip_value: float | None = None,
           **numbers: float) -> tuple[Any, ...]:  # fmt: skip
    """One step of an optimizer, in place: changes `parameter` and `states` and returns them.

    Parameters
    ----------
    rule
        "sgd", "momentum", "nesterov", "rmsprop", "rmsprop_momentum", "adagrad", "adam" or "adamw"; the formulas stand
        at the top of this file.
    parameter, states
        Writeable arrays of one shape and float type, or tensors with lasting places.
    gradient
        Of the same shape.
    scale
        Multiplies the gradient: one number in an array without dimensions, as `clip_scale` returns it.
    learning_rate, step
        For arrays; step counts from 0. In a trace the run row has them (and the bias corrections).
    rate_scale
        Multiplies the learning rate.
    weight_decay, l1, l2
        Penalties: see the top of this file.
    clip_value
        Limits each element of the gradient, if it is not None.
    numbers
        What the rule needs: momentum, dampening, alpha, beta1, beta2, eps.

    Raises
    ------
    ValueError, TypeError
        If there is no such rule, a number is missing or unknown, or operands do not fit.
    """
    operation = UPDATES.get(rule)
    if operation is None:
        raise ValueError(f"update: there is no rule {rule!r}; there are {', '.join(RULES)}")
    if numbers.keys() != NEEDED[rule]:
        needed = ", ".join(filter(None, RULES[rule].numbers)) or "no numbers"
        raise TypeError(f"update: {rule} needs {needed}, got {', '.join(numbers) or 'none'}")
    attributes = {
        "rate_scale": float(rate_scale), "weight_decay": float(weight_decay), "l1": float(l1), "l2": float(l2),
        "clip_value": clip_value, **numbers,
    }  # fmt: skip
    if isinstance(parameter, Symbol):
        if learning_rate is not None or step is not None:
            raise ValueError("update: in a trace learning_rate and step come from the run row")
        return apply_all(f"update_{rule}", gradient, scale, parameter, *states, **attributes)
    if learning_rate is None:
        raise ValueError("update: arrays need learning_rate=")
    t = 1 if step is None else step + 1
    run = {"learning_rate": learning_rate}
    if "beta1" in numbers:
        run |= {"correction1": 1.0 - numbers["beta1"] ** t, "correction2": 1.0 - numbers["beta2"] ** t}
    return _in_place(operation, (parameter, *states), (gradient, scale), attributes, run)


def _in_place(operation: Operation, targets: tuple[Any, ...], others: tuple[Any, ...], attributes: dict[str, Any],
              run: Mapping[str, float]) -> tuple[Array, ...]:  # fmt: skip
    """Runs an update on arrays, whose inputs are `others` and then what it changes."""
    if front(operation.name).recall(others + targets, targets, (), attributes, run) is not None:
        return targets
    for target in targets:
        if not isinstance(target, np.ndarray) or target.dtype.name not in FLOATS:
            kind = target.dtype if isinstance(target, np.ndarray) else type(target).__name__
            raise TypeError(f"{operation.name}: only float32 and float64 arrays can be changed in place, got {kind}")
        if not target.flags.writeable:
            raise ValueError(f"{operation.name}: an array to be changed is read-only")
    dtype = targets[0].dtype
    read = [None if each is None else as_array(each, operation.name).astype(dtype, copy=False) for each in others]
    inferred(operation, [*read, *targets], attributes)
    execute(operation, targets, [*read, *targets], dtype.name, attributes, run)
    return targets


# ------------------------------------------------------------------------------------------ the global norm


def _squares(xp: ModuleType, inputs: Sequence[Any], attributes: Attributes, run: Mapping[str, float]) -> Sequence[Any]:
    x = inputs[0].reshape(-1).astype(xp.float64)
    padded = xp.concatenate([x, xp.zeros(-x.size % NORM_CHUNK, xp.float64)])
    return [(padded * padded).reshape(-1, NORM_CHUNK).sum(axis=1)]


def _infer_squares(inputs: Sequence[Spec | None], attributes: Attributes) -> Sequence[Spec]:
    expect_floats("squares", *inputs)
    return [Spec((-(-inputs[0].size // NORM_CHUNK),), "float64")]  # type: ignore[union-attr]


def _clip_scale(
    xp: ModuleType, inputs: Sequence[Any], attributes: Attributes, run: Mapping[str, float]
) -> Sequence[Any]:
    total = sum(each.sum() for each in inputs)
    if attributes["max_norm"] is None:
        return [total]
    return [xp.minimum(xp.asarray(1.0), attributes["max_norm"] / (xp.sqrt(total) + 1e-6)).astype(attributes["dtype"])]


def _infer_clip_scale(inputs: Sequence[Spec | None], attributes: Attributes) -> Sequence[Spec]:
    if any(spec is None or spec.dtype != "float64" or len(spec.shape) > 1 for spec in inputs):
        raise TypeError("clip_scale: the inputs must be sums from `squares`")
    return [Spec((), attributes["dtype"])]


register(
    Operation(
        "squares",
        infer=_infer_squares,
        reference=_squares,
        kernel=Kernel("squares"),
        flops=lambda inputs, outputs, attributes: 2 * inputs[0].size if inputs[0] else 0,
        cost=0.05,
    )
)
register(
    Operation(
        "clip_scale",
        infer=_infer_clip_scale,
        reference=_clip_scale,
        kernel=Kernel(
            "clip_scale",
            integers=lambda attributes: (attributes["max_norm"] is not None,),
            numbers=lambda attributes: (attributes["max_norm"] or 0.0,),
            parallel=False,
        ),
        flops=lambda inputs, outputs, attributes: sum(spec.size for spec in inputs if spec is not None),
        cost=1.0,
    )
)


def clip_scale(gradients: Sequence[Any], max_norm: float) -> Any:
    """What shortens the gradient of all parameters together to `max_norm`: min(1, max_norm / (norm + 1e-6)).

    The norm is the Euclidean one over all elements of all gradients; squares are summed in float64, in one order at any
    number of threads. As in PyTorch's `clip_grad_norm_`; R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of
    training recurrent neural networks", 2013.

    Parameters
    ----------
    gradients
        Arrays or tensors of one float type, of any shapes; at least one.
    max_norm
        Above 0.

    Returns
    -------
    One number, in an array without dimensions; NaN where a gradient has NaN.

    Raises
    ------
    ValueError, TypeError
        If `max_norm` is not above 0, there is no gradient, or they differ in type.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_scale: max_norm must be above 0, got {max_norm!r}")
    if not gradients:
        raise ValueError("clip_scale: there is no gradient")
    traced = isinstance(gradients[0], Symbol)
    slopes = list(gradients) if traced else [as_array(each, "gradient") for each in gradients]
    kinds = {np.dtype(each.dtype).name for each in slopes}
    if len(kinds) > 1 or not kinds <= set(FLOATS):
        raise TypeError(f"clip_scale: gradients must be of one float type, got {' and '.join(sorted(kinds))}")
    dtype = kinds.pop()
    sums = [dispatch("squares", [each]) for each in slopes]
    while len(sums) > SUMS_AT_ONCE:
        sums = [_add_up(sums[:SUMS_AT_ONCE], dtype, traced, None), *sums[SUMS_AT_ONCE:]]
    return _add_up(sums, dtype, traced, float(max_norm))


def _add_up(sums: Sequence[Any], dtype: str, traced: bool, max_norm: float | None) -> Any:
    """The sum of sums, or the scale that follows from it."""
    kind = "float64" if max_norm is None else dtype
    attributes = {"max_norm": max_norm, "dtype": kind}
    if traced:
        return apply("clip_scale", *sums, **attributes)
    result = np.empty((), kind)
    execute(OPERATIONS["clip_scale"], [result], list(sums), dtype, attributes)
    return result


# ------------------------------------------------------------------------------------------ accumulation

register(
    Operation(
        "fill",
        infer=lambda inputs, attributes: [inputs[0]],  # type: ignore[list-item]
        reference=lambda xp, inputs, attributes, run: [xp.full_like(inputs[0], attributes["value"])],
        kernel=Kernel("fill", numbers=lambda attributes: (attributes["value"],)),
        nbytes=lambda inputs, outputs: inputs[0].nbytes if inputs[0] else 0,
        in_place=((0, 0),),
        cost=0.05,
    )
)


def _infer_accumulate(inputs: Sequence[Spec | None], attributes: Attributes) -> Sequence[Spec]:
    x, total = inputs
    expect_floats("accumulate", x, total)
    if x is None or total is None or x.shape != total.shape:
        raise ValueError(f"accumulate: expected two operands of one shape, got {total} and {x}")
    return [total]


register(
    Operation(
        "accumulate",
        infer=_infer_accumulate,
        reference=lambda xp, inputs, attributes, run: [inputs[1] + inputs[0]],
        kernel=Kernel("binary", integers=lambda attributes: (COMBINATIONS.index("add"),)),
        in_place=((0, 1),),
        cost=0.05,
    )
)


def fill(target: Any, value: float) -> Any:
    """Sets every element to `value`, in place; returns `target` (or, in a trace, the tensor that stands for it now).

    Raises
    ------
    TypeError, ValueError
        If `target` is not a writeable array of floats.
    """
    if isinstance(target, Symbol):
        return apply("fill", target, value=float(value))
    attributes = {"value": float(value), "sign": math.copysign(1.0, value)}  # by which calls with 0 and -0 differ
    return _in_place(OPERATIONS["fill"], (target,), (), attributes, {})[0]


def accumulate(target: Any, x: Operand) -> Any:
    """Adds x to `target`, in place: gradients of several small batches make that of a large one.

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes differ, or `target` is not a writeable array of floats.
    """
    if isinstance(target, Symbol) or isinstance(x, Symbol):
        return apply("accumulate", x, target)
    return _in_place(OPERATIONS["accumulate"], (target,), (x,), {}, {})[0]

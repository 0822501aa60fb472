"""The matrix product, the operation that nearly all arithmetic of a network goes into; `linear` adds a bias to it.

A product can apply an activation (or multiply by an activation's slope) to its result while that is in the cache:
`graph/fuse.py` asks for it with the attributes `epilogue` and `epilogue_attributes`. `matmul_update` is the
product whose result only changes a weight, by plain gradient descent. `matmul_bfloat16` rounds both factors first;
gradients flow as if it did not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from fastnn import kernels
from fastnn.graph.tensor import Node, Symbol, Tensor, apply
from fastnn.ops._dispatch import Array, Operand, as_array, dispatch, expect_floats, product
from fastnn.program import OPERATIONS, Attributes, Kernel, Operation, Packing, Shape, Spec, at_maximum, cast, register

NO_EPILOGUE, FORWARD, SLOPE = 0, 1, 2  # as in kernels/product.pxi
KINDS = {"forward": FORWARD, "slope": SLOPE}


def product_of(dtype: str | None, caller: str) -> str:
    """The name of the operation that multiplies factors rounded to `dtype`.

    Raises
    ------
    ValueError
        If there is none.
    """
    if dtype is not None and dtype != "bfloat16":
        raise ValueError(f'{caller}: dtype must be None or "bfloat16", got {dtype!r}')
    return "matmul" if dtype is None else "matmul_bfloat16"


def _dimensions(a: Shape, b: Shape, attributes: Attributes) -> tuple[Shape, Shape, Shape]:
    """The shape of c, and the axes that are summed over as a and as b have them.

    Without `transpose_a`, c[..., n] = a[..., k] b[k, n]. With it, all leading axes of a are summed over: a[..., m] and
    b[..., n] give c[m, n], the gradient of a weight.
    """
    turned_a, turned_b = attributes.get("transpose_a"), attributes.get("transpose_b")
    kept_a, summed_a = (a[-1:], a[:-1]) if turned_a else (a[:-1], a[-1:])
    kept_b, summed_b = (b[:1], b[1:]) if turned_b else (b[-1:], b[:-1])
    return (*kept_a, *kept_b), summed_a, summed_b


def _infer(inputs: Sequence[Spec | None], attributes: Attributes) -> list[Spec]:
    a, b, bias, aux = (*inputs, None, None)[:4]
    if a is None or b is None:
        raise TypeError("matmul: both factors are needed, got None")
    expect_floats("matmul", a, b, bias, aux)
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise ValueError(f"matmul: both factors need at least 2 dimensions here, got {a.shape} and {b.shape}")
    if len(b.shape) > 2 and (not attributes.get("transpose_a") or attributes.get("transpose_b")):
        raise ValueError(f"matmul: the second factor must have 2 dimensions, got {b.shape} (no batches)")
    shape, summed_a, summed_b = _dimensions(a.shape, b.shape, attributes)
    if summed_a != summed_b:
        turned = [" transposed" if attributes.get(name) else "" for name in ("transpose_a", "transpose_b")]
        raise ValueError(
            f"matmul: shapes {a.shape}{turned[0]} and {b.shape}{turned[1]} do not fit: "
            f"the first is summed over {_words(summed_a)}, the second over {_words(summed_b)}"
        )
    if bias is not None and (attributes.get("accumulate") or bias.shape != shape[-1:]):
        if attributes.get("accumulate"):
            raise ValueError("matmul: accumulate starts from what out holds, so there is no bias beside it")
        raise ValueError(f"matmul: bias must have shape {shape[-1:]}, got {bias.shape}")
    if aux is not None and aux.shape != shape:
        raise ValueError(f"matmul: the slope's operand must have shape {shape}, got {aux.shape}")
    return [Spec(shape, a.dtype)]


def _words(shape: Shape) -> str:
    return " x ".join(str(size) for size in shape)


def _reference(xp: ModuleType, inputs: Sequence[Any], attributes: Attributes, run: Mapping[str, float]) -> list[Any]:
    a, b, bias, aux = (*inputs, None, None)[:4]
    if attributes.get("accumulate"):
        raise NotImplementedError("matmul: accumulate is for arrays: the result depends on what out held")
    if attributes.get("transpose_a"):
        a = a.reshape(-1, a.shape[-1]).T
        b = b.reshape(-1, b.shape[-1])
    c = xp.matmul(a, b.T if attributes.get("transpose_b") else b)
    if bias is not None:
        c = c + bias
    if "epilogue" not in attributes:
        return [c]
    epilogue = OPERATIONS[attributes["epilogue"]]
    operands = [c] if epilogue.epilogue == "forward" else [c, aux]
    return [*epilogue.reference(xp, operands, attributes["epilogue_attributes"], run), c]


def _gradient(node: Node, output_gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    g = output_gradients[0]
    if g is None:
        return [None, None, None]
    a, b, bias = (*node.inputs, None)[:3]
    turned = bool(node.attributes.get("transpose_a")), bool(node.attributes.get("transpose_b"))
    if turned == (False, False):  # c = a b
        da, db = _product(g, b, transpose_b=True), _product(a, g, transpose_a=True)
    elif turned == (False, True):  # c = a b^T
        da, db = _product(g, b), _product(g, a, transpose_a=True)
    elif turned == (True, False):  # c = a^T b
        da, db = _product(b, g, transpose_b=True), _product(a, g)
    else:  # c = a^T b^T
        da = _product(b, g, transpose_a=True, transpose_b=True)
        db = _product(g, a, transpose_a=True, transpose_b=True)
    if bias is None:
        return [da, db, None]
    return [da, db, apply("sum", g, axes=tuple(range(g.ndim - 1)), keepdims=False)]


def _product(a: Tensor | None, b: Tensor | None, **turned: bool) -> Tensor:
    return apply("matmul", a, b, None, **turned)


def _integers(attributes: Attributes) -> tuple[int, ...]:
    turned = int(bool(attributes.get("transpose_a"))), int(bool(attributes.get("transpose_b")))
    accumulate = int(bool(attributes.get("accumulate")))
    epilogue = OPERATIONS.get(attributes.get("epilogue", ""))
    if epilogue is None:
        return (*turned, accumulate, NO_EPILOGUE, 0)
    if epilogue.kernel is None or epilogue.epilogue is None:
        raise ValueError(f"matmul: {epilogue.name!r} cannot be applied to a product's tile")
    code = epilogue.kernel.integers(attributes["epilogue_attributes"])[0]
    return (*turned, accumulate, KINDS[epilogue.epilogue], code)


def _numbers(attributes: Attributes) -> tuple[float, ...]:
    epilogue = OPERATIONS.get(attributes.get("epilogue", ""))
    if epilogue is None or epilogue.kernel is None:
        return ()
    return epilogue.kernel.numbers(attributes["epilogue_attributes"])


def _sizes(c: Spec, a: Spec) -> tuple[int, int, int]:
    """m, n and k."""
    n = at_maximum(c.shape)[-1]
    m = c.size // n if n else 0
    return m, n, a.size // m if m else 0


def _scratch(size: Callable[[int, int, int, str], int]) -> Callable[[Sequence[Spec | None], Attributes], int]:
    """The scratch memory of a product, from what says so by m, n, k and dtype."""

    def scratch(operands: Sequence[Spec | None], attributes: Attributes) -> int:
        c, a = operands[0], operands[2]
        assert c is not None
        assert a is not None
        return size(*_sizes(c, a), c.dtype)

    return scratch


def _flops(inputs: Sequence[Spec | None], outputs: Sequence[Spec | None], attributes: Attributes) -> int:
    a, c = inputs[0], outputs[0]
    assert a is not None
    assert c is not None
    m, n, k = _sizes(c, a)
    return 2 * m * n * k


def _with_update(inputs: Sequence[Spec | None], attributes: Attributes) -> str | None:
    """A weight's gradient can go straight into the weight if it is a product and nothing else, of one chain."""
    a, b, *others = inputs
    if a is None or b is None or not attributes.keys() <= {"transpose_a", "transpose_b"} or any(others):
        return None
    summed = at_maximum(_dimensions(a.shape, b.shape, attributes)[1])
    return "matmul_update" if math.prod(summed) <= kernels.tiles(a.dtype)["KCHAIN"] else None


def _infer_update(inputs: Sequence[Spec | None], attributes: Attributes) -> list[Spec]:
    a, b, weight = inputs
    found = _infer([a, b], attributes)
    if found != [weight]:
        raise ValueError(f"matmul_update: the weight must be like the product, {found[0]}, got {weight}")
    return found


def _reference_update(
    xp: ModuleType, inputs: Sequence[Any], attributes: Attributes, run: Mapping[str, float]
) -> list[Any]:
    gradient = _reference(xp, inputs[:2], attributes, run)[0]
    rate = run["learning_rate"] * attributes["rate_scale"]
    return [inputs[2] - cast(rate, inputs[2].dtype) * gradient]


register(
    Operation(
        "matmul_update",
        infer=_infer_update,
        reference=_reference_update,
        slots=lambda attributes: ("learning_rate",),
        kernel=Kernel(
            "product_update",
            integers=lambda attributes: _integers(attributes)[:2],
            numbers=lambda attributes: (attributes["rate_scale"],),
            scratch=_scratch(kernels.product_scratch),
            n_outputs=2,
        ),
        flops=lambda inputs, outputs, attributes: _flops(inputs, outputs, attributes) + 2 * outputs[0].size,  # type: ignore[union-attr]
        in_place=((0, 2),),
        cost=1 / kernels.product_speed(),
    )
)
register(
    Operation(
        "matmul",
        infer=_infer,
        reference=_reference,
        gradient=_gradient,
        kernel=Kernel(
            "product",
            _integers,
            _numbers,
            _scratch(kernels.product_scratch),
            n_outputs=2,
            packing=Packing("pack", kernels.kept_size, patience=16.0),
        ),
        flops=_flops,
        takes_epilogue=True,
        with_update=_with_update,
        eager="product",
        cost=1 / kernels.product_speed(),
    )
)


def _infer_bfloat16(inputs: Sequence[Spec | None], attributes: Attributes) -> list[Spec]:
    found = _infer(inputs, attributes)
    if found[0].dtype != "float32":
        raise TypeError(f"matmul: products of bfloat16 are float32, got factors of {found[0].dtype}")
    return found


def rounded_to_bfloat16(xp: ModuleType, x: Any) -> Any:
    """A float32 array's numbers, each rounded to the nearest with 8 significant bits, ties to even; NaN stays NaN."""
    bits = x.view(np.uint32)
    upper = (bits + (0x7FFF + (bits >> 16 & 1))) & np.uint32(0xFFFF0000)
    return xp.where(xp.isnan(x), x, upper.view(np.float32))


def _reference_bfloat16(
    xp: ModuleType, inputs: Sequence[Any], attributes: Attributes, run: Mapping[str, float]
) -> list[Any]:
    rounded = [rounded_to_bfloat16(xp, xp.ascontiguousarray(factor)) for factor in inputs[:2]]
    return _reference(xp, [*rounded, *inputs[2:]], attributes, run)


register(
    OPERATIONS["matmul"]._replace(
        name="matmul_bfloat16",
        infer=_infer_bfloat16,
        reference=_reference_bfloat16,
        kernel=Kernel(
            "product_bfloat16",
            _integers,
            _numbers,
            _scratch(kernels.rounded_scratch),
            n_outputs=2,
            packing=Packing("pack_bfloat16", kernels.kept_rounded_size, patience=1.0),  # else each run packs
        ),
        with_update=lambda inputs, attributes: None,
        eager=None,
    )
)


@product
def matmul(
    a: Operand,
    b: Operand,
    *,
    bias: Operand | None = None,
    transpose_a: bool = False,
    transpose_b: bool = False,
    accumulate: bool = False,
    dtype: str | None = None,
    out: Array | None = None,
) -> Any:
    """The matrix product a[..., k] b[k, n] of arrays or symbolic tensors, plus bias[n] if there is one.

    Each element is summed over k in one fixed order, so that it does not depend on the number of threads, on the
    layout of the operands or on the other rows. Operands may be strided in any way: `x.T` costs no copy.

    Parameters
    ----------
    a, transpose_a
        Shape (..., k); with `transpose_a` (..., m), where all leading axes are summed over, as they are in b.
    b, transpose_b
        Shape (k, n); with `transpose_b` (n, k). For arrays, one-dimensional factors are rows and columns as in NumPy.
    bias
        Shape (n,).
    accumulate
        Add the product to what `out` holds.
    dtype
        "bfloat16" rounds both factors, which are float32, to 8 significant bits (an error of 1/256 of a number at
        most, 1/128 of a product of two) and sums in float32 as ever: with many rows up to twice as fast where the
        processor has AVX512_BF16, slower elsewhere. Its bits are those of the rounded factors' product, but with
        AVX512_BF16 denormal numbers count as zeros, whether they are factors, sums or the bias. Gradients flow as
        through the product without rounding.
    out
        The array that receives the result.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, the bias or `out`; if dtype is neither None nor "bfloat16".
    TypeError
        If an operand does not hold numbers, or not float32 with bfloat16.
    """
    name = product_of(dtype, "matmul")
    turned: dict[str, Any] = {}
    if transpose_a:
        turned["transpose_a"] = True
    if transpose_b:
        turned["transpose_b"] = True
    if isinstance(a, Symbol) or isinstance(b, Symbol) or isinstance(bias, Symbol):
        if accumulate:
            raise TypeError("matmul: accumulate is for arrays; add symbolic tensors with +")
        return dispatch(name, [a, b, bias], out, **turned)
    if accumulate and out is None:
        raise ValueError("matmul: accumulate adds to what out holds: give it")
    left, right = as_array(a, "matmul: a"), as_array(b, "matmul: b")
    if left.ndim == right.ndim == 2:
        return dispatch(name, [left, right, bias], out, **turned, accumulate=bool(accumulate))
    return _reshaped(name, left, right, bias, out, accumulate, **turned)


def _reshaped(name: str, left: Array, right: Array, bias: Any, out: Array | None, accumulate: bool,
              transpose_a: bool = False, transpose_b: bool = False) -> Any:  # fmt: skip
    """The product of vectors or of more than two dimensions."""
    if left.ndim == 0 or right.ndim == 0:
        raise ValueError(f"matmul: a factor has no dimensions; multiply with *, got {left.shape} and {right.shape}")
    drop: tuple[int, ...] = ()
    if left.ndim == 1:
        left, transpose_a, drop = left[None, :], False, (-2,)
    if right.ndim == 1:
        right, transpose_b, drop = right[:, None], False, (*drop, -1)
    turned: dict[str, Any] = {"transpose_a": transpose_a, "transpose_b": transpose_b}
    specs = [Spec(left.shape, "float64"), Spec(right.shape, "float64")]
    shape = at_maximum(_infer(specs, turned)[0].shape)
    result_shape = tuple(size for axis, size in enumerate(shape) if axis - len(shape) not in drop)
    rows = left.reshape(-1, left.shape[-1])
    columns = right.reshape(-1, right.shape[-1]) if transpose_a and not transpose_b else right
    if out is not None and (not isinstance(out, np.ndarray) or out.shape != result_shape):
        found = out.shape if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"matmul: out must be an array of shape {result_shape}, got {found}")
    flat = (int(np.prod(shape[:-1], dtype=np.int64)), shape[-1])
    into = np.array(out).reshape(flat) if out is not None and accumulate else None
    result = dispatch(name, [rows, columns, bias], into, **turned, accumulate=bool(accumulate))
    if out is None:
        return result.reshape(result_shape) if result_shape else result.reshape(())[()]
    if out.dtype != result.dtype:
        raise ValueError(f"matmul: out must have dtype {result.dtype}, got {out.dtype}")
    out[...] = result.reshape(result_shape)
    return out


def linear(x: Operand, weight: Operand, bias: Operand | None = None, *, out: Array | None = None) -> Any:
    """x[..., in] weight[in, out] + bias[out]: what a layer of neurons computes before its activation.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    return matmul(x, weight, bias=bias, out=out)

"""The vector functions against wider arithmetic, over the whole range of both types."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fastnn import kernels, ops
from fastnn.ops._dispatch import dispatch

pytestmark = pytest.mark.kernel

UNITS = {"exp": 2, "log": 2, "log1p": 4, "tanh": 4, "sigmoid": 4, "softplus": 4, "erf": 4}
STRIDE = 4093  # of the float32 bit patterns tried: about a million of them

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"], ids=lambda dtype: f"{kernels.LEVEL}-{dtype}")
each_function = pytest.mark.parametrize("name", sorted(UNITS))


@functools.lru_cache
def arguments(dtype: str) -> NDArray[np.floating]:
    """Numbers from the whole range of the type, the edges of all functions, and many from where they change."""
    rng = np.random.default_rng(0)
    if dtype == "float32":
        patterns = np.arange(0, 2**32, STRIDE, dtype=np.uint64).astype(np.uint32)
        whole = patterns.view(np.float32)
    else:
        whole = rng.integers(0, 2**64, 100_000, dtype=np.uint64).view(np.float64)
    kind = np.finfo(dtype)
    edges = [0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 40.0, 90.0, 110.0, 710.0, 750.0, 1e18, np.inf]
    edges += [math.sqrt(0.5), math.sqrt(2.0), math.log(kind.max)]
    edges += [kind.tiny, kind.smallest_subnormal, kind.max, kind.eps, kind.eps / 2]
    edges += [-math.log(kind.tiny), -math.log(kind.smallest_subnormal)]
    dense = [rng.uniform(-scale, scale, 20_000) for scale in (0.01, 1.0, 10.0, 100.0)]
    near = np.array([*edges, *np.negative(edges), np.nan], dtype)
    infinity = near.dtype.type(np.inf)
    with np.errstate(all="ignore"):  # signalling NaNs are among them
        near = np.concatenate([near, np.nextafter(near, infinity), np.nextafter(near, -infinity)])
        return np.concatenate([whole, near, *dense]).astype(dtype)


def wide_erf(x: NDArray) -> NDArray:
    """The error function by its series without cancellation, in the widest type NumPy has."""
    x = np.clip(x, -7, 7)
    total = np.ones_like(x)
    for n in range(200, 0, -1):
        total = 1 + total * (2 * x * x / (2 * n + 1))
    return 2 / np.sqrt(np.arctan(np.longdouble(1)) * 4) * x * np.exp(-x * x) * total


def wide_sigmoid(x: NDArray) -> NDArray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def wide_softplus(x: NDArray) -> NDArray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


EXACT = {"sigmoid": wide_sigmoid, "softplus": wide_softplus, "erf": wide_erf}


@functools.lru_cache
def exact(name: str, dtype: str) -> NDArray:
    """The function in a wider type: float64 for float32, the processor's longest for float64."""
    x = arguments(dtype)
    with np.errstate(all="ignore"):
        if name == "erf" and dtype == "float32":
            return np.frompyfunc(math.erf, 1, 1)(x.astype(np.float64)).astype(np.float64)
        wide = x.astype(np.float64 if dtype == "float32" else np.longdouble)
        return EXACT.get(name, getattr(np, name, None))(wide)


def units_of_error(got: NDArray, want: NDArray) -> NDArray:
    """The distance in units of the last place; equal infinities and NaNs are 0 apart."""
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        error = np.abs((got - want) / np.spacing(np.abs(rounded)))
    special = ~np.isfinite(rounded) | ~np.isfinite(got)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    return np.where(same, 0, np.where(special, np.inf, error))


@each_dtype
def test_exponentials_of_numbers_below_0_have_the_bits_of_others(dtype: str) -> None:
    """Far below 0 the sigmoid is such an exponential over 1, down to the denormals and 0."""
    x = np.linspace(-120 if dtype == "float32" else -800, -40, 50_001).astype(dtype)
    want = ops.exp(x)
    kind = np.finfo(dtype)
    assert ((want > 0) & (want < kind.tiny)).any()
    np.testing.assert_array_equal(ops.sigmoid(x), want)


@each_dtype
def test_error_of_gelu(dtype: str) -> None:
    """Within 5 units down to -1; below, where it goes to 0, within 0.7 units of a number of x's size."""
    x = arguments(dtype)
    with np.errstate(all="ignore"):
        wide = x.astype(np.longdouble)
        want = wide * (0.5 + 0.5 * wide_erf(wide * np.sqrt(np.longdouble(0.5))))
        got = ops.gelu(x)
        error = units_of_error(got, want)
    upper = (x >= -1) | np.isnan(x)
    assert error[upper].max() <= 5, f"gelu({x[upper][error[upper].argmax()]!r})"
    assert error[upper].max() > 0.3, "a reference of the same precision would show nothing"
    lower = (x < -1) & np.isfinite(x)
    assert np.abs((got[lower] - want[lower]) / x[lower]).max() <= 0.7 * np.finfo(dtype).eps
    assert not got[lower & (x < -50)].any()


@each_dtype
def test_error_of_the_slope_of_gelu(dtype: str) -> None:
    """Within 1.5 units of 1; where it goes to 0, some digits are right."""
    x = arguments(dtype)
    x = x[~np.isnan(x)]
    got = np.empty_like(x)
    with np.errstate(all="ignore"):
        wide = np.clip(x, -50, 50).astype(np.longdouble)
        density = np.exp(-wide * wide / 2) / np.sqrt(8 * np.arctan(np.longdouble(1)))
        want = 0.5 + 0.5 * wide_erf(wide * np.sqrt(np.longdouble(0.5))) + wide * density
        dispatch("gelu_slope", [np.ones_like(x), x], got, approximate=False)
    error = np.abs(got - want) / np.finfo(dtype).eps
    assert error.max() <= 1.5, f"at {x[error.argmax()]!r}: {error.max():.2f} units of error"
    assert error.max() > 0.3, "a reference of the same precision would show nothing"
    lowest, tolerance = {"float32": (-5, 1e-3), "float64": (-6, 1e-6)}[dtype]
    x = np.linspace(lowest, -1, 10_001).astype(dtype)
    parts = [(math.erfc(-each * math.sqrt(0.5)) / 2, math.exp(-each * each / 2)) for each in x.astype(float).tolist()]
    want = np.array([tail for tail, _ in parts]) + x * np.array([e for _, e in parts]) / math.sqrt(2 * math.pi)
    dispatch("gelu_slope", [np.ones_like(x), x], slope := np.empty_like(x), approximate=False)
    np.testing.assert_allclose(slope, want, rtol=tolerance, atol=0)


@each_dtype
def test_gelu_has_some_digits_where_it_goes_to_0(dtype: str) -> None:
    lowest, tolerance = {"float32": (-6, 1e-4), "float64": (-8, 1e-6)}[dtype]
    x = np.linspace(lowest, -1, 10_001).astype(dtype)
    want = [0.5 * value * math.erfc(-value * math.sqrt(0.5)) for value in x.astype(np.float64).tolist()]
    np.testing.assert_allclose(ops.gelu(x), want, rtol=tolerance, atol=0)


@each_dtype
def test_slope_of_gelu_far_from_0(dtype: str) -> None:
    x = np.array([-1e30, -50, -9, -6, 6, 9, 50, 1e30], dtype)
    slope = np.empty_like(x)
    dispatch("gelu_slope", [np.ones_like(x), x], slope, approximate=False)
    np.testing.assert_allclose(slope, [0, 0, 0, 0, 1, 1, 1, 1], rtol=0, atol=2e-7)


@each_dtype
@each_function
def test_error(name: str, dtype: str) -> None:
    x = arguments(dtype)
    got = getattr(ops, name)(x)
    error = units_of_error(got, exact(name, dtype))
    worst = int(np.argmax(error))
    assert error[worst] <= UNITS[name], f"{name}({x[worst]!r}) = {got[worst]!r}: {error[worst]:.2f} units of error"
    assert error.max() > 0.3, "a reference of the same precision would show nothing"


@each_dtype
@each_function
def test_a_part_of_a_vector_has_the_bits_of_a_whole_one(name: str, dtype: str) -> None:
    x = np.random.default_rng(1).normal(size=64).astype(dtype)
    whole = getattr(ops, name)(x)
    for n in range(1, x.size):
        np.testing.assert_array_equal(getattr(ops, name)(x[-n:].copy()), whole[-n:])


@each_dtype
def test_values_at_the_ends(dtype: str) -> None:
    inf, nan = np.inf, np.nan
    x = np.array([-inf, -0.0, 0.0, inf, nan], dtype)
    expected = {
        "exp": [0, 1, 1, inf, nan],
        "log": [nan, -inf, -inf, inf, nan],
        "log1p": [nan, -0.0, 0.0, inf, nan],
        "tanh": [-1, -0.0, 0.0, 1, nan],
        "sigmoid": [0, 0.5, 0.5, 1, nan],
        "softplus": [0, np.log(2), np.log(2), inf, nan],
        "erf": [-1, -0.0, 0.0, 1, nan],
        "gelu": [nan, -0.0, 0.0, inf, nan],
    }
    for name, values in expected.items():
        got = getattr(ops, name)(x)
        want = np.array(values, dtype)
        np.testing.assert_array_equal(got, want, err_msg=name)
        np.testing.assert_array_equal(np.signbit(got[:4])[want[:4] == 0], np.signbit(want[:4])[want[:4] == 0], name)


@each_dtype
def test_denormals_are_kept(dtype: str) -> None:
    tiny = np.array([np.finfo(dtype).smallest_subnormal], dtype)
    for name in ("tanh", "log1p", "erf"):
        assert getattr(ops, name)(tiny)[0] == tiny[0], name
    low = np.array([np.log(np.finfo(dtype).tiny) - 2], dtype)
    assert 0 < ops.exp(low)[0] < np.finfo(dtype).tiny
    assert 0 < ops.sigmoid(low)[0] < np.finfo(dtype).tiny

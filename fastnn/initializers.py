"""How parameters begin: `initializer(shape, rng)` gives a float64 array of first values.

Weights of dense layers have the shape (in, out), those of convolutions (height, width, in, out). A neuron's *fan-in* is
the number of values it weighs, the *fan-out* the number of neurons that one value reaches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastnn._check import number, one_of, whole
from fastnn._config import Configurable

Shape = tuple[int, ...]
Values = NDArray[np.float64]
Distribution = Literal["uniform", "normal"]


class Initializer(Configurable):
    """Base of all initializers: derive a dataclass from it and write `sample` to add your own."""

    def __call__(self, shape: Shape, rng: np.random.Generator) -> Values:
        """First values of a parameter, drawn from `rng` alone: the same generator state gives the same bits.

        Raises
        ------
        TypeError, ValueError
            If a dimension is not a whole number or is negative, or the initializer cannot fill this shape.
        """
        shape = tuple(shape)
        for size in shape:
            whole(type(self).__name__, "every dimension of shape", size, low=0)
        values = np.asarray(self.sample(shape, rng), np.float64)
        if values.shape != shape:
            raise ValueError(f"{type(self).__name__}: sample gave shape {values.shape} instead of {shape}")
        return values

    def sample(self, shape: Shape, rng: np.random.Generator) -> Values:
        """The values themselves; what a derived class writes."""
        raise NotImplementedError(f"{type(self).__name__} must define sample(shape, rng)")


def fans(shape: Shape, owner: str = "fans") -> tuple[int, int]:
    """Fan-in and fan-out of weights of shape (in, out) or (*kernel, in, out).

    Raises
    ------
    ValueError
        If the shape has fewer than two dimensions: biases and gains have no fans.
    """
    if len(shape) < 2:
        raise ValueError(
            f"{owner}: needs weights of shape (in, out) or (*kernel, in, out), got {tuple(shape)}; "
            "for biases take Zeros, Constant or Normal"
        )
    taps = math.prod(shape[:-2])
    return taps * shape[-2], taps * shape[-1]


@dataclass(eq=False, repr=False)
class _VarianceScaling(Initializer):
    """Mean zero and a variance that follows from the fans."""

    distribution: Distribution = "normal"

    def __post_init__(self) -> None:
        one_of(type(self).__name__, "distribution", self.distribution, ("uniform", "normal"))

    def variance(self, fan_in: int, fan_out: int) -> float:
        raise NotImplementedError

    def sample(self, shape: Shape, rng: np.random.Generator) -> Values:
        fan_in, fan_out = fans(shape, type(self).__name__)
        if 0 in shape:
            return np.empty(shape)
        deviation = math.sqrt(self.variance(fan_in, fan_out))
        if self.distribution == "normal":
            return rng.normal(0.0, deviation, shape)
        limit = math.sqrt(3.0) * deviation  # Uniform(-a, a) has the variance a²/3
        return rng.uniform(-limit, limit, shape)


@dataclass(eq=False, repr=False)
class Glorot(_VarianceScaling):
    """Variance 2 / (fan_in + fan_out): keeps signals and gradients of tanh-like units alive.

    Source: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. 16.
    """

    distribution: Distribution = "uniform"

    def variance(self, fan_in: int, fan_out: int) -> float:
        """2 / (fan_in + fan_out)."""
        return 2.0 / (fan_in + fan_out)


@dataclass(eq=False, repr=False)
class He(_VarianceScaling):
    """Variance 2 / fan_in: ReLU silences half of its inputs, twice the variance makes up for it.

    Source: He et al. 2015, "Delving deep into rectifiers", eq. 10.
    """

    def variance(self, fan_in: int, fan_out: int) -> float:
        """2 / fan_in."""
        return 2.0 / fan_in


@dataclass(eq=False, repr=False)
class LeCun(_VarianceScaling):
    """Variance 1 / fan_in: a neuron's sum varies as much as its inputs do.

    Source: LeCun, Bottou, Orr and Müller 1998, "Efficient BackProp", eq. 16.
    """

    def variance(self, fan_in: int, fan_out: int) -> float:
        """1 / fan_in."""
        return 1.0 / fan_in


@dataclass(eq=False, repr=False)
class Nielsen(Initializer):
    """Normal with standard deviation 1 / sqrt(fan_in); the book's biases are `Normal(0, 1)`.

    Source: Nielsen 2015, "Neural Networks and Deep Learning", chapter 3, "Weight initialization".
    """

    def sample(self, shape: Shape, rng: np.random.Generator) -> Values:
        """Normal(0, 1 / sqrt(fan_in))."""
        fan_in, _ = fans(shape, "Nielsen")
        return rng.normal(0.0, 1.0 / math.sqrt(max(fan_in, 1)), shape)


@dataclass(eq=False, repr=False)
class Orthogonal(Initializer):
    """Orthonormal columns (rows, if there are fewer of them) times `gain`: no signal grows or shrinks.

    All dimensions but the last are taken as one. Source: Saxe, McClelland and Ganguli 2014, "Exact solutions to the
    nonlinear dynamics of learning in deep linear neural networks"; drawn uniformly as in Mezzadri 2007.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        number("Orthogonal", "gain", self.gain)

    def sample(self, shape: Shape, rng: np.random.Generator) -> Values:
        """Q of the QR decomposition of a Gaussian matrix, with the signs of R's diagonal moved into it."""
        from threadpoolctl import threadpool_limits

        fans(shape, "Orthogonal")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        gaussian = rng.standard_normal((max(rows, columns), min(rows, columns)))
        with threadpool_limits(limits=1, user_api="blas"):  # the same bits at any number of BLAS threads
            q, r = np.linalg.qr(gaussian)
        q *= np.where(np.diagonal(r) < 0.0, -self.gain, self.gain)
        return (q if rows >= columns else q.T).reshape(shape)


@dataclass(eq=False, repr=False)
class Normal(Initializer):
    """Independent normal values."""

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        number("Normal", "mean", self.mean)
        number("Normal", "std", self.std, low=0.0)

    def sample(self, shape: Shape, rng: np.random.Generator) -> Values:
        """Normal(mean, std)."""
        return rng.normal(self.mean, self.std, shape)


@dataclass(eq=False, repr=False)
class Uniform(Initializer):
    """Independent values, uniform in [low, high)."""

    low: float
    high: float

    def __post_init__(self) -> None:
        number("Uniform", "low", self.low)
        number("Uniform", "high", self.high)
        if self.low > self.high:
            raise ValueError(f"Uniform: low must not exceed high, got {self.low!r} and {self.high!r}")

    def sample(self, shape: Shape, rng: np.random.Generator) -> Values:
        """Uniform(low, high)."""
        return rng.uniform(self.low, self.high, shape)


@dataclass(eq=False, repr=False)
class Constant(Initializer):
    """One number everywhere, or given values: an array (kept as nested tuples) that broadcasts to the shape."""

    value: Any

    def __post_init__(self) -> None:
        array = np.asarray(self.value)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"Constant: value must be a number or an array of numbers, got {self.value!r}")
        if not np.isfinite(array).all():
            raise ValueError("Constant: value must be finite")
        object.__setattr__(self, "value", _as_tuples(array.astype(np.float64).tolist()))

    def sample(self, shape: Shape, rng: np.random.Generator) -> Values:
        """The value, broadcast to the shape."""
        try:
            return np.broadcast_to(np.asarray(self.value, np.float64), shape).copy()
        except ValueError:
            raise ValueError(f"Constant: value of shape {np.shape(self.value)} does not fit shape {shape}") from None


@dataclass(eq=False, repr=False)
class Zeros(Initializer):
    """Zero everywhere."""

    def sample(self, shape: Shape, rng: np.random.Generator) -> Values:
        """Zeros."""
        return np.zeros(shape)


@dataclass(eq=False, repr=False)
class Ones(Initializer):
    """One everywhere."""

    def sample(self, shape: Shape, rng: np.random.Generator) -> Values:
        """Ones."""
        return np.ones(shape)


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(each) for each in value) if isinstance(value, list) else value


NAMES: dict[str, Initializer] = {
    "glorot": Glorot(),
    "glorot_uniform": Glorot("uniform"),
    "glorot_normal": Glorot("normal"),
    "he": He(),
    "he_uniform": He("uniform"),
    "he_normal": He("normal"),
    "lecun": LeCun(),
    "lecun_uniform": LeCun("uniform"),
    "lecun_normal": LeCun("normal"),
    "nielsen": Nielsen(),
    "orthogonal": Orthogonal(),
    "normal": Normal(),
    "zeros": Zeros(),
    "ones": Ones(),
}


def get(initializer: str | Initializer) -> Initializer:
    """The initializer of a name in `NAMES`; an initializer is returned as it is.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If it is neither a name nor an initializer.
    """
    if isinstance(initializer, Initializer):
        return initializer
    if not isinstance(initializer, str):
        raise TypeError(f"expected an initializer or its name, got {initializer!r}: derive your own from Initializer")
    if initializer not in NAMES:
        raise ValueError(f"unknown initializer {initializer!r}: expected one of {', '.join(NAMES)}")
    return NAMES[initializer]

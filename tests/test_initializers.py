"""Initializers: the moments and bounds their papers promise, reproducible draws, round trips, clear errors."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest

from fastnn import initializers
from fastnn.initializers import (
    NAMES,
    Constant,
    Glorot,
    He,
    Initializer,
    LeCun,
    Nielsen,
    Normal,
    Ones,
    Orthogonal,
    Uniform,
    Zeros,
)

DENSE = (300, 200)
CONVOLUTION = (3, 5, 40, 60)  # fan-in 600, fan-out 900

VARIANCES = [
    (Glorot(), DENSE, 2 / 500),
    (Glorot("normal"), DENSE, 2 / 500),
    (Glorot(), CONVOLUTION, 2 / 1500),
    (He(), DENSE, 2 / 300),
    (He("uniform"), CONVOLUTION, 2 / 600),
    (LeCun(), CONVOLUTION, 1 / 600),
    (LeCun("uniform"), DENSE, 1 / 300),
    (Nielsen(), DENSE, 1 / 300),
    (Nielsen(), CONVOLUTION, 1 / 600),
    (Normal(), DENSE, 1.0),
    (Uniform(-0.3, 0.3), DENSE, 0.09 / 3),
    (Orthogonal(), DENSE, 1 / 300),
]


def rng(seed=7):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("initializer, shape, variance", VARIANCES, ids=str)
def test_values_have_mean_zero_and_the_stated_variance(initializer, shape, variance):
    values = initializer(shape, rng())
    assert values.shape == shape
    assert values.dtype == np.float64
    n = values.size
    assert abs(values.mean()) < 5 * math.sqrt(variance / n)
    assert values.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / n))  # five standard errors of a normal's


@pytest.mark.parametrize("initializer, shape, variance", VARIANCES[:1] + VARIANCES[4:5], ids=str)
def test_uniform_values_fill_their_interval_and_stay_inside(initializer, shape, variance):
    limit = math.sqrt(3 * variance)
    values = initializer(shape, rng())
    assert 0.999 * limit < values.max() <= limit
    assert 0.999 * limit < -values.min() <= limit


@pytest.mark.parametrize("initializer", [Glorot("normal"), He(), LeCun(), Nielsen(), Normal()], ids=str)
def test_normal_values_have_a_normal_s_tails(initializer):
    values = initializer(DENSE, rng()).ravel()
    values /= values.std()
    assert np.mean(np.abs(values) > 1.959964) == pytest.approx(0.05, abs=0.005)
    assert np.mean(values**4) == pytest.approx(3.0, abs=0.1)


def test_normal_has_the_asked_mean_and_deviation():
    values = Normal(mean=-3.0, std=0.25)((200, 200), rng())
    assert values.mean() == pytest.approx(-3.0, abs=0.01)
    assert values.std() == pytest.approx(0.25, rel=0.02)


@pytest.mark.parametrize("shape", [(7, 7), (9, 4), (4, 9), (1, 5), (5, 1), (3, 3, 2, 10), (2, 2, 3, 20)], ids=str)
def test_orthogonal_columns_or_rows_are_orthonormal(shape):
    matrix = Orthogonal(gain=2.0)(shape, rng()).reshape(-1, shape[-1])
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(gram, 4.0 * np.eye(len(gram)), atol=1e-12)


def test_orthogonal_draws_are_uniform_over_signs():
    """A bare QR decomposition leaves signs that depend on the method: the corner is then never positive."""
    generator = rng()
    positive = sum(Orthogonal()((3, 3), generator)[0, 0] > 0 for _ in range(400))
    assert 160 < positive < 240


def test_orthogonal_does_not_depend_on_blas_threads():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    drawn = []
    for threads in (1, 2, 4):
        with threadpoolctl.threadpool_limits(limits=threads, user_api="blas"):
            drawn.append(Orthogonal()((257, 130), rng()).tobytes())
    assert len(set(drawn)) == 1


@pytest.mark.parametrize("initializer", [*NAMES.values(), Uniform(-1, 1), Constant(0.5)], ids=str)
def test_one_generator_state_gives_one_array(initializer):
    first, again = initializer((6, 8), rng(3)), initializer((6, 8), rng(3))
    assert first.tobytes() == again.tobytes()
    if not isinstance(initializer, (Zeros, Ones, Constant)):
        assert initializer((6, 8), rng(4)).tobytes() != first.tobytes()


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (3, 3, 0, 4)], ids=str)
@pytest.mark.parametrize("initializer", NAMES.values(), ids=str)
def test_empty_parameters_are_filled(initializer, shape):
    assert initializer(shape, rng()).shape == shape


def test_constants():
    assert (Zeros()((3,), rng()) == 0).all()
    assert (Ones()((), rng()) == 1).all()
    assert (Constant(0.25)((2, 3), rng()) == 0.25).all()
    given = np.arange(6.0).reshape(2, 3)
    values = Constant(given)((2, 3), rng())
    np.testing.assert_array_equal(values, given)
    values[:] = 0  # the caller's own copy
    np.testing.assert_array_equal(Constant(given)((2, 3), rng()), given)
    np.testing.assert_array_equal(Constant([1, 2, 3])((2, 3), rng()), [[1, 2, 3], [1, 2, 3]])


def test_fans():
    assert initializers.fans((30, 10)) == (30, 10)
    assert initializers.fans((5, 3, 20, 40)) == (300, 600)
    assert initializers.fans((5, 20, 40)) == (100, 200)


EXAMPLES = [*NAMES.values(), Constant(np.float32(0.1)), Constant([[1.0, 2.0]]), Normal(1.0, np.float32(0.5)),
            Uniform(-2, 0.5), Orthogonal(np.float64(1.4))]  # fmt: skip


@pytest.mark.parametrize("initializer", EXAMPLES, ids=str)
def test_a_round_trip_through_json_restores_it(initializer):
    restored = Initializer.from_config(json.loads(json.dumps(initializer.config())))
    assert restored == initializer
    assert hash(restored) == hash(initializer)
    shape = (1, 2) if isinstance(initializer, Constant) else (4, 5)
    assert restored(shape, rng()).tobytes() == initializer(shape, rng()).tobytes()


def test_an_initializer_of_one_s_own_is_restored_too():
    @dataclass
    class Diagonal(Initializer):
        value: float

        def sample(self, shape, rng):
            return self.value * np.eye(*shape)

    restored = Initializer.from_config(Diagonal(3.0).config())
    np.testing.assert_array_equal(restored((2, 2), rng()), [[3, 0], [0, 3]])
    assert initializers.get(restored) is restored


def test_get_knows_names_and_objects():
    assert initializers.get("glorot") == Glorot("uniform") == initializers.get("glorot_uniform")
    assert initializers.get("glorot_normal") == Glorot("normal")
    assert initializers.get("he") == He("normal") == initializers.get("he_normal")
    assert initializers.get("he_uniform") == He("uniform")
    assert initializers.get("lecun") == LeCun()
    assert initializers.get("nielsen") == Nielsen()
    mine = Normal(0, 2)
    assert initializers.get(mine) is mine


class Wrong(Initializer):
    def sample(self, shape, rng):
        return np.zeros(3)


class Unfinished(Initializer):
    pass


BAD = {
    "unknown name": (lambda: initializers.get("glorrot"), ValueError, r"'glorrot'.*glorot_uniform.*orthogonal"),
    "class, not object": (lambda: initializers.get(Zeros), TypeError, "initializer or its name"),
    "number": (lambda: initializers.get(0.1), TypeError, "got 0.1"),
    "distribution": (lambda: Glorot("gaussian"), ValueError, "Glorot: distribution.*'uniform', 'normal'.*'gaussian'"),
    "no fans": (lambda: He()((10,), rng()), ValueError, r"He: .*\(in, out\).*\(10,\).*biases"),
    "no fans, Nielsen": (lambda: Nielsen()((10,), rng()), ValueError, "Nielsen: needs weights"),
    "no fans, orthogonal": (lambda: Orthogonal()((10,), rng()), ValueError, "Orthogonal: needs weights"),
    "negative size": (lambda: Zeros()((2, -1), rng()), ValueError, "Zeros: every dimension.*-1"),
    "fractional size": (lambda: Zeros()((2.5,), rng()), TypeError, "whole number, got 2.5"),
    "negative std": (lambda: Normal(0, -1), ValueError, "Normal: std must be finite and at least 0, got -1"),
    "NaN mean": (lambda: Normal(float("nan")), ValueError, "Normal: mean must be finite"),
    "text std": (lambda: Normal(0, "1"), TypeError, "Normal: std must be a number, got '1'"),
    "turned bounds": (lambda: Uniform(1, 0), ValueError, "low must not exceed high"),
    "infinite gain": (lambda: Orthogonal(math.inf), ValueError, "gain must be finite"),
    "constant shape": (lambda: Constant([1, 2])((3,), rng()), ValueError, r"shape \(2,\) does not fit shape \(3,\)"),
    "constant NaN": (lambda: Constant([1, math.nan]), ValueError, "finite"),
    "constant text": (lambda: Constant("one"), TypeError, "number or an array"),
    "own, wrong shape": (lambda: Wrong()((2, 2), rng()), ValueError, r"Wrong: sample gave shape \(3,\)"),
    "own, unfinished": (lambda: Unfinished()((2, 2), rng()), NotImplementedError, "must define sample"),
    "config unknown": (lambda: Initializer.from_config({"type": "Initializer.Gone"}), ValueError, "Gone.*Glorot"),
    "config empty": (lambda: Initializer.from_config({}), ValueError, "unknown Initializer None"),
    "config family": (lambda: Initializer.from_config({"type": "Schedule.Constant", "rate": 1}), ValueError, "unknown"),
    "config field": (lambda: Initializer.from_config({"type": "Initializer.He", "x": 1}), ValueError, "does not fit"),
    "config value": (lambda: Initializer.from_config({"type": "Initializer.Normal", "std": -1}), ValueError, "std"),
}


@pytest.mark.parametrize("call, error, message", BAD.values(), ids=BAD)
def test_wrong_calls_are_clear_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_taken_name_is_refused():
    with pytest.raises(TypeError, match=r"Initializer\.Zeros is taken"):
        type("Zeros", (Initializer,), {"__module__": "elsewhere"})
    assert isinstance(Initializer.from_config(Zeros().config()), Zeros)

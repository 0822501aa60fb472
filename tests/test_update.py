"""Updates against plain NumPy, exact arithmetic and PyTorch; clipping; accumulation."""

import importlib
import math
from fractions import Fraction

import guard
import numpy as np
import pytest
from networks import both

from fastnn import backends, kernels, ops
from fastnn.graph.plan import Place, plan
from fastnn.graph.tensor import Graph
from fastnn.kernels import executor
from fastnn.ops.update import NORM_CHUNK, RULES
from fastnn.program import OPERATIONS, RunRow

pytestmark = pytest.mark.kernel

FLOATS = ["float32", "float64"]
NUMBERS = {
    "sgd": {},
    "momentum": {"momentum": 0.9, "dampening": 0.25},
    "nesterov": {"momentum": 0.9, "dampening": 0.0},
    "rmsprop": {"alpha": 0.95, "eps": 1e-6},
    "rmsprop_momentum": {"momentum": 0.8, "alpha": 0.95, "eps": 1e-6},
    "adagrad": {"eps": 1e-8},
    "adam": {"beta1": 0.9, "beta2": 0.99, "eps": 1e-7},
    "adamw": {"beta1": 0.9, "beta2": 0.99, "eps": 1e-7},
}
OPTIONS = {
    "plain": {},
    "penalties": {"weight_decay": 0.03, "l1": 0.02, "l2": 0.05},
    "clipped": {"clip_value": 0.7},
    "everything": {"weight_decay": 0.03, "l1": 0.02, "l2": 0.05, "clip_value": 0.7, "rate_scale": 0.5},
}
# One rounding a step and element, 50 steps, a few operations each: 1e3 half-ulps of values near one.
TOLERANCE = {"float32": 1e3 * 2**-24, "float64": 1e3 * 2**-53}


def level(dtype: str) -> str:
    return f"{kernels.LEVEL}-{dtype}"


by_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=level)
by_rule = pytest.mark.parametrize("rule", RULES)


def operands(n, dtype, n_states, seed=0):
    """Parameter, states (the second of Adam's, a mean of squares, not negative) and gradient."""
    random = np.random.default_rng(seed)
    w, s, t, g = random.normal(size=(4, n)).astype(dtype)
    return w, [np.abs(s), np.abs(t)][:n_states], g


def textbook(rule, w, states, g, *, rate, t, scale=1.0, weight_decay=0.0, l1=0.0, l2=0.0, clip_value=None,
             rate_scale=1.0, momentum=0.0, dampening=0.0, alpha=0.0, beta1=0.0, beta2=0.0, eps=0.0):  # fmt: skip
    """The formulas as the papers have them, in float64; returns parameter and states."""
    rate = rate * rate_scale
    g = g * scale
    if clip_value is not None:
        g = np.clip(g, -clip_value, clip_value)
    g = g + l2 * w + l1 * np.sign(w) + (0.0 if rule == "adamw" else weight_decay * w)
    if rule == "sgd":
        return w - rate * g, []
    if rule in ("momentum", "nesterov"):
        v = momentum * states[0] + (1 - dampening) * g
        return w - rate * (v if rule == "momentum" else g + momentum * v), [v]
    if rule == "adagrad":
        s = states[0] + g**2
        return w - rate * g / (np.sqrt(s) + eps), [s]
    if rule in ("adam", "adamw"):
        m, s = beta1 * states[0] + (1 - beta1) * g, beta2 * states[1] + (1 - beta2) * g**2
        w = w * (1 - rate * weight_decay) if rule == "adamw" else w
        return w - rate * (m / (1 - beta1**t)) / (np.sqrt(s / (1 - beta2**t)) + eps), [m, s]
    s = alpha * states[0] + (1 - alpha) * g**2
    step = g / (np.sqrt(s) + eps)
    if rule == "rmsprop":
        return w - rate * step, [s]
    v = momentum * states[1] + step
    return w - rate * v, [s, v]


@by_rule
@by_dtype
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_fifty_steps_follow_the_textbook(rule, dtype, options):
    n = 67
    w, _, _ = operands(n, dtype, 0)
    states = [np.zeros(n, dtype) for _ in range(RULES[rule].n_states)]
    exact, exact_states = w.astype(float), [each.astype(float) for each in states]
    random = np.random.default_rng(1)
    for step in range(50):
        g = random.normal(size=n).astype(dtype)
        rate = 0.05 / (1 + step)
        ops.update(rule, w, states, g, learning_rate=rate, step=step, **options, **NUMBERS[rule])
        exact, exact_states = textbook(
            rule, exact, exact_states, g.astype(float), rate=rate, t=step + 1, **options, **NUMBERS[rule]
        )
    np.testing.assert_allclose(w, exact, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    for found, wanted in zip(states, exact_states, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@by_rule
@by_dtype
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_one_step_is_the_reference(rule, dtype, options):
    w, states, g = operands(1000, dtype, RULES[rule].n_states)
    scale = np.array(0.3, dtype)
    attributes = {"rate_scale": 1.0, "weight_decay": 0.0, "l1": 0.0, "l2": 0.0, "clip_value": None, **options}
    run = {"learning_rate": 0.1, "correction1": 1 - 0.9**8, "correction2": 1 - 0.99**8}
    inputs = [g, scale, w.copy(), *(each.copy() for each in states)]
    expected = OPERATIONS[f"update_{rule}"].reference(np, inputs, {**attributes, **NUMBERS[rule]}, run)
    found = ops.update(rule, w, states, g, scale, learning_rate=0.1, step=7, **options, **NUMBERS[rule])
    assert found[0] is w
    assert all(expect.dtype == dtype for expect in expected)
    for new, expect in zip(found, expected, strict=True):
        np.testing.assert_allclose(new, expect, rtol=16 * np.finfo(dtype).eps, atol=16 * np.finfo(dtype).eps)


@by_dtype
@pytest.mark.parametrize("rule", [rule for rule in RULES if RULES[rule].n_states])
def test_states_do_not_stay_denormal(rule, dtype):
    """Where the gradient stays 0 they decay; denormal numbers would make each step take many times as long."""
    tiny = np.finfo(dtype).tiny
    start = np.array([0.0, 0.5, 0.99, 1.0, 1.5, 100.0, np.nan] * 9, dtype) * tiny
    g, run = np.zeros_like(start), {"learning_rate": 0.1, "correction1": 0.5, "correction2": 0.5}
    attributes = {"rate_scale": 1.0, "weight_decay": 0.0, "l1": 0.0, "l2": 0.0, "clip_value": None, **NUMBERS[rule]}
    w, states = np.ones_like(start), [start.copy() for _ in range(RULES[rule].n_states)]
    theirs = [w.copy(), *(each.copy() for each in states)]
    for _ in range(20):
        ops.update(rule, w, states, g, learning_rate=0.1, step=3, **NUMBERS[rule])
        theirs = OPERATIONS[f"update_{rule}"].reference(np, [g, None, *theirs], attributes, run)
        for ours, other in zip(states, theirs[1:], strict=True):
            assert np.all(np.isnan(ours) | (ours == 0) | (ours >= tiny))
            np.testing.assert_array_equal(ours == 0, other == 0)
    assert all(np.all(each[1::7] == 0) for each in states)
    assert all(np.all(np.isnan(each[6::7])) and np.all(each[5::7] > 0) for each in states)


# ------------------------------------------------------------------------------- the order of arithmetic, exactly


def rounded(value: Fraction, dtype: str):
    """The float nearest to an exact number: float64 by Python's own division, float32 by comparing neighbours."""
    if dtype == "float64":
        return np.float64(value.numerator / value.denominator)
    guess = np.float32(value.numerator / value.denominator)
    near = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    even = [int(each.view(np.int32)) & 1 for each in near]
    return min(zip(near, even, strict=True), key=lambda pair: (abs(Fraction(float(pair[0])) - value), pair[1]))[0]


def fma(a, b, c):
    """Arrays a * b + c, rounded once, or twice at the level without fused multiply-add."""
    dtype = np.result_type(a, b, c).name
    if not kernels.tiles("float64")["HAS_FMA"]:
        return a * b + c
    exact = [Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in np.broadcast(a, b, c)]
    return np.array([rounded(value, dtype) for value in exact], dtype)


def exactly(rule, w, states, g, scale, rate, t, options, numbers):
    """The order of arithmetic that kernels/update.pxi promises, operation by operation."""
    kind = w.dtype.type
    decay = options.get("weight_decay", 0.0)
    l2 = options.get("l2", 0.0) + (0.0 if rule == "adamw" else decay)
    rate = rate * options.get("rate_scale", 1.0)
    g = g * scale
    if "clip_value" in options:
        g = np.clip(g, -kind(options["clip_value"]), kind(options["clip_value"]))
    if l2:
        g = fma(kind(l2), w, g)
    if "l1" in options:
        g = fma(kind(options["l1"]), np.sign(w), g)
    first, second, eps = (kind(numbers.get(name, 0.0)) for name in RULES[rule].numbers)
    rest = kind(1 - numbers.get(RULES[rule].numbers[1], 0.0))
    down = kind(-rate)
    if rule == "sgd":
        return [fma(down, g, w)]
    if rule in ("momentum", "nesterov"):
        v = fma(first, states[0], rest * g)
        return [fma(down, v if rule == "momentum" else fma(first, v, g), w), v]
    if rule == "adagrad":
        s = fma(g, g, states[0])
        return [fma(down, g / (np.sqrt(s) + eps), w), s]
    if rule in ("adam", "adamw"):
        m = fma(kind(1 - numbers["beta1"]), g - states[0], states[0])
        s = fma(second, states[1], rest * g * g)
        size = fma(np.sqrt(s), kind(1 / math.sqrt(1 - numbers["beta2"] ** t)), eps)
        kept = w * kind(1 - rate * decay) if rule == "adamw" else w
        return [fma(kind(-rate / (1 - numbers["beta1"] ** t)), m / size, kept), m, s]
    s = fma(second, states[0], rest * g * g)
    step = g / (np.sqrt(s) + eps)
    if rule == "rmsprop":
        return [fma(down, step, w), s]
    v = fma(first, states[1], step)
    return [fma(down, v, w), s, v]


@by_rule
@by_dtype
@pytest.mark.parametrize("name", ["plain", "everything"])
def test_every_bit_is_as_promised(rule, dtype, name):
    w, states, g = operands(37, dtype, RULES[rule].n_states, seed=3)
    scale = np.array(0.3, dtype) if name == "everything" else np.array(1, dtype)
    expected = exactly(rule, w, states, g, scale, 0.07, 3, OPTIONS[name], NUMBERS[rule])
    found = ops.update(rule, w, states, g, scale, learning_rate=0.07, step=2, **OPTIONS[name], **NUMBERS[rule])
    for new, expect in zip(found, expected, strict=True):
        assert new.tobytes() == expect.tobytes()


def arguments(rule, w, states, g, scale=None, options=OPTIONS["everything"], rate=0.07):
    """A kernel call: address's name, operands, integers, numbers and run row."""
    padded = [*states, None, None][:2]
    attributes = {"rate_scale": 1.0, "weight_decay": 0.0, "l1": 0.0, "l2": 0.0, "clip_value": None}
    kernel = OPERATIONS[f"update_{rule}"].kernel
    numbers = kernel.numbers({**attributes, **options, **NUMBERS[rule]})
    slots = len(OPERATIONS[f"update_{rule}"].slots({}))
    integers = (*range(slots), *kernel.integers({}))
    return kernel.name, (w, *padded, g, scale), integers, numbers, np.array([rate, 0.3, 0.2][:slots])


@by_rule
@by_dtype
@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 1000])
def test_sizes_and_threads(rule, dtype, n):
    """Every element is updated once, whatever the number of threads; nothing beside them is touched."""
    found = []
    for threads in (1, 2, 3, 4):
        room = [np.full(n + 16, 9, dtype) for _ in range(1 + RULES[rule].n_states)]
        w, states, g = operands(n, dtype, RULES[rule].n_states)
        for place, values in zip(room, [w, *states], strict=True):
            place[8 : 8 + n] = values
        w, *states = (place[8 : 8 + n] for place in room)
        before = w.copy()
        name, given, integers, numbers, row = arguments(rule, w, states, g)
        status = executor.call(kernels.address(name, dtype), given, 3, integers, numbers, 0.0, threads, None, row)
        assert status == 0
        assert (w != before).all()
        assert all((np.delete(place, np.s_[8 : 8 + n]) == 9).all() for place in room)
        found.append(b"".join(place.tobytes() for place in room))
    assert len(set(found)) == 1


@by_rule
@by_dtype
def test_nothing_past_the_last_element_is_touched(rule, dtype):
    for n in (1, 3, 7, 8, 9, 15, 16, 17, 100):
        w, states, g = operands(n, dtype, RULES[rule].n_states)
        guarded = [guard.guarded(each) for each in (w, *states, g)]
        ops.update(rule, w, states, g, learning_rate=0.1, **OPTIONS["everything"], **NUMBERS[rule])
        changed = ops.update(
            rule, guarded[0], guarded[1:-1], guarded[-1], learning_rate=0.1, **OPTIONS["everything"], **NUMBERS[rule]
        )
        for found, expected in zip(changed, (w, *states), strict=True):
            assert found.tobytes() == expected.tobytes()


@by_dtype
@pytest.mark.parametrize("n", [1, 15, 16, 17, NORM_CHUNK + 3])
def test_norm_and_fill_touch_nothing_past_the_last_element(dtype, n):
    x = guard.guarded(np.ones(n, dtype))
    np.testing.assert_allclose(ops.clip_scale([x], 0.5), 0.5 / (math.sqrt(n) + 1e-6), rtol=1e-6)
    ops.fill(x, 3.0)
    ops.accumulate(x, x.copy())
    assert (x == 6).all()


@by_rule
@by_dtype
def test_levels_with_fused_multiply_add_agree(rule, dtype):
    names = [name for name in ("v3", "v4") if int(name[1]) <= kernels.cpu.level() and kernels._built(name)]
    if len(names) < 2:
        pytest.skip("this machine lacks level v4, or the build does")
    found = []
    for name in names:
        table = importlib.import_module(f"fastnn.kernels.{name}_{dtype}").KERNELS
        w, states, g = operands(1003, dtype, RULES[rule].n_states)
        kernel, given, integers, numbers, row = arguments(rule, w, states, g, np.array(0.7, dtype))
        executor.call(table[kernel], given, 3, integers, numbers, run=row)
        found.append(b"".join(each.tobytes() for each in (w, *states)))
    assert found[0] == found[1]


@by_rule
@by_dtype
def test_any_strides(rule, dtype):
    views = [lambda a: a.T, lambda a: a[::-1], lambda a: a[:, ::2], lambda a: a[::2, ::-3]]
    for view in views:
        n_states = RULES[rule].n_states
        flat, flat_states, flat_g = operands(40 * 42, dtype, n_states)
        w, *states, g = (view(each.copy().reshape(40, 42)) for each in (flat, *flat_states, flat_g))
        packed = [np.ascontiguousarray(each) for each in (w, *states, g)]
        found = ops.update(rule, w, states, g, learning_rate=0.1, **NUMBERS[rule])
        expected = ops.update(rule, packed[0], packed[1:-1], packed[-1], learning_rate=0.1, **NUMBERS[rule])
        for new, expect in zip(found, expected, strict=True):
            assert np.array_equal(new, expect)


@by_rule
@by_dtype
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_nan_and_infinity_stay_where_they_are(rule, dtype, options):
    w, states, g = operands(40, dtype, RULES[rule].n_states)
    g[3] = np.nan
    w[11] = np.nan
    if states:
        states[0][20] = np.nan
    ops.update(rule, w, states, g, learning_rate=0.1, **options, **NUMBERS[rule])
    broken = {3, 11, 20} if states else {3, 11}
    assert set(np.flatnonzero(np.isnan(w))) == broken
    w, states, g = operands(40, dtype, RULES[rule].n_states)
    g[5] = np.inf
    ops.update(rule, w, states, g, learning_rate=0.1, **options, **NUMBERS[rule])
    assert np.isfinite(np.delete(w, 5)).all()
    assert np.isfinite(w[5]) == ("clip_value" in options)


@by_dtype
def test_a_penalty_of_zero_is_not_applied(dtype):
    """0 * inf would be NaN."""
    w = np.full(20, np.inf, dtype)
    ops.update("sgd", w, [], np.ones(20, dtype), learning_rate=0.1, clip_value=0.5)
    assert (w == np.inf).all()


def test_wrong_operands_change_nothing():
    w, g = np.ones(4), np.ones(4)
    frozen = np.ones(4)
    frozen.flags.writeable = False
    wrong = [
        (ValueError, "no rule", {"rule": "newton"}),
        (TypeError, "needs momentum, dampening", {"rule": "momentum", "states": [np.ones(4)]}),
        (TypeError, "needs no numbers", {"momentum": 0.9}),
        (ValueError, "has 0 states", {"states": [np.ones(4)]}),
        (ValueError, "one shape", {"gradient": np.ones(3)}),
        (ValueError, "one shape", {"rule": "adagrad", "states": [np.ones(5)], "eps": 0.1}),
        (ValueError, "scale must be", {"scale": np.ones(1)}),
        (ValueError, "learning_rate", {"learning_rate": None}),
        (ValueError, "read-only", {"parameter": frozen}),
        (TypeError, "only float32 and float64", {"parameter": np.ones(4, np.int64)}),
        (TypeError, "only float32 and float64", {"parameter": [1.0] * 4}),
        (TypeError, "one dtype", {"rule": "adagrad", "states": [np.ones(4, np.float32)], "eps": 0.1}),
    ]
    for problem, message, change in wrong:
        given = {"rule": "sgd", "parameter": w, "states": [], "gradient": g, "learning_rate": 0.1, **change}
        with pytest.raises(problem, match=message):
            ops.update(given.pop("rule"), given.pop("parameter"), given.pop("states"), given.pop("gradient"), **given)
        assert (w == 1).all()


# ------------------------------------------------------------------------------- the global norm

SIZES = [0, 1, 15, 16, 17, NORM_CHUNK - 1, NORM_CHUNK, NORM_CHUNK + 1, 3 * NORM_CHUNK + 5]


@by_dtype
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e6])
def test_clip_scale(dtype, n, max_norm):
    g = np.random.default_rng(n).normal(size=n).astype(dtype)
    scale = ops.clip_scale([g], max_norm)
    norm = math.sqrt(math.fsum(float(each) ** 2 for each in g))
    assert scale.dtype == dtype
    assert scale.shape == ()
    np.testing.assert_allclose(scale, min(1.0, max_norm / (norm + 1e-6)), rtol=4 * np.finfo(dtype).eps)


@by_dtype
@pytest.mark.parametrize("count", [2, 11, 12, 40])
def test_the_norm_goes_over_all_gradients(dtype, count):
    random = np.random.default_rng(count)
    gradients = [random.normal(size=(3, 1 + 7 * i)).astype(dtype)[:, ::-1].T for i in range(count)]
    norm = math.sqrt(math.fsum(float(each) ** 2 for g in gradients for each in g.flat))
    np.testing.assert_allclose(ops.clip_scale(gradients, 2.0), 2.0 / (norm + 1e-6), rtol=4 * np.finfo(dtype).eps)


@by_dtype
def test_sums_of_squares_have_one_order(dtype):
    x = np.random.default_rng(0).normal(size=2 * NORM_CHUNK + 100).astype(dtype)
    expected = []
    for start in range(0, x.size, NORM_CHUNK):
        lanes = np.zeros(16)
        for i, value in enumerate(x[start : start + NORM_CHUNK].astype(float)):
            lanes[i % 16] += value * value
        for half in (8, 4, 2, 1):
            lanes = lanes[:half] + lanes[half:]
        expected.append(lanes[0])
    for threads in (1, 2, 3, 4):
        sums = np.zeros(3)
        executor.call(kernels.address("squares", dtype), (sums, x), 1, (), (), 0.0, threads)
        assert sums.tolist() == expected
    reference = OPERATIONS["squares"].reference(np, [x], {}, RunRow())[0]
    np.testing.assert_allclose(reference, expected, rtol=1e-14)


@by_dtype
def test_clip_scale_of_what_is_not_finite(dtype):
    g = np.ones(100, dtype)
    g[50] = np.inf
    assert ops.clip_scale([g], 1.0) == 0
    g[51] = np.nan
    assert np.isnan(ops.clip_scale([np.ones(5, dtype), g], 1.0))
    large = np.full(100, 1e30, dtype)  # its square is beyond float32
    np.testing.assert_allclose(ops.clip_scale([large], 1.0), 1e-31, rtol=1e-6)


def test_clip_scale_refuses():
    with pytest.raises(ValueError, match="above 0"):
        ops.clip_scale([np.ones(3)], 0.0)
    with pytest.raises(ValueError, match="no gradient"):
        ops.clip_scale([], 1.0)
    with pytest.raises(TypeError, match="one float type"):
        ops.clip_scale([np.ones(3), np.ones(3, np.float32)], 1.0)
    with pytest.raises(TypeError, match="one float type"):
        ops.clip_scale([np.ones(3, np.int64)], 1.0)


# ------------------------------------------------------------------------------- accumulation, Programs, PyTorch


@by_dtype
@pytest.mark.parametrize("view", [lambda a: a, lambda a: a[::-2], lambda a: a.T], ids=["whole", "sliced", "transposed"])
def test_fill_and_accumulate(dtype, view):
    target = view(np.full((30, 21), np.nan, dtype))
    x = np.random.default_rng(0).normal(size=target.shape).astype(dtype)
    assert ops.fill(target, 0.25) is target
    assert (target == 0.25).all()
    assert ops.accumulate(target, x) is target
    assert np.array_equal(target, np.asarray(0.25, dtype) + x)
    with pytest.raises(ValueError, match="one shape"):
        ops.accumulate(target, x[:3])


class Block:
    """A parameter of the simplest kind."""

    is_parameter = True

    def __init__(self, name, shape):
        self.name, self.shape = name, shape


@both
@by_rule
def test_a_program_clips_and_updates(backend, rule):
    n, n_states, rate = 50, RULES[rule].n_states, [0.1, 0.05, 0.02]
    blocks = [Block(name, (n,)) for name in ("w", "g", "s", "t")[: 2 + n_states]]
    names = ["parameters", "gradients", "state", "counters"]
    with Graph("float64") as graph:
        w, g, *states = (graph.variable(block) for block in blocks)
        scale = ops.clip_scale([g], 3.0)
        ops.update(rule, w, states, g, scale, l2=0.1, **NUMBERS[rule])
        with pytest.raises(ValueError, match="run row"):
            ops.update(rule, w, states, g, learning_rate=1.0, **NUMBERS[rule])
        places = {tensor: Place(name) for tensor, name in zip([w, g, *states], names, strict=False)}
    program = plan(graph, {}, places)
    start, start_states, slope = operands(n, "float64", n_states)
    memory = dict(zip(names, [start.copy(), slope, *(each.copy() for each in start_states)], strict=False))
    runner = backends.get(backend).prepare(program, "float64", memory)
    columns = {"learning_rate": rate}
    if RULES[rule].adam:
        t = np.arange(1, 4)
        columns |= {"correction1": 1 - 0.9**t, "correction2": 1 - 0.99**t}
    assert set(program.slots) == set(columns)
    runner.run(np.stack([columns[slot] for slot in program.slots], axis=1).astype(float), {})
    expected, expected_states = start, start_states
    clip = 3.0 / (np.linalg.norm(slope) + 1e-6)
    for t, step_rate in enumerate(rate, 1):
        expected, expected_states = textbook(
            rule, expected, expected_states, slope, rate=step_rate, t=t, scale=clip, l2=0.1, **NUMBERS[rule]
        )
    for block, wanted in zip(names, [expected, slope, *expected_states], strict=False):
        np.testing.assert_allclose(memory[block], wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.torch
@by_rule
@by_dtype
def test_pytorch_agrees(rule, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    numbers = {**NUMBERS[rule], "dampening": 0.0} if rule == "momentum" else NUMBERS[rule]
    adam = {"betas": (numbers.get("beta1"), numbers.get("beta2")), "eps": numbers.get("eps")}
    make = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.02),
        "momentum": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.02, momentum=0.9),
        "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.02, momentum=0.9, nesterov=True),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05, weight_decay=0.02, alpha=0.95, eps=1e-6),
        "rmsprop_momentum": lambda p: torch.optim.RMSprop(
            p, lr=0.05, weight_decay=0.02, alpha=0.95, eps=1e-6, momentum=0.8
        ),
        "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, weight_decay=0.02, eps=1e-8),
        "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.02, **adam),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.02, **adam),
    }[rule]
    start, _, _ = operands(67, dtype, 0)
    w, states = start.copy(), [np.zeros(67, dtype) for _ in range(RULES[rule].n_states)]
    theirs = torch.nn.Parameter(torch.tensor(start))
    optimizer = make([theirs])
    random = np.random.default_rng(1)
    for step in range(50):
        g = random.normal(size=67).astype(dtype)
        theirs.grad = torch.tensor(g)
        torch.nn.utils.clip_grad_norm_([theirs], 5.0)
        optimizer.step()
        scale = ops.clip_scale([g], 5.0)
        ops.update(rule, w, states, g, scale, learning_rate=0.05, step=step, weight_decay=0.02, **numbers)
    np.testing.assert_allclose(w, theirs.detach().numpy(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])

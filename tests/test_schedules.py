"""Schedules: known rates, independence of slicing, the memory of ReduceOnPlateau, round trips and clear errors."""

import json
import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from fastnn import schedules
from fastnn.schedules import (
    Constant,
    Cosine,
    Exponential,
    OneCycle,
    Piecewise,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    WarmUp,
)

EVERY = [
    Constant(0.1),
    StepDecay(0.1, every=7, factor=0.5),
    Exponential(0.1, decay=0.96, every=10),
    Cosine(0.1, steps=4000, final=1e-4),
    WarmUp(Cosine(0.1, steps=3000), steps=100),
    OneCycle(0.5, steps=5000),
    Piecewise([30, 60], [0.1, 0.01, 0.001]),
    ReduceOnPlateau(0.1),
    ReduceOnPlateau(WarmUp(0.1, 50), factor=0.5),
]


def annealed(start, end, fraction):
    return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))


def test_constant():
    np.testing.assert_array_equal(Constant(0.25)(np.arange(4)), [0.25] * 4)


def test_step_decay():
    np.testing.assert_allclose(
        StepDecay(0.8, every=3, factor=0.5)(np.arange(8)), [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2], rtol=1e-15
    )


def test_exponential():
    rates = Exponential(2.0, decay=0.25, every=2)(np.arange(5))
    np.testing.assert_allclose(rates, [2.0, 1.0, 0.5, 0.25, 0.125], rtol=1e-15)


def test_cosine_falls_from_rate_to_final_and_stays():
    rates = Cosine(1.0, steps=8, final=0.2)(np.arange(12))
    np.testing.assert_allclose(rates[:9], [annealed(1.0, 0.2, k / 8) for k in range(9)], rtol=1e-14)
    assert rates[0] == 1.0
    assert rates[4] == pytest.approx(0.6)
    np.testing.assert_array_equal(rates[8:], [0.2] * 4)


def test_warm_up_is_a_line_to_the_wrapped_schedule():
    rates = WarmUp(StepDecay(0.4, every=2, factor=0.5), steps=4)(np.arange(9))
    np.testing.assert_allclose(rates, [0.0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.2, 0.2, 0.1], rtol=1e-15)
    assert WarmUp(0.4, 4) == WarmUp(Constant(0.4), 4)


@pytest.mark.parametrize("total, rise", [(10, 0.3), (1000, 0.3), (37, 0.25), (20, 0.5), (12, 0.95)])
def test_one_cycle_follows_the_published_rule(total, rise):
    """Two annealed phases that meet at step rise · steps - 1, as PyTorch documents them."""
    schedule = OneCycle(25.0, steps=total, rise=rise, start_divisor=25.0, final_divisor=2.0)
    top = rise * total - 1

    def expected(step):
        if step <= top:
            return annealed(1.0, 25.0, step / top)
        return annealed(25.0, 0.5, (step - top) / (total - 1 - top))

    rates = schedule(np.arange(total))
    np.testing.assert_allclose(rates, [expected(step) for step in range(total)], rtol=1e-12)
    assert rates[0] == pytest.approx(1.0)
    np.testing.assert_array_equal(schedule(np.array([total - 1, total, 10 * total])), [0.5] * 3)


def test_one_cycle_by_hand():
    rates = OneCycle(25.0, steps=10, final_divisor=2.0)(np.arange(10))
    np.testing.assert_allclose(rates[[0, 1, 2, 9]], [1.0, 13.0, 25.0, 0.5], rtol=1e-14)


@pytest.mark.parametrize("rise, first, peak_at", [(0.0, 2.0, 0), (1.0, 0.08, 9)])
def test_one_cycle_may_only_fall_or_only_rise(rise, first, peak_at):
    rates = OneCycle(2.0, steps=10, rise=rise)(np.arange(10))
    assert rates[0] == pytest.approx(first)
    assert rates.argmax() == peak_at
    assert rates.max() == 2.0


def test_piecewise_changes_at_its_boundaries():
    rates = Piecewise([2, 5], [1.0, 0.1, 0.01])(np.arange(7))
    np.testing.assert_array_equal(rates, [1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])
    np.testing.assert_array_equal(Piecewise([], [0.3])(np.arange(2)), [0.3, 0.3])


@pytest.mark.parametrize("schedule", EVERY, ids=str)
def test_slicing_changes_no_bit(schedule):
    """A slice of steps is a table: its cuts, and odd lengths left over for scalar code, must not show."""
    whole = schedule(np.arange(5003))
    assert whole.dtype == np.float64
    cuts = [0, 1, 2, 5, 9, 16, 17, 33, 100, 1001, 1002, 4999, 5003]
    pieces = [schedule(np.arange(here, after)) for here, after in pairwise(cuts)]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()
    singly = np.array([float(schedule(step)) for step in range(0, 5003, 7)])
    assert singly.tobytes() == whole[::7].tobytes()
    assert schedule(np.arange(5003)[::-3]).tobytes() == whole[::-3].tobytes()


@pytest.mark.parametrize("schedule", EVERY, ids=str)
def test_rates_are_finite_not_negative_and_shaped_like_the_steps(schedule):
    far = schedule(np.array([[0, 1, 2], [10**6, 10**9, 2**62]]))
    assert far.shape == (2, 3)
    assert np.isfinite(far).all()
    assert (far >= 0).all()
    assert schedule(np.zeros(0, np.int64)).shape == (0,)
    assert schedule(np.arange(3, dtype=np.uint8)).tobytes() == schedule([0, 1, 2]).tobytes()


@pytest.mark.parametrize("schedule", EVERY, ids=str)
def test_a_round_trip_through_json_restores_it(schedule):
    restored = Schedule.from_config(json.loads(json.dumps(schedule.config())))
    assert restored == schedule
    assert restored(np.arange(500)).tobytes() == schedule(np.arange(500)).tobytes()


def test_numpy_numbers_go_into_a_config():
    schedule = StepDecay(np.float32(0.1), every=np.int64(3), factor=np.float64(0.5))
    assert Schedule.from_config(json.loads(json.dumps(schedule.config()))) == schedule


def test_a_schedule_of_one_s_own():
    @dataclass
    class InverseRoot(Schedule):
        rate: float

        def table(self, steps):
            return self.rate / np.sqrt(1.0 + steps)

    schedule = WarmUp(InverseRoot(1.0), steps=2)
    np.testing.assert_allclose(schedule([0, 1, 2, 5]), [0.0, 0.5, 1.0, 0.5])
    assert Schedule.from_config(schedule.config()) == schedule


def test_get():
    assert schedules.get(0.5) == Constant(0.5)
    assert schedules.get(np.float32(0.5)) == Constant(0.5)
    assert schedules.get(1) == Constant(1.0)
    schedule = Cosine(0.1, 10)
    assert schedules.get(schedule) is schedule


# ---- ReduceOnPlateau


def run(schedule, losses, name="validation_loss"):
    """The rate after each epoch with the given losses."""
    rates = []
    for loss in losses:
        schedule.observe({name: loss, "loss": 1.0} if name != "loss" else {"loss": loss})
        rates.append(float(schedule(0)))
    return rates


def test_plateau_reduces_after_patience_epochs_without_improvement():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=2)
    assert run(schedule, [3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0]) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_plateau_ignores_improvements_within_min_delta():
    steady = [1.0, 0.95, 0.90, 0.85]
    assert run(ReduceOnPlateau(1.0, factor=0.5, patience=3, min_delta=0.2), steady) == [1, 1, 1, 0.5]
    assert run(ReduceOnPlateau(1.0, factor=0.5, patience=3, min_delta=0.01), steady) == [1, 1, 1, 1]


def test_plateau_rests_during_cooldown():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=1, cooldown=2)
    assert run(schedule, [1.0] * 7) == [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_plateau_stops_at_its_minimum():
    schedule = ReduceOnPlateau(1.0, factor=0.1, patience=1, minimum=0.05)
    assert run(schedule, [1.0] * 4) == pytest.approx([1, 0.1, 0.05, 0.05])
    warming = ReduceOnPlateau(WarmUp(1.0, 10), minimum=0.5)
    assert warming(np.array([0, 2, 10])) == pytest.approx([0.0, 0.2, 1.0])  # the minimum bounds reductions, no more


@pytest.mark.parametrize("monitor, mode, values", [("validation_accuracy", "auto", [0.5, 0.6, 0.6]),
                                                   ("loss", "auto", [0.6, 0.5, 0.5]),
                                                   ("f1", "max", [0.5, 0.6, 0.6])])  # fmt: skip
def test_plateau_knows_which_way_is_better(monitor, mode, values):
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=1, monitor=monitor, mode=mode)
    assert run(schedule, values, monitor) == [1, 1, 0.5]


def test_plateau_takes_nan_for_no_improvement():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=2)
    assert run(schedule, [math.nan, math.nan, 5.0, 5.0]) == [1, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("killed_after", range(8))
def test_plateau_goes_on_from_a_saved_state(killed_after):
    losses = [3.0, 2.0, 2.0, 2.5, 2.0, 1.9, 1.9, 1.9, 1.9]
    whole = ReduceOnPlateau(1.0, factor=0.5, patience=2, cooldown=1)
    expected = run(whole, losses)
    assert len(set(expected)) > 2
    first = ReduceOnPlateau(1.0, factor=0.5, patience=2, cooldown=1)
    run(first, losses[:killed_after])
    second = Schedule.from_config(first.config())
    second.restore(first.state())
    assert run(second, losses[killed_after:]) == expected[killed_after:]


def test_plateau_s_table_does_not_depend_on_its_state_being_read():
    schedule = ReduceOnPlateau(1.0)
    state = schedule.state()
    schedule(np.arange(10))
    assert schedule.state() == state
    assert all(isinstance(value, (int, float)) for value in state.values())


BAD = {
    "negative rate": (lambda: Constant(-0.1), ValueError, "Constant: rate must be finite and at least 0, got -0.1"),
    "NaN rate": (lambda: Cosine(math.nan, 10), ValueError, "Cosine: rate must be finite"),
    "infinite rate": (lambda: OneCycle(math.inf, 10), ValueError, "OneCycle: peak"),
    "text rate": (lambda: Constant("0.1"), TypeError, "rate must be a number, got '0.1'"),
    "bool rate": (lambda: Constant(True), TypeError, "rate must be a number, got True"),
    "zero steps": (lambda: Cosine(0.1, 0), ValueError, "Cosine: steps must be at least 1, got 0"),
    "fractional steps": (lambda: Cosine(0.1, 1.5), TypeError, "whole number, got 1.5"),
    "negative final": (lambda: Cosine(0.1, 5, -1), ValueError, "Cosine: final"),
    "zero every": (lambda: StepDecay(0.1, 0), ValueError, "StepDecay: every"),
    "zero factor": (lambda: StepDecay(0.1, 1, 0), ValueError, "factor must be finite and greater than 0"),
    "negative decay": (lambda: Exponential(0.1, -0.5), ValueError, "Exponential: decay"),
    "exponential every": (lambda: Exponential(0.1, 0.5, 0), ValueError, "Exponential: every"),
    "warm-up steps": (lambda: WarmUp(0.1, 0), ValueError, "WarmUp: steps"),
    "warm-up of text": (lambda: WarmUp("cosine", 5), TypeError, "number or a Schedule, got 'cosine'"),
    "warm-up of plateau": (lambda: WarmUp(ReduceOnPlateau(0.1), 5), TypeError, "cannot wrap ReduceOnPlateau"),
    "one step": (lambda: OneCycle(0.1, 1), ValueError, "OneCycle: steps must be at least 2"),
    "rise over one": (lambda: OneCycle(0.1, 10, rise=1.5), ValueError, "rise must be at least 0 and at most 1"),
    "divisor": (lambda: OneCycle(0.1, 10, start_divisor=0), ValueError, "start_divisor"),
    "pieces": (lambda: Piecewise([1, 2], [0.1, 0.2]), ValueError, "2 boundaries separate 3 rates, got 2"),
    "falling boundaries": (lambda: Piecewise([5, 5], [1, 1, 1]), ValueError, "boundaries must rise"),
    "boundary zero": (lambda: Piecewise([0], [1, 1]), ValueError, "every boundary must be at least 1"),
    "negative piece": (lambda: Piecewise([1], [1, -1]), ValueError, "every rate"),
    "plateau factor": (lambda: ReduceOnPlateau(0.1, factor=1.0), ValueError, "factor must be less than 1"),
    "plateau factor zero": (lambda: ReduceOnPlateau(0.1, factor=0), ValueError, "factor"),
    "plateau patience": (lambda: ReduceOnPlateau(0.1, patience=0), ValueError, "patience must be at least 1"),
    "plateau cooldown": (lambda: ReduceOnPlateau(0.1, cooldown=-1), ValueError, "cooldown"),
    "plateau minimum": (lambda: ReduceOnPlateau(0.1, minimum=-1), ValueError, "minimum"),
    "plateau min_delta": (lambda: ReduceOnPlateau(0.1, min_delta=-1), ValueError, "min_delta"),
    "plateau mode": (lambda: ReduceOnPlateau(0.1, mode="down"), ValueError, "mode must be one of 'auto'"),
    "plateau metric": (lambda: ReduceOnPlateau(0.1, monitor="f1"), ValueError, "should 'f1' fall or rise"),
    "plateau of plateau": (lambda: ReduceOnPlateau(ReduceOnPlateau(0.1)), TypeError, "another ReduceOnPlateau"),
    "plateau unseen": (lambda: ReduceOnPlateau(0.1).observe({"loss": 1.0}), ValueError,
                       r"no 'validation_loss' among the metrics \(loss\).*validation data"),
    "plateau state": (lambda: ReduceOnPlateau(0.1).restore({"best": 1.0}), ValueError, "a state holds"),
    "negative step": (lambda: Constant(0.1)([3, -1]), ValueError, "count from 0, got -1"),
    "fractional step": (lambda: Constant(0.1)([0.5]), TypeError, "whole numbers, got dtype float64"),
    "unfinished": (lambda: Schedule()(0), NotImplementedError, "must define table"),
    "get text": (lambda: schedules.get("fast"), TypeError, "number or a Schedule"),
    "get bool": (lambda: schedules.get(False), TypeError, "got False"),
    "get negative": (lambda: schedules.get(-1), ValueError, "rate"),
    "config": (lambda: Schedule.from_config({"type": "Schedule.Cosine", "rate": 0.1}), ValueError, "does not fit"),
}  # fmt: skip


@pytest.mark.parametrize("call, error, message", BAD.values(), ids=BAD)
def test_wrong_calls_are_clear_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()

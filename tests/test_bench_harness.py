"""The benchmark harness: planted faults are caught, peers kept to their threads and their turns, bars computed."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn
from bench import bars, harness, peak, tasks, test_matmul, tolerances
from bench.harness import Contestant, check_threads
from bench.ledger import Ledger
from bench.peers import Inventory, Peer, inventory
from bench.peers import fastnn as ours
from bench.peers import numpy as numpy_peer
from bench.shapes import (
    ELEMENTWISE,
    NETWORKS,
    PREDICTED,
    PRODUCTS,
    PROGRAM_PRODUCTS,
    ElementwiseShape,
    NetworkShape,
    ProductShape,
    along_threads,
    training_data,
)
from bench.team import Team
from bench.timing import Turn
from bench.training import Epochs, compared
from bench.worker import Missing, Worker, lifted

SMALL = ProductShape(33, 17, 40)
LARGE = ProductShape(512, 512, 512)  # more than harness.THREADED_FLOPS
NETWORK = NetworkShape((8, 16, 3), "tanh", "", "mse", 8, 0.01, 64)

HONEST = """
import numpy as np
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from threadpoolctl import threadpool_limits

threadpool_limits(1)  # BLAS calls are the threads' own
workers = 1

def set_threads(n):
    global workers
    workers = n

def product(shape, a, b):
    pool, c, all_here = ThreadPoolExecutor(workers), np.empty((shape.m, shape.n), shape.dtype), Barrier(workers)
    def part(rows):
        all_here.wait()  # or one thread might do it all while the others wake up
        np.dot(a[rows], b, c[rows[0] : rows[-1] + 1])
    parts = np.array_split(np.arange(shape.m), workers)
    def run(times):
        for _ in range(times):
            list(pool.map(part, parts))
        return c
    return run
"""


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's speed matters here."""
    monkeypatch.setattr(tasks, "TURN_SECONDS", 1e-6)


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`plant(source)` is a team whose only peer has that page."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    teams = []

    def make(source: str) -> Team:
        module = f"planted{len(teams)}"
        (tmp_path / f"{module}.py").write_text(source)
        teams.append(Team(Inventory({Peer("planted", module, ()): sys.executable}, {}, {})))
        return teams[-1]

    yield make
    for team in teams:
        team.stop()


# ------------------------------------------------------------------------------------------ planted faults


def enter_product(team: Team, shape: ProductShape, threads: int = 1) -> list[Any]:
    return team.enter(threads, "product", shape)


def test_a_setting_that_would_hold_a_peer_back_is_lifted(plant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")  # kernels of 2004
    monkeypatch.setenv("OPENBLAS_MAIN_FREE", "1")  # what chooses no kernel stays
    team = plant(
        "import os\nassert 'OPENBLAS_CORETYPE' not in os.environ and 'OPENBLAS_MAIN_FREE' in os.environ\n" + HONEST
    )
    assert [entry.name for entry in enter_product(team, SMALL)] == ["planted"]
    assert "OPENBLAS_CORETYPE" in lifted()


def test_a_kernel_with_wrong_numbers_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    raced: list[Any] = []

    def race(work: Any, *contestants: Any) -> None:
        raced.append(work)

    test_matmul.test_product(SMALL, lambda *_: [], race)
    assert len(raced) == 1
    right = fastnn.ops.matmul

    def wrong(a: Any, b: Any, *, out: Any, **options: Any) -> Any:
        right(a, b, out=out, **options)
        out[-1, -1] *= 1.001  # one element at the edge of a tile
        return out

    monkeypatch.setattr(fastnn.ops, "matmul", wrong)
    with pytest.raises(AssertionError, match="fastnn: an element of the product"):
        test_matmul.test_product(SMALL, lambda *_: [], race)
    assert len(raced) == 1


@pytest.mark.parametrize("fault", ["c[0, 0] += 1e-2", "c[-1] = 0", "c[:] = c[::-1]"])
def test_a_peer_with_wrong_numbers_is_not_timed(plant: Any, fault: str) -> None:
    entries = enter_product(plant(HONEST.replace("        return c\n", f"        {fault}\n        return c\n")), SMALL)
    with pytest.raises(AssertionError, match="planted: an element of the product"):
        tolerances.check_products(SMALL, {entry.name: entry.result for entry in entries})


def test_a_peer_with_right_numbers_and_all_its_threads_passes(plant: Any) -> None:
    (entry,) = enter_product(plant(HONEST), LARGE, threads=2)
    tolerances.check_products(LARGE, {entry.name: entry.result})
    for _ in range(5):
        entry.contestant.take_turn()
    check_threads([entry.contestant], 2, LARGE.flops)
    assert entry.contestant.summary()["best"] > 0


def test_a_peer_that_got_one_thread_where_others_got_two_is_caught(plant: Any) -> None:
    (entry,) = enter_product(plant(HONEST.replace("workers = n", "workers = 1")), LARGE, threads=2)
    tolerances.check_products(LARGE, {entry.name: entry.result})  # nothing is wrong with its numbers
    for _ in range(4):  # on a busy machine an idle thread's spinning may look like work, in one turn or another
        entry.contestant.turns.clear()
        for _ in range(2):
            entry.contestant.take_turn()
        if entry.contestant.threads < 1.15:
            break
    with pytest.raises(AssertionError, match=r"planted worked on 1\.\d+ threads: has it got the 2 that others have"):
        check_threads([entry.contestant], 2, LARGE.flops)


@pytest.mark.skipif(sys.platform != "linux", reason="needs permission to bind a process, which Linux gives")
def test_a_peer_that_takes_more_threads_than_it_was_given_has_one_core_for_them(plant: Any) -> None:
    (entry,) = enter_product(plant(HONEST.replace("workers = n", "workers = 2")), LARGE, threads=1)
    for _ in range(5):
        entry.contestant.take_turn()
    assert max(turn.processors for turn in entry.contestant.turns) < 1.1


def test_threads_are_judged_by_the_numbers() -> None:
    def contestant(processors: float, threads: float | None, serial: bool = False) -> Contestant:
        return Contestant("peer", lambda: None, 1, serial, [Turn(1.0, processors, threads)])  # type: ignore[arg-type, return-value]

    check_threads([contestant(1.9, 1.9), contestant(1.0, 1.0, serial=True), contestant(1.0, None)], 2, 1e9)
    check_threads([contestant(1.0, 1.0)], 2, 1e6)  # too little work for two
    for wrong in (contestant(1.0, 1.0), contestant(2.9, 2.0)):
        with pytest.raises(AssertionError):
            check_threads([wrong], 2, 1e9)
    with pytest.raises(AssertionError, match=r"kept 2\.0 processors busy where it was given 1"):
        check_threads([contestant(2.0, 2.0)], 1, 1e6)


def test_a_training_that_learns_something_else_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    epochs, entries = compared(NETWORK, lambda *_, **__: [])
    assert not entries
    start = NETWORK.start()
    other = numpy_peer.Training(NETWORK, training_data(NETWORK), start)
    loss = other.train(epochs.order)
    tolerances.check_training(NETWORK, start, epochs.result, (loss, other.weights()), "numpy")
    doubled = [before + 2 * (after - before) for before, after in zip(start, other.weights(), strict=True)]
    with pytest.raises(AssertionError, match="parameter 0 is"):
        tolerances.check_training(NETWORK, start, epochs.result, (loss, doubled), "numpy")
    with pytest.raises(AssertionError, match="mean loss"):
        tolerances.check_training(NETWORK, start, epochs.result, (1.01 * loss, other.weights()), "numpy")
    with pytest.raises(AssertionError, match="has not moved"):
        tolerances.check_training(NETWORK, start, epochs.result, (loss, start), "numpy")


def test_a_training_that_diverges_is_caught() -> None:
    epochs = Epochs(NETWORK, NETWORK.start())
    epochs.turn()
    epochs.close()
    broken = [np.full_like(w, np.inf) for w in NETWORK.start()]
    epochs._training.network.set_weights(broken)
    with pytest.raises(AssertionError, match="diverged"):
        epochs.close()


# ------------------------------------------------------------------------------------- who computes the same


@pytest.mark.parametrize("shape", [each for each in ELEMENTWISE if each.in_cache], ids=lambda shape: shape.name)
def test_elementwise_results_agree_with_numpy(shape: ElementwiseShape) -> None:
    results = {ours.NAME: tasks.Elementwise(ours, shape).result}
    try:
        results["numpy"] = tasks.Elementwise(numpy_peer, shape).result
    except NotImplementedError:
        assert shape.operation.startswith("gelu")  # without SciPy
    tolerances.check_elementwise(shape, results)
    if shape.operation == "dropout":
        return
    results["wrong"] = [array.copy() for array in results[ours.NAME]]
    results["wrong"][-1].flat[-1] += 0.1 + abs(results["wrong"][-1].flat[-1])
    with pytest.raises(AssertionError, match="wrong"):
        tolerances.check_elementwise(shape, results)


def test_dropout_is_checked_for_what_it_is() -> None:
    shape = ElementwiseShape("dropout", in_cache=True)
    (x,) = shape.operands()
    keep = np.random.default_rng(0).random(x.size) < 0.5
    tolerances.check_elementwise(shape, {"peer": [np.where(keep, 2 * x, 0)]})
    for wrong in (np.where(keep, x, 0), 2 * x):  # not scaled; nothing dropped
        with pytest.raises(AssertionError, match="peer"):
            tolerances.check_elementwise(shape, {"peer": [wrong]})


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("hidden, loss", [("sigmoid", "quadratic"), ("tanh", "mse"), ("relu", "cross_entropy")])
def test_training_and_predictions_agree_with_numpy(hidden: str, loss: str, optimizer: str) -> None:
    output = "sigmoid" if loss == "quadratic" else ""
    shape = NetworkShape((8, 16, 3), hidden, output, loss, 8, 0.01, 64, optimizer)
    start = shape.start()
    order = np.arange(4 * shape.batch).reshape(4, -1)
    mine, other = (tasks.Training(peer, shape, start, order) for peer in (ours, numpy_peer))
    tolerances.check_training(shape, start, mine.result, other.result, "numpy")
    results = {peer.__name__: tasks.Inference(peer, shape, start).result for peer in (ours, numpy_peer)}
    tolerances.check_predictions(results)
    results["wrong"] = results[ours.__name__] + 0.01
    with pytest.raises(AssertionError, match="wrong"):
        tolerances.check_predictions(results)


# ---------------------------------------------------------------------------------- processes of their own


def test_the_process_is_stopped_while_it_is_not_its_turn(plant: Any) -> None:
    team = plant(HONEST)
    (entry,) = enter_product(team, SMALL)
    entry.contestant.take_turn()
    if sys.platform == "linux":
        (worker,) = team._workers.values()
        stat = Path(f"/proc/{worker._process.pid}/stat").read_text()
        assert stat.rpartition(")")[2].split()[0] == "T"
    entry.contestant.take_turn()
    assert len(entry.contestant.turns) == 2


def test_who_does_no_such_thing_is_left_out_and_who_fails_says_why(plant: Any) -> None:
    team = plant(HONEST)
    assert team.enter(1, "inference", NETWORK, NETWORK.start()) == []
    assert team.failed == team.missing == {}
    fails = plant("def product(shape, a, b):\n    raise OverflowError('too much')\n")
    assert enter_product(fails, SMALL) == []
    assert fails.failed == {"planted": "OverflowError: too much"}
    assert enter_product(fails, SMALL) == []  # and it can be asked again


def test_a_peer_that_cannot_start_or_dies_is_missing(plant: Any) -> None:
    team = plant("import nothing_of_that_name\n")
    assert enter_product(team, SMALL) == []
    assert "nothing_of_that_name" in team.missing["planted"]
    team = plant("import os\ndef product(shape, a, b):\n    os._exit(3)\n")
    assert enter_product(team, SMALL) == []
    assert "status 3" in team.failed["planted"]
    assert enter_product(team, SMALL) == []  # another process was started, and ended in the same way
    assert "status 3" in team.failed["planted"]


def test_what_a_library_prints_does_not_come_between(plant: Any) -> None:
    (entry,) = enter_product(plant("print('hello')\nimport os; os.write(1, b'hello')\n" + HONEST), SMALL)
    tolerances.check_products(SMALL, {entry.name: entry.result})


def test_a_worker_for_nothing_is_an_error() -> None:
    with pytest.raises(Missing, match="ModuleNotFoundError"):
        Worker(Peer("nobody", "bench.peers.nobody", ()), sys.executable, 1)


def test_inventory_names_what_is_missing() -> None:
    found = inventory(peers=[Peer("numpy", "bench.peers.numpy", ("numpy",)), Peer("x", "x", ("no-such-package",))])
    assert [peer.name for peer in found.interpreters] == ["numpy"]
    assert found.versions == {"numpy": np.__version__}
    assert found.missing == {"x": "no-such-package not installed"}
    with pytest.raises(RuntimeError, match="cannot run the peers"):
        inventory(["/no/such/python"])


# ------------------------------------------------------------------------------------------ races and rows


class Benchmark:
    """As much of pytest-benchmark as a race needs."""

    def __init__(self) -> None:
        self.rounds = 0
        self.stats = self  # what is told of further rounds

    def pedantic(self, target: Any, setup: Any, rounds: int) -> None:
        for _ in range(rounds):
            setup()
            target()
        self.rounds += rounds

    def update(self, seconds: float) -> None:
        self.rounds += 1


def test_contestants_take_turns() -> None:
    order: list[str] = []

    def contestant(name: str) -> Contestant:
        def play() -> Turn:
            order.append(name)
            return Turn(1.0 + len(order) / 1000, 1.0, 1.0)

        return Contestant(name, play, 2)

    mine, a, b = map(contestant, ("fastnn", "a", "b"))
    harness.race(Benchmark(), mine, [a, b], threads=1, most_rounds=5, budget=1e9, wait=lambda: order.append("wait"))
    assert order == ["a", "b", "fastnn"] + ["wait", "a", "b", "fastnn"] * 5  # the first does not count
    assert len(mine.turns) == 5
    assert a.seconds == (1.0 + 5 / 1000) / 2
    order.clear()
    harness.race(Benchmark(), mine, [a, b], threads=1, most_rounds=50, budget=0.0)
    assert len(mine.turns) == harness.LEAST_ROUNDS


def test_races_go_on_until_nobodys_best_round_stands_alone() -> None:
    def contestant(name: str, *seconds: float) -> Contestant:
        left = iter(seconds)
        return Contestant(name, lambda: Turn(next(left), 1.0, 1.0), 1)

    benchmark, mine = Benchmark(), contestant("fastnn", *[1.0] * 20)
    restless = contestant("a", 9.0, 3.0, 1.0, 2.0, 2.0, 1.5, 1.02, 7.0)  # the first does not count
    harness.race(benchmark, mine, [restless], threads=1, most_rounds=3, budget=1.0)
    assert [turn.seconds for turn in restless.turns] == [3.0, 1.0, 2.0, 2.0, 1.5, 1.02]
    assert len(mine.turns) == benchmark.rounds == 6
    benchmark, mine = Benchmark(), contestant("fastnn", *[1.0] * 20)
    never = contestant("a", *[2.0**i for i in range(20)])
    harness.race(benchmark, mine, [never], threads=1, most_rounds=3, budget=1.0)
    assert len(never.turns) == benchmark.rounds == 3 + 3


def test_rounds_begin_when_the_machine_is_calm() -> None:
    left = iter([1.0, 2.0, 3.0, 1.05, 1.0])
    calm = harness.Calm(Contestant("peak", lambda: Turn(next(left) / 1000, 2.0, 2.0), 100), best := {})
    harness.race(Benchmark(), steady("fastnn"), [steady("a")], threads=1, most_rounds=3, budget=1e9, wait=calm.wait)
    assert best == {100: 0.001}
    assert calm.roof.seconds == 0.00001
    assert len(calm.roof.turns) == 5  # the second round waits for two
    assert calm.waited == pytest.approx(0.002 + 0.003 + 2 * harness.PAUSE)


def test_patience_with_a_busy_machine_ends() -> None:
    def busy() -> Turn:
        return Turn(0.3, 2.0, 2.0)

    calm = harness.Calm(Contestant("peak", busy, 100), {100: 0.1})
    mine = steady("fastnn")
    harness.race(Benchmark(), mine, [], threads=1, most_rounds=3, budget=1e9, wait=calm.wait)
    assert len(mine.turns) == 3
    assert harness.PATIENCE <= calm.waited < harness.PATIENCE + 0.3 + harness.PAUSE


def steady(name: str) -> Contestant:
    return Contestant(name, lambda: Turn(1.0, 1.0, 1.0), 1)


def test_summary_says_how_far_rounds_were_apart() -> None:
    assert harness.summary([3.0, 2.0, 2.5]) == {"best": 2.0, "median": 2.5, "spread": 0.25}


def row(
    suite: str, shape: dict[str, Any], threads: int = 1, dtype: str = "float32", **seconds: float
) -> dict[str, Any]:
    times = {name: {"best": value, "median": value, "spread": 0.0} for name, value in seconds.items()}
    return {"suite": suite, "what": "it", "shape": shape, "threads": threads, "dtype": dtype, "seconds": times,
            "flops": 100.0, "bytes": 100.0, "peak_flops": 100.0, "bytes_per_second": 100.0}  # fmt: skip


def test_bars_of_products() -> None:
    square = {"m": 64, "n": 64, "k": 64}
    (lost,) = bars.bars_of(row("products", square, fastnn=1.0, numpy=2.0, torch=0.9, jax=0.1))
    assert (lost.measured, lost.required, lost.met) == (0.9, 0.97, False)  # jax is no part of that bar
    (skinny,) = bars.bars_of(row("products", {"m": 1, "n": 64, "k": 64}, fastnn=1.0, numpy=1.2))
    assert (skinny.measured, skinny.required, skinny.met) == (1.2, 1.3, False)
    (alone,) = bars.bars_of(row("products", square, fastnn=1.0))
    assert alone.met is None
    (share,) = bars.bars_of(row("program products", square, fastnn=1.05))
    assert share.measured == pytest.approx(100 / 1.05)
    assert share.met
    (odd,) = bars.bars_of(row("program products", {"m": 40, "n": 40, "k": 40}, fastnn=1.3))
    assert odd.measured == pytest.approx(100 / 1.3 * 48 / 40)  # times lane fill


def test_bars_of_a_network_tell_loops_from_calls() -> None:
    shape = {"sizes": [3, 4, 2], "batch": 1, "optimizer": "sgd", "one_call": True}
    found = bars.bars_of(row("training step", shape, fastnn=0.5e-6, numpy=20e-6, numba=0.6e-6))
    measured = {bar.what.rpartition(": ")[2]: bar for bar in found}
    assert measured["times the best peer called once a step"].measured == pytest.approx(40)
    assert measured["times numba's speed"].met is False
    assert measured["times jax scan's speed"].met is None
    assert measured["a step in fit"].met


def test_summary_bars() -> None:
    square = {"m": 64, "n": 64, "k": 64}
    rows = [row("products", square, 1, fastnn=1.0, numpy=1.0), row("products", square, 2, fastnn=1.1, numpy=4.0)]
    found = {bar.what: bar for bar in bars.summary_bars(rows)}
    means = [bar.measured for what, bar in found.items() if "geometric mean" in what]
    assert means == [1.0, pytest.approx(4 / 1.1)]
    (threads,) = (bar for what, bar in found.items() if "2 threads against 1" in what)
    assert threads.measured == pytest.approx(1 / 1.1)
    assert threads.met is False
    lines = "\n".join(Ledger(list(found.values()), rows).lines())
    assert "MISSED" in lines
    assert "not measured" not in lines


def test_bfloat16_is_held_against_our_own_float32() -> None:
    square = {"m": 512, "n": 512, "k": 512}
    usual, short = (row("products", square, 1, fastnn=seconds, numpy=9.0) for seconds in (1.7, 1.0))
    rows = [{**usual, "what": "512x512x512"}, {**short, "what": "512x512x512, bfloat16", "dtype": "bfloat16"}]
    (bar,) = (bar for bar in bars.summary_bars(rows) if "bfloat16" in bar.what)
    assert bar.measured == pytest.approx(1.7)
    assert bar.met
    assert not bars.bars_of(rows[1])


def test_a_disturbed_bandwidth_is_raised_to_what_races_have_seen() -> None:
    def row(suite: str, in_cache: bool, seen: float) -> dict[str, Any]:
        return {"suite": suite, "threads": 1, "shape": {"in_cache": in_cache}, "bytes_per_second": seen}

    machine = {"bytes_per_second": {"1": 17.0, "2": 34.0}, "l2_bytes_per_second": {"1": 108.0}}
    rows = [row("elementwise", False, 28.0), row("elementwise", False, 27.0), row("elementwise", True, 90.0)]
    rows += [row("GPU training step", False, 4000.0), {"suite": "import", "threads": 1, "shape": {}}]
    Ledger(rows=rows).raise_bandwidths(machine)
    assert machine == {"bytes_per_second": {"1": 28.0, "2": 34.0}, "l2_bytes_per_second": {"1": 108.0}}


def test_no_shape_is_raced_twice() -> None:
    for shapes in (PRODUCTS, PROGRAM_PRODUCTS):
        assert len(set(shapes)) == len(shapes)


def test_every_goal_belongs_to_a_network_and_every_curve_has_its_points() -> None:
    trained = {(shape.sizes, shape.batch, shape.optimizer) for shape in NETWORKS if shape.one_call}
    assert set(bars.NETWORK_GOALS) <= trained
    assert set(bars.PREDICTIONS) <= {(shape.sizes, shape.batch) for shape in PREDICTED}
    quick = [shape for shape in PRODUCTS if shape.quick]
    assert {(shape.transpose_a, shape.transpose_b) for shape in quick} == {(i, j) for i in (0, 1) for j in (0, 1)}
    assert {shape.dtype for shape in quick} == {"float32", "float64"}
    weights = sorted(shape.weights for shape in NETWORKS if shape.quick)
    assert weights[0] == 26
    assert weights[-1] >= 1e7
    assert [point.value for point in along_threads(6) if isinstance(point.shape, ProductShape)][:4] == [1, 2, 4, 6]


# ------------------------------------------------------------------------------------------ the machine's peak


def test_the_peak_is_held_against_an_independent_calculation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "_units", lambda: (2, 1024))  # more than any level's vectors
    monkeypatch.setattr(peak.kernels, "LEVEL", "v3")
    monkeypatch.setattr(peak, "clock_rate", lambda: 1e9)
    for rate, agrees in ((32e9, True), (33e9, True), (36e9, False)):
        monkeypatch.setattr(peak.Peak, "rate", lambda self, rate=rate: rate)
        peak.calculation.cache_clear()
        found = peak.calculation()
        assert found["calculated"] == 2 * 2 * 8 * 1e9
        assert found["agrees"] is agrees
        assert ("DISAGREE" in found["words"]) is not agrees
    monkeypatch.setattr(peak, "_units", lambda: None)
    peak.calculation.cache_clear()
    assert peak.calculation()["agrees"] is None
    assert "not in the table" in peak.calculation()["words"]
    peak.calculation.cache_clear()


def test_the_machine_is_measured() -> None:
    assert peak.clock_rate() > 1e8
    assert peak.Peak(2).rate() > 1e8
    assert peak.bandwidth(1, in_cache=True) > 1e8
    assert math.isfinite(peak.calculation()["measured"])


@pytest.mark.skipif(harness.processors() < 2, reason="needs two processors")
def test_a_cache_line_takes_some_time_to_another_core_and_back() -> None:
    assert 10e-9 < peak.Peak(2).handover() < 0.1  # type: ignore[operator]
    assert peak.Peak(1).handover() is None


def test_the_process_is_bound_and_set_free() -> None:
    with harness.limited(1):
        assert fastnn.get_num_threads() == 1
        if sys.platform == "linux":
            assert len(os.sched_getaffinity(0)) == 1
    if sys.platform == "linux":
        assert len(os.sched_getaffinity(0)) == harness.processors()

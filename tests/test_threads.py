"""Threads at work: who comes, who waits, that the idle sleep, and that the process around them is left alone."""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fresh import in_another_thread, python

import fastnn as fnn
from fastnn import backends
from fastnn.graph.plan import Place, plan
from fastnn.graph.tensor import Graph
from fastnn.kernels import executor

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="only on x86-64 Linux")
pytestmark = [
    pytest.mark.skipif(not executor.HAS_OPENMP, reason="built without OpenMP"),
    pytest.mark.usefixtures("threads_as_before"),
]


def wide_trainer(seed: int = 0) -> fnn.Trainer:
    """Wide enough for several threads."""
    net = fnn.Sequential([fnn.Dense(256, "relu"), fnn.Dense(256, "relu"), fnn.Dense(3)], input_shape=256, seed=seed)
    return fnn.Trainer(net, "cross_entropy", "sgd")


def wide_data(rows: int = 256) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 256)).astype(np.float32), rng.integers(0, 3, rows)


@needs_proc
def test_four_threads_really_run() -> None:
    """On a busy machine not at once: after a helper who was late nobody is hired for a while."""
    code = """
import os, time
import fastnn, numpy as np
net = fastnn.Sequential([fastnn.Dense(512, "relu"), fastnn.Dense(3)], input_shape=512)
before = len(os.listdir("/proc/self/task"))
for n in (1, 2, 4):
    fastnn.set_num_threads(n)
    deadline, found = time.monotonic() + 30, -1
    while found != n - 1 and time.monotonic() < deadline:
        net.fit(np.ones((512, 512)), np.zeros(512, int), batch_size=512)
        found = len(os.listdir("/proc/self/task")) - before
    print(found)
"""
    assert python(code).split() == ["0", "1", "3"]


@needs_proc
def test_sleeping_threads_are_woken_for_much_work_only() -> None:
    """A lone product of 50 microseconds is computed at once; it takes several in a row to start or wake a thread."""
    code = """
import os, time
import fastnn, numpy as np
fastnn.set_num_threads(2)
a = np.ones((128, 128), np.float32)
time.sleep(0.2)  # threads that the import has ended are gone
before = len(os.listdir("/proc/self/task"))
for calls in (1, 5000):
    for _ in range(calls):
        fastnn.ops.matmul(a, a)
    print(len(os.listdir("/proc/self/task")) - before)
"""
    assert python(code).split() == ["0", "1"]


@needs_proc
def test_one_row_is_shared_where_there_are_many_weights_to_read() -> None:
    code = """
import os, time
import fastnn, numpy as np
fastnn.set_num_threads(2)
time.sleep(0.2)  # threads that the import has ended are gone
before = len(os.listdir("/proc/self/task"))
for width in (64, 640):  # in a row of 640 there is too little arithmetic for two threads
    net, x = fastnn.Sequential([fastnn.Dense(width)], input_shape=width), np.ones((1, width), np.float32)
    for _ in range(2000):
        net.predict(x)
    print(len(os.listdir("/proc/self/task")) - before)
"""
    assert python(code).split() == ["0", "1"]


WORK = """
import fastnn, hashlib, os, resource, time, numpy as np
def work():
    net = fastnn.Sequential([fastnn.Dense(256, "relu"), fastnn.Dense(3)], input_shape=256)
    x = np.random.default_rng(0).standard_normal((512, 256))
    net.fit(x, np.arange(512) % 3, batch_size=200, epochs=8)
    product = fastnn.ops.matmul(x.T, x)
    return hashlib.sha256(b"".join(w.tobytes() for w in [*net.get_weights(), net.predict(x), product])).hexdigest()
"""


@needs_proc
@pytest.mark.parametrize("limited", [False, True])
def test_who_gets_no_helpers_does_all_the_work_himself(limited: bool) -> None:
    """Nobody's share may be left undone, whether a helper is late or does not come at all."""
    code = f"""{WORK}
fastnn.set_num_threads(1)
alone = work()
time.sleep(0.2)  # threads that the import has started are gone
before = len(os.listdir("/proc/self/task"))
if {limited}:
    if os.getuid() == 0:  # root may start as many threads as it likes
        os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
fastnn.set_num_threads(4)
print(work() == alone, len(os.listdir("/proc/self/task")) - before)
"""
    assert python(code) == ("True 0" if limited else "True 3")


@needs_proc
def test_helpers_who_share_a_processor_do_their_work() -> None:
    """Of four threads on one processor, three are always late."""
    one = min(os.sched_getaffinity(0))
    code = f"{WORK}\nos.sched_setaffinity(0, [{one}])\nfastnn.set_num_threads(4)\nprint(work())"
    assert python(code) == python(f"{WORK}\nfastnn.set_num_threads(1)\nprint(work())")


@needs_proc
def test_steps_are_done_alone_where_helpers_do_not_pay() -> None:
    """Which way is faster is found out by trying: on one processor two threads are not. Now and then they are tried."""
    one = min(os.sched_getaffinity(0))
    code = f"""
import os, time, fastnn, numpy as np
os.sched_setaffinity(0, [{one}])
fastnn.set_num_threads(2)
net = fastnn.Sequential([fastnn.Dense(256, "relu"), fastnn.Dense(3)], input_shape=256)
trainer = fastnn.Trainer(net, "cross_entropy", "sgd")
x, y = np.ones((512, 256), "float32"), np.arange(512) % 3
deadline, alone = time.monotonic() + 60, 0
while alone < 20 and time.monotonic() < deadline:
    trainer.fit(x, y, epochs=10, batch_size=256)
    steps = next(iter(trainer._stepper.runners.values())).idle[-1]
    alone = alone + 1 if all(steps.pace) and max(steps.teams) == 1 else 0 if all(steps.pace) else alone
print(alone, steps.pace, steps.teams)
"""
    assert python(code).startswith("20 ")


def test_helpers_round_as_their_foreman_does() -> None:
    """Whoever does a share, its bits are the same: the rounding mode of the calling thread holds for all."""
    code = """
import ctypes, ctypes.util, fastnn, numpy as np
rng = np.random.default_rng(0)
a, b = rng.standard_normal((2, 256, 256), np.float32)
fastnn.set_num_threads(2)
for _ in range(20):
    fastnn.ops.matmul(a, b)  # helpers are there
libm, upwards = ctypes.CDLL(ctypes.util.find_library("m")), {upwards}
nearest = fastnn.ops.matmul(a, b)
assert libm.fesetround(upwards) == 0
found = {{fastnn.ops.matmul(a, b).tobytes() for _ in range(200)}}
libm.fesetround(0)
fastnn.set_num_threads(1)
assert libm.fesetround(upwards) == 0
alone = fastnn.ops.matmul(a, b).tobytes()
libm.fesetround(0)
print(found == {{alone}}, alone != nearest.tobytes())
""".format(upwards=0x400000 if platform.machine() == "aarch64" else 0x800)
    assert python(code) == "True True"


def test_runs_at_once_divide_the_threads() -> None:
    fnn.set_num_threads(4)
    x, y = wide_data()
    trainer = wide_trainer()

    def limit_of_a_prediction() -> int:
        trainer.network.predict(x)
        return trainer.network._predictor().runner.idle[-1].limit

    assert limit_of_a_prediction() == 4
    thread = threading.Thread(target=trainer.fit, args=(x, y), kwargs={"epochs": 10**9})
    thread.start()
    deadline = time.monotonic() + 20  # between two slices of the training a prediction is alone
    while (found := limit_of_a_prediction()) == 4 and time.monotonic() < deadline:
        pass
    trainer.stop()
    thread.join()
    assert found == 2
    assert limit_of_a_prediction() == 4


def cpu_seconds(call: Callable[[], object]) -> float:
    """Processor time of all threads of this process during a call."""
    before = time.process_time()
    call()
    return time.process_time() - before


def test_idle_threads_sleep() -> None:
    """A second after training costs almost no processor time: busy waiting would cost a second for each thread."""
    fnn.set_num_threads(4)
    wide_trainer().fit(*wide_data(), epochs=2, batch_size=256)
    time.sleep(0.05)
    assert cpu_seconds(lambda: time.sleep(0.5)) < 0.1


@pytest.mark.parametrize("threads", [2, 4])
def test_who_waits_long_for_another_thread_sleeps(threads: int) -> None:
    """A signal's handler holds up the first thread in the middle of a run: the others wait, and burn no time."""
    fnn.set_num_threads(threads)
    with Graph("float32") as graph:
        c = fnn.ops.matmul(graph.input("a", (256, 256)), graph.input("b", (256, 256)))
    runner = backends.get("native").prepare(plan(graph, {"c": c}, {c: Place("output:c")}), "float32", {})
    a, b = np.random.default_rng(0).standard_normal((2, 256, 256), np.float32)
    arrays = {"input:a": a, "input:b": b, "output:c": np.empty((256, 256), np.float32)}
    done, moments, spent = np.zeros(1, np.int64), [], []

    def hold_up(*_: object) -> None:
        moments.append(int(done[0]))
        spent.append(cpu_seconds(lambda: time.sleep(0.3)))

    before = signal.signal(signal.SIGALRM, hold_up)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        runner.run(np.zeros((4000, 0)), arrays, done)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert 0 < moments[0] < 4000
    assert spent[0] < 0.15  # of 0.3 s for each other thread, if it had gone on spinning
    assert done[0] == 4000
    assert arrays["output:c"].tobytes() == fnn.ops.matmul(a, b).tobytes()


def test_denormals_are_left_alone() -> None:
    bits64, bits32 = np.array([1, 7, 1 << 40]), np.array([1, 7, 1 << 20], np.int32)

    def doubled() -> tuple[list[int], list[int]]:
        """Twice a denormal number has twice its bits; flushed to zero, none."""
        small64, small32 = bits64.view(np.float64), bits32.view(np.float32)
        return (small64 + small64).view(np.int64).tolist(), (small32 + small32).view(np.int32).tolist()

    expected = (2 * bits64).tolist(), (2 * bits32).tolist()
    fnn.set_num_threads(2)
    wide_trainer().fit(*wide_data(), batch_size=256)
    assert doubled() == expected
    assert in_another_thread(doubled) == expected
    tiny = np.full((64, 64), 1e-40, np.float32)
    for threads in (1, 2, 4):  # in the kernels' own threads too
        fnn.set_num_threads(threads)
        assert np.all(fnn.ops.matmul(tiny, np.eye(64, dtype=np.float32)) == tiny)


# ---------------------------------------------------------------------------------------------- Python's threads


def test_eight_threads_predict_the_same_bits() -> None:
    fnn.set_num_threads(2)
    x, _ = wide_data(700)
    net = wide_trainer().network
    expected = net.predict(x).tobytes()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: net.predict(x).tobytes(), range(32)))
    assert set(found) == {expected}


def test_eight_threads_predict_while_another_trains() -> None:
    """With the rate at zero the weights stay as they are, so that all predictions can be compared, bit for bit."""
    fnn.set_num_threads(2)
    x, y = wide_data()
    trainer = wide_trainer()
    still = fnn.Trainer(trainer.network, "cross_entropy", fnn.SGD(0.0))
    expected = trainer.network.predict(x).tobytes()
    thread = threading.Thread(target=still.fit, args=(x, y), kwargs={"epochs": 10**9, "batch_size": 64})
    thread.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _: trainer.network.predict(x).tobytes(), range(40)))
            measured = set(pool.map(lambda _: str(trainer.evaluate(x, y)), range(16)))
    finally:
        still.stop()
        thread.join()
    assert found == {expected}
    assert len(measured) == 1
    assert still.steps > 0


def test_a_network_in_training_is_written_to_by_its_own_thread_alone(tmp_path: Path) -> None:
    """Another thread's weights would be lost, and a file that it writes would hold parts of two steps."""
    x, y = wide_data()
    trainer, reached, go_on = wide_trainer(), threading.Event(), threading.Event()
    net, other = trainer.network, wide_trainer(1).network
    written: list[int] = []

    def in_training(trainer: fnn.Trainer, epoch: int, metrics: dict[str, float]) -> None:
        net.set_weights({"dense_3.bias": np.full(3, 7.0)})
        trainer.save(tmp_path / "inside")
        written.append(epoch)
        reached.set()
        assert go_on.wait(60)

    callback = fnn.callbacks.LambdaCallback(on_epoch_end=in_training)
    thread = threading.Thread(target=trainer.fit, args=(x, y), kwargs={"callbacks": [callback]})
    thread.start()
    try:
        assert reached.wait(60)
        before = net.get_weights()
        for wrong in (
            lambda: net.set_weights({"dense_3.bias": np.zeros(3)}),
            lambda: net.set_weights(other.get_weights()),
            lambda: net.copy_weights_from(other),
            lambda: net.copy_weights_from(other, tau=0.5),
            lambda: trainer.save(tmp_path / "outside"),
        ):
            with pytest.raises(RuntimeError, match="trained by another thread: do this in a callback"):
                wrong()
        assert all(map(np.array_equal, net.get_weights(), before))
        other.copy_weights_from(net, tau=0.5)  # reading is everybody's right
    finally:
        go_on.set()
        thread.join()
    assert written == [0]
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert (net.parameters()["dense_3.bias"] == 7.0).all()
    net.set_weights(other.get_weights())
    trainer.save(tmp_path / "afterwards")


def test_networks_train_side_by_side() -> None:
    """Several threads train a network each, and each comes out as if it had been alone."""
    fnn.set_num_threads(3)
    x, y = wide_data(300)

    def train(seed: int) -> bytes:
        trainer = wide_trainer(seed)
        trainer.fit(x, y, epochs=2, batch_size=100)
        return b"".join(each.tobytes() for each in trainer.network.get_weights())

    alone = [train(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(train, range(4))) == alone

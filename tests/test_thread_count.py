"""How many threads there are, and who decides: a wish, threadpoolctl, OpenMP, the processors, a control group."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import threadpoolctl
from fresh import in_another_thread, python

import fastnn as fnn
from fastnn import runtime
from fastnn.kernels import executor

pytestmark = [
    pytest.mark.skipif(not executor.HAS_OPENMP, reason="built without OpenMP"),
    pytest.mark.usefixtures("threads_as_before"),
]


def here(call: Callable[[], object]) -> object:
    return call()


PLACES = pytest.mark.parametrize("place", [here, in_another_thread])


@PLACES
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_a_wish_is_honoured(n: int, place: Callable) -> None:
    fnn.set_num_threads(n)
    assert place(fnn.get_num_threads) == n


def test_a_wish_from_another_thread_holds_here() -> None:
    in_another_thread(lambda: fnn.set_num_threads(3))
    assert fnn.get_num_threads() == 3


@PLACES
@pytest.mark.parametrize("wish", [None, 1, 2, 4])
@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_threadpool_limits_win(limit: int, wish: int | None, place: Callable) -> None:
    if wish is not None:
        fnn.set_num_threads(wish)
    before = fnn.get_num_threads()

    def nested() -> list[int]:
        found = [fnn.get_num_threads()]
        with threadpoolctl.threadpool_limits(limits=limit):
            found.append(fnn.get_num_threads())
            with threadpoolctl.threadpool_limits(limits=1):
                found.append(fnn.get_num_threads())
            found.append(fnn.get_num_threads())
        return [*found, fnn.get_num_threads()]

    assert place(nested) == [before, limit, 1, limit, before]


@PLACES
def test_limits_of_blas_are_not_ours(place: Callable) -> None:
    fnn.set_num_threads(4)

    def limited() -> int:
        with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
            return fnn.get_num_threads()

    assert place(limited) == 4


def test_limits_of_openmp_are_ours() -> None:
    fnn.set_num_threads(4)
    with threadpoolctl.threadpool_limits(limits={"openmp": 3}):
        assert fnn.get_num_threads() == 3


def test_a_limit_in_the_main_thread_holds_for_others() -> None:
    fnn.set_num_threads(4)
    with ThreadPoolExecutor(1) as pool:
        with threadpoolctl.threadpool_limits(limits=2):
            assert pool.submit(fnn.get_num_threads).result() == 2
        assert pool.submit(fnn.get_num_threads).result() == 4


def test_a_wish_within_a_limit_waits_for_its_end() -> None:
    fnn.set_num_threads(4)
    with threadpoolctl.threadpool_limits(limits=1):
        fnn.set_num_threads(3)
        assert fnn.get_num_threads() == 1
    assert fnn.get_num_threads() == 3


def test_openmp_set_by_others_in_this_thread() -> None:
    def limited() -> int:
        for each in threadpoolctl.threadpool_info():  # other libraries may have brought an OpenMP of their own
            if each["internal_api"] == "openmp":
                ctypes.CDLL(each["filepath"]).omp_set_num_threads(3)
        return fnn.get_num_threads()

    fnn.set_num_threads(4)
    assert in_another_thread(limited) == 3
    assert fnn.get_num_threads() == 4


def test_threadpool_info_lists_our_openmp() -> None:
    fnn.set_num_threads(3)
    found = {each["internal_api"]: each for each in threadpoolctl.threadpool_info()}
    assert found["openmp"]["user_api"] == "openmp"
    assert found["fastnn"]["num_threads"] == 3
    assert found["fastnn"]["version"] == fnn.__version__


SHOW = "import fastnn; print(fastnn.get_num_threads())"


@pytest.mark.parametrize("n", ["1", "3"])
def test_omp_num_threads(n: str) -> None:
    assert python(SHOW, OMP_NUM_THREADS=n) == n


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only on x86-64 Linux")
def test_affinity() -> None:
    one = min(os.sched_getaffinity(0))
    assert python(f"import os; os.sched_setaffinity(0, [{one}])\n{SHOW}") == "1"


@pytest.mark.parametrize(
    "files, expected",
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, 0),
        ({"cpu.max": "nonsense"}, 0),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 0),
        ({}, 0),
    ],
)
def test_quota_of_a_control_group(files: dict[str, str], expected: int, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert runtime.cpu_quota(str(tmp_path)) == expected


def test_a_quota_limits_the_default_but_not_a_wish() -> None:
    code = """
import fastnn
from fastnn.kernels import executor
executor.set_cpu_quota(2)
print(fastnn.get_num_threads())
fastnn.set_num_threads(3)
print(fastnn.get_num_threads())
"""
    assert python(code, OMP_NUM_THREADS="4").split() == ["2", "3"]


@pytest.mark.parametrize("setting, n", [("OMP_THREAD_LIMIT=2", "2"), ("OMP_MAX_ACTIVE_LEVELS=0", "1")])
def test_limits_of_openmp_hold_for_wishes(setting: str, n: str) -> None:
    name, _, value = setting.partition("=")
    assert python(f"import fastnn; fastnn.set_num_threads(4); {SHOW}", **{name: value}) == n

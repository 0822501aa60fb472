"""The process around the kernels: threads, forks, processor quotas, and what was chosen for this machine and why."""

from __future__ import annotations

import os
import platform
import sys
import threading
from typing import Any

import threadpoolctl

from fastnn import kernels
from fastnn._version import __version__
from fastnn.kernels import executor


def set_num_threads(n: int) -> None:
    """Asks for n threads from now on, in all Python threads; more than there are cores is honoured.

    A `threadpoolctl.threadpool_limits` context still wins while it is open.

    Raises
    ------
    TypeError, ValueError
        If n is not an integer of at least 1.
    """
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"the number of threads must be an integer, got {n!r}")
    if not 1 <= int(n) <= 4096:
        raise ValueError(f"the number of threads must be in 1 ... 4096, got {n}")
    executor.set_threads(int(n))


def get_num_threads() -> int:
    """How many threads a run that starts now may use.

    By default OpenMP's number (processor affinity and OMP_NUM_THREADS are respected), limited by the cgroup's quota.
    """
    return executor.threads()


def config() -> dict[str, Any]:
    """What runs here: see `show_config`."""
    return {
        "fastnn": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "level": kernels.LEVEL,
        "level_reason": kernels.REASON,
        "bfloat16": bool(kernels.tiles("float32")["PAIRS"]),
        "openmp": executor.HAS_OPENMP,
        "threads": get_num_threads(),
        "processors": _available_processors(),
        "quota": cpu_quota(),
    }


def show_config(file: Any = None) -> None:
    """Prints the instruction-set level in use and why, the threads, and the versions."""
    facts = config()
    openmp = "yes" if facts["openmp"] else "no: built without OpenMP, everything runs on one thread"
    quota = f", limited to {facts['quota']} by the cgroup's quota" if facts["quota"] else ""
    lines = [
        f"fastnn {facts['fastnn']}, Python {facts['python']}, {facts['platform']}",
        f"processor:  {facts['processor']}",
        f"kernels:    {facts['level']} ({facts['level_reason']})",
        f"bfloat16:   {'in pairs (AVX512_BF16)' if facts['bfloat16'] else 'rounded, then multiplied as float32'}",
        f"OpenMP:     {openmp}",
        f"threads:    {facts['threads']} of {facts['processors']} processors{quota}",
    ]
    print("\n".join(lines), file=file or sys.stdout)


def cpu_quota(root: str = "/sys/fs/cgroup") -> int:
    """Processors that the control group allows on average, rounded up; 0 where there is no limit."""
    try:
        text = _read(f"{root}/cpu.max").split()
        quota, period = text[0], int(text[1])
    except (OSError, IndexError, ValueError):
        try:
            quota = _read(f"{root}/cpu/cpu.cfs_quota_us").strip()
            period = int(_read(f"{root}/cpu/cpu.cfs_period_us"))
        except (OSError, ValueError):
            return 0
    if not quota.isdigit() or period <= 0:
        return 0  # "max", or -1
    return -(-int(quota) // period)


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _available_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _processor() -> str:
    try:
        for line in _read("/proc/cpuinfo").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _note_openmp_default() -> None:
    """OpenMP's number of threads is each thread's own: only a fresh one can tell what it is where nobody has set it."""
    fresh = threading.Thread(target=executor.set_process_default)
    fresh.start()
    fresh.join()


class _Controller(threadpoolctl.LibController):
    """Makes `threadpoolctl.threadpool_limits` win over `set_num_threads` while it is open."""

    user_api = "openmp"
    internal_api = "fastnn"
    filename_prefixes = ("executor.",)
    check_symbols = ("fastnn_executor",)

    def get_num_threads(self) -> int:
        """Threads of a run that starts now."""
        return executor.threads_to_restore()

    def set_num_threads(self, num_threads: int) -> None:
        """Opens or closes a limit."""
        executor.limit_threads(num_threads, threading.current_thread() is threading.main_thread())

    def get_version(self) -> str:
        """The package's."""
        return __version__


executor.set_cpu_quota(cpu_quota())
_note_openmp_default()
threadpoolctl.register(_Controller)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=executor.after_fork_in_child)

"""A peer in a process of its own: with its own interpreter if need be, its own thread pools, bound to its own cores.

    python -m bench.worker MODULE THREADS CLOCK    (the other end of a `Worker`; it talks through its standard streams)

The process is bound to as many cores as everybody has threads before it imports anything: that is the only way to tell
XLA how many it may use, and it keeps the others from more. While it is not its turn it is stopped, so that no idle
thread of its pools can spin in somebody else's time.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import pydoc
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bench import tasks
from bench.peers import ROOT, Peer

# What libraries read when they are loaded; for those that have no call for it.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
                    "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")  # fmt: skip


class Missing(Exception):
    """The peer cannot take part: what it says is the reason."""


class Worker:
    """Starts the process and gives it its turns."""

    def __init__(self, peer: Peer, python: str, threads: int, clock: str = "time.perf_counter") -> None:
        settings = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
        self.peer = peer
        self._process = subprocess.Popen([python, "-m", "bench.worker", peer.module, str(threads), clock], cwd=ROOT,
                                         env=settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        self.serial: bool = self._receive()
        self._hold(signal.SIGSTOP)

    def prepare(self, task: str, *arguments: Any) -> tuple[Any, float]:
        """Gets it ready for a task of `bench.tasks.TASKS`; returns its result and the units of a turn.

        Raises
        ------
        Missing
            If the peer does not do such things.
        """
        return self._ask("prepare", task, *arguments)

    def turn(self) -> tuple[float, float]:
        """Seconds of one turn by the clock, and how many threads worked: see `timed`."""
        return self._ask("turn")

    def close(self) -> None:
        """After the race: complains if something has gone wrong meanwhile."""
        self._ask("close")

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()

    def _ask(self, *message: Any) -> Any:
        self._hold(signal.SIGCONT)
        try:
            assert self._process.stdin is not None
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
            return self._receive()
        finally:
            self._hold(signal.SIGSTOP)

    def _receive(self) -> Any:
        try:
            assert self._process.stdout is not None
            kind, value = pickle.load(self._process.stdout)
        except EOFError:
            raise Missing(f"its process ended with status {self._process.wait()}") from None
        if kind == "missing":
            raise Missing(value)
        if kind == "wrong":
            raise AssertionError(f"{self.peer.name}: {value}")
        return value

    def _hold(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)


# ------------------------------------------------------------------------------------------ the process itself


def serve(module: str, threads: int, clock: Callable[[], float], requests: BinaryIO, replies: BinaryIO) -> None:
    """Answers requests until they end."""

    def reply(kind: str, value: Any) -> None:
        pickle.dump((kind, value), replies)
        replies.flush()

    with answered(reply):
        peer = importlib.import_module(module)
        if hasattr(peer, "set_threads"):
            peer.set_threads(threads)
        reply("ready", bool(getattr(peer, "SERIAL", False)))
    task: Any = None
    with contextlib.suppress(EOFError):
        while True:
            what, *arguments = pickle.load(requests)
            with answered(reply):
                if what == "prepare":
                    task = tasks.TASKS[arguments[0]](peer, *arguments[1:])
                    reply("ready", (task.result, task.units))
                elif what == "turn":
                    reply("time", timed(task.turn, clock))
                else:
                    task.close()
                    reply("closed", None)


@contextlib.contextmanager
def answered(reply: Callable[[str, Any], None]) -> Iterator[None]:
    """Whatever goes wrong becomes an answer."""
    try:
        yield
    except AssertionError as problem:
        reply("wrong", str(problem))
    except NotImplementedError as problem:
        reply("missing", str(problem))
    except Exception as problem:
        print(traceback.format_exc(), file=sys.stderr)
        reply("missing", f"{type(problem).__name__}: {problem}".splitlines()[0])


def timed(run: Callable[[], object], clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds by the clock, and how many threads worked: all threads' processor time over that of the busiest.

    Other programs on the machine make everything slower, but do not change that number much; it is 0 where the system
    does not tell threads apart.
    """
    before = _thread_seconds()
    began = clock()
    run()
    seconds = clock() - began
    spent = [after - before.get(thread, 0.0) for thread, after in _thread_seconds().items()]
    return seconds, sum(spent) / max(spent) if any(spent) else 0.0


def _thread_seconds() -> dict[int, float]:
    """Processor time of each thread of this process."""
    found: dict[int, float] = {}
    if sys.platform == "linux":
        for number in map(int, os.listdir("/proc/self/task")):
            with contextlib.suppress(OSError):  # it has just ended
                found[number] = time.clock_gettime(~number << 3 | 6)  # how Linux names the clock of a thread
    return found


def bind(threads: int) -> None:
    """Binds this process, all of its threads, to so many cores; where the system knows how."""
    if hasattr(os, "sched_setaffinity"):
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cores()[:threads])


def cores() -> list[int]:
    """The processors that there are, one of each core first: two that share a core are worth little more than one."""
    available = sorted(AVAILABLE)
    seen: list[str] = []
    for number in available:
        try:
            seen.append(Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list").read_text())
        except OSError:
            seen.append(str(number))
    places = [seen[:i].count(siblings) for i, siblings in enumerate(seen)]
    return [number for _, number in sorted(zip(places, available, strict=True))]


AVAILABLE = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


if __name__ == "__main__":
    bind(int(sys.argv[2]))
    private = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not come between the answers
    serve(sys.argv[1], int(sys.argv[2]), pydoc.locate(sys.argv[3]), sys.stdin.buffer, private)  # type: ignore[arg-type]

"""A peer in a process of its own: with its own interpreter if need be, its own thread pools, bound to its own cores.

    python -m bench.worker MODULE THREADS CLOCK    (the other end of a `Worker`; it talks through its standard streams)

The process is bound to as many cores as everybody has threads before it imports anything: that is the only way to tell
XLA how many it may use, and it keeps the others from more. While it is not its turn it is stopped, so that no idle
thread of its pools can spin in somebody else's time.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import pickle
import pydoc
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from bench import tasks
from bench.peers import ROOT, Peer
from bench.timing import Turn, bind

# What libraries read when they are loaded; for those that have no call for it.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
                    "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")  # fmt: skip

# What chooses a library's code, or leaves it uncompiled. Such a setting may be there for another program's sake, such
# as one whose older copy of OpenBLAS does not know the processor; peers choose for themselves.
CHOOSING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_CBWR", "MKL_DEBUG_CPU_TYPE", "MKL_ENABLE_INSTRUCTIONS",
            "BLIS_ARCH_TYPE", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY",
            "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES",
            "NUMBA_OPT", "NUMBA_DISABLE_JIT", "NUMBA_DISABLE_INTEL_SVML", "NUMBA_LOOP_VECTORIZE",
            "NUMBA_BOUNDSCHECK", "JAX_DISABLE_JIT", "XLA_FLAGS", "TORCHDYNAMO_DISABLE",
            "TORCH_COMPILE_DISABLE")  # fmt: skip

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def lifted() -> list[str]:
    """Settings of this process's environment that peers run without."""
    return [name for name in CHOOSING if name in os.environ]


class Missing(Exception):
    """The peer cannot take part: what it says is the reason."""


class Unable(Exception):
    """The peer is there, but does no such task."""


class Worker:
    """Starts the process and gives it its turns."""

    def __init__(self, peer: Peer, python: str, threads: int, clock: str = "time.perf_counter") -> None:
        free = {name: value for name, value in os.environ.items() if name not in CHOOSING}
        settings = {**free, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
        self.peer = peer
        self._process = subprocess.Popen([python, "-m", "bench.worker", peer.module, str(threads), clock], cwd=ROOT,
                                         env=settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         start_new_session=True)  # fmt: skip
        try:
            self.serial: bool = self._receive()
        except BaseException:
            self.stop()
            raise
        self._hold()

    def prepare(self, task: str, *arguments: Any) -> tuple[Any, float]:
        """Gets it ready for a task of `bench.tasks.TASKS`; returns its result and the units of a turn.

        Raises
        ------
        Unable
            If the peer does not do such things.
        Missing
            If it fails at it.
        AssertionError
            If it has got wrong results and knows it.
        """
        return self._ask("prepare", task, *arguments)

    def turn(self) -> Turn:
        """One turn, timed."""
        return self._ask("turn")

    def close(self) -> None:
        """After the race: complains if something has gone wrong meanwhile."""
        self._ask("close")

    @property
    def alive(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()

    def _ask(self, *message: Any) -> Any:
        self._resume()
        try:
            assert self._process.stdin is not None
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
            return self._receive()
        except (Missing, Unable, AssertionError):
            raise
        except BrokenPipeError:
            raise Missing("its process has ended") from None
        except BaseException:  # half a message may be under way: nothing that it says now can be understood
            self._process.kill()
            raise
        finally:
            self._hold()

    def _receive(self) -> Any:
        try:
            assert self._process.stdout is not None
            kind, value = pickle.load(self._process.stdout)
        except EOFError:
            raise Missing(f"its process ended with status {self._process.wait()}") from None
        problems = {"missing": Missing, "unable": Unable, "wrong": AssertionError}
        if kind in problems:
            raise problems[kind](f"{self.peer.name}: {value}" if kind == "wrong" else value)
        return value

    def _resume(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)

    def _hold(self) -> None:
        """Stops it, and waits until it has stopped; or has ended, which somebody else will notice."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


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
                    reply("time", tasks.timed_turn(task, clock))
                else:
                    task.close()
                    task = None  # who waits for the next race holds no memory: several of the largest would not fit
                    reply("closed", None)


@contextlib.contextmanager
def answered(reply: Callable[[str, Any], None]) -> Iterator[None]:
    """Whatever goes wrong becomes an answer."""
    try:
        yield
    except AssertionError as problem:
        reply("wrong", str(problem))
    except NotImplementedError as problem:
        reply("unable", str(problem))
    except Exception as problem:
        print(traceback.format_exc(), file=sys.stderr)
        reply("missing", f"{type(problem).__name__}: {problem}".splitlines()[0])


def end_with_parent() -> None:
    """Asks Linux to kill this process with its parent: a stopped process would not notice by itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    bind(int(sys.argv[2]))
    private = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not come between the answers
    serve(sys.argv[1], int(sys.argv[2]), pydoc.locate(sys.argv[3]), sys.stdin.buffer, private)  # type: ignore[arg-type]

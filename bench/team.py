"""The peers that are here, as contestants: each in a process of its own, one for every number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.harness import Contestant
from bench.peers import Inventory, Peer
from bench.worker import Missing, Unable, Worker


@dataclass
class Entry:
    """A peer that is ready for a race: what it has computed, and how it takes its turns."""

    result: Any
    contestant: Contestant
    close: Callable[[], None]

    @property
    def name(self) -> str:
        """The peer's."""
        return self.contestant.name


@dataclass
class Team:
    """Starts peers' processes as they are needed, and keeps them.

    Attributes
    ----------
    inventory
        Who runs in which interpreter, and who is missing.
    clock
        The name of the clock that everybody uses.
    missing
        Why a peer is not there, by name: not installed, or it would not start.
    failed
        Why a peer that is there could not do the last task that it was asked for, by name.
    """

    inventory: Inventory
    clock: str = "time.perf_counter"
    missing: dict[str, str] = field(init=False)
    failed: dict[str, str] = field(default_factory=dict)
    _workers: dict[tuple[Peer, int], Worker] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.missing = dict(self.inventory.missing)

    def enter(self, threads: int, task: str, *arguments: Any, only: Sequence[str] | None = None,
              without: Sequence[str] = ()) -> list[Entry]:  # fmt: skip
        """All peers who can do a task of `bench.tasks`, ready for it; or those named in `only`, or not in `without`."""
        found = []
        self.failed.clear()
        for peer in self.inventory.interpreters:
            excluded = peer.name in without or (only is not None and peer.name not in only)
            if excluded or peer.name in self.missing:
                continue
            try:
                worker = self._worker(peer, threads)
            except Missing as problem:
                self.missing[peer.name] = str(problem)
                continue
            try:
                result, units = worker.prepare(task, *arguments)
            except Unable:
                continue
            except Missing as problem:
                self.failed[peer.name] = str(problem)
                if not worker.alive:
                    self._workers.pop((peer, threads)).stop()  # another may do better next time
                continue
            found.append(Entry(result, Contestant(peer.name, worker.turn, units, worker.serial), worker.close))
        return found

    def stop(self) -> None:
        """Ends all processes."""
        for worker in self._workers.values():
            worker.stop()
        self._workers.clear()

    def _worker(self, peer: Peer, threads: int) -> Worker:
        if (peer, threads) not in self._workers:
            self._workers[peer, threads] = Worker(peer, self.inventory.interpreters[peer], threads, self.clock)
        return self._workers[peer, threads]

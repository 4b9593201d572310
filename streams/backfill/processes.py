"""A process a core: each folds one partition after another, whichever is next.

Partitions share nothing, draws included: what a pool was asked and what it answered are records of
the log. So the processes never talk to each other, and the parent only hands out and listens.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import threading
import time
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from streams import logs
from streams.backfill.runner import Done, Job, Look, fold_partition, tune_collector, tune_memory
from streams.errors import Exit, RewardsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

WATCH_S = 0.5
STOP_S = 5.0


class ChildFailed(RewardsError):
    """One process of a backfill ended with an error; what it had committed is kept."""

    def __init__(self, message: str, code: int) -> None:
        self.exit = Exit(code) if code in {int(one) for one in Exit} else Exit.BROKEN
        super().__init__(message)


def peak_bytes() -> int:
    """Return the largest resident memory of any one process so far, children included."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(who).ru_maxrss for who in whose) * 1024


class Crew:
    """The processes of a backfill; use it in a ``with`` block, at whose end none is left."""

    def __init__(self, count: int) -> None:
        """Start `count` of them, or none for one: they import what they need while others plan."""
        tune_memory()
        self._children: dict[Connection, Any] = {}
        context = multiprocessing.get_context("spawn")  # librdkafka and RocksDB do not survive fork
        for _ in range(count if count > 1 else 0):
            ours, theirs = context.Pipe()
            child = context.Process(target=_child, args=(theirs, os.getpid()), daemon=True)
            child.start()
            theirs.close()
            self._children[ours] = child

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(self, job: Job, on_look: Callable[[Look], None]) -> list[Done]:
        """Fold all partitions; return what came of each, in order. Once.

        Without other processes in this one. Raises what `fold_partition` raises, and ChildFailed.
        """
        partitions = range(job.plan.partitions)
        if not self._children or len(partitions) == 1:
            self._stop()
            tune_collector()
            return [fold_partition(job, p, on_look) for p in partitions]
        left = list(reversed(partitions))
        done: list[Done] = []
        busy = set()
        try:
            for pipe in self._children:
                pipe.send(job)
                if left:
                    pipe.send(left.pop())
                    busy.add(pipe)
                else:  # there are more of them than partitions
                    pipe.send(None)
            while busy:
                ready = wait(list(busy), timeout=WATCH_S)
                for pipe in [one for one in busy if one in ready]:
                    said = self._said(pipe)
                    if isinstance(said, Done):
                        done.append(said)
                        if left:
                            pipe.send(left.pop())
                        else:
                            pipe.send(None)
                            busy.discard(pipe)
                    elif isinstance(said, Look):
                        on_look(said)
        finally:
            self._stop()
        return sorted(done, key=lambda one: one.partition)

    def _said(self, pipe: Connection) -> Any:
        try:
            said = pipe.recv()
        except (EOFError, OSError):
            child = self._children[pipe]
            child.join(STOP_S)
            raise ChildFailed(
                f"a process of the backfill ended with {child.exitcode}: what it had committed is "
                "kept, go on with --resume",
                child.exitcode or int(Exit.BROKEN),
            ) from None
        if isinstance(said, tuple):
            code, message = said
            raise ChildFailed(message, code)
        return said

    def _stop(self) -> None:
        """End those that still run: dying is always safe."""
        for child in self._children.values():
            child.kill() if child.is_alive() else None
        for pipe, child in self._children.items():
            child.join(STOP_S)
            pipe.close()
        self._children.clear()


def _child(pipe: Connection, parent: int) -> None:
    """Take the job, then fold what the parent says until it says None."""
    logs.to_stderr("WARNING")
    tune_memory()
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    tune_collector()
    try:
        job: Job = pipe.recv()
        while (p := pipe.recv()) is not None:
            pipe.send(fold_partition(job, p, pipe.send))
    except RewardsError as error:
        pipe.send((int(error.exit), str(error)))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(int(Exit.BROKEN))

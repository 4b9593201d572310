"""One daemon thread that runs what may block, in order: producers, then restores.

`concurrent.futures`' own pool joins its threads when the interpreter ends, so a broker that does
not answer could hold up a shutdown for 30 s; a daemon thread dies with the process.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


CLOSE_S = 5.0


class Background:
    """Implements `ports.Executor`; tasks run one after another, as they came."""

    def __init__(self, name: str) -> None:
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[[], Any], /) -> Future[Any]:
        future: Future[Any] = Future()
        self._tasks.put((future, fn))
        return future

    def close(self) -> None:
        """End the thread behind the tasks that were submitted; one that hangs is left behind."""
        self._tasks.put(None)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            do(*task)
            del task  # else all that it was made of lives until the next one comes


class AtOnce:
    """Implements `ports.Executor` without a thread: a task is done when `submit` returns.

    For tasks that wait for nobody: two threads of Python only take the lock from each other.
    """

    def submit(self, fn: Callable[[], Any], /) -> Future[Any]:
        future: Future[Any] = Future()
        do(future, fn)
        return future

    def close(self) -> None: ...


def do(future: Future[Any], fn: Callable[[], Any]) -> None:
    """Run a task; whoever asks the future for its result gets what it raised."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(fn())
    except BaseException as error:  # noqa: BLE001 - it is theirs
        future.set_exception(error)

"""Notices that nothing moves, and ends the process: exit 71 after a dump of all stacks.

Faust's own checks only log (reliability.md 3), and a worker that hangs looks well from outside.
Own thread, armed before Faust starts; it trusts nothing of the event loop. The dump has the event
loop's tasks as well: its thread's own stack only ever says that it waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from streams.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

BATCH_S = 60.0  # a unit of work under way for longer is stuck: its calls are limited to 10 s each
SILENT_S = 30.0  # no poll and no progress of a restore
CHECK_S = 1.0
STOP_S = 20.0  # from SIGTERM to gone


class Watchdog:
    """``beat_s`` and ``busy_since_s`` are the loop's, read without a lock: plain floats."""

    def __init__(self) -> None:
        self._beat_s: Callable[[], float] | None = None
        self._busy_since_s: Callable[[], float | None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_by_s: float | None = None
        self._started_s = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        faulthandler.enable()
        self._thread.start()

    def watch(self, beat_s: Callable[[], float], busy_since_s: Callable[[], float | None]) -> None:
        """``beat_s``: last sign of life; ``busy_since_s``: since when a unit of work is open."""
        self._beat_s, self._busy_since_s = beat_s, busy_since_s

    def tell_tasks_of(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the tasks of this event loop in the dump."""
        self._loop = loop

    def stopping(self) -> None:
        """Begin the 20 s of a shutdown; whoever takes longer is stuck."""
        if self._stop_by_s is None:
            self._stop_by_s = time.monotonic() + STOP_S

    def done(self) -> None:
        """Disarm: the process is about to leave by itself."""
        self._done.set()

    def verdict(self, now_s: float) -> str | None:
        """Return what is stuck at this moment, if anything."""
        if self._stop_by_s is not None:
            return f"not gone {STOP_S:.0f} s after SIGTERM" if now_s > self._stop_by_s else None
        busy_s = self._busy_since_s()
        if busy_s is not None:  # waiting for a commit, nothing polls: its calls have limits
            late_s = now_s - busy_s
            return (
                f"a unit of work is not finished after {late_s:.0f} s" if late_s > BATCH_S else None
            )
        beat_s = self._beat_s() if self._beat_s is not None else self._started_s + BATCH_S
        if now_s - beat_s > SILENT_S:
            return f"the poll loop has been silent for {now_s - beat_s:.0f} s"
        return None

    def _run(self) -> None:
        while not self._done.wait(CHECK_S):
            stuck = self.verdict(time.monotonic())
            if stuck is not None:
                log.critical("stuck: %s; exit 71", stuck)
                faulthandler.dump_traceback(file=2, all_threads=True)
                with contextlib.suppress(Exception):  # read from outside its thread, while it runs
                    self._dump_tasks()
                os._exit(int(Exit.STUCK))

    def _dump_tasks(self) -> None:
        for task in asyncio.all_tasks(self._loop) if self._loop is not None else ():
            lines = (f"Task {task.get_name()}:", *awaits(task.get_coro()))
            sys.stderr.write("\n  ".join(lines) + "\n")
        sys.stderr.flush()


def awaits(waiting: Any) -> Iterator[str]:
    """Yield where a coroutine waits, then where that which it waits for does, to the innermost.

    `Task.print_stack` tells the outermost line alone.
    """
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is not None:
            code = frame.f_code
            yield f'File "{code.co_filename}", line {frame.f_lineno} in {code.co_qualname}'
        inner = getattr(waiting, "cr_await", None)
        waiting = inner if inner is not None else getattr(waiting, "gi_yieldfrom", None)

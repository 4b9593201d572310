"""The worker of the demo: `python -m streams worker` in a process of its own, as in production."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from streams.errors import Exit, RewardsError

if TYPE_CHECKING:
    from typing import Any, Self

STOP_S = 25.0  # the worker promises 20 (reliability.md 3)
TAIL = 20  # lines of its log that are shown when it failed


_NAMED = frozenset(Exit) - {Exit.OK, Exit.DIFFERENT}  # 1 is what Python itself ends with


class WorkerFailed(RewardsError):
    """The worker ended by itself or would not end; its own exit code, the end of its log."""

    def __init__(self, code: int, why: str, log: Path) -> None:
        self.exit = Exit(code) if code in _NAMED else Exit.BROKEN
        lines = "".join(f"\n  | {line}" for line in tail(log))
        super().__init__(f"the worker {why}; the end of its log, {log}:{lines}")


class Worker:
    """One worker process. Its log goes to a file beside its state."""

    def __init__(self, directory: Path, arguments: list[str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log, self.stats_file = directory / "worker.log", directory / "stats.json"
        self.stats_file.unlink(missing_ok=True)  # of an earlier run on a kept directory
        command = [
            sys.executable,
            "-P",
            "-m",
            "streams",
            "worker",
            "--stats-file",
            str(self.stats_file),
        ]
        with self.log.open("wb") as log:
            # The package that runs here runs there too, whatever folder we stand in (-P).
            path = os.pathsep.join([str(_root()), *filter(None, [os.environ.get("PYTHONPATH")])])
            self._process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is ours; we tell the worker ourselves
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()  # dying is always safe
            self._process.wait()

    def stats(self) -> dict[str, Any] | None:
        """Return what the worker last said of itself, or None before the first time.

        Raises WorkerFailed when it is not running any more.
        """
        self.require_alive()
        return self.last_words() or None

    def last_words(self) -> dict[str, Any]:
        """Return the stats file as it stands; empty when there is none yet."""
        try:
            return dict(orjson.loads(self.stats_file.read_bytes()))
        except (FileNotFoundError, orjson.JSONDecodeError):  # not yet, or half written
            return {}

    def require_alive(self) -> None:
        """Raise WorkerFailed unless it runs."""
        code = self._process.poll()
        if code is not None:
            raise WorkerFailed(code, f"ended with exit code {code}", self.log)

    def stop(self) -> None:
        """End it with SIGTERM and wait; raises WorkerFailed unless it left with 0."""
        self.require_alive()
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise WorkerFailed(
                Exit.STUCK, f"did not stop within {STOP_S:.0f} s", self.log
            ) from None
        if code:
            raise WorkerFailed(code, f"stopped with exit code {code}", self.log)


def tail(log: Path) -> list[str]:
    """Return the last lines of a log, however large."""
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            return [line.rstrip("\n") for line in deque(lines, TAIL)]
    except OSError:
        return []


def _root() -> Path:
    import streams  # noqa: PLC0415 - only its place

    return Path(streams.__file__).parent.parent

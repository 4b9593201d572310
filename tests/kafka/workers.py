"""Worker processes of a test: start, kill -9, stop, restart, and what each said at its end.

A kill counts only if it *landed*: the process ended with SIGKILL, and the only one who sends that
to a worker with LEIDAN_KILL is the worker itself, at the line of the protocol the K-point names.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.errors import Exit
from tests.kafka import cluster
from tests.kafka.harness import TookTooLong

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "schemas" / "samples" / "grocery-3.json"

K_POINTS = tuple(f"K{n}" for n in range(10))
R_POINTS = tuple(f"R{n}" for n in range(1, 7))
"""Where a worker can be told to die: the lines of the commit protocol, and of the restore."""

RESTARTED = frozenset({Exit.STUCK, Exit.DISK, Exit.FENCED, Exit.UNREACHABLE})
"""What a supervisor starts again without a word."""

STOP_LIMIT_S = 25.0  # reliability.md 3: gone 20 s after SIGTERM, whatever is stuck
TAIL_LINES = 100  # a dump of all stacks is some 60, and what led to it stands before


class Unexpected(AssertionError):
    """A process ended in a way no test asked for; the message has the end of its log."""


class Process:
    """One program that is started again and again, with one log file over all its lives."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name, self.command, self.log = name, tuple(command), log
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> None:
        """Start it, with these variables besides ours. It dies when this process does."""
        assert not self.running, f"{self.name} runs already"
        self.starts += 1
        given = [f"{name}={value}" for name, value in environment.items()]
        ours = {name for name in os.environ if name.startswith("LEIDAN_")} - {"LEIDAN_NATIVE"}
        unset = [f"--unset={name}" for name in sorted(ours)]
        # Through `env`, which execs: the process id and the exit status are the program's own.
        command = ["env", *unset, "PYTHONUNBUFFERED=1", *given, *self.command]
        self._process = cluster._spawn(command, REPOSITORY, self.log)  # noqa: SLF001 - one spawner

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def ended(self) -> int | None:
        """Return the exit status once it has one, -9 for SIGKILL; None while it runs."""
        return None if self._process is None else self._process.poll()

    def wait(self, timeout_s: float, what: str) -> int:
        """Wait for its end; return the exit status. Raises TookTooLong."""
        assert self._process is not None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            msg = f"waited {timeout_s:.0f} s for {self.name} to {what}\n{self.tail()}"
            raise TookTooLong(msg) from None

    def kill(self) -> None:
        """SIGKILL, from outside and at no particular line."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_LIMIT_S)

    def stop(self) -> int:
        """SIGTERM; return the exit status. Raises TookTooLong after the promised 20 s and some."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.wait(STOP_LIMIT_S, "stop after SIGTERM")

    def close(self) -> None:
        """Make sure that it is gone; for the end of a test."""
        if self.running:
            self.kill()

    def peak_kb(self) -> int:
        """The most memory this life has had in use at once, as the kernel counted it."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The end of its log, for messages."""
        if not self.log.is_file():
            return "(it printed nothing)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Worker(Process):
    """`leidan worker` on a run's topics, with small batches so that a kill finds one under way."""

    def __init__(  # noqa: PLR0913 - what tells one worker from another
        self,
        bootstrap: str,
        prefix: str,
        instance: str,
        directory: Path,
        *,
        campaigns: Sequence[Path] = (SAMPLE,),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.instance, self.app_id = instance, f"{prefix}leidan".replace(".", "-")
        self.state_dir = directory / "state"
        self.stats_file = directory / f"{instance}.stats.json"
        self.landed: Counter[str] = Counter()
        command = [sys.executable, "-m", "streams", "worker"]
        command += ["--bootstrap-servers", bootstrap, "--topic-prefix", prefix]
        command += ["--instance", instance, "--state-dir", str(self.state_dir)]
        command += ["--stats-file", str(self.stats_file)]
        for path in campaigns:
            command += ["--campaigns", str(path)]
        # Timings of T4 (reliability.md 7): a session of 6 s and a transaction of 10 s.
        given = {
            "app_id": self.app_id,
            "session_timeout_ms": 6_000,
            "transaction_timeout_ms": 10_000,
            **(settings or {}),
        }
        for key, value in given.items():
            command += ["--set", f"{key}={value}"]
        super().__init__(instance, command, directory / f"{instance}.log")

    @property
    def group(self) -> str:
        """The consumer group whose offsets are C."""
        return f"{self.app_id}-fold"

    @property
    def databases(self) -> Path:
        """Where its partitions' RocksDB lie."""
        return self.state_dir / self.instance / "users"

    def start_and_die_at(self, point: str) -> None:
        """Start it with a kill point such as `K6:17`; `note_death` then wants SIGKILL."""
        self.start(LEIDAN_KILL=point)

    def note_death(self, point: str) -> None:
        """Count a kill that landed. Raises Unexpected for any other end."""
        status = self.ended()
        if status != -signal.SIGKILL:
            what = f"{self.name}: {point} did not land, exit {status}: void, not green"
            raise Unexpected(f"{what}\n{self.tail()}")
        self.landed[point.partition(":")[0]] += 1

    def require_running(self) -> None:
        """Raise Unexpected if it has ended."""
        if not self.running:
            msg = f"{self.name} ended with {self.ended()}\n{self.tail()}"
            raise Unexpected(msg)

    def lives(self) -> bool:
        """Say whether its stats are this life's, not what the last one left."""
        self.require_running()
        return bool(self.own_stats())

    def stats(self) -> dict[str, Any]:
        """Return what it last wrote to its stats file; empty before the first time."""
        try:
            return json.loads(self.stats_file.read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def own_stats(self) -> dict[str, Any]:
        """Its stats if this life wrote them; empty before, and once it has ended."""
        stats = self.stats()
        return stats if self.running and stats.get("pid") == self.pid else {}

    def transactions(self, what: str = "committed") -> int:
        """How many transactions this life says it has committed, aborted or left unknown."""
        return int(self.own_stats().get("transactions", {}).get(what, 0))


class KillSchedule:
    """One worker's deaths, in order: it is started for each, dies by itself, and then lives on.

    `tend` is called again and again; every death not at hand within `limit_s` voids the run.
    """

    def __init__(
        self,
        worker: Worker,
        points: Sequence[str],
        *,
        then: str | None = None,
        limit_s: float = 45.0,
    ) -> None:
        """`then`: the point its last life is armed with, for the test to bring about and note."""
        self.worker, self.points, self.then, self.limit_s = worker, list(points), then, limit_s
        self._since = time.monotonic()
        self._next()

    @property
    def over(self) -> bool:
        return not self.points

    def _next(self) -> None:
        self._since = time.monotonic()
        point = self.points[0] if self.points else self.then
        if point is None:
            self.worker.start()
        else:
            self.worker.start_and_die_at(point)

    def tend(self) -> None:
        """Look after it once. Raises Unexpected, TookTooLong."""
        if self.over:
            self.worker.require_running()
            return
        point = self.points[0]
        if not self.worker.running:
            self.worker.note_death(point)
            self.points.pop(0)
            self._next()
        elif time.monotonic() - self._since > self.limit_s:
            what = f"waited {self.limit_s:.0f} s for {self.worker.name} to die at {point}: void"
            raise TookTooLong(f"{what}\n{self.worker.tail()}")

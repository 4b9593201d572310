"""What a process used, by its own account in /proc: read while it runs, asked for a span after."""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left
from pathlib import Path
from typing import NamedTuple

EVERY_S = 0.02
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class Sample(NamedTuple):
    at_ms: float  # wall clock, as records are stamped
    cpu_s: float  # of all threads, user and system, since it began
    rss_mb: float


class Sampler:
    """Reads one process every 20 ms until it is gone or `stop`. `/proc` counts in 10 ms."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._seen: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S) and (found := sample(self._pid)) is not None:
            self._seen.append(found)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(5)

    def cpu_s(self, first_ms: float, last_ms: float) -> float:
        """Processor time between two moments, interpolated between samples."""
        return self._at(last_ms) - self._at(first_ms)

    def peak_mb(self) -> float:
        return max((seen.rss_mb for seen in self._seen), default=0.0)

    def _at(self, ms: float) -> float:
        seen = self._seen
        assert seen, "void: the process was gone before it was looked at"
        after = bisect_left(seen, ms, key=lambda one: one.at_ms)
        if after == 0:
            return seen[0].cpu_s
        if after == len(seen):
            return seen[-1].cpu_s
        a, b = seen[after - 1], seen[after]
        return a.cpu_s + (b.cpu_s - a.cpu_s) * (ms - a.at_ms) / (b.at_ms - a.at_ms)


def sample(pid: int) -> Sample | None:
    """Look once; None: it is gone."""
    try:
        # The name may hold spaces and brackets, so fields are counted from behind it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] == "Z":
        return None
    user, system, pages = int(fields[11]), int(fields[12]), int(fields[21])
    return Sample(time.time() * 1000, (user + system) * TICK_S, pages * PAGE_MB)

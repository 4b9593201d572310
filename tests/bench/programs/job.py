"""The job that peers written in Python share: leidan's decoders, fold and output bytes.

One record at a time: what stands around the fold is the peer's own. With it comes what the
benchmark divides: how many records were taken, from when to when.
"""

from __future__ import annotations

import argparse
import gc
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from streams.domain.fold import step
from streams.domain.registry import Campaigns
from streams.domain.state import new
from streams.errors import EventRejected
from streams.wire import cancellations, claims, orders
from streams.wire.campaigns import read_file
from streams.wire.outputs import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.domain.state import UserState
    from streams.feed.ports import Outgoing, Record

DECODE = {"orders": orders.decode, "claims": claims.decode, "cancellations": cancellations.decode}
STATS_EVERY_S = 0.1


def now_ms() -> float:
    """The clock that records are stamped with."""
    return time.time() * 1000


def write_stats(path: Path, stats: Mapping[str, float]) -> None:
    """Replace the file whole, so that no reader sees half of it."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(stats))
    partial.replace(path)


class Progress:
    """How many records were taken, and when the first and the last (engines/__init__.py)."""

    def __init__(self) -> None:
        self.processed = self.issued = self.rejected = 0
        self.first_ms = self.last_ms = 0.0

    def processed_one(self) -> None:
        self.last_ms = now_ms()
        if not self.processed:
            self.first_ms = self.last_ms
        self.processed += 1

    def write(self, path: Path) -> None:
        write_stats(path, vars(self))

    def keep_writing(self, path: Path) -> None:
        """Write it every 0.1 s from a thread, until the process ends."""

        def go_on() -> None:
            while True:
                time.sleep(STATS_EVERY_S)
                self.write(path)

        threading.Thread(target=go_on, name="progress", daemon=True).start()


class Job:
    """Fold records one by one, and count them."""

    def __init__(self, campaign_files: list[str]) -> None:
        self.progress = Progress()
        rest_collector()
        self._campaigns = Campaigns.of(c for file in campaign_files for c in read_file(Path(file)))

    def fold(
        self, record: Record, state: UserState | None
    ) -> tuple[UserState | None, list[Outgoing]]:
        """Return the user's state after the record, None if it is as before, and what follows."""
        progress = self.progress
        progress.processed_one()
        try:
            fact = DECODE[record.topic](record)
        except EventRejected:
            progress.rejected += 1
            return None, []
        before = new(fact.user_id) if state is None else state
        after, produced, _outcome = step(before, fact, self._campaigns)
        progress.issued += sum(output.type == "reward.issued" for output in produced)
        return (None if after is before else after), [encode(output, record) for output in produced]


def rest_collector() -> None:
    """Let Python look for cycles as seldom as it does in a worker of leidan."""
    gc.set_threshold(50_000, 20, 100)


def arguments(of: str) -> argparse.ArgumentParser:
    """What every program of the benchmark is told."""
    parser = argparse.ArgumentParser(description=of)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic-prefix", required=True)
    parser.add_argument("--topics", required=True, help="inputs without prefix, by commas")
    parser.add_argument("--app-id", required=True)
    parser.add_argument("--state-dir", required=True, type=Path)
    parser.add_argument("--campaigns", action="append", required=True)
    parser.add_argument("--rewards", help="topic without prefix")
    parser.add_argument("--task-events", help="topic without prefix")
    parser.add_argument("--stats-file", required=True, type=Path)
    return parser

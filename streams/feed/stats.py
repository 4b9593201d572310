"""What a worker says of itself in a file: for the demo, benchmarks and tests, which watch a child.

JSON, replaced atomically about once a second and at exit, so a reader never sees half of it. The
field list is a contract: tests/feed/test_stats.py.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from streams import __version__

if TYPE_CHECKING:
    from streams.feed.loop import Feed

REWARD_TYPES = {"reward.issued": "rewards_issued", "reward.revoked": "rewards_revoked"}


def snapshot(feed: Feed, **more: Any) -> dict[str, Any]:
    """Return everything countable; see the module. Seconds are floats, the rest integers.

    phases: poll, decode, read, fold, hand_over and wait belong to the loop and follow each other;
    encode, produce, flush, offsets, commit and write belong to the commit, beside the next pass.
    A rate is records over active_s, never over the sum of phases.
    """
    counts = feed.counts
    return {
        "version": __version__,
        "pid": os.getpid(),
        "records": dict(counts.records),  # by topic
        "records_total": sum(counts.records.values()),
        "outcomes": dict(counts.outcomes),
        "applied": counts.outcomes["applied"] + counts.outcomes["late"],
        "duplicates": counts.outcomes["duplicate"],
        "dead_letters": dict(counts.dead_letters),
        "outputs": dict(counts.outputs),
        **{name: counts.outputs[type_] for type_, name in REWARD_TYPES.items()},
        "transactions": {
            outcome: counts.transactions[outcome]
            for outcome in ("committed", "aborted", "unknown", "fenced")
        },
        "rebalances": dict(counts.rebalances),
        "batches": counts.batches,
        "produced": counts.produced,
        "producers": counts.producers,
        "restores": counts.restores,
        "restored_rows": counts.restored_rows,
        "phases": {name: round(seconds, 6) for name, seconds in counts.phases.items()},
        "active_s": round(counts.active_s, 6),
        "partitions": sorted(feed.owned),
        "parked": sorted(p for p, owned in feed.owned.items() if owned.parked),
        "paused": feed.pause_reason().value,
        **more,
    }


class StatsFile:
    """Writes the snapshot; a full disk here must not stop a worker, so errors are dropped."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else Path(path)
        self._started_s = time.monotonic()

    def write(self, content: dict[str, Any]) -> None:
        if self._path is None:
            return
        cpu = os.times()
        content = {
            **content,
            "uptime_s": round(time.monotonic() - self._started_s, 3),
            "cpu_s": round(cpu.user + cpu.system, 3),  # of all threads, librdkafka's too
        }
        new = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            new.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
            new.replace(self._path)
        except OSError:
            pass

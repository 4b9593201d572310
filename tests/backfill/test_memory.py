"""What a backfill holds is a matter of its bounds, not of how long the log is."""

from __future__ import annotations

import gc
import tracemalloc
from collections import defaultdict
from typing import TYPE_CHECKING

from streams import settings, topics
from streams.backfill import plan as plans
from streams.backfill import runner
from streams.backfill.archive import Writer
from streams.feed import loop
from streams.feed.loop import Feed
from streams.feed.ports import Record
from streams.feed.unit_of_work import UnitOfWork
from streams.traffic import Traffic
from tests.backfill.world import SAMPLES

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

USERS, EVENTS = 20, 300
WAITING = 300
"""Records that may wait to be merged, so that the short log has reached every bound too."""


def archived(directory: Path, times: int) -> int:
    """The same events again and again: more log, and dead letters, but no more users and facts."""
    lanes: dict[str, list[Record]] = defaultdict(list)
    for _ in range(times):
        for topic, key, value, at_ms in Traffic(6, USERS, EVENTS, ("poison",)):
            lane = lanes[topic]
            lane.append(Record(topic, 0, len(lane), key, value, [], at_ms))
    writer = Writer(directory, "gzip")
    for topic in topics.FOLDED:
        writer.write(topic, 0, 0, len(lanes[topic]), lanes[topic])
    writer.write(topics.CAMPAIGNS, 0, 0, 0, [])
    writer.finish("a-cluster", 1, {})
    return sum(map(len, lanes.values()))


def peak_bytes(directory: Path, times: int) -> int:
    """What folding such a log takes at most, beyond what was there before; it leaves nothing."""
    length = archived(directory / f"archive-{times}", times)
    campaign = str(SAMPLES / "grocery-3.json")
    given = settings.load(None, {"campaign_files": (campaign,), "batch_records": 50})
    wanted = plans.Wanted("state", archive=directory / f"archive-{times}")
    job = runner.Job(plans.make(given, wanted, None), given, str(directory / f"run-{times}"))
    gc.collect()
    others = len(feeds())  # of tests before, in this process
    tracemalloc.start()
    try:
        done = runner.fold_partition(job, 0, lambda _look: None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (done.folded, done.rows) == (length, USERS)
    assert done.account.said[topics.DEAD_LETTERS].count > times
    assert len(feeds()) <= others, "a feed or a unit of work outlives its partition"
    return peak


def feeds() -> list[object]:
    """All that is there of them, also what the collector has yet to find."""
    return [one for one in gc.get_objects() if isinstance(one, (Feed, UnitOfWork))]


def test_a_log_four_times_as_long_takes_no_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MOST_RECORDS", WAITING)
    peak_bytes(tmp_path, 1)  # what is made once a process
    short, long = peak_bytes(tmp_path, 3), peak_bytes(tmp_path, 12)
    assert long < 1.2 * short, f"{short} bytes for the short log, {long} for the long one"

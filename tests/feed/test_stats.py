"""The stats file: its fields are a contract with the demo, benchmarks and tests."""

from __future__ import annotations

import json

from streams.feed.stats import StatsFile, snapshot
from tests.feed.memory import World

FIELDS = {
    "version", "pid", "records", "records_total", "outcomes", "applied", "duplicates",
    "dead_letters", "outputs", "rewards_issued", "rewards_revoked", "transactions", "rebalances",
    "batches", "produced", "producers", "restores", "restored_rows", "phases", "partitions",
    "parked", "paused", "active_s",
}  # fmt: skip


def test_a_snapshot_has_every_field_before_and_after_work():
    world = World()
    assert set(snapshot(world.feed)) == FIELDS
    world.broker.put("orders", "u1", b"a")
    world.broker.put("orders", "u1", b"bad")
    world.settle()
    found = snapshot(world.feed, running=True)
    assert set(found) == FIELDS | {"running"}
    assert (found["records"], found["records_total"]) == ({"orders": 2}, 2)
    assert found["dead_letters"] == {"not_json": 1}
    assert found["transactions"] == {"committed": 1, "aborted": 0, "unknown": 0, "fenced": 0}
    assert found["partitions"] == [0]
    assert {"poll", "encode", "produce", "flush", "offsets", "commit", "write"} <= set(
        found["phases"]
    )


def test_the_file_is_replaced_whole(tmp_path):
    path = tmp_path / "stats.json"
    stats = StatsFile(str(path))
    stats.write({"a": 1})
    stats.write({"a": 2})
    assert json.loads(path.read_text())["a"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["stats.json"]


def test_a_directory_that_is_gone_does_not_stop_a_worker(tmp_path):
    StatsFile(str(tmp_path / "gone" / "stats.json")).write({"a": 1})
    StatsFile(None).write({"a": 1})

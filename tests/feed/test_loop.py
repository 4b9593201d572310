"""Assign, restore, revoke, pause: what the loop does around the commit protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import pytest

from streams.agents.folding import fold_batch
from streams.errors import CommitUnknown, DeadLetterBudgetSpent, Fenced, Refused
from streams.feed.loop import BROKER_BUDGET_S, Pause
from streams.feed.ports import BrokerLost, Known, NotOwned, NotReady, TopicPartition
from streams.position import Position
from streams.store import meta
from streams.store.overlay import CACHED_BYTES, Codec
from streams.wire import outputs, rows
from tests import builders as b
from tests.feed.memory import TOPICS, World, fold
from tests.given import registry

if TYPE_CHECKING:
    from streams.domain.registry import Campaigns


def fed(world: World, count: int, value: bytes = b"x", topic: str = "orders") -> None:
    for _ in range(count):
        world.broker.put(topic, "u1", value)


def test_a_first_start_begins_at_the_low_watermark_and_says_so(caplog):
    world = World()
    fed(world, 3)
    world.broker.low["orders", 0] = 2
    world.settle()
    assert world.outputs() == [("u1", b"x")]
    assert "orders begins at 2" in caplog.text


def test_partitions_share_one_bound_of_cached_rows():
    world = World(partitions=4)
    world.settle()
    assert len(world.feed.owned) == 4
    assert {owned.cache.most_bytes for owned in world.feed.owned.values()} == {CACHED_BYTES // 4}
    world.feed.on_revoke([TopicPartition(topic, 3) for topic in TOPICS])
    assert {owned.cache.most_bytes for owned in world.feed.owned.values()} == {CACHED_BYTES // 3}


def test_partitions_taken_away_are_closed_and_come_back_restored():
    world = World()
    fed(world, 1)
    world.settle()
    world.log.revoke(0)
    world.feed.poll(0.0)
    assert [rows.open for rows in world.store.opened] == [False]
    assert world.feed.owned == {}
    fed(world, 1)
    world.log.assign(0)
    world.settle()
    assert world.outputs() == [("u1", b"x"), ("u1", b"xx")]


def test_lost_partitions_are_closed_without_a_write():
    world = World()
    fed(world, 1)
    world.settle()
    writes = world.store.opened[0].writes
    world.log.revoke(0, lost=True)
    world.feed.poll(0.0)
    assert (world.store.opened[0].open, world.store.opened[0].writes) == (False, writes)


def test_records_waiting_for_alignment_are_read_again_after_a_rebalance():
    world = World()
    world.poll()
    world.broker.put("orders", "u1", b"a")
    world.log.at_end = lambda _topic, _p: False  # so they wait for the claims
    assert world.feed.poll(0.0) is None
    world.log.revoke(0)
    world.log.assign(0)
    world.settle()
    assert world.outputs() == [("u1", b"a")]


def test_unequal_partition_sets_are_refused_with_the_fix():
    world = World()
    with pytest.raises(Refused, match="range assignor"):
        world.feed.on_assign([TopicPartition("orders", 0), TopicPartition("claims", 1)])


def test_folding_pauses_while_campaigns_are_not_confirmed_and_loses_nothing():
    world = World()
    fed(world, 2)
    world.campaigns.age_s = 31.0
    assert world.poll() is None
    assert world.feed.pause_reason() is Pause.CAMPAIGNS
    world.campaigns.age_s = 1.0
    world.settle()
    assert world.outputs() == [("u1", b"x"), ("u1", b"xx")]


def test_a_broker_that_never_answers_again_ends_the_worker():
    world = World()
    world.settle()
    world.campaigns.age_s = BROKER_BUDGET_S + 1
    with pytest.raises(Fenced, match="no broker has answered for 121 s"):
        world.poll()


def test_nothing_is_folded_before_campaigns_were_read_once():
    world = World()
    fed(world, 1)
    world.campaigns.age_s = float("inf")
    assert world.poll() is None


def test_committed_offsets_moved_by_hand_are_refused_naming_both():
    world = World()
    fed(world, 3)
    world.settle()
    world.broker.committed["orders", 0] = 1
    world.store.disks = {}
    world.crash()
    with pytest.raises(Refused, match=r"'orders': 3.*'orders': 1"):
        world.settle()


def test_offsets_reset_below_what_rocksdb_has_are_refused():
    world = World()
    fed(world, 3)
    world.settle()
    world.broker.committed["orders", 0] = 0
    world.crash()
    with pytest.raises(Refused, match="ahead of the committed 0"):
        world.settle()


def test_a_lost_changelog_is_refused_and_never_started_empty():
    world = World()
    fed(world, 1)
    world.settle()
    world.broker.logs["changelog", 0] = []
    world.store.disks = {}
    world.crash()
    with pytest.raises(Refused, match="do not start empty"):
        world.settle()


@pytest.mark.parametrize(
    "newer", [{"row_schema": 2}, {"fold_version": 2}], ids=["row27-row-schema", "row27-fold"]
)
def test_a_changelog_written_by_a_newer_version_is_refused_though_the_disk_is_lost(newer):
    world = World()
    fed(world, 1)
    world.settle()
    log = world.broker.logs["changelog", 0]
    at = next(n for n, row in enumerate(log) if row is not None and row.key == meta.META)
    value = msgspec.structs.replace(meta.decode_meta(log[at].value), **newer)
    log[at] = log[at]._replace(value=meta.encode_meta(value))
    world.store.disks = {}
    world.crash()
    with pytest.raises(Refused, match="Start the newer version again"):
        world.settle()


def test_a_changelog_shorter_than_what_was_read_is_refused():
    world = World()
    fed(world, 1)
    world.settle()
    world.broker.logs["changelog", 0] = []
    world.crash()
    with pytest.raises(Refused, match="ends at 0"):
        world.settle()


def test_expired_offsets_go_on_from_the_changelog():
    world = World()
    fed(world, 2)
    world.settle()
    world.broker.committed.clear()
    fed(world, 1)
    world.crash()
    world.settle()
    assert world.outputs()[-1] == ("u1", b"xxx")
    assert len(world.outputs()) == 3


def test_input_deleted_before_it_was_read_is_refused():
    world = World()
    fed(world, 2)
    world.settle()
    world.broker.low["orders", 0] = 5
    world.crash()
    with pytest.raises(Refused, match="3 records were deleted before they were read"):
        world.settle()


def test_restored_rows_include_deletions_and_end_at_a_marker():
    world = World()
    fed(world, 1)
    world.settle()
    log = world.broker.logs["changelog", 0]
    log.insert(1, log[0]._replace(offset=1, key=b"u2", value=b"y"))
    log.insert(2, log[0]._replace(offset=2, key=b"u2", value=None))
    world.store.disks = {}
    world.crash()
    world.settle()
    assert world.rows() == {b"u1": b"x"}
    assert world.store.disks[0]["changelog"] == len(log)


def test_a_broker_away_for_a_moment_heals_without_a_restart():
    world = World()
    fed(world, 1)
    world.broker.fail["begin"] = BrokerLost("no answer")
    world.broker.fail["init"] = BrokerLost("no answer")
    world.step()
    world.settle()
    assert world.outputs() == [("u1", b"x")]


def test_a_broker_lost_beyond_the_budget_ends_the_worker():
    world = World()
    fed(world, 1)
    world.broker.fail["commit"] = CommitUnknown("timed out")
    world.step()
    world.clock.now_s += BROKER_BUDGET_S + 1
    world.broker.fail["commit"] = CommitUnknown("timed out")
    with pytest.raises(Fenced, match="beyond the budget"):
        world.step()


def test_the_dead_letter_budget_stops_before_anything_is_committed():
    world = World(batch_records=1_000)
    fed(world, 49)
    fed(world, 51, b"bad")
    with pytest.raises(DeadLetterBudgetSpent, match=r"orders\[0\]: 51 of the last 100"):
        world.step()
    assert world.broker.committed == {}
    assert world.broker.read("dead-letters") == []


def test_the_dead_letter_budget_can_be_switched_off():
    world = World(batch_records=1_000, dead_letter_budget=False)
    fed(world, 500, b"bad")
    world.settle()
    assert len(world.broker.read("dead-letters")) == 500


def test_a_parked_partition_is_not_read_and_the_others_go_on():
    killer = Position("orders", 0, 7)
    world = World(partitions=2, parked=lambda p, _next: killer if p == 0 else None)
    world.broker.put("orders", "u1", b"a", p=0)
    world.broker.put("orders", "u2", b"b", p=1)
    world.settle()
    assert world.outputs() == [("u2", b"b")]
    assert world.feed.owned[0].parked


@pytest.mark.parametrize("batch_records", [1, 2, 7, 1_000])
def test_batch_size_changes_neither_rows_nor_outputs(batch_records):
    world = World(batch_records=batch_records)
    for n in range(40):
        world.broker.put("orders", f"u{n % 3}", f"o{n}".encode(), at_ms=n * 10)
        if n % 5 == 0:
            world.broker.put("claims", f"u{n % 3}", f"c{n}".encode(), at_ms=n * 10 + 5)
    world.settle()
    rows = {key: value for key, value in world.rows().items() if not key.startswith(b"\0")}
    assert rows == world_by_time()
    assert len(world.outputs()) == 48


def world_by_time() -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    for n in range(40):
        user = f"u{n % 3}".encode()
        rows[user] = rows.get(user, b"") + f"o{n}".encode()
        if n % 5 == 0:
            rows[user] += f"c{n}".encode()
    return rows


def test_fixture_37_one_log_in_batches_of_1_or_7_or_all_gives_the_same_output_values():
    campaigns = registry(b.campaign(), b.campaign(campaign_id="two_a_day", qualify=TWO_A_DAY))
    log = sorted(of_three_users(), key=lambda event: event["recorded_at_ms"])
    one, seven, all_ = (folded_in_batches_of(n, log, campaigns) for n in (1, 7, 1_000))
    assert len(one[0]) > 100
    assert one == seven == all_


TWO_A_DAY = {"daily_cap": 2}


def of_three_users() -> list[dict[str, Any]]:
    """Each with two tasks, seven orders of which some come late, two cancellations."""
    events = []
    for n, user in enumerate(("u1", "u2", "u3")):
        mine = [b.claim("k1", day=1 + n), b.claim("k2", day=2, campaign_id="two_a_day")]
        for day in range(1, 8):
            late = b.at(day + 3) if day % 3 == n else None
            mine.append(b.order(f"o{day}", recorded=late))
        mine += [b.order("o8", when=b.at(5, "15:00")), b.cancel("o2", day=4 + n)]
        mine += [b.cancel("o6", day=5), b.withdraw("c-o2", day=9)]
        events += [{**event, "user_id": user} for event in mine]
    return events


def folded_in_batches_of(
    batch_records: int, log: list[dict[str, Any]], campaigns: Campaigns
) -> tuple[list[tuple[str, Any, Any]], dict[bytes, bytes]]:
    """Return (topic, key, value) of all that the real fold says to a log, and the rows it leaves.

    The log has a topic for each kind of record; the times of the records put them in one order.
    """
    world = World(
        batch_records=batch_records,
        topics=("orders", "claims", "cancellations"),
        codec=Codec(rows.new, rows.decode, rows.encode),
        encode=outputs.encode,
    )
    world.campaigns.latest = lambda: Known(campaigns)
    for event in log:
        value = orjson.dumps({k: v for k, v in event.items() if k != "recorded_at_ms"})
        world.broker.put(b.topic_of(event), event["user_id"], value, at_ms=event["recorded_at_ms"])
    while (work := world.poll()) is not None:
        for batch in work.batches:
            fold_batch(batch, b.DECODERS[batch.topic])
        assert world.feed.commit(work)
    said = [
        (record.topic, record.key, record.value)
        for topic in ("task-events", "rewards", "draw-requests", "dead-letters")
        for record in world.broker.read(topic)
    ]
    said.sort(key=lambda one: one[:2])  # a key's are in order; others may lie between them
    return said, {key: row for key, row in world.rows().items() if not key.startswith(b"\0")}


def test_a_close_leaves_no_database_open_and_the_group_last():
    world = World()
    fed(world, 1)
    world.settle()
    world.feed.close()
    assert not any(rows.open for rows in world.store.opened)
    assert world.producers[-1].closed


def test_a_meta_row_never_reaches_a_users_row():
    world = World()
    fed(world, 1)
    world.settle()
    world.store.disks = {}
    world.crash()
    world.settle()
    assert meta.META not in world.rows()


def test_counts_are_raised_only_after_the_commit():
    world = World()
    fed(world, 2)
    work = world.poll()
    fold(work)
    assert sum(world.feed.counts.records.values()) == 0
    world.feed.commit(work)
    assert world.feed.counts.records == {"orders": 2}
    assert world.feed.counts.transactions == {"committed": 1}


def test_a_worker_that_never_committed_starts_again_without_a_word_about_expired_offsets(caplog):
    world = World()
    world.settle()
    world.crash()
    caplog.clear()
    world.settle()
    assert "expired" not in caplog.text


# --- what others may read ----------------------------------------------------------------------


def test_readers_see_what_is_committed_and_never_a_unit_of_work_under_way():
    world = World()
    fed(world, 1)
    world.settle()
    fed(world, 1)
    work = world.poll()
    fold(work)
    assert world.feed.committed(0, b"u1") == b"x"
    world.feed.commit(work)
    world.settle()
    assert world.feed.committed(0, b"u1") == b"xx"
    assert world.feed.committed(0, b"nobody") is None


def test_readers_never_see_what_the_broker_did_not_take():
    world = World()
    fed(world, 1)
    world.settle()
    fed(world, 1)
    work = world.poll()
    fold(work)
    world.broker.fail["commit"] = CommitUnknown("timed out")
    assert world.feed.commit(work) is False
    with pytest.raises(NotReady):
        world.feed.committed(0, b"u1")


def test_readers_are_told_of_partitions_that_are_not_ours_or_not_ready():
    world = World()
    with pytest.raises(NotOwned):
        world.feed.committed(0, b"u1")
    fed(world, 1)
    world.settle()
    world.feed.owned[0].ready = False
    with pytest.raises(NotReady):
        world.feed.committed(0, b"u1")
    world.log.revoke(0)
    world.feed.poll(0.0)
    with pytest.raises(NotOwned):
        world.feed.committed(0, b"u1")

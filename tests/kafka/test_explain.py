"""Records found by their time on a real broker: the same positions as a read of everything."""

from __future__ import annotations

import time

import msgspec
import pytest
from confluent_kafka.admin import AdminClient

from streams import topics
from streams.demo.sending import send
from streams.partitioner import partition_of
from streams.replay import lookup as replay_log
from streams.replay.lookup import Log
from streams.replay.story import Told
from streams.traffic import Traffic

pytestmark = pytest.mark.kafka

PREFIX, PARTITIONS = "explain-", 2


@pytest.fixture(scope="module")
def log(broker):
    counts = {n: (t.partition_count(PARTITIONS), {}) for n, t in topics.registry().items()}
    broker.create_topics({f"{PREFIX}{name}": made for name, made in counts.items()})
    send(broker.bootstrap, Traffic(5, 300, 20_000, ("late", "reorder", "dup")), prefix=PREFIX)
    with Log(broker.bootstrap, PREFIX) as opened:
        yield opened


@pytest.mark.parametrize("costs", [0, 500], ids=["each by its time", "all in one read"])
@pytest.mark.parametrize("user_id", ["u-00004", "u-00123"])
def test_a_users_records_are_found_by_their_times_and_soon(log, user_id, costs, monkeypatch):
    monkeypatch.setattr(replay_log, "LOOK_UP_COSTS", costs)
    p = partition_of(user_id.encode(), PARTITIONS)
    told, _ = log.of_user(user_id, p)
    assert len(told) > 20
    first: dict[object, Told] = {}
    for one in told:  # what a row keeps: of records said twice at one time, the first
        first.setdefault((type(one.event), one.event), one)
    wanted = list(first.values())
    begun_s = time.monotonic()
    found = log.placed([Told(one.event, None) for one in wanted], p, begun_s + 60)
    took_s = time.monotonic() - begun_s
    print(f"{len(wanted)} records of {len(told)} found in {took_s:.2f} s")
    assert found == wanted
    assert took_s < 5, "a fetch each, not a read of the partition"


def test_what_is_not_there_has_no_position_and_costs_no_read_of_everything(log):
    p = partition_of(b"u-00004", PARTITIONS)
    told, _ = log.of_user("u-00004", p)
    never = msgspec.structs.replace(told[0].event, recorded_at_ms=told[0].event.recorded_at_ms + 1)
    assert log.placed([Told(never, None)], p, time.monotonic() + 60) == [Told(never, None)]


def test_nothing_is_left_behind_no_group_and_no_offset(log, broker):
    log.of_user("u-00004", partition_of(b"u-00004", PARTITIONS))
    groups = AdminClient({"bootstrap.servers": broker.bootstrap}).list_consumer_groups().result()
    assert "leidan-replay" not in {group.group_id for group in groups.valid}

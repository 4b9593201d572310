"""The Java peer folds what leidan folds: the same outputs byte for byte, whatever the log does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams.domain.fold import step
from streams.domain.registry import Campaigns
from streams.domain.state import new
from streams.feed.ports import Record
from streams.wire import orders
from streams.wire.campaigns import read_file
from streams.wire.outputs import encode
from tests.bench.engines import Given, kafka_streams
from tests.bench.work import SEED, WORKLOADS, digest, model_digest, standing, traffic
from tests.kafka.cluster import VERSION, required
from tests.kafka.harness import Topics

if TYPE_CHECKING:
    from pathlib import Path

    from tests.checker import Seen
    from tests.kafka.cluster import Cluster

WORK = WORKLOADS["paid"]
EVENTS = 400
CHAOS = ("dup", "late", "reorder")


@pytest.fixture
def peer() -> None:
    """Without its jars the test is skipped, or fails where Kafka is required."""
    if reason := kafka_streams.missing():
        assert not required(), f"LEIDAN_REQUIRE names kafka, but {reason}"
        pytest.skip(reason)


@pytest.mark.kafka
@pytest.mark.usefixtures("peer")
def test_the_java_peer_says_what_the_fold_says(broker: Cluster, tmp_path: Path) -> None:
    topics = Topics(broker.bootstrap, "kafka-streams-smoke.")
    topics.create(broker, extra=kafka_streams.ENGINE.own_topics)
    log = traffic(WORK, SEED, EVENTS, CHAOS)
    topics.send(log)
    place = tmp_path / "leg"
    place.mkdir()

    took = kafka_streams.run(Given(topics, WORK, place, EVENTS))

    assert took.events == EVENTS - 1
    assert took.more["known"] > 0, "the log repeats itself"
    ledger, task_events = kafka_streams.ENGINE.ledger, kafka_streams.ENGINE.task_events
    assert digest(standing(topics, ledger)) == model_digest(WORK, log)
    expected = folded(topics.read("orders"))
    assert said(topics.read(ledger)) == expected["rewards"]
    assert said(topics.read(task_events)) == expected["task-events"]


def test_the_java_peer_is_of_the_brokers_version() -> None:
    assert kafka_streams.JARS.version == VERSION


def folded(seen: list[Seen]) -> dict[str, list[tuple]]:
    """What leidan's fold says of these records: by topic, in the order of the log."""
    campaigns, rows = Campaigns.of(read_file(WORK.campaign)), {}
    found: dict[str, list[tuple]] = {"rewards": [], "task-events": []}
    for one in in_log_order(seen):
        record = Record(
            "orders", one.partition, one.offset, one.key, one.value, [], one.timestamp_ms
        )
        order = orders.decode(record)
        row = rows.get(order.user_id, new(order.user_id))
        rows[order.user_id], outputs, _ = step(row, order, campaigns)
        for output in outputs:
            out = encode(output, record)
            found[out.topic].append((one.partition, out.key, out.value, tuple(out.headers)))
    return found


def said(seen: list[Seen]) -> list[tuple]:
    return [(one.partition, one.key, one.value, tuple(one.headers)) for one in in_log_order(seen)]


def in_log_order(seen: list[Seen]) -> list[Seen]:
    return sorted(seen, key=lambda one: (one.partition, one.offset))

"""What the embedded broker does, and what it does not: its limits are pinned here (D10).

A test that fails after an upgrade of confluent-kafka may be good news; then mend the list in
`streams/broker/embedded.py`. Nothing in this folder is evidence of exactly-once.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.broker import embedded
from streams.broker.embedded import EmbeddedBroker, EmbeddedBrokerError, EmbeddedBrokerFull

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 10.0
MIB = 1024 * 1024


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker().start({"orders": 6, "rewards": 6, "campaigns": 1}) as running:
        yield running


def consumer_of(broker: EmbeddedBroker, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,  # the end of an empty partition is told after this long
        }
    )


def transactional(broker: EmbeddedBroker, name: str) -> Producer:
    producer = Producer(
        {
            "bootstrap.servers": broker.bootstrap,
            "transactional.id": name,
            "partitioner": "murmur2_random",
            "compression.type": "zstd",
        }
    )
    producer.init_transactions(TIMEOUT_S)
    return producer


def read_partition(broker: EmbeddedBroker, topic: str, partition: int) -> list[Message]:
    """Every record a read_committed reader is shown, up to the end."""
    reader = consumer_of(broker, "reader")
    try:
        reader.assign([TopicPartition(topic, partition, 0)])
        records: list[Message] = []
        while (message := reader.poll(TIMEOUT_S)) is not None:
            if message.error():  # the end of the partition
                return records
            records.append(message)
        raise AssertionError(f"{topic}[{partition}] did not come to its end")
    finally:
        reader.close()


def fill(broker: EmbeddedBroker, topic: str, compression: str) -> None:
    """8 MiB of one repeated byte into partition 2: over the limit, unless compressed."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "compression.type": compression})
    failed: list[object] = []
    for _ in range(80):
        producer.produce(
            topic,
            b"x" * (MIB // 10),
            partition=2,
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    assert producer.flush(TIMEOUT_S) == 0
    assert not failed


def test_topics_have_the_partitions_asked_for_in_another_process(broker: EmbeddedBroker) -> None:
    look = (
        "import sys; from confluent_kafka import Producer;"
        "topics = Producer({'bootstrap.servers': sys.argv[1]}).list_topics(timeout=10).topics;"
        "print({name: len(topic.partitions) for name, topic in sorted(topics.items())})"
    )
    seen = subprocess.run(
        [sys.executable, "-c", look, broker.bootstrap],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert seen.stdout.strip() == "{'campaigns': 1, 'orders': 6, 'rewards': 6}"


def test_a_transaction_carries_a_group_s_records_to_the_next_topic(broker: EmbeddedBroker) -> None:
    source = Producer({"bootstrap.servers": broker.bootstrap, "partitioner": "murmur2_random"})
    for n in range(60):
        source.produce("orders", b"order %d" % n, key=b"user %d" % n)
    assert source.flush(TIMEOUT_S) == 0

    consumer, producer = consumer_of(broker, "fold"), transactional(broker, "fold-0")
    consumer.subscribe(["orders"])
    orders: list[Message] = []
    while len(orders) < 60:
        message = consumer.poll(TIMEOUT_S)
        assert message is not None, f"only {len(orders)} of 60 orders arrived"
        if not message.error():
            orders.append(message)
    assert len({order.partition() for order in orders}) == 6, "murmur2 uses every partition here"

    producer.begin_transaction()
    for order in orders:
        producer.produce("rewards", order.value(), key=order.key())
    assert producer.flush(TIMEOUT_S) == 0
    producer.send_offsets_to_transaction(
        consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), TIMEOUT_S
    )
    producer.commit_transaction(TIMEOUT_S)
    consumer.close()

    for partition in range(6):
        rewards = read_partition(broker, "rewards", partition)
        sent = [order for order in orders if order.partition() == partition]
        assert [reward.value() for reward in rewards] == [order.value() for order in sent]
    broker.assert_nothing_dropped()


def test_offsets_sent_with_a_transaction_are_forgotten_and_plain_commits_kept(
    broker: EmbeddedBroker,
) -> None:
    """Pinned: whoever must find its place again on this broker has to commit both ways."""
    consumer, producer = consumer_of(broker, "fold"), transactional(broker, "fold-0")
    consumer.subscribe(["orders"])
    while not consumer.assignment():
        consumer.poll(0.1)
    producer.begin_transaction()
    producer.produce("rewards", b"1", partition=0)
    producer.send_offsets_to_transaction(
        [TopicPartition("orders", 0, 7)], consumer.consumer_group_metadata(), TIMEOUT_S
    )
    producer.commit_transaction(TIMEOUT_S)
    consumer.commit(offsets=[TopicPartition("orders", 1, 8)], asynchronous=False)

    kept = consumer.committed([TopicPartition("orders", 0), TopicPartition("orders", 1)], TIMEOUT_S)
    consumer.close()
    assert [place.offset for place in kept] == [OFFSET_INVALID, 8]


def test_aborted_records_are_shown_and_a_fenced_commit_is_accepted(broker: EmbeddedBroker) -> None:
    """Pinned: why this broker is never evidence of exactly-once. Each marker takes an offset."""
    fenced = transactional(broker, "fold-0")
    fenced.begin_transaction()
    fenced.produce("rewards", b"aborted", partition=0)
    assert fenced.flush(TIMEOUT_S) == 0
    fenced.abort_transaction(TIMEOUT_S)
    transactional(broker, "fold-0")  # the same id again: on a real broker the first one is fenced
    fenced.begin_transaction()
    fenced.produce("rewards", b"fenced", partition=0)
    fenced.commit_transaction(TIMEOUT_S)
    shown = [(record.offset(), record.value()) for record in read_partition(broker, "rewards", 0)]
    assert shown == [(0, b"aborted"), (2, b"fenced")]


def test_create_topics_is_not_answered(broker: EmbeddedBroker) -> None:
    """Pinned: topics come from `start`."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    asked = admin.create_topics([NewTopic("late", 6, 1)], request_timeout=1.0)["late"]
    with pytest.raises(KafkaException):
        asked.result(TIMEOUT_S)


def test_nothing_dropped_stays_quiet_below_the_limit(broker: EmbeddedBroker) -> None:
    fill(broker, "orders", "zstd")  # the limit counts compressed bytes
    broker.assert_nothing_dropped(["orders"])
    assert broker.low_watermarks(["orders"]) == {("orders", p): 0 for p in range(6)}


def test_the_guard_trips_when_a_partition_went_over_its_limit(broker: EmbeddedBroker) -> None:
    fill(broker, "orders", "none")
    low = broker.low_watermarks(["orders"])["orders", 2]
    assert low > 0
    with pytest.raises(EmbeddedBrokerFull) as full:
        broker.assert_nothing_dropped()
    told = str(full.value)
    assert f"orders[2] begins at offset {low}" in told
    assert "zstd, make the run smaller, use more partitions, or use a real broker" in told
    broker.assert_nothing_dropped(["campaigns", "rewards"])  # the others are whole


def test_asking_about_a_topic_that_is_not_there_refuses_and_makes_none(
    broker: EmbeddedBroker,
) -> None:
    with pytest.raises(EmbeddedBrokerError, match="not in the embedded broker: ordres"):
        broker.assert_nothing_dropped(["ordres"])
    assert {topic for topic, _ in broker.low_watermarks()} == {"orders", "rewards", "campaigns"}


def test_stop_closes_the_port_and_starting_twice_is_refused() -> None:
    broker = EmbeddedBroker()
    with pytest.raises(EmbeddedBrokerError, match="not running"):
        broker.bootstrap  # noqa: B018
    broker.start({"orders": 1})
    with pytest.raises(EmbeddedBrokerError, match="already started"):
        broker.start({"orders": 1})
    host, port = broker.bootstrap.split(":")
    assert host == "127.0.0.1"
    socket.create_connection((host, int(port)), TIMEOUT_S).close()
    broker.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), TIMEOUT_S)
    broker.stop()  # a second time changes nothing
    with broker.start({"claims": 3}):
        assert set(broker.low_watermarks()) == {("claims", p) for p in range(3)}


def test_a_topic_without_partitions_is_refused() -> None:
    with pytest.raises(EmbeddedBrokerError, match="'orders': 0"):
        EmbeddedBroker().start({"orders": 0})


def test_without_ctypes_only_four_partitions_are_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_library() -> None:
        raise OSError("no such library")

    monkeypatch.setattr(embedded, "_Native", no_such_library)
    with pytest.raises(EmbeddedBrokerError, match=r"only has topics of 4 .*'campaigns': 1"):
        EmbeddedBroker().start({"orders": 4, "campaigns": 1})
    with EmbeddedBroker().start({"orders": 4}) as broker:
        assert broker.low_watermarks() == {("orders", p): 0 for p in range(4)}

"""Facts of librdkafka and Kafka the feed leans on, pinned on a real broker ([run] in our notes).

If one of these fails after an upgrade, the protocol has lost a leg, whatever else is still green.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING

import msgspec
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from streams import native, topics
from streams.errors import Fenced
from streams.feed import preflight
from streams.feed.client import IDLE_MS, consumer
from streams.feed.history import KafkaHistory
from streams.feed.kafka_log import KafkaLog, generation_of
from streams.feed.ports import Outgoing, TopicPartition, TransactionAbortable
from streams.feed.producer import KafkaProducer
from streams.settings import Kafka, Settings

if TYPE_CHECKING:
    from tests.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka

T, P = "user-tasks-changelog", 0


@pytest.fixture
def settings(broker: Cluster) -> Settings:
    """Own topics, own ids, on the shared broker."""
    prefix = f"contract-{uuid.uuid4().hex[:8]}-"
    wanted = {
        name: (topic.partition_count(8), topics.topic_configs(name))
        for name, topic in topics.registry().items()
    }
    broker.create_topics({prefix + name: made for name, made in wanted.items()})
    kafka = Kafka(bootstrap_servers=broker.bootstrap, topic_prefix=prefix)
    return Settings(kafka=kafka, app_id=f"{prefix}leidan", session_timeout_ms=6_000)


class Nobody:
    """A listener that takes what comes."""

    def __init__(self) -> None:
        self.assigned: list[TopicPartition] = []

    def on_assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = list(partitions)

    def on_revoke(self, _partitions: list[TopicPartition]) -> None:
        self.assigned = []

    on_lost = on_revoke


def joined(settings: Settings, poll_s: float = 0.2) -> KafkaLog:
    log, listener = KafkaLog(settings), Nobody()
    log.subscribe(topics.FOLDED, listener)
    deadline = time.monotonic() + 30
    while not listener.assigned:
        assert log.poll(10, poll_s) == [], "paused until started"
        assert time.monotonic() < deadline
    return log


def rows(n: int, size: int = 10) -> list[Outgoing]:
    return [Outgoing(T, f"u{i}".encode(), os.urandom(size), [], P) for i in range(n)]


def begun(producer: KafkaProducer, records: list[Outgoing]) -> None:
    """Begin a transaction and have the broker take these records; its end is still open."""
    producer.begin()
    producer.produce(records)
    producer.flush()


def visible(settings: Settings, topic: str = T, p: int = P) -> int:
    """Return how many records a read_committed reader gets."""
    history = KafkaHistory(settings, lambda: False, reader=native.reader)
    history.seek(topic, p, 0)
    count, quiet = 0, 0
    while quiet < 4:
        found = len(history.read(1_000, 0.25))
        count, quiet = count + found, 0 if found else quiet + 1
    history.close()
    return count


def test_a_failed_delivery_is_noticed_before_the_commit_is_called(settings):
    """Why deliveries need no callback each: the next transactional call raises."""
    log, producer = joined(settings), KafkaProducer(settings, sender=native.sender)
    producer.begin()
    producer.produce(rows(3))
    producer.produce(rows(1, 9 << 20))  # the changelog takes 8 MiB: the broker refuses it
    producer.flush()  # every record is decided, one of them against us
    with pytest.raises(TransactionAbortable, match="MSG_SIZE_TOO_LARGE"):
        producer.send_offsets({TopicPartition("orders", 0): 5}, log.group())
    assert producer.suspect
    producer.abort()
    assert visible(settings) == 0
    producer.close()
    log.close()


def test_the_marked_records_offset_is_the_last_one_delivered(settings):
    producer = KafkaProducer(settings, sender=native.sender)
    for expected in (3, 8):  # the commit marker takes one offset
        producer.begin()
        producer.produce(rows(3))
        producer.produce_marked(rows(1)[0])
        assert producer.flush() == {TopicPartition(T, P): expected}
        producer.commit()
    producer.close()


def test_a_producer_that_was_idle_lost_its_connections_and_is_not_suspect(settings, caplog):
    """What feed/client.py leans on to get out of librdkafka#5511, and that it costs nothing."""
    logged = msgspec.structs.replace(settings.kafka, client={"debug": "broker"})
    caplog.set_level(logging.DEBUG, "leidan.kafka")
    producer = KafkaProducer(msgspec.structs.replace(settings, kafka=logged))

    def transaction() -> None:
        begun(producer, rows(3))  # its flush hands out what was logged, too
        producer.commit()
        assert not producer.suspect

    transaction()
    assert "idle time exceeded" not in caplog.text
    time.sleep(IDLE_MS / 1_000 + 2)
    transaction()
    assert "idle time exceeded" in caplog.text, "void: no connection was closed"
    producer.close()


@pytest.mark.parametrize("reader", [native.reader, lambda *_: None], ids=["compiled", "python"])
def test_the_position_passes_markers_where_no_record_is_delivered(settings, reader):
    """Waiting for "offset high - 1 delivered" would hang here; the position arrives."""
    producer = KafkaProducer(settings, sender=native.sender)
    begun(producer, rows(3))
    producer.commit()
    history = KafkaHistory(settings, lambda: False, reader=reader)
    assert history.high_watermark(T, P) == (0, 4)
    history.seek(T, P, 3)  # only the marker is left
    deadline = time.monotonic() + 20
    while history.position() < 4:
        assert history.read(100, 0.2) == []
        assert time.monotonic() < deadline
    history.close()
    producer.close()


def test_only_a_read_uncommitted_client_is_told_the_high_watermark(settings):
    producer = KafkaProducer(settings, sender=native.sender)
    begun(producer, rows(3))  # and left open
    history = KafkaHistory(settings, lambda: False)
    assert history.high_watermark(T, P) == (0, 3)
    asked = KafkaTopicPartition(settings.topic(T), P)
    told = history._committed.get_watermark_offsets(asked, timeout=10)  # noqa: SLF001
    assert told == (0, 0), "the LSO"
    producer.abort()
    history.close()
    producer.close()


def test_reading_c_waits_for_offsets_of_an_open_transaction(settings):
    log, producer = joined(settings), KafkaProducer(settings, sender=native.sender)
    for offset in (5, 7):
        begun(producer, rows(1))
        producer.send_offsets({TopicPartition("orders", 0): offset}, log.group())
        if offset == 5:
            producer.commit()
    history = KafkaHistory(settings, lambda: False)
    found: list[dict[str, int]] = []
    reading = threading.Thread(
        target=lambda: found.append(history.committed(0, topics.FOLDED)), daemon=True
    )
    reading.start()
    reading.join(2)
    assert reading.is_alive(), "it answered while the outcome of 7 was open"
    producer.commit()
    reading.join(30)
    assert found == [{"orders": 7}]
    history.close()
    producer.close()
    log.close()


def test_a_new_producer_fences_the_old_one_of_the_same_name(settings):
    old = KafkaProducer(settings, sender=native.sender)
    begun(old, rows(2))
    new = KafkaProducer(settings, sender=native.sender)
    with pytest.raises(Fenced):
        old.commit()
    assert visible(settings) == 0
    old.close()
    new.close()


def test_offsets_with_an_older_generation_are_refused(settings):
    """The zombie's fence: metadata captured at assignment, not at K5."""
    first = joined(settings)
    captured = first.group()
    first.close()
    second = joined(settings)
    assert generation_of(second.group()) >= generation_of(captured)
    producer = KafkaProducer(settings, sender=native.sender)
    begun(producer, rows(1))
    with pytest.raises(Fenced):
        producer.send_offsets({TopicPartition("orders", 0): 1}, captured)
    producer.close()
    second.close()


def test_a_consumer_that_is_no_member_has_no_generation_and_is_refused(settings):
    log = KafkaLog(settings)
    with pytest.raises(Fenced, match="not a member"):
        log.group()
    log.close()


def test_reading_begins_where_told_and_goes_on_behind_what_was_returned(settings):
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
    for n in range(20):
        producer.produce(settings.topic("orders"), str(n).encode(), b"k", partition=0)
    producer.flush()
    log = joined(settings)
    log.start(0, {**dict.fromkeys(topics.FOLDED, 0), "orders": 5})
    offsets: list[int] = []

    def until(count: int) -> None:
        deadline = time.monotonic() + 20
        while len(offsets) < count:
            offsets.extend(r.offset for r in log.poll(3, 0.2))
            assert time.monotonic() < deadline

    until(6)
    log.hold("orders", 0)
    assert log.poll(100, 0.5) == []
    log.resume("orders", 0)
    until(15)
    assert offsets == list(range(5, 20))
    deadline = time.monotonic() + 10
    while not all(log.at_end(topic, 0) for topic in topics.FOLDED):
        assert log.poll(10, 0.2) == []
        assert time.monotonic() < deadline
    assert not log.at_end("orders", 1), "never started"
    log.close()


def test_nothing_before_the_first_offset_comes_however_soon_after_the_assignment_it_is_named(
    settings, monkeypatch, caplog
):
    """The client asks again where the partition begins, half a second later, and goes there."""
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
    for n in range(20):
        for p in range(8):
            producer.produce(settings.topic("orders"), str(n).encode(), b"k", partition=p)
    producer.flush()
    caplog.set_level("INFO", "streams.feed.kafka_log")
    sleep = time.sleep
    monkeypatch.setattr("time.sleep", lambda s: sleep(s / 20))
    for _ in range(20):
        log = joined(settings, 0.002)  # that the client may still be asking behind it
        for p in range(8):
            log.start(p, {**dict.fromkeys(topics.FOLDED, 0), "orders": 5})
        seen: dict[int, list[int]] = {p: [] for p in range(8)}
        until = time.monotonic() + 20
        while not all(at[-1:] == [19] for at in seen.values()) and time.monotonic() < until:
            for record in log.poll(100, 0.2):
                seen[record.partition].append(record.offset)
        until = time.monotonic() + 1
        while time.monotonic() < until:
            for record in log.poll(100, 0.2):
                seen[record.partition].append(record.offset)
        log.close()
        assert seen == {p: list(range(5, 20)) for p in range(8)}
        if "went back" in caplog.text:
            return
    pytest.fail("void: the client was never asked while it asked itself")


MURMUR2 = {b"21": -973932308, b"foobar": -790332482}
"""Kafka's own vectors (clients, UtilsTest): where Java and aiokafka put these keys."""


def test_our_producer_puts_a_user_where_java_would(settings):
    producer = KafkaProducer(settings, sender=native.sender)
    begun(producer, [Outgoing("rewards", key, b"x", []) for key in MURMUR2])
    producer.commit()
    reader = Consumer(consumer(settings, **{"auto.offset.reset": "earliest"}))
    reader.assign([KafkaTopicPartition(settings.topic("rewards"), p, 0) for p in range(8)])
    found: dict[bytes, int] = {}
    deadline = time.monotonic() + 20
    while len(found) < len(MURMUR2):
        for message in reader.consume(100, 0.5):
            if message.error() is None:
                found[message.key()] = message.partition()
        assert time.monotonic() < deadline
    assert found == {key: (h & 0x7FFFFFFF) % 8 for key, h in MURMUR2.items()}
    reader.close()
    producer.close()


def test_preflight_knows_the_clusters_topics_by_id(settings):
    found = preflight.check(settings)
    assert found.partitions == 8
    assert set(found.topic_ids) == {*topics.FOLDED, topics.CHANGELOG}
    assert len(set(found.topic_ids.values())) == len(found.topic_ids), "no id twice"
    assert found.cluster

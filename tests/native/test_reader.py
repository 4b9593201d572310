"""What the compiled reader takes from librdkafka is what `Consumer.consume` takes, in its order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition, cimpl

from streams import native
from streams.broker.embedded import EmbeddedBroker
from streams.errors import Refused
from streams.feed.history import KafkaHistory
from streams.feed.ports import Record
from streams.settings import Kafka, Settings
from tests.native.beside import MODULE, needs_native

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_native
P, TOPIC = 1, "user-tasks-changelog"
ROWS = [
    (b"u-1", b"a"),
    (b"u-2", None),
    (b"\0meta", b"{}"),
    (b"u-1", b""),
    (b"", b"\0" * 100_000),
    (None, b"no key"),
    *((b"u-%d" % n, b"%d" % n * 50) for n in range(9_000)),
]


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    with EmbeddedBroker().start({f"p.{TOPIC}": 2}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for key, value in ROWS:
            producer.produce(f"p.{TOPIC}", value, key, P)
        assert producer.flush(20) == 0
        kafka = Kafka(bootstrap_servers=broker.bootstrap, topic_prefix="p.")
        yield Settings(kafka=kafka, embedded=True)


def read(settings: Settings, reader: Any, start: int, most: int = 5_000) -> list[Record]:
    history = KafkaHistory(settings, lambda: False, reader=reader)
    history.seek(TOPIC, P, start)
    assert (history._reading is None) == (reader is not native.reader)  # noqa: SLF001
    found: list[Record] = []
    while history.position() < len(ROWS):
        some = history.read(most, 5.0)
        assert len(some) <= most
        found += some
    assert history.read(most, 0.0) == []
    history.close()
    return found


@pytest.mark.parametrize(("start", "most"), [(0, 5_000), (0, 1_000_000), (3, 7), (len(ROWS), 10)])
def test_the_same_records_arrive(settings, start, most):
    found = read(settings, native.reader, start, most)
    assert [(one.offset, one.key, one.value) for one in found] == [
        (start + n, key, value) for n, (key, value) in enumerate(ROWS[start:])
    ]
    assert found == read(settings, lambda *_: None, start, most), "their times too"
    assert all(type(one) is Record for one in found)


def gathered(settings: Settings, reader: Any, start: int, most: int) -> tuple[list, Any, list]:
    """Return the reads, what `take` gave of all, and what it gave of whole transactions before."""
    history = KafkaHistory(settings, lambda: False, reader=reader)
    history.seek(TOPIC, P, start)
    held, reads = history.gathered(), []
    while history.position() < len(ROWS):
        reads.append(history.gather(held, most, 5.0))
    assert history.gather(held, most, 0.0) == (0, -1, [])
    history.close()
    return reads, held.take(True), held.take(False)  # noqa: FBT003 - C knows no names


@pytest.mark.parametrize(("start", "most"), [(0, 8_000), (0, 1_000_000), (3, 7), (len(ROWS), 10)])
def test_the_same_rows_are_gathered(settings, start, most):
    reads, whole, rest = gathered(settings, native.reader, start, most)
    assert sum(read.records for read in reads) == len(ROWS) - start
    assert [read.after for read in reads if read.records][-1:] == [len(ROWS)][: len(reads)]
    python, python_whole, python_rest = gathered(settings, lambda *_: None, start, most)
    metas = [meta for read in reads for meta in read.metas]
    assert metas == [meta for read in python for meta in read.metas]
    assert dict(whole.in_order({})) == python_whole
    assert dict(rest.in_order({})) == python_rest


def test_large_rows_are_gathered_a_few_at_a_time():
    """What is held is bounded between two reads, however large a row is."""
    rows = [(b"u%02d" % n, bytes([100 + n]) * 290_000) for n in range(16)]  # the broker holds 5 MB
    with EmbeddedBroker().start({f"p.{TOPIC}": 1}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for key, value in rows:
            producer.produce(f"p.{TOPIC}", value, key, 0)
        assert producer.flush(20) == 0
        kafka = Kafka(bootstrap_servers=broker.bootstrap, topic_prefix="p.")
        settings = Settings(kafka=kafka, embedded=True)
        history = KafkaHistory(settings, lambda: False, reader=native.reader)
        history.seek(TOPIC, 0, 0)
        held = history.gathered()
        time.sleep(0.5)  # all are fetched
        first = history.gather(held, 8_000, 5.0).records
        assert 0 < held.held_bytes < (4 << 20) + 2 * 300_000
        while history.position() < len(rows):
            history.gather(held, 8_000, 5.0)
        history.close()
    assert first < len(rows)
    assert list(held.take(False).in_order({})) == rows  # noqa: FBT003 - C knows no names


def test_one_history_reads_again_from_elsewhere(settings):
    history = KafkaHistory(settings, lambda: False, reader=native.reader)
    for start in (9_000, 2, 8_000):
        history.seek(TOPIC, P, start)
        assert history.read(1, 10.0)[0].offset == start
    history.close()
    assert history._reading.read(10, 0) == ([], []), "closed"  # noqa: SLF001


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize("reader", [native.reader, lambda *_: None], ids=["compiled", "python"])
def test_an_offset_that_is_not_there_is_refused(settings, reader, gathers):
    history = KafkaHistory(settings, lambda: False, reader=reader)
    history.seek(TOPIC, P, len(ROWS) + 5)
    held = history.gathered()
    told = (history.gather(held, 10, 0.5) if gathers else history.read(10, 0.5) for _ in range(40))
    with pytest.raises(Refused, match="is not in the changelog any more"):
        list(told)
    history.close()


def test_an_error_of_the_partition_is_told_by_its_code(settings):
    bootstrap = settings.kafka.bootstrap_servers
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "g", "enable.partition.eof": True}
    )
    reader = native.reader(consumer, f"p.{TOPIC}", P, TOPIC)
    assert reader is not None, "confluent-kafka is of another version: see native.CLIENTS"
    consumer.assign([TopicPartition(f"p.{TOPIC}", P, len(ROWS))])
    told: list[tuple[int, int]] = []
    while not told:
        told = reader.read(10, 500)[1]
    assert told == [(KafkaError._PARTITION_EOF, len(ROWS))]  # noqa: SLF001
    assert consumer.consume(10, 0.0) == [], "nothing of the partition comes to the consumer"
    reader.close()
    consumer.close()
    assert reader.read(10, 0) == ([], [])
    held = reader.gathered(b"\0meta", b"\0due", 4)
    assert reader.gather(held, 10, 0) == (0, -1, [], [])
    with pytest.raises(TypeError, match="not a Gathered"):
        reader.gather([], 10, 0)


def test_what_is_no_consumer_of_the_wheel_has_no_reader(monkeypatch):
    consumer = Consumer({"group.id": "g"})
    assert native.reader(object(), "t", 0, "t") is None
    assert native.reader(Producer({}), "t", 0, "t") is None
    with pytest.raises(OSError, match="not loaded"):
        MODULE.Reader(consumer, cimpl.__file__ + ".not", "t", 0, "t", Record)
    with pytest.raises(TypeError, match="not a record"):
        MODULE.Reader(consumer, cimpl.__file__, "t", 0, "t", list)
    monkeypatch.setattr(native, "__version__", "9.0.0")
    assert native.reader(consumer, "t", 0, "t") is None
    consumer.close()

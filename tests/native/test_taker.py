"""What the compiled taker makes of messages is what `kafka_log.take` makes of the same ones."""

from __future__ import annotations

import time
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

from streams import native
from streams.broker.embedded import EmbeddedBroker
from streams.feed.kafka_log import take
from streams.feed.ports import Record
from tests.native.beside import MODULE, needs_native

pytestmark = needs_native
NAMES = {"p.orders": "orders", "p.claims": "claims"}
SENT = [
    (topic, key, value, p, headers)
    for n in range(300)
    for topic, key, value, p, headers in (
        ("p.orders", b"u-%d" % n, b"%d" % n * 40, n % 2, None),
        ("p.orders", None, b"", 1, [("traceparent", b"00-1-2-01"), ("a", None)]),
        ("p.claims", b"", None, n % 2, []),
    )
]


@pytest.fixture(scope="module")
def messages() -> list[Any]:
    """All of both topics, among them the four ends of their partitions."""
    with EmbeddedBroker().start(dict.fromkeys(NAMES, 2)) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for topic, key, value, p, headers in SENT:
            producer.produce(topic, value, key, p, headers=headers)
        assert producer.flush(20) == 0
        consumer = Consumer(
            {
                "bootstrap.servers": broker.bootstrap,
                "group.id": "g",
                "enable.partition.eof": True,
                "check.crcs": False,
            }
        )
        consumer.assign(
            [TopicPartition(topic, p, OFFSET_BEGINNING) for topic in NAMES for p in (0, 1)]
        )
        found: list[Any] = []
        deadline = time.monotonic() + 20
        while len(found) < len(SENT) + 4 and time.monotonic() < deadline:
            found += consumer.consume(10_000, 0.2)
        consumer.close()
    assert len(found) == len(SENT) + 4
    return found


@pytest.mark.parametrize(
    "place", [{}, {("orders", 1): 7, ("claims", 0): 0}, {("orders", 0): 10**12, ("claims", 1): 1}]
)
@pytest.mark.parametrize("first", [0, 1, 450])
def test_the_same_records_ends_and_places(messages, place, first):
    quick = native.taker()
    assert quick is not None
    ours: tuple[dict[Any, int], ...] = (dict(place), {("claims", 1): 3})
    theirs = tuple(dict(one) for one in ours)
    made = quick(messages[first:], NAMES, *ours)
    assert made == take(messages[first:], NAMES, *theirs)
    assert ours == theirs
    assert {type(record) for record in made[0]} == {Record}
    assert len(made[1]) == 4


def test_none_give_nothing():
    assert MODULE.Taker(Message, Record).take([], NAMES, {}, {}) == ([], [], set())


def test_a_topic_that_nobody_named_is_a_key_error_in_both(messages):
    for way in (take, native.taker()):
        with pytest.raises(KeyError):
            way(messages, {"p.claims": "claims"}, {}, {})


def test_what_is_no_message_is_refused():
    with pytest.raises(TypeError):
        MODULE.Taker(Message, Record).take([object()], NAMES, {}, {})


def test_messages_of_another_wheel_have_no_taker(monkeypatch):
    class Other:
        def error(self) -> None: ...

    monkeypatch.setattr(native, "Message", Other)
    assert native.taker() is None

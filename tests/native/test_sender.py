"""What the compiled sender hands to librdkafka arrives as what `Producer.produce` hands over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition, cimpl

from streams import native
from streams.agents.folding import fold_compiled
from streams.broker.embedded import EmbeddedBroker
from streams.domain import state as states
from streams.domain.registry import Campaigns
from streams.feed.batch import Batch
from streams.feed.ports import Outgoing, Record
from streams.store.overlay import Codec, Overlay, StateCache
from streams.wire import orders, outputs, rows
from streams.wire.campaigns import read_file
from tests.bench.work import WORKLOADS, traffic
from tests.feed.memory import MemoryStore
from tests.native.beside import MODULE, needs_native

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_native
NAMES = {"rewards": "p.rewards", "rows": "p.rows"}
WORK = WORKLOADS["paid"]
CODEC = Codec(states.new, rows.decode_row, rows.encode_row)
SAID = [
    Outgoing("rewards", b"u-1", b"{}", [("ce_id", b"evt_1"), ("\u00e9", b"\xff\x00")]),
    Outgoing("rewards", b"u-2", b"", []),
    Outgoing("rewards", None, None, [("empty", b"")], 3),
    Outgoing("rows", b"\0meta", b"\x00" * 100_000, [], 1),
    Outgoing("rows", b"u-3", None, [], 0),
]
MANY = [Outgoing("rewards", b"u-%d" % n, b"%d" % n, [("n", b"%d" % n)] * 12) for n in range(2_000)]


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker().start(dict.fromkeys(NAMES.values(), 4)) as running:
        yield running


def producer_of(bootstrap: str, **settings: Any) -> Producer:
    given = {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "log_level": 0}
    return Producer({**given, **settings})


def sender_of(producer: Producer) -> Any:
    made = native.sender(producer)
    assert made is not None, "confluent-kafka is of another version: see native.CLIENTS"
    return made


def ends(reader: Consumer) -> dict[tuple[str, int], int]:
    return {
        (name, p): reader.get_watermark_offsets(TopicPartition(name, p), timeout=10)[1]
        for name in NAMES.values()
        for p in range(4)
    }


def arrived(broker: EmbeddedBroker, send: Any) -> list[tuple[Any, ...]]:
    """Return what `send` has put on the topics, sorted, without offsets."""
    reader = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader"})
    before = ends(reader)
    producer = producer_of(broker.bootstrap)
    send(producer)
    assert producer.flush(10) == 0
    after = ends(reader)
    reader.assign([TopicPartition(*at, offset) for at, offset in before.items()])
    count = sum(after.values()) - sum(before.values())
    found = [reader.poll(10) for _ in range(count)]
    reader.close()
    assert all(m is not None and m.error() is None for m in found)
    return sorted(
        (m.topic(), m.partition(), m.key() or b"", repr((m.key(), m.value(), m.headers() or [])))
        for m in found
    )


@pytest.mark.parametrize("records", [SAID, MANY], ids=["said", "many"])
def test_the_same_records_arrive(broker, records):
    def in_python(producer: Producer) -> None:
        for topic, key, value, headers, p in records:
            target = -1 if p is None else p
            producer.produce(NAMES[topic], value, key, target, headers=headers)

    def compiled(producer: Producer) -> None:
        assert sender_of(producer).hand_over(records, 0, NAMES) == len(records)

    expected = arrived(broker, in_python)
    assert len(expected) == len(records)
    assert arrived(broker, compiled) == expected


@pytest.mark.parametrize("headers", [[], [("traceparent", b"00"), ("x", b""), ("tracestate", b"")]])
def test_packed_outputs_arrive_as_what_they_stand_for(broker, headers):
    """Those of a real fold, between records of other kinds."""
    records = [
        Record("orders", n % 3, n, key, value, headers, at_ms)
        for n, (_, key, value, at_ms) in enumerate(traffic(WORK, 5, 700, ()))
    ]
    campaigns = Campaigns.of(read_file(WORK.campaign))
    said = []
    for packed in (False, True):
        batches = [
            Batch(
                "orders", p, [r for r in records if r.partition == p],
                Overlay(MemoryStore().open(p), CODEC, StateCache()),
                campaigns, outputs.encode, packed=packed,
            )
            for p in range(3)
        ]  # fmt: skip
        for batch in batches:
            fold_compiled(batch, orders.decode, native.plans())
        said.append([one for batch in batches for one in [*batch.outgoing, SAID[3], SAID[0]]])
    plain, packed = said
    assert sum(isinstance(one, MODULE.Packed) for one in packed) > 500
    names = {**NAMES, "task-events": NAMES["rows"]}

    def send(records: list[Any]) -> Any:
        return lambda producer: sender_of(producer).hand_over(records, 0, names)

    assert arrived(broker, send(packed)) == arrived(broker, send(plain))


@pytest.mark.parametrize(
    "odd",
    [
        Outgoing("unknown", b"k", b"v", []),
        Outgoing("rewards", "text", b"v", []),  # type: ignore[arg-type]
        Outgoing("rewards", b"k", bytearray(b"v"), []),  # type: ignore[arg-type]
        Outgoing("rewards", b"k", b"v", [("n", None)]),  # type: ignore[list-item]
        Outgoing("rewards", b"k", b"v", [["n", b"v"]]),  # type: ignore[list-item]
        Outgoing("rewards", b"k", b"v", [("n\0m", b"v")]),
        Outgoing("rewards", b"k", b"v", [("n", b"v")] * 100_000),
        Outgoing("rewards", b"k", b"v", (), None),  # type: ignore[arg-type]
        Outgoing("rewards", b"k", b"v", [], -1),
        Outgoing("rewards", b"k", b"v", [], 1 << 40),
        ("rewards", b"k"),
        None,
    ],
)
def test_what_is_odd_is_left_where_it_stands(odd):
    producer = producer_of("127.0.0.1:1")
    assert sender_of(producer).hand_over([SAID[0], odd, SAID[0]], 0, NAMES) == 1
    producer.purge()


def test_a_full_queue_stops_it_and_it_goes_on_from_there():
    producer = producer_of("127.0.0.1:1", **{"queue.buffering.max.messages": 700})
    sender = sender_of(producer)
    assert sender.hand_over(MANY, 0, NAMES) == 700
    assert sender.hand_over(MANY, 700, NAMES) == 700
    producer.purge()
    producer.flush(5)
    assert sender.hand_over(MANY, 1_500, NAMES) == 2_000
    assert sender.hand_over(MANY, 2_000, NAMES) == 2_000
    producer.purge()


def test_a_producer_that_is_closed_takes_nothing():
    producer = producer_of("127.0.0.1:1")
    sender = sender_of(producer)
    producer.close()
    assert sender.hand_over(SAID, 0, NAMES) == 0


def test_what_is_no_producer_of_the_wheel_has_no_sender(monkeypatch):
    assert native.sender(object()) is None
    assert native.sender(Consumer({"group.id": "g"})) is None
    monkeypatch.setattr(native, "__version__", "9.0.0")
    assert native.sender(producer_of("127.0.0.1:1")) is None
    with pytest.raises(OSError, match="not loaded"):
        MODULE.Sender(producer_of("127.0.0.1:1"), cimpl.__file__ + ".not")

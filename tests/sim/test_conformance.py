"""The simulated log and a real broker answer the same questions in the same way.

Through the ports that the feed uses, so it is the adapters that are compared too. Whatever differs
here makes every figure of the simulation worthless.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from streams import native, topics
from streams.errors import Fenced
from streams.feed.history import KafkaHistory
from streams.feed.kafka_log import KafkaLog
from streams.feed.ports import Outgoing, TopicPartition
from streams.feed.producer import KafkaProducer
from streams.settings import Kafka, Settings
from tests.sim.consumer import SimLog
from tests.sim.fibers import Process
from tests.sim.ports import SimHistory, SimProducer
from tests.sim.world import Settings as Drawn
from tests.sim.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.feed.ports import History, Log, Producer

T, P = topics.CHANGELOG, 0
WAIT_S = 30.0


class Simulated:
    """Ports on the simulation; the test itself is the fiber that runs."""

    def __init__(self) -> None:
        self.world = World(Drawn(seed=0, force=("kill",), partitions=2, workers=0))
        self.world.nemesis.active = False
        self.now_s: Callable[[], float] = lambda: self.world.clock.now_s

    def producer(self, instance: str = "a") -> Producer:
        return SimProducer(self.world, Process(instance, 1))

    def log(self, instance: str = "a") -> Log:
        return SimLog(self.world, Process(instance, 1))

    def history(self) -> History:
        return SimHistory(self.world, Process("reader", 1), lambda: False)

    def close(self) -> None:
        self.world.clock.end(self.world.processes)


class Real:
    """The adapters that ship, on the session's broker, under names of this test's own."""

    def __init__(self, bootstrap: str) -> None:
        prefix = f"conformance-{os.urandom(4).hex()}-"
        self.kafka = Kafka(bootstrap_servers=bootstrap, topic_prefix=prefix)
        self.app_id = f"{prefix}leidan"
        self.open: list[Any] = []
        self.now_s: Callable[[], float] = time.monotonic

    def _settings(self, instance: str) -> Settings:
        return Settings(
            kafka=self.kafka, app_id=self.app_id, instance=instance, session_timeout_ms=6_000
        )

    def _kept(self, made: Any) -> Any:
        self.open.append(made)
        return made

    def producer(self, instance: str = "a") -> Producer:
        return self._kept(KafkaProducer(self._settings(instance), sender=native.sender))

    def log(self, instance: str = "a") -> Log:
        return self._kept(KafkaLog(self._settings(instance)))

    def history(self) -> History:
        settings = self._settings("reader")
        return self._kept(KafkaHistory(settings, lambda: False, reader=native.reader))

    def close(self) -> None:
        for made in self.open:
            made.close()


Broker = Simulated | Real


@pytest.fixture(params=["simulated", pytest.param("kafka", marks=pytest.mark.kafka)])
def answering(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "simulated":
        made: Broker = Simulated()
    else:
        cluster = request.getfixturevalue("broker")
        made = Real(cluster.bootstrap)
        cluster.create_topics(
            {
                made.kafka.topic_prefix + name: (topic.partition_count(2), {})
                for name, topic in topics.registry().items()
            }
        )
    yield made
    made.close()


def rows(count: int) -> list[Outgoing]:
    return [Outgoing(T, f"u{n}".encode(), b"row", [], P) for n in range(count)]


MARKED = Outgoing(T, b"the last", b"row", [], P)


def transaction(producer: Producer, count: int = 3) -> int:
    """Begin one and produce ``count`` rows and a marked one; return that one's offset."""
    producer.begin()
    producer.produce(rows(count))
    producer.produce_marked(MARKED)
    return producer.flush()[TopicPartition(T, P)]


def readable(answering: Broker, wanted: int) -> int:
    """How many records a read_committed reader gets, given time to get ``wanted`` or too many."""
    history = answering.history()
    history.seek(T, P, 0)
    found, quiet = 0, 0
    deadline_s = answering.now_s() + WAIT_S
    while quiet < 3 and answering.now_s() < deadline_s:
        new = len(history.read(1_000, 0.25))
        found += new
        quiet = 0 if new or found < wanted else quiet + 1
    return found


class Member:
    """A listener that takes what comes."""

    def __init__(self) -> None:
        self.partitions: list[int] = []

    def on_assign(self, partitions: Any) -> None:
        self.partitions = sorted({at.partition for at in partitions})

    def on_revoke(self, _partitions: Any) -> None:
        self.partitions = []

    on_lost = on_revoke


def joined(answering: Broker, instance: str = "a", beside: Log | None = None) -> Log:
    """A member with an assignment; ``beside`` is polled too, so that it lets go."""
    log, member = answering.log(instance), Member()
    log.subscribe(topics.FOLDED, member)
    deadline_s = answering.now_s() + WAIT_S
    while not member.partitions:
        assert log.poll(10, 0.2) == [], "paused until started"
        if beside is not None:
            beside.poll(10, 0.2)
        assert answering.now_s() < deadline_s
    return log


def committed(answering: Broker) -> dict[str, int]:
    return answering.history().committed(P, topics.FOLDED)


def test_what_is_committed_can_be_read_and_its_marker_takes_an_offset(answering):
    producer = answering.producer()
    assert transaction(producer) == 3
    producer.commit()
    assert transaction(producer) == 8, "four records and a marker lie before it"
    producer.commit()
    assert readable(answering, 8) == 8
    assert answering.history().high_watermark(T, P) == (0, 10)


def test_what_is_aborted_takes_offsets_and_cannot_be_read(answering):
    producer = answering.producer()
    transaction(producer)
    producer.abort()
    assert producer.suspect
    assert readable(answering, 0) == 0
    assert answering.history().high_watermark(T, P) == (0, 5)


def test_the_position_of_a_reader_passes_aborted_records_and_markers(answering):
    producer = answering.producer()
    transaction(producer)
    producer.abort()
    history = answering.history()
    history.seek(T, P, 0)
    deadline_s = answering.now_s() + WAIT_S
    while history.position() < 5:
        assert history.read(100, 0.2) == []
        assert answering.now_s() < deadline_s


def test_an_open_transaction_holds_back_what_others_committed_behind_it(answering):
    first, second = answering.producer("a"), answering.producer("b")
    transaction(first)
    transaction(second)
    second.commit()
    assert readable(answering, 0) == 0, "behind the LSO"
    assert answering.history().high_watermark(T, P) == (0, 9), "told to a read_uncommitted client"
    first.abort()
    assert readable(answering, 4) == 4


def test_a_new_producer_of_the_same_name_fences_the_old_one_and_aborts_its_transaction(answering):
    old = answering.producer()
    transaction(old)
    new = answering.producer()
    with pytest.raises(Fenced):
        old.commit()
    assert readable(answering, 0) == 0
    transaction(new)
    new.commit()
    assert readable(answering, 4) == 4


def test_offsets_move_with_their_transaction_only(answering):
    log, producer = joined(answering), answering.producer()
    assert committed(answering) == {}
    transaction(producer)
    producer.send_offsets({TopicPartition("orders", P): 5}, log.group())
    producer.commit()
    assert committed(answering) == {"orders": 5}
    transaction(producer)
    producer.send_offsets({TopicPartition("orders", P): 7}, log.group())
    producer.abort()
    assert committed(answering) == {"orders": 5}


def test_offsets_of_an_earlier_generation_are_refused(answering):
    """A zombie: its metadata was captured before another member came."""
    first = joined(answering, "a")
    captured = first.group()
    joined(answering, "b", beside=first)
    producer = answering.producer("a")
    transaction(producer)
    with pytest.raises(Fenced):
        producer.send_offsets({TopicPartition("orders", P): 5}, captured)
    producer.abort()
    assert committed(answering) == {}


def test_offsets_of_a_member_whose_name_another_has_taken_are_refused(answering):
    captured = joined(answering, "a").group()
    joined(answering, "a")
    producer = answering.producer("a")
    transaction(producer)
    with pytest.raises(Fenced):
        producer.send_offsets({TopicPartition("orders", P): 5}, captured)

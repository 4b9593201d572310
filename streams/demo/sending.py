"""Put records on topics, as a shop would: keyed by murmur2, zstd, each with its own timestamp."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.errors import BrokerUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from confluent_kafka import Message

    from streams.connect import Values

Sent = tuple[str, bytes | None, bytes, int]
"""(topic without prefix, key, value, timestamp_ms)."""


class TickDue(NamedTuple):
    """Between records: all before it is on the topics when the time is told."""

    at_ms: int


MAX_RECORD_BYTES = 16 * 1024 * 1024  # poison is up to 10 MB; the topic decides what it takes
FLUSH_S = 60.0  # for what is still in the queue after the last record
POLL_EVERY = 1_000  # records between two looks at the delivery reports
CONFIG: dict[str, str | int | float | bool] = {
    "partitioner": "murmur2_random",  # librdkafka's own default puts users where Java would not
    "compression.type": "zstd",  # the embedded broker's 5 MiB count compressed bytes
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 20,
    # Keyless records (guests) spread one by one: sent in runs to one partition, they look there
    # like a deployment gone wrong, and the dead-letter budget stops the worker.
    "sticky.partitioning.linger.ms": 0,
    "batch.size": 1_000_000,
    "message.max.bytes": MAX_RECORD_BYTES,
    "message.timeout.ms": 60_000,
    "log_level": 0,  # what goes wrong is told once, by us
}


def send(  # noqa: PLR0913 - what a caller may choose
    bootstrap: str,
    records: Iterable[Sent | TickDue],
    *,
    prefix: str = "",
    rate: float = 0,
    on_sent: Callable[[int], None] | None = None,
    on_tick: Callable[[int], object] | None = None,
    client: Values | None = None,
) -> Counter[str]:
    """Send every record and wait until the broker has them all; return how many by topic.

    rate: records a second, 0 for as fast as the broker takes them. on_sent: told, now and then,
    how many have been handed over so far. on_tick: called with the ms of each TickDue, when the
    broker has all that comes before it. client: how to connect.
    Raises BrokerUnreachable when a record could not be delivered.
    """
    sender = _Sender(bootstrap, client)
    count: Counter[str] = Counter()
    began_s = time.monotonic()
    number = 0
    for record in records:
        if isinstance(record, TickDue):
            sender.finish()
            if on_tick:
                on_tick(record.at_ms)
            continue
        number += 1
        topic, key, value, timestamp_ms = record
        sender.hand_over(prefix + topic, key, value, timestamp_ms)
        count[topic] += 1
        if rate and (ahead_s := number / rate - (time.monotonic() - began_s)) > 0:
            sender.look(ahead_s)
        if number % POLL_EVERY == 0:
            sender.look(0)
            if on_sent:
                on_sent(number)
    sender.finish()
    if on_sent:
        on_sent(count.total())
    return count


class _Sender:
    """A producer and what it was told about deliveries."""

    def __init__(self, bootstrap: str, client: Values | None) -> None:
        self.bootstrap = bootstrap
        config: dict[str, Any] = {**(client or {}), "bootstrap.servers": bootstrap, **CONFIG}
        self._producer = Producer(config)
        self._failed: list[str] = []

    def hand_over(self, topic: str, key: bytes | None, value: bytes, timestamp_ms: int) -> None:
        while True:
            try:
                self._producer.produce(
                    topic, value, key, timestamp=timestamp_ms, on_delivery=self._report
                )
            except BufferError:  # the queue is full: let the broker take some
                self.look(0.05)
            except KafkaException as error:  # larger than the client may send at all
                raise self._refused(1, error.args[0].str()) from error
            else:
                return

    def look(self, wait_s: float) -> None:
        """Take delivery reports, for so long; raise when one was bad."""
        self._producer.poll(wait_s)
        if self._failed:
            raise self._refused(len(self._failed), self._failed[0])

    def finish(self) -> None:
        """Wait until the broker has everything."""
        left = self._producer.flush(FLUSH_S)
        self.look(0)
        if left:
            raise self._refused(left, "no answer")

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append(f"{message.topic()}: {error.str()}")

    def _refused(self, records: int, why: str) -> BrokerUnreachable:
        return BrokerUnreachable(f"{self.bootstrap}: {records} records not taken ({why})")

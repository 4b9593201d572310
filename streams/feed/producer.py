"""The transactional producer on librdkafka: `ports.Producer` (reliability.md 5).

Replaced, never repaired: a producer that was slow, reported an error or aborted is *suspect* and
does not begin again, because librdkafka may repeat an EndTxn into the next transaction (5.3).

Deliveries are counted by librdkafka, not by a callback for each record, which cost a tenth of a
worker's time: `flush` returns 0 only when every record has been decided, and one that failed makes
the transaction abortable, so that `send_offsets` (K5) raises (pinned by
tests/kafka/test_worker_contract.py). Only the last record of each changelog partition is reported:
its offset is needed, and a report for it that is missing fails the flush.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from streams.errors import CommitUnknown, Fenced
from streams.feed import client
from streams.feed.ports import BrokerLost, Outgoing, TopicPartition, TransactionAbortable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.settings import Settings

log = logging.getLogger(__name__)

INIT_S, CALL_S = 30.0, 10.0
"""Time limits of reliability.md 5.2: without one a call can hang for ever (librdkafka#5511)."""


HandOver = Callable[[list[Outgoing], int, dict[str, str]], int]
"""Put records from an index on into the producer's queue; return that of the first not taken."""


def _none(_records: list[Outgoing], start: int, _names: dict[str, str]) -> int:
    return start


def transactional_id(settings: Settings) -> str:
    """Return the durable id, one per worker and stage; whoever initializes it fences the last."""
    return f"{settings.app_id}-users-{settings.instance}"


class KafkaProducer:
    """See the module. One thread calls it."""

    def __init__(
        self,
        settings: Settings,
        names: Mapping[str, str] | None = None,
        sender: Callable[[Any], Any] | None = None,
    ) -> None:
        """Connect and fence every predecessor; blocks up to 30 s. Raises BrokerLost, Fenced.

        ``names``: where topics are written under another name (a backfill's shadow), by name.
        ``sender(producer)``: what hands over many records at once (native.sender), or None.
        """
        self.suspect = False
        self._names: dict[str, str] = dict(names or {})
        self._settings = settings
        self._errors: list[KafkaError] = []
        self._marked: dict[TopicPartition, int] = {}
        self._expected = 0  # reports of marked records
        self._producer: Any = Producer(
            {
                **client.common(settings),
                "transactional.id": transactional_id(settings),
                "acks": "all",
                "partitioner": "murmur2_random",
                "transaction.timeout.ms": settings.transaction_timeout_ms,
                "message.timeout.ms": min(10_000, settings.transaction_timeout_ms),
                "socket.timeout.ms": client.SOCKET_TIMEOUT_MS,
                "connections.max.idle.ms": client.IDLE_MS,
                "retry.backoff.ms": 10,  # 100 makes back-to-back transactions about 50x slower
                "retry.backoff.max.ms": 200,
                "message.max.bytes": client.MAX_MESSAGE_BYTES,
                "compression.type": "zstd",
                "compression.level": 1,
                "linger.ms": 2,  # a batch hands over thousands at once; flush ends the wait anyway
                "batch.size": 1 << 20,
                "queue.buffering.max.messages": 500_000,
                "queue.buffering.max.kbytes": 64 << 10,  # reliability.md 4, memory per worker
                "error_cb": self._on_error,
            }
        )
        made = None if sender is None else sender(self._producer)
        self._hand_over: HandOver = _none if made is None else made.hand_over
        try:
            self._producer.init_transactions(INIT_S)
        except KafkaException as error:
            self.close()
            reason = error.args[0]
            if client.is_fenced(reason):
                raise Fenced(f"init_transactions: {reason.str()}") from error
            raise BrokerLost(f"init_transactions: {reason.str()}") from error

    def begin(self) -> None:
        assert not self.suspect, "a suspect producer never begins again (reliability.md 5.3)"
        self._errors.clear()
        self._marked.clear()
        self._expected = 0
        self._call(self._producer.begin_transaction)

    def produce(self, records: Iterable[Outgoing]) -> None:
        produce, names, hand_over = self._producer.produce, self._names, self._hand_over
        listed, at = list(records), 0
        while (at := hand_over(listed, at, names)) < len(listed):
            topic, key, value, headers, partition = listed[at]
            name = names.get(topic)
            if name is None:
                name = names[topic] = self._settings.topic(topic)
            target = -1 if partition is None else partition
            try:
                produce(name, value, key, target, None, None, 0, headers)
            except BufferError:
                self._produce_when_there_is_room(name, value, key, target, None, headers)
            except KafkaException as error:
                raise self._classified("produce", error) from error
            at += 1

    def produce_marked(self, record: Outgoing) -> None:
        name = self._names.setdefault(record.topic, self._settings.topic(record.topic))
        where = TopicPartition(record.topic, record.partition or 0)

        def report(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                self._errors.append(error)
            else:
                self._marked[where] = message.offset()

        self._produce_when_there_is_room(
            name, record.value, record.key, record.partition, report, record.headers
        )
        self._expected += 1

    def _produce_when_there_is_room(  # noqa: PLR0913 - librdkafka's own arguments
        self, name: str, value: Any, key: Any, partition: Any, report: Any, headers: Any
    ) -> None:
        """BufferError means wait and poll, never drop."""
        deadline = time.monotonic() + CALL_S
        while True:
            try:
                self._producer.produce(name, value, key, partition, report, None, 0, headers)
            except BufferError as error:
                if time.monotonic() > deadline:
                    raise TransactionAbortable("the producer's queue stays full") from error
                self._producer.poll(0.05)
            except KafkaException as error:
                raise self._classified("produce", error) from error
            else:
                return

    def flush(self) -> dict[TopicPartition, int]:
        started_s = time.monotonic()
        try:
            left = self._producer.flush(CALL_S)
        except SystemError as lost:
            # confluent-kafka raises a fatal error between delivery reports and loses it there (seen
            # of a make-good that was fenced); what comes next on this producer says what it was
            self.suspect = True
            raise TransactionAbortable(f"flush: {lost}") from lost
        self._note_time(started_s)
        if left or self._errors or len(self._marked) != self._expected:
            self.suspect = True
            what = self._errors[0].str() if self._errors else f"{left} records undelivered"
            for error in self._errors:
                if client.is_fenced(error):
                    raise Fenced(f"delivery: {error.str()}")
            raise TransactionAbortable(f"delivery: {what}")
        return dict(self._marked)

    def send_offsets(self, offsets: Mapping[TopicPartition, int], group: Any) -> None:
        positions = [
            KafkaTopicPartition(self._settings.topic(at.topic), at.partition, offset)
            for at, offset in offsets.items()
        ]
        self._call(self._producer.send_offsets_to_transaction, positions, group, CALL_S)

    def commit(self) -> None:
        """Any exception: the outcome is unknown, unless we are fenced; then it does not matter."""
        started_s = time.monotonic()
        try:
            self._producer.commit_transaction(CALL_S)
        except KafkaException as error:
            self.suspect = True
            reason = error.args[0]
            if client.is_fenced(reason):
                raise Fenced(f"commit: {reason.str()}") from error
            raise CommitUnknown(f"{reason.name()}: {reason.str()}") from error
        self._note_time(started_s)

    def abort(self) -> None:
        self.suspect = True
        try:
            self._producer.abort_transaction(CALL_S)
        except KafkaException as error:
            raise BrokerLost(f"abort: {error.args[0].str()}") from error

    def close(self) -> None:
        """Drop what is queued and in flight, then destroy."""
        try:
            self._producer.purge()
            self._producer.close(0)
        except Exception as error:  # noqa: BLE001 - it is being thrown away
            log.debug("closing a producer: %s", error)
        self._producer, self._hand_over = None, _none

    def _call(self, fn: Callable[..., None], *args: Any) -> None:
        started_s = time.monotonic()
        try:
            fn(*args)
        except KafkaException as error:
            self.suspect = True
            raise self._classified(fn.__name__, error) from error
        self._note_time(started_s)

    def _note_time(self, started_s: float) -> None:
        if (time.monotonic() - started_s) * 1_000 > client.SOCKET_TIMEOUT_MS:
            self.suspect = True

    def _classified(self, what: str, error: KafkaException) -> Exception:
        """Before K6 everything that is not fencing ends this transaction and this producer."""
        self.suspect = True
        reason = error.args[0]
        text = f"{what}: {reason.name()}: {reason.str()}"
        return Fenced(text) if client.is_fenced(reason) else TransactionAbortable(text)

    def _on_error(self, error: KafkaError) -> None:
        self.suspect = True
        log.warning("producer: %s", error.str())

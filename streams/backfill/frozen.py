"""What a backfill reads: partitions from an offset to an end that was frozen before it began.

`FrozenLog` is the feed's `ports.Log` without a group: nobody assigns, nothing is ever committed to
the live group. Each topic has a reader of its own, so a topic that lies ahead of the others is left
alone without its fetched records being thrown away and fetched again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as KafkaTopicPartition

from streams.errors import BrokerUnreachable, Refused
from streams.feed import client
from streams.feed.ports import Record, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streams.feed.ports import Listener, Offsets
    from streams.settings import Settings

QUEUE_KB = 8 << 10
"""Fetched ahead, a topic: two fetches, a fifth of a second's work. librdkafka takes twice that,
with what it keeps beside each record; and one fetch more may be under way."""

QUEUE_BACKOFF_MS = 20
"""How long a full queue is left alone. librdkafka's own second is longer than a backfill takes to
empty it."""

END_WAIT_MS = 10
"""How long the broker waits for more before it says that nothing follows. Behind the last record
lies a marker, so each end is waited for: three a partition, since a journal is read twice."""

SILENCE_S = 60.0
READ_RECORDS = 5_000
IDLE_S = 0.005


class Reader(Protocol):
    """One partition of one topic, in offset order. Records from `end` on do not exist."""

    next: int
    """Behind the last record returned; at or behind `end` once all has been: see `done`."""
    done: bool

    def read(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return what is there by now, nothing after `timeout_s`."""

    def close(self) -> None: ...


class Source(Protocol):
    """A log, wherever it lies. Topics without prefix."""

    def reader(self, topic: str, p: int, first: int, end: int) -> Reader: ...


def records(  # noqa: PLR0913 - a range is four of them
    source: Source, topic: str, p: int, first: int, end: int, at_once: int = 1
) -> Iterator[Record]:
    """Yield the committed records of a range. Raises BrokerUnreachable, Refused.

    ``at_once``: so many are held, or all there are, before the first of them is given. Small ones
    that are taken along with other topics should be: a reader that is left open behind its last
    record asks the broker for more all the while, a hundred times a second.
    """
    reader = source.reader(topic, p, first, end)
    try:
        silent_s, found = 0.0, list[Record]()
        while not reader.done:
            more = reader.read(READ_RECORDS, 0.2)
            found += more
            silent_s = 0.0 if more else silent_s + 0.2
            if silent_s > SILENCE_S and not reader.done:
                raise BrokerUnreachable(
                    f"{topic}[{p}]: nothing came for {SILENCE_S:.0f} s at {reader.next} of {end}"
                )
            if len(found) >= at_once or reader.done:
                yield from found
                found.clear()
    finally:
        reader.close()


class KafkaSource:
    """The topics of a broker, read_committed, outside every group."""

    def __init__(self, settings: Settings, prefix: str | None = None) -> None:
        """``prefix``: that of the topics, if not the settings' (a backfill's shadow)."""
        self.settings = settings
        self._prefix = settings.kafka.topic_prefix if prefix is None else prefix

    def reader(self, topic: str, p: int, first: int, end: int) -> Reader:
        return _KafkaReader(self.settings, topic, self._prefix + topic, p, first, end)


class _KafkaReader:
    def __init__(  # noqa: PLR0913 - made in one place, above
        self, settings: Settings, topic: str, name: str, p: int, first: int, end: int
    ) -> None:
        self.topic, self.p, self.next, self.end = topic, p, first, end
        self.done = first >= end
        self._consumer: Any = None
        if not self.done:
            self._consumer = Consumer(
                client.consumer(
                    settings,
                    **{
                        "group.id": f"{settings.app_id}-backfill-reader",  # never joined
                        "queued.max.messages.kbytes": QUEUE_KB,
                        "fetch.queue.backoff.ms": QUEUE_BACKOFF_MS,
                        "fetch.wait.max.ms": END_WAIT_MS,
                        "error_cb": lambda _error: None,
                    },
                )
            )
            self._consumer.assign([KafkaTopicPartition(name, p, first)])

    def read(self, max_records: int, timeout_s: float) -> list[Record]:
        if self.done:
            return []
        found: list[Record] = []
        topic, p, end = self.topic, self.p, self.end
        made = tuple.__new__
        for message in client.come(self._consumer, max_records, timeout_s):
            if message.error() is not None:
                self._on_error(message)
                continue
            offset = message.offset()
            if offset >= end:
                self.next = offset
                break
            found.append(  # `client.record_of`, spelt out: the call is a third of it
                made(
                    Record,
                    (
                        topic,
                        p,
                        offset,
                        message.key(),
                        message.value(),
                        message.headers() or [],
                        message.timestamp()[1],
                    ),
                )
            )
        if found:
            self.next = max(self.next, found[-1].offset + 1)
        if self.next >= end:
            self.close()  # it would ask for more, a hundred times a second
        return found

    def _on_error(self, message: Any) -> None:
        error = message.error()
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001
            self.next = max(self.next, message.offset())  # behind markers and holes
        elif code in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
            raise Refused(fallen_out(self.topic, self.p, self.next, None))
        elif error.fatal():
            raise BrokerUnreachable(f"{self.topic}[{self.p}]: {error.str()}")

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
        self.done = True


def fallen_out(topic: str, p: int, wanted: int, low: int | None) -> str:
    """Return what is said of an offset that the topic does not hold any more, with the fix."""
    begins = "does not hold it any more" if low is None else f"now begins at {low}"
    first = "" if low is None else f" (or --from-offset {topic}:{p}:{low}: rows then begin empty)"
    return (
        f"{topic}[{p}]: wanted from {wanted}, but the topic {begins}: the rest has fallen out of "
        "retention. Fold from an archive that has it: --from-archive DIR, made by `leidan export`"
        f"{first}. And raise the topic's retention: `leidan topics plan` names it"
    )


class FrozenLog:
    """One partition number of every topic, to the frozen ends. Implements `ports.Log`."""

    def __init__(self, source: Source, p: int, ends: Mapping[str, int], group: Any = None) -> None:
        """``group``: metadata that offsets are sent with, where they are sent at all."""
        self._source, self._p, self._ends, self._group = source, p, dict(ends), group
        self._topics: tuple[str, ...] = ()
        self._listener: Listener | None = None
        self._assigned = False
        self._readers: dict[str, Reader] = {}
        self._held: set[str] = set()

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        self._topics, self._listener = tuple(topics), listener

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return what each topic has by now; wait only when none has anything."""
        if not self._assigned:
            assert self._listener is not None
            self._assigned = True
            self._listener.on_assign([TopicPartition(topic, self._p) for topic in self._topics])
        if not self._readers:
            time.sleep(min(timeout_s, IDLE_S))  # restoring
            return []
        open_ = [
            reader
            for topic, reader in self._readers.items()
            if topic not in self._held and not reader.done
        ]
        found = [record for reader in open_ for record in reader.read(max_records, 0.0)]
        if found or not timeout_s:
            return found
        for reader in open_:
            found += reader.read(max_records, timeout_s / len(open_))
        return found

    def start(self, p: int, offsets: Offsets) -> None:
        self.pause(p)
        self._readers = {
            topic: self._source.reader(topic, p, offsets[topic], self._ends[topic])
            for topic in self._topics
        }

    def pause(self, _p: int) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        self._held.clear()

    def hold(self, topic: str, _p: int) -> None:
        self._held.add(topic)

    def resume(self, topic: str, _p: int) -> None:
        self._held.discard(topic)

    def at_end(self, topic: str, _p: int) -> bool:
        reader = self._readers.get(topic)
        return reader is not None and reader.done

    def high(self, topic: str, _p: int) -> int:
        return self._ends[topic]

    def reached(self, topic: str, _p: int) -> int:
        reader = self._readers.get(topic)
        return 0 if reader is None else reader.next

    def group(self) -> Any:
        return self._group

    def close(self) -> None:
        self.pause(self._p)

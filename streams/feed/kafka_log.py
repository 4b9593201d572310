"""The group consumer on librdkafka: `ports.Log` (reliability.md 3).

Classic protocol, range assignor, static membership, eager: each rebalance takes all partitions and
gives them anew. A partition is paused from its assignment until `start` names its first offset.
"""

from __future__ import annotations

import logging
import struct
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from streams.errors import NO_REBUILD, Fenced, Refused
from streams.feed import client, members
from streams.feed.ports import Record, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streams.feed.ports import Listener, Offsets
    from streams.settings import Settings

log = logging.getLogger(__name__)

SEEK_WAIT_S = 10.0
CREATE_TIME, LOG_APPEND_TIME = 1, 2


At = tuple[str, int]  # topic, partition
Taken = tuple[list[Record], list[Any], set[At]]


def take(
    messages: list[Any], names: Mapping[str, str], place: dict[At, int], last: dict[At, int]
) -> Taken:
    """Return the records of messages, those that are errors or ends, and who has gone back.

    ``names``: topics here, by what they are called on the broker. ``place``: behind the last record
    of a partition, and ``last``, the offsets of the newest, are brought along; a partition that
    gives what lies before its place has gone back, and that is left out.
    """
    records, odd = [], []
    astray: set[At] = set()
    for message in messages:
        if message.error() is not None:
            odd.append(message)
            continue
        at, offset = (names[message.topic()], message.partition()), message.offset()
        if offset < place.get(at, 0):
            astray.add(at)
            continue
        place[at], last[at] = offset + 1, offset
        records.append(
            Record(
                *at,
                offset,
                message.key(),
                message.value(),
                message.headers() or [],
                message.timestamp()[1],
            )
        )
    return records, odd, astray


class KafkaLog:
    """See the module. One thread calls it; callbacks run inside `poll`."""

    def __init__(
        self, settings: Settings, address: str = "", take_: Callable[..., Taken] | None = None
    ) -> None:
        """address: where this worker's web server is found, for the others of the group.

        ``take_``: what does as `take` (native.taker).
        """
        self._take = take_ or take
        self._settings = settings
        self._names: dict[str, str] = {}  # name on the broker -> name here
        self._topics: tuple[str, ...] = ()
        self._listener: Listener | None = None
        self._raised: BaseException | None = None  # by the listener, inside a callback
        self._rebalanced = False  # during the consume call under way
        self._next: dict[At, int] = {}  # behind the last record returned
        self._at_end: set[At] = set()
        self._ended: dict[At, int] = {}  # where the last end was told
        self._consumer = Consumer(
            client.consumer(
                settings,
                **{
                    "client.id": members.client_id(settings, address),
                    "group.protocol": "classic",
                    "group.instance.id": settings.instance,
                    "partition.assignment.strategy": "range",
                    "session.timeout.ms": settings.session_timeout_ms,
                    "heartbeat.interval.ms": max(settings.session_timeout_ms // 5, 100),
                    "max.poll.interval.ms": max(120_000, settings.session_timeout_ms),
                    # half a second's records are fetched ahead; a queue that is full is looked at
                    # again soon, not after the default's second, in which it runs empty
                    "queued.max.messages.kbytes": 32 << 10,
                    "fetch.queue.backoff.ms": 100,
                    "error_cb": self._on_error,
                },
            )
        )

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        self._topics, self._listener = tuple(topics), listener
        self._names = {self._settings.topic(topic): topic for topic in topics}
        self._consumer.subscribe(
            list(self._names),
            on_assign=self._guarded(self._on_assign),
            on_revoke=self._guarded(self._on_revoke),
            on_lost=self._guarded(self._on_lost),
        )

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Raises Refused, Fenced, or what the listener did."""
        self._rebalanced = False
        messages = client.come(self._consumer, max_records, timeout_s)
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised
        if self._rebalanced:
            # Fetched under the old assignment, perhaps beyond where the new one begins. Every
            # partition is started anew at its committed offset, so nothing is missed; but a fatal
            # error comes only once, and often with the loss of the assignment.
            for message in messages:
                if message.error() is not None:
                    self._on_message_error(message, {})
            return []
        last: dict[At, int] = {}
        records, odd, astray = self._take(messages, self._names, self._next, last)
        ended: dict[At, int] = {}
        for message in odd:
            self._on_message_error(message, ended)
        for topic, p in astray:
            self._lead_back(topic, p)
        self._at_end.difference_update(last)
        self._at_end.update(at for at, end in ended.items() if last.get(at, -1) < end)
        self._ended.update(ended)
        return records

    def _lead_back(self, topic: str, p: int) -> None:
        """Seek again where the client reads from the beginning of the partition.

        It was asking where that is (an assignment has to name some place) when `start` sought
        another; it takes that answer for outdated, and asks once more half a second later.
        """
        place = self._next[topic, p]
        log.info(
            "%s[%d]: the client went back behind %d; it is led there again", topic, p, place,
            extra={"topic": topic, "partition": p, "offset": place},
        )  # fmt: skip
        self.resume(topic, p)

    def _on_message_error(self, message: Any, ended: dict[At, int]) -> None:
        error = message.error()
        code = error.code()
        topic = self._names.get(message.topic(), message.topic())
        where = f"{topic}[{message.partition()}]"
        place = {"topic": topic, "partition": message.partition()}
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001
            ended[topic, message.partition()] = message.offset()
        elif code in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
            raise Refused(
                f"{where}: the next offset is not in the topic any more ({error.str()}): input was "
                "deleted before it was read, or the topic was made again. Put the input back "
                f"from a backup. {NO_REBUILD}"
            )
        elif code in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:  # noqa: SLF001
            log.warning("%s: %s", where, error.str(), extra=place)
        elif client.is_fenced(error) or error.fatal() or code == KafkaError._FATAL:  # noqa: SLF001
            # also after a session that ended while the broker was away: Kafka tells a static
            # member that another has its name; a restart joins again
            raise Fenced(f"{error.str()}: another worker runs as {self._settings.instance!r}")
        else:
            log.warning("%s: %s", where, error.str(), extra=place)

    def start(self, p: int, offsets: Offsets) -> None:
        for topic in self._topics:
            self._next[topic, p] = offsets[topic]
            self._at_end.discard((topic, p))
            self._ended.pop((topic, p), None)
            self.resume(topic, p)

    def pause(self, p: int) -> None:
        for topic in self._topics:
            self.hold(topic, p)
            self._at_end.discard((topic, p))

    def hold(self, topic: str, p: int) -> None:
        self._consumer.pause([KafkaTopicPartition(self._settings.topic(topic), p)])

    def resume(self, topic: str, p: int) -> None:
        """Seek, then resume. A just assigned partition may need a moment until it can be sought."""
        at = KafkaTopicPartition(self._settings.topic(topic), p, self._next[topic, p])
        deadline = time.monotonic() + SEEK_WAIT_S
        while True:
            try:
                self._consumer.seek(at)
                break
            except KafkaException as error:
                if error.args[0].code() != KafkaError._STATE or time.monotonic() > deadline:  # noqa: SLF001
                    raise
                time.sleep(0.01)  # the fetcher has not begun yet
        self._consumer.resume([at])

    def at_end(self, topic: str, p: int) -> bool:
        at = (topic, p)
        return at in self._at_end or 0 <= self.high(topic, p) <= self._next.get(at, -1)

    def reached(self, topic: str, p: int) -> int:
        at = (topic, p)
        return max(self._next.get(at, 0), self._ended.get(at, 0))

    def high(self, topic: str, p: int) -> int:
        try:
            _, high = self._consumer.get_watermark_offsets(
                KafkaTopicPartition(self._settings.topic(topic), p), cached=True
            )
        except KafkaException:
            return -1  # nothing was fetched yet
        return int(high)

    def group(self) -> bytes:
        """Return the group metadata; raises Fenced for generation -1, which would fence nobody."""
        metadata: bytes = self._consumer.consumer_group_metadata()
        if generation_of(metadata) < 0:
            raise Fenced("no generation in the group metadata: not a member any more")
        return metadata

    def close(self) -> None:
        self._consumer.close()

    # --- callbacks, inside consume() ----------------------------------------------------------

    def _guarded(self, fn: Callable[[list[Any]], None]) -> Callable[[Any, list[Any]], None]:
        """Keep what a callback raises for `poll`: librdkafka must not unwind through it."""

        def callback(_consumer: Any, partitions: list[Any]) -> None:
            self._rebalanced = True
            try:
                fn(partitions)
            except BaseException as error:  # noqa: BLE001 - re-raised by poll
                self._raised = self._raised or error

        return callback

    def _on_assign(self, partitions: list[Any]) -> None:
        assert self._listener is not None
        self._next.clear()
        self._at_end.clear()
        self._ended.clear()
        for partition in partitions:
            partition.offset = OFFSET_BEGINNING  # never read: paused here, sought by `start`
        self._consumer.assign(partitions)
        self._consumer.pause(partitions)
        self._listener.on_assign(self._ours(partitions))

    def _on_revoke(self, partitions: list[Any]) -> None:
        assert self._listener is not None
        self._listener.on_revoke(self._ours(partitions))
        self._drop()

    def _on_lost(self, partitions: list[Any]) -> None:
        assert self._listener is not None
        self._listener.on_lost(self._ours(partitions))
        self._drop()

    def _drop(self) -> None:
        self._next.clear()
        self._at_end.clear()
        self._ended.clear()
        self._consumer.unassign()

    def _ours(self, partitions: list[Any]) -> list[TopicPartition]:
        return [TopicPartition(self._names[tp.topic], tp.partition) for tp in partitions]

    def _on_error(self, error: KafkaError) -> None:
        if client.is_fenced(error) or error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001
            self._raised = self._raised or Fenced(
                f"{error.str()}: another worker runs as {self._settings.instance!r}"
            )
        else:
            log.warning("consumer: %s", error.str())


def generation_of(metadata: bytes) -> int:
    """Return the group generation inside librdkafka's serialized group metadata.

    Layout: b"CGMDv2:", generation (int32, native), group id, member id, group instance id.
    """
    magic = b"CGMDv2:"
    assert metadata.startswith(magic), "another layout: read librdkafka's rdkafka_cgrp.c again"
    generation: int = struct.unpack_from("=i", metadata, len(magic))[0]
    return generation

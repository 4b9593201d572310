"""What a replay reads: a broker's log, outside every group. Assigned by hand, nothing committed."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from streams.backfill import frozen
from streams.backfill.plan import watermarks
from streams.errors import BrokerUnreachable, Refused
from streams.feed import client
from streams.feed.history import KafkaHistory
from streams.feed.ports import BrokerLost
from streams.topics import CAMPAIGNS, FOLDED, JOURNAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.backfill.archive import Archive
    from streams.feed.ports import Offsets, Record
    from streams.settings import Settings

ARCHIVED = frozenset({*FOLDED, CAMPAIGNS, JOURNAL})
"""What `leidan export` keeps of a log."""

READ_RECORDS = 2_000
READ_S = 0.1
SILENCE_S = 60.0
"""Longest wait for a record: an open transaction of a dead worker ends within 25 s."""


class Log(Protocol):
    """Topics without prefix. What is not readable (aborted, markers) is left out."""

    def bounds(self, topic: str, p: int) -> tuple[int, int]:
        """Return the first offset kept, and the high watermark of this moment."""

    def records(self, topic: str, p: int, first: int, end: int) -> Iterator[Record]:
        """Yield the readable records of [first, end), which must be kept."""

    def committed(self, p: int) -> Offsets:
        """Return the live group's committed offsets; empty where nobody can tell."""


class KafkaLog:
    """`Log` on a broker. Raises BrokerUnreachable, Refused."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asking = KafkaHistory(settings, lambda: False)

    def bounds(self, topic: str, p: int) -> tuple[int, int]:
        try:
            return self._asking.high_watermark(topic, p)
        except BrokerLost as lost:
            raise BrokerUnreachable(str(lost)) from lost

    def committed(self, p: int) -> Offsets:
        try:
            return self._asking.committed(p, FOLDED)
        except BrokerLost as lost:
            raise BrokerUnreachable(str(lost)) from lost

    def records(self, topic: str, p: int, first: int, end: int) -> Iterator[Record]:
        if first >= end:
            return
        reader: Any = Consumer(
            client.consumer(
                self._settings,
                **{"error_cb": lambda _error: None, "queued.max.messages.kbytes": 8 << 10},
            )
        )
        at, moved_s = first, time.monotonic()
        try:
            reader.assign([KafkaTopicPartition(self._settings.topic(topic), p, first)])
            while at < end:
                before = at
                for message in reader.consume(READ_RECORDS, READ_S):
                    at = max(at, _position(message, topic, p))
                    if message.error() is None and message.offset() < end:
                        yield client.record_of(topic, message)
                if at > before:
                    moved_s = time.monotonic()
                elif time.monotonic() - moved_s > SILENCE_S:
                    raise BrokerUnreachable(
                        f"{topic}[{p}]: nothing readable came for {SILENCE_S:.0f} s at {at} of "
                        f"{end}: an open transaction, or no broker"
                    )
        finally:
            with contextlib.suppress(KafkaException):
                reader.close()

    def close(self) -> None:
        self._asking.close()


class SettledLog(KafkaLog):
    """The log as far as transactions are over: one under way may have written but half of itself.

    The journal ends at the last stable offset, and other topics are asked for their ends after it,
    high watermarks: so all that a transaction of this journal has said lies before those. Which
    offsets are committed cannot be said of one moment beside a running worker, so it is not asked.
    """

    def __init__(self, settings: Settings, archive: Archive | None = None) -> None:
        """``archive``: of the topics that are folded; its journal ends where it was exported."""
        super().__init__(settings)
        self._archive = archive
        quiet = {"error_cb": lambda _error: None}
        self._stable: Any = Consumer(client.consumer(settings, **quiet))

    def bounds(self, topic: str, p: int) -> tuple[int, int]:
        if self._archive is not None and topic in ARCHIVED:
            return self._archive.range(topic, p)
        if topic != JOURNAL:
            return super().bounds(topic, p)
        return watermarks(self._stable, KafkaTopicPartition(self._settings.topic(topic), p))

    def records(self, topic: str, p: int, first: int, end: int) -> Iterator[Record]:
        if self._archive is not None and topic in ARCHIVED:
            yield from frozen.records(self._archive, topic, p, first, end)
        else:
            yield from super().records(topic, p, first, end)

    def committed(self, p: int) -> Offsets:
        del p
        return {}

    def close(self) -> None:
        self._stable.close()
        super().close()


def _position(message: Any, topic: str, p: int) -> int:
    """Return the offset behind what this message is, or says."""
    error = message.error()
    if error is None:
        return int(message.offset()) + 1
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
        return int(message.offset())
    if error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
        raise Refused(
            f"{topic}[{p}]: offset {message.offset()} was deleted meanwhile: retention is too "
            "short for a replay. Raise it, and begin again with --from-start"
        )
    return 0

"""What a restore reads, on librdkafka: `ports.History`. Own clients, never in the group.

Two of them, because a read_committed librdkafka consumer is told the last stable offset when it
asks for the high watermark, and stopping there can miss rows whose offsets are already committed.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from streams.errors import NO_REBUILD, Refused
from streams.feed import client
from streams.feed.ports import BrokerLost, Record
from streams.store import meta
from streams.store.gathered import Read, RecordByRecord
from streams.wire.rows import ROW_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streams.feed.ports import Offsets
    from streams.settings import Settings
    from streams.store.gathered import Gathering

ASK_S = 5.0
"""One question to the broker; between two of them a restore can be given up."""

READ_RECORDS = 1_000
"""In one read of Python's, which keeps the interpreter's lock for a millisecond then."""

CALL_S = 30.0
"""Reading C waits for pending offsets: at most transaction.timeout.ms and the broker's cleanup."""


class KafkaHistory(RecordByRecord):
    """See the module. One thread calls it."""

    def __init__(
        self,
        settings: Settings,
        cancelled: Callable[[], bool],
        names: Mapping[str, str] | None = None,
        reader: Callable[[Any, str, int, str], Any] = lambda *_: None,
    ) -> None:
        """``names``: topics that have another name on the broker than the settings say.

        ``reader(consumer, name, p, topic)``: what reads many records at once (native.reader), or
        None.
        """
        self._reader, self._reading = reader, None
        self._settings, self._cancelled, self._names = settings, cancelled, dict(names or {})
        quiet = {"error_cb": lambda _error: None}  # the calls report what they meet
        self._committed: Any = Consumer(client.consumer(settings, **quiet))
        self._raw: Any = Consumer(
            client.consumer(settings, **{**quiet, "isolation.level": "read_uncommitted"})
        )
        self._position = 0
        self._topic = ""

    def committed(self, p: int, topics: Sequence[str]) -> Offsets:
        asked = [KafkaTopicPartition(self._name(topic), p) for topic in topics]
        found = self._patient(lambda: self._committed.committed(asked, ASK_S), "committed offsets")
        offsets = {}
        for topic, at in zip(topics, found, strict=True):
            if at.error is not None:
                raise BrokerLost(f"committed offset of {topic}[{p}]: {at.error.str()}")
            if at.offset >= 0:
                offsets[topic] = at.offset
        return offsets

    def low_watermarks(self, p: int, topics: Sequence[str]) -> Offsets:
        return {topic: self._watermarks(topic, p)[0] for topic in topics}

    def high_watermark(self, topic: str, p: int) -> tuple[int, int]:
        return self._watermarks(topic, p)

    def _watermarks(self, topic: str, p: int) -> tuple[int, int]:
        at = KafkaTopicPartition(self._name(topic), p)
        found: tuple[int, int] = self._patient(
            lambda: self._raw.get_watermark_offsets(at, timeout=ASK_S),
            f"watermarks of {topic}[{p}]",
        )
        return found

    def _name(self, topic: str) -> str:
        return self._names.get(topic) or self._settings.topic(topic)

    def _patient(self, ask: Callable[[], Any], what: str) -> Any:
        """Ask again while the broker is not ready (leader moves, offsets pending), up to 30 s."""
        deadline = time.monotonic() + CALL_S
        while True:
            try:
                answer = ask()
            except KafkaException as error:
                if time.monotonic() > deadline or self._cancelled():
                    raise BrokerLost(f"{what}: {error.args[0].str()}") from error
                time.sleep(0.1)
            else:
                return answer

    def seek(self, topic: str, p: int, offset: int) -> None:
        self._topic, self._position = topic, offset
        name = self._name(topic)
        self._reading = self._reader(self._committed, name, p, topic)
        # A client that does not know the topic's leader yet looks for it once a second (measured:
        # the first record after 1.04 s, and after 0.10 s so), and the partition stands meanwhile.
        self._patient(lambda: self._committed.list_topics(name, timeout=ASK_S), f"leader of {name}")
        self._committed.assign([KafkaTopicPartition(name, p, offset)])

    def read(self, max_records: int, timeout_s: float) -> list[Record]:
        if self._reading is None:
            records, errors = self._read(max_records, timeout_s)
        else:
            self._committed.poll(0.0)  # its callbacks; what it returns is about no partition
            records, errors = self._reading.read(max_records, round(timeout_s * 1_000))
        self._move(records[-1].offset + 1 if records else -1, errors)
        return records

    def gathered(self) -> Gathering:
        """Behind `seek`, which knows who reads."""
        if self._reading is None:
            return super().gathered()
        found: Gathering = self._reading.gathered(meta.META, meta.DUE, ROW_SCHEMA)
        return found

    def gather(self, to: Gathering, most: int, timeout_s: float) -> Read:
        if self._reading is None:
            return super().gather(to, min(most, READ_RECORDS), timeout_s)
        self._committed.poll(0.0)  # as in `read`
        count, after, metas, errors = self._reading.gather(to, most, round(timeout_s * 1_000))
        self._move(after, errors)
        return Read(count, after, metas)

    def _move(self, after: int, errors: Sequence[tuple[int, int]]) -> None:
        self._position = max(self._position, after)
        for code, offset in errors:
            if code == KafkaError._PARTITION_EOF:  # noqa: SLF001
                # its offset is where the fetcher stands: behind markers and holes
                self._position = max(self._position, offset)
            elif code in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
                raise Refused(
                    f"{self._topic}: offset {self._position} is not in the changelog any more. "
                    f"Put it back from a replica or a backup. {NO_REBUILD}"
                )

    def _read(self, most: int, timeout_s: float) -> tuple[list[Record], list[tuple[int, int]]]:
        """As native.reader's `read`."""
        records, errors, topic = [], [], self._topic
        for message in client.come(self._committed, most, timeout_s):
            if message.error() is not None:
                errors.append((message.error().code(), message.offset()))
                continue
            place = message.partition(), message.offset()
            said = message.key(), message.value()
            records.append(Record(topic, *place, *said, [], message.timestamp()[1]))
        return records, errors

    def position(self) -> int:
        return self._position

    def close(self) -> None:
        if self._reading is not None:
            self._reading.close()
        with contextlib.suppress(KafkaException):
            self._committed.close()
        with contextlib.suppress(KafkaException):
            self._raw.close()

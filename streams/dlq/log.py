"""The topics that `leidan dlq` reads: letters, decisions, and the records that were refused.

Assigned by hand, read_committed, up to the last stable offset of the moment; nothing is committed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams import connect
from streams.errors import BrokerUnreachable, Refused
from streams.feed import client
from streams.topics import DEAD_LETTERS, DECISIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self

    from streams.feed.ports import Record
    from streams.settings import Settings
    from streams.wire.dead_letters import Origin

ANSWER_S = 10.0
SILENCE_S = 30.0  # neither a record nor an end for this long: the broker is gone
FETCH, WAIT_S = 2_000, 0.1
NEAR = 1_000  # offsets that are read through rather than jumped over


class Log:
    """A consumer of its own; close it, or use it in a ``with`` block."""

    def __init__(self, settings: Settings) -> None:
        """Raises BrokerUnreachable, Refused where a topic is missing, UsageError."""
        self._settings = settings
        self._met = connect.Met()
        config = client.consumer(settings)
        config |= {"error_cb": self._met, "log_level": 0}
        config["check.crcs"] = False  # as other verbs that read: the embedded broker writes none
        config |= {"queued.max.messages.kbytes": 16 << 10, "fetch.wait.max.ms": 20}
        self._consumer: Any = connect.made(Consumer, config)
        servers = settings.kafka.bootstrap_servers
        there = connect.metadata(self._consumer, self._met, servers, ANSWER_S).topics
        names = {settings.topic(name): name for name in (DEAD_LETTERS, DECISIONS)}
        if missing := [full for full in names if full not in there or not there[full].partitions]:
            raise Refused(
                f"{servers}: topics missing: {', '.join(missing)}. Is --topic-prefix that of the "
                "workers? Else: leidan topics apply --execute"
            )
        self._counts = {name: len(there[full].partitions) for full, name in names.items()}

    @property
    def prefix(self) -> str:
        return self._settings.kafka.topic_prefix

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def letters(self, tail: int | None = None) -> Iterator[Record]:
        """Yield the letters, each partition in offset order; of the last `tail` offsets, or all."""
        return self._read(DEAD_LETTERS, tail)

    def decisions(self) -> Iterator[Record]:
        return self._read(DECISIONS)

    def letter(self, partition: int, offset: int) -> Record | None:
        """Return one of `dead-letters`, None where there is none."""
        if partition >= self._counts[DEAD_LETTERS]:
            return None
        return self._at(DEAD_LETTERS, partition, [offset]).get(offset)

    def originals(self, origins: Iterable[Origin]) -> dict[Origin, Record]:
        """Return the records that stand there; one that is not there any more is left out."""
        by_place: dict[tuple[str, int], list[int]] = {}
        for topic, p, offset in origins:
            by_place.setdefault((topic, p), []).append(offset)
        at = {place: self._at(*place, sorted(offsets)) for place, offsets in by_place.items()}
        return {one: at[one[:2]][one[2]] for one in origins if one[2] in at[one[:2]]}

    def committed(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the next offset the workers will fold, where they have committed one."""
        asked = [TopicPartition(self._settings.topic(topic), p) for topic, p in places]
        try:
            found = self._consumer.committed(asked, timeout=ANSWER_S)
        except KafkaException as error:
            raise self._unreachable(error.args[0]) from error
        return {
            place: int(one.offset)
            for place, one in zip(places, found, strict=True)
            if one.offset >= 0
        }

    def _at(self, topic: str, p: int, offsets: Sequence[int]) -> dict[int, Record]:
        """Return the records at these offsets, ascending; nearby ones are read in one go."""
        low, end = self._bounds(topic, p)
        wanted = [offset for offset in offsets if low <= offset < end]
        found: dict[int, Record] = {}
        while wanted:
            run = [wanted.pop(0)]
            while wanted and wanted[0] - run[-1] <= NEAR:
                run.append(wanted.pop(0))
            these = set(run)
            for record in self._from(topic, {p: (run[0], run[-1] + 1)}):
                if record.offset in these:
                    found[record.offset] = record
        return found

    def _read(self, topic: str, tail: int | None = None) -> Iterator[Record]:
        spans = {p: self._bounds(topic, p) for p in range(self._counts[topic])}
        if tail is not None:
            spans = {p: (max(low, end - tail), end) for p, (low, end) in spans.items()}
        yield from self._from(topic, spans)

    def _bounds(self, topic: str, p: int) -> tuple[int, int]:
        try:
            low, end = self._consumer.get_watermark_offsets(
                TopicPartition(self._settings.topic(topic), p), timeout=ANSWER_S, cached=False
            )
        except KafkaException as error:
            if error.args[0].code() in _NOT_THERE:
                return 0, 0
            raise self._unreachable(error.args[0]) from error
        return int(low), int(end)

    def _from(self, topic: str, spans: dict[int, tuple[int, int]]) -> Iterator[Record]:
        """Yield the records of each partition's [first, end)."""
        running = {p for p, (first, end) in spans.items() if first < end}
        if not running:
            return
        full = self._settings.topic(topic)
        self._consumer.assign([TopicPartition(full, p, spans[p][0]) for p in sorted(running)])
        moved_s = time.monotonic()
        try:
            while running:
                messages = client.come(self._consumer, FETCH, WAIT_S)
                if messages:
                    moved_s = time.monotonic()
                elif time.monotonic() - moved_s > SILENCE_S:
                    raise BrokerUnreachable(f"{full}: nothing came for {SILENCE_S:.0f} s")
                for message in messages:
                    p, error = message.partition(), message.error()
                    if error is not None:
                        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its name
                            raise self._unreachable(error)
                        running.discard(p)
                        continue
                    end = spans[p][1]
                    if message.offset() < end:
                        yield client.record_of(topic, message)
                    if message.offset() >= end - 1:
                        running.discard(p)
        finally:
            self._consumer.unassign()

    def _unreachable(self, error: KafkaError) -> BrokerUnreachable:
        return BrokerUnreachable(f"{self._settings.kafka.bootstrap_servers}: {error.str()}")


_NOT_THERE = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - librdkafka's local codes are spelt like that
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    }
)

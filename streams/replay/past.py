"""The log as it was: what users said, merged by record time up to an end frozen at the start.

A `Past` is a broker's topics (`KafkaPast`) or records at hand (`Records`). Its consumer is assigned
by hand and outside every group: nothing is ever committed, so no worker notices.

Kept in memory: of each topic-partition at most MOST_AHEAD records (a faster one is paused until the
slower ones have come as far), and the definitions.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams import connect, topics
from streams.backfill.resized import origin_in, told
from streams.domain.pool_history import Unfit
from streams.domain.registry import Campaigns
from streams.errors import BrokerUnreachable, CampaignRefused, Refused
from streams.feed.client import record_of
from streams.feed.ports import Record
from streams.position import Position
from streams.wire import campaigns as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self

    from streams.domain.definition import Definition

log = logging.getLogger(__name__)

SAID = (topics.ORDERS, topics.CLAIMS, topics.CANCELLATIONS)
"""What users do. Answers of pools and of the rights service belong to the rules they were given
under, so a refold under other rules makes them anew."""

MOST_AHEAD = 20_000
FETCH, WAIT_S = 2_000, 0.1
SILENCE_S = 30.0  # no record and no end of a partition for this long: the broker is gone
TIMEOUT_S = 10.0
ELECTED_S = 10.0
UNLED = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
"""Of a topic that was made a moment ago, or whose broker has just gone."""
TAIL = 64  # offsets of a partition in which its newest record is looked for; markers take some


class Past(Protocol):
    """A log that has ended."""

    @property
    def partitions(self) -> Sequence[int]: ...

    @property
    def total(self) -> int:
        """How many records there are, at most: markers of transactions have offsets too."""

    @property
    def notes(self) -> Sequence[str]:
        """What a reader should know of it, a sentence each."""

    def newest_ms(self) -> int:
        """Return the time of the newest record of a user; 0: there is none."""

    def definitions(self) -> list[Definition]:
        """Return what is in force, as every worker has read it."""

    def records(self, partitions: Sequence[int]) -> Iterator[Record]:
        """Yield the records of these partitions by record time, each topic in offset order."""


class Records:
    """A log at hand: (topic, key, value, timestamp_ms), all of it one partition."""

    notes = ()

    def __init__(
        self,
        sent: Iterable[tuple[str, bytes | None, bytes, int]],
        definitions: list[Definition],
    ) -> None:
        self._definitions = definitions
        self._records = [
            Record(topic, 0, n, key, value, [], at_ms)
            for n, (topic, key, value, at_ms) in enumerate(sent)
            if topic in SAID
        ]
        self._records.sort(key=lambda record: record.recorded_at_ms)
        self.partitions, self.total = (0,), len(self._records)

    def newest_ms(self) -> int:
        return self._records[-1].recorded_at_ms if self._records else 0

    def definitions(self) -> list[Definition]:
        return self._definitions

    def records(self, partitions: Sequence[int]) -> Iterator[Record]:
        del partitions
        return iter(self._records)


def in_force(from_files: Iterable[Definition], records: Iterable[Record]) -> list[Definition]:
    """Return the definitions of files and of a topic's records, as every worker has read them."""
    found = list(from_files)
    registry = Campaigns.of(found)
    for record in records:
        where = Position(record.topic, record.partition, record.offset)
        try:
            one = wire.decode(record.value or b"", record.recorded_at_ms, str(where))
            if registry.holds(one):
                continue
            registry = registry.with_record(one)
        except (CampaignRefused, Unfit) as refused:
            log.info("%s: not in force: %s", where, refused)  # as every worker decides
        else:
            found.append(one)
    return found


def deleted(topic: str, p: int, low: int) -> str:
    """Return what a reader should know of a topic whose beginning is gone."""
    return (
        f"{topic}[{p}] begins at offset {low}: older records have left the log, so tasks that rest "
        "on them are not known"
    )


class KafkaPast:
    """The topics of a broker, read_committed, up to where they stood when this was made."""

    def __init__(  # noqa: PLR0913 - which log, and which part of it
        self,
        bootstrap: str,
        prefix: str = "",
        client: connect.Values | None = None,
        from_files: Sequence[Definition] = (),
        said: Sequence[str] = SAID,
        first: Sequence[str] = (),
    ) -> None:
        """``from_files``: definitions beside those of the topic. ``said``: the topics to read.

        ``first``: topics of outputs, for `whole`. Their ends are frozen before those of the
        others, so that all that lies behind an output is read too.

        Raises BrokerUnreachable, Refused when a topic is missing, UsageError for bad settings.
        """
        self.bootstrap, self._prefix, self._said = bootstrap, prefix, said
        self._from_files = from_files
        self._met = connect.Met()
        self._consumer: Any = connect.made(
            Consumer,
            {
                **(client or {}),
                "error_cb": self._met,
                "bootstrap.servers": bootstrap,
                "group.id": "leidan-replay",  # required by the client; never joined
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "fetch.message.max.bytes": 4 << 20,
                "log_level": 0,
            },
        )
        found = connect.metadata(self._consumer, self._met, bootstrap, TIMEOUT_S).topics
        counts = {
            name.removeprefix(prefix): len(topic.partitions)
            for name, topic in found.items()
            if name.startswith(prefix) and topic.error is None
        }
        if missing := [prefix + topic for topic in said if not counts.get(topic)]:
            raise Refused(
                f"{bootstrap}: topics missing: {', '.join(missing)}. Is --topic-prefix that of the"
                " workers? Else: leidan topics apply"
            )
        self.partitions = range(counts[said[0]])
        self.ends = {
            (topic, p): self._bounds(topic, p)
            for topic in (*first, *said, topics.CAMPAIGNS)
            for p in range(counts.get(topic, 0))
        }
        """(low, high) by (topic, partition): frozen here."""
        if counts.get(topics.CHANGELOG):
            self.ends[topics.CHANGELOG, 0] = self._bounds(topics.CHANGELOG, 0)
        self.total = sum(
            high - low for (topic, _), (low, high) in self.ends.items() if topic in said
        )
        self.notes = [
            deleted(topic, p, low)
            for (topic, p), (low, _) in self.ends.items()
            if low and topic in said
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def resized(self) -> list[str]:
        """Return what a reader should know where rows were brought here from other topics."""
        places = [at for at in self.ends if at[0] == topics.CHANGELOG]
        first = next(self._read(places), None)
        origin = None if first is None else origin_in(first)
        return [] if origin is None else [told(origin)]

    def definitions(self) -> list[Definition]:
        places = [at for at in self.ends if at[0] == topics.CAMPAIGNS]
        return in_force(self._from_files, self._read(places))

    def newest_ms(self) -> int:
        of_users = [at for at in self.ends if at[0] in self._said]
        return max((r.recorded_at_ms for r in self._read(of_users, TAIL)), default=0)

    def records(self, partitions: Sequence[int]) -> Iterator[Record]:
        return self._read([(t, p) for t, p in self.ends if t in self._said and p in partitions])

    def whole(self, topic: str, only: int | None = None) -> Iterator[Record]:
        """Yield all of one of the `first` topics, or one partition; nothing where there is none."""
        return self._read([at for at in self.ends if at[0] == topic and only in (None, at[1])])

    @property
    def cluster(self) -> str:
        """Return the id by which the brokers know each other."""
        found = connect.metadata(self._consumer, self._met, self.bootstrap, TIMEOUT_S)
        return str(found.cluster_id)

    def _bounds(self, topic: str, p: int) -> tuple[int, int]:
        at, until_s = TopicPartition(self._prefix + topic, p), time.monotonic() + ELECTED_S
        while True:
            try:
                low, high = self._consumer.get_watermark_offsets(at, TIMEOUT_S, cached=False)
            except KafkaException as error:
                if error.args[0].code() in UNLED and time.monotonic() < until_s:
                    time.sleep(0.1)
                    continue
                raise BrokerUnreachable(f"{self.bootstrap}: {error.args[0].str()}") from error
            return int(low), int(high)

    def _read(self, places: list[tuple[str, int]], tail: int = 0) -> Iterator[Record]:
        """Yield by record time; a place waits until all others have a record, or have ended."""
        first = {at: max(low, high - tail if tail else low) for at in places
                 for low, high in [self.ends[at]]}  # fmt: skip
        waiting = {at: deque[Record]() for at in places if first[at] < self.ends[at][1]}
        if not waiting:
            return
        self._consumer.assign(
            [TopicPartition(self._prefix + t, p, first[t, p]) for t, p in waiting]
        )
        running, paused = set(waiting), set[tuple[str, int]]()
        heap: list[tuple[int, int, tuple[str, int]]] = []  # the next of each place, by its time
        rank = {at: n for n, at in enumerate(waiting)}
        bare = set(waiting)  # without a record on the heap
        try:
            while heap or running:
                self._fill(bare & running, running, waiting, paused)
                for at in [at for at in bare if waiting[at]]:
                    heapq.heappush(heap, (waiting[at][0].recorded_at_ms, rank[at], at))
                    bare.discard(at)
                while heap and not bare & running:
                    _, _, at = heapq.heappop(heap)
                    yield waiting[at].popleft()
                    if waiting[at]:
                        following = (waiting[at][0].recorded_at_ms, rank[at], at)
                        heapq.heappush(heap, following)
                    else:
                        bare.add(at)
        finally:
            self._consumer.unassign()

    def _fill(
        self,
        needed: set[tuple[str, int]],
        running: set[tuple[str, int]],
        waiting: dict[tuple[str, int], deque[Record]],
        paused: set[tuple[str, int]],
    ) -> None:
        """Read until something has come of each place that is needed, or its end."""
        silent_s = 0.0
        while any(at in running and not waiting[at] for at in needed):
            if awake := [at for at in paused if len(waiting[at]) < MOST_AHEAD // 2]:
                self._consumer.resume([TopicPartition(self._prefix + t, p) for t, p in awake])
                paused.difference_update(awake)
            began_s = time.monotonic()
            messages = self._consumer.consume(FETCH, WAIT_S)
            silent_s = 0.0 if messages else silent_s + time.monotonic() - began_s
            if silent_s > SILENCE_S:
                raise BrokerUnreachable(f"{self.bootstrap}: silent for {SILENCE_S:.0f} s")
            for message in messages:
                self._take(message, running, waiting)
            full = [at for at in running - paused if len(waiting[at]) > MOST_AHEAD]
            if full:
                self._consumer.pause([TopicPartition(self._prefix + t, p) for t, p in full])
                paused.update(full)

    def _take(
        self,
        message: Any,
        running: set[tuple[str, int]],
        waiting: dict[tuple[str, int], deque[Record]],
    ) -> None:
        error = message.error()
        at = (message.topic().removeprefix(self._prefix), message.partition())
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                raise BrokerUnreachable(
                    f"{self.bootstrap}: {at[0]}[{at[1]}]: {error.str()}. If retention has overtaken"
                    " the reader, run it again: it then begins at the oldest record there is"
                )
            running.discard(at)
            return
        high = self.ends[at][1]
        if message.offset() < high:
            waiting[at].append(record_of(at[0], message))
        if message.offset() >= high - 1:
            running.discard(at)

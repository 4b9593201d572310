"""Read the log as anybody may: partitions by offset, outside every group; nothing is committed.

Two ways to a user's records. With the user's facts known, each record is found by its own time:
`offsets_for_times` at its `recorded_at`, then a short read (times of producers rise by and large,
so the record stands there or a little behind). With nothing known, the user's partition of every
topic is read whole.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams import connect
from streams.domain import facts
from streams.domain.events import RewardResult
from streams.errors import BrokerUnreachable, EventRejected, Refused
from streams.feed.client import record_of
from streams.position import Position
from streams.replay.story import SOURCES, Told, topic_of
from streams.topics import CANCELLATIONS, CLAIMS, DRAW_RESULTS, ORDERS, REWARD_RESULTS, REWARDS
from streams.wire import cancellations, claims, draw_results, orders, results, ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Self

    from streams.feed.ports import Record

    Progress = Callable[[str, int, int], None]
    """Told (topic, records read, offsets still to come)."""

DECODE: dict[str, Callable[[Record], Any]] = {
    ORDERS: orders.decode,
    CLAIMS: claims.decode,
    CANCELLATIONS: cancellations.decode,
    REWARD_RESULTS: results.decode,
    DRAW_RESULTS: draw_results.decode,
}

ANSWER_S = 5.0  # one answer of the broker
SILENCE_S = 30.0  # neither a record nor an end for this long: the broker is gone
LOOK_UP_COSTS = 500  # records: about as long as a question for an offset and a new fetch (5 ms)
NEAR = 2_000  # offsets read behind where a record's time points to, before it counts as not found
FETCH_BYTES = 64 << 10  # of a read near a position: a few hundred orders, and at once


class Log:
    """A consumer of its own; close it, or use it in a ``with`` block."""

    def __init__(
        self, bootstrap: str, prefix: str = "", client: connect.Values | None = None
    ) -> None:
        """``client``: how to connect (streams/connect.py). Raises UsageError for what is wrong."""
        self.bootstrap, self.prefix, self._client = bootstrap, prefix, client or {}
        self._met = connect.Met()
        self._wide = self._consumer({})
        self._narrow: Any = None

    def _consumer(self, more: dict[str, Any]) -> Any:
        return connect.made(
            Consumer,
            {
                **self._client,
                "error_cb": self._met,
                "bootstrap.servers": self.bootstrap,
                "group.id": "leidan-replay",  # required by the client; nothing is ever committed
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 10,
                "fetch.message.max.bytes": 16 << 20,
                "log_level": 0,
                **more,
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._wide, self._narrow):
            if one is not None:
                with contextlib.suppress(KafkaException):
                    one.close()

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; raises BrokerUnreachable, Refused."""
        found = connect.metadata(self._wide, self._met, self.bootstrap, ANSWER_S).topics
        there = found.get(self.prefix + topic)
        if there is None or there.error is not None or not there.partitions:
            raise Refused(
                f"{self.bootstrap} has no topic {self.prefix}{topic}; is --topic-prefix right?"
            )
        return len(there.partitions)

    def bounds(self, topic: str, p: int) -> tuple[int, int]:
        """Return (low, high): the first offset kept and the one after the last."""
        return self._bounds(self._wide, topic, p)

    def _bounds(self, consumer: Any, topic: str, p: int) -> tuple[int, int]:
        at = TopicPartition(self.prefix + topic, p)
        try:
            low, high = consumer.get_watermark_offsets(at, timeout=ANSWER_S, cached=False)
        except KafkaException as error:
            raise BrokerUnreachable(f"{self.bootstrap}: {error.args[0].str()}") from None
        return int(low), int(high)

    def read(
        self, topic: str, p: int, first: int | None = None, progress: Progress | None = None
    ) -> Iterator[Record]:
        """Yield a partition's records from an offset (None: the first kept) to its present end."""
        low, high = self.bounds(topic, p)
        yield from self._read(self._wide, topic, p, max(low, first or 0), high, progress)

    def _read(  # noqa: PLR0913  # a range, and who is told of it
        self,
        consumer: Any,
        topic: str,
        p: int,
        first: int,
        end: int,
        progress: Progress | None = None,
        at_once: int = 5_000,
    ) -> Iterator[Record]:
        if first >= end:
            return
        consumer.assign([TopicPartition(self.prefix + topic, p, first)])
        position, count, heard_s = first, 0, time.monotonic()
        while position < end:
            messages = consumer.consume(at_once, 0.05)
            if messages:
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > SILENCE_S:
                raise BrokerUnreachable(f"{self.bootstrap}: silent for {SILENCE_S:.0f} s")
            for message in messages:
                error = message.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                        raise BrokerUnreachable(f"{self.bootstrap}: {error.str()}")
                    position = max(position, int(message.offset()))
                    continue
                position = int(message.offset()) + 1
                count += 1
                if position <= end:
                    yield record_of(topic, message)
            if progress is not None:
                progress(topic, count, max(0, end - position))

    def last_tick_ms(self, topic: str, p: int) -> int:
        """Return the latest time that a tick of the partition says; 0: there is none."""
        _, high = self.bounds(topic, p)
        found = 0
        for record in self.read(topic, p, max(0, high - 64)):  # markers take some
            with contextlib.suppress(EventRejected):
                found = max(found, ticks.decode(record).at_ms)
        return found

    def of_user(
        self, user_id: str, p: int, progress: Progress | None = None
    ) -> tuple[list[Told], list[EventRejected]]:
        """Return a user's events by a read of the whole partition, and what was no event."""
        key = user_id.encode()
        told: list[Told] = []
        dead: list[EventRejected] = []
        for topic in SOURCES:
            for record in self.read(topic, p, None, progress):
                if record.key != key:
                    continue
                try:
                    event = DECODE[topic](record)
                except EventRejected as rejected:
                    dead.append(rejected)
                else:
                    told.append(Told(event, Position(topic, p, record.offset)))
        return told, dead

    def whose(self, id_: str, kind: str, progress: Progress | None = None) -> str | None:
        """Return the user of an order or a reward, by a read of its topic; None: nobody's.

        There is no index, so all partitions are read until it is found.
        """
        topic, field = (REWARDS, "reward_id") if kind == "reward" else (ORDERS, "order_id")
        needle = id_.encode()
        for p in range(self.partitions(topic)):
            for record in self.read(topic, p, None, progress):
                if record.key is None or needle not in (record.value or b""):
                    continue
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                    said = msgspec.json.decode(record.value or b"", type=dict[str, Any])
                    if id_ in (said.get(field), said.get("parent_order_id")):
                        return record.key.decode()
        return None

    def placed(self, told: Sequence[Told], p: int, until_s: float) -> list[Told]:
        """Return the events, each with the position of its record where that is found.

        All must be of one user, whose partition is p. Ends at `until_s` (monotonic) at the latest:
        what was not found by then has no position.
        """
        if self._narrow is None:
            self._narrow = self._consumer(
                {
                    "fetch.message.max.bytes": FETCH_BYTES,
                    # or it goes on fetching behind our back, and the next look-up waits for that
                    "queued.min.messages": 1,
                    "fetch.queue.backoff.ms": 5,
                }
            )
        wanted: dict[str, list[int]] = {}
        for n, one in enumerate(told):
            wanted.setdefault(topic_of(one.event), []).append(n)
        found = list(told)
        for topic, numbers in wanted.items():
            for n, position in self._near(topic, p, numbers, told, until_s):
                found[n] = Told(told[n].event, position)
        return found

    def _near(
        self, topic: str, p: int, numbers: Iterable[int], told: Sequence[Told], until_s: float
    ) -> Iterator[tuple[int, Position]]:
        """Yield (number, position) of what is found of one topic, in order of record time."""
        left = sorted(numbers, key=lambda n: told[n].event.recorded_at_ms)
        low, high = self._bounds(self._narrow, topic, p)
        while left and time.monotonic() < until_s:
            first = None
            if len(left) * LOOK_UP_COSTS < high - low:
                first = self._offset_at(topic, p, told[left[0]].event.recorded_at_ms)
            if first is None:  # the whole of it, once: it is short, or this broker knows no times
                yield from self._met_in(topic, p, (low, high), left, told, until_s, near=False)
                return
            before = len(left)
            yield from self._met_in(topic, p, (first, high), left, told, until_s, near=True)
            if len(left) == before:
                left.pop(0)  # not near its own time: deleted, or far out of order

    def _met_in(  # noqa: PLR0913  # a range, what is looked for in it, and when to stop
        self,
        topic: str,
        p: int,
        bounds: tuple[int, int],
        left: list[int],
        told: Sequence[Told],
        until_s: float,
        *,
        near: bool,
    ) -> Iterator[tuple[int, Position]]:
        """Yield what a range holds, and take it out of `left`.

        near: only some records from the start on, and no further than it is worth.
        """
        first, end = bounds
        by_time = {told[n].event.recorded_at_ms for n in left}
        before = len(left)
        for record in self._read(self._narrow, topic, p, first, end, at_once=1):
            if record.recorded_at_ms in by_time:
                for n in [n for n in left if _is(record, told[n])]:
                    left.remove(n)
                    yield n, Position(topic, p, record.offset)
            if not left or time.monotonic() > until_s:
                return
            found = len(left) < before
            far = record.offset >= first + NEAR or (found and self._far(record, told[left[0]]))
            if near and far:
                return

    @staticmethod
    def _far(record: Record, told: Told) -> bool:
        """Tell whether another question for an offset is cheaper than reading on."""
        return told.event.recorded_at_ms - record.recorded_at_ms > NEAR_MS

    def _offset_at(self, topic: str, p: int, at_ms: int) -> int | None:
        """Return the first offset whose record is not older; None: the broker cannot tell."""
        asked = [TopicPartition(self.prefix + topic, p, at_ms)]
        try:
            (found,) = self._narrow.offsets_for_times(asked, timeout=ANSWER_S)
        except KafkaException as error:
            raise BrokerUnreachable(f"{self.bootstrap}: {error.args[0].str()}") from None
        return int(found.offset) if found.offset >= 0 else None


NEAR_MS = 1_000


def _is(record: Record, told: Told) -> bool:
    event = told.event
    if record.recorded_at_ms != event.recorded_at_ms or record.key != event.user_id.encode():
        return False
    try:
        read = DECODE[record.topic](record)
    except EventRejected:
        return False
    if isinstance(event, RewardResult) or isinstance(read, RewardResult):
        return bool(read == event)
    return facts.identity(read) == facts.identity(event)

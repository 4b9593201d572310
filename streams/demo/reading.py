"""Read topics as anybody may: whole, read_committed, without joining a group."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from streams import connect
from streams.errors import BrokerUnreachable, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Self

    At = tuple[str, int]  # topic without prefix, partition

TIMEOUT_S = 5.0  # one answer of the broker
SILENCE_S = 30.0  # no record and no end of a partition for this long: the broker is gone
FETCH = 5_000  # records a call
WAIT_S = 0.1  # that it waits
RETRY_S = 0.1
NOT_YET = frozenset(
    {  # a topic was made a moment ago, and not every broker knows it
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


class Read(NamedTuple):
    """One record, as it was found."""

    topic: str  # without prefix
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp_ms: int


class Reader:
    """A consumer of its own, outside every group; close it, or use it in a ``with`` block."""

    def __init__(
        self, bootstrap: str, prefix: str = "", client: connect.Values | None = None
    ) -> None:
        """``client``: how to connect (streams/connect.py). Raises UsageError for what is wrong."""
        self.bootstrap, self.prefix = bootstrap, prefix
        self._met = connect.Met()
        self._consumer: Any = connect.made(
            Consumer,
            {
                **(client or {}),
                "error_cb": self._met,
                "bootstrap.servers": bootstrap,
                "group.id": "leidan-reader",  # required by the client; nothing is ever committed
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,  # so long it takes to learn that nothing is left
                "fetch.message.max.bytes": 16 * 1024 * 1024,
                "log_level": 0,
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def topics(self) -> dict[str, int]:
        """Return the partitions of every topic that begins with the prefix, by name without it.

        Raises BrokerUnreachable, after at most TIMEOUT_S, or Refused.
        """
        found = connect.metadata(self._consumer, self._met, self.bootstrap, TIMEOUT_S).topics
        return {
            name.removeprefix(self.prefix): len(topic.partitions)
            for name, topic in found.items()
            if name.startswith(self.prefix) and topic.error is None
        }

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """Return the partitions of these topics, also of those made a moment ago.

        A controller has made a topic before every broker knows it. Waits for at most TIMEOUT_S;
        raises Refused when one is not there even then, else as `topics`.
        """
        wanted = list(topics)
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            there = self.topics()
            missing = [self.prefix + topic for topic in wanted if not there.get(topic)]
            if not missing:
                return {topic: there[topic] for topic in wanted}
            if time.monotonic() > deadline_s:
                raise Refused(
                    f"{self.bootstrap}: topics missing, {TIMEOUT_S:.0f} s after they were asked"
                    f" for: {', '.join(missing)}. `leidan topics plan` names what is not there"
                )
            time.sleep(RETRY_S)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (low, high): the first offset kept and the one after the last, markers counted."""
        at = TopicPartition(self.prefix + topic, partition)
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            try:
                low, high = self._consumer.get_watermark_offsets(
                    at, timeout=TIMEOUT_S, cached=False
                )
                return int(low), int(high)
            except KafkaException as error:
                code = error.args[0].code()
                if code not in NOT_YET or time.monotonic() > deadline_s:
                    raise BrokerUnreachable(f"{self.bootstrap}: {error.args[0].str()}") from error
            time.sleep(RETRY_S)

    def highs(self, topics: Sequence[str]) -> dict[At, int]:
        """Return the offset after the last one of each partition, markers counted; 0: empty.

        One request a broker, for all partitions together. Topics that are not there are left out.
        Raises as `bounds`.
        """
        there = self.topics()
        ats = [(topic, p) for topic in topics for p in range(there.get(topic, 0))]
        if not ats:
            return {}
        # For the protocol the end is a time like any other.
        asked = [TopicPartition(self.prefix + topic, p, OFFSET_END) for topic, p in ats]
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            try:
                found = self._consumer.offsets_for_times(asked, timeout=TIMEOUT_S)
                error = next((one.error for one in found if one.error is not None), None)
            except KafkaException as failed:
                error = failed.args[0]
            if error is None:
                names = {self.prefix + topic: topic for topic in topics}
                return {(names[one.topic], one.partition): int(one.offset) for one in found}
            if error.code() not in NOT_YET or time.monotonic() > deadline_s:
                raise BrokerUnreachable(f"{self.bootstrap}: {error.str()}")
            time.sleep(RETRY_S)

    def all_of(self, topics: Sequence[str], *, tail: int | None = None) -> Iterator[Read]:
        """Yield every committed record of the topics, partition by partition in offset order.

        tail: only those among the last so many offsets of each partition.
        Ends at the end of each partition; raises BrokerUnreachable when the broker falls silent.
        """
        highs = self.highs(topics)
        yield from (
            self.newest(highs, tail)
            if tail
            else self._from({at: OFFSET_BEGINNING for at, high in highs.items() if high})
        )

    def newest(self, highs: Mapping[At, int], most: int) -> Iterator[Read]:
        """Yield what is committed from `most` offsets before these on, to the ends as they are."""
        yield from self._from({at: max(0, high - most) for at, high in highs.items() if high})

    def _from(self, firsts: Mapping[At, int]) -> Iterator[Read]:
        if not firsts:
            return
        at = [TopicPartition(self.prefix + topic, p, first) for (topic, p), first in firsts.items()]
        self._consumer.assign(at)
        open_ends = {(place.topic, place.partition) for place in at}
        silent_s = 0.0
        while open_ends:
            # A call waits until it has as many as it may give: at least the ends will come.
            messages = self._consumer.consume(len(open_ends), WAIT_S)
            messages += self._consumer.consume(FETCH, 0)
            silent_s = 0.0 if messages else silent_s + WAIT_S
            if silent_s > SILENCE_S:
                raise BrokerUnreachable(f"{self.bootstrap}: silent for {SILENCE_S:.0f} s")
            for message in messages:
                error = message.error()
                if error is None:
                    yield self._read(message)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    open_ends.discard((message.topic(), message.partition()))
                else:
                    raise BrokerUnreachable(f"{self.bootstrap}: {error.str()}")
        self._consumer.unassign()

    def _read(self, message: Any) -> Read:
        return Read(
            message.topic().removeprefix(self.prefix),
            message.partition(),
            message.offset(),
            message.key(),
            message.value(),
            [(name, value or b"") for name, value in message.headers() or ()],
            message.timestamp()[1],
        )

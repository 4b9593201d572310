"""Where a backfill's outputs and offsets go: to a shadow of the topics, or nowhere but the rows.

shadow: the live protocol word for word (D4), outputs, changelog and offsets in one transaction; but
written to topics with a prefix of their own, under a group and transactional ids of its own.
state: no producer at all. L is inside RocksDB alone, and a restart goes on from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from streams import topics
from streams.backfill.plan import watermarks
from streams.errors import BrokerUnreachable, Refused, UsageError
from streams.feed import client
from streams.feed.history import KafkaHistory
from streams.feed.ports import TopicPartition
from streams.feed.producer import KafkaProducer
from streams.store.gathered import RecordByRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from streams.backfill.plan import Plan
    from streams.feed.ports import Offsets, Outgoing, Record
    from streams.settings import Settings

WRITTEN = tuple(
    name
    for name in topics.registry()
    if name not in {*topics.USER_KEYED, topics.TICKS, topics.CAMPAIGNS}
)
"""What a worker writes: these need a shadow."""


class Nowhere:
    """A producer that drops what it is given: the rows are all there is. `ports.Producer`."""

    suspect = False

    def __init__(self) -> None:
        self._marked: dict[TopicPartition, int] = {}

    def begin(self) -> None:
        self._marked.clear()

    def produce(self, records: Iterable[Outgoing]) -> None: ...

    def produce_marked(self, record: Outgoing) -> None:
        self._marked[TopicPartition(record.topic, record.partition or 0)] = -1  # so the next is 0

    def flush(self) -> dict[TopicPartition, int]:
        return dict(self._marked)

    def send_offsets(self, offsets: Mapping[TopicPartition, int], group: Any) -> None: ...

    def commit(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


class RowsAlone(RecordByRecord):
    """A restore that finds all in the rows: no changelog, C is L. Implements `ports.History`."""

    def __init__(self, starts: Offsets, next_: Callable[[], Offsets | None]) -> None:
        self._starts, self._next = starts, next_

    def committed(self, _p: int, _topics: Sequence[str]) -> Offsets:
        return dict(self._next() or {})

    def low_watermarks(self, _p: int, _topics: Sequence[str]) -> Offsets:
        return dict(self._starts)

    def high_watermark(self, _topic: str, _p: int) -> tuple[int, int]:
        return 0, 0

    def seek(self, _topic: str, _p: int, _offset: int) -> None:
        raise AssertionError("there is no changelog to read")

    def read(self, _max_records: int, _timeout_s: float) -> list[Record]:
        return []

    def position(self) -> int:
        return 0

    def close(self) -> None: ...


class ShadowHistory(KafkaHistory):
    """The shadow's own changelog and group; it begins where the plan does."""

    def __init__(
        self, settings: Settings, plan: Plan, starts: Offsets, cancelled: Callable[[], bool]
    ) -> None:
        names = {topics.CHANGELOG: plan.shadow_prefix + topics.CHANGELOG}
        super().__init__(shadow_settings(settings, plan), cancelled, names)
        self._starts = starts

    def low_watermarks(self, p: int, topics: Sequence[str]) -> Offsets:
        del p, topics
        return dict(self._starts)


def shadow_settings(settings: Settings, plan: Plan, p: int | None = None) -> Settings:
    """Return settings whose group and transactional ids are never those of live workers."""
    name = f"{settings.app_id}-backfill-{plan.shadow_prefix}".rstrip("-._")
    instance = settings.instance if p is None else str(p)  # one id a partition: any process may
    return msgspec.structs.replace(settings, app_id=name, instance=instance)


def shadow_producer(settings: Settings, plan: Plan, p: int) -> KafkaProducer:
    """Return the producer of one partition's shadow; fences an earlier life of it."""
    names = {name: plan.shadow_prefix + name for name in topics.registry()}
    return KafkaProducer(shadow_settings(settings, plan, p), names)


def no_member(settings: Settings) -> Any:
    """Return group metadata of nobody: offsets go to a group that has no members, or are refused.

    The transactional id alone fences an earlier life.
    """
    consumer: Any = Consumer(client.consumer(settings))
    try:
        return consumer.consumer_group_metadata()
    finally:
        consumer.close()


def require_shadow(settings: Settings, plan: Plan, *, fresh: bool) -> None:
    """The shadow's topics are there, apart from the live ones, and empty where a run begins."""
    prefix = plan.shadow_prefix
    if prefix in {"", settings.kafka.topic_prefix}:
        raise UsageError(
            f"--shadow-prefix {prefix!r}: those are the live topics; choose another prefix"
        )
    consumer: Any = Consumer(client.consumer(shadow_settings(settings, plan)))
    try:
        there = consumer.list_topics(timeout=10.0).topics
        wanted = {prefix + name: plan_count(plan, name) for name in WRITTEN}
        missing = sorted(name for name in wanted if name not in there)
        if missing:
            raise Refused(
                f"topics missing for the shadow: {', '.join(missing)}. Make them with `leidan "
                f"topics apply --topic-prefix {prefix} --partitions {plan.partitions} --execute`"
            )
        for name, count in wanted.items():
            found = len(there[name].partitions)
            if count is not None and found != count:
                raise Refused(
                    f"{name} has {found} partitions, {count} are needed: delete it, then `leidan "
                    f"topics apply --topic-prefix {prefix} --partitions {count} --execute`"
                )
            for p in range(found) if fresh else ():
                _, high = watermarks(consumer, KafkaTopicPartition(name, p))
                if high:
                    raise Refused(
                        f"{name}[{p}] holds {high} offsets of an earlier run: choose another "
                        "--shadow-prefix, or delete the topics of that one"
                    )
    except KafkaException as error:
        raise BrokerUnreachable(f"{error.args[0].str()}") from error
    finally:
        consumer.close()


def plan_count(plan: Plan, name: str) -> int | None:
    """Return how many partitions a shadow topic must have; None: any number."""
    return plan.partitions if topics.registry()[name].partitions == "N" else None

"""Compare the registry with a broker, and create what is missing; never resize, never delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.demo.reading import Reader
from streams.errors import BrokerUnreachable, Refused
from streams.partitioner import partition_of
from streams.topics import USER_KEYED, registry, topic_configs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.connect import Values

TIMEOUT_S = 15.0


class Missing(NamedTuple):
    """A topic of the registry that the broker does not have."""

    name: str  # with the prefix
    topic: str
    partitions: int


class Difference(NamedTuple):
    """What separates a broker from the registry."""

    missing: list[Missing]
    wrong: list[str]  # topics with another number of partitions, each with what to do


def compare(
    bootstrap: str, *, prefix: str = "", partitions: int, client: Values | None = None
) -> Difference:
    """Return what is missing and what does not fit.

    partitions: N of the user-keyed topics; topics that are there already decide it if they agree.
    client: how to connect. Raises BrokerUnreachable, Refused.
    """
    with Reader(bootstrap, prefix, client) as reader:
        there = reader.topics()
    counts = {topic: there[topic] for topic in USER_KEYED if topic in there}
    n = next(iter(counts.values())) if len(set(counts.values())) == 1 else partitions
    missing, wrong = [], []
    for topic, entry in registry().items():
        wanted = entry.partition_count(n)
        if topic not in there:
            missing.append(Missing(prefix + topic, topic, wanted))
        elif there[topic] != wanted:
            wrong.append(
                f"{prefix + topic} has {there[topic]} partitions, not {wanted}; nothing here"
                " resizes a topic: use another --topic-prefix (rows are brought there by `leidan"
                " state resize`), or make it again"
            )
    return Difference(missing, wrong)


class Placed(NamedTuple):
    """Keys that were looked at, and how many of them lie where murmur2 does not put them."""

    keys: int
    elsewhere: int


def placed(reader: Reader, topics: Sequence[str], most: int) -> dict[str, Placed]:
    """Return where the newest keys of each topic lie, of at most so many offsets a partition.

    A producer with another partitioner (librdkafka's default is CRC32) puts one user on two
    partitions, hence on two workers, and nothing ever fails: rewards are just wrong.
    """
    counts = reader.topics()
    seen = {topic: [0, 0] for topic in topics}
    for record in reader.newest(reader.highs(topics), most):
        if record.key:
            count = seen[record.topic]
            count[0] += 1
            count[1] += partition_of(record.key, counts[record.topic]) != record.partition
    return {topic: Placed(*count) for topic, count in seen.items()}


def create(bootstrap: str, missing: list[Missing], client: Values | None = None) -> None:
    """Create topics with the registry's settings, replicated as the broker does by default.

    Returns when they are shown too: a controller has made a topic before every broker knows it.
    Raises BrokerUnreachable, Refused.
    """
    config: dict[str, Any] = {**(client or {}), "bootstrap.servers": bootstrap, "log_level": 0}
    admin = AdminClient(config)
    new = [NewTopic(name, n, config=topic_configs(topic)) for name, topic, n in missing]
    for name, future in admin.create_topics(new, request_timeout=TIMEOUT_S).items():
        try:
            future.result(TIMEOUT_S)
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.TOPIC_ALREADY_EXISTS:
                continue  # somebody else was quicker; the comparison comes after this anyway
            if code in {KafkaError._TRANSPORT, KafkaError._TIMED_OUT}:  # noqa: SLF001
                raise BrokerUnreachable(f"{bootstrap}: {error.args[0].str()}") from error
            raise Refused(f"{name}: not created: {error.args[0].str()}") from error
    with Reader(bootstrap, client=client) as reader:
        reader.partitions(name for name, _, _ in missing)


def require(
    bootstrap: str,
    *,
    prefix: str = "",
    create: bool,
    partitions: int,
    client: Values | None = None,
) -> None:
    """Raise Refused unless every topic is there and fits, creating the missing ones if told to."""
    difference = compare(bootstrap, prefix=prefix, partitions=partitions, client=client)
    if difference.wrong:
        raise Refused("\n".join(difference.wrong))
    if not difference.missing:
        return
    if not create:
        names = ", ".join(missing.name for missing in difference.missing)
        raise Refused(
            f"{bootstrap} has no {names}; give --create-topics, or:"
            " leidan topics apply --bootstrap-servers ... --execute"
        )
    _create(bootstrap, difference.missing, client)


_create = create  # `require` has a flag of that name

"""librdkafka settings every client of ours shares, and what its errors and messages mean.

One place, because a single client with another partitioner or isolation level breaks the promise.
Source: reliability.md 3 and 5.1.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from streams.feed.ports import Record

if TYPE_CHECKING:
    from streams.settings import Settings

log = logging.getLogger("leidan.kafka")
log.addFilter(lambda record: "Application maximum poll interval" not in record.getMessage())

FENCED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError._FENCED,  # noqa: SLF001 - librdkafka's local codes are spelt like that
    }
)
"""Somebody newer owns this: drop all, exit 75, no retry (reliability.md 2, zombie)."""

MAX_MESSAGE_BYTES = 16 << 20
"""What dead-letters allows: the largest input, 12 MiB, with our headers (schemas/topics)."""

SOCKET_TIMEOUT_MS = 5_000
"""A call between K3 and K7 that takes longer makes the producer suspect (reliability.md 5.3)."""

IDLE_MS = SOCKET_TIMEOUT_MS + 3_000
"""How long a producer keeps a connection that says nothing; librdkafka takes up to 2 s off.

A coordinator that left the metadata stays in librdkafka's cache, and who waits for it looks again
only when some other connection comes or goes (librdkafka#5511): send_offsets hung for ever with one
broker of three away. So some connection must go before its 10 s are over, but none before a call
that waits on it counts as slow (reliability.md 5.3).
"""


def common(settings: Settings) -> dict[str, Any]:
    """Return what every client begins with: the pass-through keys, then the address."""
    return {
        **settings.kafka.client,
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "client.id": settings.instance,
        "logger": log,
        # a broker that comes back should be found at once: its absence holds money back
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
    }


def admin(settings: Settings) -> Any:
    """Return a client that asks; it says what it meets by raising, and to no log."""
    config: Any = {**common(settings), "error_cb": lambda _error: None, "log_level": 0}
    return AdminClient(config)


def consumer(settings: Settings, **extra: Any) -> dict[str, Any]:
    """Return a consumer's settings: reads nothing twice by itself and skips nothing by itself."""
    return {
        **common(settings),
        "group.id": settings.group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        # the mock cluster writes transaction markers without a checksum
        "check.crcs": not settings.embedded,
        "fetch.wait.max.ms": 100,
        "fetch.error.backoff.ms": 100,
        "queued.max.messages.kbytes": 64 << 10,  # reliability.md 4, memory per worker
        "max.partition.fetch.bytes": 4 << 20,
        **extra,
    }


def come(consumer: Any, most: int, timeout_s: float) -> list[Any]:
    """Return the messages that are here; wait only where none is, for the first that comes.

    librdkafka's consume(n, t) waits t to its end unless n messages come. Callbacks run in here.
    """
    here: list[Any] = consumer.consume(most, 0.0)
    if here or not timeout_s:
        return here
    here = consumer.consume(1, timeout_s)
    if here and most > 1:
        here += consumer.consume(most - 1, 0.0)
    return here


def is_fenced(error: KafkaError) -> bool:
    """Say whether somebody else owns what we tried to use."""
    return error.code() in FENCED


def record_of(topic: str, message: Any) -> Record:
    """Return what a message without an error is; ``topic``: its name without prefix.

    The feed's own reader has these lines once more (kafka_log.py): a call a record costs there.
    """
    return Record(
        topic,
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        message.headers() or [],
        message.timestamp()[1],
    )

"""Writes `ticks`: the one place where the wall clock becomes an event (D8).

Every tick goes to every partition in one transaction, with the offsets up to which a worker must
have read the partition's other topics before it: those of what was committed when the clock was
read, so that lag never expires a task. One writer at a time: the transactional id is the same for
all, and whoever starts later fences the one before. Source: semantics.md 8.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import IsolationLevel, KafkaException, Producer, TopicPartition
from confluent_kafka import admin as kafka_admin

from streams import connect
from streams.errors import BrokerUnreachable, Fenced
from streams.topics import FOLDED, TICKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.connect import Values

log = logging.getLogger(__name__)

OTHERS = tuple(topic for topic in FOLDED if topic != TICKS)
CALL_S = 10.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Ticker:
    """Writes a tick whenever it is told to; `at` never goes back."""

    def __init__(  # noqa: PLR0913 - what it must know of the broker and of ticks so far
        self,
        bootstrap: str,
        partitions: int,
        *,
        app_id: str,
        prefix: str = "",
        client: Values | None = None,
        last_ms: int = 0,
    ) -> None:
        """``last_ms``: the latest `at` on the topic. Raises BrokerUnreachable, Fenced."""
        self.bootstrap, self.partitions, self.prefix = bootstrap, partitions, prefix
        self.last_ms = last_ms
        self._met = connect.Met()
        config: dict[str, Any] = {
            **(client or {}),
            "bootstrap.servers": bootstrap,
            "error_cb": self._met,
            "log_level": 0,
        }
        self._admin: Any = connect.made(kafka_admin.AdminClient, config)
        self._producer: Any = connect.made(
            Producer,
            {
                **config,
                "transactional.id": f"{app_id}-ticks",
                "transaction.timeout.ms": 15_000,
                "message.timeout.ms": 10_000,
            },
        )
        self._call(self._producer.init_transactions)

    def write(self, at_ms: int, recorded_ms: int | None = None) -> bool:
        """Write one tick to each partition; False: time has not moved on since the last.

        recorded_ms: the records' own timestamp; None: the clock's. Raises BrokerUnreachable,
        Fenced.
        """
        if at_ms <= self.last_ms:
            log.warning("the clock stands at %d, the last tick at %d: none", at_ms, self.last_ms)
            return False
        ends = self.ends()
        at = (EPOCH + timedelta(milliseconds=at_ms)).isoformat()
        self._producer.begin_transaction()
        for p in range(self.partitions):
            tick = {"type": "tick", "v": 1, "at": at, "partition": p, "ends": ends[p]}
            timestamp = {} if recorded_ms is None else {"timestamp": recorded_ms}
            value = orjson.dumps(tick, option=orjson.OPT_SORT_KEYS)
            self._producer.produce(self.prefix + TICKS, value, partition=p, **timestamp)
        self._call(self._producer.commit_transaction)
        self.last_ms = at_ms
        return True

    def ends(self) -> dict[int, dict[str, int]]:
        """Return by partition and topic the offset behind the last record that can be read.

        Not the high watermark: behind it may lie a transaction that ends tomorrow.
        """
        spec: Any = kafka_admin.OffsetSpec  # type: ignore[attr-defined]
        asked = {
            TopicPartition(self.prefix + topic, p): spec.latest()
            for topic in OTHERS
            for p in range(self.partitions)
        }
        answers = self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=CALL_S
        )
        ends: dict[int, dict[str, int]] = {p: {} for p in range(self.partitions)}
        for at, answer in answers.items():
            try:
                found = answer.result(CALL_S).offset
            except KafkaException as error:
                raise BrokerUnreachable(f"{self.bootstrap}: {error.args[0].str()}") from error
            ends[at.partition][at.topic.removeprefix(self.prefix)] = max(0, found)
        return ends

    def _call(self, call: Callable[[float], None]) -> None:
        try:
            call(CALL_S)
        except KafkaException as error:
            said = error.args[0]
            if said.fatal():
                raise Fenced(f"{said.str()}: another `leidan ticks` has taken over") from error
            raise BrokerUnreachable(f"{self.bootstrap}: {said.str()}") from error

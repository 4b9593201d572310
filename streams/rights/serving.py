"""The service on Kafka: reads `rewards` read_committed, answers on `reward-results`.

It keeps no state of its own: at its start it reads its own answers, then all commands, and goes on
where it was. Answered twice, by accident or as a fault, it is the same answer to the byte. One
process; not a member of any group.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

from streams import connect
from streams.domain.days import instant_ms
from streams.errors import BrokerUnreachable, Refused
from streams.rights.book import Answer, Book, Command
from streams.topics import REWARD_RESULTS, REWARDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from streams.connect import Values
    from streams.rights.faults import Faults

TIMEOUT_S = 10.0  # one answer of the broker
POLL_S = 0.1
FETCH = 500  # records a call


def command_of(value: bytes, at_ms: int, only: Collection[str] = ()) -> Command | None:
    """Return the command of a ledger record; None for an adjustment, which commands nothing.

    only: campaigns whose commands are carried out; none: all.
    """
    entry = orjson.loads(value)
    if entry["type"] == "reward.adjusted" or (only and entry["campaign_id"] not in only):
        return None
    type_ = entry.get("right", {}).get("type", "")
    return Command(entry["user_id"], entry["reward_id"], entry["seq"], at_ms, type_)


def answer_of(value: bytes) -> Answer | None:
    """Return an answer as it was written; None for what is none of ours."""
    try:
        said = orjson.loads(value)
        at_ms = instant_ms(said["occurred_at"])
        return Answer(
            said["user_id"],
            said["reward_id"],
            said["seq"],
            said["outcome"],
            bool(said.get("retryable")),
            at_ms,
        )
    except (ValueError, TypeError, KeyError):
        return None


def written(answer: Answer) -> bytes:
    """Return the value of an answer, schemas/reward-results.v1.schema.json."""
    at = datetime.fromtimestamp(answer.at_ms / 1000, UTC)
    said: dict[str, Any] = {
        "type": "reward.result",
        "v": 1,
        "user_id": answer.user_id,
        "occurred_at": at.isoformat(timespec="milliseconds"),
        "result_id": answer.result_id,
        "reward_id": answer.reward_id,
        "seq": answer.seq,
        "outcome": answer.outcome,
    }
    if answer.retryable:
        said["retryable"] = True
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)


class Service:
    """One life of the service. `serve` until told to stop; raises BrokerUnreachable."""

    def __init__(
        self,
        bootstrap: str,
        faults: Faults,
        prefix: str = "",
        client: Values | None = None,
        only: Collection[str] = (),
    ) -> None:
        """``only``: carry out what these campaigns command, none: what all do."""
        self.bootstrap, self.prefix, self.book = bootstrap, prefix, Book(faults)
        self.only = frozenset(only)
        self.rested: dict[int, int] = {}
        """By partition of `rewards`, the offset up to which every command is done and told."""
        self.given: dict[str, int] = {}  # answers by outcome
        self._client = {**(client or {}), "bootstrap.servers": bootstrap}
        self._producer: Any = connect.made(
            Producer,
            {
                **self._client,
                "partitioner": "murmur2_random",  # as Java's, or users move to other partitions
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 5,
                "log_level": 0,
            },
        )
        self._failed: list[str] = []

    def serve(
        self, stopped: Callable[[], bool] = lambda: False, exit_when_idle_s: float = 0
    ) -> None:
        """Remember the answers, then carry out commands until `stopped`, or idle for so long."""
        for value, _at_ms in self._whole(REWARD_RESULTS):
            answer = answer_of(value)
            if answer is not None:
                self.book.remember(answer)
        consumer = self._consumer(REWARDS)
        seen: dict[int, int] = {}
        idle_since_s = time.monotonic()
        try:
            while not stopped():
                down = self.book.down_until_ms > _now_ms()
                messages = [] if down else _what_is_there(consumer)
                commands = [
                    one for one in (command_of(*v, self.only) for v in _values(messages)) if one
                ]
                if down:
                    time.sleep(POLL_S)
                for command in commands:
                    self.book.take(command, _now_ms())
                answers = [] if down else self.book.answers(_now_ms())
                self._tell(answers)
                seen |= {m.partition(): m.offset() + 1 for m in messages if m.error() is None}
                if self.book.idle:
                    self.rested = dict(seen)
                if commands or answers or down or not self.book.idle:
                    idle_since_s = time.monotonic()
                elif exit_when_idle_s and time.monotonic() - idle_since_s > exit_when_idle_s:
                    return
        finally:
            consumer.close()
            self._flush()

    def _tell(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            self._producer.produce(
                self.prefix + REWARD_RESULTS,
                written(answer),
                answer.user_id.encode(),
                timestamp=max(answer.at_ms, _now_ms()),
                headers=[("ce_id", answer.result_id.encode())],
                on_delivery=self._report,
            )
            self.given[answer.outcome] = self.given.get(answer.outcome, 0) + 1
        if answers:
            self._flush()

    def _flush(self) -> None:
        left = self._producer.flush(TIMEOUT_S)
        if left or self._failed:
            why = self._failed[0] if self._failed else "no answer"
            raise BrokerUnreachable(f"{self.bootstrap}: answers not taken ({why})")

    def _report(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self._failed.append(error.str())

    def _whole(self, topic: str) -> list[tuple[bytes, int]]:
        """Return all values of a topic as it stands now."""
        consumer, found = self._consumer(topic), []
        ends, heard_s = len(consumer.assignment()), time.monotonic()
        try:
            while ends:
                messages = _what_is_there(consumer)
                heard_s = time.monotonic() if messages else heard_s
                if time.monotonic() - heard_s > TIMEOUT_S:
                    raise BrokerUnreachable(f"{self.bootstrap}: {topic} is not to be read")
                ends -= sum(_is_end(message) for message in messages)
                found += _values(messages)
        finally:
            consumer.close()
        return found

    def _consumer(self, topic: str) -> Any:
        met = connect.Met()
        consumer: Any = connect.made(
            Consumer,
            {
                **self._client,
                "error_cb": met,
                "group.id": "leidan-rights",  # required by the client; nothing is ever committed
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
                "log_level": 0,
            },
        )
        found = connect.metadata(consumer, met, self.bootstrap, TIMEOUT_S).topics
        name = self.prefix + topic
        if name not in found or not found[name].partitions:
            raise Refused(f"topics missing: {name}; create them: leidan topics apply --execute")
        consumer.assign([TopicPartition(name, p, OFFSET_BEGINNING) for p in found[name].partitions])
        return consumer


def _what_is_there(consumer: Any) -> list[Any]:
    """Wait for one message, then take what came with it: a call waits for all it may return."""
    messages: list[Any] = consumer.consume(1, POLL_S)
    return messages + consumer.consume(FETCH, 0) if messages else messages


def _is_end(message: Any) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001


def _values(messages: Iterable[Any]) -> list[tuple[bytes, int]]:
    """Return value and timestamp of each record."""
    found = []
    for message in messages:
        error = message.error()
        if error is None:
            found.append((message.value() or b"null", message.timestamp()[1]))
        elif not _is_end(message) and error.fatal():
            raise KafkaException(error)
    return found


def _now_ms() -> int:
    return round(time.time() * 1000)

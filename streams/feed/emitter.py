"""Writes records of the ledger beside the workers, onto live topics: each once.

Two verbs do: a reviewed make-good, and `backfill --into live`. One transactional id for all of
both, so whoever starts fences the one before and ends what that one left open. Only then are the
topics read: nothing can come from a predecessor after that, so a record that is not on its topic is
not under way either. A kill -9 anywhere, and the next run writes the rest. `dlq replay` and `dlq
drop` do the same to input topics, under an id of theirs.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Producer

from streams import connect
from streams.errors import BrokerUnreachable, Fenced, Refused, RewardsError
from streams.feed import client
from streams.feed.kill_points import reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streams.connect import Values
    from streams.feed.ports import Outgoing

CALL_S = 30.0
ANY = -1
"""Partition by the key, as librdkafka says it."""
NOW = 0
"""The timestamp of whoever gives none, likewise."""
IN_ONE = 200
"""Records in one transaction: millions of them must not outlast a transaction's time."""

MAKEGOOD, DLQ, RESIZE = "makegood", "dlq", "resize"
OTHERS = {
    MAKEGOOD: "another make-good, or `backfill --into live`,",
    DLQ: "another `dlq replay` or `dlq drop`",
    RESIZE: "another `state resize`",
}
"""Who shares a transactional id, and so can fence us."""


class Dated(NamedTuple):
    """A record that keeps a timestamp of before, in ms."""

    record: Outgoing
    at_ms: int


class Redated(Refused):
    """The broker puts its own time on what must keep its timestamp; nothing was written."""


class Emitter:
    """A transactional producer of records that are missing. One thread calls it."""

    def __init__(  # noqa: PLR0913 - all but one say where and as whom it writes
        self,
        bootstrap: str,
        app_id: str,
        prefix: str,
        security: Values,
        purpose: str = MAKEGOOD,
        *,
        keeps_time: bool = False,
    ) -> None:
        """Fence every predecessor; blocks up to 30 s. Raises BrokerUnreachable, Fenced.

        ``keeps_time``: what is Dated is refused by `emit` where the broker dates it anew. (The
        embedded broker answers as if it did, and does not.)
        """
        self.bootstrap, self._prefix, self._purpose = bootstrap, prefix, purpose
        self._name = f"{app_id}-{purpose}"
        self.ends: dict[tuple[str, int], int] = {}  # behind what was written, by topic, partition
        self._failed: list[KafkaError] = []
        self._keeps_time, self._redated = keeps_time, ""
        self._producer: Any = connect.made(
            Producer,
            {
                **security,
                "error_cb": lambda _error: None,
                "bootstrap.servers": bootstrap,
                "transactional.id": self._name,
                "partitioner": "murmur2_random",
                "acks": "all",
                "transaction.timeout.ms": 60_000,
                "message.timeout.ms": 30_000,
                "message.max.bytes": client.MAX_MESSAGE_BYTES,
                "compression.type": "zstd",
                "log_level": 0,
            },
        )
        self._call(self._producer.init_transactions, CALL_S)

    def emit(self, records: Iterable[Outgoing | Dated]) -> int:
        """Write them all, IN_ONE to a transaction, in their order; return how many.

        What must be written together or not at all takes a call of its own, of at most IN_ONE.
        """
        written, left = 0, iter(records)
        while some := list(islice(left, IN_ONE)):
            self._call(self._producer.begin_transaction)
            for record in some:
                self._call(self._send, record)
            unsent = self._call(self._producer.flush, CALL_S)
            if unsent or self._failed:
                timed_out = KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001 - its public name
                raise self._refusal(self._failed[0] if self._failed else timed_out)
            if self._redated:
                name, self._redated = self._redated, ""
                self._call(self._producer.abort_transaction, CALL_S)
                raise Redated(
                    f"{name}: the broker dates records by its own clock (message.timestamp.type is "
                    "LogAppendTime), these must keep their time"
                )
            reach("K6")
            self._call(self._producer.commit_transaction, CALL_S)
            reach("K7")
            written += len(some)
        return written

    def _send(self, given: Outgoing | Dated) -> None:
        record, at_ms = given if isinstance(given, Dated) else (given, NOW)
        self._producer.produce(
            self._prefix + record.topic,
            record.value,
            record.key,
            ANY if record.partition is None else record.partition,
            self._report_dated if at_ms and self._keeps_time else self._report,
            None,
            at_ms,
            record.headers,
        )
        self._producer.poll(0)

    def _report(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self._failed.append(error)
            return
        at = message.topic().removeprefix(self._prefix), message.partition()
        self.ends[at] = max(self.ends.get(at, 0), message.offset() + 1)

    def _report_dated(self, error: KafkaError | None, message: Any) -> None:
        self._report(error, message)
        if error is None and message.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME:
            self._redated = message.topic()

    def _call(self, call: Callable[..., object], *given: object) -> object:
        try:
            return call(*given)
        except KafkaException as error:
            raise self._refusal(error.args[0]) from error
        except SystemError as error:
            # confluent-kafka raises a fatal error among delivery reports, and it is lost there; an
            # abort has nothing else to say
            self._call(self._producer.abort_transaction, CALL_S)
            raise self._refusal(KafkaError(KafkaError._STATE)) from error  # noqa: SLF001

    def _refusal(self, said: KafkaError) -> RewardsError:
        """Return what to raise: fenced by whoever came later, or the broker is away."""
        if said.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            return Refused(
                f"{self.bootstrap}: {said.str()}. Allow Write and Describe on {self._name!r}"
            )
        if client.is_fenced(said) or said.code() == KafkaError._FATAL:  # noqa: SLF001 - fenced before
            return Fenced(f"{said.str()}: {OTHERS[self._purpose]} has taken over")
        return BrokerUnreachable(
            f"{self.bootstrap}: {said.str()}; nothing of this transaction counts. Run it again: "
            "what is written already is not written twice"
        )

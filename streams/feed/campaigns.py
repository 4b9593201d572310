"""Reads `campaigns` before anything is folded, then follows it (D9).

Every worker reads the whole topic, outside the group, on its own thread; the loop takes an
immutable registry between two units of work. A definition that is refused is logged and counted by
every worker and *not* written to dead-letters: nobody owns the topic, so each of n workers would
write its own copy, at every start again. It stays where it is, at its own offset, for the operator.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from streams import topics
from streams.domain.definition import label
from streams.domain.pool_history import Unfit
from streams.domain.registry import Campaigns
from streams.errors import BrokerUnreachable, CampaignRefused, Reason, Refused
from streams.feed import client
from streams.feed.ports import Known
from streams.position import Position
from streams.wire import campaigns as wire

if TYPE_CHECKING:
    from streams.domain.definition import Definition
    from streams.feed.ports import Record
    from streams.settings import Settings

log = logging.getLogger(__name__)

CONFIRM_EVERY_S = 5.0
READ_S = 0.5
STARTUP_S = 60.0


class Registry:
    """The definitions known so far and what was refused. Pure: fed records, no client inside."""

    def __init__(self, from_files: list[Definition], files: str = "") -> None:
        """``files``: digest of what `from_files` was read from (wire/campaigns.py)."""
        self.latest = Known(Campaigns.of(from_files), 0, files)
        self.refused: dict[Reason, int] = {}

    @property
    def campaigns(self) -> Campaigns:
        return self.latest.campaigns

    def read(self, record: Record) -> None:
        """Take a record of the topic."""
        position = Position(record.topic, record.partition, record.offset)
        self.take(record.value, record.recorded_at_ms, position)

    def take(self, value: bytes | None, recorded_at_ms: int, position: Position) -> None:
        """Add one record's definition, or log and count why it is none."""
        campaigns = self._with(value, recorded_at_ms, position)
        # at once: another thread reads it, and must never see definitions of a later offset
        self.latest = Known(campaigns, position.offset + 1, self.latest.files)

    def _with(self, value: bytes | None, recorded_at_ms: int, position: Position) -> Campaigns:
        try:
            record = wire.decode(value or b"", recorded_at_ms, str(position))
        except CampaignRefused as refused:
            self._refuse(refused.reason, str(refused), position)
            return self.campaigns
        if self.campaigns.holds(record):
            return self.campaigns  # published twice, or a file holds it too
        try:
            campaigns = self.campaigns.with_record(record)
        except Unfit as unfit:
            said = "\n".join(f"{position}: {label(record)}: {one}" for one in unfit.problems)
            self._refuse(Reason.CAMPAIGN_INVALID, said, position)
            return self.campaigns
        log.info("%s: %s", position, label(record), extra=position._asdict())
        return campaigns

    def _refuse(self, reason: Reason, text: str, position: Position) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1
        log.error(
            "%s: definition refused, it is NOT in force: %s", reason, text,
            extra=position._asdict(),
        )  # fmt: skip


class CampaignReader:
    """The thread that follows the topic. Implements `ports.CampaignSource`."""

    def __init__(self, settings: Settings, from_files: list[Definition], files: str = "") -> None:
        """``files``: digest of what `from_files` was read from; the journal has it."""
        self._settings = settings
        self._registry = Registry(from_files, files)
        self._confirmed_s = float("-inf")
        self._stopping = threading.Event()
        self._caught_up = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="campaigns", daemon=True)

    def start(self) -> None:
        """Begin to read; `current` is complete once `wait` has returned."""
        self._thread.start()

    def wait(self, timeout_s: float = STARTUP_S) -> None:
        """Block until the end seen at start was reached. Raises BrokerUnreachable, Refused."""
        if not self._caught_up.wait(timeout_s):
            raise BrokerUnreachable(
                f"{self._settings.kafka.bootstrap_servers}: could not read the topic "
                f"{self._settings.topic(topics.CAMPAIGNS)} within {timeout_s:.0f} s"
            )
        self._raise_failed()

    def latest(self) -> Known:
        self._raise_failed()
        return self._registry.latest

    def current(self) -> Campaigns:
        return self.latest().campaigns

    @property
    def known(self) -> int:
        """Number of campaign versions read so far; never raises."""
        return sum(1 for _ in self._registry.campaigns)

    @property
    def refused(self) -> dict[Reason, int]:
        """Definitions on the topic that are not in force, by reason."""
        return dict(self._registry.refused)

    def confirmed_age_s(self) -> float:
        self._raise_failed()
        return time.monotonic() - self._confirmed_s

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _raise_failed(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as error:  # noqa: BLE001 - raised where the loop asks
            self._failed = error
            self._caught_up.set()

    def _follow(self) -> None:
        settings = self._settings
        consumer: Any = Consumer(
            client.consumer(
                settings,
                **{"group.id": f"{settings.app_id}-campaigns", "error_cb": lambda _e: None},
            )
        )
        name = settings.topic(topics.CAMPAIGNS)
        at = KafkaTopicPartition(name, 0)
        try:
            consumer.assign([KafkaTopicPartition(name, 0, 0)])
            position, end, asked_s, next_ask_s = 0, None, 0.0, 0.0
            while not self._stopping.is_set():
                now_s = time.monotonic()
                if now_s >= next_ask_s:
                    asked_s, end = now_s, self._end(consumer, at)
                    next_ask_s = now_s + (CONFIRM_EVERY_S if end is not None else 0.5)
                for message in consumer.consume(500, READ_S if self._caught_up.is_set() else 0.05):
                    position = max(position, self._take(message))
                if end is not None and position >= end:
                    self._confirmed_s = asked_s  # as of the question, not of the last record
                    self._caught_up.set()
        finally:
            consumer.close()

    def _end(self, consumer: Any, at: KafkaTopicPartition) -> int | None:
        try:
            low, high = consumer.get_watermark_offsets(at, timeout=5.0)
        except KafkaException as error:
            log.warning("campaigns: %s", error.args[0].str())
            return None
        if low > 0:
            raise Refused(
                f"{at.topic} begins at offset {low}, not 0: definitions were deleted, and running "
                "tasks may have pinned them. It must keep everything (`retention.ms=-1`)"
            )
        return int(high)

    def _take(self, message: Any) -> int:
        """Return the position after this message."""
        error = message.error()
        if error is None:
            self._registry.read(client.record_of(topics.CAMPAIGNS, message))
            return int(message.offset()) + 1
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            return int(message.offset())
        log.warning("campaigns: %s", error.str())
        return 0

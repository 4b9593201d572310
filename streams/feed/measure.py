"""From a committed unit of work to the metrics; called after the commit returned, never before.

Once a batch or once a second, never once a record: what is counted by record is counted by the
batch itself, in plain counters.
"""

from __future__ import annotations

import contextlib
from collections import deque
from datetime import datetime  # noqa: TC003 - msgspec reads it
from typing import TYPE_CHECKING

import msgspec

from streams import metrics
from streams.feed.batch import Phases
from streams.feed.loop import Pause
from streams.topics import TICKS, USER_KEYED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streams.errors import Reason
    from streams.feed.batch import Batch
    from streams.feed.loop import Feed
    from streams.feed.ports import Record, TopicPartition
    from streams.feed.unit_of_work import UnitOfWork

PAUSES = tuple(reason for reason in Pause if reason is not Pause.NONE)
MOST_SEEN = 600
"""Ends of a partition remembered while nothing of it is committed: ten minutes by the second, then
every other one is forgotten, so the age of what waits stays right to within a factor."""


class _Dated(msgspec.Struct):
    occurred_at: datetime


_dated = msgspec.json.Decoder(_Dated).decode


class Meter:
    """Raises the metrics of one worker; remembers what totals of the loop it has shown."""

    def __init__(
        self,
        rocksdb: Callable[[], tuple[Mapping[str, int], Mapping[int, int]]] = lambda: ({}, {}),
    ) -> None:
        """``rocksdb``: returns bytes by kind, and keys by partition (`DiskStore.sizes`)."""
        self._rocksdb = rocksdb
        self._shown: dict[tuple[str, str], int] = {}
        self._ages = Ages()
        self._lag = metrics.Shown(metrics.LAG)
        self._lag_seconds = metrics.Shown(metrics.LAG_SECONDS)
        self._committed = metrics.Shown(metrics.COMMITTED)
        self._restoring = metrics.Shown(metrics.RESTORE_ROWS)
        self._rows = metrics.Shown(metrics.STATE_ROWS)
        self._refused = metrics.Shown(metrics.CAMPAIGNS_REFUSED)

    def committed(self, work: UnitOfWork, now_ms: int) -> None:
        """Count a unit of work. now_ms: wall clock, ms since the epoch, for the delay only."""
        for stage, seconds in work.phases.items():
            metrics.BATCH_SECONDS.labels(stage).observe(seconds)
        stages = Phases()
        for batch in work.batches:
            stages.add_all(batch.phases)
            for outcome, count in batch.outcomes.items():
                metrics.RECORDS.labels(batch.topic, outcome).inc(count)
            for reason, count in batch.reasons.items():
                metrics.DEAD_LETTERS.labels(batch.topic, reason).inc(count)
            _said(batch)
            if batch.records:  # none: a tick that is not yet through with its users
                _delays(batch, now_ms)
        for stage, seconds in stages.items():
            metrics.BATCH_SECONDS.labels(stage).observe(seconds)
        metrics.BATCH_RECORDS.observe(sum(len(batch.records) for batch in work.batches))

    def refresh(
        self,
        feed: Feed,
        lag: Mapping[TopicPartition, int],
        refused: Mapping[Reason, int],
        now_ms: int,
    ) -> None:
        """Bring gauges and the loop's own totals up to date; about once a second.

        now_ms: wall clock, for the age of what waits.
        """
        counts, owned = feed.counts, list(feed.owned.values())
        metrics.ASSIGNED.set(len(owned))
        metrics.PARKED.set(sum(one.parked for one in owned))
        metrics.RESTORING.set(sum(not one.restored for one in owned))
        paused = feed.pause_reason()
        for reason in PAUSES:
            metrics.PAUSED.labels(reason.value).set(paused is reason)
        for kind, count in counts.rebalances.items():
            self._raise_to(metrics.REBALANCES.labels(kind), "rebalances", kind, count)
        for outcome, count in counts.transactions.items():
            self._raise_to(metrics.TRANSACTIONS.labels(outcome), "transactions", outcome, count)
        self._raise_to(metrics.RESTORES, "restores", "", counts.restores)
        self._raise_to(metrics.RESTORED_ROWS, "restored", "", counts.restored_rows)
        while counts.restore_seconds:
            metrics.RESTORE_SECONDS.observe(counts.restore_seconds.popleft())
        self._refused.set({(reason.value,): count for reason, count in refused.items()})
        self._restoring.set({(str(one.p),): one.remaining for one in owned})
        self._committed.set(
            {(topic, str(one.p)): offset for one in owned for topic, offset in one.next.items()}
        )
        self._lag.set({(at.topic, str(at.partition)): records for at, records in lag.items()})
        ages_s = self._ages.of(feed, lag, now_ms)
        self._lag_seconds.set({(at.topic, str(at.partition)): s for at, s in ages_s.items()})
        sizes, keys = self._rocksdb()
        for what, size in sizes.items():
            metrics.ROCKSDB_BYTES.labels(what).set(size)
        self._rows.set({(str(p),): count for p, count in keys.items()})

    def _raise_to(self, metric: object, name: str, label: str, total: int) -> None:
        shown = self._shown.get((name, label), 0)
        metric.inc(total - shown)  # type: ignore[attr-defined]
        self._shown[(name, label)] = total


class Ages:
    """How old the oldest uncommitted record is, also where none of it has been read yet.

    Then it is as old as the first look at which the partition's end lay behind the offset that
    comes next: less than the truth after a restart, which nobody takes for health for long.
    """

    def __init__(self) -> None:
        self._ends: dict[TopicPartition, deque[tuple[int, int]]] = {}  # (end, first seen at ms)

    def of(
        self, feed: Feed, lag: Mapping[TopicPartition, int], now_ms: int
    ) -> dict[TopicPartition, float]:
        """Return seconds by partition of a topic; 0: all that can be read is committed."""
        oldest = feed.oldest_ms()
        self._ends = {at: self._ends.get(at, deque()) for at in lag}
        ages: dict[TopicPartition, float] = {}
        for at, records in lag.items():
            ends, next_ = self._ends[at], feed.owned[at.partition].next[at.topic]
            while ends and ends[0][0] <= next_:
                ends.popleft()
            end = next_ + records
            if records and (not ends or ends[-1][0] < end):
                ends.append((end, now_ms))
            if len(ends) > MOST_SEEN:
                self._ends[at] = deque(list(ends)[::2])
            since_ms = now_ms
            if at in oldest:  # absent: what lies there are markers
                since_ms = min(oldest[at] or now_ms, ends[0][1] if ends else now_ms)
            ages[at] = max(0, now_ms - since_ms) / 1_000
        return ages


def _said(batch: Batch) -> None:
    """Count what a batch has said: tasks, rewards, money, and draws."""
    for (campaign, event), count in batch.tasks.items():
        metrics.TASKS.labels(campaign, event).inc(count)
    for (type_, campaign, kind, currency), count in batch.ledger.items():
        if type_ == "reward.issued":
            metrics.ISSUED.labels(campaign, kind).inc(count)
        elif type_ == "reward.revoked":
            metrics.REVOKED.labels(campaign, kind).inc(count)
        elif type_ == "amount:reward.issued":
            metrics.ISSUED_AMOUNT.labels(campaign, currency).inc(count)
    for (campaign, kind, reason), count in batch.adjusted.items():
        metrics.ADJUSTED.labels(campaign, kind, reason).inc(count)
    for posted, minor in batch.posted.items():
        metrics.POSTED.labels(*posted).inc(minor)
    _drawn(batch)


def _drawn(batch: Batch) -> None:
    """Count draws by what they hit, beside the hits that their odds promise."""
    for (pool_id, odds_version, prize, outcome), count in batch.draws.items():
        metrics.DRAWS.labels(pool_id, prize, outcome).inc(count)
        if (odds := batch.campaigns.odds(pool_id, odds_version)) is not None:
            for weight in odds.weights:
                expected = count * weight.weight / odds.denominator
                metrics.DRAWS_EXPECTED.labels(pool_id, weight.prize_id).inc(expected)


def _delays(batch: Batch, now_ms: int) -> None:
    """Observe the newest record of a batch: how long it took us, how late it was reported."""
    newest = batch.records[-1]
    delay_s = max(0.0, (now_ms - newest.recorded_at_ms) / 1_000)
    metrics.RECORD_DELAY.labels(batch.topic).observe(delay_s, _where(newest))
    if batch.topic == TICKS:
        metrics.TICK.set(max(newest.recorded_at_ms / 1_000, 0.0))
    elif batch.topic in USER_KEYED and newest.value:
        with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):  # dead, framed
            occurred_ms = _dated(newest.value).occurred_at.timestamp() * 1_000
            late_s = max(0.0, (newest.recorded_at_ms - occurred_ms) / 1_000)
            metrics.EVENT_DELAY.labels(batch.topic).observe(late_s)


def _where(record: Record) -> dict[str, str]:
    """Return an exemplar: which record it was, and its trace, so that it can be looked at."""
    found = {"partition": str(record.partition), "offset": str(record.offset)}
    for name, value in record.headers:
        if name == "traceparent" and value and len(parts := value.split(b"-")) == 4:  # noqa: PLR2004 - W3C
            trace = parts[1].decode(errors="replace")
            if len(trace) == 32 and trace.isalnum():  # noqa: PLR2004 - 16 bytes, in hex
                found["trace_id"] = trace
    return found

"""From a committed unit of work to the metrics; called after the commit returned, never before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams import metrics
from streams.feed.batch import Phases

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.errors import Reason
    from streams.feed.batch import Batch
    from streams.feed.loop import Feed
    from streams.feed.ports import TopicPartition
    from streams.feed.unit_of_work import UnitOfWork


class Meter:
    """Raises the metrics of one worker; remembers what totals of the loop it has shown."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str], int] = {}
        self._lagging: set[tuple[str, str]] = set()

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
            self._ledger(batch)
            if batch.records:  # none: a tick that is not yet through with its users
                delay_s = max(0.0, (now_ms - batch.records[-1].recorded_at_ms) / 1_000)
                metrics.RECORD_DELAY.labels(batch.topic).observe(delay_s)
        for stage, seconds in stages.items():
            metrics.BATCH_SECONDS.labels(stage).observe(seconds)
        metrics.BATCH_RECORDS.observe(sum(len(batch.records) for batch in work.batches))

    def _ledger(self, batch: Batch) -> None:
        for (type_, campaign, kind, currency), count in batch.ledger.items():
            if type_ == "reward.issued":
                metrics.ISSUED.labels(campaign, kind).inc(count)
            elif type_ == "reward.revoked":
                metrics.REVOKED.labels(campaign, kind).inc(count)
            elif type_ == "amount:reward.issued":
                metrics.ISSUED_AMOUNT.labels(campaign, currency).inc(count)

    def refresh(
        self, feed: Feed, lag: Mapping[TopicPartition, int], refused: Mapping[Reason, int]
    ) -> None:
        """Bring gauges and the loop's own totals up to date; about once a second."""
        counts = feed.counts
        metrics.ASSIGNED.set(len(feed.owned))
        metrics.PARKED.set(sum(owned.parked for owned in feed.owned.values()))
        for kind, count in counts.rebalances.items():
            self._raise_to(metrics.REBALANCES.labels(kind), "rebalances", kind, count)
        for outcome, count in counts.transactions.items():
            self._raise_to(metrics.TRANSACTIONS.labels(outcome), "transactions", outcome, count)
        self._raise_to(metrics.RESTORES, "restores", "", counts.restores)
        self._raise_to(metrics.RESTORED_ROWS, "restored", "", counts.restored_rows)
        for reason, count in refused.items():
            metrics.CAMPAIGNS_REFUSED.labels(reason.value).set(count)
        for p, owned in list(feed.owned.items()):
            metrics.RESTORE_ROWS.labels(str(p)).set(owned.remaining)
            for topic, offset in owned.next.items():
                metrics.COMMITTED.labels(topic, str(p)).set(offset)
        now = {(at.topic, str(at.partition)): records for at, records in lag.items()}
        for gone in self._lagging - now.keys():  # series of revoked partitions are removed
            metrics.LAG.remove(*gone)
            metrics.COMMITTED.remove(*gone)
        for labels, records in now.items():
            metrics.LAG.labels(*labels).set(records)
        self._lagging = set(now)

    def _raise_to(self, metric: object, name: str, label: str, total: int) -> None:
        shown = self._shown.get((name, label), 0)
        metric.inc(total - shown)  # type: ignore[attr-defined]
        self._shown[(name, label)] = total

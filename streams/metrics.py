"""Every metric, once: name, labels, meaning, remedy (ecosystem.md 2).

Prefix `rewards_`, base units in the name, labels from closed sets or of what operators define
(campaigns, pools, prizes), never a user or order id. What counts money is raised only after the
commit returned. `python -m streams.metrics` prints deploy/metrics.md, which is their contract.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    write_to_textfile,
)

from streams.errors import Reason, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter
REGISTRY = CollectorRegistry()
"""What /metrics serves. Ours alone: Faust and libraries register elsewhere."""
LEFT_BY = {"backfill": CollectorRegistry(), "verify": CollectorRegistry()}
"""What these commands leave in a file (`--metrics`) for node_exporter's textfile collector."""
ProcessCollector(registry=REGISTRY)  # process_*: memory, processor time, start

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DELAYS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0)  # 60 s is the SLO's
LATENESS = (1.0, 15.0, 60.0, 600.0, 3_600.0, 86_400.0, 604_800.0, 2_592_000.0)
RESTORES_S = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0)

STAGES = (
    "decode", "read", "fold", "hand_over",
    "encode", "produce", "flush", "offsets", "commit", "write",
)  # fmt: skip
OUTCOMES = (
    "applied", "duplicate", "late", "ignored", "compacted", "rejected",
)  # fmt: skip
TRANSACTION_ENDS = ("committed", "aborted", "unknown", "fenced")
REBALANCE_KINDS = ("assigned", "revoked", "lost")


class Described(NamedTuple):
    """For the generated documentation and the contract test."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    remedy: str
    buckets: tuple[float, ...] = ()

    @property
    def unit(self) -> str:
        """Return what it is counted in, as its name says."""
        words = self.name.removesuffix("_total").split("_")
        return next((UNITS[word] for word in reversed(words) if word in UNITS), "1")


UNITS = {
    "seconds": "seconds",
    "bytes": "bytes",
    "minor": "minor units of the currency",
    "records": "records",
    "rows": "rows",
    "letters": "records",
    "partitions": "partitions",
    "ratio": "0 to 1",
    "offset": "offset",
}

ALL: list[Described] = []


def counter(name: str, *, labels: tuple[str, ...] = (), meaning: str, remedy: str) -> Any:
    ALL.append(Described(name, "counter", labels, meaning, remedy))
    return Counter(name, meaning, labels, registry=REGISTRY)


def gauge(
    name: str,
    *,
    labels: tuple[str, ...] = (),
    meaning: str,
    remedy: str,
    registry: CollectorRegistry = REGISTRY,
) -> Any:
    ALL.append(Described(name, "gauge", labels, meaning, remedy))
    return Gauge(name, meaning, labels, registry=registry)


def histogram(
    name: str,
    *,
    labels: tuple[str, ...] = (),
    buckets: tuple[float, ...] = SECONDS,
    meaning: str,
    remedy: str,
) -> Any:
    ALL.append(Described(name, "histogram", labels, meaning, remedy, buckets))
    return Histogram(name, meaning, labels, buckets=buckets, registry=REGISTRY)


class Shown:
    """The series of one gauge as they are now; those that went away are removed."""

    def __init__(self, gauge: Any) -> None:
        self._gauge = gauge
        self._labels: set[tuple[str, ...]] = set()

    def set(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Show exactly these, by the values of the labels: what is not here is not ours any more.

        A partition given away must not stand on our page beside its new owner's.
        """
        for gone in self._labels - values.keys():
            self._gauge.remove(*gone)
        for labels, value in values.items():
            self._gauge.labels(*labels).set(value)
        self._labels = set(values)


RECORDS = counter(
    "rewards_records_total",
    labels=("topic", "outcome"),  # OUTCOMES
    meaning="Input records decided; raised after the commit.",
    remedy="rejected rises: runbook DeadLettersRise. duplicate rises: a shop sends twice. "
    "compacted is not 0: events in time are read more than 7 days past their horizon.",
)
RECORD_DELAY = histogram(
    "rewards_record_delay_seconds",
    labels=("topic",),
    buckets=DELAYS,
    meaning="Record timestamp to our commit, of the newest record of each batch: the SLI. Exemplar "
    "(OpenMetrics): partition, offset and, where the record has one, trace_id.",
    remedy="Rises: look at consumer_lag_seconds, then at batch_seconds by stage.",
)
EVENT_DELAY = histogram(
    "rewards_event_delay_seconds",
    labels=("topic",),
    buckets=LATENESS,
    meaning="Business time to record timestamp, of the newest record of each batch.",
    remedy="Rises: a shop reports late; tell it. Orders past the horizon are not counted.",
)
BATCH_SECONDS = histogram(
    "rewards_batch_seconds",
    labels=("stage",),  # STAGES
    meaning="Where a unit of work spends its time.",
    remedy="The slow stage names the place: commit is the broker, write is the disk.",
)
BATCH_RECORDS = histogram(
    "rewards_batch_records",
    buckets=(1, 10, 100, 500, 1_000, 2_000, 5_000, 10_000, 20_000),
    meaning="Records of a unit of work.",
    remedy="Always full: the worker is behind, add workers.",
)
LAG = gauge(
    "rewards_consumer_lag_records",
    labels=("topic", "partition"),
    meaning="Offsets between what is committed and the end; transaction markers count. Of a "
    "partition that is not read (parked, being restored) as last known.",
    remedy="Grows for minutes: scale out, or see batch_seconds.",
)
LAG_SECONDS = gauge(
    "rewards_consumer_lag_seconds",
    labels=("topic", "partition"),
    meaning="Age of the oldest record that is not committed: by its timestamp once it is here, "
    "before that since its offset was first seen. 0: there is none.",
    remedy="Grows: runbook PartitionStuck.",
)
COMMITTED = gauge(
    "rewards_committed_offset",
    labels=("topic", "partition"),
    meaning="Next offset to fold, as committed.",
    remedy="Stands still while lag grows: partition parked, or the worker is stuck.",
)
ASSIGNED = gauge(
    "rewards_assigned_partitions",
    meaning="Partitions this worker owns.",
    remedy="0 for long: more workers than partitions.",
)
PARKED = gauge(
    "rewards_parked_partitions",
    meaning="Partitions not read because a record killed three starts in a row.",
    remedy="Fix the fold, then remove the crash note beside the database.",
)
RESTORING = gauge(
    "rewards_restoring_partitions",
    meaning="Partitions that are not folded yet because their rows come back from the changelog.",
    remedy="For long: runbook RestoreStalled.",
)
PAUSED = gauge(
    "rewards_folding_paused",
    labels=("reason",),  # campaigns, restoring, producer
    meaning="1 while nothing is folded for this reason.",
    remedy="campaigns: the topic `campaigns` was not confirmed for 30 s, look at the brokers.",
)
REBALANCES = counter(
    "rewards_rebalances_total",
    labels=("kind",),  # REBALANCE_KINDS
    meaning="Changes of the assignment.",
    remedy="Storms: session timeouts too short, or workers restarting.",
)
TRANSACTIONS = counter(
    "rewards_transactions_total",
    labels=("outcome",),  # TRANSACTION_ENDS
    meaning="Transactions by outcome.",
    remedy="Anything but committed: brokers, network, or two workers with one instance name.",
)
RESTORE_ROWS = gauge(
    "rewards_restore_remaining_rows",
    labels=("partition",),
    meaning="Changelog records still to read before the partition folds.",
    remedy="Stands still: an open transaction holds readers back; see the log.",
)
RESTORE_SECONDS = histogram(
    "rewards_restore_seconds",
    buckets=RESTORES_S,
    meaning="How long restores of a partition took, those that ended well.",
    remedy="Long after each restart: the state directory is not kept.",
)
RESTORES = counter(
    "rewards_restores_total",
    meaning="Restores begun.",
    remedy="Rises without rebalances: commits fail, see transactions_total.",
)
RESTORED_ROWS = counter(
    "rewards_restored_rows_total",
    meaning="Changelog records read by restores.",
    remedy="Large after each restart: the state directory is not kept.",
)
STATE_ROWS = gauge(
    "rewards_state_rows",
    labels=("partition",),
    meaning="Keys of the partition's database, as RocksDB estimates them; deadlines are keys too.",
    remedy="Grows without new users: histories are compacted by ticks, so look for those.",
)
ROCKSDB_BYTES = gauge(
    "rewards_rocksdb_bytes",
    labels=("kind",),  # cache, memtables, disk
    meaning="Memory of all databases of this worker, memtables included in the cache, and their "
    "files.",
    remedy="disk grows: plan the volume. The cache stays at its limit: that is how it should be.",
)
DEAD_LETTERS = counter(
    "rewards_dead_letters_total",
    labels=("topic", "reason"),
    meaning="Records set aside by this worker, after the commit.",
    remedy="Runbook DeadLettersRise; tell the shop.",
)
DEAD_LETTERS_SEEN = counter(
    "rewards_dead_letters_seen_total",
    labels=("reason",),
    meaning="Dead letters of all workers, as the dead-letters agent reads them; may count twice.",
    remedy="As dead_letters_total.",
)
CAMPAIGNS_REFUSED = gauge(
    "rewards_campaigns_refused",
    labels=("reason",),
    meaning="Definitions on the campaigns topic that are not in force.",
    remedy="leidan campaign validate; publish a corrected version.",
)
TICK = gauge(
    "rewards_newest_tick_timestamp_seconds",
    meaning="Time of the newest tick committed by this worker; 0: none since it started.",
    remedy="Stands still: without ticks nothing expires. Start `leidan ticks`.",
)
TASKS = counter(
    "rewards_tasks_total",
    labels=("campaign", "event"),
    meaning="Task events by type (task.claimed, task.completed, order.ignored, ...), after the "
    "commit: the funnel.",
    remedy="leidan explain USER.",
)
ISSUED = counter(
    "rewards_issued_total",
    labels=("campaign", "kind"),
    meaning="Rewards issued, after the commit.",
    remedy="leidan explain USER.",
)
REVOKED = counter(
    "rewards_revoked_total",
    labels=("campaign", "kind"),
    meaning="Rewards revoked, after the commit.",
    remedy="leidan explain USER.",
)
ADJUSTED = counter(
    "rewards_adjusted_total",
    labels=("campaign", "kind", "reason"),
    meaning="Rewards that moved otherwise: reserved, released, failed, spent, lapsed, returned, "
    "owed, restored, written_off, ..., after the commit.",
    remedy="failed rises: ask the rights service. owed rises: runbook DebtGrows.",
)
ISSUED_AMOUNT = counter(
    "rewards_issued_amount_minor_total",
    labels=("campaign", "currency"),
    meaning="Value issued in minor units of the currency.",
    remedy="leidan explain USER.",
)
POSTED = counter(
    "rewards_posted_minor_total",
    labels=("campaign", "currency", "account", "side"),  # side: in, out
    meaning="The ledger's postings (semantics.md 7), by account and direction, after the commit. "
    "in less out of issued, reserved and returning: liability; of debt: what users owe.",
    remedy="Runbook DebtGrows.",
)
BUDGET = gauge(
    "rewards_budget_minor",
    labels=("pool", "campaign", "currency"),
    meaning="Money a budget may give in all, with what was added. campaign: empty for a shared "
    "pool.",
    remedy="Publish budget.added.",
)
BUDGET_LEFT = gauge(
    "rewards_budget_remaining_minor",
    labels=("pool", "campaign", "currency"),
    meaning="Money that is neither reserved nor given, as committed. "
    "Below zero: as stock below zero.",
    remedy="Runbook BudgetLow.",
)
STOCK = gauge(
    "rewards_pool_stock_supplied",
    labels=("pool", "item"),
    meaning="Units of a prize or right in all: defined and restocked.",
    remedy="Publish pool.restocked.",
)
STOCK_LEFT = gauge(
    "rewards_pool_stock_remaining",
    labels=("pool", "item"),
    meaning="Units that can still be given, as committed. "
    "Below zero: prizes that had returned were given to others, and are spent all the same.",
    remedy="Runbook StockLow.",
)
DRAWS = counter(
    "rewards_draws_total",
    labels=("pool", "prize", "outcome"),  # won, nothing, no_stock, not_released, ...
    meaning="Draws by where the ticket fell (prize: empty for a blank) and what came of it, after "
    "the commit.",
    remedy="Runbook OddsDrift. no_stock rises: runbook StockLow.",
)
DRAWS_EXPECTED = counter(
    "rewards_draws_expected_total",
    labels=("pool", "prize"),
    meaning="Hits that the odds in force promise for the draws made: what draws_total by prize is "
    "held against.",
    remedy="Runbook OddsDrift.",
)
REVEAL_DUE = gauge(
    "rewards_pool_reveal_due_timestamp_seconds",
    labels=("pool",),
    meaning="When the seed of a lottery is due to be revealed; gone once it was.",
    remedy="In the past: runbook RevealOverdue.",
)
BUILD = gauge(
    "rewards_build_info",
    labels=("version", "fold_version", "tzdata"),
    meaning="Which rules run where; always 1.",
    remedy="Differs between workers: finish the rollout.",
)
BACKFILL = gauge(
    "rewards_backfill_progress_ratio",
    labels=("partition",),
    registry=LEFT_BY["backfill"],
    meaning="How far `leidan backfill --metrics FILE` is, by offsets.",
    remedy="Stands still: look at the command's own lines.",
)
AUDIT_DIFFERENCES = gauge(
    "rewards_audit_differences",
    registry=LEFT_BY["verify"],
    meaning="Partitions in which the last `leidan verify --metrics FILE` found a difference.",
    remedy="Not 0: stop payouts, runbook AuditDiffers.",
)
AUDITED = gauge(
    "rewards_audit_last_success_timestamp_seconds",
    registry=LEFT_BY["verify"],
    meaning="When `leidan verify --metrics FILE` last found all the same.",
    remedy="Old: runbook AuditStale.",
)


def begin(topics: Collection[str]) -> None:
    """Let the counters that alerts look at stand at 0: one that appears at 5 has not risen by 5."""
    for topic in topics:
        RECORD_DELAY.labels(topic)
        for outcome in OUTCOMES:
            RECORDS.labels(topic, outcome)
        for reason in Reason:
            DEAD_LETTERS.labels(topic, reason.value)
    for reason in Reason:
        DEAD_LETTERS_SEEN.labels(reason.value)
    for end in TRANSACTION_ENDS:
        TRANSACTIONS.labels(end)
    for kind in REBALANCE_KINDS:
        REBALANCES.labels(kind)


def leave(path: str, command: str) -> None:
    """Leave the metrics of a command in a file, whole at every moment. Raises UsageError."""
    try:
        write_to_textfile(path, LEFT_BY[command])
    except OSError as error:
        raise UsageError(f"--metrics {path}: {error.strerror}") from error


def document() -> str:
    """Return deploy/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Written by `python -m streams.metrics > deploy/metrics.md`; a test holds the two equal.",
        "What is not here is no metric of ours, and what is here is a contract: a name, type, unit",
        "or label that changes breaks somebody's dashboard. A worker serves `process_*` as well.",
        "",
        "| metric | type | unit | labels | meaning | first remedy |",
        "|---|---|---|---|---|---|",
    ]
    for one in ALL:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        buckets = f" Buckets: {', '.join(f'{edge:g}' for edge in one.buckets)}." * bool(one.buckets)
        lines.append(
            f"| `{one.name}` | {one.kind} | {one.unit} | {labels} | {one.meaning}{buckets} "
            f"| {one.remedy} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())

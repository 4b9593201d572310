"""Every metric, once: name, labels, meaning, remedy (ecosystem.md 2).

Prefix `rewards_`, base units in the name, labels from closed sets, never a user or order id. What
counts money is raised only after the commit returned.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
"""Ours alone: Faust and libraries register elsewhere."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DELAYS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0)  # 60 s is the SLO's


class Described(NamedTuple):
    """For the generated documentation and the contract test."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    remedy: str


ALL: list[Described] = []


def _describe(kind: str, name: str, labels: tuple[str, ...], meaning: str, remedy: str) -> None:
    ALL.append(Described(name, kind, labels, meaning, remedy))


def counter(name: str, *, labels: tuple[str, ...] = (), meaning: str, remedy: str) -> Any:
    _describe("counter", name, labels, meaning, remedy)
    return Counter(name, meaning, labels, registry=REGISTRY)


def gauge(name: str, *, labels: tuple[str, ...] = (), meaning: str, remedy: str) -> Any:
    _describe("gauge", name, labels, meaning, remedy)
    return Gauge(name, meaning, labels, registry=REGISTRY)


def histogram(
    name: str,
    *,
    labels: tuple[str, ...] = (),
    buckets: tuple[float, ...] = SECONDS,
    meaning: str,
    remedy: str,
) -> Any:
    _describe("histogram", name, labels, meaning, remedy)
    return Histogram(name, meaning, labels, buckets=buckets, registry=REGISTRY)


RECORDS = counter(
    "rewards_records_total",
    labels=("topic", "outcome"),  # applied, duplicate, late, ignored, compacted, rejected
    meaning="Input records decided; raised after the commit.",
    remedy="rejected rises: leidan dlq list --by reason. duplicate rises: a shop sends twice. "
    "compacted is not 0: events in time are read more than 7 days past their horizon; alert.",
)
RECORD_DELAY = histogram(
    "rewards_record_delay_seconds",
    labels=("topic",),
    buckets=DELAYS,
    meaning="Record timestamp to our commit, newest record of each batch: the SLI.",
    remedy="Rises: look at lag, then at batch_seconds by stage.",
)
BATCH_SECONDS = histogram(
    "rewards_batch_seconds",
    labels=("stage",),  # poll, decode, read, fold, encode, produce, flush, offsets, commit, write
    meaning="Where a unit of work spends its time.",
    remedy="The slow stage names the place: commit is the broker, write is the disk.",
)
BATCH_RECORDS = histogram(
    "rewards_batch_records",
    buckets=(1, 10, 100, 500, 1_000, 2_000, 5_000, 10_000),
    meaning="Records of a unit of work.",
    remedy="Always full: the worker is behind, add workers.",
)
LAG = gauge(
    "rewards_consumer_lag_records",
    labels=("topic", "partition"),
    meaning="Offsets between what was read and the end; transaction markers count.",
    remedy="Grows for minutes: scale out, or see batch_seconds.",
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
REBALANCES = counter(
    "rewards_rebalances_total",
    labels=("kind",),  # assigned, revoked, lost
    meaning="Changes of the assignment.",
    remedy="Storms: session timeouts too short, or workers restarting.",
)
TRANSACTIONS = counter(
    "rewards_transactions_total",
    labels=("outcome",),  # committed, aborted, unknown, fenced
    meaning="Transactions by outcome.",
    remedy="Anything but committed: brokers, network, or two workers with one instance name.",
)
RESTORE_ROWS = gauge(
    "rewards_restore_remaining_rows",
    labels=("partition",),
    meaning="Changelog records still to read before the partition folds.",
    remedy="Stands still: an open transaction holds readers back; see the log.",
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
DEAD_LETTERS = counter(
    "rewards_dead_letters_total",
    labels=("topic", "reason"),
    meaning="Records set aside by this worker, after the commit.",
    remedy="leidan dlq list --by reason; tell the shop.",
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
ISSUED_AMOUNT = counter(
    "rewards_issued_amount_minor_total",
    labels=("campaign", "currency"),
    meaning="Value issued in minor units of the currency.",
    remedy="leidan explain USER.",
)
BUILD = gauge(
    "rewards_build_info",
    labels=("version", "fold_version", "tzdata"),
    meaning="Which rules run where; always 1.",
    remedy="Differs between workers: finish the rollout.",
)

"""The three dashboards, described; `python deploy/grafana/dashboards.py` writes the JSON beside it.

Classic JSON of schema 39, which every Grafana from 10 on loads from files; a panel a line, so that
a change is a line in a review. A panel is

    (title, unit, what it shows and what to do about it, {legend: expression})

and a dashboard is rows of them. `{W}` in an expression is the selection of workers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
W = 'namespace=~"$namespace",job=~"$job"'
RATE = "[$__rate_interval]"
WIDTH, HEIGHT, A_ROW = 8, 7, 3


class Panel(NamedTuple):
    """One picture; `kind`: a type of Grafana's own."""

    title: str
    unit: str
    description: str
    targets: dict[str, str]
    kind: str = "timeseries"


class Dashboard(NamedTuple):
    """`more`: variables beside namespace and job, each (name, expression that lists its values)."""

    uid: str
    title: str
    more: tuple[tuple[str, str], ...]
    rows: dict[str, list[Panel]]


def net(of: str, account: str, window: str) -> str:
    """Return what accounts have gained less what they have given, as the ledger posted it."""
    posted = f'rewards_posted_minor_total{{{of},account=~"{account}",side="%s"}}{window}'
    into, out = (f"sum by (currency) (increase({posted % side}))" for side in ("in", "out"))
    return f"{into} - ({out} or 0 * {into})"


OPERATIONS = Dashboard(
    "leidan-operations",
    "leidan / operations",
    (),
    {
        "Delay: the promise is 99.9 % within 60 s": [
            Panel(
                "Late batches, last hour",
                "percentunit",
                "Batches whose newest record was committed later than 60 s after its timestamp. "
                "0.1 % is the budget of a month.",
                {"{{job}}": f"job:rewards_slow_batches:ratio_rate1h{{{W}}}"},
                "stat",
            ),
            Panel(
                "Delay by topic, p99",
                "s",
                "Record timestamp to our commit: the SLI. Rises: look at the backlog, then at the "
                "stages.",
                {
                    "{{topic}}": "histogram_quantile(0.99, sum by (le, topic) "
                    f"(rate(rewards_record_delay_seconds_bucket{{{W}}}{RATE})))"
                },
            ),
            Panel(
                "How late shops report, p99",
                "s",
                "Business time to record timestamp. Not ours to mend: tell the shop.",
                {
                    "{{topic}}": "histogram_quantile(0.99, sum by (le, topic) "
                    f"(rate(rewards_event_delay_seconds_bucket{{{W}}}{RATE})))"
                },
            ),
            Panel(
                "Records by outcome",
                "reqps",
                "What became of the input. duplicate: a shop sends twice. late: folded again from "
                "the user's history. rejected: dead letters.",
                {"{{outcome}}": f"sum by (outcome) (rate(rewards_records_total{{{W}}}{RATE}))"},
            ),
            Panel(
                "Where a unit of work spends its time",
                "percentunit",
                "Seconds a second by stage. commit and offsets are the brokers, write is the disk, "
                "fold is the processor.",
                {"{{stage}}": f"sum by (stage) (rate(rewards_batch_seconds_sum{{{W}}}{RATE}))"},
            ),
            Panel(
                "Records of a unit of work",
                "short",
                "Always near batch_records: the workers are the limit, add some.",
                {
                    "mean": f"sum(rate(rewards_batch_records_sum{{{W}}}{RATE}))"
                    f" / sum(rate(rewards_batch_records_count{{{W}}}{RATE}))"
                },
            ),
        ],
        "Backlog": [
            Panel(
                "Oldest record that waits",
                "s",
                "Above 120 s with a standing offset: runbook PartitionStuck.",
                {"{{topic}}": f"max by (topic) (rewards_consumer_lag_seconds{{{W}}})"},
            ),
            Panel(
                "Records that wait",
                "short",
                "Offsets behind the end, transaction markers too: one a partition is none.",
                {"{{topic}}": f"sum by (topic) (rewards_consumer_lag_records{{{W}}})"},
            ),
            Panel(
                "Committed offset, movement",
                "cps",
                "One partition flat while the others move: it is stuck, or its users are asleep.",
                {
                    "{{topic}}[{{partition}}]": "sum by (topic, partition) "
                    f"(deriv(rewards_committed_offset{{{W}}}[5m]))"
                },
            ),
            Panel(
                "Age of the newest tick",
                "s",
                "More than some minutes: nothing expires. Runbook NoTicks.",
                {
                    "{{job}}": "time() - max by (job) "
                    f"(rewards_newest_tick_timestamp_seconds{{{W}}} > 0)"
                },
            ),
            Panel(
                "Dead letters by reason",
                "cps",
                "Records set aside, bytes unchanged. Runbook DeadLettersRise.",
                {"{{reason}}": f"sum by (reason) (rate(rewards_dead_letters_total{{{W}}}{RATE}))"},
            ),
            Panel(
                "Dead letters on the topic",
                "cps",
                "The same as read back from the topic, of all workers; may count twice.",
                {
                    "{{reason}}": "sum by (reason) "
                    f"(rate(rewards_dead_letters_seen_total{{{W}}}{RATE}))"
                },
            ),
        ],
        "Group, transactions, restore": [
            Panel(
                "Partitions by worker",
                "short",
                "Owned; of those not read after three crashes (parked), and not yet restored.",
                {
                    "{{instance}} owned": f"rewards_assigned_partitions{{{W}}}",
                    "{{instance}} parked": f"rewards_parked_partitions{{{W}}}",
                    "{{instance}} restoring": f"rewards_restoring_partitions{{{W}}}",
                },
            ),
            Panel(
                "Rebalances",
                "short",
                "In ten minutes. Storms: runbook RebalanceStorm.",
                {"{{kind}}": f"sum by (kind) (increase(rewards_rebalances_total{{{W}}}[10m]))"},
            ),
            Panel(
                "Folding paused",
                "short",
                "Workers that fold nothing, and why. campaigns: definitions too old (brokers).",
                {"{{reason}}": f"sum by (reason) (rewards_folding_paused{{{W}}})"},
            ),
            Panel(
                "Transactions by outcome",
                "cps",
                "Anything but committed: runbook TransactionsFail. Nothing is lost by it.",
                {
                    "{{outcome}}": "sum by (outcome) "
                    f"(rate(rewards_transactions_total{{{W}}}{RATE}))"
                },
            ),
            Panel(
                "Restore: rows still to read",
                "short",
                "Stands above 0: runbook RestoreStalled.",
                {"{{partition}}": f"sum by (partition) (rewards_restore_remaining_rows{{{W}}})"},
            ),
            Panel(
                "Restores",
                "short",
                "Begun in ten minutes, rows read, and how long they take. Many rows after each "
                "start: the state directory is not kept.",
                {
                    "restores": f"sum(increase(rewards_restores_total{{{W}}}[10m]))",
                    "rows": f"sum(increase(rewards_restored_rows_total{{{W}}}[10m]))",
                    "p99 s": "histogram_quantile(0.99, sum by (le) "
                    f"(rewards_restore_seconds_bucket{{{W}}}))",
                },
            ),
        ],
        "State, memory, versions": [
            Panel(
                "RocksDB bytes",
                "bytes",
                "The cache stays at its limit, memtables within it. disk: plan the volume.",
                {"{{kind}}": f"sum by (kind) (rewards_rocksdb_bytes{{{W}}})"},
            ),
            Panel(
                "Keys by partition",
                "short",
                "As RocksDB estimates. One partition far above the others: a key that is no user.",
                {"{{partition}}": f"sum by (partition) (rewards_state_rows{{{W}}})"},
            ),
            Panel(
                "Memory and processors",
                "short",
                "Resident MiB, processors busy, by worker.",
                {
                    "{{instance}} MiB": f"process_resident_memory_bytes{{{W}}} / 1048576",
                    "{{instance}} cores": f"rate(process_cpu_seconds_total{{{W}}}{RATE})",
                },
            ),
            Panel(
                "Versions",
                "short",
                "Workers by version of leidan, of the fold and of the time zones.",
                {
                    "{{version}} fold {{fold_version}} tz {{tzdata}}": "count by (version, "
                    f"fold_version, tzdata) (rewards_build_info{{{W}}})"
                },
                "stat",
            ),
            Panel(
                "Definitions refused",
                "short",
                "On the topic and not in force. Runbook CampaignRefused.",
                {"{{reason}}": f"max by (reason) (rewards_campaigns_refused{{{W}}}) or vector(0)"},
                "stat",
            ),
            Panel(
                "Audit and backfill",
                "short",
                "Partitions that differ at the last `leidan verify`, hours since it last ended "
                "well, and how far a backfill is. From their --metrics files.",
                {
                    "differences": "max(rewards_audit_differences)",
                    "hours since": "(time() - max(rewards_audit_last_success_timestamp_seconds))"
                    " / 3600",
                    "backfill {{partition}}": "max by (partition) "
                    "(rewards_backfill_progress_ratio)",
                },
                "stat",
            ),
        ],
    },
)

C = f'{W},campaign=~"$campaign"'
SHARED = f'{W},campaign=~"$campaign|"'  # pools of several campaigns name none
CAMPAIGNS = Dashboard(
    "leidan-campaigns",
    "leidan / campaigns",
    (("campaign", "label_values(rewards_tasks_total, campaign)"),),
    {
        "Rewards": [
            Panel(
                "Rewards issued",
                "short",
                "An hour, by campaign, after the commit. Far from last week's: runbook "
                "RewardRateUnusual.",
                {
                    "{{campaign}}": "3600 * sum by (campaign) "
                    f"(rate(rewards_issued_total{{{C}}}{RATE}))"
                },
            ),
            Panel(
                "Rewards revoked",
                "short",
                "An hour: orders that were taken back.",
                {
                    "{{campaign}}": "3600 * sum by (campaign) "
                    f"(rate(rewards_revoked_total{{{C}}}{RATE}))"
                },
            ),
            Panel(
                "What became of rewards otherwise",
                "short",
                "An hour: reserved, spent, failed, lapsed, owed, written off. failed rises: ask "
                "the rights service.",
                {
                    "{{reason}}": "3600 * sum by (reason) "
                    f"(rate(rewards_adjusted_total{{{C}}}{RATE}))"
                },
            ),
            Panel(
                "Value issued",
                "short",
                "Minor units of the currency in the time shown.",
                {
                    "{{campaign}} {{currency}}": "sum by (campaign, currency) "
                    f"(increase(rewards_issued_amount_minor_total{{{C}}}[$__range]))"
                },
                "bargauge",
            ),
            Panel(
                "Funnel",
                "short",
                "Task events in the time shown: claimed, advanced, completed, expired, reopened, "
                "and orders that did not count.",
                {"{{event}}": f"sum by (event) (increase(rewards_tasks_total{{{C}}}[$__range]))"},
                "bargauge",
            ),
            Panel(
                "Task events",
                "cps",
                "The same as rates.",
                {"{{event}}": f"sum by (event) (rate(rewards_tasks_total{{{C}}}{RATE}))"},
            ),
        ],
        "Money": [
            Panel(
                "Liability, change",
                "short",
                "What was promised and is neither spent nor taken back (issued, reserved, "
                "returning), in the time shown, minor units.",
                {"{{currency}}": net(C, "issued|reserved|returning", "[$__range]")},
                "stat",
            ),
            Panel(
                "Debt, change in a day",
                "short",
                "What users owe more than a day ago: rewards spent whose orders were taken back, "
                "less what was set off. Runbook DebtGrows.",
                {"{{currency}}": f"currency:rewards_debt_minor:net1d{{{W}}}"},
                "stat",
            ),
            Panel(
                "Budgets left",
                "percentunit",
                "Neither reserved nor given. Runbooks BudgetLow, BudgetExhausted.",
                {
                    "{{pool}}": f"pool:rewards_budget_remaining:ratio{{{SHARED}}}",
                },
            ),
            Panel(
                "Budgets left, minor units",
                "short",
                "Left, and in all.",
                {
                    "{{pool}} left": "max by (pool, currency) "
                    f"(rewards_budget_remaining_minor{{{SHARED}}})",
                    "{{pool}} in all": "max by (pool, currency) "
                    f"(rewards_budget_minor{{{SHARED}}})",
                },
            ),
            Panel(
                "Answers of the rights service",
                "cps",
                "Records of reward-results. None while rewards go out: runbook RewardsUnanswered.",
                {
                    "{{outcome}}": "sum by (outcome) "
                    f'(rate(rewards_records_total{{{W},topic="reward-results"}}{RATE}))'
                },
            ),
        ],
    },
)

P = f'{W},pool=~"$pool"'
LOTTERIES = Dashboard(
    "leidan-lotteries",
    "leidan / lotteries",
    (("pool", "label_values(rewards_pool_stock_supplied, pool)"),),
    {
        "Draws": [
            Panel(
                "Draws by outcome",
                "cps",
                "won, nothing, and why a hit could not be given: no_stock, not_released, "
                "user_limit, no_budget.",
                {"{{outcome}}": f"sum by (outcome) (rate(rewards_draws_total{{{P}}}{RATE}))"},
            ),
            Panel(
                "Hits against what the odds promise",
                "percentunit",
                "1 is as promised, since the workers started. Few draws scatter: see the next one.",
                {
                    "{{pool}} {{prize}}": "sum by (pool, prize) "
                    f'(rewards_draws_total{{{P},prize!=""}}) / sum by (pool, prize) '
                    f"(rewards_draws_expected_total{{{P}}})"
                },
            ),
            Panel(
                "Standard deviations off the odds",
                "short",
                "Of a day, prizes with 20 promised hits or more. Beyond 5: runbook OddsDrift.",
                {"{{pool}} {{prize}}": f"prize:rewards_draws:z1d{{{P}}}"},
            ),
            Panel(
                "Longest wait for a draw",
                "s",
                "Of requests and of answers. Runbook DrawsWait.",
                {
                    "{{topic}}": "max by (topic) (rewards_consumer_lag_seconds"
                    f'{{{W},topic=~"draw-requests|draw-results"}})'
                },
            ),
            Panel(
                "Until the seed is revealed",
                "s",
                "Below 0: overdue, runbook RevealOverdue. Gone: revealed, anybody may verify.",
                {
                    "{{pool}}": "max by (pool) "
                    f"(rewards_pool_reveal_due_timestamp_seconds{{{P}}}) - time()"
                },
                "stat",
            ),
        ],
        "Stock": [
            Panel(
                "Stock left",
                "percentunit",
                "Of what was defined and restocked. Runbook StockLow.",
                {"{{pool}} {{item}}": f"pool:rewards_stock_remaining:ratio{{{P}}}"},
            ),
            Panel(
                "Units left",
                "short",
                "Left, and in all.",
                {
                    "{{pool}} {{item}} left": "max by (pool, item) "
                    f"(rewards_pool_stock_remaining{{{P}}})",
                    "{{pool}} {{item}} in all": "max by (pool, item) "
                    f"(rewards_pool_stock_supplied{{{P}}})",
                },
            ),
        ],
    },
)

EVERY = {
    "operations.json": OPERATIONS,
    "campaigns.json": CAMPAIGNS,
    "lotteries.json": LOTTERIES,
}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def variable(name: str, query: str) -> dict[str, object]:
    """Return a variable with All, which also takes series without that label."""
    return {
        "name": name, "type": "query", "datasource": SOURCE, "query": query, "definition": query,
        "refresh": 2, "sort": 1, "includeAll": True, "multi": True, "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip


def panel(one: Panel, number: int, x: int, y: int) -> dict[str, object]:
    targets = [
        {"refId": chr(ord("A") + n), "expr": expr, "legendFormat": legend, "datasource": SOURCE}
        for n, (legend, expr) in enumerate(one.targets.items())
    ]
    return {
        "id": number, "type": one.kind, "title": one.title, "description": one.description,
        "datasource": SOURCE, "gridPos": {"h": HEIGHT, "w": WIDTH, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": one.unit}, "overrides": []},
        "options": {}, "targets": targets,
    }  # fmt: skip


def written(board: Dashboard) -> str:
    """Return the file of a dashboard, a panel a line."""
    panels: list[dict[str, object]] = []
    y = 0
    for title, row in board.rows.items():
        place = {"h": 1, "w": 24, "x": 0, "y": y}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place,
                       "collapsed": False, "panels": []})  # fmt: skip
        for n, one in enumerate(row):
            x, down = n % A_ROW * WIDTH, n // A_ROW * HEIGHT
            panels.append(panel(one, len(panels) + 1, x, y + 1 + down))
        y += 1 + -(-len(row) // A_ROW) * HEIGHT
    named = [("namespace", "label_values(rewards_build_info, namespace)"),
             ("job", "label_values(rewards_build_info, job)"), *board.more]  # fmt: skip
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}},
        *(variable(*each) for each in named),
    ]
    head = {
        "id": None, "uid": board.uid, "title": board.title, "tags": ["leidan"], "schemaVersion": 39,
        "version": 1, "editable": False, "refresh": "30s", "timezone": "",
        "time": {"from": "now-6h", "to": "now"}, "templating": {"list": variables},
    }  # fmt: skip
    lines = ",\n".join(json.dumps(one) for one in panels)
    return f'{json.dumps(head, indent=1)[:-2]},\n "panels": [\n{lines}\n]\n}}\n'


if __name__ == "__main__":
    for name, board in EVERY.items():
        (HERE / name).write_text(written(board))
        sys.stdout.write(f"{name}\n")

"""An explanation for people: a table of events, then each task as a sum one can add up by hand."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Report = Mapping[str, Any]

PLAIN_WIDTH = 160  # where nobody's terminal says how wide it is


def show(report: Report) -> None:
    """Print it on stdout: coloured on a terminal, plain text elsewhere."""
    plain = not sys.stdout.isatty()
    console = Console(
        width=PLAIN_WIDTH if plain else None,
        no_color=plain or bool(os.environ.get("NO_COLOR")),
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=plain,
    )
    if not report["known"] and not report["rejected"]:
        console.print(f"nothing is known of {report['about']['kind']} {report['about']['id']}")
        return
    console.print(f"user {report['user_id']} as of {report['at']}, from the {report['source']}")
    console.print(_events(report))
    for one in report["rejected"]:
        where = f"{one['topic']}[{one['partition']}]@{one['offset']}"
        console.print(f"dead letter {where}: {one['reason']} {one['detail']}")
    for task in report["tasks"]:
        _task(console, task, whole=report["about"]["kind"] != "order")
    for claim in report["claims"]:
        if claim["code"]:
            of = f" of {claim['campaign_id']}" if claim["campaign_id"] else ""
            console.print(f"claim {claim['claim_id']}{of}: {_refused(claim)}")
    for order in report["loose_orders"]:
        console.print(f"order {order['order_id']}: {order['code']}")
        for met in order["campaigns"]:
            console.print(f"  {met['campaign_id']}: {_refused(met)}")
    for reward in report["rewards_without_task"]:
        console.print(f"reward of a task that is gone: {_ledger(reward)}")
    if report["differs_from_events"]:
        console.print(
            "note: folded again in the order of their records, the events leave something else in "
            f"{', '.join(report['differs_from_events'])}: they came in another order, or results "
            "of the rights service are not in the state (--scan reads them from the log)"
        )


def _events(report: Report) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("recorded at", "record", "event", "what it did"):
        table.add_column(name, overflow="fold")
    for event in report["events"]:
        at = "" if event["offset"] is None else f"@{event['offset']}"
        where = f"{event['topic']}[{event['partition']}]{at}" if at else event["topic"] or ""
        what = event["type"] if event["id"] is None else f"{event['type']} {event['id']}"
        did = "; ".join(_all_it_did(event["did"]))
        if event["outcome"] in ("duplicate", "conflict", "row_full"):
            did = event["outcome"]
        table.add_row(event["recorded_at"], where, what, did or "-")
    return table


def _all_it_did(all_: list[Report]) -> list[str]:
    """Return each thing once, with the campaigns in which the event did it."""
    where: dict[str, list[str]] = {}
    for did in all_:
        where.setdefault(_did(did), []).append(did.get("campaign_id") or "")
    return [
        f"{did} ({', '.join(campaigns)})" if any(campaigns) else did
        for did, campaigns in where.items()
    ]


def _did(did: Report) -> str:
    type_ = did["type"]
    if type_ in ("reward.issued", "reward.revoked", "reward.adjusted"):
        said = [type_, did.get("reason", ""), f"step {did['step']}" if "step" in did else ""]
        return " ".join([*filter(None, said), str(did["amount_minor"])])
    if "code" in did:
        return f"{type_} {did.get('order_id') or did.get('claim_id')} {did['code']}"
    if type_ == "order.spare":
        return f"order.spare {did['order_id']}"
    return f"{type_} {did['counted']}" if "counted" in did else type_


def _task(console: Console, task: Report, *, whole: bool) -> None:
    """Print one task; whole: without the orders outside of its window, of which there are many."""
    console.print()
    window = task["window"]
    console.print(
        f"{task['campaign_id']} v{task['campaign_version']} round {task['round']}: {task['state']},"
        f" {task['counted']} of {task['target']['orders']} orders, {task['accumulated_minor']}"
        f" {task['currency']} in all; begun by {task['begun_by']},"
        f" {window['start']} to {window['end']}"
    )
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    for name in ("step", "order", "day", "worth", "in all", "saved", "why"):
        right = name in ("step", "worth", "in all", "saved")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    far = 0
    for order in task["orders"]:
        if whole and order["code"] == "OUTSIDE":
            far += 1
            continue
        table.add_row(
            str(order["step"] or "-"),
            order["order_id"],
            order["day"],
            str(order["spent_minor"]),
            str(order["accumulated_minor"]) if order["counts"] else "",
            str(order["saved_minor"] or "") if order["counts"] else "",
            "; ".join(_why(order)),
        )
    if table.row_count:
        console.print(table)
    if far:
        console.print(f"  and {far} orders outside of its window")
    missing = task["missing"]
    if missing:
        amount = missing["amount_minor"]
        more = f" {'and' if missing['match'] == 'all' else 'or'} {amount}" if amount else ""
        room = missing["orders_possible"]
        left = "" if room is None else f"; the daily cap leaves room for {room}"
        console.print(f"  missing: {missing['orders']} orders{more} until {missing['until']}{left}")
    for reward in task["rewards"]:
        console.print(f"  {_reward(reward)}")


def _why(order: Report) -> Iterator[str]:
    for part in order["parts"]:
        back = sum(line["returned"] for line in part["lines"])
        if back:
            whole = sum(line["share_minor"] for line in part["lines"])
            left = sum(line["left_minor"] for line in part["lines"])
            by = ", ".join(part["cancellations"])
            yield f"{part['order_id']}: {whole} less {whole - left} for {back} back ({by})"
    if order["counts"]:
        yield "counts" + (", under review" if order["held"] else "")
        return
    failing = next((clause for clause in order["clauses"] if not clause["holds"]), None)
    yield f"{order['code']}: {_clause(failing)}" if failing else order["code"]


WORDS = {
    "daily_cap": "{value} of {wanted} of that day count already",
    "target_not_met": "{value} of {wanted} orders: the target was met before it",
    "min_amount": "{value} is below {wanted}",
    "status": "it is {value}, not yet {wanted}",
    "in_time": "recorded {value}, accepted until {wanted}",
    "not_cancelled": "nothing of it is left",
    "window.start": "{value} is before {wanted}",
    "window.end": "{value} is not before {wanted}",
    "next_round": "the next round began at {wanted}",
    "earlier_round": "an earlier round has it",
    "begins_by_itself": "it begins with a claim, and there was none",
    "begins_with_a_claim": "it begins by itself, at an order",
    "no_task_runs": "{value} runs",
    "in_force": "not in force then",
    "pools": "its pool refused",
    "history": "orders of its window are compacted",
}
"""What a clause that does not hold says; others name themselves, what was found and wanted."""


def _clause(clause: Report) -> str:
    value, wanted = clause["value"], clause["wanted"]
    if clause["name"] in WORDS:
        return WORDS[clause["name"]].format(value=value, wanted=wanted)
    if isinstance(value, dict):
        return f"{value['campaign_id']} has it ({value['by']})"
    if value in ("", None) and wanted in ("", None):
        return str(clause["name"])
    return f"{clause['name']} is {value}, wanted {wanted}"


def _refused(met: Report) -> str:
    failing = next((clause for clause in met["clauses"] if not clause["holds"]), None)
    if failing is None:
        return str(met["code"] or "nothing refused it")
    return f"{met['code']}: {_clause(failing)}"


def _reward(reward: Report) -> str:
    rests = f" for {', '.join(reward['rests_on'])}" if reward["rests_on"] else ""
    waits = f"; waits for {', '.join(reward['waits_for'])}" if reward["waits_for"] else ""
    ledger = reward["ledger"]
    stands = _ledger(ledger) if ledger else f"{reward['reward_id']} not in the ledger yet"
    due = "" if reward["due"] else "; not due any more"
    return f"reward step {reward['step']} ({reward['kind']}){rests}: {stands}{due}{waits}"


def _ledger(entry: Report) -> str:
    off = f", {entry['offset_minor']} set off" if entry["offset_minor"] else ""
    owed = f", {entry['owed_minor']} owed" if entry["owed_minor"] else ""
    why = f" ({entry['reason']})" if entry["reason"] else ""
    return (
        f"{entry['reward_id']} {entry['right_id']} {entry['amount_minor']} {entry['currency']}"
        f" {entry['state']}{why}, seq {entry['seq']}{off}{owed}"
    )

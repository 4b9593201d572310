"""An explanation narrowed to one campaign, order or reward: less of the same, nothing new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Report = dict[str, Any]


def on_campaign(report: Report, campaign_id: str) -> Report:
    """Keep one campaign's tasks, claims, and what events did to them."""
    tasks = [task for task in report["tasks"] if task["campaign_id"] == campaign_id]
    ids = {task["task_id"] for task in tasks}
    claims = [one for one in report["claims"] if one["campaign_id"] == campaign_id]
    loose = [
        {**one, "campaigns": [met for met in one["campaigns"] if met["campaign_id"] == campaign_id]}
        for one in report["loose_orders"]
    ]

    def mine(did: Report) -> bool:
        return did.get("campaign_id") == campaign_id or did.get("task_id") in ids

    events = [
        {**event, "did": [did for did in event["did"] if mine(did)]} for event in report["events"]
    ]
    return {**report, "events": events, "tasks": tasks, "claims": claims, "loose_orders": loose}


def on_order(report: Report, order_id: str) -> Report:
    """Keep one order, or checkout: its events, each task's verdict, the rewards resting on it."""
    parts = {order_id} | {
        part["order_id"]
        for task in report["tasks"]
        for verdict in task["orders"]
        if verdict["order_id"] == order_id
        for part in verdict["parts"]
    }
    checkouts = parts | {
        verdict["order_id"]
        for task in report["tasks"]
        for verdict in task["orders"]
        if any(part["order_id"] in parts for part in verdict["parts"])
    }
    tasks = [
        {
            **task,
            "orders": [one for one in task["orders"] if one["order_id"] in checkouts],
            "rewards": [one for one in task["rewards"] if checkouts & set(one["rests_on"])],
        }
        for task in report["tasks"]
    ]
    loose = [one for one in report["loose_orders"] if one["order_id"] in checkouts]
    kept = _events(report, parts | checkouts, lambda did: did.get("order_id") in checkouts)
    return {
        **report, "events": kept, "tasks": tasks, "claims": [], "loose_orders": loose
    }  # fmt: skip


def on_reward(report: Report, reward_id: str) -> Report:
    """Keep one reward: its task, the orders it rests on, and every event that moved either."""
    tasks, needed = [], set[str]()
    begun_by = set[str]()
    for task in report["tasks"]:
        rewards = [one for one in task["rewards"] if one["reward_id"] == reward_id]
        if not rewards:
            continue
        needed |= {order for one in rewards for order in one["rests_on"]}
        begun_by.add(task["begun_by"] or "")
        orders = [one for one in task["orders"] if one["order_id"] in needed or not needed]
        tasks.append({**task, "rewards": rewards, "orders": orders})
    kept = _events(report, needed | {reward_id}, lambda did: did.get("reward_id") == reward_id)
    begins = [event for event in report["events"] if _cause(event) in begun_by]
    kept = [event for event in report["events"] if event in kept or event in begins]
    claims = [one for one in report["claims"] if f"claim:{one['claim_id']}" in begun_by]
    gone = [one for one in report["rewards_without_task"] if one["reward_id"] == reward_id]
    return {
        **report,
        "events": kept,
        "tasks": tasks,
        "claims": claims,
        "loose_orders": [],
        "rewards_without_task": gone,
        "differs_from_events": [one for one in report["differs_from_events"] if one == reward_id],
    }


def knows(report: Report, id_: str, kind: str) -> bool:
    """Tell whether an order or a reward of this id is in the explanation at all."""
    if kind == "reward":
        found = on_reward(report, id_)
        return bool(found["tasks"] or found["rewards_without_task"])
    return bool(on_order(report, id_)["events"])


def _cause(event: Report) -> str:
    """Return an event's cause id, as a task's `begun_by` names it."""
    kind = "order" if event["topic"] == "orders" else "claim"
    return f"{kind}:{event['id']}"


def _events(report: Report, about: set[str], did_it: Callable[[Report], bool]) -> list[Report]:
    """Keep events about one of these, or that did something to them."""
    withdrawn = {event["id"] for event in report["events"] if event["about"] in about}
    return [
        event
        for event in report["events"]
        if event["about"] in about | withdrawn or any(map(did_it, event["did"]))
    ]

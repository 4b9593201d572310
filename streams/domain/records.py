"""Rendering, R7 to R9: tasks, rewards and draws as plain values, and what a dark box keeps back.

A dark box shows what has happened and nothing of what is to come: no target, nothing of what
remains, no step or reward beyond those reached. An operator sees all. Money is minor units, times
are RFC 3339 in the campaign's zone. Source: semantics.md 3 R7 to R9; question 36.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from streams.domain import asks, chances, ids, state
from streams.domain.announce import given
from streams.domain.view import state_of, task_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from streams.domain.asks import Ask, Asked
    from streams.domain.campaign import Campaign, Right
    from streams.domain.dues import Due
    from streams.domain.registry import Campaigns
    from streams.domain.state import Entry, Task

CLAIMABLE, PENDING, ACTIVE, COMPLETED, EXPIRED = (
    "claimable", "pending", "active", "completed", "expired",
)  # fmt: skip
RUNNING = frozenset({PENDING, ACTIVE})

REWARD_STATES = {
    state.ISSUED: "issued",
    state.REVOKED: "revoked",
    state.SPENT: "spent",
    state.DEBT: "debt",
    state.VOID: "void",
    state.RESERVED: "reserved",
    state.ISSUING: "issuing",
    state.REVOKING: "revoking",
}
DRAW_STATES = {
    asks.ASKED: "asked",
    asks.DRAWN: "drawn",
    asks.EXPIRED: "expired",
    asks.RETURNED: "returned",
}


class Shown(NamedTuple):
    """A task, what it is at the time asked about, and how it came to be shown."""

    task: Task
    campaign: Campaign
    state: str
    grandfathered: bool = False


def state_at(task: Task, campaign: Campaign, campaigns: Campaigns, at_ms: int) -> str:
    """Return the state of a task at a time no tick may have reached yet.

    A window that has ended is over, whether or not a tick has said so; but a task that an order in
    grace has revived since is what the fold says it is.
    """
    known = state_of(task)
    if known != ACTIVE:
        return known
    killed = campaigns.killed_at(task.campaign_id)
    if killed is not None and killed.at_ms <= at_ms and killed.at_ms < task.end_ms:
        return state.KILLED
    over = at_ms >= task.end_ms and task.passed_ms < task.end_ms
    over = over or at_ms >= task.end_ms + campaign.grace_ms
    return EXPIRED if over else ACTIVE


def valid(shown: Shown, at_ms: int) -> bool:
    """Tell whether a task is still shown (R6): expired within grace, completed to its horizon."""
    if shown.state in RUNNING:
        return True
    end_ms, campaign = shown.task.end_ms, shown.campaign
    if shown.state == COMPLETED:
        return at_ms < end_ms + campaign.horizon_ms
    return shown.state == EXPIRED and at_ms < end_ms + campaign.grace_ms


def task_record(
    shown: Shown, asked: Asked, entries: Mapping[str, Entry], at_ms: int, *, full: bool
) -> dict[str, Any]:
    """Return the view of R9. full: for an operator, whom a dark box hides nothing from.

    entries: what the ledger says, by reward id; empty for a past time.
    """
    task, campaign = shown.task, shown.campaign
    dark = campaign.dark and not full
    record = {
        "task_id": task.task_id,
        "campaign_id": task.campaign_id,
        "campaign_version": task.campaign_version,
        "round": task.round,
        "title": campaign.title,
        "currency": campaign.currency,
        "enrolment": "auto" if campaign.auto else "claim",
        "grandfathered": shown.grandfathered,
        **task_view(task, campaign, full=full),
        "state": shown.state,
        "steps": list(_steps(shown, entries, dark=dark)),
        "chances": list(_chances(task, campaign, asked)),
    }
    record["hints"] = list(_hints(shown, record, entries, at_ms))
    return record


def _steps(shown: Shown, entries: Mapping[str, Entry], *, dark: bool) -> Iterator[dict[str, Any]]:
    """Yield the steps of the running cycle at which something is given; dark: those reached."""
    task, campaign = shown.task, shown.campaign
    y = campaign.target_orders
    before = min(task.counted // y, campaign.max_cycles - 1) * y
    for step in range(1, y + 1):
        k = before + step
        reached = k <= task.counted
        rewards = [("step", right, reached) for right in campaign.step_rewards.get(step, ())]
        if step == y:
            met = reached if campaign.max_cycles > 1 else bool(task.completed_at_ms)
            rewards += [("final", right, met) for right in campaign.final_rewards]
        won = _chances_at(campaign, step)
        rewards = [one for one in rewards if one[2] or not dark]
        if (reached or not dark) and (rewards or won):
            yield {
                "step": str(k),
                "reached": reached,
                "chances": won,
                "rewards": [_promise(shown, str(k), one, entries) for one in rewards],
            }


def _chances_at(campaign: Campaign, step: int) -> int:
    """Return how many chances a step of a cycle brings, the last one with those of the target."""
    if campaign.lottery is None:
        return 0
    names = (step, "final") if step == campaign.target_orders else (step,)
    return sum(won.count for won in campaign.lottery.chances if won.step in names)


def _promise(
    shown: Shown, label: str, reward: tuple[str, Right, bool], entries: Mapping[str, Entry]
) -> dict[str, Any]:
    """Return one reward of a step; `open` and `missed` are of those not reached."""
    kind, right, reached = reward
    task = shown.task
    if right.supply and right.supply in task.lacks and right.fallback:
        right = right.fallback
    reward_id = ids.reward_id(task.task_id, label, kind, right.right_id)
    entry = entries.get(reward_id)
    told = given(right)
    if right.value == "saved_amount":
        told["value_minor"] = entry.value if entry else task.saved_minor
    if entry is not None:
        stands = REWARD_STATES.get(entry.state, "due")
    elif reached:
        stands = "due"
    else:
        stands = "open" if shown.state in RUNNING | {CLAIMABLE} else "missed"
    return {"reward_id": reward_id, "kind": kind, "right": told, "state": stands}


def _chances(task: Task, campaign: Campaign, asked: Asked) -> Iterator[dict[str, Any]]:
    for label in chances.labels(task, campaign):
        ask = asked.draw(task.task_id, label)
        stands = "open" if ask is None else DRAW_STATES.get(ask.state, "asked")
        yield {"step": label, "draw_id": ids.draw_id(task.task_id, label), "state": stands}


def _hints(
    shown: Shown, record: Mapping[str, Any], entries: Mapping[str, Entry], at_ms: int
) -> Iterator[dict[str, Any]]:
    """Yield what the user may do next, as codes: the words are the shop's, in its language."""
    task, campaign = shown.task, shown.campaign
    if shown.state == CLAIMABLE:
        yield {"code": "order" if campaign.auto else "claim"}
    if shown.state == ACTIVE:
        if record.get("remaining") == 1 and not campaign.target_amount_minor:
            yield {"code": "one_order_left"}
        day = campaign.calendar.day(at_ms)
        if task.last_day == day and 0 < campaign.daily_cap <= task.last_day_count:
            next_ms = campaign.calendar.begins_ms(day + 1)
            if next_ms < task.end_ms:
                yield {"code": "cap_reached", "from": campaign.calendar.text(next_ms)}
    waiting = sum(chance["state"] == "open" for chance in record["chances"])
    if waiting:
        yield {"code": "draw", "count": waiting}
    if campaign.collect == "manual":
        for entry in entries.values():
            if entry.task_id == task.task_id and entry.state == state.RESERVED:
                yield {"code": "collect", "reward_id": entry.reward_id}


def reward_record(entry: Entry) -> dict[str, Any]:
    """Return a reward as the ledger has it now: value = amount + offset."""
    return {
        "reward_id": entry.reward_id,
        "task_id": entry.task_id,
        "campaign_id": entry.campaign_id,
        "campaign_version": entry.campaign_version,
        "round": entry.round,
        "step": entry.step,
        "kind": entry.kind,
        "right_id": entry.right_id,
        "type": entry.type,
        "currency": entry.currency,
        "value_minor": entry.value,
        "amount_minor": entry.paid,
        "offset_minor": entry.offset,
        "owed_minor": entry.owed,
        "seq": entry.seq,
        "state": REWARD_STATES.get(entry.state, "due"),
        "reason": entry.why,
    }


def due_record(due: Due) -> dict[str, Any]:
    """Return a reward that was due at a past time; what became of it was not yet to be known."""
    right, value = due.right, due.right.value_minor
    return {
        "reward_id": due.reward_id,
        "task_id": due.task.task_id,
        "campaign_id": due.task.campaign_id,
        "campaign_version": due.task.campaign_version,
        "round": due.task.round,
        "step": due.step,
        "kind": due.kind,
        "right_id": right.right_id,
        "type": right.type,
        "currency": due.campaign.currency,
        "value_minor": value,
        "amount_minor": value,
        "offset_minor": 0,
        "owed_minor": 0,
        "seq": 0,
        "state": "due",
        "reason": "",
    }


def draw_records(asked: Iterable[Ask]) -> Iterator[dict[str, Any]]:
    """Yield the draws that were asked for, with what they brought; null: nothing, or not yet."""
    for ask in asked:
        if ask.state != asks.EXPIRED:
            yield {
                "draw_id": ask.request_id,
                "task_id": ask.task_id,
                "pool_id": ask.pool_id,
                "step": ask.step,
                "state": DRAW_STATES.get(ask.state, "asked"),
                "right": given(chances.right_of(ask.right)) if ask.right else None,
            }

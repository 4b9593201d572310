"""Changes put into words: the bodies of task events and ledger records, with their derived ids.

Every id is a hash of stable fields (D5). Bodies hold no offset, batch or worker, so a replay that
folds the same facts says the same. Source: semantics.md 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from streams.domain import ids
from streams.domain.days import DAY_MS, Calendar
from streams.domain.outputs import Output
from streams.domain.view import task_view

if TYPE_CHECKING:
    from streams.domain.asks import Ask
    from streams.domain.campaign import Campaign, Right
    from streams.domain.ledger import Change
    from streams.domain.state import Task

UTC = Calendar("UTC")
TASK_EVENTS, REWARDS, DRAW_REQUESTS = "task-events", "rewards", "draw-requests"


def given(right: Right) -> dict[str, Any]:
    """Return a right as it is given out: what stands in for it, and where from, is ours to know."""
    said: dict[str, Any] = msgspec.to_builtins(
        msgspec.structs.replace(right, value="", fallback=None, supply="")
    )
    return {**said, "value_minor": right.value_minor}


class Announcer:
    """Writes the outputs of one cause (the input event behind them)."""

    def __init__(self, user_id: str, cause_id: str, at_ms: int) -> None:
        self.user_id, self.cause_id, self.at_ms = user_id, cause_id, at_ms

    def task(self, type_: str, task: Task, campaign: Campaign) -> Output:
        return self._task_event(
            ids.task_event_id(task.task_id, type_, self.cause_id), type_, task, campaign, {}
        )

    def order(
        self, order_id: str, code: str, task: Task | None = None, campaign: Campaign | None = None
    ) -> Output:
        """An order that did not count, for a task or (no task) for the user, and why."""
        type_ = "order.spare" if code == "SPARE" else "order.ignored"
        holder = task.task_id if task else self.user_id
        event_id = ids.order_event_id(holder, type_, self.cause_id, order_id, code)
        said = {"order_id": order_id} if code == "SPARE" else {"order_id": order_id, "code": code}
        if task is not None and campaign is not None:
            return self._task_event(event_id, type_, task, campaign, said)
        return self._output(TASK_EVENTS, type_, event_id, UTC, said)

    def rejected(self, claim_id: str, campaign_id: str, code: str, task_id: str) -> Output:
        type_ = "claim.rejected"
        if self.cause_id == f"claim:{claim_id}":
            event_id = ids.task_event_id(self.user_id, type_, self.cause_id)
        else:
            event_id = ids.order_event_id(self.user_id, type_, self.cause_id, claim_id, code)
        said = {"claim_id": claim_id, "code": code}
        if campaign_id:  # a draw names a task, and that may be nobody's
            said["campaign_id"] = campaign_id
        if task_id:
            said["task_id"] = task_id
        return self._output(TASK_EVENTS, type_, event_id, UTC, said)

    def chance(self, type_: str, label: str, task: Task, campaign: Campaign) -> Output:
        """A chance was won, lost undrawn, or died with its pool."""
        event_id = ids.chance_event_id(task.task_id, type_, self.cause_id, label)
        return self._task_event(event_id, type_, task, campaign, {"step": label})

    def draw_asked(self, ask: Ask, odds_version: int) -> Output:
        said = {"step": ask.step, "odds_version": odds_version}
        return self._request("draw.asked", ask, ask.request_id, said)

    def reserve(self, ask: Ask) -> Output:
        said = _share(ask.amount_minor, ask.units)
        return self._request("pool.reserve", ask, ask.request_id, said)

    def release(self, ask: Ask, request_id: str, minor: int, units: dict[str, int]) -> Output:
        return self._request("pool.release", ask, request_id, _share(minor, units))

    def spent_after_all(self, ask: Ask, request_id: str) -> Output:
        """A prize that had returned to its pool is out."""
        return self._request("pool.reserve", ask, request_id, {"step": ask.step})

    def unit_returned(self, ask: Ask, request_id: str) -> Output:
        return self._request("unit.returned", ask, request_id, {"step": ask.step})

    def ledger(self, change: Change, calendar: Calendar) -> Output:
        entry = change.entry
        said: dict[str, Any] = {
            "reward_id": entry.reward_id,
            "seq": change.seq,
            "task_id": entry.task_id,
            "campaign_id": entry.campaign_id,
            "campaign_version": entry.campaign_version,
            "round": entry.round,
            "step": entry.step,
            "kind": entry.kind,
            "amount_minor": change.amount,
            "currency": entry.currency,
            "postings": [{"account": a, "amount_minor": m} for a, m in change.postings if m],
        }
        if change.due is not None:
            said["right"] = given(change.due.right)
            said["offset_minor"] = change.offset
            for name in ("order_id", "draw_id"):
                if getattr(change.due, name):
                    said[name] = getattr(change.due, name)
            valid_ms = self.at_ms + change.due.right.valid_days * DAY_MS
            said["valid_until"] = calendar.text(valid_ms)
        else:
            said["right_id"] = entry.right_id
            said["reason"] = change.reason
        if change.type == "reward.adjusted":
            event_id = ids.adjustment_id(entry.reward_id, change.reason, self.cause_id)
        else:
            event_id = ids.ledger_event_id(entry.reward_id, change.type, change.seq)
        return self._output(REWARDS, change.type, event_id, calendar, said)

    def set_aside(self, ask: Ask, minor: int, campaign: Campaign) -> Output:
        """A budget has granted this much to a task."""
        event_id = ids.adjustment_id(ask.task_id, "reserved", self.cause_id)
        return self._adjusted("reserved", ask, minor, campaign, event_id)

    def gave_back(self, ask: Ask, minor: int, before_minor: int, campaign: Campaign) -> Output:
        """A task has given this much back to its budget; before_minor: and this much before."""
        event_id = ids.release_event_id(ask.task_id, self.cause_id, before_minor)
        return self._adjusted("released", ask, minor, campaign, event_id)

    def _adjusted(
        self, reason: str, ask: Ask, minor: int, campaign: Campaign, event_id: str
    ) -> Output:
        moved = minor if reason == "reserved" else -minor
        said = {
            "task_id": ask.task_id,
            "campaign_id": campaign.campaign_id,
            "campaign_version": ask.campaign_version,
            "round": ask.round,
            "amount_minor": minor,
            "currency": campaign.currency,
            "reason": reason,
            "postings": [
                {"account": "budget", "amount_minor": -moved},
                {"account": "reserved", "amount_minor": moved},
            ],
        }
        return self._output(REWARDS, "reward.adjusted", event_id, campaign.calendar, said)

    def _task_event(
        self, event_id: str, type_: str, task: Task, campaign: Campaign, said: dict[str, Any]
    ) -> Output:
        body = {
            "task_id": task.task_id,
            "campaign_id": task.campaign_id,
            "campaign_version": task.campaign_version,
            "round": task.round,
            "rev": task.rev,
            "view": task_view(task, campaign),
            **said,
        }
        return self._output(TASK_EVENTS, type_, event_id, campaign.calendar, body)

    def _request(self, type_: str, ask: Ask, request_id: str, said: dict[str, Any]) -> Output:
        body = {
            "request_id": request_id,
            "pool_id": ask.pool_id,
            "task_id": ask.task_id,
            **said,
        }
        event_id = ids.task_event_id(request_id, type_, self.cause_id)
        return self._output(DRAW_REQUESTS, type_, event_id, UTC, body, ask.pool_id)

    def _output(  # noqa: PLR0913  # what every output has
        self,
        topic: str,
        type_: str,
        event_id: str,
        calendar: Calendar,
        body: dict[str, Any],
        key: str = "",
    ) -> Output:
        body["type"] = type_
        body["v"] = 1
        body["event_id"] = event_id
        body["user_id"] = self.user_id
        body["cause_id"] = self.cause_id
        body["occurred_at"] = calendar.text(self.at_ms)
        return Output(topic, type_, event_id, key or self.user_id, body)


def _share(minor: int, units: dict[str, int]) -> dict[str, Any]:
    """Return what of a pool is asked for: money of a budget, units (by right_id) of a supply."""
    said = {"amount_minor": minor, "units": units}
    return {name: share for name, share in said.items() if share}

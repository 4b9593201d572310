"""Notices: what a user should hear in time, once, and only while it is true.

Due is the deadline less the campaign's `before_hours`. In quiet hours a notice is moved to their
end; there it is looked at again, and dropped if it is not true any more or a day overdue. Those of
a task are a function of the task; those of a reward wait in the row from its issue on. Time does
not go back: what is to be sent before the latest that time has reached is too late.
Source: semantics.md 8 `Notices`; 9, 39.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from streams.domain import asks, chances, ids
from streams.domain.days import DAY_MS, Calendar, instant_ms
from streams.domain.outputs import Output
from streams.domain.state import SPENT, STANDING, Notice, unpack_ledger
from streams.domain.view import state_of

if TYPE_CHECKING:
    from streams.domain.campaign import Campaign
    from streams.domain.deadlines import Instant
    from streams.domain.features import Quiet, Reminder
    from streams.domain.registry import Campaigns
    from streams.domain.state import Task, UserState

NOTIFICATIONS = "notifications"
OVERDUE_MS = DAY_MS
TASK_KINDS = ("task_expiring", "one_order_left")
CHANCE_KINDS = ("chance_expiring",)


def send_from_ms(due_ms: int, calendar: Calendar, quiet: Quiet) -> int:
    """Return when a notice may be sent: when it is due, or where the quiet hours then end."""
    loud = Calendar(calendar.time_zone, quiet.to_minute)
    hush = Calendar(calendar.time_zone, quiet.from_minute)
    # Quiet is between the latest beginning and the next end: whichever came last decides.
    if hush.begins_ms(hush.day(due_ms)) <= loud.begins_ms(loud.day(due_ms)):
        return due_ms
    return loud.begins_ms(loud.day(due_ms) + 1)


def next_deadline_ms(state: UserState, campaigns: Campaigns) -> int:
    """Return when the next notice is to be sent or dropped; 0: none waits."""
    due_ms = state.notices[0].send_from_ms if state.notices else 0
    for task in state.tasks:
        at_ms = _reminder_ms(task, campaigns.of_task(task), campaigns)
        if at_ms and (not due_ms or at_ms < due_ms):
            due_ms = at_ms
    return due_ms


def pass_time(
    state: UserState, now: Instant, campaigns: Campaigns
) -> tuple[UserState, list[Output]]:
    """Send what is due at this instant and still true; forget the rest of it."""
    outputs: list[Output] = []
    overdue = now.tick_ms - now.at_ms >= OVERDUE_MS
    waiting = tuple(notice for notice in state.notices if notice.send_from_ms > now.at_ms)
    if len(waiting) < len(state.notices):
        for notice in state.notices[: len(state.notices) - len(waiting)]:
            over = overdue or 0 < notice.until_ms <= now.tick_ms
            if not over and _still_stands(state, notice):
                campaign = campaigns.pinned(notice.campaign_id, notice.campaign_version)
                outputs.append(_of_reward(state.user_id, notice, campaign))
        state = msgspec.structs.replace(state, notices=waiting, noticed_ms=now.at_ms)
    tasks = []
    for task in state.tasks:
        campaign = campaigns.of_task(task)
        if _reminder_ms(task, campaign, campaigns) == now.at_ms:
            if not overdue:
                outputs += _of_task(state, task, now, campaign, campaigns)
            tasks.append(msgspec.structs.replace(task, noticed_ms=now.at_ms))
        else:
            tasks.append(task)
    return msgspec.structs.replace(state, tasks=tuple(tasks)), outputs


def of_issued(
    state: UserState, outputs: tuple[Output, ...], campaigns: Campaigns
) -> tuple[UserState, tuple[Output, ...]]:
    """Look at what a fold has said: rewards just issued are worth a notice, now or later."""
    waiting: set[Notice] = set()
    at_once: set[Notice] = set()
    for issued in outputs:
        if issued.type != "reward.issued":
            continue
        body = issued.body
        campaign = campaigns.pinned(body["campaign_id"], body["campaign_version"])
        if not campaign.reminders:
            continue
        issued_ms, valid_ms = instant_ms(body["occurred_at"]), instant_ms(body["valid_until"])
        for kind, due_ms, until_ms in _dues(campaign.reminders, issued_ms, valid_ms):
            if kind == "reward_issued" and body["seq"] > 1:
                continue  # one that comes back was told of when it first came
            at_ms = send_from_ms(due_ms, campaign.calendar, campaign.quiet)
            name = (body["reward_id"], body["seq"], campaign.campaign_id, campaign.version)
            notice = Notice(at_ms, due_ms, kind, *name, until_ms)
            if kind == "reward_issued" and at_ms == issued_ms:
                at_once.add(notice)
            elif at_ms > max(issued_ms, state.noticed_ms):
                waiting.add(notice)
    if waiting:
        every = tuple(sorted({*state.notices, *waiting}))
        state = msgspec.structs.replace(state, notices=every)
    sent = [
        _of_reward(state.user_id, one, campaigns.pinned(one.campaign_id, one.campaign_version))
        for one in sorted(at_once)
    ]
    return state, (*outputs, *sent) if sent else outputs


def _dues(
    reminders: tuple[Reminder, ...], issued_ms: int, valid_ms: int
) -> list[tuple[str, int, int]]:
    """Return (kind, due, until) of the reminders of a reward."""
    dues = []
    for reminder in reminders:
        if reminder.kind == "reward_issued":
            dues.append((reminder.kind, issued_ms, 0))
        elif reminder.kind == "reward_expiring":
            dues.append((reminder.kind, valid_ms - reminder.before_ms, valid_ms))
    return dues


def _still_stands(state: UserState, notice: Notice) -> bool:
    """An expiring reward must still be there to be used; news of one, not yet taken back."""
    entry = unpack_ledger(state.ledger).get(notice.reward_id)
    if entry is None or entry.seq != notice.seq or entry.state not in STANDING:
        return False
    return notice.kind == "reward_issued" or entry.state != SPENT


def _reminder_ms(task: Task, campaign: Campaign, campaigns: Campaigns) -> int:
    """Return when the task's next reminder is to be sent or dropped; 0: none is left."""
    if not campaign.reminders:
        return 0
    times = [one.at_ms for one in _reminders(task, campaign, campaigns)]
    return min((at_ms for at_ms in times if at_ms > task.noticed_ms), default=0)


class _Reminder(NamedTuple):
    at_ms: int  # out of quiet hours
    due_ms: int
    kind: str
    deadline_ms: int


def _reminders(task: Task, campaign: Campaign, campaigns: Campaigns) -> list[_Reminder]:
    """Return what a task may be reminded of as it stands: of its end, and of its chances'."""
    times = campaign.reminders, campaign.quiet, campaign.calendar
    found: list[_Reminder] = []
    if state_of(task) == "active":
        found += _schedule(*times, task.end_ms, TASK_KINDS)
    if campaign.lottery is not None and chances.labels(task, campaign):
        closes_ms = chances.closes_ms(campaign, campaigns)
        if closes_ms is not None:
            found += _schedule(*times, closes_ms, CHANCE_KINDS)
    return [one for one in found if one.due_ms >= task.begun_at_ms]


@lru_cache(maxsize=4096)  # the users of one day share their end
def _schedule(
    reminders: tuple[Reminder, ...],
    quiet: Quiet,
    calendar: Calendar,
    deadline_ms: int,
    kinds: tuple[str, ...],
) -> tuple[_Reminder, ...]:
    dues = {(deadline_ms - one.before_ms, one.kind) for one in reminders if one.kind in kinds}
    found = [
        _Reminder(send_from_ms(at, calendar, quiet), at, kind, deadline_ms) for at, kind in dues
    ]
    return tuple(sorted(one for one in found if one.at_ms < deadline_ms))


def _of_task(
    state: UserState, task: Task, now: Instant, campaign: Campaign, campaigns: Campaigns
) -> list[Output]:
    """Return the task's notices of this instant that are true at the tick that reached it."""
    names: list[tuple[_Reminder, str]] = []
    left = campaign.limit - task.counted
    for one in _reminders(task, campaign, campaigns):
        if one.at_ms != now.at_ms or now.tick_ms >= one.deadline_ms:
            continue
        if one.kind in CHANCE_KINDS:
            undrawn = chances.undrawn(task, campaign, asks.unpack(state.asks))
            names += [(one, ids.draw_id(task.task_id, label)) for label in undrawn]
        elif one.kind == "task_expiring" or (left == 1 and not campaign.dark):
            names.append((one, task.task_id))
    return [
        _notice(state.user_id, one.kind, name, one.due_ms, one.at_ms, campaign)
        for one, name in names
    ]


def _of_reward(user_id: str, notice: Notice, campaign: Campaign) -> Output:
    due_ms, at_ms = notice.due_ms, notice.send_from_ms
    return _notice(user_id, notice.kind, notice.reward_id, due_ms, at_ms, campaign)


def _notice(  # noqa: PLR0913  # what a notice says
    user_id: str, kind: str, object_id: str, due_ms: int, at_ms: int, campaign: Campaign
) -> Output:
    due, send_from = campaign.calendar.text(due_ms), campaign.calendar.text(at_ms)
    notification_id = ids.notification_id(object_id, kind, due)
    body: dict[str, Any] = {
        "type": "notice.due",
        "v": 1,
        "notification_id": notification_id,
        "user_id": user_id,
        "occurred_at": send_from,
        "kind": kind,
        "object_id": object_id,
        "due": due,
        "send_from": send_from,
    }
    return Output(NOTIFICATIONS, "notice.due", notification_id, user_id, body)

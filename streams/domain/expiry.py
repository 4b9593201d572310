"""Tasks that run out of time: expired at the end, closed at the horizon.

A task that is active when a tick reaches its end expires. An order of its window whose record came
within grace brings it back; then the end of grace is its second deadline, and its last. At the
horizon it is closed: no record of a later time changes it. That is said once: a fact read later may
give the task another window, as an earlier claim or a denial does, and then it expires anew, but
stays closed; or its horizon is past by then, and it closes at the next tick.
Source: semantics.md 3, 8; 9, 24 and 25.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from streams.domain.campaign import Campaign
    from streams.domain.deadlines import Instant
    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from streams.domain.state import Task, UserState


def next_deadline_ms(state: UserState, campaigns: Campaigns) -> int:
    """Return the earliest deadline of any task; 0: all are closed."""
    due_ms = 0
    for task in state.tasks:
        at_ms = deadline_ms(task, campaigns.of_task(task))
        if at_ms and (not due_ms or at_ms < due_ms):
            due_ms = at_ms
    return due_ms


def deadline_ms(task: Task, campaign: Campaign) -> int:
    """Return when this task next expires or closes; 0: it is closed, or waits for its grant.

    What was completed, or has ended, need not expire: if that is undone too late, the event that
    does so says it.
    """
    if task.pending:
        return 0  # nothing was said of it yet, and its end cannot be
    end_ms, passed_ms = task.end_ms, task.passed_ms
    if not (task.completed_at_ms or task.ended or task.expired):
        if passed_ms < end_ms:
            return end_ms
        if passed_ms < end_ms + campaign.grace_ms:
            return end_ms + campaign.grace_ms
    return 0 if task.closed else end_ms + campaign.horizon_ms


def pass_time(
    state: UserState, now: Instant, campaigns: Campaigns
) -> tuple[UserState, list[Output]]:
    """Expire and close the tasks whose deadline this is."""
    outputs: list[Output] = []
    after: list[Task] = []
    for task in state.tasks:
        campaign = campaigns.of_task(task)
        if deadline_ms(task, campaign) != now.at_ms:
            after.append(task)
            continue
        passed, types = _passed(task, campaign, now.at_ms)
        outputs += [now.say.task(type_, passed, campaign) for type_ in types]
        after.append(passed)
    if outputs:
        state = msgspec.structs.replace(state, tasks=tuple(after))
    return state, outputs


def _passed(task: Task, campaign: Campaign, at_ms: int) -> tuple[Task, list[str]]:
    expired = not (task.completed_at_ms or task.ended)
    types = ["task.expired"] if expired and not task.expired else []
    closed = at_ms >= task.end_ms + campaign.horizon_ms
    if closed and not task.closed:
        types.append("task.closed")
    passed = msgspec.structs.replace(
        task,
        passed_ms=max(at_ms, task.passed_ms),
        expired=expired,
        closed=closed or task.closed,
        rev=task.rev + len(types),
    )
    return passed, types

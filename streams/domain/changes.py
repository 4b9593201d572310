"""What is different about a task, said and counted: shared by the short path and the walk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.domain import asks, chances, groups
from streams.domain.counting import final_step
from streams.domain.state import unpack_ledger

if TYPE_CHECKING:
    from streams.domain.announce import Announcer
    from streams.domain.asks import Asked
    from streams.domain.campaign import Campaign, Campaigns
    from streams.domain.days import Calendar
    from streams.domain.ledger import Change
    from streams.domain.outputs import Output
    from streams.domain.state import Entry, Task, UserState


def task_changes(
    stood: Task | None, task: Task, peak: int, campaign: Campaign, say: Announcer
) -> tuple[Task, list[Output]]:
    """Say what is different about a task (None: it did not stand), and count that we said it."""
    if task is stood and peak == task.peak:
        return task, []  # what was said of it still holds
    if task.pending:  # nothing is said of it before it is granted
        return msgspec.structs.replace(task, peak=peak, rev=stood.rev if stood else 0), []
    if stood is not None and stood.pending and not stood.rev:
        stood = None
    types = [] if stood else ["task.claimed"]
    before = _measure(stood, campaign) if stood else (0, 0, 0)
    now = _measure(task, campaign)
    if now != before:
        types.append("task.advanced" if now > before else "task.regressed")
    was_over = (bool(stood.completed_at_ms), stood.ended) if stood else (False, "")
    if task.completed_at_ms:
        types += [] if was_over[0] else ["task.completed"]
    elif task.ended:
        types += [] if was_over == (False, task.ended) else [f"task.{task.ended}"]
    elif any(was_over):
        types.append("task.reopened")
    rev = (stood.rev if stood else 0) + len(types)
    peak = max(task.counted, peak, final_step(task, campaign, task.counted))
    if (rev, peak) != (task.rev, task.peak):
        task = msgspec.structs.replace(task, peak=peak, rev=rev)
    return task, [say.task(type_, task, campaign) for type_ in types]


def _measure(task: Task, campaign: Campaign) -> tuple[int, int, int]:
    """Return how far a task is: orders, and the amounts where the campaign goes by them."""
    accumulated = task.accumulated_minor if campaign.target_amount_minor else 0
    return task.counted, accumulated, task.saved_minor


def remembering(task: Task, state: UserState, campaign: Campaign) -> Task:
    """A task that a late fact had undone may come back: ledger entries and asks did not go away."""
    if not (state.ledger.count or state.asks.count):
        return task
    entries, asked = unpack_ledger(state.ledger), asks.unpack(state.asks)
    return msgspec.structs.replace(
        task,
        peak=peak(entries, asked, task.task_id),
        paid_step=groups.paid_step(entries, task, campaign),
    )


def peak(entries: dict[str, Entry], asked: Asked, task_id: str) -> int:
    """Return the highest step that a task was ever rewarded for, or drew at."""
    steps = [e.step for e in entries.values() if e.task_id == task_id]
    steps += [ask.step for ask in asked.draws() if ask.task_id == task_id]
    return max(map(chances.step_of, steps), default=0)


def calendar_of(change: Change, campaigns: Campaigns) -> Calendar:
    entry = change.entry
    return campaigns.pinned(entry.campaign_id, entry.campaign_version).calendar

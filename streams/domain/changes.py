"""What is different about a task, said and counted: shared by the short path and the walk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.domain.state import unpack_ledger

if TYPE_CHECKING:
    from streams.domain.announce import Announcer
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
    types = [] if stood else ["task.claimed"]
    before = stood.counted if stood else 0
    if task.counted != before:
        types.append("task.advanced" if task.counted > before else "task.regressed")
    was_done, done = bool(stood and stood.completed_at_ms), bool(task.completed_at_ms)
    if done != was_done:
        types.append("task.completed" if done else "task.reopened")
    rev = (stood.rev if stood else 0) + len(types)
    peak = max(task.counted, peak)
    if (rev, peak) != (task.rev, task.peak):
        task = msgspec.structs.replace(task, peak=peak, rev=rev)
    return task, [say.task(type_, task, campaign) for type_ in types]


def remembering(task: Task, state: UserState) -> Task:
    """A task that a late fact had undone may come back: its ledger entries did not go away."""
    if not state.ledger.count:
        return task
    return msgspec.structs.replace(task, peak=peak(unpack_ledger(state.ledger), task.task_id))


def peak(entries: dict[str, Entry], task_id: str) -> int:
    """Return the highest step that a task was ever rewarded for."""
    return max((int(e.step) for e in entries.values() if e.task_id == task_id), default=0)


def calendar_of(change: Change, campaigns: Campaigns) -> Calendar:
    entry = change.entry
    return campaigns.pinned(entry.campaign_id, entry.campaign_version).calendar

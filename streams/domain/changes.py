"""What is different about a task, said and counted: shared by the short path and the walk.

How a task moves, beside its claim (semantics.md 3, 8):

    active    -> completed  the target is met
    active    -> expired    a tick has reached its end, or once more the end of grace (`expiry.py`)
    expired   -> active     task.revived: it has more again, by what happened within grace
    completed -> active     task.reopened: the target is no longer met, the window is still open
    completed -> expired    the same, and the window is over or the next round began
    any       -> withdrawn, killed    see `endings.py`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.domain import asks, chances, groups
from streams.domain.counting import final_step
from streams.domain.state import unpack_ledger

if TYPE_CHECKING:
    from streams.domain.announce import Announcer
    from streams.domain.asks import Asked
    from streams.domain.campaign import Campaign
    from streams.domain.days import Calendar
    from streams.domain.ledger import Change
    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from streams.domain.state import Entry, Task, UserState


def task_changes(  # noqa: PLR0913  # two sides of a task, and what it takes to tell
    stood: Task | None,
    task: Task,
    peak: int,
    campaign: Campaign,
    say: Announcer,
    gone: Task | None = None,
) -> tuple[Task, list[Output]]:
    """Say what is different about a task (None: it did not stand), and count that we said it.

    gone: the task as we last spoke of it, if a late fact had undone it meanwhile.
    """
    if task is stood and peak == task.peak:
        return task, []  # what was said of it still holds
    told = stood if stood is not None and (stood.rev or gone is None) else gone
    passed_ms, noticed_ms = (told.passed_ms, told.noticed_ms) if told else (0, 0)
    closed = bool(told and told.closed)
    if task.pending:  # nothing is said of it before it is granted, and time does not touch it
        task = msgspec.structs.replace(
            task,
            peak=peak,
            rev=stood.rev if stood else 0,
            passed_ms=passed_ms,
            noticed_ms=noticed_ms,
            expired=bool(stood and stood.expired),
            closed=closed,
        )
        return task, []
    if stood is not None and stood.pending and not stood.rev:
        stood = None
    expired = _expired(stood, task, campaign, passed_ms, say.at_ms)
    types = _types(stood, task, campaign, expired=expired)
    rev = (told.rev if told else 0) + len(types)
    peak = max(task.counted, peak, final_step(task, campaign, task.counted))
    marks = (rev, peak, passed_ms, noticed_ms, expired, closed)
    if marks != (
        *(task.rev, task.peak, task.passed_ms, task.noticed_ms, task.expired),
        task.closed,
    ):
        task = msgspec.structs.replace(
            task,
            rev=rev,
            peak=peak,
            passed_ms=passed_ms,
            noticed_ms=noticed_ms,
            expired=expired,
            closed=closed,
        )
    return task, [say.task(type_, task, campaign) for type_ in types]


def _types(stood: Task | None, task: Task, campaign: Campaign, *, expired: bool) -> list[str]:
    """Return what there is to say, in the order in which it is said."""
    types = [] if stood else ["task.claimed"]
    if stood and stood.expired and not expired and not task.ended:
        types.append("task.revived")
    before = _measure(stood, campaign) if stood else (0, 0, 0)
    now = _measure(task, campaign)
    if now != before:
        types.append("task.advanced" if now > before else "task.regressed")
    was_over = (bool(stood.completed_at_ms), stood.ended) if stood else (False, "")
    if task.completed_at_ms:
        types += [] if was_over[0] else ["task.completed"]
    elif task.ended:
        types += [] if was_over == (False, task.ended) else [f"task.{task.ended}"]
    elif expired:
        types += ["task.expired"] if not (stood and stood.expired) else []
    elif any(was_over):
        types.append("task.reopened")
    return types


def _measure(task: Task, campaign: Campaign) -> tuple[int, int, int]:
    """Return how far a task is: orders, and the amounts where the campaign goes by them."""
    accumulated = task.accumulated_minor if campaign.target_amount_minor else 0
    return task.counted, accumulated, task.saved_minor


def _expired(
    stood: Task | None, task: Task, campaign: Campaign, passed_ms: int, at_ms: int
) -> bool:
    """Tell whether a task is (still) to be called expired after an event of this time."""
    if task.completed_at_ms or task.ended:
        return False
    grace_ends_ms = task.end_ms + campaign.grace_ms
    over = passed_ms >= grace_ends_ms  # no order can bring it back any more
    if stood is None:
        return over
    if stood.completed_at_ms or stood.ended:
        return over or bool(task.closed_ms) or at_ms >= task.end_ms
    if not stood.expired or over or at_ms >= grace_ends_ms or task.closed_ms:
        return stood.expired  # by its own time too: whether a tick came before does not show
    opened = bool(stood.closed_ms) and passed_ms < task.end_ms  # the next round has been undone
    return _measure(task, campaign) <= _measure(stood, campaign) and not opened


def remembering(task: Task, state: UserState, campaign: Campaign) -> Task:
    """A task that a late fact had undone may come back: ledger entries and asks did not go away."""
    name = task.task_id.encode()
    if name not in state.ledger.data and name not in state.asks.data:
        return task
    entries, asked = unpack_ledger(state.ledger), asks.unpack(state.asks)
    return msgspec.structs.replace(
        task,
        peak=peak(entries, asked, task.task_id),
        paid_step=groups.paid_step(entries, task, campaign),
    )


def gone_of(state: UserState) -> dict[str, Task]:
    return {task.task_id: task for task in state.gone}


def peak(entries: dict[str, Entry], asked: Asked, task_id: str) -> int:
    """Return the highest step that a task was ever rewarded for, or drew at."""
    steps = [e.step for e in entries.values() if e.task_id == task_id]
    steps += [ask.step for ask in asked.draws() if ask.task_id == task_id]
    return max(map(chances.step_of, steps), default=0)


def calendar_of(change: Change, campaigns: Campaigns) -> Calendar:
    entry = change.entry
    return campaigns.pinned(entry.campaign_id, entry.campaign_version).calendar

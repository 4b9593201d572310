"""Tasks that end before their time: withdrawn by their user, or killed with their campaign.

From then on no order counts for them; what was issued stays, while a later cancellation still takes
back what its order had earned. Nobody withdraws from a task that is completed. A killed one that is
completed stays so, unless its target is no longer met: then it is killed too. A kill needs no event
of the user: it is said at the first event or tick from its time on, as of that time.
Source: semantics.md 2 (`campaign.killed`), 3 (the states of a task), 4 (`task.withdrawn`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.days import Calendar
from streams.domain.state import KILLED

if TYPE_CHECKING:
    from streams.domain.registry import Campaigns
    from streams.domain.state import Task, UserState

UTC = Calendar("UTC")


def next_deadline_ms(state: UserState, campaigns: Campaigns) -> int:
    """Return when the next running task of the user is killed, maybe in the past; 0: none is."""
    if not campaigns.kills:
        return 0
    found = []
    for task in state.tasks:
        killed = campaigns.killed_at(task.campaign_id)
        over = task.closed_ms or task.frozen
        if killed is not None and not over and is_killed(task, killed.at_ms):
            found.append(killed.at_ms)
    return min(found, default=0)


def is_killed(task: Task, at_ms: int) -> bool:
    """Tell whether the end of its campaign ends the latest task of a user, and has not yet."""
    return not task.ended and task.begun_at_ms < at_ms < task.end_ms


def reached_ms(state: UserState) -> int:
    """Return the latest kill that was said: the walk is to come to it again."""
    return max((task.ended_ms for task in state.tasks if task.ended == KILLED), default=0)


def cause_id(at_ms: int) -> str:
    """Return what stands for an instant behind an output, so that tick spacing does not show."""
    return f"deadline:{UTC.text(at_ms)}"

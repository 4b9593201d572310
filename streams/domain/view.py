"""What a task looks like from outside, in events now and in rendering later.

The dark box shows progress but neither target nor what remains (rule R9, question 36).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streams.domain.campaign import Campaign
    from streams.domain.state import Task


def state_of(task: Task) -> str:
    """Return pending, active, completed, or expired (the next round began before the target)."""
    if task.pending:
        return "pending"
    if task.completed_at_ms:
        return "completed"
    return "expired" if task.closed_ms else "active"


def task_view(task: Task, campaign: Campaign) -> dict[str, Any]:
    """Return the redacted view that goes into every task event."""
    shown: dict[str, Any] = {
        "state": state_of(task),
        "counted": task.counted,
        "deadline": campaign.calendar.text(task.end_ms),
    }
    if not campaign.dark:
        target = campaign.limit
        shown["target"] = target
        shown["remaining"] = target - task.counted
    return shown

"""What a task looks like from outside, in events now and in rendering later.

The dark box shows progress but neither target nor what remains (rule R9, question 36).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streams.domain.campaign import Campaign
    from streams.domain.state import Task


def state_of(task: Task) -> str:
    """Return pending, active, completed, withdrawn, killed, or expired.

    Expired: time ran out, or the next round began.
    """
    if task.pending:
        return "pending"
    if task.completed_at_ms:
        return "completed"
    if task.ended:
        return task.ended
    return "expired" if task.expired or task.closed_ms else "active"


def task_view(task: Task, campaign: Campaign, *, full: bool = False) -> dict[str, Any]:
    """Return the redacted view that goes into every task event; full: for operators alone."""
    shown: dict[str, Any] = {
        "state": state_of(task),
        "counted": task.counted,
        "accumulated_minor": task.accumulated_minor,
        "saved_minor": task.saved_minor,
        "deadline": campaign.calendar.text(task.end_ms),
    }
    if full or not campaign.dark:
        target, done = campaign.limit, bool(task.completed_at_ms)
        shown["target"] = target
        shown["remaining"] = 0 if done else max(0, target - task.counted)
        amount_minor = campaign.target_amount_minor
        if amount_minor:
            missing = amount_minor - task.accumulated_minor
            shown["target_amount_minor"] = amount_minor
            shown["remaining_amount_minor"] = 0 if done else max(0, missing)
    return shown

"""What a task has earned: by step, at the target, drawn, and when its campaign is killed.

The ledger brings what stands to what is due here; nothing else says what anybody is owed. A final
right worth the saved amount is due with what its cycle had banked. Source: semantics.md 2
(`final_rewards`, `step_rewards`, `saved`), 3 P9, 5 rules 4 and 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.domain import chances, ids, risk
from streams.domain.counting import final_step, step_in_cycle
from streams.domain.dues import Due
from streams.domain.state import KILLED

if TYPE_CHECKING:
    from streams.domain.asks import Asked
    from streams.domain.campaign import Campaign, Right
    from streams.domain.counting import Tally
    from streams.domain.registry import Campaigns
    from streams.domain.state import Task

NO_STEP = "0"  # the step label of what no order earned


def at_step(task: Task, campaign: Campaign, k: int, order_id: str, saved_minor: int) -> list[Due]:
    """Return what the k-th counted order makes due: its step's rights, then the final ones.

    task: as it stands once that order, its last, is counted. saved_minor: banked by then.
    """
    step = step_in_cycle(campaign, k)
    due = [
        Due(task, campaign, str(k), "step", _in_supply(right, task), order_id)
        for right in campaign.step_rewards.get(step, ())
    ]
    final = final_step(task, campaign, k)
    if final:
        due += [
            Due(task, campaign, str(final), "final", _valued(right, saved_minor), order_id)
            for right in (_in_supply(right, task) for right in campaign.final_rewards)
        ]
    return due


def of_tally(tally: Tally, asked: Asked, campaigns: Campaigns, verdict: str) -> list[Due]:
    """Return all that is due to a counted task. verdict: what stands about its user.

    A step rests on every order up to its own: a review of one of them holds it.
    """
    task, campaign = tally.task, campaigns.of_task(tally.task)
    found: list[Due] = []
    held = False
    for k, (order_id, saved_minor) in enumerate(zip(tally.counted, tally.saved, strict=True), 1):
        here = at_step(task, campaign, k, order_id, saved_minor)
        here += [
            Due(
                task,
                campaign,
                label,
                "prize",
                right,
                order_id,
                draw_id=ids.draw_id(task.task_id, label),
            )
            for label, right in chances.prizes_at(task, campaign, k, asked)
        ]
        held = held or order_id in tally.held
        found += [due._replace(held=True) for due in here] if held else here
    killed = campaigns.killed_at(task.campaign_id) if _is_killed(task) else None
    if killed is not None and killed.compensation is not None:
        held = verdict == risk.REVIEW
        found.append(Due(task, campaign, NO_STEP, "compensation", killed.compensation, "", held))
    return found


def _is_killed(task: Task) -> bool:
    return task.ended == KILLED and not task.completed_at_ms


def _in_supply(right: Right, task: Task) -> Right:
    """Return what is given: the fallback where the pool of the right had no units for the task."""
    lacks = right.supply and right.supply in task.lacks and right.fallback
    return right.fallback if lacks and right.fallback else right


def _valued(right: Right, saved_minor: int) -> Right:
    if right.value != "saved_amount":
        return right
    return msgspec.structs.replace(right, value_minor=saved_minor)

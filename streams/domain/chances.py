"""Chances to draw: which a task has won, who may use one, and the prize that it brought.

A chance is won with its step and lost with it, until it is asked for; from then on it is one draw,
for good. Its prize is due while the step stands. Source: semantics.md 3 P11; 5 rule 6; 6.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from streams.domain import ids
from streams.domain.asks import DRAW, DRAWN, EXPIRED, Ask
from streams.domain.campaign import Right
from streams.domain.counting import final_step, step_in_cycle

if TYPE_CHECKING:
    from streams.domain.asks import Asked
    from streams.domain.campaign import Campaign
    from streams.domain.registry import Campaigns
    from streams.domain.state import Task

NO_CHANCE, POOL_CLOSED = "NO_CHANCE", "POOL_CLOSED"

right_of = lru_cache(maxsize=1024)(msgspec.json.Decoder(Right).decode)
"""Return the right that a pool gave, from the JSON that the pool published."""


def labels_at(task: Task, campaign: Campaign, k: int) -> list[str]:
    """Return the step labels of the chances that the k-th counted order of a task brings."""
    if campaign.lottery is None:
        return []
    step, final = step_in_cycle(campaign, k), final_step(task, campaign, k)
    names = (step, "final") if final else (step,)
    count = sum(won.count for won in campaign.lottery.chances if won.step in names)
    label = final or k
    return [str(label) if n == 1 else f"{label}#{n}" for n in range(1, count + 1)]


def labels(task: Task, campaign: Campaign) -> list[str]:
    """Return the step labels of all chances that a task has won, drawn or not."""
    if campaign.lottery is None or task.pending:
        return []
    return [label for k in range(1, task.counted + 1) for label in labels_at(task, campaign, k)]


def undrawn(task: Task, campaign: Campaign, asked: Asked) -> list[str]:
    """Return the chances of a task that can still be used."""
    return [label for label in labels(task, campaign) if asked.draw(task.task_id, label) is None]


def refusal(task: Task | None, label: str, at_ms: int, asked: Asked, campaigns: Campaigns) -> str:
    """Return why a draw may not be had, or the empty text; asked again, it is had.

    task: as it stood at that time, if there was one. A pending task may: its draw waits.
    """
    if task is None:
        return NO_CHANCE
    campaign = campaigns.of_task(task)
    ask = asked.draw(task.task_id, label)
    if ask is not None and ask.state == EXPIRED:
        return POOL_CLOSED  # however late we read what was asked in time
    if ask is not None and ask.at_ms <= at_ms:
        return ""
    if label not in labels(msgspec.structs.replace(task, pending=False), campaign):
        return NO_CHANCE
    ends_ms = closes_ms(campaign, campaigns)
    return POOL_CLOSED if ends_ms is not None and at_ms >= ends_ms else ""


def to_ask(task: Task, campaign: Campaign, label: str, at_ms: int) -> Ask:
    """Return the request for the one draw of a chance."""
    assert campaign.lottery is not None, "only a lottery has chances"
    return Ask(
        request_id=ids.draw_id(task.task_id, label),
        purpose=DRAW,
        pool_id=campaign.lottery.pool_id,
        task_id=task.task_id,
        at_ms=at_ms,
        until_ms=task.end_ms + campaign.grace_ms,
        step=label,
    )


def return_id(ask: Ask, cause_id: str) -> str:
    return ids.request_id(ask.task_id, f"return:{ask.step}", cause_id)


def prizes_at(task: Task, campaign: Campaign, k: int, asked: Asked) -> list[tuple[str, Right]]:
    """Return (label, right) of the prizes that the k-th counted order's draws brought."""
    found = []
    for label in labels_at(task, campaign, k):
        ask = asked.draw(task.task_id, label)
        if ask is not None and ask.state == DRAWN and ask.right:
            found.append((label, right_of(ask.right)))
    return found


def closes_ms(campaign: Campaign, campaigns: Campaigns) -> int | None:
    """Return when the chances of a campaign end with their pool; None: never."""
    assert campaign.lottery is not None, "only a lottery has chances"
    return campaigns.pool_closes_ms(campaign.lottery.pool_id)


def step_of(label: str) -> int:
    """Return the counted order that a step label stands for: `3#2` is the third's."""
    return int(label.partition("#")[0])

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
    from streams.domain.features import Lottery
    from streams.domain.registry import Campaigns
    from streams.domain.state import Task

_DIGITS = 10  # no label has a step of so many
NO_CHANCE, POOL_CLOSED = "NO_CHANCE", "POOL_CLOSED"

right_of = lru_cache(maxsize=1024)(msgspec.json.Decoder(Right).decode)
"""Return the right that a pool gave, from the JSON that the pool published."""


def labels_at(task: Task, campaign: Campaign, k: int) -> list[str]:
    """Return the step labels of the chances that the k-th counted order of a task brings."""
    return [] if campaign.lottery is None else _at(task, campaign, k, _counts(campaign.lottery))


def _counts(lottery: Lottery) -> dict[int | str, int]:
    """Return how many chances each step brings."""
    counts: dict[int | str, int] = {}
    for won in lottery.chances:
        counts[won.step] = counts.get(won.step, 0) + won.count
    return counts


def _at(task: Task, campaign: Campaign, k: int, counts: dict[int | str, int]) -> list[str]:
    """A step's chances keep their own label, k, also where an amount makes it the last of fewer.

    Else they would have another label, and another draw, when it is the last no more (L9).
    """
    final = final_step(task, campaign, k)
    found = _numbered(k, counts.get(step_in_cycle(campaign, k), 0))
    return found + (_numbered(final, counts.get("final", 0)) if final else [])


def _numbered(label: int, count: int) -> list[str]:
    return [str(label), *(f"{label}#{n}" for n in range(2, count + 1))] if count else []


def labels(task: Task, campaign: Campaign) -> list[str]:
    """Return the step labels of all chances that a task has won, drawn or not."""
    if campaign.lottery is None or task.pending:
        return []
    counts = _counts(campaign.lottery)
    steps = _steps(task, campaign, counts)
    return [label for k in steps for label in _at(task, campaign, k, counts)]


def won(task: Task, campaign: Campaign) -> int:
    """Return how many chances a task has won, drawn or not: as many as it has labels."""
    if campaign.lottery is None or campaign.max_cycles > 1:
        return len(labels(task, campaign))
    counts = _counts(campaign.lottery)
    final = counts.pop("final", 0) if task.completed_at_ms else 0
    steps = (n for k, n in counts.items() if isinstance(k, int) and k <= task.counted)
    return 0 if task.pending else final + sum(steps)


def _steps(task: Task, campaign: Campaign, counts: dict[int | str, int]) -> list[int]:
    """Return the counted orders of a task that may have brought chances, the first one first."""
    steps = {step for step in counts if isinstance(step, int)}
    if campaign.max_cycles == 1:
        steps |= {task.counted} if task.completed_at_ms else set()
        return sorted(step for step in steps if step <= task.counted)
    cycle = campaign.target_orders
    begins = range(0, task.counted + 1, cycle)
    every = {begin + step for begin in begins for step in (*steps, cycle)}
    return sorted(step for step in every if step <= task.counted)


def has(task: Task, campaign: Campaign, label: str) -> bool:
    """Tell whether a task has won this chance, drawn or not; any text will do for the label."""
    if task.pending or campaign.target_amount_minor:  # a label does not say which order brought it
        return label in labels(task, campaign)
    step = label.partition("#")[0]
    if not (step.isascii() and step.isdecimal() and len(step) < _DIGITS):
        return False
    return 0 < int(step) <= task.counted and label in labels_at(task, campaign, int(step))


def order_of(task: Task, campaign: Campaign, label: str) -> str:
    """Return the checkout that brought a chance which stands; empty: none, or it is not known.

    Where an amount is asked for, a label does not say which order that is.
    """
    if campaign.target_amount_minor or not has(task, campaign, label):
        return ""
    step = step_of(label)
    return next((order_id for k, order_id in reversed(task.chances) if k == step), "")


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
    if not has(msgspec.structs.replace(task, pending=False), campaign, label):
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


def spent_id(ask: Ask, cause_id: str) -> str:
    return ids.request_id(ask.task_id, f"spent:{ask.step}", cause_id)


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

"""What each counted order banks for the final reward (semantics.md 2, `saved`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.models.ids import sample

if TYPE_CHECKING:
    from tests.models.counting import Tally


def banked(tally: Tally) -> list[int]:
    """Per counted order, after the cap; each cycle banks on its own."""
    version = tally.round.version
    amounts: list[int] = []
    in_cycle = 0
    for label, order in enumerate(tally.counted, start=1):
        step = (label - 1) % version.per_cycle + 1 if version.every_n else label
        in_cycle = 0 if step == 1 else in_cycle
        amount = raw_minor(tally, label, step, order.consumption_minor)
        if version.saved and version.saved.get("cap_minor"):
            amount = min(amount, version.saved["cap_minor"] - in_cycle)
        in_cycle += amount
        amounts.append(amount)
    return amounts


def raw_minor(tally: Tally, label: int, step: int, consumption_minor: int) -> int:
    rule = tally.round.version.saved
    if rule is None:
        return 0
    if rule["rule"] == "fixed":
        return rule["value_minor"]
    if rule["rule"] == "percent":
        return consumption_minor * rule["bp"] // 10_000
    if rule["rule"] == "table":
        return rule["table"][min(step, len(rule["table"])) - 1]
    lines = ["leidan/saved/1", tally.round.task_id, str(label)]
    width = rule["max_minor"] - rule["min_minor"] + 1
    return rule["min_minor"] + sample(None, lines, width)


def saved_by(tally: Tally, cycle: int | None = None) -> int:
    """All of it, or what one cycle (from 1) banked."""
    amounts = banked(tally)
    if cycle is None or not tally.round.version.every_n:
        return sum(amounts)
    size = tally.round.version.per_cycle
    return sum(amounts[(cycle - 1) * size : cycle * size])

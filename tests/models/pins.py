"""Which orders are pinned: what a paid step rested on stays with that task (P5, question 13).

This depends on arrival, so the events are taken in the order in which they were read: after each,
the orders behind every reward that is due, and so issued, are pinned. A moment before a pin was
made is judged without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.models.facts import unique

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.models.facts import Key
    from tests.models.users import Earned


class Pin(NamedTuple):
    """since: the newest fact known when it was made."""

    order: str  # an order, or the parent of a checkout
    task_id: str
    since: Key


def pinned(
    earn: Callable[..., Earned],
    user_id: str,
    events: list[dict[str, Any]],
    records: list[dict[str, Any]],
) -> list[Pin]:
    """All pins after all events; none where no campaign is in a group."""
    pins: list[Pin] = []
    if not any(record.get("exclusion_group") for record in records):
        return pins
    for read in range(1, len(events) + 1):
        facts = unique(events[:read])
        if not facts:
            continue
        earned = earn(user_id, events[:read], records, pins=pins)
        for due in earned.dues.values():
            if due.grouped:
                known = {(pin.order, pin.task_id) for pin in pins}
                pins += [
                    Pin(order, due.task_id, facts[-1].key)
                    for order in due.orders
                    if (order, due.task_id) not in known
                ]
    return pins

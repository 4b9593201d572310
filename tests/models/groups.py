"""One task per exclusion group: which of several tasks an order serves (P5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.models.checkouts import Checkout
    from tests.models.counting import Tally
    from tests.models.facts import Key
    from tests.models.world import World


def winner(
    world: World, candidates: list[tuple[Tally, Checkout]], until: Key | None
) -> tuple[Tally, Checkout]:
    """Pinned; can count it now; priority; earlier deadline; earlier claim; smaller task_id."""
    return min(
        candidates,
        key=lambda found: (
            not is_pinned(world, found[0].round.task_id, found[1], until),
            not found[0].can_count(found[1]),
            -found[0].round.version.priority,
            found[0].round.end_ms,
            found[0].round.begun_ms,
            found[0].round.task_id,
        ),
    )


def is_pinned(world: World, task_id: str, order: Checkout, until: Key | None) -> bool:
    """until: a moment that is judged by what was before it; None: now."""
    return any(
        pin.task_id == task_id and pin.order in order.names and (until is None or pin.since < until)
        for pin in world.pins
    )

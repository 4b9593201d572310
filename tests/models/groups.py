"""One task per exclusion group: which of several tasks an order serves (P5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.models.checkouts import Checkout
    from tests.models.counting import Tally
    from tests.models.facts import Key
    from tests.models.rounds import Round
    from tests.models.world import World


def winner(
    world: World, candidates: list[tuple[Tally, Checkout]], until: Key | None
) -> tuple[Tally, Checkout]:
    """Pinned; can count it now; priority; earlier deadline; earlier claim; smaller task_id."""
    pinned_to = holder(world, candidates, until)
    return min(
        candidates,
        key=lambda found: (
            found[0].round.task_id != pinned_to,
            not found[0].can_count(found[1]),
            *preference(found[0].round),
        ),
    )


def preference(this: Round) -> tuple[int, int, int, str]:
    """Priority; earlier deadline; earlier claim; smaller task_id."""
    return -this.version.priority, this.end_ms, this.begun_ms, this.task_id


def holder(world: World, candidates: list[tuple[Tally, Checkout]], until: Key | None) -> str | None:
    """The task that the order is pinned to; paid in one after another, it stays with the last.

    until: a moment that is judged by what was before it; None: now.
    """
    tasks = {tally.round.task_id: order for tally, order in candidates}
    found = [
        pin.task_id
        for pin in world.pins
        if pin.task_id in tasks
        and pin.order in tasks[pin.task_id].names
        and (until is None or pin.since < until)
    ]
    return found[-1] if found else None

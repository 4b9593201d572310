"""What is due of a round: step and final rewards, prizes, compensation (P9, P11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.models.chances import chances_of, drawn_right
from tests.models.ids import reward_id
from tests.models.saved import saved_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.models.checkouts import Checkout
    from tests.models.counting import Tally
    from tests.models.definitions import Version
    from tests.models.rounds import Round
    from tests.models.world import World

COMPENSATION_STEP = "0"


class Due(NamedTuple):
    """One reward owed. orders: those it rests on, oldest first (names of checkouts)."""

    reward_id: str
    task_id: str
    campaign_id: str
    step: str
    kind: str  # step, final, prize, compensation
    right_id: str
    type: str
    value_minor: int
    currency: str
    right: dict[str, Any]
    version: Version
    orders: tuple[str, ...] = ()
    parts: frozenset[str] = frozenset()  # all that counts of them: order ids
    last_parts: frozenset[str] = frozenset()  # of the last of them
    horizon_ms: int = 0  # its task's


def dues_of(world: World, tally: Tally, state: str) -> list[Due]:
    """All that a round owes; `state` is the task's, since only a killed one is compensated."""
    this = tally.round
    counted = tally.counted
    found = [
        due_of(this, label, kind, right, saved_by(tally, cycle), counted[:reached])
        for label, kind, right, cycle, reached in owed(tally)
    ]
    for label in chances_of(tally):
        right = drawn_right(world, this.task_id, label)
        if right is not None:
            reached = counted[: int(label.split("#")[0])]
            if label.split("#")[0] == this.version.final_label() and not this.version.every_n:
                reached = counted  # the final chance, whatever the number of orders
            found.append(due_of(this, label, "prize", right, 0, reached))
    kill = world.kills.get(this.version.campaign_id)
    if state == "killed" and kill is not None and kill.compensation is not None:
        found.append(due_of(this, COMPENSATION_STEP, "compensation", kill.compensation, 0, []))
    return found


def owed(tally: Tally) -> Iterator[tuple[str, str, dict[str, Any], int, int]]:
    """(label, kind, right, cycle, orders reached): step k for each counted, then the finals."""
    version, counted = tally.round.version, len(tally.counted)
    for label in range(1, counted + 1):
        cycle = (label - 1) // version.per_cycle + 1 if version.every_n else 1
        step = label - (cycle - 1) * version.per_cycle
        for reward in version.step_rewards:
            if reward["step"] == step:
                yield str(label), "step", reward["right"], cycle, label
    cycles = counted // version.per_cycle if version.every_n else int(tally.met)
    for cycle in range(1, cycles + 1):
        reached = cycle * version.per_cycle if version.every_n else counted
        for right in version.final_rewards:
            yield version.final_label(cycle), "final", right, cycle, reached


def due_of(  # noqa: PLR0913  a reward has this many sides
    this: Round,
    step: str,
    kind: str,
    right: dict[str, Any],
    saved_minor: int,
    rests_on: list[Checkout],
) -> Due:
    while right["right_id"] in this.fallbacks and right.get("fallback"):
        right = right["fallback"]
    value = saved_minor if right.get("value") == "saved_amount" else right.get("value_minor", 0)
    return Due(
        reward_id=reward_id(this.task_id, step, kind, right["right_id"]),
        task_id=this.task_id,
        campaign_id=this.version.campaign_id,
        step=step,
        kind=kind,
        right_id=right["right_id"],
        type=right["type"],
        value_minor=value,
        currency=this.version.currency,
        right=right,
        version=this.version,
        orders=tuple(order.parent for order in rests_on),
        parts=frozenset(part for order in rests_on for part in order.parts),
        last_parts=rests_on[-1].parts if rests_on else frozenset(),
        horizon_ms=this.version.horizon(this.end_ms),
    )

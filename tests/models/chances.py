"""Chances to draw: which a round has earned, and what a request to draw is answered (section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.models.counting import tally_of
from tests.models.ids import draw_id

if TYPE_CHECKING:
    from tests.models.counting import Tally
    from tests.models.facts import Fact
    from tests.models.rounds import Begun
    from tests.models.world import World


def chances_of(tally: Tally) -> list[str]:
    """Step labels, `k` and then `k#n` for the n-th of one step; "final" bears the target's."""
    version = tally.round.version
    labels = []
    for chance in (version.lottery or {}).get("chances", []):
        for reached in reached_by(tally, chance["step"]):
            labels += [
                reached if n == 1 else f"{reached}#{n}" for n in range(1, chance["count"] + 1)
            ]
    return labels


def reached_by(tally: Tally, step: int | str) -> list[str]:
    """The labels at which a chance of a step is due, one for each cycle that reached it."""
    version, counted = tally.round.version, len(tally.counted)
    if step == "final":
        if version.every_n:
            return [version.final_label(c) for c in range(1, counted // version.per_cycle + 1)]
        return [version.final_label()] if tally.met else []
    cycles = version.target // version.per_cycle
    labels = [c * version.per_cycle + int(step) for c in range(cycles)]
    return [str(label) for label in labels if label <= counted]


def expiring(world: World, begun: Begun, tally: Tally) -> dict[str, int]:
    """{label: when it expires with its pool} of the chances that nobody has asked for."""
    this, lottery = tally.round, tally.round.version.lottery
    closes_ms = world.pool_closes.get(lottery["pool_id"]) if lottery else None
    if not lottery or closes_ms is None or not this.granted:
        return {}
    if lottery.get("draw") == "immediate" or lottery.get("at_close") == "draw":
        return {}
    taken = begun.draws | set(world.answers)
    return {
        label: closes_ms for label in chances_of(tally) if draw_id(this.task_id, label) not in taken
    }


def answer_to_draw(world: World, facts: list[Fact], begun: Begun, asked: Fact) -> str:
    """DRAW, NO_CHANCE or POOL_CLOSED, as of the request's time; once drawn it is the same draw."""
    this = begun.by_id(asked["task_id"])
    if this is None or this.version.lottery is None:
        return "NO_CHANCE"
    name = draw_id(this.task_id, asked["step"])
    if name in world.over and name not in world.answers:
        return "POOL_CLOSED"  # the chance expired, however late we read what was asked in time
    if name in begun.draws:
        return "DRAW"
    before = [fact for fact in facts if fact.key < asked.key]
    tally = tally_of(world, before, begun, this, asked.key)
    if asked["step"] not in chances_of(tally):
        return "NO_CHANCE"
    if world.pool_closed(this.version.lottery["pool_id"], asked.key[0]):
        return "POOL_CLOSED"
    return "DRAW"


def drawn_right(world: World, task: str, label: str) -> dict | None:
    """What the pool gave for a chance, if it has answered and gave anything that it still has."""
    name = draw_id(task, label)
    answer = world.answers.get(name)
    return answer.event.get("right") if answer and name not in world.over else None

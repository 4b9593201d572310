"""What keeps a due reward from being issued: release, review, collection (semantics.md 2, 7).

`now_ms` is the time of the tick that is read, 0 at any other event: only ticks end a wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.models.facts import DAY_MS, ORDER, STEPS_OF_AN_ORDER
from tests.models.who import verdict

if TYPE_CHECKING:
    from tests.models.dues import Due
    from tests.models.facts import Fact


def waits(due: Due, facts: list[Fact], now_ms: int) -> set[str]:
    """Every reason why it waits at this moment. Empty: it may go."""
    found = set()
    if is_reviewed(due, facts):
        found.add("review")
    free_ms = released_ms(due, facts)
    if free_ms is None or now_ms < free_ms:
        found.add("release")
    if collect_by_ms(due, facts):
        found.add("collect")
    return found


def in_vain(due: Due, facts: list[Fact], now_ms: int) -> bool:
    """Whether it has waited too long: for its user, or up to the horizon for orders or a review."""
    by_ms = collect_by_ms(due, facts)
    if by_ms and now_ms >= by_ms:
        return True
    held = released_ms(due, facts) is None or is_reviewed(due, facts)
    return held and now_ms >= due.horizon_ms


def is_stuck(due: Due, facts: list[Fact]) -> bool:
    """Whether it waits for something that time alone does not bring."""
    held = released_ms(due, facts) is None or is_reviewed(due, facts)
    return held or collect_by_ms(due, facts) > 0


def is_reviewed(due: Due, facts: list[Fact]) -> bool:
    """Verdicts act up to the horizon, by the time of their record."""
    acting = [fact for fact in facts if fact["recorded_at_ms"] <= due.horizon_ms]
    return "review" in [verdict(acting, None), *(verdict(acting, each) for each in due.parts)]


def released_ms(due: Due, facts: list[Fact]) -> int | None:
    """When each order so far has reached `on`, plus the days of hold; None: one has not.

    Without days nothing waits for time: 0; nor does what no order has earned.
    """
    release = due.version.release
    if not release or due.value_minor <= release.get("instant_limit_minor", 0) or not due.parts:
        return 0
    wanted = STEPS_OF_AN_ORDER[release.get("on", "paid")]
    reached = []
    for order_id in due.parts:
        times = [
            fact.key[0]
            for fact in versions_past(facts, order_id, wanted)
            if fact["recorded_at_ms"] <= due.horizon_ms
        ]
        if not times:
            return None
        reached.append(min(times))
    days_ms = release.get("hold_days", 0) * DAY_MS
    return max(reached, default=0) + days_ms if days_ms else 0


def collect_by_ms(due: Due, facts: list[Fact]) -> int:
    """Until when its user may take it, from the record of the order that earned it; 0: no need.

    What no order has earned has no such day: it goes at once.
    """
    if not due.version.manual or not due.last_parts:
        return 0
    since_ms = max(
        min(fact["recorded_at_ms"] for fact in versions_past(facts, order_id, due.version.on))
        for order_id in due.last_parts
    )
    by_ms = since_ms + due.version.collect_ms
    taken = any(
        fact.kind == "reward.collected"
        and fact["reward_id"] == due.reward_id
        and fact.key[0] < by_ms
        for fact in facts
    )
    return 0 if taken else by_ms


def versions_past(facts: list[Fact], order_id: str, step: int) -> list[Fact]:
    """The events of an order that has come at least as far as a step."""
    return [
        fact
        for fact in facts
        if fact.rank == ORDER
        and fact["order_id"] == order_id
        and STEPS_OF_AN_ORDER[fact.kind.removeprefix("order.")] >= step
    ]

"""What keeps a due reward from being issued: release, review, collection (semantics.md 2, 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.models.facts import DAY_MS, ORDER, STEPS_OF_AN_ORDER
from tests.models.who import verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.models.definitions import Version
    from tests.models.dues import Due
    from tests.models.facts import Fact


def waits(due: Due, facts: list[Fact], now_ms: int) -> set[str]:
    """Every reason why it waits at this moment; `now_ms` is the largest tick. Empty: it may go."""
    version = due.version
    found = set()
    if "review" in [verdict(facts, None), *(verdict(facts, each) for each in due.parts)]:
        found.add("review")
    if version.release and due.value_minor > version.release.get("instant_limit_minor", 0):
        free_ms = released_ms(version, facts, due.parts)
        if free_ms is None or (version.release.get("hold_days") and now_ms < free_ms):
            found.add("release")
    # What no order has earned has no day from which on it might be collected: it goes at once.
    if version.manual and due.parts and not is_collected(facts, due):
        found.add("collect")
    return found


def released_ms(version: Version, facts: list[Fact], orders: Iterable[str]) -> int | None:
    """When each order so far has reached `on`, plus the days of hold; None: one has not."""
    wanted = STEPS_OF_AN_ORDER[version.release.get("on", "paid")]
    reached = []
    for order_id in orders:
        times = [
            fact.key[0]
            for fact in facts
            if fact.rank == ORDER
            and fact["order_id"] == order_id
            and STEPS_OF_AN_ORDER[fact.kind.removeprefix("order.")] >= wanted
        ]
        if not times:
            return None
        reached.append(min(times))
    return max(reached, default=0) + version.release.get("hold_days", 0) * DAY_MS


def is_collected(facts: list[Fact], due: Due) -> bool:
    """By its user, within the days it has since the order that earned it."""
    return any(
        fact.kind == "reward.collected"
        and fact["reward_id"] == due.reward_id
        and fact.key[0] < due.at_ms + due.version.collect_ms
        for fact in facts
    )

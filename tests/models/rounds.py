"""The tasks of one user in one campaign: each has a window, and no order is in two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.models.checkouts import Checkout, checkouts

if TYPE_CHECKING:
    from tests.models.definitions import Version
    from tests.models.facts import Fact


@dataclass(frozen=True)
class Round:
    """One task. `begins`: the first (time, order id) that is its own and no longer the last one's.

    claim: the claim that began it, for its lookback; None if an order did.
    """

    task_id: str
    number: int
    version: Version
    start_ms: int
    end_ms: int
    begins: tuple[int, str]
    claim: Fact | None = None


def in_window(facts: list[Fact], rounds: list[Round], index: int) -> list[Checkout]:
    """The checkouts of a round by (time, order id); none is in two rounds."""
    this = rounds[index]
    closes = rounds[index + 1].begins if index + 1 < len(rounds) else None
    found = []
    for order in checkouts(facts, this.version, this.end_ms):
        if closes is not None and order.key >= closes:
            continue
        time_ms = order.key[0]
        own = time_ms >= this.start_ms and order.key >= this.begins and time_ms < this.end_ms
        if own or (looked_back(this, order) and not had_before(facts, rounds, index, order)):
            found.append(order)
    return sorted(found, key=lambda order: order.key)


def had_before(facts: list[Fact], rounds: list[Round], index: int, order: Checkout) -> bool:
    """Whether an earlier round has the order in its window, counted or not."""
    return any(
        order.names & other.names
        for before in range(index)
        for other in in_window(facts, rounds, before)
    )


def looked_back(this: Round, order: Checkout) -> bool:
    """Whether an order from before the claim counts too (window.lookback)."""
    version = this.version
    if this.claim is None or version.lookback == "none":
        return False
    claim_ms, time_ms = this.claim.key[0], order.key[0]
    if time_ms >= claim_ms or version.day(time_ms) != version.day(claim_ms):
        return False
    if version.first_day is not None and time_ms < version.begin_of(version.first_day):
        return False
    return version.lookback == "same_day" or this.claim.event.get("trigger_order_id") in order.names

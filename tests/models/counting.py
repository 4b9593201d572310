"""Which orders of a round count, and whether it is over."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

from tests.models.rounds import Round, in_window

if TYPE_CHECKING:
    from tests.models.checkouts import Checkout
    from tests.models.definitions import Version
    from tests.models.facts import Fact


def counted_orders(facts: list[Fact], rounds: list[Round], index: int) -> list[Checkout]:
    """The orders that count for a round, oldest first; what else qualifies is spare."""
    version = rounds[index].version
    per_day: dict[date, int] = defaultdict(int)
    counted: list[Checkout] = []
    for order in in_window(facts, rounds, index):
        if order.amount_minor < version.min_minor or len(counted) == version.target:
            continue
        day = version.day(order.key[0])
        if version.daily_cap and per_day[day] >= version.daily_cap:
            continue
        per_day[day] += 1
        counted.append(order)
    return counted


class Last(NamedTuple):
    """The newest round as of a moment. free_ms: when it completed or ended; None: it is active.

    completed_by: the (time, order id) of the order that completed it, if one did.
    """

    free_ms: int | None
    completed_by: tuple[int, str] | None


def last_round(
    facts: list[Fact], rounds: list[Round], key: tuple[int, int, str, int]
) -> Last | None:
    if not rounds:
        return None
    this = rounds[-1]
    counted = counted_orders([f for f in facts if f.key < key], rounds, len(rounds) - 1)
    if len(counted) == this.version.target:
        return Last(counted[-1].key[0], counted[-1].key)
    return Last(this.end_ms if key[0] >= this.end_ms else None, None)


def cool_end(version: Version, last: Last) -> int:
    """The day of the end or completion is day 1 of the cool-down, as the claim's is of a window."""
    assert last.free_ms is not None
    return version.begin_of(version.day(last.free_ms) + timedelta(days=version.cool_down_days))


def free_for(version: Version, last: Last, order: Checkout) -> bool:
    """Whether an order may begin the round after `last`: it is later, and the cool-down is over.

    Only a checkout can be earlier: its first part may be older than the part that made it count.
    """
    if last.completed_by is not None and order.key <= last.completed_by:
        return False
    return order.key[0] >= cool_end(version, last)

"""The most that one task can cost: what its claim reserves, and what a budget must be able to pay.

Pure arithmetic on a definition. Prizes are not in it, their pool pays them. Source: semantics.md 7.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from streams.domain.campaign import Campaign, Right


class WorstCase(NamedTuple):
    """Minor units, and units by (pool_id, right_id) of the rights that have a supply."""

    amount_minor: int
    units: dict[tuple[str, str], int]


def worst_case(campaign: Campaign) -> WorstCase:
    """Return the cost of a task in which everything is won, in all of its cycles.

    campaign: with the variant of the task applied (`Campaigns.of_task`).
    """
    rights = list(campaign.rights())
    saved_minor = most_saved_minor(campaign) or 0
    amount_minor = sum(_most_minor(right, saved_minor) for right in rights)
    units: Counter[tuple[str, str]] = Counter()
    for right in rights:
        if right.supply:
            units[right.supply, right.right_id] += right.quantity * campaign.max_cycles
    return WorstCase(amount_minor * campaign.max_cycles, dict(units))


def most_saved_minor(campaign: Campaign) -> int | None:
    """Return the most that is banked for one final reward; None: there is no bound."""
    saved = campaign.saved
    if saved is None:
        return 0
    if saved.cap_minor:
        return saved.cap_minor
    orders = most_counted(campaign)
    if saved.rule == "percent" or orders is None:
        return None
    if saved.rule == "table":
        beyond = max(orders - len(saved.table), 0)
        return sum(saved.table[:orders]) + beyond * saved.table[-1]
    return orders * (saved.max_minor if saved.rule == "random" else saved.value_minor)


def most_counted(campaign: Campaign) -> int | None:
    """Return how many orders one cycle can count; None: as many as the user places.

    An amount asked for beside the orders makes a task count on past Y.
    """
    if not campaign.target_amount_minor or campaign.match == "any":
        return campaign.target_orders
    reach = campaign.days * campaign.daily_cap
    return max(campaign.target_orders, reach) if reach else None


def _most_minor(right: Right, saved_minor: int) -> int:
    """A right which fails for good is void, and its fallback due: never both."""
    own = saved_minor if right.value == "saved_amount" else right.value_minor
    return own if right.fallback is None else max(own, _most_minor(right.fallback, saved_minor))

"""Every pool and what was changed of it, in time: what a pool stage applies, each once.

Immutable, like the registry of campaigns that holds it. Changes of a pool are ordered by
(effective_from, place in the log). A change takes effect after its own record (D9), so whatever
comes later never gets in before a change that was applied: the first n of `changes` stay the same
for good, and a number is enough to remember how far they were applied.
Source: semantics.md 2, `Refused`, and 6.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import msgspec

from streams.domain.days import Calendar
from streams.domain.pool import BudgetAdded, OddsAdded, Pool, PoolClosed, Restocked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streams.domain.campaign import Campaign
    from streams.domain.pool import Odds, PoolChange


class Unfit(ValueError):
    """A clear definition that does not fit what was defined before; all problems of it."""

    def __init__(self, *problems: str) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(problems))


class Pools:
    """Pools by id with their changes; `with_...` returns another one."""

    def __init__(
        self,
        pools: Mapping[str, Pool] | None = None,
        changes: Mapping[str, tuple[PoolChange, ...]] | None = None,
    ) -> None:
        self._pools, self._changes = pools or {}, changes or {}

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    def get(self, pool_id: str) -> Pool | None:
        return self._pools.get(pool_id)

    def changes(self, pool_id: str) -> tuple[PoolChange, ...]:
        return self._changes.get(pool_id, ())

    def odds(self, pool_id: str) -> list[tuple[int, Odds]]:
        """Return the versions of a pool's odds, 1, 2, 3 ..., each with the time it begins."""
        pool = self._pools[pool_id]
        added = (change for change in self.changes(pool_id) if isinstance(change, OddsAdded))
        return [
            *((pool.effective_from_ms, odds) for odds in pool.odds),
            *((change.effective_from_ms, change.odds) for change in added),
        ]

    def closes_ms(self, pool_id: str) -> int | None:
        """Return when a pool ends: as defined, or earlier where it was closed; None: never."""
        closed = [c for c in self.changes(pool_id) if isinstance(c, PoolClosed)]
        if closed:
            return min(change.effective_from_ms for change in closed)
        return self._pools[pool_id].closes_at_ms

    def closings(self) -> list[tuple[int, str]]:
        """Return when pools were closed before their time: (ms, pool id), the earliest first."""
        every = (change for known in self._changes.values() for change in known)
        found = (change for change in every if isinstance(change, PoolClosed))
        return sorted((change.effective_from_ms, change.pool_id) for change in found)

    def with_pool(self, pool: Pool) -> Pools:
        """Add a pool. Raises Unfit when its id is taken."""
        if pool.pool_id in self._pools:
            raise Unfit(f"pool {pool.pool_id}: is defined already")
        return Pools({**self._pools, pool.pool_id: pool}, self._changes)

    def with_budget_of(self, campaign: Campaign) -> Pools:
        """Add the pool that a campaign's budget makes, with the first version that has one."""
        pool = budget_pool(campaign)
        return self if pool is None or pool.pool_id in self._pools else self.with_pool(pool)

    def with_change(self, change: PoolChange) -> Pools:
        """Add a change of a pool. Raises Unfit naming every reason why it cannot be one."""
        pool = self._pools.get(change.pool_id)
        problems = ["is unknown"] if pool is None else list(self._problems(pool, change))
        if problems:
            raise Unfit(*(f"pool {change.pool_id}: {problem}" for problem in problems))
        known = self.changes(change.pool_id)
        at = bisect_right(known, change.effective_from_ms, key=lambda one: one.effective_from_ms)
        changed = (*known[:at], change, *known[at:])
        return Pools(self._pools, {**self._changes, change.pool_id: changed})

    def _problems(self, pool: Pool, change: PoolChange) -> Iterator[str]:
        at_ms, closes_ms = change.effective_from_ms, self.closes_ms(pool.pool_id)
        if at_ms <= pool.effective_from_ms:
            yield f"not after {_text(pool.effective_from_ms)}"
        if closes_ms is not None and at_ms >= closes_ms:
            yield f"is closed from {_text(closes_ms)}"
        if isinstance(change, OddsAdded):
            yield from self._odds_problems(pool, change)
        elif isinstance(change, Restocked):
            known = {prize.prize_id for prize in pool.prizes} | pool.stock.keys()
            yield from (f"has no {one!r}" for one in sorted(change.units.keys() - known))
        elif isinstance(change, BudgetAdded):
            if change.amount_minor and pool.budget_minor is None:
                yield "has no budget to add to"
            if change.max_tasks and not pool.max_tasks:
                yield "has no max_tasks to add to"
        elif pool.kind == "budget":
            yield "is a budget: stop its campaign"

    def _odds_problems(self, pool: Pool, change: OddsAdded) -> Iterator[str]:
        if pool.kind != "lottery":
            yield "is no lottery"
            return
        last_ms, last = self.odds(pool.pool_id)[-1]
        if change.odds.odds_version != last.odds_version + 1:
            yield f"version {change.odds.odds_version} must follow {last.odds_version}"
        if change.effective_from_ms <= last_ms:
            yield f"not after {_text(last_ms)}"
        wanted = {weight.prize_id for weight in change.odds.weights}
        known = {prize.prize_id for prize in pool.prizes}
        yield from (f"has no {one!r}" for one in sorted(wanted - known))

    # --- what a campaign asks of them -----------------------------------------------------------

    def problems_of(self, campaign: Campaign) -> list[str]:
        """Return why a campaign cannot use the pools it names, as `pool <id>: <problem>`."""
        wanted: dict[str, list[str]] = {}
        if campaign.lottery is not None:
            wanted[campaign.lottery.pool_id] = [*self._lottery_problems(campaign)]
        for pool_id, right_id in sorted(_supplies(campaign)):
            wanted.setdefault(pool_id, []).extend(self._supply_problems(pool_id, right_id))
        for pool_id, problems in wanted.items():
            if pool_id not in self._pools:
                problems.append("is unknown")
            else:
                currency = self._pools[pool_id].currency
                if currency not in ("", campaign.currency):
                    problems.append(f"pays {currency}, the campaign {campaign.currency}")
                problems.extend(self._time_problems(campaign, pool_id))
        budget, own = self._pools.get(campaign.budget_pool_id), budget_pool(campaign)
        if budget is not None and own != _begun_with(budget, campaign):
            wanted[budget.pool_id] = ["is defined already: repeat the budget, or add to it"]
        return [
            f"pool {pool_id}: {problem}"
            for pool_id, problems in wanted.items()
            for problem in dict.fromkeys(problems)
        ]

    def _lottery_problems(self, campaign: Campaign) -> Iterator[str]:
        lottery = campaign.lottery
        pool = self._pools.get(lottery.pool_id) if lottery is not None else None
        if lottery is None or pool is None:
            return
        if pool.kind != "lottery":
            yield "is no lottery"
            return
        known = self.odds(pool.pool_id)
        if lottery.odds_version > len(known):
            yield f"odds version {lottery.odds_version} is unknown"
        elif (from_ms := known[lottery.odds_version - 1][0]) > campaign.effective_from_ms:
            yield f"odds version {lottery.odds_version} begins at {_text(from_ms)}"

    def _supply_problems(self, pool_id: str, right_id: str) -> Iterator[str]:
        pool = self._pools.get(pool_id)
        if pool is not None and pool.kind != "rights":
            yield "is no pool of rights"
        elif pool is not None and right_id not in pool.stock:
            yield f"has no {right_id!r}"

    def _time_problems(self, campaign: Campaign, pool_id: str) -> Iterator[str]:
        begins_ms, ends_ms = _begins_ms(campaign), _last_window_ends_ms(campaign)
        closes_ms = self.closes_ms(pool_id)
        opens_ms = self._pools[pool_id].opens_at_ms
        if opens_ms > begins_ms:
            yield f"opens too late: {_text(opens_ms)}, tasks from {_text(begins_ms)} on"
        if closes_ms is not None and ends_ms is None:
            yield f"closes at {_text(closes_ms)}, claims never: set claim.closes_at"
        elif closes_ms is not None and ends_ms is not None and closes_ms < ends_ms:
            yield f"closes before the last window: {_text(closes_ms)}, {_text(ends_ms)}"


def budget_pool(campaign: Campaign) -> Pool | None:
    """Return the pool `budget:<campaign_id>` of a campaign with a budget."""
    if campaign.budget is None:
        return None
    return Pool(
        pool_id=campaign.budget_pool_id,
        kind="budget",
        effective_from_ms=campaign.effective_from_ms,
        currency=campaign.currency,
        opens_at_ms=campaign.effective_from_ms,
        budget_minor=campaign.budget.amount_minor or None,
        max_tasks=campaign.budget.max_tasks,
    )


def _begun_with(budget: Pool, campaign: Campaign) -> Pool:
    begins_ms = campaign.effective_from_ms
    return msgspec.structs.replace(budget, effective_from_ms=begins_ms, opens_at_ms=begins_ms)


def _begins_ms(campaign: Campaign) -> int:
    """Return the first instant at which a task of this version can have an order."""
    begins_ms = max(campaign.effective_from_ms, campaign.opens_at_ms or 0)
    if campaign.first_day is None:
        return begins_ms
    return max(begins_ms, campaign.calendar.begins_ms(campaign.first_day))


def _last_window_ends_ms(campaign: Campaign) -> int | None:
    """Return the end of the last window that can begin; None: claims never close."""
    days = max([campaign.days, *(variant.days for variant in campaign.variants)])
    calendar, closes_ms = campaign.calendar, campaign.closes_at_ms
    if campaign.first_day is not None:
        return calendar.begins_ms(campaign.first_day + days)
    return None if closes_ms is None else calendar.begins_ms(calendar.day(closes_ms - 1) + days)


def _supplies(campaign: Campaign) -> set[tuple[str, str]]:
    """Return the (pool_id, right_id) of each right that comes from a pool of rights."""
    rights = (right for variant in campaign.each_variant() for right in variant.rights())
    return {(right.supply, right.right_id) for right in rights if right.supply}


def _text(at_ms: int) -> str:
    return Calendar().text(at_ms)

"""What is left of budgets and stock, as the pools' rows have it; read every few seconds.

From the rows and not from what was said: right after a restart too, and the same whoever looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams import metrics
from streams.domain.draws import WON
from streams.domain.pool import BUDGET
from streams.domain.pool_state import PoolState, pool_key
from streams.domain.pools import defined_stock
from streams.wire import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.domain.pool import Pool
    from streams.domain.registry import Campaigns
    from streams.feed.loop import Feed

Series = dict[tuple[str, ...], float]

EVERY = 5
"""Calls between two looks: of a thousand pools one takes some 5 ms."""


class PoolGauges:
    """Shows the pools whose partition this worker owns; series of others go away."""

    def __init__(self, home: Callable[[str], int]) -> None:
        """``home``: the partition of a pool."""
        self._home, self._calls = home, 0
        self._budget = metrics.Shown(metrics.BUDGET)
        self._budget_left = metrics.Shown(metrics.BUDGET_LEFT)
        self._stock = metrics.Shown(metrics.STOCK)
        self._stock_left = metrics.Shown(metrics.STOCK_LEFT)
        self._reveals = metrics.Shown(metrics.REVEAL_DUE)

    def refresh(self, feed: Feed, campaigns: Campaigns) -> None:
        """Look again, at every EVERY-th call; in the feed's thread, which closes databases."""
        self._calls += 1
        if self._calls % EVERY == 1:
            self.look(feed, campaigns)

    def look(self, feed: Feed, campaigns: Campaigns) -> None:
        """Show every pool of ours as its row has it; before its first request, as it is defined."""
        budget: Series = {}
        budget_left: Series = {}
        stock: Series = {}
        stock_left: Series = {}
        reveals: Series = {}
        for pool, state in self._ours(feed, campaigns):
            of = (pool.pool_id, _campaign(pool), pool.currency)
            if state.budget_minor is not None:
                budget[of] = state.budget_minor
                budget_left[of] = state.budget_minor - state.held_minor
            for units in state.stock:
                stock[pool.pool_id, units.id] = units.defined + units.restocked
                stock_left[pool.pool_id, units.id] = units.left
            for prize in pool.prizes:  # at 0 before the first draw, or its rise would not be seen
                metrics.DRAWS.labels(pool.pool_id, prize.prize_id, WON)
                metrics.DRAWS_EXPECTED.labels(pool.pool_id, prize.prize_id)
            closes_ms = campaigns.pool_closes_ms(pool.pool_id)
            if pool.kind == "lottery" and closes_ms is not None and not state.revealed:
                reveals[(pool.pool_id,)] = (closes_ms + pool.reveal_after_ms) / 1_000
        self._budget.set(budget)
        self._budget_left.set(budget_left)
        self._stock.set(stock)
        self._stock_left.set(stock_left)
        self._reveals.set(reveals)

    def _ours(self, feed: Feed, campaigns: Campaigns) -> Iterator[tuple[Pool, PoolState]]:
        for pool in campaigns.pools:
            owned = feed.owned.get(self._home(pool.pool_id))
            if owned is None or owned.rows is None or not owned.restored:
                continue
            key = pool_key(pool.pool_id)
            found = owned.rows.get_many([key.encode()])[0]
            state = PoolState() if found is None else rows.decode(key, found)
            assert isinstance(state, PoolState), "a pool's key names its row"
            if not state.known:
                state = PoolState(budget_minor=pool.budget_minor, stock=defined_stock(pool))
            yield pool, state


def _campaign(pool: Pool) -> str:
    return pool.pool_id.removeprefix(BUDGET) if pool.pool_id.startswith(BUDGET) else ""

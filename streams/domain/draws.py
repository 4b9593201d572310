"""One draw: the ticket, what it hits, and whether that can be given.

What can be given depends on the draws before it, in the order of their `no`; the ticket on nothing
but the chance itself. Source: semantics.md 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streams.domain import sample
from streams.domain.pool_state import FALLBACK

if TYPE_CHECKING:
    from streams.domain.campaign import Right
    from streams.domain.pool import Odds, Pool, Prize
    from streams.domain.pool_state import PoolState, Stock

WON, NOTHING = "won", "nothing"
NO_STOCK, NOT_RELEASED, USER_LIMIT, NO_BUDGET = (
    "no_stock",
    "not_released",
    "user_limit",
    "no_budget",
)


class Drawn(NamedTuple):
    """hit: where the ticket fell. given: what came of it. outcome: why these two differ, if so."""

    counter: int
    ticket: int
    hit: str | None
    given: str | None
    outcome: str


def draw(  # noqa: PLR0913 - all that one draw depends on
    state: PoolState,
    pool: Pool,
    odds: Odds,
    won: dict[str, int],
    task_id: str,
    step: str,
    at_ms: int,
    seed: bytes,
) -> Drawn:
    """Draw for the chance (task_id, step). won: how often its entrant has won each prize so far."""
    ticket, counter = sample.ticket(
        seed, pool.pool_id, odds.odds_version, task_id, step, odds.denominator
    )
    hit = hit_of(odds, ticket)
    prize = None if hit is None else pool.prize(hit)
    outcome = NOTHING if prize is None else _check(state, pool, prize, won, at_ms, seed)
    if outcome == WON:
        return Drawn(counter, ticket, hit, hit, outcome)
    affordable = pool.fallback is not None and state.can_pay(pool.fallback.value_minor)
    return Drawn(counter, ticket, hit, FALLBACK if affordable else None, outcome)


def hit_of(odds: Odds, ticket: int) -> str | None:
    return sample.hit(ticket, ((each.prize_id, each.weight) for each in odds.weights))


def _check(  # noqa: PLR0913 - as `draw`
    state: PoolState, pool: Pool, prize: Prize, won: dict[str, int], at_ms: int, seed: bytes
) -> str:
    """Say WON, or the first reason against it: stock, release, user limit, budget."""
    stock = state.stock_of(prize.prize_id)
    if stock is None or stock.left < 1:
        return NO_STOCK
    if free_from_ms(pool, prize, stock, seed) > at_ms:
        return NOT_RELEASED
    if prize.max_per_user and won.get(prize.prize_id, 0) >= prize.max_per_user:
        return USER_LIMIT
    return WON if state.can_pay(prize.right.value_minor) else NO_BUDGET


def free_from_ms(pool: Pool, prize: Prize, stock: Stock, seed: bytes) -> int:
    """Return when the next unit of a prize may be given.

    Slots are those of the pool as it was defined: closing early or restocking moves none. Units
    that came later, or came back, are free at once and go first.
    """
    unit = stock.given - stock.returned - stock.restocked
    if prize.release is None or pool.closes_at_ms is None or unit < 0:
        return pool.opens_at_ms
    slot_ms = (pool.closes_at_ms - pool.opens_at_ms) // prize.stock
    delay_ms = 0
    if prize.release.jitter:
        delay_ms = sample.unit_delay_ms(seed, pool.pool_id, prize.prize_id, unit, slot_ms)
    return pool.opens_at_ms + unit * slot_ms + delay_ms


def right_of(pool: Pool, given: str) -> Right | None:
    """Return the right behind what was given: a prize's, or the pool's fallback."""
    if given == FALLBACK:
        return pool.fallback
    prize = pool.prize(given)
    return None if prize is None else prize.right


def cost_minor(pool: Pool, given: str) -> int:
    right = right_of(pool, given)
    return 0 if right is None else right.value_minor

"""Pools as their operators define them: prizes, rights and budgets, and what is changed later.

Plain values, checked by `definition/`. What is left of a pool is no part of them: that is the state
which the pool's single writer folds from requests and from these changes (D6). Money is minor units
of the pool's currency, times are ms UTC. Source: semantics.md 2 (`pool.defined`), 6 and 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from streams.domain.campaign import Right

BUDGET = "budget:"
"""What the id of a campaign's own budget begins with; a pool of an operator cannot have a colon."""


class ReleasePacing(msgspec.Struct, frozen=True):
    """Units of a prize become free one after another over the life of the pool."""

    kind: str = "even"
    jitter: bool = False


class Prize(msgspec.Struct, frozen=True):
    """What can be won, and how often in all and by one user."""

    prize_id: str
    right: Right
    stock: int
    max_per_user: int = 0  # 0: not limited
    release: ReleasePacing | None = None  # none: all units are free at once


class Weight(msgspec.Struct, frozen=True):
    """How many of the `denominator` tickets hit a prize."""

    prize_id: str
    weight: int


class Odds(msgspec.Struct, frozen=True):
    """One published table: weights in their order, out of `denominator`; the rest wins nothing."""

    odds_version: int
    denominator: int
    weights: tuple[Weight, ...]


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """A pool as it was defined. `budget`: made from a campaign's `budget`, nobody writes one.

    definition: the record as its operator wrote it, which `draw.committed` publishes.
    """

    pool_id: str
    kind: str  # lottery, rights, budget
    effective_from_ms: int
    currency: str = ""  # empty: a pool of rights counts units and no money
    opens_at_ms: int = 0
    closes_at_ms: int | None = None  # a lottery has one
    commitment: str = ""
    budget_minor: int | None = None  # None: not bounded
    max_tasks: int = 0  # of a budget: how many tasks may reserve; 0: not bounded
    fallback: Right | None = None
    reveal_after_ms: int = 48 * 3_600_000
    prizes: tuple[Prize, ...] = ()
    odds: tuple[Odds, ...] = ()  # versions 1, 2, 3 ... as defined; later ones are `OddsAdded`
    stock: dict[str, int] = {}  # of rights: units by right_id
    definition: dict[str, Any] = {}

    def prize(self, prize_id: str) -> Prize | None:
        return next((prize for prize in self.prizes if prize.prize_id == prize_id), None)


class OddsAdded(msgspec.Struct, frozen=True):
    """New odds, for campaign versions which name them."""

    pool_id: str
    effective_from_ms: int
    odds: Odds


class Restocked(msgspec.Struct, frozen=True):
    """More units, by prize_id, or by right_id in a pool of rights."""

    pool_id: str
    effective_from_ms: int
    units: dict[str, int]


class BudgetAdded(msgspec.Struct, frozen=True):
    """More money, or more tasks, for a pool which has that limit."""

    pool_id: str
    effective_from_ms: int
    amount_minor: int = 0
    max_tasks: int = 0


class PoolClosed(msgspec.Struct, frozen=True):
    """The pool ends before its `closes_at`."""

    pool_id: str
    effective_from_ms: int


PoolChange = OddsAdded | Restocked | BudgetAdded | PoolClosed

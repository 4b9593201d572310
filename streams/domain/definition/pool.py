"""Records about pools, and those that end a campaign, field by field.

Whether a pool exists, and what follows from what was defined before, is the registry's to say.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from streams.domain.campaign import Killed, Stopped
from streams.domain.days import HOUR_MS
from streams.domain.definition.fields import CURRENCY, MAX_MINOR, NAME, REQUIRED
from streams.domain.definition.rights import read_right, with_fallbacks
from streams.domain.pool import (
    BUDGET,
    BudgetAdded,
    Odds,
    OddsAdded,
    Pool,
    PoolClosed,
    Prize,
    ReleasePacing,
    Restocked,
    Weight,
)

if TYPE_CHECKING:
    from streams.domain.campaign import Right
    from streams.domain.definition.fields import Fields

COMMITMENT = re.compile(r"[0-9a-f]{64}")
ANY_POOL = re.compile(rf"({BUDGET})?{NAME.pattern}")
MOST_UNITS = 10**9
DENOMINATORS = (1_000_000, 2**32)
PRIZE = "prizes have a fixed value"


def read_pool(top: Fields) -> Pool | None:
    """Return the pool of `pool.defined`, or None: the problems are in `top`."""
    kind = top.choice("kind", ("lottery", "rights"))
    pool_id, effective_ms = (
        top.text("pool_id", pattern=NAME),
        top.required_instant("effective_from"),
    )
    pool = (_lottery if kind == "lottery" else _rights)(top, pool_id, effective_ms)
    if pool.opens_at_ms < effective_ms:
        top.problem("opens_at", "before effective_from")
    if pool.closes_at_ms is not None and pool.closes_at_ms <= pool.opens_at_ms:
        top.problem("closes_at", "not after opens_at")
    return None if top.problems else pool


def _lottery(top: Fields, pool_id: str, effective_ms: int) -> Pool:
    prizes = tuple(_prize(one) for one in top.items("prizes", REQUIRED))
    odds = tuple(_odds(one) for one in top.items("odds", REQUIRED))
    fallback = top.optional_inner("fallback")
    pool = Pool(
        pool_id=pool_id,
        kind="lottery",
        effective_from_ms=effective_ms,
        currency=top.text("currency", pattern=CURRENCY),
        opens_at_ms=top.required_instant("opens_at"),
        closes_at_ms=top.required_instant("closes_at"),
        commitment=top.text("commitment", pattern=COMMITMENT),
        budget_minor=top.optional_integer("budget_minor", 0, MAX_MINOR),
        fallback=_given(fallback) if fallback is not None else None,
        reveal_after_ms=top.integer("reveal_after_hours", 0, 8784, 48) * HOUR_MS,
        prizes=prizes,
        odds=odds,
        definition=top.values,
    )
    if top.has("prizes") and not prizes:
        top.problem("prizes", "must not be empty")
    if top.has("odds") and not odds:
        top.problem("odds", "must not be empty")
    _refuse_twice(top, "prizes", [one.prize_id for one in prizes])
    known = {one.prize_id for one in prizes}
    for number, table in enumerate(odds, 1):
        path = f"odds[{number - 1}]"
        if table.odds_version != number:
            top.problem(path, f"version {table.odds_version} must follow {number - 1}")
        for prize_id in sorted({one.prize_id for one in table.weights} - known):
            top.problem(path, f"unknown prize {prize_id!r}")
    return pool


def _rights(top: Fields, pool_id: str, effective_ms: int) -> Pool:
    stock = _units(top, "right_id")
    opens_ms = top.instant("opens_at", None)
    return Pool(
        pool_id=pool_id,
        kind="rights",
        effective_from_ms=effective_ms,
        currency=top.text("currency", "", CURRENCY),
        opens_at_ms=effective_ms if opens_ms is None else opens_ms,
        closes_at_ms=top.instant("closes_at", None),
        stock=stock,
        definition=top.values,
    )


def _prize(fields: Fields) -> Prize:
    pacing = fields.optional_inner("release")
    release = None
    if pacing is not None:
        kind = pacing.choice("kind", ("even",))
        release = ReleasePacing(kind, pacing.boolean("jitter", default=False))
        pacing.refuse_unknown()
    prize = Prize(
        prize_id=fields.text("prize_id", pattern=NAME),
        right=_given(fields.inner("right", REQUIRED)),
        stock=fields.integer("stock", 1, MOST_UNITS),
        max_per_user=fields.optional_integer("max_per_user", 1, MOST_UNITS) or 0,
        release=release,
    )
    fields.refuse_unknown()
    return prize


def _given(fields: Fields) -> Right:
    """Read what a draw gives; its reward's id holds the right, so a fallback is another one."""
    right = read_right(fields, fixed=PRIZE, supplied=False)
    _refuse_twice(fields, "fallback", [one.right_id for one in with_fallbacks([right])])
    return right


def _odds(fields: Fields) -> Odds:
    odds = Odds(
        odds_version=fields.integer("odds_version", 1, 10**6),
        denominator=fields.integer("denominator", *DENOMINATORS),
        weights=tuple(_weight(one) for one in fields.items("weights", REQUIRED)),
    )
    if fields.has("weights") and not odds.weights:
        fields.problem("weights", "must not be empty")
    _refuse_twice(fields, "weights", [one.prize_id for one in odds.weights])
    if (total := sum(one.weight for one in odds.weights)) > odds.denominator:
        fields.problem("weights", f"{total} of {odds.denominator} is more than all")
    fields.refuse_unknown()
    return odds


def _weight(fields: Fields) -> Weight:
    weight = Weight(
        fields.text("prize_id", pattern=NAME), fields.integer("weight", 1, DENOMINATORS[1])
    )
    fields.refuse_unknown()
    return weight


def _units(top: Fields, *names: str) -> dict[str, int]:
    """Read `stock`: units by prize_id or right_id, whichever of `names` an entry has."""
    units: dict[str, int] = {}
    entries = top.items("stock", REQUIRED)
    if top.has("stock") and not entries:
        top.problem("stock", "must not be empty")
    for fields in entries:
        name = next((one for one in names if fields.has(one)), names[0])
        of = fields.text(name, pattern=NAME)
        if of in units:
            top.problem("stock", f"{of} twice")
        units[of] = fields.integer("units", 1, MOST_UNITS)
        fields.refuse_unknown()
    return units


def _refuse_twice(fields: Fields, name: str, ids: list[str]) -> None:
    for twice in sorted(one for one, count in Counter(ids).items() if count > 1):
        fields.problem(name, f"{twice} twice")


def read_odds_added(top: Fields) -> OddsAdded | None:
    pool_id, at_ms = top.text("pool_id", pattern=NAME), top.required_instant("effective_from")
    odds = _odds(top.inner("odds", REQUIRED))
    return None if top.problems else OddsAdded(pool_id, at_ms, odds)


def read_restocked(top: Fields) -> Restocked | None:
    pool_id, at_ms = top.text("pool_id", pattern=NAME), top.required_instant("effective_from")
    units = _units(top, "prize_id", "right_id")
    return None if top.problems else Restocked(pool_id, at_ms, units)


def read_budget_added(top: Fields) -> BudgetAdded | None:
    pool_id, at_ms = top.text("pool_id", pattern=ANY_POOL), top.required_instant("effective_from")
    amount_minor = top.optional_integer("amount_minor", 1, MAX_MINOR) or 0
    max_tasks = top.optional_integer("max_tasks", 1, 10**9) or 0
    if not top.has("amount_minor") and not top.has("max_tasks"):
        top.problem("amount_minor", "is required (or max_tasks)")
    return None if top.problems else BudgetAdded(pool_id, at_ms, amount_minor, max_tasks)


def read_closed(top: Fields) -> PoolClosed | None:
    pool_id, at_ms = top.text("pool_id", pattern=NAME), top.required_instant("effective_from")
    return None if top.problems else PoolClosed(pool_id, at_ms)


def read_stopped(top: Fields) -> Stopped | None:
    campaign_id = top.text("campaign_id", pattern=NAME)
    at_ms = top.required_instant("effective_from")
    return None if top.problems else Stopped(campaign_id, at_ms)


def read_killed(top: Fields) -> Killed | None:
    campaign_id = top.text("campaign_id", pattern=NAME)
    at_ms = top.required_instant("effective_from")
    inner = top.optional_inner("compensation")
    right = None
    if inner is not None:
        right = read_right(inner, fixed="a compensation has a fixed value", supplied=False)
    return None if top.problems else Killed(campaign_id, at_ms, right)

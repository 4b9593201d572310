"""The optional parts of a campaign: who may take part, what is banked, drawn, held back, reminded.

Plain values, checked by `definition/`; the rules that read them are named after them. Money is
minor units of the campaign's currency, times are ms. Source: semantics.md 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.domain.events import Status

if TYPE_CHECKING:
    from streams.domain.campaign import Right

FEATURES = ("dark_box", "light_box", "lottery", "full_link")
"""The phases of section 2, each on or off; what rendering calls the types of a campaign."""


class Saved(msgspec.Struct, frozen=True):
    """What each counted order banks for the final reward; at most `cap_minor` in all."""

    rule: str  # fixed, percent, table, random
    value_minor: int = 0
    bp: int = 0  # 1/10,000 of the order's consumption
    table: tuple[int, ...] = ()  # by step; the last one goes on
    min_minor: int = 0
    max_minor: int = 0
    cap_minor: int = 0  # 0: no cap


class Chances(msgspec.Struct, frozen=True):
    """`count` chances to draw when `step` is reached ("final": the target)."""

    step: int | str
    count: int


class Lottery(msgspec.Struct, frozen=True):
    """Chances by step, drawn from a pool when asked for or at once."""

    pool_id: str
    odds_version: int
    chances: tuple[Chances, ...]
    draw: str = "request"  # or immediate
    at_close: str = "expire"  # or draw


class Release(msgspec.Struct, frozen=True):
    """Rewards above the limit wait until each order so far has reached `on`, plus days."""

    instant_limit_minor: int = 0
    on: Status = Status.PAID
    hold_days: int = 0


class Audience(msgspec.Struct, frozen=True):
    """Who may take part, judged once, on the claim's context; unknown never allows."""

    segments_any: frozenset[str] = frozenset()
    segments_all: frozenset[str] = frozenset()
    segments_none: frozenset[str] = frozenset()
    orders_30d_max: int | None = None


class Variant(msgspec.Struct, frozen=True):
    """X, Y and Z of their own for users of a segment."""

    segment: str
    days: int
    target_orders: int
    final_rewards: tuple[Right, ...] = ()
    step_rewards: dict[int, tuple[Right, ...]] = {}


class Budget(msgspec.Struct, frozen=True):
    """What all tasks of the campaign may cost, and how many there may be; 0: not bounded."""

    amount_minor: int = 0
    max_tasks: int = 0


class Reminder(msgspec.Struct, frozen=True):
    """A notice of a kind, so long before the deadline it is about."""

    kind: str
    before_ms: int = 0


class Quiet(msgspec.Struct, frozen=True):
    """Local minutes of the day between which nobody is reminded; may span midnight."""

    from_minute: int = 22 * 60
    to_minute: int = 8 * 60

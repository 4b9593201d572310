"""A campaign as the fold needs it: one version, and what ends it.

`definition/` turns what an operator wrote into a `Campaign` or names everything wrong with it.
`registry.py` knows every version. Source: semantics.md 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.domain.days import Calendar
from streams.domain.events import Status
from streams.domain.features import (
    Audience,
    Budget,
    Lottery,
    Quiet,
    Release,
    Reminder,
    Saved,
    Variant,
)
from streams.domain.pool import BUDGET

if TYPE_CHECKING:
    from collections.abc import Iterator


OWABLE = frozenset({"red_packet", "cash", "points"})  # rights that can become, or pay, a debt


class Right(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is given: `value_minor` is its cost in the campaign's currency.

    value: "saved_amount" where the cost is what the task has banked. fallback: given in its stead
    when it cannot be given. supply: the pool its units come from.
    """

    right_id: str
    type: str
    value_minor: int = 0
    quantity: int = 1
    valid_days: int = 30
    face: str = ""
    value: str = ""
    fallback: Right | None = None
    supply: str = ""


class Filter(msgspec.Struct, frozen=True):
    """Include and exclude lists; an empty include admits all that is not excluded."""

    include: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()

    def admits(self, value: str) -> bool:
        return (not self.include or value in self.include) and value not in self.exclude

    @property
    def open(self) -> bool:
        return not (self.include or self.exclude)


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable version. Times are ms UTC, money is minor units, days are campaign days."""

    campaign_id: str
    version: int
    effective_from_ms: int
    currency: str
    features: frozenset[str]
    scenes: tuple[str, ...] = ()
    entries: frozenset[str] = frozenset()
    title: str = ""
    calendar: Calendar = Calendar()
    auto: bool = False
    mode: str = "from_claim"
    days: int
    first_day: int | None = None
    max_cycles: int = 1
    lookback: str = "trigger_order"
    target_orders: int
    on: Status = Status.PAID
    min_amount_minor: int = 0
    basis: str = "consumption"
    categories: Filter = Filter()
    channels: Filter = Filter()
    stores: Filter = Filter()
    daily_cap: int = 1
    refund_basis: str = "keep"
    final_rewards: tuple[Right, ...] = ()
    step_rewards: dict[int, tuple[Right, ...]] = {}
    rounds_max: int = 1
    cool_down_days: int = 0
    opens_at_ms: int | None = None
    closes_at_ms: int | None = None
    policies: dict[str, str] = {}
    debt_cap_minor: int = 10_000
    grace_ms: int = 48 * 3_600_000
    clawback_ms: int = 30 * 86_400_000
    target_amount_minor: int = 0
    match: str = "all"  # of the two targets, where an amount is asked for; or any
    saved: Saved | None = None
    lottery: Lottery | None = None
    release: Release | None = None
    collect: str = "auto"  # or manual: a due reward waits `collect_days` for its user
    collect_days: int = 7
    audience: Audience | None = None
    holdout_bp: int = 0
    holdout_salt: str = ""  # empty: the campaign's id
    variants: tuple[Variant, ...] = ()
    priority: int = 0
    exclusion_group: str = ""  # none: counts beside all
    budget: Budget | None = None
    debt_days: int = 90
    results: str = "assumed"  # or required: the rights service answers each command
    reminders: tuple[Reminder, ...] = ()
    quiet: Quiet = Quiet()

    @property
    def limit(self) -> int:
        """How many orders a task counts in all: Y, or Y times its cycles."""
        return self.target_orders * self.max_cycles

    @property
    def horizon_ms(self) -> int:
        """How long after a window's end cancellations still act."""
        return max(self.grace_ms, self.clawback_ms)

    @property
    def budget_pool_id(self) -> str:
        """The pool that a budget of it makes, whether or not this version has one."""
        return BUDGET + self.campaign_id

    @property
    def dark(self) -> bool:
        return "dark_box" in self.features

    def with_variant(self, number: int) -> Campaign:
        """Return it with the days, target and rewards of its n-th variant; 0: as it is."""
        if not number:
            return self
        variant = self.variants[number - 1]
        return msgspec.structs.replace(
            self,
            days=variant.days,
            target_orders=variant.target_orders,
            final_rewards=variant.final_rewards,
            step_rewards=variant.step_rewards,
        )

    def each_variant(self) -> Iterator[Campaign]:
        """Yield it as it is, then as each of its variants has it."""
        return (self.with_variant(number) for number in range(len(self.variants) + 1))

    def rights(self) -> Iterator[Right]:
        """Yield what a task may give, each as often as one cycle does, fallbacks left out."""
        yield from self.final_rewards
        for rights in self.step_rewards.values():
            yield from rights


class Stopped(msgspec.Struct, frozen=True):
    """From here on nobody new takes part; tasks in flight go on."""

    campaign_id: str
    effective_from_ms: int


class Killed(msgspec.Struct, frozen=True):
    """Ends every task of the campaign, with a right in compensation or with none."""

    campaign_id: str
    effective_from_ms: int
    compensation: Right | None = None

    @property
    def at_ms(self) -> int:
        return self.effective_from_ms

"""A campaign as the fold needs it, and the registry of all versions (D9).

`definition/` turns what an operator wrote into a `Campaign` or names everything wrong with it.
A task pins its version when it begins, so a later version never changes a running promise.
Source: semantics.md 2.
"""

from __future__ import annotations

from bisect import bisect_right
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
from streams.domain.pool import BUDGET, Pool
from streams.domain.pool_history import Pools, Unfit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from streams.domain.definition import Definition
    from streams.domain.pool import Odds, PoolChange
    from streams.domain.state import Task


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


class Campaigns:
    """Every definition known, immutable: `with_record` returns another registry."""

    def __init__(
        self,
        versions: Mapping[str, tuple[Campaign, ...]] | None = None,
        ends: Mapping[str, tuple[Stopped | Killed, ...]] | None = None,
        pools: Pools | None = None,
    ) -> None:
        self._versions, self._ends = versions or {}, ends or {}
        self._pools = pools or Pools()
        self._starts = {k: [c.effective_from_ms for c in v] for k, v in self._versions.items()}
        self._auto = tuple(k for k, v in sorted(self._versions.items()) if any(c.auto for c in v))
        self._variants: dict[tuple[str, int, int], Campaign] = {}
        killed = (end for known in self._ends.values() for end in known if isinstance(end, Killed))
        self.kills = sorted((end.at_ms, end.campaign_id) for end in killed)
        """When campaigns were killed: (ms, campaign id), the earliest first."""

    @classmethod
    def of(cls, records: Iterable[Definition]) -> Campaigns:
        registry = cls()
        for record in records:
            registry = registry.with_record(record)
        return registry

    def holds(self, record: Definition) -> bool:
        """Tell whether this very definition is known: published twice, or in a file too."""
        if isinstance(record, Campaign):
            return record in self._versions.get(record.campaign_id, ())
        if isinstance(record, Stopped | Killed):
            return record in self._ends.get(record.campaign_id, ())
        if isinstance(record, Pool):
            return self._pools.get(record.pool_id) == record
        return record in self._pools.changes(record.pool_id)

    def with_record(self, record: Definition) -> Campaigns:
        """Add a definition of any kind. Raises Unfit naming all that does not fit."""
        if isinstance(record, Campaign):
            return self.with_version(record)
        if isinstance(record, Stopped | Killed):
            return self._with_end(record)
        if isinstance(record, Pool):
            return Campaigns(self._versions, self._ends, self._pools.with_pool(record))
        return Campaigns(self._versions, self._ends, self._pools.with_change(record))

    def with_version(self, campaign: Campaign) -> Campaigns:
        """Add the next version. Raises Unfit (a ValueError) when it is not, or lacks a pool."""
        known = self._versions.get(campaign.campaign_id, ())
        problems = [*self._out_of_sequence(campaign, known), *self._pools.problems_of(campaign)]
        if problems:
            raise Unfit(*problems)
        versions = {**self._versions, campaign.campaign_id: (*known, campaign)}
        return Campaigns(versions, self._ends, self._pools.with_budget_of(campaign))

    def _out_of_sequence(self, campaign: Campaign, known: tuple[Campaign, ...]) -> Iterator[str]:
        if campaign.version != len(known) + 1:
            yield f"version {campaign.version} must follow {len(known)}"
        if known and campaign.effective_from_ms <= known[-1].effective_from_ms:
            yield f"not after {known[-1].calendar.text(known[-1].effective_from_ms)}"
        for end in self._ends.get(campaign.campaign_id, ()):
            if campaign.effective_from_ms >= end.effective_from_ms:
                yield f"is {_ended(end)} from {campaign.calendar.text(end.effective_from_ms)}"

    def _with_end(self, end: Stopped | Killed) -> Campaigns:
        known = self._ends.get(end.campaign_id, ())
        if end.campaign_id not in self._versions:
            raise Unfit(f"campaign {end.campaign_id}: is unknown")
        if any(type(one) is type(end) for one in known):
            raise Unfit(f"campaign {end.campaign_id}: is {_ended(end)} already")
        return Campaigns(
            self._versions, {**self._ends, end.campaign_id: (*known, end)}, self._pools
        )

    def stopped_at(self, campaign_id: str) -> int | None:
        """Return from when nobody new takes part, in ms: a killed campaign is stopped too."""
        ends = self._ends.get(campaign_id, ())
        return min((end.effective_from_ms for end in ends), default=None)

    def killed_at(self, campaign_id: str) -> Killed | None:
        ends = self._ends.get(campaign_id, ())
        return next((end for end in ends if isinstance(end, Killed)), None)

    @property
    def pools(self) -> Iterator[Pool]:
        """Every pool as it was defined, budgets too, in the order of the log."""
        return iter(self._pools)

    def pool(self, pool_id: str) -> Pool | None:
        """Return a pool as it was defined; `budget:<campaign_id>` is the campaign's budget."""
        return self._pools.get(pool_id)

    def pool_changes(self, pool_id: str) -> tuple[PoolChange, ...]:
        """Return what was changed of a pool, in time; how many were applied is all to remember."""
        return self._pools.changes(pool_id)

    def pool_closes_ms(self, pool_id: str) -> int | None:
        """Return when a known pool ends, a `pool.closed` heeded; None: never."""
        return self._pools.closes_ms(pool_id)

    def odds(self, pool_id: str, odds_version: int) -> Odds | None:
        """Return one version of a pool's odds, defined with it or added."""
        if self._pools.get(pool_id) is None:
            return None
        found = (odds for _, odds in self._pools.odds(pool_id) if odds.odds_version == odds_version)
        return next(found, None)

    def pinned(self, campaign_id: str, version: int) -> Campaign:
        """Return the version a task pinned. KeyError: the row is ahead of the campaigns read."""
        return self._versions[campaign_id][version - 1]

    def of_task(self, task: Task) -> Campaign:
        """Return the version a task pinned, with the days, target and rewards of its variant."""
        campaign = self._versions[task.campaign_id][task.campaign_version - 1]
        if not task.variant:
            return campaign
        key = (task.campaign_id, task.campaign_version, task.variant)
        if key not in self._variants:
            self._variants[key] = campaign.with_variant(task.variant)
        return self._variants[key]

    def in_force(self, campaign_id: str, at_ms: int) -> Campaign | None:
        """Return the version in force at an instant, if any."""
        at = bisect_right(self._starts.get(campaign_id, ()), at_ms)
        return self._versions[campaign_id][at - 1] if at else None

    def auto_in_force(self, at_ms: int) -> list[Campaign]:
        """Return the campaigns that begin by themselves at a first order, in order of id."""
        found = []
        for campaign_id in self._auto:
            campaign = self.in_force(campaign_id, at_ms)
            if campaign is not None and campaign.auto:
                found.append(campaign)
        return found

    @property
    def ids(self) -> Iterator[str]:
        """Return the ids of all campaigns, in order of the log."""
        return iter(self._versions)

    def __iter__(self) -> Iterator[Campaign]:
        return (campaign for versions in self._versions.values() for campaign in versions)

    def __len__(self) -> int:
        return sum(map(len, self._versions.values()))


def _ended(end: Stopped | Killed) -> str:
    return "killed" if isinstance(end, Killed) else "stopped"

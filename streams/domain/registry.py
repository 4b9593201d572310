"""The registry of every definition known, in all its versions (D9).

A task pins its version when it begins, so a later version never changes a running promise.
Source: semantics.md 2.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

from streams.domain.campaign import Campaign, Killed, Stopped
from streams.domain.pool import Pool
from streams.domain.pool_history import Pools, Unfit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from streams.domain.definition import Definition
    from streams.domain.pool import Odds, PoolChange
    from streams.domain.state import Task


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
        self.closings = self._pools.closings()
        """When pools were closed early: (ms, pool id), the earliest first."""

    @cached_property
    def dates(self) -> str:
        """What stands for all that moves deadlines of running tasks; empty: nothing does.

        Rows are dated by it (`redating.py`); equal texts, equal dates.
        """
        changes = (("killed", self.kills), ("closed", self.closings))
        lines = [f"{what} {at_ms} {id_}" for what, found in changes for at_ms, id_ in found]
        return sha256("\n".join(lines).encode()).hexdigest()[:16] if lines else ""

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

"""Budget and units set aside for a task when it begins, and given back when it is over.

A task whose campaign has a budget, or rights with a supply, is pending until every pool has granted
its worst case. Whether it was granted is a fact, so the walk judges it: denied, the claim never
began a task, and a later claim may. A task once granted is honoured, whichever claim began it.
Source: semantics.md 3 C5 and C8, 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.domain import ids
from streams.domain.asks import ASKED, DENIED, RELEASED, RESERVE, Ask
from streams.domain.pool import BUDGET
from streams.domain.state import REVOKED, VOID
from streams.domain.worst_case import worst_case

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streams.domain.asks import Asked
    from streams.domain.campaign import Campaign, Campaigns, Right
    from streams.domain.state import Entry, Task

BUDGET_EXHAUSTED, RIGHTS_EXHAUSTED = "BUDGET_EXHAUSTED", "RIGHTS_EXHAUSTED"


class Need(NamedTuple):
    """What one pool is to set aside for a task: minor units, or units by right_id."""

    pool_id: str
    amount_minor: int
    units: dict[str, int]


class Verdict(NamedTuple):
    """What the pools say to a task: refused (code), pending, or granted with what they lack."""

    code: str = ""
    pending: bool = False
    lacks: tuple[str, ...] = ()  # supply pools with nothing left, whose rights have a fallback


HONOURED = Verdict()


def rights_of(campaign: Campaign) -> Iterator[Right]:
    yield from campaign.final_rewards
    for rights in campaign.step_rewards.values():
        yield from rights


def reserves(campaign: Campaign) -> bool:
    """Tell whether a task of the campaign waits for pools before it is claimed."""
    return campaign.budget is not None or any(right.supply for right in rights_of(campaign))


def needs(campaign: Campaign) -> list[Need]:
    """Return what a task reserves, a pool each; campaign: with the task's variant applied."""
    if not reserves(campaign):
        return []
    worst = worst_case(campaign)
    found = []
    if campaign.budget is not None:
        found.append(Need(BUDGET + campaign.campaign_id, worst.amount_minor, {}))
    units: dict[str, dict[str, int]] = {}
    for (pool_id, right_id), count in sorted(worst.units.items()):
        units.setdefault(pool_id, {})[right_id] = count
    return found + [Need(pool_id, 0, of_pool) for pool_id, of_pool in units.items()]


def judge(task: Task, campaign: Campaign, cause_id: str, asked: Asked) -> Verdict:
    """Return what the pools said to the task that `cause_id` (a claim or an order) would begin."""
    wanted = needs(campaign)
    if not wanted:
        return HONOURED
    groups = asked.groups(task.task_id)
    own = _verdict(wanted, groups.get(cause_id, {}), campaign)
    if own.code or not own.pending:
        return own
    for group in groups.values():
        if all(_covers(group.get(need.pool_id), need) for need in wanted):
            other = _verdict(wanted, group, campaign)
            if not other.code and not other.pending:
                return other
    return own


def to_ask(
    task: Task, campaign: Campaign, cause_id: str, at_ms: int, asked: Asked
) -> Iterator[Ask]:
    """Yield the reservations of a pending task; none while an answer is outstanding for it."""
    groups = asked.groups(task.task_id)
    if cause_id in groups or any(
        ask.state == ASKED for group in groups.values() for ask in group.values()
    ):
        return
    for need in needs(campaign):
        yield Ask(
            request_id=ids.request_id(task.task_id, _purpose(RESERVE, need.pool_id), cause_id),
            purpose=RESERVE,
            pool_id=need.pool_id,
            task_id=task.task_id,
            at_ms=at_ms,
            until_ms=task.end_ms + campaign.grace_ms,
            cause_id=cause_id,
            amount_minor=need.amount_minor,
            units=need.units,
        )


def release_id(ask: Ask, cause_id: str) -> str:
    return ids.request_id(ask.task_id, f"release:{ask.request_id}", cause_id)


def left(
    ask: Ask, entries: Mapping[str, Entry], campaigns: Campaigns
) -> tuple[int, dict[str, int]]:
    """Return what of a grant no reward of its task holds, and was not released yet."""
    units = {r: n - ask.released_units.get(r, 0) for r, n in ask.units.items()}
    minor = ask.amount_minor - ask.released_minor
    for entry in entries.values():
        if entry.task_id != ask.task_id or entry.kind == "prize" or not holds(entry):
            continue
        minor -= entry.paid
        if entry.right_id in units:
            campaign = campaigns.pinned(entry.campaign_id, entry.campaign_version)
            units[entry.right_id] -= quantity(campaign, entry.right_id)
    return max(minor, 0), {right_id: n for right_id, n in units.items() if n > 0}


def given_back(ask: Ask, minor: int, units: dict[str, int]) -> Ask:
    """Return the ask with this much more of it released."""
    released = {r: ask.released_units.get(r, 0) + units.get(r, 0) for r in ask.units}
    return msgspec.structs.replace(
        ask,
        state=RELEASED,
        released_minor=ask.released_minor + minor,
        released_units=released,
    )


def holds(entry: Entry) -> bool:
    """Tell whether a reward still takes its share of what was set aside for its task."""
    return entry.state not in (REVOKED, VOID)


def quantity(campaign: Campaign, right_id: str) -> int:
    """Return the units of one reward of the right; the most where variants differ."""
    variants = (campaign.with_variant(n) for n in range(len(campaign.variants) + 1))
    rights = (right for variant in variants for right in rights_of(variant))
    return max((right.quantity for right in rights if right.right_id == right_id), default=1)


def _verdict(wanted: list[Need], group: Mapping[str, Ask], campaign: Campaign) -> Verdict:
    """Judge one group of asks once every pool has answered, so that no answer comes first."""
    states = [group[need.pool_id].state if need.pool_id in group else ASKED for need in wanted]
    if ASKED in states:
        return Verdict(pending=True)
    denied = [need for need, state in zip(wanted, states, strict=True) if state == DENIED]
    if any(need.pool_id.startswith(BUDGET) for need in denied):
        return Verdict(BUDGET_EXHAUSTED)
    if not all(_replaceable(campaign, need.pool_id) for need in denied):
        return Verdict(RIGHTS_EXHAUSTED)
    return Verdict(lacks=tuple(need.pool_id for need in denied))


def _replaceable(campaign: Campaign, pool_id: str) -> bool:
    """Tell whether all rights of a supply have a fallback that needs no units itself."""
    rights = [right for right in rights_of(campaign) if right.supply == pool_id]
    return all(right.fallback is not None and not right.fallback.supply for right in rights)


def _covers(ask: Ask | None, need: Need) -> bool:
    """Tell whether what was asked under another claim is enough: the version may be another."""
    if ask is None or ask.amount_minor < need.amount_minor:
        return False
    return all(ask.units.get(right_id, 0) >= n for right_id, n in need.units.items())


def _purpose(purpose: str, pool_id: str) -> str:
    """One cause can ask several pools for one task: all but its budget add their id."""
    return purpose if pool_id.startswith(BUDGET) else f"{purpose}:{pool_id}"

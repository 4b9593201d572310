"""Rendering, R1 to R5: which campaigns a user may be offered, and why the others not.

The rules are those that would judge a claim at that time, by the same functions; what differs is
that every clause is judged, so that an operator can be told which held. Source: semantics.md 3.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.domain import audience, risk, tasks
from streams.domain.features import Audience
from streams.domain.groups import LOST_GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from streams.domain.campaign import Campaign
    from streams.domain.events import Context
    from streams.domain.registry import Campaigns
    from streams.domain.state import Task

NO_SUPPLY = "NO_SUPPLY"


class Clause(NamedTuple):
    """One rule, whether it holds, and the code it refuses with if not."""

    name: str
    holds: bool
    code: str


class Visitor(NamedTuple):
    """Who is asking, as far as rules go. entry None: it is not asked for."""

    user_id: str
    entry: str | None
    context: Context | None
    verdict: str  # the risk service's latest word on the user


class Candidate(NamedTuple):
    """A campaign in force. code: empty, or why no new task of it is offered.

    campaign: with the variant the user would get. matches: its rules hold for this user, whatever
    is to be said of a next round. last: its latest task. runs: that is pending or active.
    """

    campaign: Campaign
    variant: int
    last: Task | None
    runs: bool
    trace: tuple[Clause, ...]
    matches: bool
    code: str


def candidates(  # noqa: PLR0913  # what is asked, of whom, and when
    campaigns: Campaigns,
    is_of: Callable[[Campaign], bool],
    visitor: Visitor,
    last_tasks: Mapping[str, Task],
    running: Iterable[str],
    at_ms: int,
) -> list[Candidate]:
    """Return every campaign in force of the scene and type, judged; of a group one wins (R4).

    is_of: of what was asked for. last_tasks: by campaign. running: the task ids that are pending or
    active.
    """
    live = frozenset(running)
    found = []
    for campaign_id in campaigns.ids:
        campaign = campaigns.in_force(campaign_id, at_ms)
        if campaign is None or not is_of(campaign):
            continue
        variant = audience.variant_of(campaign, visitor.context)
        last = last_tasks.get(campaign_id)
        runs = last is not None and last.task_id in live
        rules = tuple(_rules(campaign.with_variant(variant), campaigns, visitor, at_ms))
        rounds = () if runs else tuple(_rounds(campaign, last, at_ms))
        trace = (*rules[:-1], *rounds, rules[-1])  # risk is judged last
        found.append(
            Candidate(
                campaign.with_variant(variant),
                variant,
                last,
                runs,
                trace,
                all(clause.holds for clause in rules),
                next((clause.code for clause in trace if not clause.holds), ""),
            )
        )
    return _one_a_group(found)


def _one_a_group(found: list[Candidate]) -> list[Candidate]:
    """Let one of each group win: the highest priority; the running one; the smaller id."""

    def group(candidate: Candidate) -> str:
        return candidate.campaign.exclusion_group

    winners = {
        name: min(rivals, key=_preference).campaign.campaign_id
        for name, rivals in groupby(
            sorted((c for c in found if not c.code and group(c)), key=group), group
        )
    }
    return [
        _lost(one)
        if not one.code and winners.get(group(one), one.campaign.campaign_id) != _id(one)
        else one
        for one in found
    ]


def _lost(candidate: Candidate) -> Candidate:
    lost = Clause("exclusion_group", holds=False, code=LOST_GROUP)
    return candidate._replace(trace=(*candidate.trace, lost), matches=False, code=LOST_GROUP)


def _id(candidate: Candidate) -> str:
    return candidate.campaign.campaign_id


def _preference(candidate: Candidate) -> tuple[int, bool, str]:
    return -candidate.campaign.priority, not candidate.runs, _id(candidate)


def _rules(
    campaign: Campaign, campaigns: Campaigns, visitor: Visitor, at_ms: int
) -> Iterator[Clause]:
    """Yield R2 and R3 in the order in which a claim is judged; risk is the last of them."""
    yield Clause("supply", _supplied(campaign, campaigns, at_ms), NO_SUPPLY)
    closed = tasks.closed_code(campaign, campaigns, at_ms)
    yield Clause("claim", not closed, closed)
    held_out = bool(campaign.holdout_bp) and audience.held_out(campaign, visitor.user_id)
    yield Clause("holdout", not held_out, "HOLDOUT")
    for name, part in _parts(campaign.audience):
        asked = msgspec.structs.replace(campaign, audience=part, holdout_bp=0, entries=frozenset())
        code = audience.refusal(asked, visitor.user_id, None, visitor.context)
        yield Clause(f"audience.{name}", not code, "RULE_AUDIENCE")
    entry = visitor.entry
    entered = not campaign.entries or entry is None or entry in campaign.entries
    yield Clause("entries", entered, "RULE_ENTRY")
    yield Clause("risk", visitor.verdict != risk.BLOCK, "RULE_RISK")


def _rounds(campaign: Campaign, last: Task | None, at_ms: int) -> Iterator[Clause]:
    code = tasks.next_round_code(campaign, last, at_ms)
    yield Clause("rounds", not code, code)


def _parts(whole: Audience | None) -> Iterator[tuple[str, Audience]]:
    """Yield the conditions of an audience, each alone."""
    if whole is None:
        return
    for name in ("segments_any", "segments_all", "segments_none"):
        if getattr(whole, name):
            yield name, Audience(**{name: getattr(whole, name)})
    if whole.orders_30d_max is not None:
        yield "orders_30d_max", Audience(orders_30d_max=whole.orders_30d_max)


def _supplied(campaign: Campaign, campaigns: Campaigns, at_ms: int) -> bool:
    """Tell whether every pool behind what is promised is there, and open still (R2)."""
    lottery = campaign.lottery
    wanted = {right.supply for right in campaign.rights() if right.supply}
    if lottery is not None:
        if campaigns.odds(lottery.pool_id, lottery.odds_version) is None:
            return False
        wanted.add(lottery.pool_id)
    for pool_id in wanted:
        closes_ms = campaigns.pool_closes_ms(pool_id)
        if campaigns.pool(pool_id) is None or (closes_ms is not None and at_ms >= closes_ms):
            return False
    return True

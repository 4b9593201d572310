"""Why a claim, or an order by itself, began no task: the rules as they stood then, each clause.

The rules are those that judge a claim, by the same functions (`candidates.py`); here they are put
in the order in which `tasks.judge_claim` asks them, so the first that does not hold names the code
of the answer. What pools refuse stands behind them. Source: semantics.md 3, C2 to C8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from streams.domain import risk, tasks
from streams.domain.candidates import Visitor, candidates
from streams.domain.events import ClaimRequested, OrderReported, RiskVerdict
from streams.domain.frozen import COMPACTED
from streams.domain.state import unpack_pins
from streams.domain.trace import Clause, part_of
from streams.domain.walk import begun

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from streams.domain.asks import Asked
    from streams.domain.campaign import Campaign
    from streams.domain.candidates import Candidate
    from streams.domain.events import Fact
    from streams.domain.registry import Campaigns
    from streams.domain.state import Task, UserState
    from streams.domain.walk import Walk

NOT_CLAIMED = "NOT_CLAIMED"  # the campaign begins with a claim; an order begins nothing


class Tried(NamedTuple):
    """One campaign that a claim or an order met, and each clause of it. version 0: not in force."""

    campaign_id: str
    version: int
    auto: bool
    clauses: tuple[Clause, ...]


def tried(
    row: UserState,
    known: Sequence[Fact],
    asked: Asked,
    campaigns: Campaigns,
    causes: Collection[str],
) -> dict[str, list[Tried]]:
    """Return what claims and orders met when they came, by their cause id.

    known: the row's facts, in key order; causes: which of them to look at. A claim meets its own
    campaign, an order every one that is in force at its time.
    """
    walk = begun(row, asked, campaigns, unpack_pins(row.pins))
    verdicts: list[RiskVerdict] = []
    found: dict[str, list[Tried]] = {}
    for fact in known:
        if fact.cause_id in causes and isinstance(fact, ClaimRequested | OrderReported):
            last = {tally.task.campaign_id: tally.task for tally in walk.before(fact)}
            meets = _Met(row.user_id, fact, campaigns, last, risk.acting(verdicts))
            walk.take([fact])
            if isinstance(fact, ClaimRequested):
                answer = walk.answers[fact.claim_id]
                found[fact.cause_id] = [meets.claim(fact, answer.code)]
            else:
                found[fact.cause_id] = list(meets.order(fact, walk))
            continue
        walk.take([fact])
        if isinstance(fact, RiskVerdict) and not fact.order_id:
            verdicts.append(fact)
    return found


class _Met:
    """The campaigns as one fact met them."""

    def __init__(
        self,
        user_id: str,
        fact: ClaimRequested | OrderReported,
        campaigns: Campaigns,
        last: dict[str, Task],
        verdict: str,
    ) -> None:
        self.at_ms, self._campaigns, self._last = fact.occurred_at_ms, campaigns, last
        self.entry = fact.entry if isinstance(fact, ClaimRequested) else fact.entry or None
        self._visitor = Visitor(user_id, self.entry, fact.context, verdict)
        running = [task.task_id for task in last.values() if tasks.runs(task, self.at_ms)]
        judged = candidates(campaigns, _any, self._visitor, last, running, self.at_ms)
        self.found = {one.campaign.campaign_id: one for one in judged}

    def claim(self, claim: ClaimRequested, code: str) -> Tried:
        """Return what the claim met. code: what it was answered."""
        one = self.found.get(claim.campaign_id)
        if one is None:
            known = Clause("in_force", False, "CAMPAIGN_UNKNOWN", claim.campaign_id, "")  # noqa: FBT003
            return Tried(claim.campaign_id, 0, False, (known,))  # noqa: FBT003
        trace = {clause.name: clause for clause in self._rules(one)}
        clauses = [
            trace.pop("claim"),
            Clause("begins_with_a_claim", not one.campaign.auto, "RULE_ENROLMENT", "", ""),
            self._none_runs(one),
            *(clause for name, clause in trace.items() if name != "risk"),
            trace["risk"],
        ]
        codes = {clause.code for clause in clauses if not clause.holds}
        if code and not codes:
            clauses.append(Clause("pools", False, code, "", ""))  # noqa: FBT003
        return Tried(claim.campaign_id, one.campaign.version, one.campaign.auto, tuple(clauses))

    def order(self, fact: OrderReported, walk: Walk) -> Iterator[Tried]:
        """Yield what the order met: it may begin a task of a campaign that enrols by itself."""
        checkout_id = fact.checkout_id
        part = next(one for one in walk.checkouts()[checkout_id] if one.order_id == fact.order_id)
        for campaign_id, one in sorted(self.found.items()):
            campaign = one.campaign
            if not campaign.auto:
                begins = Clause("begins_by_itself", False, NOT_CLAIMED, "claim", "auto")  # noqa: FBT003
                yield Tried(campaign_id, campaign.version, False, (begins,))  # noqa: FBT003
                continue
            end_ms = tasks.begin("", campaign, one.last, self.at_ms, self.at_ms).end_ms
            clauses = [*self._rules(one), self._none_runs(one)]
            clauses += part_of(part, campaign, end_ms).clauses
            missed = {(task.campaign_id, by) for (_, by), (task, _) in walk.compacted.items()}
            if (campaign_id, fact.cause_id) in missed:
                clauses.append(Clause("history", False, COMPACTED, "", ""))  # noqa: FBT003
            yield Tried(campaign_id, campaign.version, True, tuple(clauses))  # noqa: FBT003

    def _none_runs(self, one: Candidate) -> Clause:
        running = one.last.task_id if one.runs and one.last else ""
        return Clause("no_task_runs", not one.runs, "ALREADY_ACTIVE", running, "")

    def _rules(self, one: Candidate) -> Iterator[Clause]:
        """Yield the clauses of rendering that a claim is judged by, each with its value."""
        for clause in one.trace:
            if clause.name in ("supply", "exclusion_group"):
                continue  # what is offered is one thing, what is granted the pools' answer
            value, wanted, kind = self._value(clause.name, one.campaign, one.last)
            yield Clause(clause.name, clause.holds, clause.code, value, wanted, kind)

    def _value(  # noqa: PLR0911  one for each clause
        self, name: str, campaign: Campaign, last: Task | None
    ) -> tuple[Any, Any, str]:
        """Return what was found, and what the campaign wants."""
        context = self._visitor.context
        part = name.partition(".")[2]
        if part == "orders_30d_max":
            audience = campaign.audience
            found = context.orders_30d if context else None
            return found, audience.orders_30d_max if audience else None, ""
        if part:
            segments = context.segments if context else None
            wanted = sorted(getattr(campaign.audience, part))
            return None if segments is None else sorted(segments), wanted, ""
        if name == "entries":
            return self.entry, sorted(campaign.entries) or "any", ""
        if name == "rounds":
            return last.round if last else 0, campaign.rounds_max, ""
        if name == "risk":
            return self._visitor.verdict, f"no {risk.BLOCK}", ""
        if name == "claim":
            stopped_ms = self._campaigns.stopped_at(campaign.campaign_id)
            ends = [ms for ms in (campaign.closes_at_ms, stopped_ms) if ms is not None]
            return self.at_ms, [campaign.opens_at_ms, min(ends, default=None)], "time"
        return campaign.holdout_bp, 0, ""


def _any(_campaign: Campaign) -> bool:
    """Whatever its scenes and type: a claim or an order meets it anywhere."""
    return True

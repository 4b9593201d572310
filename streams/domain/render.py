"""Rendering: what a user is shown at an entry of a shop, now or at any time past (R1 to R9).

A pure function of (row, campaigns, what was asked, time): the same for all entries, and what was
shown then can be answered. Choices where semantics.md 3 is silent:

- Without a time it is the newest that the row knows or the clock of the edge, whichever is later.
- At a past time the facts recorded by then are walked again, and what was not yet known is not
  shown, be it of an event, of a tick or of a kill. Rewards are then what was due, as `due`: the
  ledger remembers how it stands, not how it stood. A task whose history was compacted is shown as
  it ended, from its beginning on.
- A context given with the question goes first, else the row's newest by then; unknown allows
  nothing. An entry that is not named is not asked for.
- A campaign is of a type if that is one of its features (the phases of section 2).
- A task is shown where its own version, or the one in force, is. Completed ones stay until their
  horizon, after which nothing about them changes.
- A campaign that enrols by itself is `claimable` too, with `enrolment: auto`: the next order does.
Source: semantics.md 3 `Rendering`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from streams.domain import asks, facts, risk, settlement, tasks
from streams.domain.announce import UTC
from streams.domain.asks import Asked
from streams.domain.candidates import Visitor, candidates
from streams.domain.events import ClaimRequested, OrderReported, PoolAnswered, RiskVerdict
from streams.domain.records import (
    CLAIMABLE,
    RUNNING,
    Shown,
    draw_records,
    due_record,
    reward_record,
    state_at,
    task_record,
    valid,
)
from streams.domain.state import unpack_ledger, unpack_pins
from streams.domain.walk import begun

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.domain.asks import Ask
    from streams.domain.campaign import Campaign
    from streams.domain.candidates import Candidate
    from streams.domain.dues import Due
    from streams.domain.events import Context, Fact
    from streams.domain.registry import Campaigns
    from streams.domain.state import Entry, Task, UserState

USER, OPERATOR = "user", "operator"


class Asking(NamedTuple):
    """What was asked, but for who and when. None: all scenes, all types; no entry is asked for.

    type: one of the features, of which a campaign may have several. locale changes nothing yet:
    hints are codes. context: what the shop says of its user now.
    """

    scene: str | None = None
    entry: str | None = None
    locale: str = ""
    role: str = USER
    context: Context | None = None
    type: str | None = None

    def is_of(self, campaign: Campaign) -> bool:
        """Tell whether a campaign is of the scene and of the type that were asked for (R1)."""
        in_scene = self.scene is None or self.scene in campaign.scenes
        return in_scene and (self.type is None or self.type in campaign.features)


def render(
    row: UserState, campaigns: Campaigns, asking: Asking, at_ms: int | None, now_ms: int
) -> dict[str, Any]:
    """Return the answer of schemas/tasks-view.v1.schema.json. at_ms None: now."""
    past = at_ms is not None
    if at_ms is None:
        at_ms = max(row.newest.at_ms, now_ms)
    world = _Now(row, at_ms)
    if past and _knew_less(world, row, at_ms):
        world = _Then(row, campaigns, at_ms)
    operator = asking.role == OPERATOR
    mine = [_shown(task, campaigns, at_ms) for task in world.tasks]
    visitor = Visitor(row.user_id, asking.entry, asking.context or world.context, world.verdict)
    found = candidates(
        campaigns,
        asking.is_of,
        visitor,
        {one.task.campaign_id: one.task for one in mine},  # in order of rounds: the last stays
        [one.task.task_id for one in mine if one.state in RUNNING],
        at_ms,
    )
    matching = {one.campaign.campaign_id for one in found if one.matches}
    here = {one.campaign.campaign_id for one in found}
    mine = [
        one._replace(grandfathered=one.task.campaign_id not in matching)
        for one in mine
        if asking.is_of(one.campaign) or one.task.campaign_id in here
    ]
    offered = [_offer(one, row.user_id, at_ms) for one in found if not (one.code or one.runs)]
    shown = sorted([one for one in mine if valid(one, at_ms)] + offered, key=_place)
    ours = {one.task.task_id for one in mine}
    entries = {k: entry for k, entry in world.entries.items() if entry.task_id in ours}

    def record(one: Shown) -> dict[str, Any]:
        return task_record(one, world.asked, entries, at_ms, full=operator)

    answer: dict[str, Any] = {
        "v": 1,
        "user_id": row.user_id,
        "at": UTC.text(at_ms),
        "scene": asking.scene,
        "type": asking.type,
        "entry": asking.entry,
        "locale": asking.locale or None,
        "role": asking.role,
        "tasks": [record(one) for one in shown],
        "rewards": [reward_record(entry) for entry in entries.values()]
        + [due_record(due) for due in world.dues if due.task.task_id in ours],
        "draws": list(draw_records(d for d in world.asked.draws() if d.task_id in ours)),
    }
    if operator:
        answer["candidates"] = [_traced(one) for one in found]
        answer["hidden"] = [record(one) for one in mine if not valid(one, at_ms)]
    return answer


class _Now:
    """The row as it stands: what the fold has made of it, and what it has told."""

    dues: list[Due] = []  # noqa: RUF012 - the ledger says it all

    def __init__(self, row: UserState, at_ms: int) -> None:
        self._row, self._at_ms = row, at_ms

    @property
    def tasks(self) -> Iterable[Task]:
        return self._row.tasks

    @cached_property
    def asked(self) -> Asked:
        return asks.unpack(self._row.asks)

    @cached_property
    def entries(self) -> dict[str, Entry]:
        return unpack_ledger(self._row.ledger)

    @cached_property
    def facts(self) -> list[Fact]:
        return facts.unpack(self._row.facts)

    @property
    def context(self) -> Context | None:
        """The newest that any event said of the user."""
        said = (
            fact.context
            for fact in reversed(self.facts)
            if isinstance(fact, OrderReported | ClaimRequested) and fact.context is not None
        )
        return next(said, None)

    @property
    def verdict(self) -> str:
        """The risk service's latest word on the user."""
        said = [f for f in self.facts if isinstance(f, RiskVerdict) and not f.order_id]
        return risk.acting(said)


def _knew_less(world: _Now, row: UserState, at_ms: int) -> bool:
    """Tell whether the row holds anything that came after a time: an event, or what a tick did."""
    if at_ms < row.newest.at_ms or row.noticed_ms > at_ms:
        return True
    ticked = (time for task in row.tasks for time in (task.passed_ms, task.ended_ms))
    return max(ticked, default=0) > at_ms or any(f.recorded_at_ms > at_ms for f in world.facts)


class _Then(_Now):
    """The row as it would have stood, had nothing come after a time."""

    def __init__(self, row: UserState, campaigns: Campaigns, at_ms: int) -> None:
        super().__init__(row, at_ms)
        pins = [pin for pin in unpack_pins(row.pins) if pin.since.at_ms <= at_ms]
        walk = begun(row, self.asked, campaigns, pins).take(self.facts).reach(at_ms)
        self._tallies = walk.tallies()
        self.dues = settlement.dues_of(walk, self._tallies, self.asked, self.facts)

    @property
    def tasks(self) -> Iterable[Task]:
        return [t.task for t in self._tallies if t.task.begun_at_ms <= self._at_ms]

    @cached_property
    def asked(self) -> Asked:
        """What had been asked by then, and answered by a record of by then."""
        known = asks.unpack(self._row.asks)
        told = (ask for ask in (*known.reservations(), *known.draws()) if ask.at_ms <= self._at_ms)
        asked = Asked(ask if ask.state == asks.EXPIRED else _unanswered(ask) for ask in told)
        for fact in self.facts:
            if isinstance(fact, PoolAnswered):
                asked = asked.answered(fact) or asked
        return asked

    @cached_property
    def entries(self) -> dict[str, Entry]:
        return {}

    @cached_property
    def facts(self) -> list[Fact]:
        known = facts.unpack(self._row.facts)
        return [fact for fact in known if fact.recorded_at_ms <= self._at_ms]


def _unanswered(ask: Ask) -> Ask:
    return msgspec.structs.replace(ask, state=asks.ASKED, right=b"", released={})


def _shown(task: Task, campaigns: Campaigns, at_ms: int) -> Shown:
    campaign = campaigns.of_task(task)
    return Shown(task, campaign, state_at(task, campaign, campaigns, at_ms))


def _offer(candidate: Candidate, user_id: str, at_ms: int) -> Shown:
    """Return the task that a claim at this time would begin."""
    campaign = candidate.campaign
    task = tasks.begin(user_id, campaign, candidate.last, at_ms, at_ms)
    task = msgspec.structs.replace(task, variant=candidate.variant)
    return Shown(task, campaign, CLAIMABLE)


def _place(one: Shown) -> tuple[int, bool, int, str, int]:
    """Highest priority first (R4); running before claimable; then whose time is out first."""
    task = one.task
    return (
        -one.campaign.priority, one.state == CLAIMABLE, task.end_ms, task.campaign_id, task.round
    )  # fmt: skip


def _traced(one: Candidate) -> dict[str, Any]:
    return {
        "campaign_id": one.campaign.campaign_id,
        "campaign_version": one.campaign.version,
        "variant": one.variant,
        "priority": one.campaign.priority,
        "exclusion_group": one.campaign.exclusion_group,
        "matches": one.matches,
        "code": one.code,
        "trace": [clause._asdict() for clause in one.trace],
    }

"""What is known beside one user's events: campaigns and pools, and which orders are pinned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.models.definitions import Version
from tests.models.facts import RESULT, Fact, instant_ms

if TYPE_CHECKING:
    from tests.models.compaction import Refused
    from tests.models.facts import Key


class Pin(NamedTuple):
    """An order that stays with a task. since: the newest fact known when it was pinned."""

    order: str  # an order, or the parent of a checkout
    task_id: str
    since: Key
    group: str = ""


class Kill(NamedTuple):
    """A campaign ended by hand, and what its running tasks get for it."""

    at_ms: int
    compensation: dict[str, Any] | None


class World:
    """The records of `campaigns` by kind, what pools answered, and pins given from outside.

    pins: a paid step of that task rested on the order (P5). over: draws whose prize was lost and
    went back to stock, or whose chance expired before anybody asked. Both depend on arrival, so
    they are input here; `replay.py` works them out. unheard: and what a task does not know of,
    refused with a word or without one.
    """

    def __init__(  # noqa: PLR0913  # whose events, and what of arrival they cannot say
        self,
        user_id: str,
        records: list[dict[str, Any]],
        facts: list[Fact],
        pins: list[Pin] | None = None,
        over: frozenset[str] = frozenset(),
        refused: Refused = frozenset(),
        unheard: Refused = frozenset(),
    ) -> None:
        self.user_id = user_id
        self.facts = facts
        self.pins = pins or []
        self.over = over
        self.refused = refused
        self.unheard = refused | unheard
        self.not_begun = refused - unheard  # of rounds that are no history: they never began
        self.versions = [Version(r) for r in of_kind(records, "campaign.defined")]
        self.campaign_ids = sorted({version.campaign_id for version in self.versions})
        self.stops = {r["campaign_id"]: begins_ms(r) for r in of_kind(records, "campaign.stopped")}
        self.kills = {
            r["campaign_id"]: Kill(begins_ms(r), r.get("compensation"))
            for r in of_kind(records, "campaign.killed")
        }
        self.pool_closes = {
            r["pool_id"]: instant_ms(r["closes_at"])
            for r in of_kind(records, "pool.defined")
            if "closes_at" in r
        }
        for record in of_kind(records, "pool.closed"):
            closes = begins_ms(record)
            known = self.pool_closes.get(record["pool_id"], closes)
            self.pool_closes[record["pool_id"]] = min(known, closes)
        self.answers = {fact["request_id"]: fact for fact in facts if fact.rank == RESULT}

    def versions_of(self, campaign_id: str) -> list[Version]:
        return [version for version in self.versions if version.campaign_id == campaign_id]

    def stopped(self, campaign_id: str, at_ms: int) -> bool:
        """No new claims: stopped, or killed."""
        ends = [self.stops.get(campaign_id)]
        if campaign_id in self.kills:
            ends.append(self.kills[campaign_id].at_ms)
        return any(end is not None and at_ms >= end for end in ends)

    def pool_closed(self, pool_id: str, at_ms: int) -> bool:
        return pool_id in self.pool_closes and at_ms >= self.pool_closes[pool_id]


def of_kind(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record for record in records if record.get("type", "campaign.defined") == kind]


def begins_ms(record: dict[str, Any]) -> int:
    return instant_ms(record["effective_from"])

"""The tasks of one user in one campaign: each has a window, and no order is in two."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.models.checkouts import Checkout, checkouts
from tests.models.compaction import heeded

if TYPE_CHECKING:
    from tests.models.definitions import Version
    from tests.models.facts import Fact
    from tests.models.world import World


@dataclass(frozen=True)
class Round:
    """One task. `begins`: the first (time, order id) that is its own and no longer the last one's.

    claim: the claim that began it, for its lookback; None if an order did. cause_id: of what began
    it. begun_ms: when. fallbacks: rights whose supply ran out, so that their fallback is due.
    granted: whether every pool has answered.
    """

    task_id: str
    number: int
    version: Version
    start_ms: int
    end_ms: int
    begins: tuple[int, str]
    begun_ms: int
    cause_id: str
    claim: Fact | None = None
    fallbacks: frozenset[str] = frozenset()
    granted: bool = True


@dataclass
class Begun:
    """All rounds of one user, by campaign in their order, and when the user left one of them."""

    rounds: dict[str, list[Round]] = field(default_factory=dict)
    left_ms: dict[str, int] = field(default_factory=dict)  # by task id
    draws: set[str] = field(default_factory=set)  # draw ids asked for

    def of(self, campaign_id: str) -> list[Round]:
        return self.rounds.get(campaign_id, [])

    def all(self) -> list[Round]:
        return [this for campaign_id in sorted(self.rounds) for this in self.rounds[campaign_id]]

    def by_id(self, task_id: str) -> Round | None:
        return next((this for this in self.all() if this.task_id == task_id), None)

    def with_rounds(self, more: list[Round]) -> Begun:
        rounds = {campaign_id: list(own) for campaign_id, own in self.rounds.items()}
        for this in more:
            rounds.setdefault(this.version.campaign_id, []).append(this)
        return Begun(rounds, dict(self.left_ms), set(self.draws))


def ends_early(world: World, begun: Begun, this: Round) -> tuple[int, str] | None:
    """The first (time, order id) past its window: the next round, the user's leaving, or a kill."""
    rounds = begun.of(this.version.campaign_id)
    ends = [later.begins for later in rounds[this.number : this.number + 1]]
    if this.task_id in begun.left_ms:
        ends.append((begun.left_ms[this.task_id], ""))
    if this.version.campaign_id in world.kills:
        ends.append((world.kills[this.version.campaign_id].at_ms, ""))
    return min(ends, default=None)


def in_window(world: World, facts: list[Fact], begun: Begun, this: Round) -> list[Checkout]:
    """The checkouts of a round by (time, order id); none is in two rounds of a campaign."""
    closes = ends_early(world, begun, this)
    facts = heeded(facts, world.unheard, this.task_id)
    found = []
    for order in checkouts(facts, this.version, this.end_ms):
        if closes is not None and order.key >= closes:
            continue
        time_ms = order.key[0]
        own = time_ms >= this.start_ms and order.key >= this.begins and time_ms < this.end_ms
        if own or (looked_back(this, order) and not had_before(world, facts, begun, this, order)):
            found.append(order)
    return sorted(found, key=lambda order: order.key)


def had_before(world: World, facts: list[Fact], begun: Begun, this: Round, order: Checkout) -> bool:
    """Whether an earlier round has the order in its window, counted or not."""
    return any(
        order.names & other.names
        for before in begun.of(this.version.campaign_id)[: this.number - 1]
        for other in in_window(world, facts, begun, before)
    )


def looked_back(this: Round, order: Checkout) -> bool:
    """Whether an order from before the claim counts too (window.lookback)."""
    version = this.version
    if this.claim is None or version.lookback == "none":
        return False
    claim_ms, time_ms = this.claim.key[0], order.key[0]
    if time_ms >= claim_ms or version.day(time_ms) != version.day(claim_ms):
        return False
    if version.first_day is not None and time_ms < version.begin_of(version.first_day):
        return False
    return version.lookback == "same_day" or this.claim.event.get("trigger_order_id") in order.names

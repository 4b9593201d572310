"""Which orders of a round count, which are spare, and whether the target is met (P4 to P6)."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from tests.models.compaction import heeded
from tests.models.groups import winner
from tests.models.rounds import in_window

if TYPE_CHECKING:
    from datetime import date

    from tests.models.checkouts import Checkout
    from tests.models.definitions import Version
    from tests.models.facts import Fact, Key
    from tests.models.rounds import Begun, Round
    from tests.models.world import World


class Tally:
    """The orders of one round as they are taken, oldest first."""

    def __init__(self, this: Round) -> None:
        self.round = this
        self.counted: list[Checkout] = []
        self.spare: list[Checkout] = []
        self.per_day: dict[date, int] = defaultdict(int)

    @property
    def amount_minor(self) -> int:
        return sum(order.consumption_minor for order in self.counted)

    @property
    def met(self) -> bool:
        """Whether the whole target is met: by orders, by amount, or by all or any of the two."""
        version = self.round.version
        by_orders = len(self.counted) >= version.target
        if not version.target_minor:
            return by_orders
        by_amount = self.amount_minor >= version.target_minor
        return by_orders and by_amount if version.match == "all" else by_orders or by_amount

    def can_count(self, order: Checkout) -> bool:
        version = self.round.version
        day = version.day(order.key[0])
        return not self.met and (not version.daily_cap or self.per_day[day] < version.daily_cap)

    def take(self, order: Checkout) -> None:
        if self.can_count(order):
            self.per_day[self.round.version.day(order.key[0])] += 1
            self.counted.append(order)
            # Of a group another task may have had it first: steps go by (time, order id) all the
            # same (section 3, the sort key; section 5, 1).
            self.counted.sort(key=lambda counted: counted.key)
        else:
            self.spare.append(order)


def tally_of(
    world: World, facts: list[Fact], begun: Begun, this: Round, until: Key | None = None
) -> Tally:
    """What one round has counted, given all rounds: those of its group compete for its orders.

    until: the moment that `facts` lie before, if it is judged as of a moment.
    """
    # A history that is over stays as it was, also in what the others of its group had
    # (semantics.md 5, rule 9): what was read since has not happened.
    group = this.version.group
    rounds = [r for r in begun.all() if r.version.group == group] if group else [this]
    stays = {
        name: each.task_id
        for each in rounds
        if is_over_before(world, each, this)
        for order in kept_by(tally_of(world, facts, begun, each, until))
        for name in order.names
    }
    facts = heeded(facts, world.unheard, this.task_id)
    tallies = [Tally(each) for each in rounds]
    offers: dict[str, list[tuple[Tally, Checkout]]] = defaultdict(list)
    for tally in tallies:
        for order in in_window(world, facts, begun, tally.round):
            if order.amount_minor >= tally.round.version.min_minor:
                offers[order.parent].append((tally, order))
    for candidates in sorted(offers.values(), key=lambda found: min(o.key for _, o in found)):
        kept = {stays[name] for _, order in candidates for name in order.names if name in stays}
        free = [one for one in candidates if not kept or one[0].round.task_id in kept]
        if free:
            tally, order = winner(world, free, until)
            tally.take(order)
    return next(tally for tally in tallies if tally.round is this)


def is_over_before(world: World, other: Round, this: Round) -> bool:
    """Whether another's history was over when this one's was not: what it has stays its own."""
    unheard: dict[str, set[str]] = {other.task_id: set(), this.task_id: set()}
    for cause_id, name in world.unheard:
        if name in unheard:
            unheard[name].add(cause_id)
    return unheard[other.task_id] > unheard[this.task_id]


def kept_by(tally: Tally) -> list[Checkout]:
    return [*tally.counted, *tally.spare]


class Last(NamedTuple):
    """The newest round as of a moment. free_ms: when it completed or ended; None: it is active.

    completed_by: the (time, order id) of the order that completed it, if one did.
    """

    free_ms: int | None
    completed_by: tuple[int, str] | None


def as_of(world: World, facts: list[Fact], begun: Begun, this: Round, key: Key) -> Last:
    """Where a round stood just before a moment, by the facts before it."""
    tally = tally_of(world, [fact for fact in facts if fact.key < key], begun, this, key)
    if tally.met:
        return Last(tally.counted[-1].key[0], tally.counted[-1].key)
    ends = [this.end_ms]
    if this.task_id in begun.left_ms:
        ends.append(begun.left_ms[this.task_id])
    if this.version.campaign_id in world.kills:
        ends.append(world.kills[this.version.campaign_id].at_ms)
    return Last(min(ends) if key[0] >= min(ends) else None, None)


def last_round(
    world: World, facts: list[Fact], begun: Begun, campaign_id: str, key: Key
) -> Last | None:
    rounds = begun.of(campaign_id)
    return as_of(world, facts, begun, rounds[-1], key) if rounds else None


def cool_end(version: Version, last: Last) -> int:
    """The day of the end or completion is day 1 of the cool-down, as the claim's is of a window."""
    assert last.free_ms is not None
    return version.begin_of(version.day(last.free_ms) + timedelta(days=version.cool_down_days))


def free_for(version: Version, last: Last, order: Checkout) -> bool:
    """Whether an order may begin the round after `last`: it is later, and the cool-down is over.

    Only a checkout can be earlier: its first part may be older than the part that made it count, or
    than what ended the round (its end, the user's leaving, a kill).
    """
    assert last.free_ms is not None
    if last.completed_by is not None and order.key <= last.completed_by:
        return False
    return order.key[0] >= max(last.free_ms, cool_end(version, last))

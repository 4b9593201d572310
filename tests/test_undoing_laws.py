"""L2: a cancelled order leaves what its absence would, in campaigns with every feature.

What is compared are the tasks as they stand: what counted, at which step, what it banked, what is
due for it and which chances are open. Facts of the row stay what they are and are told to both
sides: the pins of a group, what pools were asked and have answered. So does what was decided as of
an earlier time, when the order still stood: a claim or a leave that was accepted or refused then, a
round that the order began. A campaign in which that differs is left out, with those of its group;
where nothing of that kind can happen, nothing may differ. Source: semantics.md 5, L2 and rule 7.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import hypothesis
from hypothesis import strategies as st

from streams.domain import asks, chances, endings, facts, settlement
from streams.domain.events import OrderCancelled, OrderReported, TaskWithdrawn
from streams.domain.state import RESERVED, unpack_ledger, unpack_pins
from streams.domain.walk import Walk
from tests import builders as b
from tests.against_model import case_of, fold
from tests.answering import as_event
from tests.builders import USER
from tests.given import registry

if TYPE_CHECKING:
    from streams.domain.counting import Tally
    from streams.domain.events import Fact
    from streams.domain.registry import Campaigns
    from streams.domain.state import Task, UserState

PLAIN = frozenset({"variants", "amount", "saved"})
ENDS = frozenset({"stop", "kill", "withdrawn", "risk"})
WHO = frozenset({"audience", "holdout", "orders_enter"})
POOLS = frozenset({"budget", "supply", "lottery"})
LEDGER = frozenset({"required", "results", "release", "collect"})
FEATURES = st.sampled_from(
    [
        frozenset(),
        PLAIN,
        PLAIN | {"groups"},
        PLAIN | WHO,
        PLAIN | ENDS,
        PLAIN | {"groups"} | ENDS,
        frozenset({"lottery"}),
        POOLS,
        POOLS | {"groups"},
        LEDGER | {"saved"},
        LEDGER | POOLS | {"amount", "saved"},
        (PLAIN | ENDS | WHO | POOLS | LEDGER | {"groups"}) - {"variants"},
    ]
)
LAST = "last"  # the id of the cancellation that undoes the order


class Stand(NamedTuple):
    """A task as it stands: what began it and ended it, and all that L2 speaks of."""

    campaign_id: str
    end_ms: int
    begun: tuple[Any, ...]
    progress: tuple[Any, ...]
    counted: list[str]  # checkout ids by step
    due: list[tuple[Any, ...]]
    undrawn: list[str]


class Case(NamedTuple):
    """A history with an order and its cancellation, and the row that it left."""

    events: list[dict[str, Any]]
    services: dict[str, str]
    campaigns: Campaigns
    state: UserState
    order_id: str
    undone: OrderCancelled


def case(seed: int, features: frozenset[str], pick: int, at_day: int) -> Case | None:
    """Fold a random case in which one of its orders is cancelled; None: it has no order."""
    records, events = case_of(seed, features)
    order_ids = sorted({e["order_id"] for e in events if e["type"] in ORDERS})
    if not order_ids:
        return None
    order_id = order_ids[pick % len(order_ids)]
    undone = b.cancel(order_id, when=b.at(at_day, "09:00"), id=LAST)
    campaigns = registry(*records)
    services = {
        r["campaign_id"]: r.get("results", "assumed")
        for r in records
        if r.get("results") == "required" or "debt_cap_minor" in r
    }
    # Where it is read is up to the seed too: before its order, among the rest, after all.
    events.insert(min(len(events), seed % (len(events) + 4)), undone)
    events = list({facts.identity(as_event(event)): event for event in events}.values())
    state = fold(events, campaigns, services).state
    return Case(events, services, campaigns, state, order_id, as_event(undone))


ORDERS = frozenset(f"order.{s}" for s in ("placed", "paid", "fulfilled", "settled", "amended"))
SEEDS, PICKS = st.integers(0, 10**9), st.integers(0, 9)
DAYS = st.sampled_from([0, 3, 6, 10, 16, 16])


def stands(state: UserState, known: list[Fact], campaigns: Campaigns) -> dict[str, Stand]:
    """Return how each task of a row would stand, were these its facts. By task id."""
    asked = asks.unpack(state.asks)
    walk = Walk(USER, campaigns, asked, unpack_pins(state.pins)).take(known)
    tallies = walk.reach(max(endings.reached_ms(state), state.newest.at_ms)).tallies()
    due: dict[str, list[tuple[Any, ...]]] = {tally.task.task_id: [] for tally in tallies}
    for one in settlement.dues_of(walk, tallies, asked, known):
        due[one.task.task_id].append(settlement.terms([one])[0])
    return {
        tally.task.task_id: Stand(
            tally.task.campaign_id,
            tally.task.end_ms,
            begun(tally.task),
            progress(tally),
            tally.counted,
            due[tally.task.task_id],
            chances.undrawn(tally.task, campaigns.of_task(tally.task), asked),
        )
        for tally in tallies
    }


def begun(task: Task) -> tuple[Any, ...]:
    return (
        *(task.campaign_version, task.variant, task.round, task.begun_at_ms, task.start_ms),
        *(task.end_ms, task.start_order_id, task.closed_ms, task.closed_order_id),
        *(task.ended_ms, task.ended, task.pending, task.lacks),
    )


def progress(tally: Tally) -> tuple[Any, ...]:
    task = tally.task
    return (
        *(task.counted, task.accumulated_minor, task.saved_minor, task.completed_at_ms),
        *(task.held, tuple(tally.saved), tally.completed_by),
    )


def differences(one: Case) -> list[str]:
    """Return what L2 does not allow, one line a task."""
    campaigns, state = one.campaigns, one.state
    known = facts.unpack(state.facts)
    less = [fact for fact in known if not is_of(fact, one.order_id)]
    with_it, without = stands(state, known, campaigns), stands(state, less, campaigns)
    return [
        f"{name}: {with_it.get(name)} but {without.get(name)} without {one.order_id}"
        for name in comparable(one, known, with_it, without)
        if with_it.get(name) != without.get(name)
    ]


def is_of(fact: Fact, order_id: str) -> bool:
    if isinstance(fact, OrderCancelled):
        return fact.cancellation_id == LAST
    return isinstance(fact, OrderReported) and fact.order_id == order_id


def comparable(
    one: Case, known: list[Fact], with_it: dict[str, Stand], without: dict[str, Stand]
) -> list[str]:
    """Return the tasks of which L2 speaks here: see the head of this file."""
    campaigns = {campaign.campaign_id: campaign for campaign in one.campaigns}
    first_ms = min(f.occurred_at_ms for f in known if is_of(f, one.order_id))
    never_stood = one.undone.occurred_at_ms < first_ms
    kinds: dict[str, set[str]] = {}
    for name, stand in (with_it | without).items():
        campaign = campaigns[stand.campaign_id]
        kinds.setdefault(campaign.exclusion_group or campaign.campaign_id, set()).add(name)
    found: list[str] = []
    for names in kinds.values():
        of = [campaigns[(with_it | without)[name].campaign_id] for name in names]
        decided = any(c.auto or c.rounds_max > 1 for c in of)
        decided = decided or any(isinstance(fact, TaskWithdrawn) for fact in known)
        alike = all(
            name in with_it and name in without and with_it[name].begun == without[name].begun
            for name in names
        )
        acts = all(
            one.undone.recorded_at_ms
            <= (with_it | without)[name].end_ms
            + campaigns[(with_it | without)[name].campaign_id].horizon_ms
            for name in names
        )
        if acts and (alike or never_stood or not decided):
            found += sorted(names)
    return found


@hypothesis.given(SEEDS, FEATURES, PICKS, DAYS)
def test_l2_a_cancelled_order_leaves_what_its_absence_would(seed, features, pick, at_day):
    one = case(seed, features, pick, at_day)
    assert one is None or differences(one) == []


ALONE = st.sampled_from([PLAIN, PLAIN | WHO, PLAIN | ENDS, POOLS])


@hypothesis.given(SEEDS, ALONE, PICKS, DAYS)
@hypothesis.example(485991450, PLAIN | ENDS, 0, 0)  # the order told that a campaign was killed
@hypothesis.example(167, PLAIN | ENDS, 0, 0)  # one life is paid before its review, one waits for it
def test_l2_a_user_who_never_had_the_order_ends_with_the_same_rewards(seed, features, pick, at_day):
    """Nothing is told to both lives. Prizes are left out: once drawn, they are facts."""
    one = case(seed, features, pick, at_day)
    assert one is None or strayed(one) == []


def strayed(one: Case) -> list[str]:
    """Return the tasks of which another life without the order comes to something else."""
    events = [
        only_time(event, n) if is_of(as_event(event), one.order_id) else event
        for n, event in enumerate(one.events)
    ]
    never = fold(events, one.campaigns, one.services).state
    known = facts.unpack(one.state.facts)
    with_it = stands(one.state, known, one.campaigns)
    without = stands(never, facts.unpack(never.facts), one.campaigns)
    return [
        f"{name}: {with_it.get(name)} but {without.get(name)} without {one.order_id}"
        for name in comparable(one, known, with_it, without)
        if reached(with_it.get(name)) != reached(without.get(name))
        or rewards(one.state, name, with_it) != rewards(never, name, without)
    ]


def only_time(event: dict[str, Any], n: int) -> dict[str, Any]:
    """What tells the time of an event, on which campaigns are killed, and nothing else."""
    return b.cancel("nobody's", when=datetime.fromisoformat(event["occurred_at"]), id=f"time-{n}")


def reached(stand: Stand | None) -> tuple[Any, ...] | None:
    return stand and (stand.begun, stand.progress, stand.counted)


def rewards(state: UserState, task_id: str, of: dict[str, Stand]) -> dict[str, tuple[int, bool]]:
    """Return (value, whether it waits) of what the ledger holds as due to a task.

    A review holds what has not gone yet, so what one holds now may have been given before.
    """
    reviewed = {reward_id for reward_id, _, held, *_ in of[task_id].due if held}
    return {
        entry.reward_id: (entry.value, entry.state == RESERVED and entry.reward_id not in reviewed)
        for entry in unpack_ledger(state.ledger).values()
        if entry.task_id == task_id and entry.kind != "prize" and entry.due
    }

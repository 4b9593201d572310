"""Laws of what counts where, on random campaigns with groups, amounts, endings and verdicts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import hypothesis
import msgspec
from hypothesis import strategies as st

from streams.domain import asks, endings, facts
from streams.domain.fold import Outcome, step
from streams.domain.state import UserState, new, unpack_pins
from streams.domain.walk import Walk
from tests.against_model import case_of
from tests.answering import as_event
from tests.builders import USER
from tests.given import registry, require_both_paths_alike

if TYPE_CHECKING:
    from streams.domain.counting import Tally
    from streams.domain.registry import Campaigns
    from streams.domain.state import Task

COUNTING = frozenset(
    {"audience", "holdout", "variants", "stop", "kill", "withdrawn", "risk", "orders_enter"}
)
FEATURES = st.sampled_from(
    [
        COUNTING | {"groups"},
        COUNTING | {"amount"},
        COUNTING | {"groups", "amount"},
        COUNTING | {"groups", "saved"},
        frozenset({"groups"}),
        frozenset({"groups", "kill", "withdrawn"}),
    ]
)
SEEDS = st.integers(0, 10**9)


def case(seed: int, features: frozenset[str]) -> tuple[Campaigns, list[Any]]:
    records, events = case_of(seed, features)
    return registry(*records), [as_event(event) for event in events]


def folded(events: list[Any], campaigns: Campaigns) -> UserState:
    state = new(USER)
    for event in events:
        state = step(state, event, campaigns).state
    return state


def walked(state: UserState, campaigns: Campaigns) -> list[Tally]:
    """What the facts and pins of a row come to, walked from nothing."""
    walk = Walk(USER, campaigns, asks.unpack(state.asks), unpack_pins(state.pins))
    return walk.take(facts.unpack(state.facts)).reach(endings.reached_ms(state)).tallies()


def unmarked(task: Task) -> Task:
    """A task without what depends on what we said of it."""
    marks = {"rev": 0, "peak": 0, "paid_step": 0, "passed_ms": 0, "noticed_ms": 0}
    return msgspec.structs.replace(task, **marks, expired=False, closed=False)


@hypothesis.given(SEEDS, FEATURES)
def test_whatever_counts_the_short_path_says_and_leaves_what_the_walk_does(seed, features):
    campaigns, events = case(seed, features)
    state = new(USER)
    for event in events:
        kill_ms = endings.next_deadline_ms(state, campaigns)
        killed = 0 < kill_ms <= event.occurred_at_ms  # the kill comes first, and walks by itself
        state = (step if killed else require_both_paths_alike)(state, event, campaigns).state


@hypothesis.given(SEEDS, FEATURES)
def test_a_row_holds_what_its_facts_and_pins_come_to(seed, features):
    campaigns, events = case(seed, features)
    state = new(USER)
    for event in events:
        state = step(state, event, campaigns).state
        anew = [unmarked(tally.task) for tally in walked(state, campaigns)]
        assert anew == list(map(unmarked, state.tasks))


@hypothesis.given(SEEDS, FEATURES)
def test_l10_an_order_serves_one_task_of_a_group(seed, features):
    campaigns, events = case(seed, features | {"groups"} - {"amount"})
    served: Counter[tuple[str, str]] = Counter()
    for tally in walked(folded(events, campaigns), campaigns):
        group = campaigns.of_task(tally.task).exclusion_group
        served.update((group, order_id) for order_id in tally.counted if group)
    assert all(times == 1 for times in served.values())


@hypothesis.given(SEEDS, FEATURES)
def test_l5_no_task_counts_more_a_day_than_its_cap_nor_past_its_target(seed, features):
    campaigns, events = case(seed, features)
    for tally in walked(folded(events, campaigns), campaigns):
        campaign = campaigns.of_task(tally.task)
        if not campaign.target_amount_minor:
            assert len(tally.counted) <= campaign.limit
        assert tally.task.counted == len(tally.counted)
        if campaign.saved is not None and campaign.saved.cap_minor:
            assert tally.task.saved_minor <= campaign.saved.cap_minor


@hypothesis.given(SEEDS, FEATURES, st.randoms(use_true_random=False))
def test_l11_any_order_of_arrival_gives_the_same_tasks_given_the_same_pins(seed, features, rng):
    campaigns, events = case(seed, features)
    events = [e for e in events if step(new(USER), e, campaigns).outcome != Outcome.IGNORED]
    events = list({facts.identity(event): event for event in events}.values())
    shuffled = [*events, *rng.choices(events, k=len(events))] if events else []
    rng.shuffle(shuffled)
    one, other = folded(events, campaigns), folded(shuffled, campaigns)
    assert facts.unpack(one.facts) == facts.unpack(other.facts)
    if unpack_pins(one.pins) == unpack_pins(other.pins):
        assert list(map(unmarked, one.tasks)) == list(map(unmarked, other.tasks))
    pinned_alike = msgspec.structs.replace(other, pins=one.pins)
    assert [t.codes for t in walked(pinned_alike, campaigns)] == [
        t.codes for t in walked(one, campaigns)
    ]

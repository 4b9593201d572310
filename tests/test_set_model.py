"""The fold against the slow reference model: another file, by another hand, from the rules."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import strategies as st

from streams.domain import short_answers, short_path
from streams.domain.fold import refold, step
from streams.domain.state import STANDING, UserState, canonical_state, new, unpack_ledger
from tests import against_model, histories
from tests import builders as b
from tests.builders import USER, cancel, decoded
from tests.given import registry, require_both_paths_alike
from tests.models import users

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.domain.registry import Campaigns


def fold(events: list[dict[str, Any]], campaigns: Campaigns) -> UserState:
    state = new(USER)
    for event in events:
        state = step(state, decoded(event), campaigns).state
    return state


def standing(state: UserState) -> dict[str, tuple[str, str, str, int]]:
    return {
        e.reward_id: (e.step, e.kind, e.right_id, e.value)
        for e in unpack_ledger(state.ledger).values()
        if e.state in STANDING
    }


@hypothesis.given(histories.campaigns(), histories.histories())
def test_the_fold_gives_what_the_reference_model_gives(campaign, events):
    state = fold(events, registry(campaign))
    earned = users.earn(USER, events, [campaign])
    assert standing(state) == earned.rewards
    found = [(t.task_id, t.round, t.counted, t.start_ms, t.end_ms) for t in state.tasks]
    assert found == [
        (t["task_id"], t["round"], t["counted"], t["start"], t["end"]) for t in earned.tasks
    ]


@hypothesis.given(histories.campaigns(), histories.histories(), st.randoms(use_true_random=False))
def test_arrival_order_and_redelivery_do_not_matter(campaign, events, rng):
    events = histories.one_of_each(events)
    campaigns = registry(campaign)
    arrived = events + rng.choices(events, k=len(events)) if events else []
    rng.shuffle(arrived)
    assert canonical_state(fold(arrived, campaigns)) == canonical_state(fold(events, campaigns))


def test_fixture_36_all_permutations_of_a_history_give_the_same_state_and_the_same_net_money():
    campaigns = registry(b.campaign(), b.campaign(campaign_id="other"))
    history = [
        b.claim(),
        b.claim("k2", day=2, campaign_id="other"),
        b.order("o1"),
        b.order("o2"),
        b.order("o3"),
        b.cancel("o2", day=3),
    ]
    ends = {arrived_as(order, campaigns) for order in itertools.permutations(history)}
    assert len(ends) == 1
    ((_, net_minor),) = ends
    assert net_minor == (100 + 200) + 100, "two orders are left of the one task, one of the other"


def arrived_as(events: Iterable[dict[str, Any]], campaigns: Campaigns) -> tuple[bytes, int]:
    """Return what the state comes to, and minor units given less those taken back."""
    state, net_minor = new(USER), 0
    for event in events:
        state, outputs, _ = step(state, decoded(event), campaigns)
        postings = [p for output in outputs for p in output.body.get("postings", ())]
        net_minor += sum(p["amount_minor"] for p in postings if p["account"] == "issued")
    return canonical_state(state), net_minor


@hypothesis.given(histories.campaigns(), histories.histories())
def test_the_short_path_says_and_leaves_what_the_walk_does(campaign, events):
    campaigns = registry(campaign)
    state = new(USER)
    for event in events:
        state = require_both_paths_alike(state, decoded(event), campaigns).state


@hypothesis.given(histories.campaigns(), histories.histories())
def test_no_event_id_is_said_twice_and_each_reward_alternates(campaign, events):
    campaigns = registry(campaign)
    state, ids, seqs = new(USER), [], {}
    for event in events:
        state, outputs, _ = step(state, decoded(event), campaigns)
        for output in outputs:
            ids.append(output.event_id)
            assert sum(p["amount_minor"] for p in output.body.get("postings", ())) == 0
            if output.type in ("reward.issued", "reward.revoked"):
                seqs.setdefault(output.body["reward_id"], []).append(
                    (output.body["seq"], output.type)
                )
    assert len(ids) == len(set(ids))
    for changes in seqs.values():
        for i, (seq, type_) in enumerate(changes, 1):
            assert (seq, type_) == (i, "reward.issued" if i % 2 else "reward.revoked")


SEEDS = 2_000 if os.environ.get("LEIDAN_HYPOTHESIS") == "soak" else 30


@pytest.mark.parametrize("features", against_model.COMPARED, ids=lambda some: "+".join(some) or "-")
def test_random_campaigns_fold_as_the_model_says(features):
    """Tasks, answers, rewards, books and balances; short path and walk; any order of arrival."""
    for seed in range(SEEDS):
        case = against_model.case_of(seed, frozenset(features))
        assert against_model.differences(*case) == [], f"seed {seed}"


ANSWERED = (("budget", "supply"), ("lottery",), ("budget", "lottery", "required", "results"))
REACHED = {"claim": 10, "granted": 15, "denied": 1, "drawn": 15, "result": 50}


def test_random_cases_reach_the_short_path_of_answers(monkeypatch):
    """As often as this they take the short path, and nowhere does it differ from the walk."""
    took: Counter[str] = Counter()

    def counting(of, kind):
        def counted(state, event, campaigns):
            step = of(state, event, campaigns)
            reserves = kind != "claim" or (step is not None and step.asked)
            took[kind or event.answer] += step is not None and bool(reserves)
            return step

        return counted

    for owner, name, kind in (
        (short_path, "next_claim", "claim"),
        (short_answers, "next_answer", ""),
        (short_answers, "next_result", "result"),
    ):
        monkeypatch.setattr(owner, name, counting(getattr(owner, name), kind))
    for features in ANSWERED:
        for seed in range(40):
            case = against_model.case_of(seed, frozenset(features))
            found = against_model.differences(*case)
            assert not [said for said in found if said.startswith("short path")], f"seed {seed}"
    assert {kind: took[kind] for kind in REACHED if took[kind] < REACHED[kind]} == {}


ONCE_DIFFERED = [
    pytest.param(features, seed, id=f"{rule.replace(' ', '_')}-{seed}")
    for features, seeds in against_model.ONCE_DIFFERED.items()
    for seed, rule in seeds.items()
]


@pytest.mark.parametrize(("features", "seed"), ONCE_DIFFERED)
def test_what_once_differed_from_the_model_differs_no_more(features, seed):
    assert against_model.differences(*against_model.case_of(seed, frozenset(features))) == []


FIXED = b.campaign(
    campaign_id="fixed",
    enrolment="auto",
    window={"mode": "fixed", "days": 60, "first_day": "2026-03-03"},
    target={"orders": 4},
)
APART = {"entry": "elsewhere"}  # an order that counts, and begins nothing
UNTIL_IT_IS_OVER = [b.tick(day) for day in (11, 13, 41, 48, 78, 108)]


@pytest.mark.parametrize("ticks", [UNTIL_IT_IS_OVER[:4], UNTIL_IT_IS_OVER], ids=["open", "over"])
@pytest.mark.parametrize("more", [{}, {"parent_order_id": "p49"}], ids=["order", "checkout"])
def test_a_window_that_an_order_begins_late_counts_all_or_is_refused(ticks, more):
    """No seed comes as late as that: not while a window is open, and not when it is over."""
    events = [b.claim(), *(b.order(f"o{n}", **APART) for n in (1, 2, 3)), *ticks]
    events += [b.order("o49", recorded=b.at(49), **more), b.order("o50", recorded=b.at(50), **more)]
    assert against_model.differences([b.campaign(), FIXED], events) == []


def test_the_short_path_leaves_what_the_walk_does_while_a_task_is_pending():
    campaigns = registry(b.campaign(budget={"max_tasks": 3}))
    state = step(new(USER), decoded(b.claim()), campaigns).state
    unrelated = decoded(b.claim("k2", day=2, entry="elsewhere"))
    assert step(state, unrelated, campaigns).state == refold(state, unrelated, campaigns).state


@hypothesis.given(histories.campaigns(), histories.histories(), histories.ORDER_IDS)
def test_a_cancelled_order_leaves_what_its_absence_would(campaign, events, order_id):
    hypothesis.assume(campaign["enrolment"] == "claim")  # an automatic task, once begun, stays
    hypothesis.assume(campaign["rounds"].get("max", 1) == 1)  # and so does a round
    events = [e for e in histories.one_of_each(events) if e["recorded_at_ms"] < histories.LAST_MS]
    never = [e for e in events if e.get("order_id") != order_id]
    gone = cancel(order_id, when=histories.LAST, id="last")
    campaigns = registry(campaign)
    with_it, without = fold([*events, gone], campaigns), fold(never, campaigns)
    assert standing(with_it) == standing(without)
    progress = [(t.task_id, t.counted, t.end_ms, t.completed_at_ms) for t in with_it.tasks]
    assert progress == [(t.task_id, t.counted, t.end_ms, t.completed_at_ms) for t in without.tasks]


@hypothesis.given(histories.campaigns(), histories.histories())
def test_every_claim_is_answered_as_the_reference_model_answers(campaign, events):
    events = histories.one_of_each(events)
    campaigns, state, said = registry(campaign), new(USER), {}
    for event in sorted(events, key=lambda e: (e["occurred_at"], e["type"])):
        state, outputs, _ = step(state, decoded(event), campaigns)
        said |= {o.body["claim_id"]: o.body["code"] for o in outputs if "claim_id" in o.body}
    answers = users.earn(USER, events, [campaign]).answers
    refused = {claim_id: code for claim_id, (code, _) in answers.items() if code != "CLAIMED"}
    assert refused.items() <= said.items()

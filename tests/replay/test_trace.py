"""Every clause of an explanation, held against the verdicts of the fold on random histories."""

from __future__ import annotations

from contextlib import suppress

import hypothesis
import pytest
from hypothesis import strategies as st

from streams.domain import asks, facts
from streams.domain.beginnings import tried
from streams.domain.definition import definition_from
from streams.domain.events import ClaimRequested, OrderReported
from streams.domain.orders import COUNTS
from streams.domain.pool_history import Unfit
from streams.domain.registry import Campaigns
from streams.domain.tasks import NO_TASK
from streams.domain.trace import LOST_GROUP, OUTSIDE, traced
from streams.domain.walk import walked
from tests.against_model import case_of, fold

FEATURES = (
    (),
    ("amount", "saved", "variants"),
    ("groups",),
    ("groups", "amount", "orders_enter", "variants"),
    ("risk", "withdrawn", "kill"),
    ("release", "collect", "budget"),
)


def world(seed: int, features: tuple[str, ...]):
    records, events = case_of(seed, frozenset(features))
    campaigns = Campaigns()
    for record, _ in map(definition_from, records):
        with suppress(Unfit):  # a few do not fit
            campaigns = campaigns if record is None else campaigns.with_record(record)
    return campaigns, fold(events, campaigns, {}).state


def trace_of(campaigns, row):
    walk = walked(row, facts.unpack(row.facts), asks.unpack(row.asks), campaigns)
    return walk, traced(walk)


@pytest.mark.parametrize("features", FEATURES, ids="+".join)
@hypothesis.settings(max_examples=60)
@hypothesis.given(st.integers(0, 10**6))
def test_the_first_clause_that_fails_is_the_folds_code_and_what_counts_has_none(features, seed):
    campaigns, row = world(seed, features)
    walk, found = trace_of(campaigns, row)
    assert [one.task.task_id for one in found] == [task.task_id for task in row.tasks]
    for one, stood in zip(found, row.tasks, strict=True):
        assert {v.checkout_id for v in one.verdicts} == walk.checkouts().keys()
        assert {v.checkout_id: v.code for v in one.verdicts if v.code != OUTSIDE} == one.tally.codes
        for verdict in one.verdicts:
            failing = [clause.code for clause in verdict.clauses if not clause.holds]
            assert (failing or [COUNTS])[0] == verdict.code, verdict
        counted = [v for v in one.verdicts if v.code == COUNTS]
        assert [v.step for v in counted] == list(range(1, stood.counted + 1))
        assert sum(v.spent_minor for v in counted) == stood.accumulated_minor
        if counted:
            assert counted[-1].saved_minor == stood.saved_minor


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.integers(0, 10**6))
def test_what_is_left_of_the_lines_adds_up_to_what_the_order_is_worth(seed):
    campaigns, row = world(seed, ("amount",))
    for one in trace_of(campaigns, row)[1]:
        for part in (part for verdict in one.verdicts for part in verdict.parts):
            if part.code == COUNTS:
                left = sum(line.left_minor for line in part.lines if line.matches)
                assert left == part.spent_minor
            for line in part.lines:
                assert 0 <= line.left_minor <= line.share_minor
                assert line.returned or line.left_minor == line.share_minor


def test_of_a_group_the_loser_names_the_winner_and_why():
    reasons = set()
    for seed in range(150):
        campaigns, row = world(seed, ("groups", "amount"))
        for one in trace_of(campaigns, row)[1]:
            for verdict in one.verdicts:
                for clause in verdict.clauses:
                    if clause.code == LOST_GROUP and not clause.holds:
                        assert clause.value["task_id"] != one.task.task_id
                        reasons.add(clause.value["by"])
    assert reasons >= {"higher priority", "earlier deadline", "had room for it"}


@pytest.mark.parametrize(
    "features",
    [(), ("audience", "holdout", "variants"), ("stop", "kill", "risk"), ("groups",), ("budget",)],
    ids="+".join,
)
@hypothesis.settings(max_examples=60)
@hypothesis.given(st.integers(0, 10**6))
def test_the_first_clause_that_refuses_a_claim_is_the_code_of_its_answer(features, seed):
    campaigns, row = world(seed, features)
    known, asked = facts.unpack(row.facts), asks.unpack(row.asks)
    walk = walked(row, known, asked, campaigns)
    claims = [fact for fact in known if isinstance(fact, ClaimRequested)]
    found = tried(row, known, asked, campaigns, {claim.cause_id for claim in claims})
    for claim in claims:
        (one,) = found[claim.cause_id]
        failing = [clause.code for clause in one.clauses if not clause.holds]
        assert (failing or [""])[0] == walk.answers[claim.claim_id].code


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.integers(0, 10**6))
def test_an_order_in_nobodys_window_is_told_by_every_campaign_why(seed):
    campaigns, row = world(seed, ("audience", "stop"))
    known, asked = facts.unpack(row.facts), asks.unpack(row.asks)
    walk = walked(row, known, asked, campaigns)
    loose = {id_ for id_, code in walk.loose_orders(walk.tallies()).items() if code == NO_TASK}
    alone = [
        fact
        for fact in known
        if isinstance(fact, OrderReported) and not fact.parent_order_id and fact.order_id in loose
    ]
    found = tried(row, known, asked, campaigns, {fact.cause_id for fact in alone})
    for fact in alone:
        met = found[fact.cause_id]
        in_force = {c for c in campaigns.ids if campaigns.in_force(c, fact.occurred_at_ms)}
        assert {one.campaign_id for one in met} == in_force

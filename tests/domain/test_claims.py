"""Claims C1 to C8: what begins a task, what is refused and with which code."""

from __future__ import annotations

import pytest

from streams.domain.fold import Outcome
from tests.builders import at, campaign, cancel, claim, order
from tests.given import given

THREE = campaign()
DONE = [claim(), order("o1"), order("o2"), order("o3")]
TWO_ROUNDS = campaign(rounds={"max": 2, "cool_down_days": 1})


def test_an_accepted_claim_begins_a_task():
    given(THREE, []).when(claim()).then("task.claimed 0")


def test_fixture_15_a_claim_sent_again_begins_nothing():
    known = given(THREE, [claim()]).when(claim()).then()
    assert known.outcome == Outcome.DUPLICATE
    assert len(known.state.tasks) == 1


def test_fixture_13_a_second_claim_of_a_running_task_is_told_the_task():
    known = given(THREE, [claim()]).when(claim("k2", day=2))
    known.then("claim.rejected ALREADY_ACTIVE")
    assert known.outputs[0].body["task_id"] == known.task().task_id


@pytest.mark.parametrize(
    ("definition", "asked", "code"),
    [
        (THREE, claim(campaign_id="nobody"), "CAMPAIGN_UNKNOWN"),
        (campaign(effective_from="2026-04-01T00:00:00+08:00"), claim(), "CAMPAIGN_UNKNOWN"),
        (campaign(claim={"opens_at": "2026-03-03T00:00:00+08:00"}), claim(), "CAMPAIGN_NOT_OPEN"),
        (campaign(claim={"closes_at": "2026-03-02T08:00:00+08:00"}), claim(), "CAMPAIGN_ENDED"),
        (
            campaign(window={"mode": "fixed", "first_day": "2026-02-01", "days": 10}),
            claim(),
            "CAMPAIGN_ENDED",
        ),
        (THREE, claim(entry="billboard"), "RULE_ENTRY"),
        (campaign(enrolment="auto"), claim(), "RULE_ENROLMENT"),
    ],
)
def test_a_claim_that_may_not_take_part_is_refused_with_its_code(definition, asked, code):
    given(definition, []).when(asked).then(f"claim.rejected {code}")


def test_one_round_is_the_default():
    given(THREE, DONE).when(claim("k2", day=5)).then("claim.rejected ROUNDS_USED")


def test_the_next_round_waits_for_the_cool_down():
    known = given(TWO_ROUNDS, DONE)
    known.when(claim("k2", when=at(3, "23:59"))).then("claim.rejected COOL_DOWN")
    known.when(claim("k3", when=at(4, "00:00"))).then("task.claimed 0")
    assert known.task().round == 2


def test_fixture_14_after_a_round_that_ran_out_the_next_waits_for_the_cool_down():
    two_boxes = campaign(
        features=["light_box"],
        step_rewards=[],
        entries=[],
        rounds={"max": 2, "cool_down_days": 1},
    )
    known = given(two_boxes, [claim()])  # its window ends with day 10
    known.when(claim("k2", when=at(11, "23:59"))).then("claim.rejected COOL_DOWN")
    known.when(claim("k3", when=at(12, "00:00"))).then("task.claimed 0")
    assert known.task().round == 2


def test_a_round_that_began_stays_when_an_order_of_the_first_is_cancelled():
    known = given(TWO_ROUNDS, [*DONE, claim("k2", day=6)])
    known.when(cancel("o2", day=7)).then(
        "task.regressed 2", "task.expired 2", "revoked 3 c-3", "revoked 3 pts"
    )
    assert [task.counted for task in known.state.tasks] == [2, 0]
    known.when(order("o8")).then("task.advanced 1", "issued 1 rp-1")


def test_a_claim_read_after_its_orders_counts_them():
    known = given(THREE, [order("o1"), order("o2")])
    known.when(claim()).then("task.claimed 2", "task.advanced 2", "issued 1 rp-1", "issued 2 rp-2")
    assert known.outcome == Outcome.LATE


def test_an_earlier_claim_read_later_takes_the_round_and_the_other_is_refused():
    known = given(THREE, [claim("k2", day=3)])
    known.when(claim("k1", day=2)).then("claim.rejected ALREADY_ACTIVE")
    assert len(known.state.tasks) == 1

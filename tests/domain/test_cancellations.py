"""Cancellations and returns: what falls away, what steps in, what is taken back or owed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from streams.domain import refunds
from streams.domain.events import Discount, Line
from streams.domain.fold import Outcome
from tests.builders import (
    at,
    campaign,
    cancel,
    claim,
    millis,
    order,
    refund,
    result,
    verdict,
    withdraw,
)
from tests.given import given

THREE = campaign()
TWO = [claim(), order("o1"), order("o2")]
DONE = [*TWO, order("o3")]


def test_an_order_cancelled_before_completion_steps_back():
    given(THREE, TWO).when(cancel("o2")).then("task.regressed 1", "revoked 2 rp-2")


def test_fixture_29_the_highest_steps_go_whichever_order_was_cancelled():
    known = given(THREE, DONE).when(cancel("o2"))
    known.then("task.regressed 2", "task.expired 2", "revoked 3 c-3", "revoked 3 pts")
    known.standing("1 rp-1", "2 rp-2")


def test_fixture_3_an_order_that_was_never_fetched_takes_its_step_with_it():
    uncollected = {**cancel("o1", day=4), "reason": "uncollected"}
    given(THREE, [claim(), order("o1")]).when(uncollected).then(
        "task.regressed 0", "revoked 1 rp-1"
    )


def test_fixture_28_a_spare_takes_the_step_of_a_cancelled_order_and_nothing_is_revoked():
    two_a_day = [claim(), order("o1"), order("o2", when=at(1, "13:00"))]
    known = given(THREE, two_a_day).when(cancel("o1")).then()
    assert known.task().counted == 1
    known.standing("1 rp-1")


def test_a_spare_past_the_target_steps_in():
    known = given(THREE, [*DONE, order("o4")]).when(cancel("o1", day=5)).then()
    known.standing("1 rp-1", "2 rp-2", "3 c-3", "3 pts")


def test_a_reward_earned_again_is_the_same_reward_with_the_next_seq():
    given(THREE, [*DONE, cancel("o1", day=4)]).when(order("o5")).then(
        "task.advanced 3", "task.completed 3", "issued 3 c-3 seq=3", "issued 3 pts seq=3"
    )


def test_fixture_32_a_cancellation_read_before_its_order_leaves_nothing_to_pay():
    known = given(THREE, [claim(), cancel("o1", day=2)])
    known.when(order("o1")).then()
    assert known.task().counted == 0


def test_a_tombstone_lives_sixty_days():
    in_time = cancel("o1", when=at(1) - timedelta(days=60))
    too_old = cancel("o1", when=at(1) - timedelta(days=60, seconds=1))
    given(THREE, [claim(), in_time]).when(order("o1")).then()
    given(THREE, [claim(), too_old]).when(order("o1")).then("task.advanced 1", "issued 1 rp-1")


def test_fixture_33_a_cancelled_order_stays_cancelled_when_a_later_version_comes():
    known = given(THREE, [claim(), order("o1"), cancel("o1", day=2)])
    known.when(order("o1", day=3, version=2, status="fulfilled")).then()
    assert known.task().counted == 0


def test_only_a_withdrawal_brings_an_order_back():
    known = given(THREE, [claim(), order("o1"), cancel("o1", day=2)])
    known.when(withdraw("c-o1", day=3)).then("task.advanced 1", "issued 1 rp-1 seq=3")


def test_a_withdrawal_read_before_its_cancellation_works_all_the_same():
    known = given(THREE, [claim(), order("o1"), withdraw("c-o1", day=3)])
    known.when(cancel("o1", day=2)).then()
    assert known.task().counted == 1


def test_a_cancellation_recorded_after_the_horizon_takes_nothing_back():
    too_late = cancel("o1", recorded=at(11, "00:00") + timedelta(days=30, seconds=1))
    known = given(THREE, [claim(), order("o1")]).when(too_late).then("order.ignored PAST_HORIZON")
    known.standing("1 rp-1")


@pytest.mark.parametrize(
    "second", [cancel("o1", id="c2"), verdict("block", 20, "o1")], ids=["cancelled", "blocked"]
)
def test_what_was_taken_back_twice_before_it_was_read_and_too_late_is_told_once(second):
    too_late = millis(at(50))
    undone = [{**event, "recorded_at_ms": too_late} for event in (cancel("o1", id="c1"), second)]
    known = given(campaign(enrolment="auto"), undone).when(order("o1"))
    known.then("task.claimed 1", "task.advanced 1", "order.ignored PAST_HORIZON", "issued 1 rp-1")
    third = {**cancel("o1", id="c3"), "recorded_at_ms": too_late}
    known.when(third).then("order.ignored PAST_HORIZON").standing("1 rp-1")


def test_fixture_34_an_order_counts_while_what_is_left_meets_the_minimum():
    e1 = order(
        "o1",
        lines=[(1, 6000), (1, 4000)],
        discounts=[("event", 500, 0), ("voucher", 1000, 0), ("full", 1500, 0)],
    )
    known = given(THREE, [claim(), e1]).when(refund("o1", {"1": 1})).then()
    assert known.task().counted == 1  # 28.00 left, 15.00 asked
    dear = given(campaign(qualify={"min_amount_minor": 3000}), [claim(), e1])
    dear.when(refund("o1", {"1": 1})).then(
        "task.regressed 0", "order.ignored MIN_AMOUNT", "revoked 1 rp-1"
    )


def test_all_units_back_is_a_cancelled_order():
    order_of_two = order("o1", lines=[(2, 2500)])
    known = given(THREE, [claim(), order_of_two, refund("o1", {"1": 1}, id="r1")])
    known.when(refund("o1", {"1": 1}, id="r2")).then("task.regressed 0", "revoked 1 rp-1")


def test_more_units_back_than_were_bought_are_capped_and_said():
    two_lines = order("o1", lines=[(2, 2500), (1, 2000)])
    known = given(THREE, [claim(), two_lines]).when(refund("o1", {"1": 5}))
    known.then("order.ignored OVER_REFUND")
    assert known.task().counted == 1  # 20.00 left


def test_fixture_5_a_cancelled_sub_order_leaves_a_smaller_checkout():
    parts = [order(f"o{i}", when=at(1), yuan=10, parent_order_id="p") for i in (1, 2, 3)]
    known = given(THREE, [claim(), *parts]).when(cancel("o1")).then()
    assert known.task().counted == 1
    known.when(cancel("o2")).then("task.regressed 0", "order.ignored MIN_AMOUNT", "revoked 1 rp-1")


def test_a_spent_reward_no_longer_due_is_owed_and_set_off_against_the_next():
    known = given(THREE, [claim(), order("o1")])
    known.when(result(known.reward_id("1", "rp-1"), "spent", day=2)).then("spent 1 rp-1 100")
    known.when(cancel("o1", day=3)).then("task.regressed 0", "owed 1 rp-1 100")
    other = [
        campaign(
            campaign_id="other",
            step_rewards=[
                {"step": 1, "right": {"right_id": "rp-9", "type": "cash", "value_minor": 200}}
            ],
        )
    ]
    both = given([THREE, *other], [claim(), order("o1")])
    both.when(result(both.reward_id("1", "rp-1"), "spent", day=2), cancel("o1", day=3))
    both.when(claim("k2", day=4, campaign_id="other"))
    both.when(order("o5")).then(
        "task.advanced 1", "restored 1 rp-1 100", "task.advanced 1", "issued 1 rp-9"
    )


def test_a_debt_is_set_off_in_another_campaign_and_undone_when_the_debt_is_regained():
    other = campaign(
        campaign_id="other",
        window={"days": 20},
        step_rewards=[
            {"step": 1, "right": {"right_id": "rp-9", "type": "cash", "value_minor": 200}}
        ],
    )
    known = given([THREE, other], [claim(), order("o1")])
    known.when(result(known.reward_id("1", "rp-1"), "spent", day=2), cancel("o1", day=3))
    known.when(claim("k2", day=11, campaign_id="other"))
    known.when(order("o12")).then("task.advanced 1", "issued 1 rp-9 offset=100")
    assert known.outputs[-1].body["amount_minor"] == 100
    known.when(withdraw("c-o1", day=13)).then(
        "task.advanced 1", "revoked 1 rp-9", "restored 1 rp-1 100", "issued 1 rp-9 seq=3"
    )


def test_debts_above_the_cap_are_written_off():
    capped = campaign(debt_cap_minor=30)
    known = given(capped, [claim(), order("o1")])
    known.when(result(known.reward_id("1", "rp-1"), "spent", day=2))
    known.when(cancel("o1", day=3)).then(
        "task.regressed 0", "owed 1 rp-1 100", "written_off 1 rp-1 70"
    )
    assert known.state.owed_minor == 30


def test_a_spent_coupon_is_forgiven_and_not_issued_again():
    known = given(THREE, DONE)
    known.when(result(known.reward_id("3", "c-3"), "spent", day=4))
    known.when(cancel("o1", day=5)).then("task.regressed 2", "task.reopened 2", "revoked 3 pts")
    known.when(order("o6")).then("task.advanced 3", "task.completed 3", "issued 3 pts seq=3")


def test_a_policy_of_keep_takes_nothing_back():
    kind = campaign(clawback={"red_packet": "keep"})
    given(kind, TWO).when(cancel("o2")).then("task.regressed 1")


def test_a_result_for_a_command_that_was_never_given_is_ignored():
    known = given(THREE, TWO).when(result("rwd_nobody", "spent")).then()
    assert known.outcome == Outcome.IGNORED


def lines_of(*bought: tuple[int, int]) -> list[Line]:
    return [Line(str(i), quantity, unit) for i, (quantity, unit) in enumerate(bought, 1)]


@pytest.mark.parametrize(
    ("bought", "consumption", "shares"),
    [
        pytest.param([(1, 6000), (1, 4000)], 7000, [4200, 2800], id="E1"),
        pytest.param([(1, 3334), (1, 3333), (1, 3333)], 9000, [3000, 3000, 3000], id="E2"),
        pytest.param([(1, 0), (2, 0)], 0, [0, 0], id="nothing-was-asked"),
    ],
)
def test_shares_of_the_lines_sum_to_what_was_paid(bought, consumption, shares):
    assert refunds.kept(lines_of(*bought), consumption, {}) == shares


def test_five_of_six_returned_keep_their_share_of_the_discount():
    assert refunds.kept(lines_of((6, 5000)), 27000, {"1": 5}) == [4500]


def test_five_of_six_returned_lose_a_discount_whose_threshold_they_miss():
    ten_percent = [Discount(3000, 30000)]
    assert refunds.recomputed(lines_of((6, 5000)), ten_percent, 27000, {"1": 5}) == [5000]

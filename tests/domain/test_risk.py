"""Verdicts: a review holds, a block lets nothing count, the latest one acts."""

from __future__ import annotations

from datetime import timedelta

from tests.builders import at, campaign, claim, order, verdict
from tests.given import given

THREE = campaign()
TWO = [claim(), order("o1"), order("o2")]


def test_a_blocked_order_does_not_count_and_a_clear_brings_it_back():
    known = given(THREE, TWO).when(verdict("block", 3, "o2"))
    known.then("task.regressed 1", "order.ignored RISK", "revoked 2 rp-2")
    known.when(verdict("clear", 4, "o2")).then("task.advanced 2", "issued 2 rp-2 seq=3")


def test_the_latest_verdict_acts_whichever_is_read_last():
    known = given(THREE, [*TWO, verdict("clear", 5, "o2")])
    known.when(verdict("block", 4, "o2")).then()


def test_a_verdict_waits_for_its_order():
    known = given(THREE, [claim(), verdict("block", 1, "o1", when=at(1, "09:00"))])
    known.when(order("o1")).then("order.ignored RISK")


def test_a_block_recorded_after_the_horizon_takes_nothing_back():
    late = at(11, "00:00") + timedelta(days=30, seconds=1)
    known = given(THREE, TWO).when(verdict("block", 3, "o2", recorded=late))
    known.then("order.ignored PAST_HORIZON").standing("1 rp-1", "2 rp-2")


def test_a_blocked_user_has_no_order_that_counts_and_may_not_claim():
    two_rounds = campaign(rounds={"max": 2, "cool_down_days": 0})
    known = given([two_rounds, campaign(campaign_id="other")], TWO)
    known.when(verdict("block", 3)).then(
        "task.regressed 0",
        "order.ignored RISK",
        "order.ignored RISK",
        "revoked 1 rp-1",
        "revoked 2 rp-2",
    )
    known.when(claim("k2", day=3, when=at(3, "13:00"), campaign_id="other"))
    known.then("claim.rejected RULE_RISK")
    known.when(order("o4")).then("order.ignored RISK")
    known.when(verdict("clear", 5))
    assert known.task().counted == 3


def test_a_claim_is_judged_by_what_was_known_of_its_user_then():
    known = given(THREE, [verdict("block", 2)]).when(claim(day=1)).then("task.claimed 0")
    known = given(THREE, [verdict("block", 1, when=at(1, "07:00")), verdict("clear", 3)])
    known.when(claim(day=1)).then("claim.rejected RULE_RISK")


def test_a_review_of_an_order_holds_what_rests_on_it():
    known = given(THREE, [claim(), verdict("review", 1, "o1", when=at(1, "09:00"))])
    known.when(order("o1")).then("task.advanced 1", "reserved 1 rp-1 100")
    known.when(order("o2")).then("task.advanced 2", "reserved 2 rp-2 200")
    known.when(verdict("clear", 3, "o1")).then("issued 1 rp-1", "issued 2 rp-2")


def test_a_review_of_an_order_leaves_what_came_before_it():
    known = given(THREE, [claim(), order("o1"), verdict("review", 2, "o2", when=at(2, "09:00"))])
    known.when(order("o2")).then("task.advanced 2", "reserved 2 rp-2 200").standing("1 rp-1")


def test_a_review_of_the_user_holds_everything():
    known = given(THREE, [claim(), verdict("review", 1, when=at(1, "09:00"))])
    known.when(order("o1"), order("o2")).then("task.advanced 2", "reserved 2 rp-2 200")
    known.when(verdict("clear", 3)).then("issued 1 rp-1", "issued 2 rp-2")


def test_a_review_recorded_after_the_horizon_holds_nothing():
    late = at(11, "00:00") + timedelta(days=30, seconds=1)
    known = given(THREE, [claim(), verdict("review", 1, "o1", recorded=late)])
    known.when(order("o1")).then("task.advanced 1", "issued 1 rp-1")


def test_what_was_issued_before_the_review_stays_issued():
    given(THREE, TWO).when(verdict("review", 3, "o1")).then().standing("1 rp-1", "2 rp-2")


def test_an_automatic_task_does_not_begin_with_a_blocked_order():
    known = given(campaign(enrolment="auto"), [verdict("block", 1, "o1", when=at(1, "09:00"))])
    known.when(order("o1")).then("order.ignored NO_TASK")
    known.when(order("o2")).then("task.claimed 1", "task.advanced 1", "issued 1 rp-1")

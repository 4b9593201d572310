"""What ticks do to tasks: expired at the end, revived within grace, closed at the horizon."""

from __future__ import annotations

import pytest

from streams.domain.fold import Outcome
from streams.domain.state import canonical_state
from streams.domain.view import state_of
from tests.builders import at, campaign, cancel, claim, order, tick, withdraw
from tests.given import given

THREE = campaign()  # claimed on day 1, over at the start of day 11; grace to 13, horizon to 41
CLAIMED = [claim()]
ONE = [*CLAIMED, order("o1")]
DONE = [*ONE, order("o2"), order("o3")]
OVER = [*ONE, tick(11)]
IN_GRACE = {"day": 10, "recorded": at(12)}  # an order of the window, heard of after it


def test_a_task_expires_at_the_first_tick_at_its_end():
    known = given(THREE, ONE)
    known.when(tick(10, "23:59:59")).then()
    known.when(tick(11)).then("task.expired 1").standing("1 rp-1")
    assert state_of(known.task()) == "expired"


def test_the_cause_and_the_time_of_an_expiry_are_its_deadlines_whenever_the_tick_comes():
    for late in (tick(11), tick(11, "07:31"), tick(30)):
        [output] = given(THREE, ONE).when(late).outputs
        assert output.body["cause_id"] == "deadline:2026-03-11T16:00:00+00:00"
        assert output.body["occurred_at"] == "2026-03-12T00:00:00+08:00"


def test_a_completed_task_does_not_expire():
    given(THREE, DONE).when(tick(11)).then()


def test_the_same_tick_again_or_an_earlier_one_changes_nothing():
    known = given(THREE, OVER)
    for again in (tick(11), tick(3)):
        known.when(again).then()
        assert known.outcome is Outcome.IGNORED


def test_fixture_27_an_order_of_the_window_within_grace_revives_the_task():
    known = given(THREE, OVER).when(order("o2", **IN_GRACE))
    known.then("task.revived 2", "task.advanced 2", "issued 2 rp-2")
    assert state_of(known.task()) == "active"


def test_a_revived_task_may_be_completed_within_grace():
    two = given(THREE, [*ONE, order("o2"), tick(11)]).when(order("o3", **IN_GRACE))
    two.then(
        "task.revived 3", "task.advanced 3", "task.completed 3", "issued 3 c-3", "issued 3 pts"
    )
    two.when(tick(13)).then()


def test_a_revived_task_expires_again_at_the_end_of_grace():
    known = given(THREE, [*OVER, order("o2", **IN_GRACE)])
    known.when(tick(12, "23:59")).then()
    known.when(tick(14)).then("task.expired 2")
    assert known.outputs[0].body["occurred_at"] == "2026-03-14T00:00:00+08:00"


def test_fixture_27_an_order_recorded_after_grace_is_late_and_pays_nothing():
    late = order("o2", day=10, recorded=at(13, "00:01"))
    given(THREE, OVER).when(late).then("order.ignored LATE")


def test_an_order_recorded_in_grace_but_read_after_it_counts_and_the_next_tick_says_the_rest():
    known = given(THREE, [*OVER, tick(20)]).when(order("o2", **IN_GRACE))
    known.then("task.revived 2", "task.advanced 2", "issued 2 rp-2")
    known.when(tick(21)).then("task.expired 2")
    known.when(order("o3", day=9, recorded=at(12))).then(
        "task.revived 3", "task.advanced 3", "task.completed 3", "issued 3 c-3", "issued 3 pts"
    )


@pytest.mark.parametrize("ticks", [(), (tick(13),)], ids=["before the tick", "after it"])
def test_a_cancellation_withdrawn_after_grace_counts_again_and_revives_nothing(ticks):
    known = given(THREE, [*ONE, order("o2"), cancel("o2", day=5, id="c1"), tick(11), *ticks])
    known.when(withdraw("c1", day=13)).then("task.advanced 2", "issued 2 rp-2 seq=3")
    assert state_of(known.task()) == "expired"
    known.when(tick(14)).then()


def test_a_cancellation_withdrawn_in_grace_revives_the_task():
    known = given(THREE, [*ONE, order("o2"), cancel("o2", day=5, id="c1"), tick(11)])
    known.when(withdraw("c1", day=12))
    known.then("task.revived 2", "task.advanced 2", "issued 2 rp-2 seq=3")
    known.when(tick(14)).then("task.expired 2")


def test_an_order_at_the_end_is_not_of_the_window():
    given(THREE, CLAIMED).when(order("o1", when=at(11, "00:00"))).then("order.ignored NO_TASK")


def test_a_task_is_closed_at_its_horizon_and_only_once():
    known = given(THREE, OVER)
    known.when(tick(40, "23:59")).then()
    known.when(tick(41)).then("task.closed 1")
    known.when(tick(50)).then()
    known.when(cancel("o1", day=42)).then("order.ignored PAST_HORIZON").standing("1 rp-1")
    assert known.state.due_ms == 0


def test_one_tick_far_ahead_says_all_that_ticks_on_the_way_would_have():
    given(THREE, ONE).when(tick(300)).then("task.expired 1", "task.closed 1")


def test_without_grace_and_clawback_a_task_expires_and_closes_at_once():
    short = campaign(expiry={"grace_hours": 0, "clawback_days": 0})
    given(short, ONE).when(tick(11)).then("task.expired 1", "task.closed 1")


def test_a_completed_task_undone_in_its_window_is_open_again_and_then_expires():
    known = given(THREE, DONE).when(cancel("o1", day=5))
    known.then("task.regressed 2", "task.reopened 2", "revoked 3 c-3", "revoked 3 pts")
    known.when(tick(11)).then("task.expired 2")


def test_a_completed_task_undone_after_its_end_is_expired_by_what_undid_it():
    known = given(THREE, DONE).when(cancel("o1", day=12))
    known.then("task.regressed 2", "task.expired 2", "revoked 3 c-3", "revoked 3 pts")
    known.when(tick(15)).then()
    known.when(tick(41)).then("task.closed 2")


def test_a_cancellation_of_an_expired_task_takes_its_step_and_says_no_more():
    given(THREE, OVER).when(cancel("o1", day=12)).then("task.regressed 0", "revoked 1 rp-1")


# --- rounds (fixtures 14 and 38) --------------------------------------------------------------

ROUNDS = campaign(rounds={"max": 2, "cool_down_days": 1})


def test_a_claim_in_the_cool_down_of_an_expired_round_waits_and_after_it_begins_the_next():
    known = given(ROUNDS, OVER)
    known.when(claim("k2", day=11)).then("claim.rejected COOL_DOWN")
    known.when(claim("k3", day=12)).then("task.claimed 0")
    assert known.task().round == 2


def test_a_round_whose_end_no_tick_has_reached_still_expires_once_when_the_next_has_begun():
    known = given(ROUNDS, [*ONE, claim("k2", day=12)])
    known.when(tick(12, "09:00")).then("task.expired 1")
    known.when(tick(13)).then()


def test_fixture_38_a_round_undone_after_the_next_began_is_expired_and_the_next_stays():
    known = given(ROUNDS, [*DONE, claim("k2", day=5)]).when(cancel("o1", day=6))
    known.then("task.regressed 2", "task.expired 2", "revoked 3 c-3", "revoked 3 pts")
    assert [state_of(task) for task in known.state.tasks] == ["expired", "active"]
    known.when(tick(11)).then()
    known.when(tick(15)).then("task.expired 0")


def test_an_expired_round_cannot_be_revived_once_the_next_has_begun_but_its_order_counts():
    known = given(ROUNDS, [*OVER, claim("k2", day=12, when=at(12, "00:00"))])
    known.when(order("o2", **IN_GRACE)).then("task.advanced 2", "issued 2 rp-2")


def test_fixture_25_a_dark_box_that_expires_forfeits_what_was_saved_and_issues_nothing():
    dark = campaign(
        features=["dark_box"],
        entries=[],
        step_rewards=None,
        saved={"rule": "percent", "bp": 300, "cap_minor": 800},
        final_rewards=[{"right_id": "grocery", "type": "red_packet", "value": "saved_amount"}],
    )
    known = given(dark, [*ONE, order("o2")])
    assert known.task().saved_minor == 300
    known.when(tick(11)).then("task.expired 2").standing()
    assert "target" not in known.outputs[0].body["view"]
    known.when(tick(41)).then("task.closed 2").standing()


def test_a_task_is_closed_once_though_it_returns_with_a_later_window():
    auto = campaign(enrolment="auto")
    closed = given(auto, [order("o2"), order("o4"), tick(41)]).when(tick(42))
    closed.then("task.closed 2")
    closed.when(cancel("o2", when=at(1)))  # known before its order: it began nothing, o4 did
    assert closed.task().start_ms > given(auto, [order("o2")]).task().start_ms
    closed.when(tick(99)).then()


def test_a_task_whose_horizon_is_past_when_its_claim_is_read_is_closed_at_the_next_tick():
    brief = campaign(window={"days": 3}, expiry={"grace_hours": 0, "clawback_days": 1})
    late = given(brief, [claim("k2", day=7), tick(10)]).when(claim("k1", day=5))
    late.when(tick(10, "00:01")).then("task.closed 0")
    assert late.outputs[0].body["cause_id"] == "deadline:2026-03-09T16:00:00+00:00"
    late.when(tick(99)).then()


@pytest.mark.parametrize("refused", ["o1", "o2", "o3"])
def test_an_order_that_was_a_dead_letter_for_weeks_gives_what_it_would_have_given_in_time(refused):
    """Replayed, a record keeps the time at which it was first recorded (semantics.md 1)."""
    orders = {name: order(name) for name in ("o1", "o2", "o3")}
    in_time = given(THREE, [*CLAIMED, *orders.values(), tick(11), tick(20)])
    back = orders.pop(refused)
    replayed = given(THREE, [*CLAIMED, *orders.values(), tick(11), tick(20)]).when(back)
    assert canonical_state(replayed.state) == canonical_state(in_time.state)
    replayed.standing("1 rp-1", "2 rp-2", "3 c-3", "3 pts")
    replayed.when(back).then()

"""Tasks that end before their time: left by their user, or killed with their campaign."""

from __future__ import annotations

from streams.domain import endings, fold
from streams.domain.fold import Outcome
from tests.builders import at, campaign, cancel, change, claim, leave, millis, order
from tests.given import given, registry, said

THREE = campaign()
SORRY = {"right_id": "sorry", "type": "coupon", "value_minor": 50}


def killed(day: int, clock: str = "00:00", **fields):
    effective = at(day, clock).isoformat()
    return change("campaign.killed", campaign_id="three", effective_from=effective, **fields)


def left(known, day: int = 2, clock: str = "18:00"):
    return known.when(leave(known.task().task_id, at(day, clock)))


def test_who_leaves_keeps_what_was_issued_and_nothing_counts_any_more():
    known = left(given(THREE, [claim(), order("o1")]))
    known.then("task.withdrawn 1").standing("1 rp-1")
    assert known.outputs[0].body["view"]["state"] == "withdrawn"
    known.when(order("o3")).then("order.ignored NO_TASK")


def test_an_order_of_the_instant_at_which_its_user_leaves_does_not_count():
    known = left(given(THREE, [claim()]), clock="12:00").then("task.withdrawn 0")
    known.when(order("o1", when=at(2))).then("order.ignored NO_TASK")


def test_leaving_comes_before_the_orders_of_its_instant_also_when_it_is_read_after_them():
    known = given(THREE, [claim()]).when(order("o1", when=at(2)))
    left(known, clock="12:00").then(
        "task.regressed 0", "task.withdrawn 0", "revoked 1 rp-1", "order.ignored NO_TASK"
    )


def test_an_order_read_after_its_user_left_counts_if_it_came_before():
    known = left(given(THREE, [claim()]))
    known.when(order("o1")).then("task.advanced 1", "issued 1 rp-1")
    assert known.outputs[0].body["view"]["state"] == "withdrawn"


def test_nobody_leaves_a_task_that_is_completed_or_not_theirs():
    done = given(THREE, [claim(), order("o1"), order("o2"), order("o3")])
    left(done, day=4).then()
    done.when(leave("tsk_nobodys", at(5), "k-5")).then()


def test_a_cancellation_still_takes_back_what_its_order_had_earned():
    known = left(given(THREE, [claim(), order("o1")]))
    known.when(cancel("o1", day=3)).then("task.regressed 0", "revoked 1 rp-1")


def test_the_day_on_which_a_user_leaves_is_day_1_of_the_cool_down():
    known = left(given(campaign(rounds={"max": 2, "cool_down_days": 1}), [claim()]))
    known.when(claim("k2", when=at(2, "23:59"))).then("claim.rejected COOL_DOWN")
    known.when(claim("k3", when=at(3, "00:00"))).then("task.claimed 0")


def test_a_late_order_that_completed_the_task_undoes_the_leaving():
    known = left(given(THREE, [claim(), order("o1"), order("o3")]), day=3)
    known.when(order("o2"))
    known.then("task.advanced 3", "task.completed 3", "issued 3 c-3", "issued 3 pts")


def test_a_killed_task_is_said_at_the_next_event_as_of_the_kill():
    known = given([THREE, killed(3)], [claim(), order("o1")])
    known.when(order("o3", when=at(3))).then("task.killed 1", "order.ignored NO_TASK")
    ended = known.outputs[0].body
    assert (ended["occurred_at"], ended["view"]["state"]) == (
        "2026-03-04T00:00:00+08:00",
        "killed",
    )
    assert ended["cause_id"] == "deadline:2026-03-03T16:00:00+00:00"
    known.standing("1 rp-1")


def test_time_alone_kills_as_an_event_does():
    known = given([THREE, killed(3)], [claim(), order("o1")])
    assert endings.next_deadline_ms(known.state, known.campaigns) == millis(at(3, "00:00"))
    by_time = fold.reach(known.state, millis(at(3, "00:00")), known.campaigns)
    by_event = known.when(order("o3"))
    assert [o.event_id for o in by_time.outputs] == [known.outputs[0].event_id]
    assert endings.next_deadline_ms(by_time.state, known.campaigns) == 0
    assert by_time.state.tasks == by_event.state.tasks


def test_a_record_in_conflict_tells_no_time():
    known = given([THREE, killed(3)], [claim(), order("o1")])
    before = known.state
    known.when(order("o1", day=4)).then()
    assert (known.outcome, known.state) == (Outcome.CONFLICT, before)
    known.when(order("o4")).then("task.killed 1", "order.ignored NO_TASK")


def test_a_record_known_already_tells_no_time():
    known = given(THREE, [claim(), order("o1"), order("o4")])
    before, known.campaigns = known.state, registry(THREE, killed(3))
    known.when(order("o4")).then()
    assert (known.outcome, known.state) == (Outcome.DUPLICATE, before)


def test_a_record_that_a_full_row_refuses_tells_no_time(monkeypatch):
    known = given([THREE, killed(3)], [claim(), order("o1")])
    before = known.state
    monkeypatch.setattr(fold, "MAX_FACTS_BYTES", 0)
    known.when(order("o4")).then()
    assert (known.outcome, known.state) == (Outcome.ROW_FULL, before)


def test_a_kill_may_come_with_a_compensation():
    known = given([THREE, killed(3, compensation=SORRY)], [claim(), order("o1")])
    known.when(order("o4")).then("task.killed 1", "issued 0 sorry", "order.ignored NO_TASK")
    compensation = known.outputs[1].body
    assert compensation["kind"] == "compensation"
    assert "order_id" not in compensation


def test_a_completed_task_is_not_killed_unless_its_target_is_no_longer_met():
    known = given(
        [THREE, killed(5, compensation=SORRY)],
        [claim(), order("o1"), order("o2"), order("o3")],
    )
    known.when(order("o6")).then("order.ignored NO_TASK")
    known.when(cancel("o1", day=7)).then(
        "task.regressed 2", "task.killed 2", "revoked 3 c-3", "revoked 3 pts", "issued 0 sorry"
    )


def test_a_late_order_of_before_the_kill_completes_the_task_after_all():
    known = given(
        [THREE, killed(5, compensation=SORRY)], [claim(), order("o1"), order("o3"), order("o6")]
    )
    known.when(order("o2")).then(
        "task.advanced 3", "task.completed 3", "issued 3 c-3", "issued 3 pts", "revoked 0 sorry"
    )


def test_a_killed_campaign_takes_no_claim():
    known = given([THREE, killed(3)], []).when(claim(day=3))
    known.then("claim.rejected CAMPAIGN_STOPPED")


def test_a_task_whose_window_is_over_is_not_killed():
    known = given([THREE, killed(11)], [claim()])
    known.when(order("o12")).then("order.ignored NO_TASK")


def test_a_checkout_older_than_the_kill_begins_no_next_round_though_its_last_part_comes_after():
    alone = campaign(enrolment="auto", rounds={"max": 2})
    known = given([alone, killed(2, "18:00")], [order("o2", parent_order_id="p")])
    known.when(order("o3", parent_order_id="p"))
    known.then("task.killed 1").standing("1 rp-1")
    assert [(task.round, task.counted) for task in known.state.tasks] == [(1, 1)]


def test_a_checkout_older_than_its_users_leaving_begins_no_next_round_either():
    alone = campaign(enrolment="auto", rounds={"max": 2})
    known = left(given(alone, [order("o2", parent_order_id="p")]))
    known.when(order("o3", parent_order_id="p")).standing("1 rp-1")
    assert [(task.round, task.counted) for task in known.state.tasks] == [(1, 1)]


def test_other_campaigns_go_on():
    known = given(
        [THREE, campaign(campaign_id="other"), killed(3)],
        [claim(), claim("k2", campaign_id="other")],
    )
    known.when(order("o3"))
    assert sorted(map(said, known.outputs)) == ["issued 1 rp-1", "task.advanced 1", "task.killed 0"]


def test_fixture_24_each_task_goes_by_the_version_it_began_under():
    dark = campaign(
        campaign_id="dark", features=["dark_box"], entries=[], step_rewards=[], target={"orders": 5}
    )
    known = given([dark, THREE], [claim("k1", campaign_id="dark"), order("o1")])
    known.when(claim("k2", day=2)).then("task.claimed 0")
    known.when(order("o3")).then("task.advanced 2", "task.advanced 1", "issued 1 rp-1")

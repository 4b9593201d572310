"""When an order counts: windows, campaign days, clock changes, the claim's own instant."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from streams.domain.days import Calendar
from tests.builders import at, campaign, claim, millis, order
from tests.given import given

THREE = campaign()


def test_fixture_1_an_order_placed_before_midnight_and_paid_after_counts_on_the_second_day():
    placed = order("o1", when=at(1, "23:50"), status="placed")
    paid = order("o1", when=at(2, "00:10"), version=2)
    given(THREE, [claim(), placed]).when(paid).then("task.advanced 1", "issued 1 rp-1")


def test_fixture_2_an_order_counts_on_the_day_it_reaches_the_status_asked_for():
    picked_up = campaign(qualify={"on": "fulfilled"})
    known = given(picked_up, [claim()]).when(order("o1")).then("order.ignored STATUS")
    known.when(order("o1", day=2, version=2, status="fulfilled")).then(
        "task.advanced 1", "issued 1 rp-1"
    )
    assert known.task().last_day == Calendar().day(millis(at(2)))


def test_fixture_6_orders_on_both_sides_of_midnight_are_of_two_days_and_both_count():
    before, after = order("o1", when=at(1, "23:59:59")), order("o2", when=at(2, "00:00"))
    given(THREE, [claim(), before]).when(after).then("task.advanced 2", "issued 2 rp-2")


def test_fixture_7_a_day_that_starts_at_four_divides_orders_at_four():
    late_night = campaign(calendar={"day_start": "04:00"})
    known = given(late_night, [claim(), order("o1", when=at(2, "03:59"))])
    known.when(order("o2", when=at(2, "04:00"))).then("task.advanced 2", "issued 2 rp-2")


def test_fixture_9_a_claim_and_an_order_of_the_same_instant_the_order_counts():
    given(THREE, [claim(when=at(1, "10:00"))]).when(order("o1", when=at(1, "10:00"))).then(
        "task.advanced 1", "issued 1 rp-1"
    )


def test_fixture_10_an_order_before_the_claim_does_not_count():
    given(THREE, [claim(when=at(1, "10:00"))]).when(order("o1", when=at(1, "09:59"))).then(
        "order.ignored NO_TASK"
    )


def test_fixture_11_the_order_that_the_claim_names_counts_if_it_is_of_the_same_day():
    trigger = claim(when=at(1, "10:00"), trigger_order_id="o1")
    known = given(THREE, [order("o1", when=at(1, "09:59"))])
    known.when(trigger).then("task.claimed 1", "task.advanced 1", "issued 1 rp-1")


def test_fixture_11_the_order_that_the_claim_names_does_not_count_if_it_is_of_the_day_before():
    trigger = claim(day=2, trigger_order_id="o1")
    given(THREE, [order("o1")]).when(trigger).then("task.claimed 0")


def test_same_day_lookback_counts_all_orders_of_the_claims_day():
    same_day = campaign(window={"days": 10, "lookback": "same_day"}, qualify={"daily_cap": 2})
    known = given(same_day, [order("o1", when=at(1, "07:00")), order("o2", when=at(1, "07:30"))])
    known.when(claim()).then("task.claimed 2", "task.advanced 2", "issued 1 rp-1", "issued 2 rp-2")


def test_fixture_26_an_order_at_the_windows_end_is_outside_it():
    given(THREE, [claim()]).when(order("o9", when=at(11, "00:00"))).then("order.ignored NO_TASK")


def test_an_order_just_before_the_windows_end_is_inside_it():
    given(THREE, [claim()]).when(order("o9", when=at(10, "23:59:59"))).then(
        "task.advanced 1", "issued 1 rp-1"
    )


def test_an_in_window_order_recorded_within_the_grace_counts():
    recorded = at(11, "00:00") + timedelta(hours=48)
    given(THREE, [claim()]).when(order("o1", recorded=recorded)).then(
        "task.advanced 1", "issued 1 rp-1"
    )


def test_an_in_window_order_recorded_after_the_grace_is_late_and_pays_nothing():
    recorded = at(11, "00:00") + timedelta(hours=48, seconds=1)
    given(THREE, [claim()]).when(order("o1", recorded=recorded)).then("order.ignored LATE")


def test_an_automatic_task_begins_with_the_first_order_that_would_count():
    auto = campaign(enrolment="auto")
    known = given(auto, [])
    known.when(order("o1", yuan=1)).then("order.ignored NO_TASK")
    known.when(order("o2")).then("task.claimed 1", "task.advanced 1", "issued 1 rp-1")
    assert known.task().start_ms == millis(at(2, "00:00"))


def test_fixture_41_every_n_orders_repeat_and_the_remainder_dies_with_the_window():
    rides = campaign(
        window={"mode": "every_n", "days": 10, "max_cycles": 2},
        features=["light_box"],
        step_rewards=[],
        entries=[],
    )
    known = given(rides, [claim()]).when(*(order(f"o{day}") for day in range(1, 8)))
    known.then("order.spare").standing("3 pts", "6 pts")


NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("clock", "day"),
    [("01:59:59", 8), ("03:00:00", 9), ("23:59:59", 9)],  # 02:30 does not exist on 9 March 2025
)
def test_fixture_8_a_day_start_that_the_clock_skips_is_the_first_instant_after_the_gap(clock, day):
    calendar = Calendar("America/New_York", 150)
    moment = datetime.fromisoformat(f"2025-03-09T{clock}").replace(tzinfo=NEW_YORK)
    expected = date(2025, 3, day).toordinal() - date(1970, 1, 1).toordinal()
    assert calendar.day(millis(moment)) == expected
    assert calendar.begins_ms(expected) <= millis(moment) < calendar.begins_ms(expected + 1)


def test_a_day_start_that_comes_twice_is_the_earlier():
    calendar = Calendar("America/New_York", 90)  # 01:30 comes twice on 2 November 2025
    day = date(2025, 11, 2).toordinal() - date(1970, 1, 1).toordinal()
    first = datetime(2025, 11, 2, 1, 30, tzinfo=NEW_YORK)
    second_pass_before = datetime(2025, 11, 2, 1, 10, tzinfo=NEW_YORK, fold=1)
    assert calendar.begins_ms(day) == millis(first)
    assert calendar.day(millis(second_pass_before)) == day


def test_a_23_hour_day_is_one_day():
    new_york = campaign(calendar={"time_zone": "America/New_York", "day_start": "02:30"})
    day = datetime(2026, 3, 8, 12, tzinfo=NEW_YORK)  # its day starts at 03:00
    known = given(new_york, [claim(when=day - timedelta(days=1)), order("o1", when=day)])
    early = datetime(2026, 3, 8, 3, 0, tzinfo=NEW_YORK)
    known.when(order("o2", when=early)).then("order.spare")


def test_an_automatic_task_looks_at_the_orders_of_its_first_day_that_came_before():
    """Found by comparison with the walk: an order amended upwards counts once a task begins."""
    auto = campaign(enrolment="auto", qualify={"daily_cap": 0})
    small = order("o1", yuan=10)
    amended = order("o1", yuan=20, version=2, status="amended", when=at(1, "12:30"))
    known = given(auto, [small, amended])
    known.when(order("o2", when=at(1, "13:00"))).then(
        "task.claimed 2", "task.advanced 2", "issued 1 rp-1", "issued 2 rp-2"
    )


def test_two_parts_that_disagree_about_the_window_begin_nothing():
    """A walk that looked for a window both parts agree on never ended on this history."""
    auto = campaign(
        enrolment="auto",
        window={"days": 2},
        target={"orders": 2},
        expiry={"grace_hours": 24},
        step_rewards=[],
    )
    slow = order("o1", when=at(1), recorded=at(4), parent_order_id="p")
    known = given(auto, [slow]).when(order("o3", when=at(3), parent_order_id="p")).then()
    assert known.state.tasks == ()

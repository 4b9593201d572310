"""Notices: sent once, in time, out of quiet hours, and only if still true when they are sent."""

from __future__ import annotations

import pytest

from streams.domain.days import HOUR_MS, Calendar
from streams.domain.features import Quiet, Reminder
from streams.domain.ids import draw_id
from streams.domain.notices import send_from_ms
from tests.builders import at, campaign, cancel, claim, millis, order, pool, result, tick
from tests.given import given

THREE = campaign()  # claimed on day 1, over at the start of day 11
CLAIMED = [claim()]
TWO = [*CLAIMED, order("o1"), order("o2")]


def reminders(*kinds_and_hours):
    return tuple(Reminder(kind, hours * HOUR_MS) for kind, hours in kinds_and_hours)


EXPIRING = {"reminders": reminders(("task_expiring", 15))}  # 09:00 of day 10
ONE_LEFT = {"reminders": reminders(("one_order_left", 15))}
AT_23 = {"reminders": reminders(("task_expiring", 25))}  # 23:00 of day 9: sent at 08:00 of day 10
ISSUED = {"reminders": reminders(("reward_issued", 0))}
WORN = {"reminders": reminders(("reward_expiring", 24))}


def test_a_task_about_to_expire_is_announced_once():
    known = given(THREE, CLAIMED, **EXPIRING)
    known.when(tick(10, "08:59")).then()
    known.when(tick(10, "09:00")).then("notice task_expiring 09:00")
    known.when(tick(10, "10:00")).then()


def test_the_notice_names_the_task_and_both_its_times():
    known = given(THREE, CLAIMED, **AT_23).when(tick(10, "08:03"))
    body = known.outputs[0].body
    assert body["object_id"] == known.task().task_id
    assert (body["due"], body["send_from"], body["occurred_at"]) == (
        "2026-03-10T23:00:00+08:00", "2026-03-11T08:00:00+08:00", "2026-03-11T08:00:00+08:00",
    )  # fmt: skip


def test_a_notice_due_in_quiet_hours_is_sent_at_their_end():
    known = given(THREE, CLAIMED, **AT_23)
    known.when(tick(10, "07:59")).then()
    known.when(tick(10, "08:00")).then("notice task_expiring 08:00")


def test_fixture_42_a_notice_due_at_23_of_a_task_completed_at_7_is_not_sent():
    known = given(THREE, [*TWO, tick(9, "23:00"), order("o10", when=at(10, "07:00"))], **AT_23)
    known.when(tick(10, "08:00")).then()


def test_a_notice_a_day_overdue_is_dropped():
    early = {"reminders": reminders(("task_expiring", 63))}  # 09:00 of day 8
    given(THREE, CLAIMED, **early).when(tick(9, "09:00")).then()
    given(THREE, CLAIMED, **early).when(tick(9, "08:59")).then("notice task_expiring 09:00")


def test_a_notice_of_an_end_that_the_tick_has_passed_is_not_sent():
    given(THREE, CLAIMED, **EXPIRING).when(tick(11)).then("task.expired 0")


def test_one_order_left_is_said_when_just_one_is():
    given(THREE, TWO, **ONE_LEFT).when(tick(10, "09:00")).then("notice one_order_left 09:00")
    given(THREE, TWO[:2], **ONE_LEFT).when(tick(10, "09:00")).then()


def test_a_dark_box_is_never_told_that_one_order_is_left():
    dark = campaign(features=["dark_box"], entries=[], step_rewards=None)
    given(dark, TWO, **ONE_LEFT).when(tick(10, "09:00")).then()


def test_a_reminder_due_before_the_task_began_is_not_sent():
    before = {"reminders": reminders(("task_expiring", 240))}  # the start of day 1
    given(THREE, CLAIMED, **before).when(tick(1, "09:00")).then()


def test_a_reward_is_announced_as_it_is_issued():
    given(THREE, CLAIMED, **ISSUED).when(order("o1")).then(
        "task.advanced 1", "issued 1 rp-1", "notice reward_issued 12:00"
    )


def test_a_reward_issued_at_night_is_announced_in_the_morning_if_it_still_stands():
    night = [*CLAIMED, order("o1", when=at(2, "22:00"))]
    known = given(THREE, night, **ISSUED)
    known.when(tick(3, "07:59")).then()
    known.when(tick(3, "08:00")).then("notice reward_issued 08:00")
    revoked = cancel("o1", when=at(2, "22:30"))
    given(THREE, [*night, revoked], **ISSUED).when(tick(3, "08:00")).then()


def test_a_reward_that_comes_back_is_not_announced_again():
    again = given(THREE, [*CLAIMED, order("o1"), cancel("o1", day=2)], **ISSUED)
    again.when(order("o3")).then("task.advanced 1", "issued 1 rp-1 seq=3")


def test_a_reward_about_to_lapse_is_announced_unless_it_was_spent():
    known = given(THREE, [*CLAIMED, order("o1")], **WORN)  # valid to noon of day 31
    spent = result(known.reward_id("1", "rp-1"), "spent")
    on_the_way = ["task.expired 1"]
    given(THREE, [*CLAIMED, order("o1")], **WORN).when(tick(30, "12:00")).then(
        *on_the_way, "notice reward_expiring 12:00"
    )
    known.when(spent).when(tick(30, "12:00")).then(*on_the_way)


@pytest.mark.parametrize(
    ("clock", "sent"),
    [("21:59", "21:59"), ("22:00", "08:00"), ("07:59", "08:00"), ("08:00", "08:00")],
)
def test_quiet_hours_span_midnight(clock, sent):
    moved = send_from_ms(millis(at(3, clock)), Calendar(), Quiet())
    assert Calendar().text(moved)[11:16] == sent


def test_quiet_hours_of_one_morning_and_none_at_all():
    early = Quiet(60, 120)  # 01:00 to 02:00
    assert send_from_ms(millis(at(3, "01:30")), Calendar(), early) == millis(at(3, "02:00"))
    assert send_from_ms(millis(at(3, "02:30")), Calendar(), early) == millis(at(3, "02:30"))
    assert send_from_ms(millis(at(3, "01:30")), Calendar(), Quiet(60, 60)) == millis(at(3, "01:30"))


def test_quiet_hours_that_end_in_a_gap_of_the_clock_end_behind_it():
    new_york = Calendar("America/New_York")  # 2026-03-08: 02:00 becomes 03:00
    moved = send_from_ms(1_772_951_400_000, new_york, Quiet(0, 150))  # 01:30 EST; to 02:30
    assert new_york.text(moved) == "2026-03-08T03:00:00-04:00"


SPIN = campaign(
    features=["light_box", "full_link", "lottery"],
    lottery={"pool_id": "wheel", "odds_version": 1, "chances": [{"step": 1, "count": 2}]},
    claim={"opens_at": "2026-03-01T00:00:00+08:00", "closes_at": "2026-03-10T00:00:00+08:00"},
)


def test_chances_that_end_with_their_pool_are_announced_while_they_are_undrawn():
    wheel = pool(closes_at="2026-03-21T00:00:00+08:00")  # the start of day 20
    ending = {"reminders": reminders(("chance_expiring", 15))}
    known = given([wheel, SPIN], [*CLAIMED, order("o1"), tick(11)], **ending)
    known.when(tick(19, "09:00")).then(*["notice chance_expiring 09:00"] * 2)
    objects = [output.body["object_id"] for output in known.outputs]
    assert objects == [draw_id(known.task().task_id, label) for label in ("1", "1#2")]
    known.when(tick(19, "10:00")).then()

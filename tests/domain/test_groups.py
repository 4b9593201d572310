"""P5: which task of a group an order serves, and what pins it there."""

from __future__ import annotations

import pytest

from tests.asking import PRIZE, answer, asked, draw, lottery, user, wheel
from tests.builders import at, campaign, cancel, claim, order, result
from tests.given import given, registry


def member(campaign_id: str, **fields):
    """A campaign of the group: three orders, a reward at the first step and at the end."""
    right = {"right_id": f"r-{campaign_id}", "type": "coupon", "value_minor": 100}
    default = {
        "campaign_id": campaign_id,
        "exclusion_group": "veg",
        "step_rewards": [{"step": 1, "right": right}],
    }
    return campaign(**{**default, **fields})


def claims(*campaign_ids: str, **fields):
    return [claim(f"k-{id_}", campaign_id=id_, **fields) for id_ in campaign_ids]


def counts(known):
    return {task.campaign_id: task.counted for task in known.state.tasks}


def test_fixture_12_of_a_group_only_the_task_of_higher_priority_has_the_order():
    two = [member("a"), member("b", priority=1)]
    known = given(two, claims("a", "b")).when(order("o1"))
    known.then("order.ignored LOST_GROUP", "task.advanced 1", "issued 1 r-b")
    assert counts(known) == {"a": 0, "b": 1}


def test_fixture_12_without_a_group_both_have_it():
    two = [member("a", exclusion_group=None), member("b", exclusion_group=None)]
    known = given(two, claims("a", "b")).when(order("o1"))
    assert counts(known) == {"a": 1, "b": 1}


def test_groups_of_other_names_do_not_meet():
    known = given([member("a"), member("b", exclusion_group="fish")], claims("a", "b"))
    assert counts(known.when(order("o1"))) == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("other", "asked"),
    [
        pytest.param({"window": {"days": 9}}, claims("a", "b"), id="the-earlier-deadline"),
        pytest.param(
            {},
            [claim("k-a", when=at(1, "09:00"), campaign_id="a"), *claims("b")],
            id="the-earlier-claim",
        ),
    ],
)
def test_of_equal_priority_the_more_pressing_task_has_it(other, asked):
    known = given([member("a"), member("b", **other)], asked).when(order("o1"))
    assert counts(known) == {"a": 0, "b": 1}


def test_all_else_equal_the_smaller_task_id_has_it():
    known = given([member("a"), member("b")], claims("a", "b")).when(order("o1"))
    first = min(known.state.tasks, key=lambda task: task.task_id)
    assert [t.campaign_id for t in known.state.tasks if t.counted] == [first.campaign_id]


def test_what_the_first_cannot_count_now_goes_to_the_next():
    known = given([member("a"), member("b", priority=1)], claims("a", "b"))
    known.when(order("o1", when=at(1, "10:00"))).when(order("o2", when=at(1, "11:00")))
    known.then("order.ignored LOST_GROUP", "task.advanced 1", "issued 1 r-a")


def test_what_nobody_can_count_is_a_spare_of_the_first():
    known = given([member("a"), member("b", priority=1)], claims("a", "b"))
    known.when(*(order(f"o{n}", when=at(1, f"1{n}:00")) for n in (1, 2, 3)))
    known.then("order.ignored LOST_GROUP", "order.spare")
    assert counts(known) == {"a": 1, "b": 1}


def test_an_order_that_does_not_qualify_for_the_first_goes_to_the_next():
    dear = member("b", priority=1, qualify={"min_amount_minor": 9000})
    known = given([member("a"), dear], claims("a", "b")).when(order("o1"))
    known.then("order.ignored MIN_AMOUNT", "task.advanced 1", "issued 1 r-a")


def test_an_order_that_was_paid_for_stays_when_a_preferred_task_is_read_later():
    known = given([member("a"), member("b", priority=1)], [*claims("a"), order("o1")])
    known.when(*claims("b")).then("task.claimed 0", "order.ignored LOST_GROUP")
    known.standing("1 r-a")


def test_an_order_that_was_not_paid_for_goes_to_the_preferred_task():
    unpaid = member("a", step_rewards=[])
    known = given([unpaid, member("b", priority=1)], [*claims("a"), order("o1")])
    known.when(*claims("b"))
    known.then(
        "task.regressed 0",
        "order.ignored LOST_GROUP",
        "task.claimed 1",
        "task.advanced 1",
        "issued 1 r-b",
    )


def test_all_orders_up_to_a_paid_step_are_pinned():
    at_the_end = member("a", step_rewards=[])
    done = [*claims("a"), order("o1"), order("o2"), order("o3")]
    known = given([at_the_end, member("b", priority=1)], done).standing("3 pts")
    known.when(*claims("b"))
    assert counts(known) == {"a": 3, "b": 0}
    known.standing("3 pts")


def test_the_prize_of_a_final_chance_pins_every_order_that_was_counted():
    target = {"orders": 1, "amount_minor": 10_000, "match": "all"}
    won = lottery(member("a", target=target, step_rewards=[], final_rewards=[]), ("final", 1))
    preferred = member("b", priority=1)
    known = user(registry(wheel(), won, preferred), *claims("a"), order("o1"), order("o2"))
    known.when(draw(known, "1"))
    known.when(answer(asked(known)[0], "drawn", PRIZE)).then("issued 1 rp-100")
    known.when(*claims("b"))
    assert counts(known) == {"a": 2, "b": 0}


def test_a_pinned_order_that_no_longer_qualifies_there_is_free():
    dear = member("a", priority=1, qualify={"min_amount_minor": 3000})
    bought = order("o1", lines=[(2, 2000)])
    known = given([dear, member("b")], [*claims("a", "b"), bought])
    assert counts(known) == {"a": 1, "b": 0}
    amended = order("o1", version=2, status="amended", yuan=20, when=at(2))
    known.when(amended)
    known.then(
        "task.regressed 0",
        "order.ignored MIN_AMOUNT",
        "revoked 1 r-a",
        "task.advanced 1",
        "issued 1 r-b",
    )


def test_a_cancelled_order_is_replaced_by_one_that_another_task_had_not_been_paid_for():
    known = given(
        [member("a", step_rewards=[]), member("b", priority=1)],
        [*claims("a", "b"), order("o1", when=at(1, "10:00")), order("o2", when=at(1, "11:00"))],
    )
    assert counts(known) == {"a": 1, "b": 1}
    known.when(cancel("o1", day=2))
    assert counts(known) == {"a": 0, "b": 1}
    known.standing("1 r-b")


def test_a_claim_is_judged_by_where_its_orders_were_then():
    one = {"target": {"orders": 1}, "window": {"lookback": "same_day"}}
    rounds = {"rounds": {"max": 2, "cool_down_days": 0}}
    known = given(
        [member("a", **one, **rounds), member("b", priority=1, **one)],
        [*claims("a"), order("o1"), claim("k-2", day=2, campaign_id="a")],
    )
    assert known.task().round == 2
    known.when(*claims("b"))  # o1 was paid for, so it stays, and with it the second round
    assert counts(known) == {"a": 0, "b": 0}
    assert [task.counted for task in known.state.tasks] == [1, 0, 0]


def test_of_tasks_that_would_begin_by_themselves_the_one_that_gets_the_order_does():
    auto = {"enrolment": "auto"}
    known = given([member("a", **auto), member("b", priority=1, **auto)], [])
    known.when(order("o1")).then("task.claimed 1", "task.advanced 1", "issued 1 r-b")
    known.when(order("o2", when=at(1, "13:00")))  # a second one of that day is of no use to b
    known.then(
        "order.ignored LOST_GROUP",  # o2, to b
        "task.claimed 1",
        "order.ignored LOST_GROUP",  # o1, of the day on which a begins
        "task.advanced 1",
        "issued 1 r-a",
    )


def test_an_order_begins_no_task_of_a_group_that_would_not_count_it():
    """As each would run: b's other order of the day is not a's because a might have begun."""
    auto = {"enrolment": "auto", "audience": {"segments_any": ["new"]}}
    known = given([member("a", **auto), member("b", priority=1, **auto)], [order("o1")])
    fits = {"context": {"segments": ["new"]}}
    known.when(order("o2", when=at(1, "13:00"), **fits)).then("order.ignored NO_TASK")
    known.when(order("o3", day=2, **fits)).then("task.claimed 1", "task.advanced 1", "issued 1 r-b")


def test_an_order_that_came_after_the_reward_was_taken_back_is_not_pinned():
    done = [*claims("a"), order("o1"), order("o2"), order("o3")]
    gone = [cancel("o1", day=4, id="c1"), cancel("o2", day=4, id="c2")]
    two = [member("a", step_rewards=[]), member("b", priority=1)]
    known = given(two, [*done, *gone, order("o4", day=5)]).standing()
    assert counts(known) == {"a": 2}
    known.when(*claims("b"))
    assert counts(known) == {"a": 1, "b": 1}  # o3 was paid for, o4 never was


def test_an_order_that_came_after_the_reward_lapsed_is_not_pinned():
    done = [*claims("a"), order("o1"), order("o2"), order("o3")]
    two = [member("a", step_rewards=[]), member("b", priority=1)]
    known = given(two, done)
    known.when(result(known.reward_id("3", "pts"), "expired")).then("lapsed 3 pts 500")
    known.when(cancel("o1", day=4), order("o4", day=5))
    assert counts(known) == {"a": 3}
    known.when(*claims("b"))
    assert counts(known) == {"a": 2, "b": 1}  # o4 completes the task, and is paid nothing


def test_an_order_paid_for_in_two_rounds_stays_with_the_first_when_the_second_is_gone():
    auto = {"enrolment": "auto", "target": {"orders": 1}, "step_rewards": []}
    fixed = {"window": {"mode": "fixed", "days": 7, "first_day": "2026-03-01"}}
    two = [member("a", **auto, **fixed, rounds={"max": 2}), member("b", **auto, window={"days": 3})]
    known = given(two, [order("o1", day=5)])
    known.when(order("o2", day=3))  # of b, whose deadline is earlier
    known.when(order("o3", day=4))  # of round 1, so that o1 begins round 2
    assert [(t.campaign_id, t.round, t.counted) for t in known.state.tasks] == [
        ("a", 1, 1), ("a", 2, 1), ("b", 1, 1),
    ]  # fmt: skip
    known.when(cancel("o2", when=at(4, "23:00")))  # o3 is of b then, and there is no round 2
    assert counts(known) == {"a": 1, "b": 0}


def two_by_status(**fields):
    """a counts an order from when it is placed, b begins by itself once one is paid."""
    placed = {"qualify": {"on": "placed"}, **fields}
    return [member("a", **placed), member("b", enrolment="auto", priority=1)]


PLACED = order("o1", when=at(1, "10:00"), status="placed")
PAID = order("o1", when=at(1, "11:00"), version=2)


def test_an_order_that_serves_one_task_begins_a_preferred_one_when_it_comes_so_far():
    known = given(two_by_status(step_rewards=[]), [*claims("a"), PLACED])
    assert counts(known) == {"a": 1}
    known.when(PAID)
    assert counts(known) == {"a": 0, "b": 1}
    known.standing("1 r-b")


def test_an_order_that_was_paid_for_begins_no_other_when_it_comes_so_far():
    known = given(two_by_status(), [*claims("a"), PLACED]).standing("1 r-a")
    known.when(PAID)
    assert counts(known) == {"a": 1}


def test_an_order_given_out_of_its_times_keeps_the_cap_of_its_day():
    claimed = [claim("k-b", campaign_id="b"), *claims("a")]
    two = [
        member("a", qualify={"on": "placed"}, step_rewards=[]),
        member("b", priority=1, step_rewards=[]),
    ]
    known = given(two, [*claimed, order("o1", when=at(1, "09:00"), status="placed")])
    known.when(order("o1", when=at(2, "12:00"), version=2))  # of b, on day 2
    known.when(order("o2", when=at(1, "10:00")), order("o3", when=at(1, "11:00")))
    known.when(order("o4", when=at(2, "13:00")))
    assert counts(known) == {"a": 2, "b": 2}  # b: o2 and o1, one a day

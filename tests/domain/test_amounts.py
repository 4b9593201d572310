"""Targets by amount, and what is banked for the final reward."""

from __future__ import annotations

import pytest

from streams.domain.sample import sample
from tests.builders import at, campaign, cancel, claim, order, refund, result
from tests.given import given

BOX = {"features": ["light_box"], "entries": [], "step_rewards": []}
BANKED = [{"right_id": "bank", "type": "red_packet", "value": "saved_amount"}]


def asked(orders: int, amount_minor: int, match: str = "all", **fields):
    target = {"orders": orders, "amount_minor": amount_minor, "match": match}
    return campaign(**BOX, target=target, **fields)


def saving(**rule):
    return campaign(**BOX, saved=rule, final_rewards=BANKED)


def test_fixture_18_one_order_that_meets_both_targets_completes_once():
    known = given(asked(2, 9000), [claim(), order("o1", yuan=40)])
    known.when(order("o2", yuan=50)).then("task.advanced 2", "task.completed 2", "issued 2 pts")


def test_orders_count_on_past_the_target_until_the_amount_is_met():
    known = given(asked(2, 20_000), [claim(), order("o1"), order("o2")])
    known.when(order("o3")).then("task.advanced 3")
    known.when(order("o4")).then("task.advanced 4", "task.completed 4", "issued 2 pts")
    known.when(order("o5")).then("order.spare")
    assert known.task().accumulated_minor == 20_000


def test_any_of_the_two_is_enough_where_the_campaign_says_so():
    known = given(asked(3, 9000, "any"), [claim()])
    known.when(order("o1", yuan=90)).then("task.advanced 1", "task.completed 1", "issued 3 pts")
    slow = given(asked(3, 90_000, "any"), [claim(), order("o1"), order("o2")])
    slow.when(order("o3")).then("task.advanced 3", "task.completed 3", "issued 3 pts")


def test_a_refund_below_the_amount_takes_the_final_reward_until_another_order_comes():
    bought = order("o2", lines=[(1, 4000), (1, 2000)])
    known = given(asked(2, 10_000), [claim(), order("o1"), bought])
    known.standing("2 pts")
    known.when(refund("o2", {"2": 1}, day=3))
    known.then("task.regressed 2", "task.reopened 2", "revoked 2 pts")
    known.when(order("o4")).then("task.advanced 3", "task.completed 3", "issued 2 pts seq=3")


def test_what_is_summed_is_consumption_though_the_minimum_goes_by_goods():
    by_goods = asked(1, 5000, qualify={"basis": "goods"})
    known = given(by_goods, [claim()])
    known.when(order("o1", yuan=50, discounts=[("voucher", 1, 0)])).then("task.advanced 1")
    assert known.task().accumulated_minor == 4999


def test_the_view_says_how_much_is_asked_for_and_missing():
    known = given(asked(2, 20_000), [claim()]).when(order("o1"))
    view = known.outputs[0].body["view"]
    assert (view["accumulated_minor"], view["remaining"]) == (5000, 1)
    assert (view["target_amount_minor"], view["remaining_amount_minor"]) == (20_000, 15_000)


@pytest.mark.parametrize(
    ("rule", "banked"),
    [
        ({"rule": "fixed", "value_minor": 30}, 90),
        ({"rule": "percent", "bp": 333, "cap_minor": 1000}, 166 + 166 + 66),
        ({"rule": "percent", "bp": 333, "cap_minor": 200}, 200),
        ({"rule": "table", "table": [10, 20]}, 10 + 20 + 20),
    ],
)
def test_each_counted_order_banks_and_the_final_reward_is_worth_the_sum(rule, banked):
    bought = [order("o1"), order("o2")]
    known = given(saving(**rule), [claim(), *bought]).when(order("o3", yuan=20))
    known.then("task.advanced 3", "task.completed 3", "issued 3 bank")
    assert known.outputs[-1].body["amount_minor"] == banked
    assert known.outputs[0].body["view"]["saved_minor"] == banked


def test_random_savings_are_drawn_from_task_and_step_so_anybody_can_compute_them_again():
    rule = {"rule": "random", "min_minor": 5, "max_minor": 95, "cap_minor": 1000}
    known = given(saving(**rule), [claim(), order("o1"), order("o2")])
    lines = ("leidan/saved/1", known.task().task_id)
    parts = [5 + sample(None, (*lines, step), 91)[0] for step in ("1", "2")]
    assert known.task().saved_minor == sum(parts)
    assert all(5 <= part <= 95 for part in parts)


def test_each_cycle_banks_for_its_own_final_reward():
    cycles = campaign(
        **BOX,
        window={"mode": "every_n", "days": 10, "max_cycles": 2},
        target={"orders": 2},
        saved={"rule": "table", "table": [10, 70]},
        final_rewards=BANKED,
    )
    known = given(cycles, [claim(), order("o1"), order("o2"), order("o3")])
    assert known.task().saved_minor == 10
    known.when(order("o4")).then("task.advanced 4", "task.completed 4", "issued 4 bank")
    assert known.outputs[-1].body["amount_minor"] == 80


PERCENT = {"rule": "percent", "bp": 1000, "cap_minor": 5000}
RETURNABLE = order("o2", lines=[(1, 3000), (1, 2000)])
SAVED = [claim(), order("o1"), RETURNABLE, order("o3")]


def test_what_is_banked_of_an_order_follows_its_refunds():
    known = given(saving(**PERCENT), [claim(), order("o1"), RETURNABLE])
    known.when(refund("o2", {"2": 1}, day=3)).then("task.regressed 2")
    assert known.task().saved_minor == 500 + 300


def test_a_reward_whose_saved_amount_changes_is_revoked_and_issued_anew():
    known = given(saving(**PERCENT), SAVED).when(refund("o2", {"2": 1}, day=4))
    known.then("task.regressed 3", "revoked 3 bank", "issued 3 bank seq=3")
    assert known.outputs[-1].body["amount_minor"] == 1300


def test_a_spent_reward_worth_less_now_is_owed_by_the_difference():
    known = given(saving(**PERCENT), SAVED)
    known.when(result(known.reward_id("3", "bank"), "spent", day=4))
    known.when(refund("o2", {"2": 1}, day=5)).then("task.regressed 3", "owed 3 bank 200")
    assert known.state.owed_minor == 200


def test_a_spent_reward_worth_more_now_is_left_as_it_is():
    cheap = order("o2", yuan=20)
    known = given(saving(**PERCENT), [claim(), order("o1"), cheap, order("o3")])
    known.when(result(known.reward_id("3", "bank"), "spent", day=4))
    dearer = order("o2", version=2, status="amended", yuan=50, when=at(5))
    known.when(dearer).then("task.advanced 3")
    assert known.state.owed_minor == 0


def test_savings_of_a_target_that_is_not_met_are_never_paid():
    known = given(saving(**PERCENT), SAVED[:3])
    known.when(cancel("o1", day=4)).then("task.regressed 1")
    known.standing()
    assert known.task().saved_minor == 500


def test_a_dark_box_shows_what_was_spent_and_banked_and_not_what_for():
    dark = campaign(**{**BOX, "features": ["dark_box"]}, saved=PERCENT, final_rewards=BANKED)
    known = given(dark, [claim()]).when(order("o1"))
    view = known.outputs[0].body["view"]
    assert (view["accumulated_minor"], view["saved_minor"]) == (5000, 500)
    assert view.keys().isdisjoint({"target", "remaining", "target_amount_minor"})

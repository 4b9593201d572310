"""Which orders count: amounts, filters, one a day, spares, duplicates and conflicts."""

from __future__ import annotations

from streams.domain.fold import Outcome
from tests.builders import at, campaign, claim, order
from tests.given import given

THREE = campaign()
CLAIMED = [claim()]


def test_an_order_that_counts_advances_the_task_and_issues_its_step():
    given(THREE, CLAIMED).when(order("o1")).then("task.advanced 1", "issued 1 rp-1")


def test_fixture_19_the_third_order_issues_the_step_and_the_final_reward():
    given(THREE, [*CLAIMED, order("o1"), order("o2")]).when(order("o3")).then(
        "task.advanced 3", "task.completed 3", "issued 3 c-3", "issued 3 pts"
    )


def test_an_order_past_the_target_is_spare():
    done = [*CLAIMED, order("o1"), order("o2"), order("o3")]
    given(THREE, done).when(order("o4")).then("order.spare")


def test_a_second_order_of_the_day_is_spare():
    given(THREE, [*CLAIMED, order("o1")]).when(order("o2", when=at(1, "13:00"))).then("order.spare")


def test_without_a_cap_every_order_of_a_day_counts():
    free = campaign(qualify={"daily_cap": 0})
    given(free, [*CLAIMED, order("o1")]).when(order("o2", when=at(1, "13:00"))).then(
        "task.advanced 2", "issued 2 rp-2"
    )


def test_an_order_below_the_minimum_does_not_count():
    given(THREE, CLAIMED).when(order("o1", yuan=14)).then("order.ignored MIN_AMOUNT")


def test_the_minimum_is_judged_after_discounts():
    cheaper = order("o1", yuan=16, discounts=[("voucher", 101, 0)])
    given(THREE, CLAIMED).when(cheaper).then("order.ignored MIN_AMOUNT")


def test_the_minimum_may_be_judged_on_goods():
    goods = campaign(qualify={"basis": "goods"})
    cheaper = order("o1", yuan=16, discounts=[("voucher", 101, 0)])
    given(goods, CLAIMED).when(cheaper).then("task.advanced 1", "issued 1 rp-1")


def test_an_order_in_another_currency_does_not_count():
    given(THREE, CLAIMED).when(order("o1", currency="USD")).then("order.ignored CURRENCY")


def test_only_lines_of_the_categories_asked_for_enter_the_amount():
    no_cards = campaign(qualify={"categories": {"exclude": ["card"]}})
    given(no_cards, CLAIMED).when(order("o1", category="card")).then("order.ignored CATEGORY")


def test_channel_and_store_must_be_among_those_asked_for():
    app_only = campaign(qualify={"channels": {"include": ["app"]}, "stores": {"exclude": ["s9"]}})
    known = given(app_only, CLAIMED)
    known.when(order("o1", channel="web")).then("order.ignored CHANNEL")
    known.when(order("o2", channel="app", store_id="s9")).then("order.ignored STORE")
    known.when(order("o3", channel="app")).then("task.advanced 1", "issued 1 rp-1")


def test_fixture_4_sub_orders_of_one_checkout_are_one_order_and_their_amounts_are_summed():
    parts = [order(f"o{i}", when=at(1), yuan=6, parent_order_id="p") for i in (1, 2)]
    known = given(THREE, [*CLAIMED, *parts])
    third = order("o3", when=at(1, "12:01"), yuan=6, parent_order_id="p")
    known.when(third).then("task.advanced 1", "issued 1 rp-1")


def test_fixture_35_an_order_sent_fifty_times_counts_once():
    known = given(THREE, CLAIMED).when(order("o1"))
    for _ in range(50):
        known.when(order("o1")).then()
        assert known.outcome == Outcome.DUPLICATE
    assert known.task().counted == 1


def test_fixture_35_the_same_order_with_another_amount_is_a_conflict_and_changes_nothing():
    known = given(THREE, [*CLAIMED, order("o1")])
    before = known.state
    known.when(order("o1", yuan=70)).then()
    assert known.outcome == Outcome.CONFLICT
    assert known.state == before


def test_a_higher_version_is_the_content():
    known = given(THREE, [*CLAIMED, order("o1")])
    known.when(order("o1", version=2, yuan=10, status="amended", when=at(1, "12:30"))).then(
        "task.regressed 0", "order.ignored MIN_AMOUNT", "revoked 1 rp-1"
    )


def test_one_order_serves_every_campaign_that_holds_it():
    two = [THREE, campaign(campaign_id="other")]
    known = given(two, [claim(), claim("k2", campaign_id="other")])
    known.when(order("o1")).then(
        "task.advanced 1", "task.advanced 1", "issued 1 rp-1", "issued 1 rp-1"
    )


def test_a_dark_box_shows_neither_target_nor_what_remains():
    dark = campaign(features=["dark_box"], step_rewards=[], entries=[])
    known = given(dark, CLAIMED).when(order("o1"))
    (advanced,) = known.outputs
    assert advanced.body["view"].keys() == {
        "state",
        "counted",
        "accumulated_minor",
        "saved_minor",
        "deadline",
    }


def test_a_late_record_is_folded_where_it_belongs():
    known = given(THREE, [*CLAIMED, order("o2"), order("o3")])
    known.when(order("o1")).then(
        "task.advanced 3", "task.completed 3", "issued 3 c-3", "issued 3 pts"
    )
    assert known.outcome == Outcome.LATE


def test_a_task_keeps_the_version_it_was_claimed_under():
    later = campaign(
        version=2,
        effective_from="2026-03-03T00:00:00+08:00",
        target={"orders": 1},
        step_rewards=[],
    )
    known = given([THREE, later], [*CLAIMED, order("o1"), order("o2")])
    assert known.task().campaign_version == 1
    known.when(order("o3")).then(
        "task.advanced 3", "task.completed 3", "issued 3 c-3", "issued 3 pts"
    )

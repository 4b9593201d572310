"""Hand-written cases for the set model: semantics.md 5 (E1 to E3) and section 10, by row."""

# Seeded dice, repeatable by design.
# ruff: noqa: S311, TID251

from __future__ import annotations

import itertools
import random

import pytest

from tests.models.definitions import Version
from tests.models.facts import instant_ms, unique
from tests.models.given import (
    DAY_MS,
    THREE,
    USER,
    answer,
    at,
    auto,
    campaign,
    cancel,
    claim,
    counted,
    every_n,
    labels,
    order,
    refund,
    state,
    withdraw,
)
from tests.models.ids import task_id
from tests.models.refunds import allocate, amount_left, consumption_recomputed
from tests.models.users import earn

# -- refunds: E1 to E3 -----------------------------------------------------------------------------

E1 = {
    "lines": [(1, 6000), (1, 4000)],
    "discounts": [
        {"kind": "event", "amount_minor": 500},
        {"kind": "voucher", "amount_minor": 1000},
        {"kind": "full", "amount_minor": 1500},
    ],
}
E2 = {"lines": [(1, 3334), (1, 3333), (1, 3333)], "discounts": [{"amount_minor": 1000}]}
E3 = {
    "lines": [(6, 5000)],
    "discounts": [{"kind": "full", "amount_minor": 3000, "threshold_minor": 30000}],
}


def left(events: list[dict], **qualify: object) -> int | None:
    facts = unique(events)
    content = next(e for e in events if e["type"].startswith("order.paid"))
    return amount_left(facts, Version(campaign(qualify=qualify)), 10**15, content)


def test_e1_refunds_share_the_discounts_and_sum_to_the_consumption():
    bought = order("o", **E1)
    assert allocate([6000, 4000], 7000) == [4200, 2800]
    assert left([bought]) == 7000
    assert left([bought, refund("o", {"1": 1})]) == 7000 - 4200
    assert left([bought, refund("o", {"2": 1})]) == 7000 - 2800
    assert left([bought, refund("o", {"1": 1, "2": 1})]) is None  # all back = cancelled


def test_e2_missing_minor_units_go_to_the_largest_remainders():
    assert allocate([3334, 3333, 3333], 9000) == [3000, 3000, 3000]
    assert left([order("o", **E2), refund("o", {"2": 1})]) == 6000
    assert allocate([1, 1, 1], 2) == [1, 1, 0]  # ties to the earlier line
    assert allocate([0, 0], 0) == [0, 0]


def test_e3_recompute_loses_discounts_below_their_threshold():
    events = [order("o", **E3), refund("o", {"1": 5})]
    assert left(events) == 4500
    assert left(events, refund_basis="recompute") == 5000
    assert left(events[:1], refund_basis="recompute") == 27000  # nothing came back: as bought


def test_recompute_shrinks_discounts_that_survive():
    content = order("o", lines=[(4, 1000)], discounts=[{"amount_minor": 333}])
    assert consumption_recomputed(content, 4000, 1000) == 1000 - 83  # floor(333 / 4)


def test_recompute_never_gives_back_less_than_nothing():
    lost = {"lines": [(10, 1000)], "discounts": [{"amount_minor": 3000, "threshold_minor": 10000}]}
    events = [order("o", **lost), refund("o", {"1": 1})]
    assert left(events, refund_basis="recompute") == 7000  # not 9000: C' is at most C
    both = order("o", lines=[(1, 1000), (1, 500)], discounts=[{"amount_minor": 300}])
    too_many = refund("o", {"1": 3})  # capped at one: a third of the goods and discounts is left
    assert left([both, too_many], refund_basis="recompute") == 400


def test_what_some_units_give_back_is_rounded_down():
    assert left([order("o", lines=[(3, 100)], discounts=[{"amount_minor": 200}])]) == 100
    events = [order("o", lines=[(3, 100)], discounts=[{"amount_minor": 200}])]
    assert left([*events, refund("o", {"1": 1})]) == 100 - 33


def test_units_of_one_line_add_up_over_refunds_and_are_capped_at_what_was_bought():
    bought = order("o", lines=[(3, 1000), (1, 500)])
    once, twice = refund("o", {"1": 2}, name="a"), refund("o", {"1": 2}, name="b")
    assert left([bought, once]) == 1500
    assert left([bought, once, twice]) == 500
    assert left([bought, refund("o", {"9": 1})]) == 3500  # a line nobody bought


def test_basis_goods_looks_at_prices_before_discounts():
    assert left([order("o", **E1), refund("o", {"1": 1})], basis="goods") == 4000


def test_only_matching_lines_enter_the_amount_and_one_must_be_left():
    bought = order("o", lines=[(1, 6000), (1, 4000)])
    bought["lines"][0]["category"] = "gift_card"
    assert left([bought], categories={"exclude": ["gift_card"]}) == 4000
    assert left([bought], categories={"include": ["gift_card"]}) == 6000
    assert left([bought, refund("o", {"1": 1})], categories={"include": ["gift_card"]}) is None


# -- fixtures of section 10 ------------------------------------------------------------------------


def test_01_an_order_counts_on_the_day_it_was_paid():
    events = [
        claim(),
        order("o1", 1, "23:50:00", kind="placed"),
        order("o1", 2, "00:10:00", version=2),
        order("o2", 1, "15:00:00"),
    ]
    assert counted(events) == 2  # two days; on one day one of them would be spare
    assert counted([*events[:1], events[1]]) == 0  # placed only


def test_02_an_order_counts_on_the_day_it_was_picked_up():
    by_pickup = campaign(qualify={"on": "fulfilled"})
    events = [claim(), order("o1", 1), order("o1", 2, kind="fulfilled", version=2)]
    assert counted([*events, order("o2", 1, kind="fulfilled")], by_pickup) == 2
    assert counted(events[:2], by_pickup) == 0


def test_03_a_cancelled_order_takes_its_step_back():
    events = [claim(), order("o1", 1)]
    assert labels(earn(USER, events, [campaign()])) == ["1"]
    assert labels(earn(USER, [*events, cancel("o1", 4)], [campaign()])) == []


SUBS = [order(f"s{n}", 1, f"12:00:0{n}", amount=700, parent_order_id="p") for n in (1, 2, 3)]


def test_04_a_checkout_of_three_suborders_is_one_order():
    assert counted([claim(), *SUBS]) == 1  # 7.00 each would never reach 15.00
    assert counted([claim(), *SUBS[:2]]) == 0


def test_05_a_checkout_less_one_suborder_counts_with_the_rest():
    big = [order(f"s{n}", 1, amount=900, parent_order_id="p") for n in (1, 2, 3)]
    assert counted([claim(), *big, cancel("s2", 2)]) == 1
    assert counted([claim(), *SUBS, cancel("s2", 2)]) == 0


def test_05_the_time_of_a_checkout_is_that_of_its_earliest_survivor():
    over_midnight = [
        order("s1", 1, "23:59:00", parent_order_id="p"),
        order("s2", 2, "00:01:00", parent_order_id="p"),
        order("o", 1, "15:00:00"),
    ]
    assert counted([claim(), *over_midnight]) == 1  # day 1 twice: the later one is spare
    assert counted([claim(), *over_midnight, cancel("s1", 3)]) == 2


def test_06_orders_around_midnight_are_two_days():
    assert counted([claim(), order("a", 1, "23:59:59"), order("b", 2, "00:00:00")]) == 2


def test_07_a_day_may_start_at_four():
    at_four = campaign(calendar={"time_zone": "Asia/Shanghai", "day_start": "04:00"})
    assert counted([claim(), order("a", 2, "03:59:00"), order("b", 2, "04:00:00")], at_four) == 2
    assert counted([claim(), order("a", 1, "12:00:00"), order("b", 2, "03:59:00")], at_four) == 1


def test_08_a_day_whose_start_is_in_a_gap_begins_right_after_it():
    berlin = Version(campaign(calendar={"time_zone": "Europe/Berlin", "day_start": "02:30"}))
    day = berlin.day(instant_ms("2026-03-29T12:00:00+02:00"))
    assert str(day) == "2026-03-29"
    assert berlin.begin_of(day) == instant_ms("2026-03-29T03:00:00+02:00")
    assert berlin.day(instant_ms("2026-03-29T01:59:59+01:00")) < day
    assert berlin.day(instant_ms("2026-03-30T02:29:59+02:00")) == day
    autumn = berlin.day(instant_ms("2026-10-25T12:00:00+01:00"))
    assert berlin.begin_of(autumn) == instant_ms("2026-10-25T02:30:00+02:00")  # the earlier


def test_09_an_order_at_the_claims_instant_counts():
    assert counted([claim(), order("o", 1, "10:00:00")]) == 1


def test_10_an_order_before_the_claim_does_not_count():
    assert counted([claim(), order("o", 1, "09:59:00")]) == 0


def test_11_the_trigger_order_counts_if_it_is_of_the_same_day():
    assert counted([claim(trigger_order_id="o"), order("o", 1, "09:59:00")]) == 1
    second_day = claim(day=2, trigger_order_id="o")
    assert counted([second_day, order("o", 1, "23:59:00")]) == 0


def test_11_lookback_may_take_all_of_the_day_or_none():
    events = [claim(trigger_order_id="o"), order("o", 1, "09:00:00"), order("q", 1, "08:00:00")]
    every_order = campaign(window={"days": 10, "lookback": "same_day"}, qualify={"daily_cap": 0})
    assert counted(events, every_order) == 2
    assert counted(events, campaign(window={"days": 10, "lookback": "none"})) == 0


def test_12_campaigns_without_a_group_both_count_the_order():
    events = [claim(), claim("k-2", campaign_id="d"), order("o", 1)]
    earned = earn(USER, events, [campaign(), campaign("d")])
    assert [task["counted"] for task in earned.tasks] == [1, 1]
    assert len(earned.rewards) == 2


def test_13_a_second_claim_names_the_active_task():
    first = task_id(USER, "c", 1)
    assert answer([claim(), claim("k-2", 2)], "k-1") == ("CLAIMED", first)
    assert answer([claim(), claim("k-2", 2)], "k-2") == ("ALREADY_ACTIVE", first)


def test_14_a_new_round_waits_for_the_cool_down():
    rounds = campaign(window={"days": 2}, rounds={"max": 2, "cool_down_days": 1})
    # Claimed on day 1, two days: ends when day 3 begins, cool until day 4 begins.
    assert answer([claim(), claim("k-2", 3, "23:59:59")], "k-2", rounds)[0] == "COOL_DOWN"
    second = task_id(USER, "c", 2)
    assert answer([claim(), claim("k-2", 4, "00:00:00")], "k-2", rounds) == ("CLAIMED", second)
    at_once = campaign(window={"days": 2}, rounds={"max": 2})
    assert answer([claim(), claim("k-2", 3, "00:00:00")], "k-2", at_once) == ("CLAIMED", second)
    third = [claim(), claim("k-2", 4), claim("k-3", 8)]
    assert answer(third, "k-3", rounds) == ("ROUNDS_USED", None)


def test_14_a_completed_round_cools_down_from_the_day_it_was_completed():
    rounds = campaign(rounds={"max": 2, "cool_down_days": 2})
    assert answer([*THREE, claim("k-2", 4, "23:59:59")], "k-2", rounds)[0] == "COOL_DOWN"
    assert answer([*THREE, claim("k-2", 5, "00:00:00")], "k-2", rounds)[0] == "CLAIMED"


def test_26_an_order_at_the_windows_end_is_ignored():
    assert counted([claim(), order("o", 10, "23:59:59")]) == 1
    assert counted([claim(), order("o", 11, "00:00:00")]) == 0


def test_27_an_expired_task_is_revived_by_what_is_recorded_within_grace():
    now = at(20)
    assert state(THREE[:3], now=now) == "expired"
    in_grace = order("o3", 10, came=at(13, "00:00:00"))  # end + 48 h to the second
    assert state([*THREE[:3], in_grace], now=now) == "completed"
    too_late = order("o3", 10, came=at(13, "00:00:01"))
    assert state([*THREE[:3], too_late], now=now) == "expired"


def test_28_the_spare_of_the_day_takes_the_step():
    events = [claim(), order("a", 1, "11:00:00"), order("b", 1, "12:00:00")]
    before = earn(USER, events, [campaign()])
    after = earn(USER, [*events, cancel("a")], [campaign()])
    assert before.tasks == after.tasks
    assert before.rewards == after.rewards


def test_29_the_highest_step_goes_whichever_order_was_cancelled():
    assert labels(earn(USER, THREE, [campaign()])) == ["1", "2", "3", "final@3"]
    assert labels(earn(USER, [*THREE, cancel("o2", 5)], [campaign()])) == ["1", "2"]


def test_32_a_cancellation_read_first_still_takes_its_order():
    assert counted([cancel("o1"), claim(), order("o1", 1)]) == 0


def test_32_a_tombstone_lives_sixty_days():
    long = campaign(window={"days": 100}, expiry={"grace_hours": 10_000})
    tombstone = cancel("o", 1, came=at(1))
    in_time, too_late = at(2, month=3), at(2, "12:00:01", month=3)  # 60 days after 1 January noon
    assert counted([claim(), tombstone, order("o", 2, came=in_time)], long) == 0
    assert counted([claim(), tombstone, order("o", 2, came=too_late)], long) == 1


def test_33_a_later_version_does_not_revive_a_cancelled_order():
    events = [claim(), order("o", 1), cancel("o"), order("o", 3, kind="fulfilled", version=2)]
    assert counted(events) == 0


def test_33_only_a_withdrawal_revives_an_order():
    events = [claim(), order("o", 1), cancel("o")]
    assert counted([*events, withdraw("x-o")]) == 1
    assert counted([*events, withdraw("x-other")]) == 0


@pytest.mark.parametrize(("minimum", "expected"), [(1500, 1), (2800, 1), (2801, 0), (3000, 0)])
def test_34_an_order_counts_while_the_rest_meets_the_minimum(minimum, expected):
    events = [claim(), order("o", 1, **E1), refund("o", {"1": 1})]
    assert counted(events, campaign(qualify={"min_amount_minor": minimum})) == expected


def test_35_one_order_sent_fifty_times_is_one_and_the_first_content_stays():
    events = [claim(), *[order("o", 1)] * 50, order("o", 1, amount=100)]
    assert counted(events) == 1
    assert counted([claim(), order("o", 1, amount=100), order("o", 1)]) == 0


def test_35_the_highest_version_is_the_content():
    assert (
        counted([claim(), order("o", 1), order("o", 2, kind="amended", version=2, amount=1)]) == 0
    )
    newest_first = [order("o", 1, version=3), order("o", 2, version=2, amount=1), claim()]
    assert counted(newest_first) == 1


def test_38_a_round_that_began_stays_when_the_one_before_falls_back():
    rounds = campaign(rounds={"max": 2})
    events = [*THREE, claim("k-2", 4), order("o4", 4, "15:00:00")]
    earned = earn(USER, [*events, cancel("o2", 5)], [rounds])
    assert [(t["round"], t["counted"], t["state"]) for t in earned.tasks] == [
        (1, 2, "expired"),
        (2, 1, "active"),
    ]
    assert labels(earned) == ["1", "1", "2"]


def test_38_a_cancellation_before_the_second_claim_leaves_the_first_round_active():
    rounds = campaign(rounds={"max": 2})
    events = [*THREE, cancel("o2", 3), claim("k-2", 4)]
    assert answer(events, "k-2", rounds) == ("ALREADY_ACTIVE", task_id(USER, "c", 1))


def test_41_every_n_pays_each_cycle_and_leaves_the_remainder():
    cycles = every_n(max_cycles=2)
    events = [claim(), *(order(f"o{n}", n) for n in range(1, 8))]
    earned = earn(USER, events, [cycles])
    assert labels(earned) == ["final@3", "final@6"]
    assert earned.tasks[0]["counted"] == 6  # the seventh is spare
    assert earn(USER, [*events, cancel("o1", 9)], [cycles]) == earned


# -- rules the table does not hold -----------------------------------------------------------------


def test_rounds_never_share_an_order():
    rounds = campaign(rounds={"max": 2}, qualify={"daily_cap": 0}, target={"orders": 1})
    rounds["step_rewards"] = []
    events = [
        claim(),
        order("o1", 1, "11:00:00"),
        order("o2", 1, "11:30:00"),  # spare of round 1, named as trigger of round 2
        claim("k-2", 1, "11:40:00", trigger_order_id="o2"),
        order("o3", 1, "11:50:00"),
    ]
    assert [t["counted"] for t in earn(USER, events, [rounds]).tasks] == [1, 1]
    cancelled = [*events, cancel("o1"), cancel("o3")]
    assert [t["counted"] for t in earn(USER, cancelled, [rounds]).tasks] == [1, 0]


def test_refusals_come_in_the_order_of_the_flow():
    limited = campaign(
        claim={"opens_at": at(2, "00:00:00"), "closes_at": at(5, "00:00:00")}, rounds={"max": 9}
    )
    assert answer([claim(campaign_id="no")], "k-1")[0] == "CAMPAIGN_UNKNOWN"
    assert answer([claim()], "k-1", limited)[0] == "CAMPAIGN_NOT_OPEN"
    assert answer([claim(day=2, entry="search")], "k-1", limited)[0] == "RULE_ENTRY"
    assert answer([claim(day=4)], "k-1", limited)[0] == "CLAIMED"
    assert answer([claim(day=5)], "k-1", limited)[0] == "CAMPAIGN_ENDED"


def test_a_fixed_window_is_the_same_for_everybody():
    fixed = campaign(window={"mode": "fixed", "first_day": "2026-01-03", "days": 2})
    (task,) = earn(USER, [claim(), *THREE[1:]], [fixed]).tasks
    assert (task["start"], task["end"]) == (
        instant_ms(at(3, "00:00:00")),
        instant_ms(at(5, "00:00:00")),
    )
    assert task["counted"] == 1
    assert answer([claim(day=5, clock="00:00:00")], "k-1", fixed)[0] == "CAMPAIGN_ENDED"


def test_a_trigger_order_before_a_fixed_window_does_not_count():
    fixed = campaign(window={"mode": "fixed", "first_day": "2026-01-03", "days": 2})
    assert counted([claim(trigger_order_id="o"), order("o", 1, "09:00:00")], fixed) == 0


def test_an_automatic_task_begins_with_the_first_order_that_would_count():
    (task,) = earn(USER, [order("a", 1, amount=10), order("b", 2)], [auto()]).tasks
    assert task["start"] == instant_ms(at(2, "00:00:00"))
    assert task["end"] == instant_ms(at(12, "00:00:00"))
    assert task["counted"] == 1
    assert earn(USER, [order("a", 1, amount=10)], [auto()]).tasks == []


def test_an_automatic_task_stays_when_its_order_is_cancelled():
    events = [order("a", 1), order("b", 5), cancel("a", 6)]
    (task,) = earn(USER, events, [auto()]).tasks
    assert task["end"] == instant_ms(at(11, "00:00:00"))  # the deadline never moves
    assert task["counted"] == 1
    assert earn(USER, [order("a", 3), cancel("a", 2)], [auto()]).tasks == []  # cancelled before


def test_an_automatic_round_begins_with_the_order_after_the_completion():
    twice = auto(rounds={"max": 2})
    events = [order(f"o{n}", n) for n in range(1, 6)]
    one, two = earn(USER, events, [twice]).tasks
    assert (one["counted"], one["state"]) == (3, "completed")
    assert (two["counted"], two["start"]) == (2, instant_ms(at(4)))
    after = earn(USER, [*events, cancel("o2", 9)], [twice]).tasks
    assert [(t["counted"], t["state"]) for t in after] == [(2, "expired"), (2, "active")]


def test_an_automatic_round_waits_for_the_cool_down():
    cooled = auto(rounds={"max": 2, "cool_down_days": 2})
    events = [order(f"o{n}", n) for n in range(1, 7)]  # completed on day 3, free from day 5
    one, two = earn(USER, events, [cooled]).tasks
    assert (one["counted"], two["counted"]) == (3, 2)
    assert two["start"] == instant_ms(at(5))


def pairs(**more: object) -> dict:
    """Two automatic rounds of two orders each, any number of them on a day."""
    made = auto(rounds={"max": 2}, qualify={"daily_cap": 0, "min_amount_minor": 1500}, **more)
    return {**made, "target": {"orders": 2}, "step_rewards": []}


def test_orders_of_one_instant_belong_to_one_round_each():
    events = [order("o", 1), order("a", 2), order("b", 2)]
    one, two = earn(USER, events, [pairs()]).tasks
    assert (one["counted"], two["counted"]) == (2, 1)


def test_a_checkout_older_than_the_completion_belongs_to_the_completed_round():
    events = [
        order("o", 1),
        order("s1", 2, "10:00:00", amount=900, parent_order_id="p"),
        order("a", 2, "11:00:00"),
        order("s2", 2, "12:00:00", amount=900, parent_order_id="p"),
    ]
    (one,) = earn(USER, events, [pairs()]).tasks
    assert one["counted"] == 2


def test_a_checkout_older_than_the_end_belongs_to_the_expired_round():
    events = [
        order("o", 1),
        order("s1", 10, "23:59:00", amount=900, parent_order_id="p"),
        order("s2", 11, "00:01:00", amount=900, parent_order_id="p"),
    ]
    (one,) = earn(USER, events, [pairs()]).tasks
    assert (one["counted"], one["state"]) == (2, "completed")


def test_a_late_part_is_not_part_of_its_checkout():
    """The first part, recorded a month later, gives neither money nor time."""
    late = order("s1", 1, "23:59:00", parent_order_id="p", came=at(20, month=2))
    events = [late, order("s2", 2, "00:01:00", parent_order_id="p")]
    (task,) = earn(USER, events, [auto()]).tasks
    assert (task["counted"], task["start"]) == (1, instant_ms(at(2, "00:00:00")))
    short = order("s2", 2, "00:01:00", amount=900, parent_order_id="p")
    assert earn(USER, [late, short], [auto()]).tasks == []


def test_a_part_cancelled_past_the_horizon_still_gives_its_checkout_a_time():
    """Nor does the cancellation hide the part from the task that the checkout begins."""
    short = auto(window={"days": 1}, expiry={"grace_hours": 0, "clawback_days": 1})
    events = [
        cancel("s1", 1, came=at(5)),
        order("s1", 2, "12:00:00", amount=900, parent_order_id="p"),
        order("s2", 2, "13:00:00", amount=900, parent_order_id="p"),
    ]
    (task,) = earn(USER, events, [short]).tasks
    assert task["counted"] == 1


def test_an_automatic_task_begins_only_inside_a_fixed_window():
    fixed = auto(window={"mode": "fixed", "first_day": "2026-01-03", "days": 2})
    assert earn(USER, [order("a", 2, "23:59:59")], [fixed]).tasks == []
    assert earn(USER, [order("a", 5, "00:00:00")], [fixed]).tasks == []
    (task,) = earn(USER, [order("a", 4)], [fixed]).tasks
    assert task["start"] == instant_ms(at(3, "00:00:00"))


def test_an_automatic_task_begins_only_while_the_campaign_is_open():
    hours = {"opens_at": at(2, "00:00:00"), "closes_at": at(3, "00:00:00")}
    began = [len(earn(USER, [order("a", day)], [auto(claim=hours)]).tasks) for day in (1, 2, 3)]
    assert began == [0, 1, 0]
    # An order of the last open minute, though its second part came when it was over.
    parts = [
        order("s1", 2, "23:59:00", amount=900, parent_order_id="p"),
        order("s2", 3, "00:01:00", amount=900, parent_order_id="p"),
    ]
    assert len(earn(USER, parts, [auto(claim=hours)]).tasks) == 1


def test_whether_an_order_begins_a_task_is_judged_at_its_own_time():
    grown = [order("a", 1, amount=10), order("a", 2, kind="amended", version=2)]
    assert earn(USER, grown, [auto()]).tasks == []
    shrunk = [order("a", 1), order("a", 2, kind="amended", version=2, amount=10)]
    (task,) = earn(USER, shrunk, [auto()]).tasks
    assert task["counted"] == 0


def test_an_automatic_campaign_takes_no_claims():
    assert answer([claim()], "k-1", auto()) == ("RULE_ENROLMENT", None)


def test_an_automatic_checkout_begins_when_its_last_part_lifts_it_over_the_minimum():
    (task,) = earn(USER, SUBS, [auto()]).tasks
    assert task["counted"] == 1


def test_a_version_is_pinned_when_the_task_begins():
    newer = campaign(version=2, effective_from=at(2, "00:00:00"), target={"orders": 2})
    newer["step_rewards"] = newer["step_rewards"][:2]
    events = [claim(), order("o1", 1), order("o2", 2)]
    (task,) = earn(USER, events, [campaign(), newer]).tasks
    assert (task["campaign_version"], task["state"]) == (1, "active")
    (task,) = earn(USER, [claim(day=2), *events[1:], order("o3", 3)], [campaign(), newer]).tasks
    assert (task["campaign_version"], task["state"]) == (2, "completed")


def test_a_cancellation_past_the_horizon_changes_nothing():
    events = THREE
    end_ms = instant_ms(at(11, "00:00:00"))
    late = cancel("o1", 5)
    assert counted([*events, {**late, "recorded_at_ms": end_ms + 30 * DAY_MS}]) == 2
    assert counted([*events, {**late, "recorded_at_ms": end_ms + 30 * DAY_MS + 1}]) == 3


def test_currency_channel_and_store_must_match():
    assert counted([claim(), order("o", 1, currency="GBP")]) == 0
    app_only = campaign(qualify={"channels": {"include": ["app"]}})
    assert counted([claim(), order("o", 1, channel="app")], app_only) == 1
    assert counted([claim(), order("o", 1)], app_only) == 0
    not_s1 = campaign(qualify={"stores": {"exclude": ["s1"]}})
    assert counted([claim(), order("o", 1, store_id="s1")], not_s1) == 0
    assert counted([claim(), order("o", 1)], not_s1) == 1


def test_a_daily_cap_of_zero_is_no_cap():
    events = [claim(), *(order(f"o{n}", 1, f"1{n}:00:00") for n in range(3))]
    assert counted(events) == 1
    assert counted(events, campaign(qualify={"daily_cap": 0})) == 3


def test_ids_are_hashes_of_lines():
    # printf 'leidan/task/1\nu-1\nc\n1' | sha256sum | cut -c1-32
    assert task_id("u-1", "c", 1) == "tsk_99029541b75f73defaa26cb84f3a73fc"


# -- laws ------------------------------------------------------------------------------------------


def test_36_every_permutation_of_a_history_earns_the_same():
    events = [
        claim(),
        order("o1", 1),
        order("o2", 2),
        cancel("o1"),
        order("o3", 3),
        withdraw("x-o1"),
    ]
    expected = earn(USER, events, [campaign()])
    assert labels(expected) == ["1", "2", "3", "final@3"]
    for arrived in itertools.permutations(events):
        assert earn(USER, list(arrived), [campaign()]) == expected


def test_a_cancelled_order_leaves_what_its_absence_would():
    rng = random.Random(3)
    rounds = campaign(rounds={"max": 3}, target={"orders": 2}, window={"days": 4})
    rounds["step_rewards"] = rounds["step_rewards"][:2]
    for _ in range(200):
        orders = [
            order(f"o{n}", 1 + int(rng.random() * 9), f"{int(rng.random() * 24):02d}:00:00")
            for n in range(6)
        ]
        gone = orders[0]
        # Taken back at the instant of the order, so no claim was judged with it in between.
        undo = {**cancel("o0"), "occurred_at": gone["occurred_at"]}
        claims = [claim("k-1", 1), claim("k-2", 5), claim("k-3", 8)]
        with_it = earn(USER, [*claims, *orders, undo], [rounds], 10**15)
        assert with_it == earn(USER, [*claims, *orders[1:]], [rounds], 10**15)

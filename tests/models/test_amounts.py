"""Targets by amount, and amounts that orders bank."""

from __future__ import annotations

from tests.models.given import USER, campaign, cancel, claim, every_n, labels, order
from tests.models.users import earn


def amount(match: str, minor: int, orders: int = 3) -> dict:
    return campaign(target={"orders": orders, "amount_minor": minor, "match": match})


def days(n: int, **more: object) -> list[dict]:
    return [claim(), *(order(f"o{day}", day, **more) for day in range(1, n + 1))]


def test_18_one_order_meets_both_targets_and_is_one_completion_and_one_final():
    both = amount("all", 5000, orders=1)
    both["step_rewards"] = []
    earned = earn(USER, days(1), [both])
    assert labels(earned) == ["final@1"]
    assert earned.tasks[0]["state"] == "completed"


def test_all_goes_on_counting_until_the_amount_is_met_too():
    earned = earn(USER, days(6), [amount("all", 25_000)])
    assert earned.tasks[0]["counted"] == 5
    assert labels(earned) == ["1", "2", "3", "final@3"]
    assert labels(earn(USER, days(4), [amount("all", 25_000)])) == ["1", "2", "3"]


def test_any_is_met_by_the_amount_alone():
    earned = earn(USER, days(3), [amount("any", 10_000)])
    assert earned.tasks[0]["counted"] == 2
    assert labels(earned) == ["1", "2", "final@3"]
    assert labels(earn(USER, days(3), [amount("any", 10**9)])) == ["1", "2", "3", "final@3"]


def saving(rule: dict, **more: object) -> dict:
    bank = {"right_id": "bank", "type": "red_packet", "value": "saved_amount"}
    return campaign(saved=rule, step_rewards=[], final_rewards=[bank], **more)


def final(events: list[dict], definition: dict) -> list[int]:
    return [value for *_, value in earn(USER, events, [definition]).rewards.values()]


def test_25_what_was_saved_is_forfeited_when_the_task_expires():
    fixed = saving({"rule": "fixed", "value_minor": 30})
    earned = earn(USER, days(2), [fixed], 10**15)
    assert (earned.tasks[0]["saved"], earned.tasks[0]["state"]) == (60, "expired")
    assert earned.rewards == {}


def test_a_saved_amount_is_paid_at_the_end_up_to_its_cap():
    assert final(days(3), saving({"rule": "fixed", "value_minor": 30})) == [90]
    assert final(days(3), saving({"rule": "fixed", "value_minor": 30, "cap_minor": 75})) == [75]
    assert final(days(3), saving({"rule": "table", "table": [10, 20, 35]})) == [65]
    percent = saving({"rule": "percent", "bp": 333, "cap_minor": 10**6})
    assert final(days(3, amount=1999), percent) == [3 * 66]  # floor for each order


def test_a_random_amount_is_the_same_for_the_same_step():
    dice = saving({"rule": "random", "min_minor": 5, "max_minor": 77})
    first, again = final(days(3), dice), final([*days(3), order("o4", 4), cancel("o1")], dice)
    assert first == again
    assert 15 <= first[0] <= 231


def test_each_cycle_pays_what_it_banked():
    cycles = {**every_n(max_cycles=2), "saved": {"rule": "table", "table": [1, 2, 4]}}
    cycles["final_rewards"] = saving({})["final_rewards"]
    assert final(days(6), cycles) == [7, 7]

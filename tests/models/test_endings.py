"""How tasks end: by time, by the user, by the operator; and what pools denied."""

from __future__ import annotations

from tests.models.given import (
    THREE,
    USER,
    answer,
    answered,
    at,
    campaign,
    cancel,
    claim,
    ends,
    instant_ms,
    labels,
    leave,
    order,
)
from tests.models.ids import request_id, task_id
from tests.models.users import earn

TASK = task_id(USER, "c", 1)


def the_state(events: list[dict], *records: dict, now: str) -> str:
    earned = earn(USER, events, [campaign(rounds={"max": 2}), *records], instant_ms(now))
    return earned.tasks[0]["state"]


def test_17_a_stopped_campaign_goes_on_and_takes_no_claims():
    records = [campaign(rounds={"max": 2}), ends("campaign.stopped", 2)]
    assert labels(earn(USER, THREE, records)) == ["1", "2", "3", "final@3"]
    assert answer([*THREE, claim("k-2", 5)], "k-2", *records)[0] == "CAMPAIGN_STOPPED"


def test_a_kill_ends_a_running_task_and_keeps_what_its_orders_earned():
    killed = ends("campaign.killed", 3)
    assert the_state(THREE, killed, now=at(2)) == "active"
    assert the_state(THREE, killed, now=at(4)) == "killed"
    assert labels(earn(USER, THREE, [campaign(), killed], instant_ms(at(4)))) == ["1", "2"]
    assert the_state(THREE, ends("campaign.killed", 4), now=at(5)) == "completed"
    assert the_state(THREE[:2], ends("campaign.killed", 20), now=at(25)) == "expired"


def test_a_killed_task_is_compensated_and_a_completed_one_is_not():
    sorry = {"right_id": "sorry", "type": "points", "value_minor": 7}
    killed = ends("campaign.killed", 3, compensation=sorry)
    rewards = earn(USER, THREE, [campaign(), killed], instant_ms(at(4))).rewards.values()
    assert [value for _, kind, _, value in rewards if kind == "compensation"] == [7]
    late = ends("campaign.killed", 4, compensation=sorry)
    rewards = earn(USER, THREE, [campaign(), late], instant_ms(at(5))).rewards.values()
    assert [kind for _, kind, _, _ in rewards if kind == "compensation"] == []


def test_a_user_who_leaves_keeps_what_was_earned_and_may_claim_again():
    left = [*THREE, leave(TASK, 2, "13:00:00")]
    assert the_state(left, now=at(4)) == "withdrawn"
    assert labels(earn(USER, left, [campaign()])) == ["1", "2"]
    again = [*left, claim("k-2", 3)]
    assert answer(again, "k-2", campaign(rounds={"max": 2})) == ("CLAIMED", task_id(USER, "c", 2))


def test_an_order_at_the_instant_of_leaving_is_past_the_task():
    assert labels(earn(USER, [*THREE, leave(TASK, 2)], [campaign()])) == ["1"]


def test_nobody_leaves_a_completed_or_an_expired_task():
    assert the_state([*THREE, leave(TASK, 4)], now=at(5)) == "completed"
    assert the_state([*THREE[:2], leave(TASK, 15)], now=at(20)) == "expired"
    assert the_state([*THREE, leave(TASK, 4), cancel("o1", 5)], now=at(5)) == "active"


BUDGET = campaign(budget={"max_tasks": 1}, rounds={"max": 2})
ASKED = request_id(TASK, "reserve", "claim:k-1")


def test_39_a_denied_claim_began_no_task_so_a_later_one_may():
    denied = answered("pool.denied", ASKED, outcome="no_budget")
    assert answer([claim(), denied], "k-1", BUDGET) == ("BUDGET_EXHAUSTED", None)
    assert answer([claim(), denied, claim("k-2", 2)], "k-2", BUDGET) == ("CLAIMED", TASK)


def test_a_task_is_pending_though_counting_until_its_budget_is_granted():
    waiting = earn(USER, THREE, [BUDGET], instant_ms(at(2)))
    assert (waiting.rewards, len(waiting.waiting)) == ({}, 4)
    (task,) = earn(USER, THREE[:2], [BUDGET], instant_ms(at(2))).tasks
    assert (task["state"], task["counted"]) == ("pending", 1)
    granted = [*THREE, answered("pool.granted", ASKED)]
    assert labels(earn(USER, granted, [BUDGET])) == ["1", "2", "3", "final@3"]


def test_units_denied_give_the_fallback_or_no_task():
    scarce = {"right_id": "pts", "type": "points", "value_minor": 500, "supply": "depot"}
    none = campaign(final_rewards=[scarce])
    denied = answered("pool.denied", request_id(TASK, "reserve:depot", "claim:k-1"))
    assert answer([*THREE, denied], "k-1", none) == ("RIGHTS_EXHAUSTED", None)
    instead = {"right_id": "ten", "type": "points", "value_minor": 10}
    softer = campaign(final_rewards=[{**scarce, "fallback": instead}])
    rewards = earn(USER, [*THREE, denied], [softer]).rewards.values()
    assert [right for _, kind, right, _ in rewards if kind == "final"] == ["ten"]


def test_a_checkout_older_than_the_kill_begins_no_next_round_though_its_last_part_comes_after():
    alone = campaign(enrolment="auto", rounds={"max": 2})
    parts = [order("o1", 2, parent_order_id="p"), order("o2", 3, parent_order_id="p")]
    killed = ends("campaign.killed", 2, effective_from=at(2, "18:00:00"))
    (task,) = earn(USER, parts, [alone, killed], instant_ms(at(4))).tasks
    assert (task["round"], task["counted"], task["state"]) == (1, 1, "killed")
    left = [*parts, leave(TASK, 2, "18:00:00")]
    assert [task["round"] for task in earn(USER, left, [alone]).tasks] == [1]


def test_a_task_is_closed_at_its_horizon():
    end = instant_ms(at(11, "00:00:00"))
    for now, closed in ((end + 30 * 86_400_000 - 1, False), (end + 30 * 86_400_000, True)):
        assert earn(USER, THREE, [campaign()], now).tasks[0]["closed"] is closed

"""Rendering, R1 to R9: what a user is shown, now and then; fixtures 16 and 23, question 36."""

from __future__ import annotations

from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from streams.domain.events import Context
from streams.domain.render import Asking, render
from streams.domain.state import new
from tests.asking import draw
from tests.builders import (
    CLOSING,
    USER,
    at,
    campaign,
    cancel,
    chances,
    change,
    claim,
    collect,
    millis,
    order,
    pool,
    shelf,
    tick,
)
from tests.given import Given, given, registry

NOTHING, OPERATOR = Asking(), Asking(role="operator")
PRICE_SENSITIVE = {"audience": {"segments_any": ["price_sensitive"], "orders_30d_max": 3}}
KNOWN = {"context": {"segments": ["price_sensitive"], "orders_30d": 1}}


def seen(
    world: Given, day: int = 5, asking: Asking = NOTHING, then: int | None = None
) -> dict[str, Any]:
    """What is shown on a day (the clock's), of a day (`then`)."""
    at_ms = None if then is None else millis(at(then, "18:00"))
    return render(world.state, world.campaigns, asking, at_ms, millis(at(day)))


def tasks(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(task["campaign_id"], task["state"]) for task in answer["tasks"]]


def only(answer: dict[str, Any]) -> dict[str, Any]:
    (task,) = answer["tasks"]
    return task


def code_of(answer: dict[str, Any], campaign_id: str = "three") -> str:
    found = {one["campaign_id"]: one["code"] for one in answer["candidates"]}
    return found[campaign_id]


# --- R1 campaigns in force, by scene --------------------------------------------------------------


def test_r1_a_campaign_is_offered_in_its_scenes_alone():
    world = given(campaign(scenes=["home"]), [])
    assert tasks(seen(world, asking=Asking(scene="home"))) == [("three", "claimable")]
    assert tasks(seen(world, asking=Asking(scene="sign_in"))) == []


def test_r1_a_campaign_is_offered_to_who_asks_for_one_of_its_types():
    spin = campaign(
        campaign_id="spin",
        features=["light_box", "lottery"],
        entries=None,
        step_rewards=None,
        lottery=chances(),
        claim=CLOSING,
    )
    world = given([pool(), spin, campaign()], [])
    assert tasks(seen(world, asking=Asking(type="lottery"))) == [("spin", "claimable")]
    both = tasks(seen(world, asking=Asking(type="light_box")))
    assert both == [("spin", "claimable"), ("three", "claimable")]
    assert tasks(seen(world, asking=Asking(type="dark_box"))) == []


def test_r1_tasks_and_rewards_of_another_type_are_not_shown_either():
    world = given(campaign(), [claim(), order("o1")])
    answer = seen(world, asking=Asking(type="full_link"))
    assert (tasks(answer), len(answer["rewards"])) == ([("three", "active")], 1)
    answer = seen(world, asking=Asking(type="lottery"))
    assert (answer["tasks"], answer["rewards"], answer["type"]) == ([], [], "lottery")


def test_r1_a_task_is_shown_by_the_type_of_its_own_version_and_of_the_one_in_force():
    later = campaign(
        version=2,
        effective_from="2026-03-04T00:00:00+08:00",
        features=["light_box"],
        step_rewards=None,
        entries=None,
    )
    world = given([campaign(), later], [claim()])
    for kind in ("light_box", "full_link"):
        assert tasks(seen(world, asking=Asking(type=kind))) == [("three", "active")]
    assert tasks(seen(world, asking=Asking(type="full_link", scene="nowhere"))) == []


def test_r1_the_version_in_force_at_that_time_is_offered():
    later = campaign(version=2, effective_from="2026-03-05T00:00:00+08:00", title="second")
    world = given([campaign(title="first"), later], [])
    assert only(seen(world, then=3))["title"] == "first"
    assert only(seen(world, then=4))["title"] == "second"
    assert only(seen(world))["title"] == "second"


# --- R2 rules; a missing pool ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "day", "code"),
    [
        ({"claim": {"opens_at": "2026-03-10T00:00:00+08:00"}}, 5, "CAMPAIGN_NOT_OPEN"),
        ({"claim": {"closes_at": "2026-03-04T00:00:00+08:00"}}, 5, "CAMPAIGN_ENDED"),
    ],
)
def test_r2_what_cannot_be_claimed_is_not_shown(fields, day, code):
    world = given(campaign(**fields), [])
    assert tasks(seen(world, day)) == []
    assert code_of(seen(world, day, OPERATOR)) == code


def test_r2_a_stopped_campaign_is_not_offered():
    world = given([campaign(), change("campaign.stopped", campaign_id="three")], [])
    assert tasks(seen(world, 5)) == [("three", "claimable")]
    assert tasks(seen(world, 10)) == []
    assert code_of(seen(world, 10, OPERATOR)) == "CAMPAIGN_STOPPED"


def test_r2_a_campaign_whose_pool_has_closed_is_skipped():
    fields = {"features": ["light_box", "lottery", "full_link"], "lottery": chances(1)}
    closed = change("pool.closed", pool_id="wheel", effective_from="2026-03-10T00:00:00+08:00")
    world = given([pool(), campaign(claim=CLOSING, **fields), closed], [])
    assert tasks(seen(world, 5)) == [("three", "claimable")]
    assert tasks(seen(world, 10)) == []
    assert code_of(seen(world, 10, OPERATOR)) == "NO_SUPPLY"


# --- R3 clauses and the user's context ------------------------------------------------------------


def asked(segments: tuple[str, ...] | None, orders_30d: int | None) -> Asking:
    return Asking(context=Context(segments, orders_30d))


def test_r3_a_context_that_matches_every_clause_is_offered():
    world = given(campaign(**PRICE_SENSITIVE), [])
    assert tasks(seen(world, asking=asked(("price_sensitive",), 3))) == [("three", "claimable")]


@pytest.mark.parametrize(
    "context", [(None, None), (("price_sensitive",), None), (None, 1), ((), 1),
                (("price_sensitive",), 4)],
)  # fmt: skip
def test_r3_what_is_unknown_never_allows(context):
    world = given(campaign(**PRICE_SENSITIVE), [])
    assert tasks(seen(world, asking=asked(*context))) == []


def test_r3_without_a_context_the_rows_newest_one_counts():
    world = given(campaign(**PRICE_SENSITIVE), [order("o1", **KNOWN)])
    assert tasks(seen(world)) == [("three", "claimable")]
    assert tasks(seen(world, asking=asked((), 0))) == [], "what is said now goes first"


def test_r3_an_operator_is_told_of_every_clause_whether_it_held():
    world = given(campaign(**PRICE_SENSITIVE), [])
    asking = OPERATOR._replace(context=Context(("price_sensitive",), 9), entry="home")
    (found,) = seen(world, asking=asking)["candidates"]
    held = {clause["name"]: clause["holds"] for clause in found["trace"]}
    assert held == {
        "supply": True,
        "claim": True,
        "holdout": True,
        "audience.segments_any": True,
        "audience.orders_30d_max": False,
        "entries": True,
        "risk": True,
        "rounds": True,
    }
    assert found["code"] == "RULE_AUDIENCE"


def test_r3_only_an_operator_is_told():
    assert not {"candidates", "hidden"} & seen(given(campaign(), [])).keys()


# --- R4 all must hold; priority; one a group ------------------------------------------------------


def two(**fields: Any) -> list[dict[str, Any]]:
    low = campaign(campaign_id="low", priority=1, **fields)
    return [low, campaign(campaign_id="high", priority=9, **fields)]


def test_r4_the_higher_priority_comes_first():
    world = given(two(), [])
    assert tasks(seen(world)) == [("high", "claimable"), ("low", "claimable")]


def test_r4_of_a_group_one_wins():
    world = given(two(exclusion_group="g"), [])
    assert tasks(seen(world)) == [("high", "claimable")]
    assert code_of(seen(world, asking=OPERATOR), "low") == "LOST_GROUP"


def test_r4_who_is_held_out_sees_nothing():
    world = given(campaign(holdout_bp=10_000), [])
    assert tasks(seen(world)) == []
    assert code_of(seen(world, asking=OPERATOR)) == "HOLDOUT"


def test_r4_an_entry_that_is_named_must_be_the_campaigns():
    world = given(campaign(entries=["home"]), [])
    assert tasks(seen(world, asking=Asking(entry="home"))) == [("three", "claimable")]
    assert tasks(seen(world, asking=Asking(entry="cart"))) == []
    assert code_of(seen(world, asking=OPERATOR._replace(entry="cart"))) == "RULE_ENTRY"


def test_r4_a_round_that_may_not_begin_is_not_offered():
    three = [order(f"o{n}") for n in (1, 2, 3)]
    rounds = {"max": 2, "cool_down_days": 3}
    world = given(campaign(rounds=rounds), [claim(), *three])
    assert tasks(seen(world, 4)) == [("three", "completed")]
    assert code_of(seen(world, 4, OPERATOR)) == "COOL_DOWN"
    assert tasks(seen(world, 6)) == [("three", "completed"), ("three", "claimable")]
    once = given(campaign(), [claim(), *three])
    assert code_of(seen(once, 6, OPERATOR)) == "ROUNDS_USED"


def test_what_is_offered_is_what_a_claim_would_get():
    world = given(campaign(**PRICE_SENSITIVE), [])
    (offer,) = seen(world, 2, asked(("price_sensitive",), 1))["tasks"]
    world.when(claim(day=2, **KNOWN)).then("task.claimed 0")
    (task,) = seen(world, 2)["tasks"]
    moved = ("state", "hints", "steps")
    assert {k: v for k, v in task.items() if k not in moved} == {
        k: v for k, v in offer.items() if k not in moved
    }


# --- R5 grandfathered; fixture 16 -----------------------------------------------------------------


def test_fixture16_who_leaves_the_segment_is_still_shown_and_still_counts():
    world = given(campaign(**PRICE_SENSITIVE), [claim(**KNOWN), order("o1")])
    left = asked(("rich",), 9)
    task = only(seen(world, 2, left))
    assert (task["state"], task["counted"], task["grandfathered"]) == ("active", 1, True)
    world.when(order("o2", context={"segments": ["rich"], "orders_30d": 9}))
    assert only(seen(world, 2))["counted"] == 2
    assert only(seen(world, 2))["grandfathered"]


def test_r5_who_still_matches_is_not_grandfathered():
    world = given(campaign(**PRICE_SENSITIVE), [claim(**KNOWN), order("o1")])
    assert not only(seen(world))["grandfathered"]


def test_r5_a_task_of_a_stopped_campaign_is_kept():
    world = given([campaign(), change("campaign.stopped", campaign_id="three")], [claim()])
    assert only(seen(world, 10))["grandfathered"]


def test_r5_a_task_keeps_its_version_and_its_scene():
    later = campaign(
        version=2, effective_from="2026-03-04T00:00:00+08:00", scenes=["sign_in"], title="second"
    )
    world = given([campaign(title="first"), later], [claim()])
    task = only(seen(world, 5, Asking(scene="home")))
    assert (task["title"], task["campaign_version"], task["grandfathered"]) == ("first", 1, True)


# --- R6 which tasks are valid ---------------------------------------------------------------------


def test_r6_claimable_then_active_then_completed():
    world = given(campaign(), [])
    assert only(seen(world, 1))["state"] == "claimable"
    world.when(claim())
    assert only(seen(world, 1))["state"] == "active"
    world.when(*(order(f"o{n}") for n in (1, 2, 3)))
    assert only(seen(world, 3))["state"] == "completed"


def test_r6_expired_is_shown_within_grace_and_then_no_more():
    world = given(campaign(), [claim(), order("o1")])  # 10 days from day 1, 48 hours of grace
    assert only(seen(world, 10))["state"] == "active"
    assert only(seen(world, 11))["state"] == "expired"
    assert only(seen(world, 12))["state"] == "expired"
    assert tasks(seen(world, 13)) == []
    (hidden,) = seen(world, 13, OPERATOR)["hidden"]
    assert hidden["state"] == "expired"


def test_r6_a_task_revived_in_grace_is_active_again():
    known = [claim(), order("o1"), tick(11), order("o2", day=10, recorded=at(12))]
    world = given(campaign(), known)
    assert only(seen(world, 12))["state"] == "active"
    assert tasks(seen(world, 13)) == []


def test_r6_completed_is_shown_to_its_horizon():
    world = given(campaign(), [claim(), *(order(f"o{n}") for n in (1, 2, 3))])
    assert tasks(seen(world, 40)) == [("three", "completed")]
    assert tasks(seen(world, 41)) == []


def test_r6_a_task_that_waits_for_its_budget_is_pending():
    world = given(campaign(budget={"amount_minor": 1_000_000}), [claim()])
    assert only(seen(world, 1))["state"] == "pending"


def test_r6_a_killed_task_is_over_before_any_tick_says_so():
    killed = change("campaign.killed", campaign_id="three")
    world = given([campaign(), killed], [claim()])
    assert tasks(seen(world, 8)) == [("three", "active")]
    assert tasks(seen(world, 10)) == []


# --- R7 progress, steps, deadline -----------------------------------------------------------------


def test_r7_a_light_box_shows_all_of_it():
    world = given(campaign(), [claim(), order("o1")])
    task = only(seen(world, 2))
    assert task["task_id"] == world.task().task_id
    assert (task["counted"], task["target"], task["remaining"]) == (1, 3, 2)
    assert task["deadline"] == "2026-03-12T00:00:00+08:00"
    steps = [
        (step["step"], step["reached"], [(r["kind"], r["state"]) for r in step["rewards"]])
        for step in task["steps"]
    ]
    assert steps == [
        ("1", True, [("step", "issued")]),
        ("2", False, [("step", "open")]),
        ("3", False, [("step", "open"), ("final", "open")]),
    ]


def test_r7_every_n_shows_the_running_cycle():
    window = {"mode": "every_n", "days": 10, "first_day": "2026-03-02", "max_cycles": 2}
    world = given(campaign(window=window), [claim(), *(order(f"o{n}") for n in (1, 2, 3, 4))])
    task = only(seen(world, 5))
    assert [step["step"] for step in task["steps"]] == ["4", "5", "6"]
    assert (task["counted"], task["target"]) == (4, 6)


def test_r7_what_is_missed_is_said():
    world = given(campaign(), [claim(), order("o1")])
    states = [r["state"] for s in only(seen(world, 11))["steps"] for r in s["rewards"]]
    assert states == ["issued", "missed", "missed", "missed"]


@pytest.mark.parametrize(
    ("events", "day", "hints"),
    [
        ([], 1, [{"code": "claim"}]),
        ([claim()], 1, []),
        ([claim(), order("o1")], 1,
         [{"code": "cap_reached", "from": "2026-03-03T00:00:00+08:00"}]),
        ([claim(), order("o1"), order("o2")], 3, [{"code": "one_order_left"}]),
    ],
)  # fmt: skip
def test_r7_hints_say_what_to_do_next(events, day, hints):
    assert only(seen(given(campaign(), events), day))["hints"] == hints


def test_r7_an_automatic_campaign_is_begun_by_an_order():
    world = given(campaign(enrolment="auto"), [])
    task = only(seen(world))
    assert (task["enrolment"], task["hints"]) == ("auto", [{"code": "order"}])


# --- R8 rewards and draws -------------------------------------------------------------------------


def test_r8_rewards_have_the_state_the_ledger_knows():
    world = given(campaign(), [claim(), order("o1"), order("o2"), cancel("o2", day=3)])
    found = {reward["step"]: reward["state"] for reward in seen(world, 3)["rewards"]}
    assert found == {"1": "issued", "2": "revoked"}


def test_r8_a_reward_to_be_collected_is_reserved_and_hinted_at():
    world = given(campaign(collect="manual"), [claim(), order("o1")])
    (reward,) = seen(world, 2)["rewards"]
    assert reward["state"] == "reserved"
    hints = only(seen(world, 2))["hints"]
    assert {"code": "collect", "reward_id": reward["reward_id"]} in hints
    world.when(collect(reward["reward_id"], day=2))
    assert seen(world, 2)["rewards"][0]["state"] == "issued"


def lottery(**fields: Any) -> list[dict[str, Any]]:
    features = ["light_box", "lottery", "full_link"]
    return [pool(), campaign(features=features, lottery=chances(1), claim=CLOSING, **fields)]


def test_r8_a_chance_is_open_until_it_is_asked_for():
    world = given(lottery(), [claim(), order("o1")])
    (chance,) = only(seen(world, 2))["chances"]
    assert (chance["step"], chance["state"]) == ("1", "open")
    assert {"code": "draw", "count": 1} in only(seen(world, 2))["hints"]
    assert seen(world, 2)["draws"] == []
    world.when(draw(world, "1", when=at(2)))
    assert only(seen(world, 2))["chances"][0]["state"] == "asked"
    (drawn,) = seen(world, 2)["draws"]
    assert (drawn["draw_id"], drawn["right"]) == (chance["draw_id"], None)


# --- R9 the dark box; fixture 23, question 36 -----------------------------------------------------

SAVED = {"rule": "percent", "bp": 300, "cap_minor": 800}
DARK = {
    "features": ["dark_box"],
    "step_rewards": None,
    "entries": None,
    "saved": SAVED,
    "target": {"orders": 5},
    "final_rewards": [{"right_id": "grocery", "type": "red_packet", "value": "saved_amount"}],
}


def test_fixture_23_a_user_sees_no_target_an_operator_all():
    world = given(campaign(**DARK), [claim(), order("o1"), order("o2")])
    task = only(seen(world, 3))
    assert (task["counted"], task["accumulated_minor"], task["saved_minor"]) == (2, 10_000, 300)
    assert not {"target", "remaining"} & task.keys()
    assert task["steps"] == []
    full = only(seen(world, 3, OPERATOR))
    assert (full["target"], full["remaining"]) == (5, 3)
    assert [step["step"] for step in full["steps"]] == ["5"]


def test_r9_a_dark_box_says_nothing_of_the_last_order():
    world = given(campaign(**DARK), [claim(), *(order(f"o{n}") for n in (1, 2, 3, 4))])
    assert "one_order_left" not in str(seen(world, 5))


def test_r9_what_a_dark_box_gave_is_shown_once_it_is_given():
    world = given(campaign(**DARK), [claim(), *(order(f"o{n}") for n in (1, 2, 3, 4, 5))])
    answer = seen(world, 5)
    assert only(answer)["state"] == "completed"
    assert [reward["amount_minor"] for reward in answer["rewards"]] == [750]


@hypothesis.given(
    orders=st.integers(3, 7),
    value=st.integers(1, 10_000),
    step=st.integers(3, 7),
    count=st.integers(0, 2),
    day=st.integers(1, 14),
)
def test_r9_a_dark_box_looks_the_same_whatever_it_hides(orders, value, step, count, day):
    """Two boxes that differ in all that is hidden, and a history that reaches none of it."""

    def box(target: int, worth: int, at_step: int) -> Given:
        hidden = {
            "features": ["dark_box", "full_link"],
            "entries": ["home"],
            "target": {"orders": target},
            "step_rewards": [
                {
                    "step": min(at_step, target),
                    "right": {"right_id": "s", "type": "coupon", "value_minor": worth},
                }
            ],
            "final_rewards": [{"right_id": "f", "type": "coupon", "value_minor": worth}],
        }
        events = [claim(), *(order(f"o{n}") for n in range(1, count + 1))]
        return given(campaign(**hidden), events)

    assert seen(box(orders, value, step), day) == seen(box(5, 800, 5), day)


# --- then -----------------------------------------------------------------------------------------


def test_at_a_past_time_what_was_shown_then_is_answered():
    world = given(campaign(), [claim(), order("o1"), order("o2"), order("o3")])
    then = only(seen(world, 9, then=2))
    assert (then["state"], then["counted"]) == ("active", 2)
    due = [(reward["step"], reward["state"]) for reward in seen(world, 9, then=2)["rewards"]]
    assert due == [("1", "due"), ("2", "due")]


def test_before_the_claim_the_campaign_was_offered():
    world = given(campaign(), [claim(day=3), order("o3")])
    assert only(seen(world, 9, then=2))["state"] == "claimable"


def test_a_cancellation_later_than_that_time_is_not_known_yet():
    world = given(campaign(), [claim(), order("o1"), cancel("o1", day=4)])
    assert only(seen(world, 5))["counted"] == 0
    assert only(seen(world, 5, then=3))["counted"] == 1


def test_a_fact_that_came_late_was_true_all_the_same():
    world = given(campaign(), [claim(), order("o2"), order("o1")])
    assert only(seen(world, 5, then=1))["counted"] == 1


@hypothesis.given(st.permutations(range(5)), st.integers(1, 3))
def test_the_past_does_not_depend_on_the_order_of_arrival(places, day):
    events = [claim(), order("o1"), order("o2"), order("o4"), cancel("o1", day=3)]
    arrived = given(campaign(), [events[place] for place in places])
    in_order = given(campaign(), events)
    assert seen(arrived, 20, then=day) == seen(in_order, 20, then=day)


def test_without_a_time_it_is_the_newest_of_row_and_clock():
    world = given(campaign(), [claim(), order("o1"), order("o2")])
    assert seen(world, 1)["at"] == "2026-03-03T04:00:00+00:00", "the row knows more than the clock"
    assert seen(world, 5)["at"] == "2026-03-06T04:00:00+00:00"


# --- law ------------------------------------------------------------------------------------------


def test_asking_changes_nothing_and_twice_is_the_same():
    world = given(two(exclusion_group="g"), [claim(campaign_id="low"), order("o1")])
    before = msgspec.msgpack.encode(world.state)
    assert seen(world, 3, OPERATOR) == seen(world, 3, OPERATOR)
    assert msgspec.msgpack.encode(world.state) == before


def test_of_nobody_nothing_is_known_and_everything_is_answered():
    campaigns = registry(campaign(), shelf())
    answer = render(new(USER), campaigns, Asking(), None, millis(at(1)))
    assert [task["state"] for task in answer["tasks"]] == ["claimable"]
    assert (answer["rewards"], answer["draws"]) == ([], [])

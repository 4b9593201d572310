"""Campaign definitions: what is unclear is refused, with every problem at once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from streams.domain.campaign import Campaign, Right
from streams.domain.definition import campaign_from, definition_from
from streams.domain.events import Status
from streams.domain.features import (
    Audience,
    Budget,
    Chances,
    Lottery,
    Quiet,
    Release,
    Reminder,
    Saved,
    Variant,
)
from streams.domain.registry import Campaigns
from tests.builders import campaign
from tests.given import registry

RIGHT = {"right_id": "r", "type": "cash", "value_minor": 1}
BANKED = {"right_id": "grocery", "type": "red_packet", "value": "saved_amount"}
FIXED = {"rule": "fixed", "value_minor": 5}
LIGHT = ["light_box", "full_link"]
DEARER = {"final_rewards": [{"right_id": "dear", "type": "cash", "value_minor": 1000}]}
LOTTERY = {"pool_id": "p", "odds_version": 1, "chances": [{"step": "final", "count": 1}]}


def drawing(*chances: dict[str, Any]) -> dict[str, Any]:
    return {"features": [*LIGHT, "lottery"], "lottery": {**LOTTERY, "chances": list(chances)}}


def deep(levels: int) -> dict[str, Any]:
    """A right with so many fallbacks, one behind another."""
    inner = {"fallback": deep(levels - 1)} if levels else {}
    return {**RIGHT, "right_id": f"r{levels}", **inner}


def problems(definition: Any) -> list[str]:
    found, said = campaign_from(definition)
    assert (found is None) == bool(said)
    return said


def test_a_good_definition_has_no_problems_and_its_defaults():
    found, said = campaign_from(campaign())
    assert said == []
    assert found is not None
    assert (found.daily_cap, found.limit, found.lookback) == (1, 3, "trigger_order")
    assert found.policies["coupon"] == "revoke"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"colour": "red"}, "colour: unknown field"),
        ({"qualify": {"min_amount": 1}}, "(did you mean min_amount_minor?)"),
        ({"version": "1"}, "version: must be an integer"),
        ({"version": True}, "version: must be an integer"),
        ({"window": {"days": 0}}, "window.days: 0 is outside 1..1000"),
        ({"campaign_id": "Veg!"}, "campaign_id: 'Veg!' does not match"),
        ({"calendar": {"time_zone": "Mars/Olympus"}}, "unknown zone 'Mars/Olympus'"),
        ({"calendar": {"day_start": "24:00"}}, "day_start: must be HH:MM"),
        ({"effective_from": "2026-01-01T00:00:00"}, "no RFC 3339 time with an offset"),
        (
            {"claim": {"opens_at": "2026-02-01T00:00:00Z", "closes_at": "2026-01-01T00:00:00Z"}},
            "claim.closes_at: not after opens_at",
        ),
        ({"target": {"orders": 11}}, "11 orders cannot be reached: 10 days x daily_cap 1 = 10"),
        ({"features": ["dark_box", "light_box"]}, "choose exactly one of dark_box, light_box"),
        ({"features": ["full_link"]}, "choose exactly one of dark_box, light_box"),
        ({"entries": []}, "full_link needs entries"),
        ({"features": ["light_box"]}, "step_rewards need full_link"),
        ({"step_rewards": [], "final_rewards": []}, "nothing to win"),
        ({"target": {"orders": 2}}, "step 3 is outside 1..2"),
        ({"final_rewards": campaign()["final_rewards"] * 2}, "use quantity"),
        ({"window": {"first_day": "2026-01-01"}}, "does not fit window mode from_claim"),
        ({"window": {"mode": "fixed"}}, "does not fit window mode fixed"),
        ({"window": {"max_cycles": 2}}, "max_cycles does not fit window mode from_claim"),
        (
            {"window": {"mode": "every_n", "days": 10}, "rounds": {"max": 2}},
            "rounds does not fit window mode every_n",
        ),
        (
            {"window": {"mode": "every_n", "days": 30}, "target": {"amount_minor": 5}},
            "target.amount_minor: amount_minor does not fit window mode every_n",
        ),
        ({"clawback": {"coupon": "debt"}}, "coupon cannot be owed"),
        ({"clawback": {"physical": "debt"}}, "physical cannot be owed"),
        ({"target": {"orders": 3, "match": "some"}}, "target.match: 'some' is none of all, any"),
        # saved amounts
        ({"final_rewards": [BANKED]}, "final_rewards: no saved rule"),
        ({"variants": [{"segment": "new", "final_rewards": [BANKED]}]}, "no saved rule"),
        ({"final_rewards": [{**RIGHT, "fallback": BANKED}]}, "no saved rule"),
        (
            {"saved": FIXED, "step_rewards": [{"step": 1, "right": BANKED}]},
            "step_rewards[0].right.value: step rewards have a fixed value",
        ),
        ({"saved": {"rule": "percent", "bp": 300}}, "saved: saved needs cap_minor"),
        (
            {"saved": FIXED, "target": {"amount_minor": 5}, "qualify": {"daily_cap": 0}},
            "saved: saved needs cap_minor",
        ),
        ({"saved": {**FIXED, "bp": 3}}, "saved.bp: unknown field"),
        ({"saved": {"rule": "table", "table": []}}, "saved.table: must be a list of integers"),
        (
            {"saved": {"rule": "random", "min_minor": 9, "max_minor": 8}},
            "saved.max_minor: 8 is outside 9..",
        ),
        (
            {"saved": FIXED, "final_rewards": [{**BANKED, "value_minor": 1}]},
            "final_rewards[0].value_minor: does not go with value",
        ),
        # lotteries
        ({"features": [*LIGHT, "lottery"]}, "lottery feature and lottery object go together"),
        (drawing({"step": 3, "count": 1}), "lottery.chances: chance at step 3: use final"),
        (drawing({"step": 4, "count": 1}), "lottery.chances: step 4 is outside 1..3"),
        (drawing({"step": 1, "count": 1}, {"step": 1, "count": 2}), "same step twice: use count"),
        (drawing({"step": "last", "count": 1}), "lottery.chances[0].step: must be an integer"),
        (drawing(), "lottery.chances: must not be empty"),
        (
            {**drawing({"step": 2, "count": 1}), "variants": [{"segment": "new", "orders": 2}]},
            "lottery.chances: chance at step 2: use final",
        ),
        # variants
        (
            {"variants": [{"segment": "new", "days": 2}]},
            "variants[0].orders: 3 orders cannot be reached: 2 days x daily_cap 1 = 2",
        ),
        (
            {"variants": [{"segment": "new", "orders": 2}]},
            "variants[0].step_rewards: step 3 is outside 1..2",
        ),
        (
            {"variants": [{"segment": "new", "final_rewards": [], "step_rewards": []}]},
            "variants[0].final_rewards: nothing to win",
        ),
        ({"variants": [{"segment": "a"}, {"segment": "a"}]}, "variants[1].segment: 'a' has a"),
        # rights
        (
            {"final_rewards": [{**RIGHT, "fallback": RIGHT}]},
            "final_rewards: r is a fallback and given already: use another right_id",
        ),
        (
            {"final_rewards": [{**RIGHT, "fallback": {**RIGHT, "supply": "shelf"}}]},
            "final_rewards[0].fallback.supply: not here",
        ),
        ({"final_rewards": [deep(5)]}, "fallback: more than 3 behind one another"),
        # the rest
        ({"budget": {"amount_minor": 1099}}, "budget: budget 1099 cannot pay one task (1100)"),
        (
            {"budget": {"amount_minor": 1100}, "variants": [{"segment": "a", **DEARER}]},
            "budget: budget 1100 cannot pay one task (1600)",
        ),
        ({"budget": {}}, "budget: needs amount_minor, max_tasks, or both"),
        ({"budget": {"amount_minor": 0}}, "budget.amount_minor: 0 is outside 1.."),
        (
            {
                "features": ["dark_box"],
                "step_rewards": [],
                "reminders": [{"kind": "one_order_left", "before_hours": 1}],
            },
            "reminders: reminder reveals the target",
        ),
        ({"reminders": [{"kind": "one_order_lft"}]}, "(did you mean one_order_left?)"),
        ({"quiet": "22:00"}, "quiet: must be HH:MM-HH:MM"),
        ({"audience": {"segment_any": ["a"]}}, "(did you mean segments_any?)"),
        ({"audience": "none"}, "audience: must be an object"),
        ({"collect": "later"}, "collect: 'later' is none of auto, manual"),
        ({"holdout_bp": 10_001}, "holdout_bp: 10001 is outside 0..10000"),
        ({"holdout_salt": "a\nb"}, "holdout_salt: 'a\\nb' does not match"),
        ({"release": {"on": "amended"}}, "release.on: 'amended' is none of"),
        ({"exclusion_group": "Veg"}, "exclusion_group: 'Veg' does not match"),
        ({"lottery": LOTTERY}, "lottery feature and lottery object go together"),
    ],
)
def test_an_unclear_definition_is_refused_and_says_why(change, problem):
    said = problems(campaign(**change))
    assert any(problem in one for one in said), said


def test_every_field_comes_out_as_it_was_written():
    found, said = definition_from(
        campaign(
            target={"amount_minor": 9000, "match": "any"},
            saved={"rule": "random", "min_minor": 10, "max_minor": 50, "cap_minor": 100},
            final_rewards=[{**BANKED, "fallback": RIGHT}],
            step_rewards=[{"step": 1, "right": {**RIGHT, "supply": "shelf"}}],
            release={"instant_limit_minor": 100, "on": "settled", "hold_days": 7},
            collect="manual",
            collect_days=14,
            audience={"segments_any": ["a", "b"], "orders_30d_max": 0},
            holdout_bp=500,
            holdout_salt="spring",
            variants=[{"segment": "new", "days": 20, "step_rewards": []}, {"segment": "old"}],
            priority=-3,
            exclusion_group="veg",
            budget={"amount_minor": 5000},
            debt_days=60,
            results="required",
            reminders=[{"kind": "one_order_left", "before_hours": 48}],
            quiet="21:30-09:00",
            **drawing({"step": 2, "count": 1}),
        )
    )
    assert said == []
    assert isinstance(found, Campaign)
    right = Right("r", "cash", 1)
    final = Right("grocery", "red_packet", value="saved_amount", fallback=right)
    steps = {1: (msgspec.structs.replace(right, supply="shelf"),)}
    assert (found.target_amount_minor, found.match) == (9000, "any")
    assert found.saved == Saved("random", min_minor=10, max_minor=50, cap_minor=100)
    assert (found.final_rewards, found.step_rewards) == ((final,), steps)
    assert found.lottery == Lottery("p", 1, (Chances(2, 1),), "request", "expire")
    assert found.release == Release(100, Status.SETTLED, 7)
    assert (found.collect, found.collect_days) == ("manual", 14)
    assert found.audience == Audience(frozenset("ab"), orders_30d_max=0)
    assert (found.holdout_bp, found.holdout_salt) == (500, "spring")
    assert found.variants == (
        Variant("new", 20, 3, (final,), {}),
        Variant("old", 10, 3, (final,), steps),
    )
    assert (found.priority, found.exclusion_group) == (-3, "veg")
    assert found.budget == Budget(5000, 0)
    assert (found.debt_days, found.results) == (60, "required")
    assert found.reminders == (Reminder("one_order_left", 48 * 3_600_000),)
    assert found.quiet == Quiet(21 * 60 + 30, 9 * 60)


@pytest.mark.parametrize("audience", [None, "all", {}, {"segments_any": []}])
def test_everybody_may_take_part_where_nobody_is_left_out(audience):
    found, _ = definition_from({**campaign(), "audience": audience})
    assert isinstance(found, Campaign)
    assert found.audience is None


def test_a_lottery_alone_is_something_to_win():
    alone = {**drawing({"step": "final", "count": 1}), "step_rewards": [], "final_rewards": []}
    assert definition_from(campaign(**alone))[1] == []


FEATURES = {
    "saved": {"saved": {"rule": "fixed", "value_minor": 5}},
    "lottery": {"features": ["light_box", "full_link", "lottery"], "lottery": LOTTERY},
    "release": {"release": {"instant_limit_minor": 100, "on": "fulfilled", "hold_days": 7}},
    "collect": {"collect": "manual"},
    "audience": {"audience": {"segments_none": ["staff"]}},
    "holdout_bp": {"holdout_bp": 500},
    "variants": {"variants": [{"segment": "new", "days": 7}]},
    "exclusion_group": {"exclusion_group": "veg"},
    "budget": {"budget": {"max_tasks": 10}},
    "results": {"results": "required"},
    "reminders": {"reminders": [{"kind": "task_expiring", "before_hours": 24}]},
    "target.amount_minor": {"target": {"amount_minor": 5}},
    "right.value": {
        "saved": {"rule": "fixed", "value_minor": 5},
        "final_rewards": [{"right_id": "r", "type": "cash", "value": "saved_amount"}],
    },
    "right.fallback": {"final_rewards": [{**RIGHT, "right_id": "f", "fallback": RIGHT}]},
    "right.supply": {"final_rewards": [{**RIGHT, "supply": "shelf"}]},
}


@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_is_accepted(feature):
    assert problems(campaign(**FEATURES[feature])) == []


def test_all_problems_are_named_at_once():
    said = problems(campaign(version=0, colour="red", window={"days": 0}, currency="yuan"))
    assert len(said) == 4


@pytest.mark.parametrize("definition", [None, 7, "x", [], {}, {"type": "campaign.defined"}])
def test_whatever_is_no_definition_is_refused_without_an_exception(definition):
    assert problems(definition)


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ({"version": 3}, "version 3 must follow 1"),
        ({"version": 2}, "not after 2026-01-01T00:00:00+08:00"),
    ],
)
def test_versions_come_one_by_one_and_later_each_time(second, problem):
    campaigns = registry(campaign())
    again, _ = campaign_from(campaign(**second))
    assert again is not None
    with pytest.raises(ValueError, match=problem.replace("+", r"\+")):
        campaigns.with_version(again)


def test_a_version_is_in_force_from_its_first_instant_on():
    found, _ = campaign_from(campaign())
    assert found is not None
    campaigns = Campaigns.of([found])
    assert campaigns.in_force("three", found.effective_from_ms - 1) is None
    assert campaigns.in_force("three", found.effective_from_ms) == found

"""Campaign definitions: what is unclear is refused, with every problem at once."""

from __future__ import annotations

from typing import Any

import pytest

from streams.domain.campaign import Campaigns
from streams.domain.definition import campaign_from, parsed
from streams.domain.definition.built import NOT_BUILT
from tests.builders import campaign
from tests.given import registry

LOTTERY = {"pool_id": "p", "odds_version": 1, "chances": [{"step": "final", "count": 1}]}


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
        ({"clawback": {"coupon": "debt"}}, "coupon cannot be owed"),
        ({"lottery": LOTTERY}, "lottery feature and lottery object go together"),
        ({"budget": {"amount_minor": 1}}, "budget 1 cannot pay one task (1100)"),
    ],
)
def test_an_unclear_definition_is_refused_and_says_why(change, problem):
    said = problems(campaign(**change))
    assert any(problem in one for one in said), said


RIGHT = {"right_id": "r", "type": "cash", "value_minor": 1}
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


@pytest.mark.parametrize("feature", NOT_BUILT)
def test_what_is_not_built_is_refused_by_name_though_its_definition_is_clear(feature):
    definition = campaign(**FEATURES[feature])
    assert parsed(definition)[1] == []
    assert f"{feature}: not built in this version" in problems(definition)


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

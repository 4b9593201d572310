"""Who may take part: audience, hold-out, entry, risk, variants."""

from __future__ import annotations

import pytest

from tests.models.definitions import Version
from tests.models.given import THREE, USER, answer, auto, campaign, claim, labels, order, verdict
from tests.models.users import earn
from tests.models.who import held_out, in_audience, variant_of


@pytest.mark.parametrize(
    ("clauses", "context", "allowed"),
    [
        ({}, None, True),
        ({"segments_any": ["a", "b"]}, {"segments": ["b"]}, True),
        ({"segments_any": ["a", "b"]}, {"segments": ["c"]}, False),
        ({"segments_any": ["a"]}, None, False),
        ({"segments_all": ["a", "b"]}, {"segments": ["b", "a", "c"]}, True),
        ({"segments_all": ["a", "b"]}, {"segments": ["b"]}, False),
        ({"segments_none": ["a"]}, {"segments": []}, True),
        ({"segments_none": ["a"]}, {"segments": ["a"]}, False),
        ({"segments_none": ["a"]}, {"orders_30d": 1}, False),  # unknown never allows
        ({"orders_30d_max": 3}, {"orders_30d": 3}, True),
        ({"orders_30d_max": 3}, {"orders_30d": 4}, False),
        ({"orders_30d_max": 3}, {"segments": ["a"]}, False),
        ({"orders_30d_max": 0}, {"orders_30d": 0}, True),
    ],
)
def test_all_clauses_hold_and_what_is_unknown_never_allows(clauses, context, allowed):
    assert in_audience(Version(campaign(audience=clauses)), context) is allowed


def test_16_a_claimed_user_who_leaves_the_segment_still_counts():
    asked = campaign(audience={"segments_any": ["a"]})
    events = [claim(context={"segments": ["a"]}), order("o1", 1, context={"segments": []})]
    assert labels(earn(USER, events, [asked])) == ["1"]


def test_a_hold_out_is_drawn_from_the_user_and_the_salt():
    def out(bp: int, salt: str = "s", users: int = 2_000) -> int:
        version = Version(campaign(holdout_bp=bp, holdout_salt=salt))
        return sum(held_out(version, f"u-{n}") for n in range(users))

    assert out(0) == 0
    assert out(10_000) == 2_000
    assert 120 < out(1_000) < 280
    same, other = Version(campaign(holdout_bp=5_000)), Version(campaign("d", holdout_bp=5_000))
    assert any(held_out(same, f"u-{n}") != held_out(other, f"u-{n}") for n in range(100))


def test_refusals_of_c4_come_in_their_order():
    """HOLDOUT, RULE_AUDIENCE, RULE_ENTRY, ROUNDS_USED, COOL_DOWN, RULE_RISK."""
    strict = campaign(audience={"segments_any": ["a"]})
    assert answer([claim(entry="search")], "k-1", {**strict, "holdout_bp": 10_000})[0] == "HOLDOUT"
    assert answer([claim(entry="search")], "k-1", strict)[0] == "RULE_AUDIENCE"
    inside = {"context": {"segments": ["a"]}}
    assert answer([claim(entry="search", **inside)], "k-1", strict)[0] == "RULE_ENTRY"
    blocked = verdict("block", 4)
    again = [*THREE, blocked, claim("k-2", 5)]
    assert answer(again, "k-2")[0] == "ALREADY_ACTIVE"  # a block takes every order away
    assert answer([blocked, claim("k-2", 5)], "k-2")[0] == "RULE_RISK"
    assert answer([claim("k-2", 3), blocked], "k-2")[0] == "CLAIMED"  # judged as of the claim
    clear = verdict("clear", 5, name="v-2")
    assert answer([blocked, clear, claim("k-2", 6)], "k-2")[0] == "CLAIMED"


VARIANT = {
    "segment": "vip",
    "days": 3,
    "orders": 1,
    "step_rewards": [],
    "final_rewards": [{"right_id": "vip", "type": "points", "value_minor": 9}],
}


def test_a_variant_has_days_target_and_rewards_of_its_own():
    two = campaign(variants=[VARIANT, {**VARIANT, "segment": "new", "days": 9}])
    vip = claim(context={"segments": ["new", "vip"]})
    earned = earn(USER, [vip, order("o1", 1)], [two])
    assert labels(earned) == ["final@1"]
    assert earned.tasks[0]["variant"] == 1  # the first match wins
    assert variant_of(Version(two), {"segments": ["new"]}).days == 9
    assert variant_of(Version(two), {"segments": ["old"]}).days == 10
    assert variant_of(Version(two), None).days == 10


def test_what_a_variant_does_not_name_is_the_campaigns():
    longer = campaign(variants=[{"segment": "vip", "days": 12}])
    version = variant_of(Version(longer), {"segments": ["vip"]})
    assert (version.days, version.target, len(version.step_rewards)) == (12, 3, 3)


def test_an_automatic_task_is_judged_by_the_context_and_entry_of_its_order():
    asked = auto(audience={"segments_any": ["a"]})
    assert earn(USER, [order("o1", 1)], [asked]).tasks == []
    inside = {"segments": ["a"]}
    assert len(earn(USER, [order("o1", 1, context=inside)], [asked]).tasks) == 1
    elsewhere = order("o1", 1, context=inside, entry="search")
    assert earn(USER, [elsewhere], [asked]).tasks == []


def test_a_blocked_order_falls_away_and_clear_gives_it_back():
    assert labels(earn(USER, [*THREE, verdict("block", 4, "o2")], [campaign()])) == ["1", "2"]
    undone = [*THREE, verdict("block", 4, "o2"), verdict("clear", 5, "o2", "v-2")]
    assert labels(earn(USER, undone, [campaign()])) == ["1", "2", "3", "final@3"]
    assert labels(earn(USER, [*THREE, verdict("review", 4, "o2")], [campaign()])) == [
        *("1", "2", "3", "final@3"),  # held, yet due
    ]
    assert labels(earn(USER, [*THREE, verdict("block", 4)], [campaign()])) == []

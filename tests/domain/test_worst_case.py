"""The most that a task can cost, which is what its claim reserves (semantics.md 7)."""

from __future__ import annotations

import msgspec
import pytest

from streams.domain.campaign import Campaign, Right
from streams.domain.definition import campaign_from
from streams.domain.features import Saved, Variant
from streams.domain.worst_case import most_counted, most_saved_minor, worst_case
from tests.builders import campaign


def of(**changes: object) -> Campaign:
    """The 4.0 example: steps of 100, 200 and 300, 500 at the end, Y 3 in 10 days."""
    found, problems = campaign_from(campaign())
    assert found is not None, problems
    return msgspec.structs.replace(found, **changes)


BANKED = Right("grocery", "red_packet", value="saved_amount")


def test_all_steps_and_the_final_reward_are_reserved():
    assert worst_case(of()) == (1100, {})


def test_every_cycle_is_reserved():
    assert worst_case(of(mode="every_n", max_cycles=3)).amount_minor == 3300


@pytest.mark.parametrize(
    ("saved", "most"),
    [
        (None, 0),
        (Saved("percent", bp=300, cap_minor=800), 800),
        (Saved("percent", bp=300), None),
        (Saved("fixed", value_minor=70), 210),
        (Saved("random", min_minor=1, max_minor=50), 150),
        (Saved("table", table=(10, 20)), 50),
        (Saved("table", table=(10, 20, 30, 40)), 60),
    ],
)
def test_a_saved_amount_costs_its_cap_or_what_its_rule_can_reach(saved, most):
    assert most_saved_minor(of(saved=saved)) == most


def test_an_amount_target_counts_orders_past_the_target():
    asked = {"target_amount_minor": 10_000}
    assert most_counted(of(**asked)) == 10
    assert most_counted(of(**asked, match="any")) == 3
    assert most_counted(of(**asked, daily_cap=0)) is None


def test_a_saved_reward_costs_what_can_be_saved():
    one = of(saved=Saved("fixed", value_minor=70, cap_minor=100), final_rewards=(BANKED,))
    assert worst_case(one).amount_minor == 600 + 100


def test_a_fallback_counts_where_it_is_dearer_for_only_one_of_the_two_is_given():
    dear, cheap = Right("dear", "cash", 900), Right("cheap", "cash", 1)
    assert worst_case(of(final_rewards=(Right("a", "cash", 500, fallback=cheap),)))[0] == 1100
    assert worst_case(of(final_rewards=(Right("a", "cash", 500, fallback=dear),)))[0] == 1500


def test_units_of_supplied_rights_are_counted_by_pool_and_right():
    mug = Right("mug", "physical", 700, quantity=2, supply="shelf")
    one = of(mode="every_n", max_cycles=2, final_rewards=(mug,), step_rewards={1: (mug,)})
    assert worst_case(one).units == {("shelf", "mug"): 8}


def test_a_variant_has_a_worst_case_of_its_own():
    rich = Variant("rich", days=5, target_orders=2, final_rewards=(Right("r", "cash", 5000),))
    one = of(variants=(rich,))
    assert worst_case(one.with_variant(1)).amount_minor == 5000
    assert worst_case(one.with_variant(0)).amount_minor == 1100

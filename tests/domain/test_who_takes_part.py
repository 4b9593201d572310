"""C4 and C6: audience, hold-out, entries, variants, stops; of claims and of first orders alike."""

from __future__ import annotations

import pytest

from streams.domain.audience import held_out
from tests.builders import at, campaign, change, claim, order
from tests.given import given, registry

PICKY = {"segments_any": ["price", "new"], "segments_none": ["staff"], "orders_30d_max": 3}


def knowing(*segments: str, orders_30d: int | None = 0):
    return {"segments": list(segments), "orders_30d": orders_30d}


@pytest.mark.parametrize(
    ("audience", "context", "allowed"),
    [
        (PICKY, knowing("price"), True),
        (PICKY, knowing("other"), False),
        (PICKY, knowing("price", "staff"), False),
        (PICKY, knowing("price", orders_30d=3), True),
        (PICKY, knowing("price", orders_30d=4), False),
        (PICKY, knowing("price", orders_30d=None), False),
        (PICKY, {"orders_30d": 0}, False),
        (PICKY, None, False),
        ({"segments_all": ["a", "b"]}, knowing("a", "b", "c"), True),
        ({"segments_all": ["a", "b"]}, knowing("a"), False),
        ({"segments_none": ["staff"]}, knowing(), True),
        ({"segments_none": ["staff"]}, None, False),
    ],
)
def test_only_the_audience_takes_part_and_what_is_unknown_never_allows(audience, context, allowed):
    known = given(campaign(audience=audience), []).when(claim(context=context))
    known.then("task.claimed 0" if allowed else "claim.rejected RULE_AUDIENCE")


def test_fixture_16_who_leaves_the_segment_keeps_the_task():
    known = given(campaign(audience=PICKY), [claim(context=knowing("price"))])
    known.when(order("o1", context=knowing("staff"))).then("task.advanced 1", "issued 1 rp-1")


def test_a_share_of_the_users_is_held_out_and_it_is_always_the_same():
    (one,) = registry(campaign(holdout_bp=2500))
    out = [held_out(one, f"u-{n}") for n in range(4000)]
    assert 850 < sum(out) < 1150
    (salted,) = registry(campaign(campaign_id="other", holdout_bp=2500, holdout_salt="three"))
    assert [held_out(salted, f"u-{n}") for n in range(4000)] == out
    (other,) = registry(campaign(campaign_id="other", holdout_bp=2500))
    assert [held_out(other, f"u-{n}") for n in range(4000)] != out


def test_the_held_out_are_told_so_before_anything_else_is_asked():
    everybody = campaign(holdout_bp=10_000, audience=PICKY)
    given(everybody, []).when(claim(entry="billboard")).then("claim.rejected HOLDOUT")


LOYAL = {
    "segment": "loyal",
    "days": 2,
    "orders": 1,
    "step_rewards": [],
    "final_rewards": [{"right_id": "big", "type": "points", "value_minor": 900}],
}
VARIED = campaign(variants=[LOYAL, {**LOYAL, "segment": "new", "days": 5}])


def test_the_first_variant_that_matches_gives_days_target_and_rewards():
    known = given(VARIED, []).when(claim(context=knowing("new", "loyal")))
    view = known.outputs[0].body["view"]
    assert (view["target"], view["deadline"]) == (1, "2026-03-04T00:00:00+08:00")
    known.when(order("o1")).then("task.advanced 1", "task.completed 1", "issued 1 big")
    assert known.task().variant == 1


@pytest.mark.parametrize("context", [knowing("other"), None])
def test_who_is_in_no_variant_has_the_campaign_itself(context):
    known = given(VARIED, [claim(context=context)])
    known.when(order("o1")).then("task.advanced 1", "issued 1 rp-1")


def test_fixture_17_a_stopped_campaign_goes_on_for_those_in_it_and_takes_nobody_else():
    stopped = change("campaign.stopped", campaign_id="three", effective_from=at(2).isoformat())
    known = given([campaign(rounds={"max": 2}), stopped], [claim(), order("o1"), order("o2")])
    known.when(order("o3"))
    known.then("task.advanced 3", "task.completed 3", "issued 3 c-3", "issued 3 pts")
    known.when(claim("k2", day=4)).then("claim.rejected CAMPAIGN_STOPPED")


AUTO = {"enrolment": "auto", "audience": {"segments_any": ["price"]}}


def test_a_task_that_begins_by_itself_is_judged_by_its_order():
    known = given(campaign(**AUTO), [])
    known.when(order("o1")).then("order.ignored NO_TASK")
    known.when(order("o2", entry="elsewhere", context=knowing("price")))
    known.then("order.ignored NO_TASK")
    known.when(order("o3", entry="home", context=knowing("price")))
    known.then("task.claimed 1", "task.advanced 1", "issued 1 rp-1")
    known.when(order("o4")).then("task.advanced 2", "issued 2 rp-2")  # judged once


def test_an_order_that_does_not_say_where_it_came_from_is_not_judged_by_it():
    known = given(campaign(**AUTO), [])
    known.when(order("o1", context=knowing("price")))
    known.then("task.claimed 1", "task.advanced 1", "issued 1 rp-1")


def test_an_order_gives_a_variant_as_a_claim_does():
    known = given(campaign(enrolment="auto", variants=[LOYAL]), [])
    known.when(order("o1", context=knowing("loyal")))
    known.then("task.claimed 1", "task.advanced 1", "task.completed 1", "issued 1 big")


def test_a_stopped_campaign_does_not_begin_by_itself():
    stopped = change("campaign.stopped", campaign_id="three", effective_from=at(2).isoformat())
    known = given([campaign(enrolment="auto"), stopped], [])
    known.when(order("o2")).then("order.ignored NO_TASK")

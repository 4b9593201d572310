"""One order, several tasks: exclusion groups, priority, pins (P5)."""

from __future__ import annotations

from tests.models.given import USER, campaign, cancel, claim, event, order
from tests.models.replay import Replay
from tests.models.users import earn
from tests.models.world import Pin


def pair(**second: object) -> list[dict]:
    """Two campaigns of one group; the second is told."""
    return [campaign("c", exclusion_group="veg"), campaign("d", exclusion_group="veg", **second)]


BOTH = [claim(), claim("k-2", campaign_id="d", clock="10:00:01")]


def counts(events: list[dict], definitions: list[dict], **more: object) -> list[int]:
    return [task["counted"] for task in earn(USER, events, definitions, **more).tasks]


def test_12_in_one_group_the_higher_priority_has_the_order():
    assert counts([*BOTH, order("o", 1)], pair(priority=5)) == [0, 1]
    assert counts([*BOTH, order("o", 1)], [campaign("c"), campaign("d", priority=5)]) == [1, 1]
    two_groups = [campaign("c", exclusion_group="a"), campaign("d", exclusion_group="b")]
    assert counts([*BOTH, order("o", 1)], two_groups) == [1, 1]


def test_an_order_that_is_spare_in_one_counts_in_the_other():
    events = [
        *BOTH,
        order("a", 1, "11:00:00"),
        order("b", 1, "12:00:00"),
        order("x", 1, "13:00:00"),
    ]
    assert counts(events, pair(priority=5)) == [1, 1]  # the third is spare of both


def test_then_the_earlier_deadline_then_the_earlier_claim_then_the_smaller_id():
    assert counts([*BOTH, order("o", 1)], pair(window={"days": 9})) == [0, 1]
    assert counts([*BOTH, order("o", 1)], pair()) == [1, 0]
    same = [claim(), claim("k-2", campaign_id="d")]
    earned = earn(USER, [*same, order("o", 1)], pair())
    winner = min(earned.tasks, key=lambda task: task["task_id"])
    assert winner["counted"] == 1


def test_a_pinned_order_stays_with_its_task():
    events = [claim(), order("o", 1), claim("k-2", campaign_id="d", clock="09:00:00")]
    first = earn(USER, events, pair()).tasks[0]["task_id"]
    assert counts(events, pair(priority=5)) == [0, 1]
    assert counts(events, pair(priority=5), pins=[Pin("o", first, (0, 0, "", 0))]) == [1, 0]


def test_what_a_paid_step_rested_on_is_pinned_as_the_events_are_read():
    first, second = claim(), claim("k-2", campaign_id="d", clock="09:00:00")
    definitions = pair(priority=5)
    paid = [first, order("o", 1), second]
    pins = Replay(USER, definitions).read(paid).pins
    assert [(pin.order, pin.task_id) for pin in pins] == [
        ("o", earn(USER, paid, definitions).tasks[0]["task_id"])
    ]
    assert counts(paid, definitions, pins=pins) == [1, 0]
    unpaid = [first, second, order("o", 1)]
    assert counts(unpaid, definitions, pins=Replay(USER, definitions).read(unpaid).pins) == [0, 1]


def test_a_cancelled_order_gives_its_place_to_the_spare_in_the_same_group():
    events = [*BOTH, order("a", 1, "11:00:00"), order("b", 1, "12:00:00")]
    assert counts([*events, cancel("a")], pair(priority=5)) == [0, 1]


def test_of_two_automatic_campaigns_of_a_group_the_first_by_p5_begins():
    both = [{**one, "enrolment": "auto"} for one in pair(priority=5)]
    begun = [task["campaign_id"] for task in earn(USER, [order("o", 1)], both).tasks]
    assert begun == ["d"]
    later = [order("o", 1), order("p", 1, "13:00:00")]  # spare of the first: counts for the other
    assert [task["campaign_id"] for task in earn(USER, later, both).tasks] == ["c", "d"]


def test_no_task_of_a_group_begins_at_an_order_that_it_would_not_count():
    """Section 2, enrolment: "a user's first order that would count begins it"."""
    auto = {"enrolment": "auto", "audience": {"segments_any": ["new"]}}
    both = [{**one, **auto} for one in pair(priority=5)]
    fits = {"context": {"segments": ["new"], "orders_30d": 0}}
    first = [order("o", 1), order("p", 1, "13:00:00", **fits)]  # o would be the day's, of either
    assert earn(USER, first, both).tasks == []
    begun = earn(USER, [*first, order("q", 2, **fits)], both).tasks
    assert [task["campaign_id"] for task in begun] == ["d"]


def test_what_a_fallback_was_paid_for_is_pinned():
    """Section 7: the fallback right becomes due as its own reward; P5, glossary: a paid step."""
    instead = {"right_id": "instead", "type": "points", "value_minor": 70}
    final = {"right_id": "pts", "type": "points", "value_minor": 500, "fallback": instead}
    definitions = [
        {**one, "target": {"orders": 1}, "step_rewards": [], "final_rewards": [final]}
        for one in pair()
    ]
    read = [claim(), order("o", 1, "13:00:00")]
    [due] = Replay(USER, definitions).read(read).earned.dues.values()
    failed = event("reward.result", 2, reward_id=due.reward_id, seq=1, outcome="failed")
    replayed = Replay(USER, definitions).read([*read, failed, order("p", 1, "12:00:00")])
    assert [pin.order for pin in replayed.pins] == ["o", "p"]

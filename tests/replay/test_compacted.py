"""Rows of which a part is compacted: explained and shown, with what is left and no lie about it."""

from __future__ import annotations

from streams.domain import facts, frozen
from streams.domain.render import Asking, render
from streams.domain.state import canonical_state, new
from streams.replay import story
from streams.replay.explanation import Question, explained
from tests.builders import at, campaign, claim, millis, order, tick
from tests.given import given

THREE = campaign(rounds={"max": 9})
FIRST = [claim(), order("o1"), order("o2"), order("o3")]
LATER = [claim("k2", day=14), order("o15")]


def compacted():
    known = given(THREE, [*FIRST, *LATER]).when(*(tick(day) for day in (11, 24, 41, 49)))
    assert [task.frozen for task in known.state.tasks] == [True, False]
    return known


def asked(known, told):
    question = Question(known.state.user_id, known.state, told, None, millis(at(49)), 0)
    return explained(question, known.campaigns)


def test_what_is_left_of_a_row_is_explained_on_what_is_compacted():
    known = compacted()
    left = facts.unpack(known.state.facts)
    report = asked(known, story.of_row(known.state, left))
    assert [task["counted"] for task in report["tasks"]] == [3, 1]
    assert report["differs_from_events"] == []
    assert report["known"]


def test_a_log_read_from_its_beginning_explains_all_of_it():
    known = compacted()
    whole = given(THREE, [*FIRST, *LATER]).state
    report = asked(known, story.of_row(whole, facts.unpack(whole.facts)))
    assert report["differs_from_events"] == []
    assert sum(event["id"] is not None for event in report["events"]) == 6
    assert all(event["outcome"] != "compacted" for event in report["events"])


def test_tasks_and_rewards_are_shown_as_before():
    known, before = compacted(), given(THREE, [*FIRST, *LATER])
    before.when(*(tick(day) for day in (11, 24, 41)))
    for at_ms in (millis(at(42)), millis(at(100))):
        shown, was = (
            render(one.state, known.campaigns, Asking(role="operator"), None, at_ms)
            for one in (known, before)
        )
        assert (shown["tasks"], shown["hidden"]) == (was["tasks"], was["hidden"])
        assert shown["rewards"] == was["rewards"]


def test_a_compacted_row_and_a_whole_one_of_the_same_events_are_alike():
    known, whole = compacted().state, given(THREE, [*FIRST, *LATER]).state
    one, other = frozen.alike(known, whole)
    assert one == other
    assert canonical_state(known) != canonical_state(whole)
    fewer = given(THREE, [*FIRST[:-1], *LATER]).state
    one, other = frozen.alike(known, fewer)
    assert one != other
    assert frozen.alike(new("u"), new("u"))[0] == canonical_state(new("u"))

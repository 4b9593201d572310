"""Rendering at a past moment: what was not yet recorded then is not shown."""

from __future__ import annotations

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from streams.domain import facts
from streams.domain.fold import step
from streams.domain.render import OPERATOR, Asking, render
from streams.domain.state import new
from tests.asking import answer, asked, user, with_budget
from tests.builders import at, campaign, cancel, claim, millis, order, tick
from tests.given import given
from tests.replay.test_trace import world

FULL = Asking(role=OPERATOR)
SEEN = ("task_id", "state", "counted", "accumulated_minor", "saved_minor", "deadline")


def seen(row, campaigns, at_ms, now_ms):
    """The tasks, those shown and those not any more."""
    answer = render(row, campaigns, FULL, at_ms, now_ms)
    mine = [one for one in answer["tasks"] if one["state"] != "claimable"] + answer["hidden"]
    return sorted(tuple(one[name] for name in SEEN) for one in mine)


def counted(that, day):
    (task,) = render(that.state, that.campaigns, FULL, millis(at(day)), millis(at(60)))["tasks"]
    return task["state"], task["counted"]


def test_an_order_recorded_late_is_not_seen_before_its_record():
    late = order("o2", recorded=at(4))
    that = given(campaign(), [claim(), order("o1"), late])
    assert counted(that, 3) == ("active", 1)
    assert counted(that, 5) == ("active", 2)


def test_before_a_cancellation_came_its_order_is_seen_to_count():
    that = given(campaign(), [claim(), order("o1"), cancel("o1", day=2, recorded=at(4))])
    assert counted(that, 3) == ("active", 1)
    assert counted(that, 5) == ("active", 0)


def test_a_task_that_a_tick_has_expired_since_was_active_then():
    that = given(campaign(), [claim(), order("o1"), tick(11)])
    assert counted(that, 3) == ("active", 1)


def test_a_task_whose_pool_had_not_answered_was_pending():
    that = user(with_budget(campaign())).when(claim(day=1))
    (request,) = asked(that, "pool.reserve")
    that.when(answer(request, "granted", delay_s=3 * 86_400))
    assert counted(that, 3) == ("pending", 0)
    assert counted(that, 5) == ("active", 0)


@pytest.mark.parametrize(
    "features", [(), ("amount", "saved"), ("stop", "kill"), ("risk",)], ids="+".join
)
@hypothesis.settings(max_examples=40)
@hypothesis.given(seed=st.integers(0, 10**6), day=st.integers(1, 60))
def test_what_is_seen_at_a_past_moment_is_what_a_row_of_that_moment_shows(features, seed, day):
    campaigns, row = world(seed, features)
    at_ms = millis(at(day))
    then = new(row.user_id)
    for fact in facts.unpack(row.facts):
        if fact.recorded_at_ms <= at_ms:
            event = msgspec.structs.replace(fact, user_id=row.user_id)
            then = step(then, event, campaigns).state
    assert seen(row, campaigns, at_ms, millis(at(90))) == seen(then, campaigns, at_ms, at_ms)

"""The laws of time: ticks are events, their spacing does not show, and nothing is said twice."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import strategies as st

from streams.domain.days import Calendar, instant_ms
from streams.domain.fold import step
from streams.domain.state import canonical_state, new
from streams.domain.view import state_of
from tests import histories
from tests.builders import USER, at, decoded, tick
from tests.given import registry, require_both_paths_alike

if TYPE_CHECKING:
    from streams.domain.registry import Campaigns
    from streams.domain.state import UserState

TICKS = st.builds(tick, st.integers(1, 60), histories.CLOCKS)
IN_TIME = st.builds(tick, st.integers(1, 9), histories.CLOCKS)  # no history is over by then
AFTER_ALL = tick(300)  # when every history is over


def fold(events: list[dict[str, Any]], campaigns: Campaigns) -> tuple[UserState, list[Any]]:
    state, said = new(USER), []
    for event in events:
        state, outputs, _ = step(state, decoded(event), campaigns)
        said += outputs
    return state, said


def with_ticks(events: list[dict[str, Any]], apart: timedelta) -> list[dict[str, Any]]:
    """Let time come as far as each record, in steps of `apart`, before the record is read."""
    arrived, now = [], at(1)
    for event in sorted(events, key=lambda event: event["recorded_at_ms"]):
        read = at(1, "00:00") + timedelta(
            milliseconds=event["recorded_at_ms"] - round(at(1, "00:00").timestamp() * 1000)
        )
        while now + apart < read:
            now += apart
            arrived.append({"type": "tick", "at": now.isoformat()})
        now = max(now, read)
        arrived += [{"type": "tick", "at": now.isoformat()}, event]
    return [*arrived, AFTER_ALL]


@hypothesis.given(
    histories.reminding_campaigns(), histories.histories(10), st.sampled_from([60, 3 * 60, 23 * 60])
)
def test_ticks_far_apart_say_what_ticks_close_together_say(campaigns, events, minutes):
    events = histories.one_of_each(events)
    close, said = fold(with_ticks(events, timedelta(minutes=minutes)), campaigns)
    far, said_far = fold(with_ticks(events, timedelta(days=400)), campaigns)
    notices = [o for o in said if o.type == "notice.due"]
    assert [o for o in said if o not in notices] == [o for o in said_far if o.type != "notice.due"]
    assert all(o in notices for o in said_far if o.type == "notice.due")  # overdue ones are dropped
    assert far == close


@hypothesis.given(histories.campaigns(), st.lists(IN_TIME), histories.histories(), st.randoms())
def test_ticks_between_the_facts_of_any_order_change_no_fact_and_no_reward(
    campaign, ticks, events, rng
):
    campaigns, events = registry(campaign), histories.one_of_each(events)
    arrived = [*events, *ticks]
    rng.shuffle(arrived)
    plain, _ = fold(events, campaigns)
    mixed, _ = fold(arrived, campaigns)
    assert canonical_state(mixed) == canonical_state(plain)
    ends = [fold([*order, AFTER_ALL], campaigns)[0] for order in (events, arrived)]
    assert [state_of(task) for task in ends[0].tasks] == [state_of(task) for task in ends[1].tasks]
    assert ends[0].due_ms == ends[1].due_ms == 0


@hypothesis.given(
    histories.reminding_campaigns(), st.lists(st.one_of(TICKS, *[histories.FACTS] * 3), max_size=25)
)
def test_nothing_is_said_twice_however_often_a_task_expires_revives_and_returns(campaigns, events):
    _, said = fold(events, campaigns)
    ids = [output.event_id for output in said]
    assert len(ids) == len(set(ids))


@hypothesis.given(
    histories.reminding_campaigns(), st.lists(st.one_of(TICKS, *[histories.FACTS] * 3), max_size=20)
)
def test_the_short_path_leaves_the_deadline_that_the_walk_does(campaigns, events):
    state = new(USER)
    for event in events:
        fact = decoded(event)
        fold_ = step if event["type"] == "tick" else require_both_paths_alike
        state = fold_(state, fact, campaigns).state


@hypothesis.given(
    histories.reminding_campaigns(), st.lists(st.one_of(TICKS, *[histories.FACTS] * 3), max_size=20)
)
def test_a_tick_folded_twice_is_a_tick_folded_once(campaigns, events):
    twice = [one for event in events for one in [event] * (1 + (event["type"] == "tick"))]
    assert fold(twice, campaigns) == fold(events, campaigns)


@hypothesis.given(
    st.integers(0, 4_102_444_800_000), st.sampled_from(["UTC", "Asia/Shanghai", "America/St_Johns"])
)
def test_a_time_that_was_written_in_any_zone_is_read_as_the_same_millisecond(at_ms, zone):
    text = Calendar(zone).text(at_ms)
    assert instant_ms(text) == at_ms
    with pytest.raises(ValueError, match="has no offset"):
        instant_ms(text[:-6])

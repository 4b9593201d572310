"""The law of compaction: nothing that lies behind it comes out otherwise."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from streams.domain.fold import step
from streams.domain.state import new
from tests import histories
from tests.builders import USER, cancel, claim, decoded, order, tick
from tests.given import registry, said

COMPACT_AT = st.integers(30, 75)


@hypothesis.given(histories.campaigns(), histories.histories(12), COMPACT_AT, st.randoms())
def test_what_lies_after_it_comes_out_as_if_nothing_had_been_compacted(campaign_, events, day, rng):
    """Events of later days, in any order of arrival: each says and leaves the same."""
    campaigns, events = registry(campaign_), histories.one_of_each(events)
    ticks = [tick(n) for n in (*range(4, day, 9), day)]
    state = new(USER)
    for event in (*events, *ticks):
        state = step(state, decoded(event), campaigns).state
    later = [claim("later", day=day)]
    later += [order(f"z{day + n}", day=day + n) for n in range(4)]
    later += [cancel(f"z{day + 1}", day=day + 4), cancel(f"z{day + 2}", day=day + 2)]
    rng.shuffle(later)
    plain = whole(events, ticks, campaigns)
    for event in later:
        one, other = step(state, decoded(event), campaigns), step(plain, decoded(event), campaigns)
        assert sorted(map(said, one.outputs)) == sorted(map(said, other.outputs))
        assert [o.event_id for o in one.outputs] == [o.event_id for o in other.outputs]
        state, plain = one.state, other.state
        assert [t.counted for t in state.tasks] == [t.counted for t in plain.tasks]


def whole(events, ticks, campaigns):
    """The same user, of whom nothing was ever compacted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "streams.domain.compaction.compacted", lambda state, _at_ms, _campaigns: state
        )
        state = new(USER)
        for event in (*events, *ticks):
            state = step(state, decoded(event), campaigns).state
    return state

"""What time alone does to one user: a tick says how far it has come (D8).

A tick is folded as if there had been one at every deadline on the way: the earliest goes first,
with a cause (`deadline:<time>`) and a time of its own. So the spacing of ticks does not show in
what is said, only in when. A tick folded twice finds nothing the second time.

Each part of the fold that waits for time is a `Timed`; `fold.PARTS` names them all. Source:
semantics.md 4 `cause_id`, 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from streams.domain import notices
from streams.domain.announce import UTC, Announcer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from streams.domain.state import UserState


class Instant(NamedTuple):
    """A deadline that a tick has reached. Only what may be overdue asks when the tick was."""

    at_ms: int
    tick_ms: int
    say: Announcer


class Timed(Protocol):
    """A part of the fold to which time alone does something; a module with these two functions."""

    def next_deadline_ms(self, state: UserState, campaigns: Campaigns, /) -> int:
        """Return the earliest instant at which it has something to do; 0: never.

        It may lie in the past: then it is for the next tick. Asked after every event, so it must
        not walk the facts nor unpack the ledger: what it needs of those it keeps in the state.
        """

    def pass_time(
        self, state: UserState, now: Instant, campaigns: Campaigns, /
    ) -> tuple[UserState, list[Output]]:
        """Do what is due at exactly `now.at_ms`, and leave a later deadline, or none."""


def next_ms(state: UserState, parts: Sequence[Timed], campaigns: Campaigns) -> int:
    """Return the earliest deadline of all parts; 0: time alone changes nothing."""
    due_ms = 0
    for part in parts:
        at_ms = part.next_deadline_ms(state, campaigns)
        if at_ms and (not due_ms or at_ms < due_ms):
            due_ms = at_ms
    return due_ms


def dated(state: UserState, parts: Sequence[Timed], campaigns: Campaigns) -> UserState:
    """Return the state with its next deadline: the last step of every fold that changed it."""
    due_ms = next_ms(state, parts, campaigns)
    return state if due_ms == state.due_ms else msgspec.structs.replace(state, due_ms=due_ms)


def pass_until(
    state: UserState, tick_ms: int, parts: Sequence[Timed], campaigns: Campaigns
) -> tuple[UserState, tuple[Output, ...]]:
    """Pass every deadline up to and including `tick_ms`, in their order."""
    outputs: tuple[Output, ...] = ()
    while 0 < state.due_ms <= tick_ms:
        at_ms = state.due_ms
        say = Announcer(state.user_id, f"deadline:{UTC.text(at_ms)}", at_ms)
        now = Instant(at_ms, tick_ms, say)
        said: list[Output] = []
        for part in parts:
            state, more = part.pass_time(state, now, campaigns)
            said += more
        state, all_said = notices.of_issued(state, tuple(said), campaigns)
        outputs += all_said
        due_ms = next_ms(state, parts, campaigns)
        assert due_ms != at_ms, f"a deadline that does not pass: {at_ms}"
        state = msgspec.structs.replace(state, version=state.version + 1, due_ms=due_ms)
    return state, outputs

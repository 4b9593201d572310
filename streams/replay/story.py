"""One user's events folded again, from nothing, in the order of their records: what each one did.

The live worker folds a partition's topics merged by record time (feed/align.py), so this is its
order but for records that came late; whether the outcome is that of the row is compared, not
assumed. Time passes as far as ticks had come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.domain import frozen
from streams.domain.events import (
    CancellationReported,
    OrderReported,
    PoolAnswered,
    RewardResult,
    Tick,
)
from streams.domain.fold import step
from streams.domain.state import new, unpack_ledger
from streams.topics import CANCELLATIONS, CLAIMS, DRAW_RESULTS, ORDERS, REWARD_RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.domain.events import Fact
    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from streams.domain.state import UserState
    from streams.position import Position

SOURCES = (ORDERS, CLAIMS, CANCELLATIONS, REWARD_RESULTS, DRAW_RESULTS)
"""The topics that speak of a user, in the order in which a worker folds them."""


class Told(NamedTuple):
    """One event, and where its record stands; None: not looked for, or not found."""

    event: Fact | RewardResult
    position: Position | None


class Chapter(NamedTuple):
    """What one event, or time alone (told None), did; outcome as `fold.Outcome` says it."""

    told: Told | None
    at_ms: int
    outcome: str
    outputs: tuple[Output, ...]


class Story(NamedTuple):
    """All that happened, and the state that it leads to."""

    chapters: list[Chapter]
    state: UserState


def topic_of(event: Fact | RewardResult) -> str:
    """Return the topic whose records become such events."""
    if isinstance(event, OrderReported):
        return ORDERS
    if isinstance(event, CancellationReported):
        return CANCELLATIONS
    if isinstance(event, PoolAnswered):
        return DRAW_RESULTS
    return REWARD_RESULTS if isinstance(event, RewardResult) else CLAIMS


def told_again(
    user_id: str,
    told: Iterable[Told],
    campaigns: Campaigns,
    ticked_ms: int,
    row: UserState | None = None,
) -> Story:
    """Fold the events again in the order of their records. ticked_ms: the latest tick; 0: none.

    row: whose events they are, if there is one. Where they are only those that it has left, they
    are folded on what is compacted of it.
    """
    told = list(told)
    state, chapters = new(user_id), list[Chapter]()
    if row is not None and row.frozen:
        facts = [one.event for one in told if not isinstance(one.event, RewardResult)]
        if not any(frozen.is_gone(row, fact) for fact in facts):
            state = frozen.alone(row)

    def pass_time(to_ms: int) -> None:
        nonlocal state
        if 0 < state.due_ms <= to_ms:
            state, outputs, outcome = step(state, Tick(user_id, to_ms), campaigns)
            chapters.append(Chapter(None, to_ms, str(outcome), outputs))

    for one in sorted(told, key=_place):
        pass_time(min(one.event.recorded_at_ms, ticked_ms))
        state, outputs, outcome = step(state, one.event, campaigns)
        chapters.append(Chapter(one, one.event.recorded_at_ms, str(outcome), outputs))
    pass_time(ticked_ms)
    return Story(chapters, state)


def differences(row: UserState, again: UserState) -> list[str]:
    """Return in what a row differs from what its events give when they are folded again.

    That is no fault: the ledger of a row remembers in which order things came in. What was
    compacted has no events in the row to be folded again, and is not held against them.
    """
    live, told = frozen.alike(row, again)
    found = [] if row.frozen or live == told else ["state"]
    ours, theirs = unpack_ledger(row.ledger), unpack_ledger(again.ledger)
    for reward_id in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(reward_id), theirs.get(reward_id)
        if one is not None and one.frozen:
            continue
        if one is None or other is None or one.seq != other.seq or one.state != other.state:
            found.append(reward_id)
    return found


def reached_ms(row: UserState) -> int:
    """Return how far ticks had come for this user, at least: 0 if none did anything."""
    times = [time for task in row.tasks for time in (task.passed_ms, task.noticed_ms)]
    return max([row.noticed_ms, *times], default=0)


def of_row(row: UserState, facts: Sequence[Fact]) -> list[Told]:
    """Return a row's facts, of which the positions are yet to be found."""
    return [Told(_of_user(fact, row.user_id), None) for fact in facts]


def _of_user(fact: Fact, user_id: str) -> Fact:
    return msgspec.structs.replace(fact, user_id=user_id)


def _place(told: Told) -> tuple[int, int, int, int]:
    event, position = told
    topic = SOURCES.index(topic_of(event))
    offset = position.offset if position else 0
    return event.recorded_at_ms, topic, event.occurred_at_ms, offset

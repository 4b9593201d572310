"""From what a walk found to the ledger: what is due, the records that make it so, and time.

`next_deadline_ms` and `pass_time` are the ledger's part of a tick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.domain import (
    answers,
    asking,
    asks,
    earned,
    facts,
    holding,
    ledger,
    reservations,
)
from streams.domain import dues as dues_
from streams.domain.asks import ASKED, DENIED, RELEASED
from streams.domain.changes import calendar_of
from streams.domain.groups import pinned
from streams.domain.settling import Settling
from streams.domain.state import KILLED, pack_ledger, unpack_ledger
from streams.domain.walk import walked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.domain.announce import Announcer
    from streams.domain.asks import Ask, Asked
    from streams.domain.campaign import Campaign
    from streams.domain.counting import Tally
    from streams.domain.deadlines import Instant
    from streams.domain.events import Fact, RewardResult
    from streams.domain.ledger import Due
    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from streams.domain.state import Entry, UserState
    from streams.domain.walk import Walk


def dues_of(walk: Walk, tallies: list[Tally], asked: Asked, known: Iterable[Fact]) -> list[Due]:
    """Return every reward that is due to a user, with what each still waits for.

    walk: after all facts; tallies: its own; known: the facts. A pending task has none yet.
    """
    taken: dict[str, int] | None = None
    found: list[Due] = []
    for tally in tallies:
        if tally.task.pending or tally.task.frozen:
            continue
        campaign = walk.campaigns.of_task(tally.task)
        dues = earned.of_tally(tally, asked, walk.campaigns, walk.verdict(tally.task))
        if dues and holding.asks(campaign):
            taken = holding.collected(known) if taken is None else taken
            dues = holding.with_waits(dues, tally.counted, walk.parts_of(tally.task), taken)
        found += dues
    return found


def terms(dues: Iterable[Due]) -> list[tuple[object, ...]]:
    """Return what the ledger goes by in what is due: not how far its task is."""
    return [(due.reward_id, due.right, due.held, due.ready_ms, due.collect_by_ms) for due in dues]


def policies_of(entries: dict[str, Entry], campaigns: Campaigns) -> dict[str, Campaign]:
    return {
        entry.reward_id: campaigns.pinned(entry.campaign_id, entry.campaign_version)
        for entry in entries.values()
    }


class Settled(NamedTuple):
    """What is said, the results that still wait for their command, and when time acts next."""

    outputs: list[Output]
    early: list[RewardResult]
    next_ms: int


def settle(  # noqa: PLR0913  # what is due, what stands, what was answered, and when
    entries: dict[str, Entry],
    dues: list[Due],
    early: list[RewardResult],
    asked: Asked,
    campaigns: Campaigns,
    say: Announcer,
    now_ms: int = 0,
) -> Settled:
    """Bring the ledger to what is due, and fold results whose command is given by that.

    early: results that wait for their command, or for the money of what was not taken back.
    Changes `entries` and `asked`. now_ms: the deadline that has passed, if one did.
    """
    dues = dues_.with_fallbacks(entries, dues)
    out = answers.not_taken_back(early, entries)
    dues, short, unpaid = reservations.affordable(dues, entries, asked, campaigns, now_ms, out)
    policies = policies_of(entries, campaigns)
    policies |= {due.reward_id: due.campaign for due in ledger.with_all_fallbacks(dues)}
    settling = Settling(entries, policies, say.at_ms, now_ms, asked.over(), unpaid)
    if out:  # before what is due: that may be the very same, and is not given twice
        early, _ = answers.apply_early(settling, early)
    settling.bring_to(dues)
    unsettled = bool(early)
    while unsettled:
        early, unsettled = answers.apply_early(settling, early)
        if unsettled:
            settling.bring_to(dues)
    outputs = said(settling, campaigns, say)
    outputs += asking.spent_after_all(settling.changes, asked, say)
    outputs += asking.after_ledger(entries, short, campaigns, asked, say)
    return Settled(outputs, early, ledger.next_deadline_ms(entries, dues, policies, now_ms))


def at_rest(state: UserState, reserved: Sequence[Ask], campaigns: Campaigns) -> bool:
    """Tell whether the ledger would stay as it is, were it brought to the same dues again.

    Not while a reward waits, a debt is open, a result has come too early, or what fell due after
    its reservation was given back is short. reserved: all reservations, as they stood.
    """
    if state.owed_minor or state.early.count or state.ledger_ms:
        return False
    for task in state.tasks:
        if task.held or task.ended == KILLED or holding.asks(campaigns.of_task(task)):
            return False
    over = {ask.task_id for ask in reserved if ask.state == RELEASED}
    return not any(ask.task_id in over and ask.state in (ASKED, DENIED) for ask in reserved)


def said(settling: Settling, campaigns: Campaigns, say: Announcer) -> list[Output]:
    return [say.ledger(change, calendar_of(change, campaigns)) for change in settling.changes]


def next_deadline_ms(state: UserState, _campaigns: Campaigns) -> int:
    """Return the next instant at which time alone changes the ledger; 0: none.

    It may have passed already: what is due again after its days of hold goes at the next tick.
    """
    return state.ledger_ms


def pass_time(
    state: UserState, now: Instant, campaigns: Campaigns
) -> tuple[UserState, list[Output]]:
    """Do what is due at exactly this instant: end waits, write debts off."""
    if state.ledger_ms != now.at_ms:
        return state, []
    asked, known = asks.unpack(state.asks), facts.unpack(state.facts)
    walk = walked(state, known, asked, campaigns)
    tallies = walk.tallies()
    dues = dues_of(walk, tallies, asked, known)
    entries, early = unpack_ledger(state.ledger), answers.unpack(state.early)
    settled = settle(entries, dues, early, asked, campaigns, now.say, now.at_ms)
    after = msgspec.structs.replace(
        state,
        ledger=pack_ledger(entries),
        owed_minor=ledger.owed(entries),
        asks=asked.pack(),
        asks_ms=asking.earliest_ms(state.tasks, entries, asked, campaigns),
        early=answers.pack(settled.early),
        ledger_ms=settled.next_ms,
    )
    return pinned(after, tallies, entries, campaigns), settled.outputs

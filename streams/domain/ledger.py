"""The ledger: what is due against what stands, and the money of each change.

Nothing else issues or revokes, so a cancellation needs no rule of its own: what is due is the
fold's answer, the entries are what we told the world, and the difference goes out. `rights.py` is
the table of how a reward moves, `settling.py` decides which line applies, `setoff.py` keeps the
debts, `holding.py` says what a due reward still waits for.
Source: semantics.md 5 `Clawback`, 7; L1, L3, L6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.days import DAY_MS
from streams.domain.dues import (
    Change,
    Due,
    may_be_given,
    new_entry,
    with_all_fallbacks,
    with_fallbacks,
)
from streams.domain.holding import next_wait_ms
from streams.domain.rights import ISSUE, home_of
from streams.domain.setoff import owed
from streams.domain.settling import Settling
from streams.domain.state import ISSUED, ISSUING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from streams.domain.campaign import Campaign
    from streams.domain.state import Entry

__all__ = [
    "Change",
    "Due",
    "Settling",
    "issue_first",
    "next_deadline_ms",
    "owed",
    "settle",
    "with_all_fallbacks",
]


def issue_first(due: Due) -> Change:
    """Issue at once a reward that never was, to a user without debts: the fast path of `settle`.

    For a due reward that waits for nothing, of a task whose end + grace have not passed.
    """
    entry = new_entry(due)
    entry.seq = 1
    entry.state = ISSUED if due.campaign.results == "assumed" else ISSUING
    home = home_of(due.campaign, due.kind, over=False)
    postings = [(home, -entry.value), ("issued", entry.value)]
    return Change(ISSUE, entry, entry.value, "", postings, due, 1)


def settle(  # noqa: PLR0913  # what is due, what stands, and when
    entries: dict[str, Entry],
    dues: list[Due],
    policies: Mapping[str, Campaign],
    at_ms: int = 0,
    now_ms: int = 0,
    over: Collection[str] = (),
) -> list[Change]:
    """Bring the ledger to what is due: change `entries` in place, return the changes in order.

    policies: campaign by reward id of all entries. at_ms: time of the cause. now_ms: the deadline
    that has passed, if one did: time alone lets nothing wait any longer, at any other event.
    over: ids of tasks whose end + grace have passed, so that money goes back to the budget.

    Again with the same arguments it returns nothing.
    """
    settling = Settling(entries, policies, at_ms, now_ms, over)
    settling.bring_to(dues)
    return settling.changes


def next_deadline_ms(
    entries: Mapping[str, Entry],
    dues: list[Due],
    policies: Mapping[str, Campaign],
    now_ms: int = 0,
) -> int:
    """Return the earliest instant after `now_ms` at which time alone changes the ledger; 0: none.

    For a settled ledger: what a due reward waits for, and the end of open debts.
    """
    waits = [
        next_wait_ms(due, now_ms)
        for due in with_fallbacks(entries, dues)
        if may_be_given(entries.get(due.reward_id), due)
    ]
    debts = [e.since_ms + policies[id_].debt_days * DAY_MS for id_, e in entries.items() if e.owed]
    return min((at_ms for at_ms in (*waits, *debts) if at_ms > now_ms), default=0)

"""Set-off: a later reward pays older debts first, of the same currency, whatever the campaign.

Debts are never charged. What a reward sets off is undone when it is taken back itself.
Source: semantics.md 5, 7; fixtures 30 and 31.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.campaign import OWABLE
from streams.domain.state import DEBT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.domain.state import Entry


def owed(entries: Mapping[str, Entry], currency: str = "") -> int:
    """Return all open debts, of one currency or (none given) of any."""
    return sum(e.owed for e in entries.values() if not currency or e.currency == currency)


def set_off(entry: Entry, entries: Mapping[str, Entry], most: int) -> int:
    """Set up to `most` of a reward off against debts, the oldest first; return how much it was.

    The oldest has been owed since the earliest time. What is due again is no debt any more, though
    it may not have been restored yet.
    """
    left = most if entry.type in OWABLE else 0
    before = entry.offset
    debts = [
        other
        for other in entries.values()
        if other.owed
        and other is not entry
        and other.currency == entry.currency
        and not (other.due and other.state == DEBT)
    ]
    for debt in sorted(debts, key=lambda debt: (debt.since_ms, debt.reward_id)):
        if left <= 0:
            break
        part = min(left, debt.owed)
        debt.owed -= part
        left -= part
        entry.set_off = [*entry.set_off, (debt.reward_id, part)]
        entry.offset += part
    return entry.offset - before


def undo(entry: Entry, entries: Mapping[str, Entry]) -> int:
    """Open the debts again that a reward had set off; return how much it was."""
    undone = entry.offset
    for debt_id, part in entry.set_off:
        entries[debt_id].owed += part
    entry.set_off, entry.offset = [], 0
    return undone


def payers(entry: Entry, entries: Mapping[str, Entry]) -> list[Entry]:
    """Return the rewards that set something off against this debt."""
    return [e for e in entries.values() if any(id_ == entry.reward_id for id_, _ in e.set_off)]

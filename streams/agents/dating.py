"""What a tick does first: date the rows by the definitions there are now, a slice at a time.

A campaign that is killed moves the deadlines of users of whom nothing may ever be read again. A
definition is known a lead before it takes effect (D9), so a tick that waits for the walk comes
through no later than one of its time: whoever it concerns is found by the very tick that reaches
it. What is said then is a matter of the deadline, not of when the walk came by (`redating.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.redating import concerned, redated

if TYPE_CHECKING:
    from streams.domain.state import UserState
    from streams.feed.batch import Batch

MOST_VISITED = 5_000
"""Rows read in one unit of work: some 0.05 s."""

MOST_DATED = 500
"""Of those, rows decoded to see whether their deadline has moved: some 0.1 s."""


def redate(
    batch: Batch, most_visited: int = MOST_VISITED, most_dated: int = MOST_DATED, *, last: str = ""
) -> bool:
    """Date the next slice of the partition's rows; True: all of them are dated.

    Its progress is committed with the rows, so a worker that is stopped goes on behind them.
    last: the user to stop at, if any.
    """
    overlay = batch.overlay
    if overlay.dating.done:
        return True
    if overlay.dating_begun:
        return False
    names, at, dated = concerned(batch.campaigns), overlay.dating.at, 0
    marks = [name.encode() for name in names]
    rows = [row for row in overlay.after(at, most_visited) if not last or row[0] <= last]
    for user_id, row in rows:
        if dated == most_dated:
            break
        at = user_id
        # The names of its campaigns stand in a row as they are: to look for them is to read it.
        if isinstance(row, bytes) and not any(mark in row for mark in marks):
            continue
        state: UserState = overlay[user_id]
        if names.isdisjoint(task.campaign_id for task in state.tasks):
            continue
        dated += 1
        after = redated(state, batch.campaigns)
        if after is not state:
            overlay[user_id] = after
    if last and not rows:  # the last one is being committed, dated already
        at = last
    overlay.dated(at, done=not rows and not last)
    return not rows


def follow(batch: Batch, last: str = "") -> None:
    """Date as many rows again as the journal says: up to a user, or through if it names none.

    A row that was being committed then may lie in RocksDB now, and the other way round. It is dated
    already, so whether it is visited changes nothing.
    """
    dating = batch.overlay.dating
    while not batch.overlay.dating_begun and not dating.done and (not last or dating.at < last):
        redate(batch, last=last)
        dating = batch.overlay.dating


def through(batch: Batch) -> bool:
    """Date all rows that are left: a tick that was folded whole had found them dated."""
    follow(batch)
    return True

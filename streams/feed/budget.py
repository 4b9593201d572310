"""The dead-letter budget: when most of a partition is dying, the deployment is bad, not the data.

Source: ecosystem.md 1 (after arroyo's DlqLimit): stop *before committing* when, in one partition,
over half of the last 1,000 records (at least 100 seen) or 200 in a row are dead.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from streams.errors import DeadLetterBudgetSpent
from streams.position import Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Set  # noqa: PYI025 - not the builtin

WINDOW = 1_000
LEAST_SEEN = 100
IN_A_ROW = 200


class Budget:
    """Dead and living records of one (topic, partition), in offset order.

    Counts by index, and only dead records cost anything: the common batch has none.
    """

    def __init__(self, dead: Iterable[int] = (), seen: int = 0, last_alive: int = -1) -> None:
        self._dead, self._seen, self._last_alive = deque(dead), seen, last_alive

    def after(self, topic: str, p: int, offsets: Sequence[int], dead: Set[int]) -> Budget:
        """Return the budget with these records counted; self stays, in case they are dropped.

        offsets: of all records, ascending. Raises DeadLetterBudgetSpent (exit 65).
        """
        new = Budget(self._dead, self._seen, self._last_alive)
        if not dead:
            new._seen += len(offsets)
            new._last_alive = new._seen - 1
            return new
        for offset in offsets:
            if offset in dead:
                new._die(Position(topic, p, offset))
            else:
                new._last_alive = new._seen
            new._seen += 1
        return new

    def _die(self, position: Position) -> None:
        at, dead = self._seen, self._dead
        dead.append(at)
        while dead[0] <= at - WINDOW:
            dead.popleft()
        seen = min(at + 1, WINDOW)
        in_a_row = at - self._last_alive
        if seen >= LEAST_SEEN and len(dead) * 2 > seen:
            reason = f"{len(dead)} of the last {seen} records are dead letters"
        elif in_a_row >= IN_A_ROW:
            reason = f"{in_a_row} records in a row are dead letters"
        else:
            return
        spent = DeadLetterBudgetSpent(
            f"{position.topic}[{position.partition}]: {reason}: a bad deployment, not bad data. "
            "Nothing of it is committed. Look at the reasons logged, fix the shop or this version, "
            "then start again; or set dead_letter_budget = false if the data is known to be like "
            "that"
        )
        spent.position = position
        raise spent

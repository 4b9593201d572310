"""How many records a unit of work takes: more while they fold fast, few again when they do not.

A transaction costs the same however much is in it, and a user who comes twice in it is written
once. But late events cost thousands of times what events in order do, and a unit of work must stay
far below the watchdog's limit; what the next one will hold, only the last one tells.
"""

from __future__ import annotations

FIRST_RECORDS = 2_000
"""What is folded in 0.1 s in order, and was never seen to take long out of order."""

FAST_S, SLOW_S = 0.2, 1.0
LEAP = 4
"""Where it was so fast that even as many times as much would have been fast, the next may be."""

SLOW_COMMIT_S = 2.0
"""Of the 10 s that a record may take to be delivered, and the 15 s of a transaction."""


class Pace:
    """``records`` is what the next unit of work takes at most; never more than ``most``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.records = min(most, FIRST_RECORDS)

    def note(self, records: int, seconds: float) -> None:
        """Take down how long a unit of work was folded."""
        if seconds > SLOW_S:
            self.records = min(self._most, FIRST_RECORDS)
        elif records >= self.records and seconds < FAST_S:
            leap = LEAP if LEAP * seconds < FAST_S else 2
            self.records = min(self._most, leap * self.records)

    def committed(self, seconds: float) -> None:
        """Take down how long a commit took: a broker that is slow gets less at once."""
        if seconds > SLOW_COMMIT_S:
            self.records = max(min(self._most, FIRST_RECORDS), self.records // 2)

"""Is everything folded? Judged from what stands on the topics, never from what anybody says.

A worker's work makes more of it: what a task asks of a pool is a record to fold, its answer one
more, and the rights service answers what the ledger commands. So it is over when the worker had
committed, and the service answered, all that is there a moment later: what either makes of a record
is there before it says that it has done with it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from streams.store.meta import META, decode_meta
from streams.topics import CHANGELOG, FOLDED, REWARDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.demo.reading import At, Read, Reader

SETTLE_S = 0.1
"""The embedded broker shows a transaction's records one by one, its meta row perhaps not last."""

TAILS = (8, 50_000)  # offsets of a partition to look for its newest record in: markers take some


class Draining:
    """Asks again and again; reads only partitions that have grown since it asked before."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._highs: dict[At, int] = {}  # when a partition was read last
        self._ends: dict[At, int] = {}  # the offset after its last record
        self._committed: dict[int, dict[str, int]] = {}  # by partition, by topic: the next offset

    def over(self, answered: Callable[[], dict[int, int]] | None) -> bool:
        """Return whether nothing is left to fold, nor to answer.

        answered: what the rights service has done with `rewards`, by partition; None: no service.
        """
        if not self._at_rest(answered):
            return False
        time.sleep(SETTLE_S)
        return self._at_rest(answered)

    def _at_rest(self, answered: Callable[[], dict[int, int]] | None) -> bool:
        self._read_commits()
        done = None if answered is None else answered()
        self._read_ends()  # last: what stands here now was done with before
        for (topic, p), end in self._ends.items():
            if topic != REWARDS:
                reached = self._committed.get(p, {}).get(topic, 0)
            elif done is not None:
                reached = done.get(p, 0)
            else:
                continue
            if reached < end:
                return False
        return True

    def _read_commits(self) -> None:
        """Take the offsets of the newest meta row of each partition of the changelog."""
        rows = self._newest([CHANGELOG], lambda row: row.key == META and row.value is not None)
        for (_, p), row in rows.items():
            self._committed[p] = dict(decode_meta(row.value or b"").next)

    def _read_ends(self) -> None:
        """Take the offset after the last record of each partition that holds one.

        Not the high watermark: behind a transaction's last record comes its marker, which nobody
        reads.
        """
        for at, record in self._newest([*FOLDED, REWARDS], lambda _: True).items():
            self._ends[at] = record.offset + 1

    def _newest(self, topics: list[str], wanted: Callable[[Read], bool]) -> dict[At, Read]:
        """Return the newest wanted record of each partition that has grown and holds one."""
        found: dict[At, Read] = {}
        left = self._grown(topics)
        for tail in TAILS:
            for record in self._reader.newest(left, tail):
                if wanted(record):
                    found[record.topic, record.partition] = record
            left = {at: high for at, high in left.items() if at not in found}
        return found

    def _grown(self, topics: list[str]) -> dict[At, int]:
        highs = self._reader.highs(topics)
        grown = {at: high for at, high in highs.items() if high != self._highs.get(at)}
        self._highs |= grown
        return grown

"""Is everything folded? Judged from what stands on the topics, never from what anybody says.

A worker's work makes more of it: what a task asks of a pool is a record to fold, its answer one
more, and the rights service answers what the ledger commands. So it is over when the worker has
committed all that is there, the service has answered all that is there, and nothing came meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.store.meta import META, decode_meta
from streams.topics import CHANGELOG, FOLDED, REWARDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streams.demo.reading import Reader

    Ends = dict[tuple[str, int], int]

TAILS = (8, 50_000)  # offsets of a partition to look for its newest record in: markers take some


def ends(reader: Reader, topics: Sequence[str]) -> Ends:
    """Return the offset after the last record of every partition that holds one.

    Not the high watermark: behind a transaction's last record comes its marker, which nobody reads.
    """
    there = reader.partitions(topics)
    bounds = {(t, p): reader.bounds(t, p) for t in topics for p in range(there[t])}
    filled = {at for at, (low, high) in bounds.items() if high > low}
    found: Ends = {}
    for tail in TAILS:
        for record in reader.all_of(sorted({topic for topic, _ in filled}), tail=tail):
            found[record.topic, record.partition] = record.offset + 1
        if filled <= found.keys():
            break
    return found


def committed(reader: Reader, wanted: Ends) -> bool:
    """Return whether the newest meta row of every partition has reached what is wanted."""
    for tail in TAILS:
        reached: Ends = {}
        for row in reader.all_of([CHANGELOG], tail=tail):
            if row.key == META and row.value is not None:
                for topic, offset in decode_meta(row.value).next.items():
                    reached[topic, row.partition] = offset
        if all(reached.get(at, 0) >= end for at, end in wanted.items()):
            return True
    return False


def over(reader: Reader, answered: Callable[[], dict[int, int]] | None) -> bool:
    """Return whether nothing is left to fold, nor to answer.

    answered: what the rights service has done with `rewards`, by partition; None: there is none.
    """
    topics = (*FOLDED, REWARDS)
    wanted = ends(reader, topics)
    if not committed(reader, {at: end for at, end in wanted.items() if at[0] != REWARDS}):
        return False
    if answered is not None:
        done = answered()
        if any(done.get(p, 0) < end for (topic, p), end in wanted.items() if topic == REWARDS):
            return False
    return ends(reader, topics) == wanted

"""In which order a partition's records were folded, as ranges of offsets: what the journal keeps.

A batch holds records of one topic; another of the same unit of work may hold records from between,
of other users (`align.rounds`). So a batch is one range where its topic has no other, which is the
rule, and several where it has.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from streams.wire.journal import Range

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streams.feed.batch import Batch


def ranges_of(batches: Sequence[Batch]) -> tuple[Range, ...]:
    """Return what the batches of one p have folded, in their order; see `Range`."""
    return tuple(_ranges(batches))


def _ranges(batches: Sequence[Batch]) -> Iterator[Range]:
    runs = Counter(batch.topic for batch in batches)
    after: dict[str, dict[int, int]] = {}  # by topic: of each offset the next that was taken too
    for topic, count in runs.items():
        if count > 1:
            taken = [r.offset for batch in batches if batch.topic == topic for r in batch.records]
            after[topic] = dict(pairwise(sorted(taken)))
    for batch in batches:
        topic, records = batch.topic, batch.records
        if records:
            first = last = records[0].offset
            follows = after.get(topic)
            if follows is not None:
                for record in records:
                    offset = record.offset
                    if offset != last and follows[last] != offset:
                        yield Range(topic, first, last + 1)
                        first = offset
                    last = offset
            yield Range(topic, first, records[-1].offset + 1)
        if batch.left:  # a tick with more users than one unit of work takes
            begun = batch.left[0].offset
            yield Range(topic, begun, begun, batch.begun_users, batch.begun_dated)

"""One partition folded again as its journal says: the same rows, the same outputs, the same order.

The live workers' own agents fold into the live workers' own overlay; only what the feed decided
then (which records, in which order, how much of a tick, with which definitions) is read from the
journal instead of decided again. Given the same records, everything that follows is a function.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.agents.ticks import fold_part
from streams.feed.batch import Batch
from streams.store.overlay import Overlay, StateCache
from streams.topics import TICKS
from streams.wire import outputs
from streams.wire.journal import WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from streams.feed.ports import Offsets, Outgoing, Record, Rows
    from streams.store.overlay import Codec
    from streams.wire.journal import Folded, Range

    Source = Callable[[str, int, int], Sequence[Record]]
    """(topic, first, next) -> every readable record of p between, in offset order. What was asked
    for may be asked for again by the next transaction (a tick not yet through), no earlier one."""


class NotThere(Exception):
    """The journal names a record that the source does not have: (topic, p, offset)."""

    def __init__(self, topic: str, p: int, offset: int) -> None:
        self.topic, self.p, self.offset = topic, p, offset
        super().__init__(f"{topic}[{p}]@{offset}")


class Refolded(NamedTuple):
    """What one transaction was, as far as p goes: all that the live one wrote for it."""

    batch: int
    outgoing: list[Outgoing]  # outputs and dead letters, as they came
    rows: dict[bytes, bytes | None]  # touched ones
    next: Offsets  # as in its meta row: topics nothing was read of are absent
    spent: dict[bytes, None]  # hints; for `Rows.write` alone


class Refold:
    """One partition; `fold` in the order of its journal, each followed by `keep`."""

    def __init__(  # noqa: PLR0913 - what a partition is folded with, in a feed of its own
        self,
        p: int,
        rows: Rows,
        codec: Codec[Any],
        campaigns: Callable[[Folded], Campaigns],
        folds: Mapping[str, Callable[[Batch], None]],
        encode: Callable[[Output, Record], Outgoing] = outputs.encode,
    ) -> None:
        """``campaigns``: those a transaction was folded with. ``folds``: agents/folds.py, with ALL.

        ``rows``: as they were before the first transaction that will be folded.
        """
        self.p, self.rows, self._codec, self._encode = p, rows, codec, encode
        self._campaigns, self._folds = campaigns, folds
        self._cache: StateCache[Any] = StateCache()
        self.next: Offsets = dict(rows.next or {})

    def fold(self, folded: Folded, source: Source) -> Refolded:
        """Fold one transaction again; nothing is kept. Raises NotThere."""
        campaigns, muted = self._campaigns(folded), frozenset(folded.muted)
        self._overlay = overlay = Overlay(self.rows, self._codec, self._cache)
        overlay.date_by(campaigns.dates)
        read = self._read(folded.ranges, source)
        outgoing: list[Outgoing] = []
        following = dict(self.next)
        for each in folded.ranges:
            part = each.users != WHOLE
            records = self._within(each, read[each.topic])
            batch = Batch(
                each.topic, self.p, records, overlay, campaigns, self._encode, None, muted
            )
            if part:
                fold_part(batch, each.users, each.dated)
            else:
                self._folds[each.topic](batch)
            outgoing += batch.outgoing
            following[each.topic] = max(following.get(each.topic, 0), each.next)
        return Refolded(folded.batch, outgoing, overlay.encoded(), following, overlay.spent())

    def keep(self, refolded: Refolded, notes: Mapping[bytes, bytes] | None = None) -> None:
        """Write its rows, and `notes` among them (store/meta.py), as one WriteBatch."""
        self.rows.write(
            {**refolded.rows, **refolded.spent, **(notes or {})},
            next_offsets=refolded.next,
            changelog=self.rows.changelog,
            batch=refolded.batch,
        )
        self.next = refolded.next
        self._overlay.kept()

    @staticmethod
    def _read(ranges: Sequence[Range], source: Source) -> dict[str, Sequence[Record]]:
        """Read what the ranges of each topic span: a topic's may interleave."""
        spans: dict[str, tuple[int, int]] = {}
        for topic, first, following, *_ in ranges:
            end = max(following, first + 1)
            begin, last = spans.get(topic, (first, end))
            spans[topic] = min(begin, first), max(last, end)
        return {topic: source(topic, *span) for topic, span in spans.items()}

    def _within(self, each: Range, read: Sequence[Record]) -> list[Record]:
        """Return its records; the first and the last one must be there."""
        end = max(each.next, each.first + 1)
        begin = bisect_left(read, each.first, key=_offset)
        found = list(read[begin : bisect_left(read, end, key=_offset)])
        for offset, at in ((each.first, 0), (end - 1, -1)):
            if not found or found[at].offset != offset:
                raise NotThere(each.topic, self.p, offset)
        if each.users != WHOLE and each.topic != TICKS:
            raise NotThere(each.topic, self.p, each.first)  # only ticks have parts
        return found


def _offset(record: Record) -> int:
    return record.offset

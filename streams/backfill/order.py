"""In which order a backfill folds the topics of one partition.

With a fold journal: each live transaction as it was, one unit of work each, so that the outputs are
those of the live workers byte for byte, in their order. What lies before its first transaction or
behind its last is merged by record time, as everything is where there is no journal; unlike live,
that merge waits for a topic that lies behind as long as it takes, so it depends on the log alone.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams import topics
from streams.errors import Refused
from streams.feed.align import Aligner
from streams.wire import journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from streams.backfill.definitions import Definitions
    from streams.feed.ports import Offsets, Record
    from streams.wire.journal import Folded, Range


_topic, _offset = itemgetter(0), itemgetter(2)  # of a record


def by_time() -> Aligner:
    """Return the order of a log without a journal."""
    return Aligner(topics.FOLDED, wait_s=math.inf)


def transactions(records: Iterable[Record]) -> Iterator[Folded]:
    """Decode a journal. Raises Refused for a record that is none."""
    for record in records:
        try:
            yield journal.decode(record.value or b"")
        except msgspec.DecodeError as error:
            where = f"{record.topic}[{record.partition}]@{record.offset}"
            raise Refused(f"{where}: no journal record ({error}); use --order time") from None


class Begins(NamedTuple):
    """Where a journal begins: the first offset of each topic it names, and its definitions."""

    offsets: Offsets
    campaigns: int | None


def begins(transactions: Iterable[Folded]) -> Begins:
    """Walk a journal once, holding none of it."""
    offsets: Offsets = {}
    campaigns = None
    for one in transactions:
        campaigns = one.campaigns if campaigns is None else campaigns
        for topic, first in _firsts(one).items():
            offsets.setdefault(topic, first)
    return Begins(offsets, campaigns)


class JournalOrder(Aligner):
    """Hands out one partition: what lies before its journal, each transaction of it, the rest."""

    def __init__(
        self,
        journal: Callable[[], Iterator[Folded]],
        begins: Begins,
        known: Definitions,
        folded: Callable[[], int],
    ) -> None:
        """``journal()``: its transactions, from the first on; ``begins``: of the same.

        ``known``: told which definitions a transaction was folded with. ``folded()``: the batch of
        the last transaction that an earlier life of this backfill has folded; asked at `begin`.
        """
        super().__init__(topics.FOLDED, wait_s=math.inf)
        self._journal, self._begins = journal, begins
        self._transactions: Iterator[Folded] = iter(())
        self._known, self._folded = known, folded
        self._before, self._after = by_time(), by_time()
        self._here: dict[str, list[Record]] = {topic: [] for topic in topics.FOLDED}
        self._at: Folded | None = None
        self._over = False
        self.batch = 0
        """The live batch of what was handed out last; 0 before the first."""
        self.begun: Range | None = None
        """The tick in it that was only begun, if there is one."""

    # --- what the loop asks -----------------------------------------------------------------

    def add(self, records: Iterable[Record]) -> None:
        if self._over:
            self._after.add(records)
            return
        for topic, run in groupby(records, _topic):
            found = list(run)
            count = bisect_left(found, self._begins.offsets.get(topic, -1), key=_offset)
            self._before.add(found[:count])
            self._here[topic] += found[count:]

    def begin(self, p: int, offsets: Offsets) -> None:
        """Take up where the rows are: ``offsets`` is L. Also after a recovery, in the same life."""
        self.batch, self._at, self._over = self._folded(), None, False
        self._transactions = self._journal()
        self._known.forget()
        self._before.begin(p, offsets)
        self._after.begin(p, offsets)
        self._known.as_of(self._begins.campaigns)

    def put_back(self, p: int, records: Sequence[Record]) -> None:
        """Take back a tick with too many users: the next transaction goes on with it."""
        if self._over:
            self._after.put_back(p, records)
            return
        for record in reversed(records):
            if self._is_before(record):
                self._before.put_back(p, [record])
            else:
                self._here[record.topic].insert(0, record)

    def drop(self, p: int) -> None:
        """Forget what was read; it is read again from L on, or never."""
        self._before.drop(p)
        self._after.drop(p)
        for here in self._here.values():
            here.clear()

    def waiting(self, topic: str, p: int) -> int:
        """Return how many lie here beyond those the next transaction waits for."""
        here = self._here[topic]
        end = 0 if self._at is None else max(_ends(self._at, topic), default=0)
        mine = 0 if here and here[-1].offset < end - 1 else len(here)
        return mine + self._before.waiting(topic, p) + self._after.waiting(topic, p)

    def empty(self) -> bool:
        return not any(self._here.values()) and self._before.empty() and self._after.empty()

    def overflowing(self) -> bool:
        return False  # what a live transaction held fits here too

    def take(
        self,
        limit: int,
        now_s: float,
        at_end: Callable[[str, int], bool],
        reached: Callable[[str, int], int] = lambda _topic, _p: 0,
    ) -> dict[int, list[Record]]:
        p = self._known.partition

        def read_up_to(topic: str, end: int) -> bool:
            here = self._here[topic]
            return bool(here and here[-1].offset >= end - 1) or (
                reached(topic, p) >= end or at_end(topic, p)
            )

        if self._at is None and not self._over and self.batch == 0:
            bounds = self._begins.offsets

            def over(topic: str, _p: int) -> bool:
                return read_up_to(topic, bounds.get(topic, 0))

            if not self._before.empty():
                return self._before.take(limit, now_s, over, reached)
            if not all(over(topic, p) for topic in bounds):
                return {}
        while not self._over:
            self._at = self._at or self._coming()
            if self._at is None:
                self._turn_to_the_rest()
                break
            if not all(read_up_to(one.topic, _end(one)) for one in self._at.ranges):
                return {}
            one, self._at = self._at, None
            records = self._records(p, one)
            self.batch = one.batch
            self.begun = next((each for each in one.ranges if each.first == each.next), None)
            if records:
                return {p: records}
        return self._after.take(limit, now_s, at_end, reached)

    # --- its parts --------------------------------------------------------------------------

    def _is_before(self, record: Record) -> bool:
        return record.offset < self._begins.offsets.get(record.topic, -1)

    def _coming(self) -> Folded | None:
        """Return the next transaction that is not folded yet, and know its definitions."""
        for one in self._transactions:
            if one.batch > self.batch:
                self._require_same_files(one)
                self._known.as_of(one.campaigns)
                return one
        return None

    def _require_same_files(self, one: Folded) -> None:
        mine = self._known.latest().files
        if one.files != mine:
            raise Refused(
                f"{topics.JOURNAL}[{self._known.partition}]: batch {one.batch} was folded with "
                f"campaign files of digest {one.files or 'none'}, given are {mine or 'none'}. Give "
                "the same files with --campaigns, or use --order time: other rules, other rewards"
            )

    def _records(self, p: int, one: Folded) -> list[Record]:
        """Take out what the transaction was folded from, in its order.

        Ranges of one topic may lie between each other (feed/align.py, `rounds`), not overlap.
        """
        taken: dict[str, list[Record]] = {}
        for topic, first in _firsts(one).items():
            here, end = self._here[topic], max(_ends(one, topic))
            if here and here[0].offset < first:
                raise Refused(
                    f"{topics.JOURNAL}[{p}]: a hole: {topic}[{p}]@{here[0].offset} is in no "
                    f"transaction before that of batch {one.batch}. Use --order time: the same net "
                    "result, not byte for byte"
                )
            count = bisect_left(here, end, key=_offset)
            taken[topic] = here[:count]
            del here[:count]
        records: list[Record] = []
        for each in one.ranges:
            found = taken[each.topic]
            first = bisect_left(found, each.first, key=_offset)
            records += found[first : bisect_left(found, _end(each), key=_offset)]
        return records

    def _turn_to_the_rest(self) -> None:
        self._over = True
        self._known.as_of(None)
        for here in self._here.values():
            self._after.add(here)
            here.clear()


def _end(one: Range) -> int:
    """Return where a range ends; one without records needs its tick."""
    return max(one.next, one.first + 1)


def _ends(one: Folded, topic: str) -> list[int]:
    return [_end(each) for each in one.ranges if each.topic == topic]


def _firsts(one: Folded) -> Offsets:
    found: Offsets = {}
    for each in one.ranges:
        found[each.topic] = min(each.first, found.get(each.topic, each.first))
    return found

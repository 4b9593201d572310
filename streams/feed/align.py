"""Puts the topics of one partition side by side in time, as far as they have been read.

Kafka gives no order between topics, and the fold does not need any (D2); but an event that is older
than what its user has already done costs a refold of that user, about 20 times an event in order
(measured: 20,000 orders read topic by topic folded at 1,500 events/s). After downtime, in the demo
and in a replay whole topics lie there at once, so records wait here until the other topics of
their partition have come as far, or for WAIT_S at most, and leave merged by record timestamp.

What is handed out is a function of the set of records in it: a merge of the topics in offset order
by record timestamp, ties in the order of `topics`.

A tick is for every user of its partition, so it is the last record of its unit of work (several may
follow each other there). One that names offsets (`ends`) waits, whatever its timestamp, until the
other topics have been handed out up to them: lag must never expire a task.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from operator import itemgetter
from typing import TYPE_CHECKING

from streams.errors import EventRejected
from streams.topics import DRAW_REQUESTS, TICKS
from streams.wire import ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from streams.feed.ports import Offsets, Record

WAIT_S = 0.2
"""Longest wait for a topic that lags behind: alignment saves work, it must not cost latency."""

MOST_RECORDS = 40_000
MOST_BYTES = 32 << 20
"""Kept here at most, plus one poll; the consumer's own queue holds another 32 MiB."""


MOST_OF_A_USER = 100
"""Records of one user in one unit of work. One that is not the latest of its user walks all that is
known of them, 7,000 orders in a full row: some 0.2 s. A poll full of those outlasted the watchdog,
and so did every restart. A pool's request walks nothing, and a hot pool must not wait."""


class Aligner:
    """Records read but not handed out, by partition and topic. Never committed from here."""

    def __init__(self, topics: Sequence[str], wait_s: float = WAIT_S) -> None:
        """``wait_s``: longest wait for a topic that is behind; inf: as long as it takes.

        That makes the merge a function of the log alone: a backfill has no latency to lose.
        """
        self.topics, self._wait_s = tuple(topics), wait_s
        self._index = {topic: n for n, topic in enumerate(topics)}
        self._ticks = self._index.get(TICKS)  # their lane, where they are read
        self._lanes: dict[int, list[deque[Record]]] = {}
        self._next: dict[int, Offsets] = {}  # behind the last record handed out
        self._ends: dict[int, tuple[int, Mapping[str, int]]] = {}  # of a tick, by its offset
        self._bytes = 0
        self._turn = 0
        self._blocked_since_s: dict[int, float] = {}

    def add(self, records: Iterable[Record]) -> None:
        """Take over what a poll returned; within a (topic, partition) in offset order."""
        lanes, index = self._lanes, self._index
        for record in records:
            lane = lanes.get(record[1])
            if lane is None:
                lane = lanes[record[1]] = [deque() for _ in self.topics]
            lane[index[record[0]]].append(record)
            self._bytes += len(record[4] or b"")

    def begin(self, p: int, offsets: Offsets) -> None:
        """Say from where on p is read."""
        self._next[p] = dict(offsets)

    def put_back(self, p: int, records: Sequence[Record]) -> None:
        """Take back the last records handed out of one topic of p: they come first next time."""
        self._return(p, records)
        self._bytes += _size(records)

    def drop(self, p: int) -> None:
        """Forget everything of p: it is going to be read again, here or elsewhere."""
        self._next.pop(p, None)
        self._ends.pop(p, None)
        for queue in self._lanes.pop(p, ()):
            self._bytes -= _size(queue)
        self._blocked_since_s.pop(p, None)

    def oldest_ms(self, topic: str, p: int) -> int | None:
        """Return when the first record here of one topic's p was recorded; None: none is here."""
        lane = self._lanes.get(p)
        queue = lane[self._index[topic]] if lane else None
        return queue[0].recorded_at_ms if queue else None

    def waiting(self, topic: str, p: int) -> int:
        """Return how many records of one topic's p are here."""
        lane = self._lanes.get(p)
        return len(lane[self._index[topic]]) if lane else 0

    def count(self) -> int:
        """Return how many records wait here."""
        return sum(len(queue) for lane in self._lanes.values() for queue in lane)

    def empty(self) -> bool:
        """Say whether nothing is waiting."""
        return not any(any(lane) for lane in self._lanes.values())

    def overflowing(self) -> bool:
        """Say whether the bytes here are beyond their bound: large values, few records."""
        return self._bytes > MOST_BYTES

    def take(
        self,
        limit: int,
        now_s: float,
        at_end: Callable[[str, int], bool],
        reached: Callable[[str, int], int] = lambda _topic, _p: 0,
    ) -> dict[int, list[Record]]:
        """Hand out up to ``limit`` records by partition, merged in time; see the module.

        ``at_end(topic, p)``: all that can be read of it has been returned by a poll.
        ``reached(topic, p)``: the offset up to which that is so.
        """
        ready = [p for p, lane in sorted(self._lanes.items()) if any(lane)]
        if not ready:
            return {}
        self._turn += 1
        first = self._turn % len(ready)  # whoever was cut short comes first next time
        taken: dict[int, list[Record]] = {}
        for n, p in enumerate([*ready[first:], *ready[:first]]):
            share = max(1, (limit - sum(map(len, taken.values()))) // (len(ready) - n))
            since_s = self._blocked_since_s.get(p)
            patient = self._patient(since_s, now_s)
            records, blocked = self._merge(p, share, at_end, reached, patient=patient)
            if len(records) > MOST_OF_A_USER:
                records = self._cut(p, records)
            if not blocked:
                self._blocked_since_s.pop(p, None)
            elif records and patient:
                self._blocked_since_s[p] = now_s
            else:
                self._blocked_since_s.setdefault(p, now_s)
            if records:
                taken[p] = records
                last = {r[0]: r[2] for r in records}
                self._next.setdefault(p, {}).update({t: at + 1 for t, at in last.items()})
                self._bytes -= _size(records)
        return taken

    def _patient(self, since_s: float | None, now_s: float) -> bool:
        if self._wait_s == math.inf:
            return True
        waited = since_s is not None and now_s - since_s >= self._wait_s
        return not (waited or self.overflowing())

    def _merge(
        self,
        p: int,
        limit: int,
        at_end: Callable[[str, int], bool],
        reached: Callable[[str, int], int],
        *,
        patient: bool,
    ) -> tuple[list[Record], bool]:
        """Return records in time order, and whether a topic that is behind ended it early."""
        lane = self._lanes[p]
        behind = patient and any(
            not queue and not at_end(topic, p)
            for topic, queue in zip(self.topics, lane, strict=True)
        )
        if behind:
            return [], True
        waiting: deque[Record] = deque() if self._ticks is None else lane[self._ticks]
        some = [queue for queue in lane if queue and queue is not waiting]
        handed_out = dict(self._next.get(p, {})) if waiting else {}
        taken: list[Record] = []
        while some and len(taken) < limit:
            if waiting and self._is_turn(p, waiting, some, handed_out, reached):
                break
            if len(some) == 1 and not waiting:
                queue = some[0]
                taken += [queue.popleft() for _ in range(min(limit - len(taken), len(queue)))]
                break
            earliest = min(some, key=_time)  # the first of equals: the order of topics
            record = earliest.popleft()
            taken.append(record)
            handed_out[record.topic] = record.offset + 1
            if not earliest:
                some.remove(earliest)
                if patient and not at_end(record[0], p):
                    return taken, True
        while (
            waiting and len(taken) < limit and self._is_turn(p, waiting, some, handed_out, reached)
        ):
            taken.append(waiting.popleft())
        return taken, bool(waiting) and not taken

    def _is_turn(
        self,
        p: int,
        waiting: deque[Record],
        some: Sequence[deque[Record]],
        handed_out: Offsets,
        reached: Callable[[str, int], int],
    ) -> bool:
        """Tell whether the next tick comes before all others here, and may."""
        if any(_time(queue) <= _time(waiting) for queue in some if queue):
            return False
        ends = self._ends_of(p, waiting[0])
        return all(
            handed_out.get(topic, 0) >= end or self._nothing_before(topic, p, end, reached)
            for topic, end in ends.items()
            if topic in self._index and topic != TICKS
        )

    def _nothing_before(
        self, topic: str, p: int, end: int, reached: Callable[[str, int], int]
    ) -> bool:
        """Tell whether what is next of a topic lies behind `end`: markers take offsets too."""
        queue = self._lanes[p][self._index[topic]]
        return queue[0].offset >= end if queue else reached(topic, p) >= end

    def _ends_of(self, p: int, tick: Record) -> Mapping[str, int]:
        """Return the offsets a tick waits for; none where it is no tick: its agent will say so."""
        known = self._ends.get(p)
        if known is None or known[0] != tick.offset:
            try:
                known = tick.offset, ticks.decode(tick).ends
            except EventRejected:
                known = tick.offset, {}
            self._ends[p] = known
        return known[1]

    def _cut(self, p: int, records: list[Record]) -> list[Record]:
        """Return what comes before the first record too many of its user; the rest goes back."""
        if max(Counter([record[3] for record in records]).values()) <= MOST_OF_A_USER:
            return records  # nearly always, so it comes first
        users = Counter(record[3] for record in records if record[0] != DRAW_REQUESTS)
        del users[None]  # no key, no user, no walk
        if max(users.values(), default=0) <= MOST_OF_A_USER:
            return records
        seen: Counter[bytes | None] = Counter()
        for n, record in enumerate(records):
            seen[record[3]] += record[3] is not None and record[0] != DRAW_REQUESTS
            if seen[record[3]] > MOST_OF_A_USER:
                self._return(p, records[n:])
                return records[:n]
        raise AssertionError("one of them was too many")

    def _return(self, p: int, records: Sequence[Record]) -> None:
        """Put p's records before what waits of their topics, in the order they have."""
        for record in reversed(records):
            self._lanes[p][self._index[record.topic]].appendleft(record)


def _time(queue: deque[Record]) -> int:
    return queue[0][6]


def _size(records: Iterable[Record]) -> int:
    return sum([len(record[4] or b"") for record in records])  # a list: half of what a walk costs


def rounds(records: Sequence[Record], topics: Sequence[str]) -> list[list[Record]]:
    """Cut merged records of one p into as few single-topic runs as keep each user's order.

    Batches of one topic cross to that topic's agent, and a crossing costs as much as several folds.
    Users never touch each other, so only the order within a key matters: records go to the
    first run of their topic that is not before their user's last one. Runs are in order.
    Ticks are for all users: they stand at the end, and there they stay.
    """
    if not records:
        return []
    if len(set(map(itemgetter(0), records))) == 1:
        return [list(records)]
    count = next((n for n, record in enumerate(records) if record[0] == TICKS), len(records))
    if 0 < count < len(records):
        return [*rounds(records[:count], topics), list(records[count:])]
    count = len(topics)
    index = {topic: n for n, topic in enumerate(topics)}
    slots: dict[int, list[Record]] = {}
    last: dict[bytes | None, int] = {}
    for record in records:
        turn = index[record[0]]
        key = record[3]
        slot = last.get(key)
        slot = turn if slot is None else slot + (turn - slot) % count
        last[key] = slot
        run = slots.get(slot)
        if run is None:
            slots[slot] = [record]
        else:
            run.append(record)
    return [slots[slot] for slot in sorted(slots)]

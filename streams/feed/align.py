"""Puts the topics of one partition side by side in time, as far as they have been read.

Kafka gives no order between topics, and the fold does not need any (D2); but an event that is older
than what its user has already done costs a refold of that user, about 20 times an event in order
(measured: 20,000 orders read topic by topic folded at 1,500 events/s). After downtime, in the demo
and in a replay whole topics lie there at once, so records wait here until the other topics of
their partition have come as far, or for WAIT_S at most, and leave merged by record timestamp.

What is handed out is a function of the set of records in it: a merge of the topics in offset order
by record timestamp, ties in the order of `topics`.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from streams.topics import DRAW_REQUESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streams.feed.ports import Record

WAIT_S = 0.2
"""Longest wait for a topic that lags behind: alignment saves work, it must not cost latency."""

MOST_RECORDS = 40_000
MOST_BYTES = 32 << 20
"""Kept here at most, plus one poll; the consumer's own queue holds another 64 MiB."""


MOST_OF_A_USER = 100
"""Records of one user in one unit of work. One that is not the latest of its user walks all that is
known of them, 7,000 orders in a full row: some 0.2 s. A poll full of those outlasted the watchdog,
and so did every restart. A pool's request walks nothing, and a hot pool must not wait."""


class Aligner:
    """Records read but not handed out, by partition and topic. Never committed from here."""

    def __init__(self, topics: Sequence[str]) -> None:
        self.topics = tuple(topics)
        self._index = {topic: n for n, topic in enumerate(topics)}
        self._lanes: dict[int, list[deque[Record]]] = {}
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

    def drop(self, p: int) -> None:
        """Forget everything of p: it is going to be read again, here or elsewhere."""
        for queue in self._lanes.pop(p, ()):
            self._bytes -= sum(len(record[4] or b"") for record in queue)
        self._blocked_since_s.pop(p, None)

    def waiting(self, topic: str, p: int) -> int:
        """Return how many records of one topic's p are here."""
        lane = self._lanes.get(p)
        return len(lane[self._index[topic]]) if lane else 0

    def empty(self) -> bool:
        """Say whether nothing is waiting."""
        return not any(any(lane) for lane in self._lanes.values())

    def overflowing(self) -> bool:
        """Say whether the bytes here are beyond their bound: large values, few records."""
        return self._bytes > MOST_BYTES

    def take(
        self, limit: int, now_s: float, at_end: Callable[[str, int], bool]
    ) -> dict[int, list[Record]]:
        """Hand out up to ``limit`` records by partition, merged in time; see the module.

        ``at_end(topic, p)``: all that can be read of it has been returned by a poll.
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
            patient = (since_s is None or now_s - since_s < WAIT_S) and not self.overflowing()
            records, blocked = self._merge(p, share, at_end, patient=patient)
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
                self._bytes -= sum(len(record[4] or b"") for record in records)
        return taken

    def _merge(
        self, p: int, limit: int, at_end: Callable[[str, int], bool], *, patient: bool
    ) -> tuple[list[Record], bool]:
        """Return records in time order, and whether a topic that is behind ended it early."""
        lane = self._lanes[p]
        some = [queue for queue in lane if queue]
        behind = patient and any(
            not queue and not at_end(topic, p)
            for topic, queue in zip(self.topics, lane, strict=True)
        )
        if behind:
            return [], True
        taken: list[Record] = []
        while some and len(taken) < limit:
            if len(some) == 1:
                queue = some[0]
                taken += [queue.popleft() for _ in range(min(limit - len(taken), len(queue)))]
                break
            earliest = min(some, key=_time)  # the first of equals: the order of topics
            record = earliest.popleft()
            taken.append(record)
            if not earliest:
                some.remove(earliest)
                if patient and not at_end(record[0], p):
                    return taken, True
        return taken, False

    def _cut(self, p: int, records: list[Record]) -> list[Record]:
        """Return what comes before the first record too many of its user; the rest goes back."""
        users = Counter(record[3] for record in records if record[0] != DRAW_REQUESTS)
        del users[None]  # no key, no user, no walk
        if max(users.values(), default=0) <= MOST_OF_A_USER:
            return records
        seen: Counter[bytes | None] = Counter()
        for n, record in enumerate(records):
            seen[record[3]] += record[3] is not None and record[0] != DRAW_REQUESTS
            if seen[record[3]] > MOST_OF_A_USER:
                for later in reversed(records[n:]):
                    self._lanes[p][self._index[later[0]]].appendleft(later)
                return records[:n]
        raise AssertionError("one of them was too many")


def _time(queue: deque[Record]) -> int:
    return queue[0][6]


def rounds(records: Sequence[Record], topics: Sequence[str]) -> list[list[Record]]:
    """Cut merged records of one p into as few single-topic runs as keep each user's order.

    Batches of one topic cross to that topic's agent, and a crossing costs as much as several folds.
    Users never touch each other, so only the order within a key matters: records go to the
    first run of their topic that is not before their user's last one. Runs are in order.
    """
    if not records:
        return []
    only = records[0][0]
    if all(record[0] == only for record in records):
        return [list(records)]
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

"""How long partitions stand still after a fault: two clocks, each for what the other cannot see.

`Healing` is for kills while the broker stays: until each partition of a dead worker commits again.
A committed transaction shows as a meta row on the changelog, and only a read_committed reader's
view counts: a row behind somebody's open transaction has not healed anybody. The row carries its
producer's clock, so a commit that was made before the kill and read after it heals nothing.

`Progress` is for faults that take brokers away as well, where a reader of the changelog would stand
still with them: it looks at the group's committed offsets, twice a second, whenever it is answered.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.kafka.commits import Commits
from tests.kafka.harness import USER_KEYED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.kafka.harness import Topics


HEAL_S = 60.0
"""Promise 5: after a fault is over, work resumes within that, without a hand."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Outage:
    """One worker, from its first kill until all its partitions have committed again."""

    instance: str
    first_ms: int
    last_ms: int  # the newest kill: what comes after it must heal by itself
    waiting: set[int]
    kills: int = 1


class Healing:
    """Follows the changelog in a thread of its own; `died` opens an outage, commits close it."""

    def __init__(self, topics: Topics) -> None:
        self.healed_s: list[float] = []  # from the last kill of each outage
        self.away_s: list[float] = []  # from the first one: bursts and repeated kills included
        self._open: dict[str, Outage] = {}
        self._lock = threading.Lock()
        self._commits = Commits(topics, "healing", self._committed, wait_s=0.1)

    def died(self, instance: str, partitions: Iterable[int], at_ms: int) -> None:
        """Open an outage, or prolong the one that is open: killed again before it had healed."""
        with self._lock:
            outage = self._open.get(instance)
            if outage is None:
                self._open[instance] = Outage(instance, at_ms, at_ms, set(partitions))
            else:
                outage.last_ms, outage.kills = at_ms, outage.kills + 1
                outage.waiting.update(partitions)

    def open(self) -> list[Outage]:
        """Outages that nothing has healed yet."""
        self._commits.look()
        with self._lock:
            return [
                Outage(o.instance, o.first_ms, o.last_ms, set(o.waiting), o.kills)
                for o in self._open.values()
            ]

    def close(self) -> None:
        self._commits.stop()

    def _committed(self, p: int, made_ms: int) -> None:
        with self._lock:
            for outage in list(self._open.values()):
                if made_ms <= outage.last_ms:
                    continue
                outage.waiting.discard(p)
                if not outage.waiting:
                    del self._open[outage.instance]
                    now = now_ms()
                    self.healed_s.append((now - outage.last_ms) / 1_000)
                    self.away_s.append((now - outage.first_ms) / 1_000)


class Progress:
    """Looks at C again and again, in a thread of its own; direct, not through the proxies."""

    EVERY_S = 0.5

    def __init__(self, topics: Topics, group: str, partitions: int) -> None:
        self.partitions = frozenset(range(partitions))
        self.moved_s = dict.fromkeys(self.partitions, 0.0)  # begin of the look before the growth
        self.total = 0
        self._asked = [
            TopicPartition(topics.prefix + t, p) for t, p in topics.partitions(USER_KEYED)
        ]
        # A consumer that never joins. The admin client's call for this fails an assertion of
        # librdkafka 2.12 when the coordinator is away, and its destructor can hang.
        self._reader = Consumer(
            {
                "bootstrap.servers": topics.bootstrap,
                "group.id": group,
                "isolation.level": "read_uncommitted",  # pending offsets are no reason to wait
                "enable.auto.commit": False,
                "log_level": 0,
                "error_cb": lambda _error: None,
            }
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last: dict[int, int] = {}
        last_s = time.monotonic()
        while not self._stop.wait(self.EVERY_S):
            begun_s = time.monotonic()
            found = self._look()
            if not found:
                continue
            for p, offset in found.items():
                if p in last and offset > last[p]:
                    self.moved_s[p] = last_s
            last, last_s = {**last, **found}, begun_s
            self.total = sum(last.values())

    def _look(self) -> dict[int, int]:
        """The sum of C over the topics, by partition; empty while nobody answers."""
        found: Counter[int] = Counter()
        try:
            for at in self._reader.committed(self._asked, timeout=5):
                if at.error is None and at.offset >= 0:
                    found[at.partition] += at.offset
        except KafkaException:
            return {}
        return dict(found)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(20)
        self._reader.close()

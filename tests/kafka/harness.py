"""One run's view of a real broker: its topics, what is sent to them, and when it is safe to count.

Two traps were met by whoever measured before us (reliability.md 9). A run stopped before its lag is
zero looks like loss; and so does a read before LSO == HW, because the open transaction of a killed
producer holds read_committed readers back. So nothing here is counted before `wait_drained` and
`wait_settled` have both returned; each wait is bounded and says what it was waiting for.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.topics import registry, topic_configs
from tests.checker import CHANGELOG, At, Position, Seen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.traffic import Sent
    from tests.kafka.cluster import Cluster

USER_KEYED = ("orders", "claims", "cancellations", "reward-results")  # what shops and others send
FOLDED = (*USER_KEYED, "draw-results", "draw-requests")
OUTPUTS = (
    "rewards", "task-events", "lottery-draws", "notifications", "dead-letters", "fold-journal",
)  # fmt: skip
EVERY = (*FOLDED, *OUTPUTS, CHANGELOG)
PARTITIONS = 4  # two for each of two workers: a rebalance moves some and leaves some

# Larger than the 10 MB poison value with its key, headers and batch frame.
MAX_MESSAGE_BYTES = 12 << 20

# Traffic is dated months ago: finite retention would delete it. And the checker walks the changelog
# record by record, so the cleaner is kept from it (row 24 of the fault matrix is another test's).
UNTOUCHED = {
    "dead-letters": {"retention.ms": "-1"},
    CHANGELOG: {"min.compaction.lag.ms": str(10 * 365 * 86_400_000)},
}


PASSING = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.REPLICA_NOT_AVAILABLE,
    }
)
"""What a client meets while brokers come and go, and for a moment after they came back."""

STARTING = PASSING | frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,  # a topic that was made a moment ago
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)

Answer = TypeVar("Answer")


SentWithHeaders = tuple[str, "bytes | None", "bytes | None", int, "tuple[tuple[str, bytes], ...]"]

Rate = Callable[[], "float | None"] | float | None
"""Records a second: a number, or asked again while it runs; None is as fast as it goes."""

PACE = 32  # records between two looks at the clock


Dice = random.Random


def dice(seed: object) -> Dice:
    """Seeded dice for faults: which, when and how often; nothing about money."""
    return random.Random(f"leidan/faults/1 {seed}")  # noqa: S311 - seeded on purpose


class TookTooLong(AssertionError):
    """A bounded wait ended without what it waited for."""


def wait_until(
    holds: Callable[[], bool], what: Callable[[], str], timeout_s: float, every_s: float = 0.1
) -> float:
    """Wait for a condition; return how long it took. `what` says, at the end, how things stood.

    Raises TookTooLong.
    """
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > timeout_s:
            msg = f"waited {timeout_s:.0f} s for {what()}"
            raise TookTooLong(msg)
        time.sleep(every_s)
    return time.monotonic() - begun


COORDINATOR_S = 30.0
"""A fresh broker makes its offsets topic when first asked; until then nobody coordinates."""


def _patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask again while the broker has no coordinator yet, or an offset is held by a transaction."""
    until = time.monotonic() + COORDINATOR_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if not error.args[0].retriable() and error.args[0].code() not in STARTING:
                raise
            if time.monotonic() > until:
                raise
        time.sleep(0.1)


class Topics:
    """All topics of one run: they share a prefix, so that many runs share one broker."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.bootstrap, self.prefix = bootstrap, prefix
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 3})
        self.sent_at: dict[Position, int] = {}  # nth sent

    def create(
        self, cluster: Cluster, partitions: int = PARTITIONS, extra: Iterable[str] = ()
    ) -> None:
        """Make what a worker reads and writes as the registry has it, and `extra` output topics."""
        wanted = {
            name: (topic.partition_count(partitions), topic_configs(name) | UNTOUCHED.get(name, {}))
            for name, topic in registry().items()
        }
        wanted |= {name: (partitions, topic_configs("rewards")) for name in extra}
        cluster.create_topics({self.prefix + name: made for name, made in wanted.items()})

    # -- sending -------------------------------------------------------------------------------

    def send(
        self,
        log: Iterable[Sent | SentWithHeaders],
        *,
        per_s: Rate = None,
        remember: bool = True,
    ) -> int:
        """Send records in order, at most `per_s` a second; return how many.

        Each one's place in `log` is kept in `sent_at` under its position, once acknowledged; not
        without `remember`, for logs longer than memory.
        Raises AssertionError when the broker refuses one: a test that sent less proves less.
        """
        failures: list[str] = []
        paced = time.monotonic()
        nth = 0
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "partitioner": "murmur2_random",  # where Java and aiokafka put the same user
                "linger.ms": 5,
                "compression.type": "zstd",
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "queue.buffering.max.messages": 1_000_000,
                "queue.buffering.max.kbytes": 1 << 20,
                "log_level": 3,
                "enable.idempotence": True,  # no duplicates or swaps that the log did not ask for
            }
        )

        def kept(nth: int, topic: str) -> Callable:
            def report(error: object, message: object) -> None:
                if error is not None:
                    failures.append(f"{topic}: {error}")
                elif remember:
                    self.sent_at[topic, message.partition(), message.offset()] = nth

            return report

        for topic, key, value, timestamp_ms, *headers in log:
            while True:
                try:
                    producer.produce(
                        self.prefix + topic,
                        value,
                        key,
                        timestamp=timestamp_ms,
                        headers=list(headers[0]) if headers else None,
                        on_delivery=kept(nth, topic),
                    )
                    break
                except BufferError:
                    producer.poll(0.05)
            nth += 1
            if nth % PACE == 0:
                producer.poll(0)
                rate = per_s() if callable(per_s) else per_s
                if rate is not None:
                    paced = max(paced + PACE / rate, time.monotonic() - 0.1)
                    time.sleep(max(0.0, paced - time.monotonic()))
        unsent = producer.flush(60)
        assert not unsent, f"{unsent} records were not acknowledged within 60 s"
        assert not failures, f"{len(failures)} records refused, first: {failures[0]}"
        return nth

    def sending(self, log: Iterable[Sent], *, per_s: Rate) -> Sending:
        """Send in the background while workers live and die; `join` it before counting."""
        return Sending(self, log, per_s)

    # -- where things stand --------------------------------------------------------------------

    def partitions(self, topics: Iterable[str]) -> list[At]:
        known = _patiently(lambda: self.admin.list_topics(timeout=10)).topics
        return [
            (topic, p)
            for topic in topics
            if self.prefix + topic in known
            for p in sorted(known[self.prefix + topic].partitions)
        ]

    def ends(self, topics: Iterable[str], *, committed: bool = False) -> dict[At, int]:
        """Return the high watermark of each partition, or what read_committed readers are told."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        asked = {
            TopicPartition(self.prefix + topic, p): OffsetSpec.latest()
            for topic, p in self.partitions(topics)
        }

        def ask() -> dict[At, int]:
            found = self.admin.list_offsets(asked, isolation_level=level, request_timeout=10)
            return {
                (tp.topic.removeprefix(self.prefix), tp.partition): future.result().offset
                for tp, future in found.items()
            }

        return _patiently(ask)

    def committed(self, group: str, topics: Iterable[str] = FOLDED) -> dict[At, int]:
        """C: the group's stable offsets; partitions it never committed are absent."""
        asked = [TopicPartition(self.prefix + t, p) for t, p in self.partitions(topics)]
        reader = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": group,
                "isolation.level": "read_committed",  # asks for stable offsets only
                "log_level": 3,
            }
        )
        try:
            return {
                (tp.topic.removeprefix(self.prefix), tp.partition): tp.offset
                for tp in _patiently(lambda: reader.committed(asked, timeout=20))
                if tp.offset >= 0
            }
        finally:
            reader.close()

    def lag(self, group: str, topics: Iterable[str] = USER_KEYED) -> int:
        """Return how many offsets lie between C and the end, over all partitions."""
        committed = self.committed(group, topics)
        return sum(end - committed.get(at, 0) for at, end in self.ends(topics).items())

    def unread(self, group: str, names: Iterable[str]) -> int:
        """Return how many records at C or above a first look finds; 0: markers at most."""
        committed, ends = self.committed(group, names), self.ends(names, committed=True)
        behind = {
            at: committed.get(at, 0) for at, end in ends.items() if committed.get(at, 0) < end
        }
        if not behind:
            return 0
        reader = Reader(self, names)
        try:
            return reader.look_from(behind)
        finally:
            reader.close()

    # -- reading -------------------------------------------------------------------------------

    def read(self, topic: str, *, committed: bool = True) -> list[Seen]:
        """Read a topic from its beginning to its end as of now; by default read_committed."""
        reader = Reader(self, [topic], committed=committed)
        try:
            reader.to_the_end()
        finally:
            reader.close()
        return reader.seen[topic]


class Sending:
    """A log on its way in a thread of its own."""

    def __init__(self, topics: Topics, log: Iterable[Sent], per_s: Rate) -> None:
        self.sent = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(topics, log, per_s), name="sending", daemon=True
        )
        self._thread.start()

    def _run(self, topics: Topics, log: Iterable[Sent], per_s: Rate) -> None:
        try:
            self.sent = topics.send(log, per_s=per_s)
        except BaseException as error:  # noqa: BLE001 - handed to the test in join()
            self._error = error

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def join(self, timeout_s: float) -> int:
        """Wait until all is acknowledged; return how many. Raises what the thread raised."""
        self._thread.join(timeout_s)
        if self._error is not None:
            raise self._error
        if not self.over:
            msg = f"waited {timeout_s:.0f} s for the traffic to be sent"
            raise TookTooLong(msg)
        return self.sent


class Reader:
    """A reader of whole topics that can go on where it stopped; by default read_committed."""

    def __init__(
        self,
        topics: Topics,
        names: Iterable[str],
        *,
        committed: bool = True,
        patient: bool = False,
    ) -> None:
        """``patient``: brokers are going to go away, so nothing is logged when they do."""
        self.topics, self.names, self.committed = topics, tuple(names), committed
        self.seen: dict[str, list[Seen]] = {name: [] for name in self.names}
        self._consumer = Consumer(
            {
                "bootstrap.servers": topics.bootstrap,
                "group.id": f"{topics.prefix}reader",  # required by the client; never joined
                "isolation.level": "read_committed" if committed else "read_uncommitted",
                "enable.auto.commit": False,
                "enable.partition.eof": True,  # the only word of what lies behind the last record
                "auto.offset.reset": "error",
                "check.crcs": True,
                "fetch.max.bytes": 64 << 20,
                "fetch.message.max.bytes": MAX_MESSAGE_BYTES,
                "fetch.wait.max.ms": 50,
                "log_level": 3,
                **({"error_cb": lambda _error: None, "log_level": 0} if patient else {}),
            }
        )
        self._at = topics.partitions(self.names)
        self._consumer.assign([TopicPartition(topics.prefix + t, p, 0) for t, p in self._at])
        self._position = dict.fromkeys(self._at, 0)

    def some(self, timeout_s: float) -> int:
        """Read what is there, waiting at most `timeout_s` for a first record; return how many."""
        records = 0
        for message in self._consumer.consume(5_000, timeout_s):
            topic = message.topic().removeprefix(self.topics.prefix)
            p, offset = message.partition(), message.offset()
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - likewise
                    if error.code() in PASSING:
                        continue  # `to_the_end` has a limit
                    msg = f"{topic}[{p}]@{offset}: {error}"
                    raise AssertionError(msg)
                self._position[topic, p] = max(offset, self._position[topic, p])
                continue
            records += 1
            self._position[topic, p] = offset + 1
            self.seen[topic].append(
                Seen(
                    topic,
                    p,
                    offset,
                    message.key(),
                    message.value(),
                    tuple(message.headers() or ()),
                    message.timestamp()[1],
                )
            )
        return records

    def to_the_end(self, timeout_s: float = 60) -> None:
        """Read until the *position* has reached what readers are told is the end.

        The position, not the last record: what stands last may be a transaction's marker.
        """
        ends = self.topics.ends(self.names, committed=self.committed)
        begun = time.monotonic()
        while behind := {at: end for at, end in ends.items() if self._position[at] < end}:
            self.some(0.2)
            if time.monotonic() - begun > timeout_s:
                read = {at: self._position[at] for at in behind}
                msg = f"waited {timeout_s:.0f} s to read up to {behind}, got to {read}"
                raise TookTooLong(msg)

    def look_from(self, offsets: dict[At, int], timeout_s: float = 30) -> int:
        """Look for records from these offsets on; return as soon as some are found, or none is."""
        self._consumer.assign(
            [TopicPartition(self.topics.prefix + t, p, o) for (t, p), o in offsets.items()]
        )
        waiting, found, begun = set(offsets), 0, time.monotonic()
        while waiting and not found:
            for message in self._consumer.consume(5_000, 0.2):
                error = message.error()
                if error is None:
                    found += 1
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - likewise
                    topic = message.topic().removeprefix(self.topics.prefix)
                    waiting.discard((topic, message.partition()))
            if time.monotonic() - begun > timeout_s:
                msg = f"waited {timeout_s:.0f} s to see what lies behind {offsets}"
                raise TookTooLong(msg)
        return found

    def position(self, topic: str, p: int) -> int:
        """Behind the last record read, or behind the marker read after it."""
        return self._position.get((topic, p), 0)

    def close(self) -> None:
        self._consumer.close()


class Follower:
    """Reads outputs read_committed *while* the faults happen.

    What it was given, the final reader must find again, at the same place and unchanged: a record
    that was visible once and is gone later would be an aborted read.
    """

    def __init__(self, topics: Topics, names: Iterable[str] = ("rewards", "task-events")) -> None:
        self._reader = Reader(topics, names)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._reader.some(0.25)
        except BaseException as error:  # noqa: BLE001 - handed to the test in stop()
            self._error = error
        finally:
            self._reader.close()

    def stop(self) -> dict[str, list[Seen]]:
        """End it and return what it saw, by topic."""
        self._stop.set()
        self._thread.join(20)
        if self._error is not None:
            raise self._error
        return self._reader.seen


def wait_drained(
    topics: Topics, group: str, names: Iterable[str] = USER_KEYED, timeout_s: float = 60
) -> float:
    """Wait until no readable record lies at or above C; return the seconds it took.

    Our input is sent without transactions, so no marker follows its last record, and "nothing
    readable at or above C" is the same as C == end.
    """
    names = tuple(names)
    state = {"lag": -1}

    def drained() -> bool:
        state["lag"] = topics.lag(group, names)
        return state["lag"] == 0

    return wait_until(
        drained,
        lambda: f"group {group} to drain {', '.join(names)}: {state['lag']} offsets are unread",
        timeout_s,
        0.2,
    )


def wait_at_rest(topics: Topics, group: str, timeout_s: float = 60) -> float:
    """Wait until nobody has anything to fold: inputs, requests to pools and their answers.

    Of our own topics the last thing may be a marker, so records are counted and not offsets.
    """
    left = {"unread": -1}

    def at_rest() -> bool:
        left["unread"] = topics.unread(group, FOLDED)
        return left["unread"] == 0

    return wait_until(
        at_rest, lambda: f"group {group} to fold everything: {left['unread']} are unread", timeout_s
    )


def wait_settled(topics: Topics, names: Iterable[str] = EVERY, timeout_s: float = 60) -> float:
    """Wait until LSO == HW on every partition: no transaction is open any more (I9)."""
    names = tuple(names)
    held: dict[At, tuple[int, int]] = {}

    def settled() -> bool:
        # LSO first: a transaction that ends between the two calls must not look open
        lso, hw = topics.ends(names, committed=True), topics.ends(names)
        held.clear()
        held.update({at: (lso[at], hw[at]) for at in hw if lso[at] != hw[at]})
        return not held

    return wait_until(
        settled, lambda: f"LSO == HW; open transactions on (LSO, HW): {held}", timeout_s, 0.2
    )

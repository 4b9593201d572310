"""A log, a store and a clock in memory, written by hand for the ports.

The log is strict where Kafka is: records of a transaction are readable only once it is committed,
offsets move with it, every commit leaves a marker that takes an offset, and a call can be told to
fail before or after it took effect. Everything is synchronous; one test, one thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from streams.domain.registry import Campaigns
from streams.errors import CommitUnknown, Fenced
from streams.feed.loop import Feed
from streams.feed.ports import (
    BrokerLost,
    Known,
    NotReady,
    Outgoing,
    Record,
    TopicPartition,
    TransactionAbortable,
)
from streams.feed.unit_of_work import UnitOfWork, Versions
from streams.store import meta
from streams.store.gathered import RecordByRecord
from streams.store.meta import Hint
from streams.store.overlay import Codec
from streams.wire.rows import due_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from streams.feed.ports import Listener, Offsets

TOPICS = ("orders", "claims")
CHANGELOG = "changelog"


class Broker:
    """Topics, one group's offsets, open transactions. `fail` names calls that go wrong."""

    def __init__(self, partitions: int = 1) -> None:
        self.partitions = partitions
        self.logs: dict[tuple[str, int], list[Record | None]] = {}  # None: a marker
        self.committed: dict[tuple[str, int], int] = {}
        self.low: dict[tuple[str, int], int] = {}
        self.fail: dict[str, BaseException] = {}  # call -> raised instead
        self.calls: list[str] = []
        self.took_commits = 0

    def put(  # noqa: PLR0913 - all that a record has
        self,
        topic: str,
        user: str | None,
        value: bytes = b"x",
        *,
        p: int = 0,
        at_ms: int = 0,
        headers: Iterable[tuple[str, bytes]] = (),
    ) -> int:
        """Append one input record, as a shop would; return its offset."""
        log = self.logs.setdefault((topic, p), [])
        key = None if user is None else user.encode()
        log.append(Record(topic, p, len(log), key, value, list(headers), at_ms))
        return len(log) - 1

    def read(self, topic: str, p: int = 0) -> list[Record]:
        """Return what a read_committed reader gets."""
        return [record for record in self.logs.get((topic, p), []) if record is not None]

    def call(self, name: str) -> None:
        self.calls.append(name)
        error = self.fail.pop(name, None)
        if error is not None:
            raise error


class MemoryLog:
    """`ports.Log`: one member that is assigned whatever `assign` says."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.listener: Listener | None = None
        self.topics: Sequence[str] = ()
        self.position: dict[tuple[str, int], int] = {}
        self.running: set[tuple[str, int]] = set()
        self.events: list[Callable[[], None]] = []
        self.generation = 0

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None:
        self.topics, self.listener = topics, listener
        self.assign(*range(self.broker.partitions))

    def _all(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(topic, p) for p in partitions for topic in self.topics]

    def assign(self, *partitions: int) -> None:
        """Let the next poll give these partitions."""

        def happen() -> None:
            self.generation += 1
            assert self.listener is not None
            self.listener.on_assign(self._all(partitions))

        self.events.append(happen)

    def revoke(self, *partitions: int, lost: bool = False) -> None:
        """Let the next poll take these partitions away."""

        def happen() -> None:
            assert self.listener is not None
            if lost:
                self.listener.on_lost(self._all(partitions))
            else:
                self.listener.on_revoke(self._all(partitions))
            for at in self._all(partitions):
                self.running.discard(at)

        self.events.append(happen)

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        del timeout_s
        while self.events:
            self.events.pop(0)()
        records: list[Record] = []
        for at in sorted(self.running):
            for record in self.broker.logs.get(at, [])[self.position[at] :]:
                if len(records) == max_records:
                    return records
                self.position[at] += 1
                if record is not None:
                    records.append(record)
        return records

    def start(self, p: int, offsets: Offsets) -> None:
        for topic in self.topics:
            self.position[topic, p] = offsets[topic]
            self.running.add((topic, p))

    def pause(self, p: int) -> None:
        self.running -= {(topic, p) for topic in self.topics}

    def hold(self, topic: str, p: int) -> None:
        self.running.discard((topic, p))

    def resume(self, topic: str, p: int) -> None:
        self.running.add((topic, p))

    def at_end(self, topic: str, p: int) -> bool:
        return self.position.get((topic, p), 0) >= self.high(topic, p)

    def reached(self, topic: str, p: int) -> int:
        return self.position.get((topic, p), 0)

    def high(self, topic: str, p: int) -> int:
        return len(self.broker.logs.get((topic, p), []))

    def group(self) -> int:
        return self.generation

    def close(self) -> None:
        self.running.clear()


class MemoryProducer:
    """`ports.Producer`: nothing of a transaction is in the log before its commit took effect."""

    def __init__(self, broker: Broker) -> None:
        broker.call("init")
        self.broker, self.suspect, self.closed = broker, False, False
        self.staged: list[tuple[Outgoing, bool]] = []
        self.offsets: Mapping[TopicPartition, int] = {}
        self.groups: list[Any] = []

    def begin(self) -> None:
        assert not self.suspect
        self.broker.call("begin")
        self.staged, self.offsets = [], {}

    def produce(self, records: Iterable[Outgoing]) -> None:
        for record in records:
            self.broker.call("produce")
            self.staged.append((record, False))

    def produce_marked(self, record: Outgoing) -> None:
        self.broker.call("produce")
        self.staged.append((record, True))

    def flush(self) -> dict[TopicPartition, int]:
        self.broker.call("flush")
        ends = {at: len(log) for at, log in self.broker.logs.items()}
        marked = {}
        for record, mark in self.staged:
            at = TopicPartition(record.topic, record.partition or 0)
            if mark:
                marked[at] = ends.get(at, 0)
            ends[at] = ends.get(at, 0) + 1
        return marked

    def send_offsets(self, offsets: Mapping[TopicPartition, int], group: Any) -> None:
        self.broker.call("send_offsets")
        self.offsets = offsets
        self.groups.append(group)

    def commit(self) -> None:
        self.broker.call("commit")
        touched = set()
        for record, _ in self.staged:
            at = (record.topic, record.partition or 0)
            log = self.broker.logs.setdefault(at, [])
            log.append(Record(*at, len(log), record.key, record.value, record.headers, 0))
            touched.add(at)
        for at in touched:
            self.broker.logs[at].append(None)
        self.broker.committed.update(self.offsets)
        self.broker.took_commits += 1
        self.broker.call("commit_answer")

    def abort(self) -> None:
        self.suspect = True
        self.broker.call("abort")
        self.staged, self.offsets = [], {}

    def close(self) -> None:
        self.closed = True


class MemoryHistory(RecordByRecord):
    """`ports.History` over the same broker."""

    def __init__(self, broker: Broker) -> None:
        self.broker, self._at, self._position = broker, ("", 0), 0

    def committed(self, p: int, topics: Sequence[str]) -> Offsets:
        self.broker.call("committed")
        found = {topic: self.broker.committed.get((topic, p)) for topic in topics}
        return {topic: offset for topic, offset in found.items() if offset is not None}

    def low_watermarks(self, p: int, topics: Sequence[str]) -> Offsets:
        return {topic: self.broker.low.get((topic, p), 0) for topic in topics}

    def high_watermark(self, topic: str, p: int) -> tuple[int, int]:
        return self.broker.low.get((topic, p), 0), len(self.broker.logs.get((topic, p), []))

    def seek(self, topic: str, p: int, offset: int) -> None:
        self._at, self._position = (topic, p), offset

    def read(self, max_records: int, timeout_s: float) -> list[Record]:
        del timeout_s
        found = self.broker.logs[self._at][self._position :][:max_records]
        self._position += len(found)
        return [record for record in found if record is not None]

    def position(self) -> int:
        return self._position

    def close(self) -> None:
        pass


class Prepared(NamedTuple):
    """Rows as `prepare` gives them back."""

    rows: Mapping[bytes, bytes | None]
    unmoved: Container[bytes] = ()


class MemoryRows:
    """`ports.Rows` in dicts; `MemoryStore` keeps them between opens, as a disk would."""

    def __init__(self, disk: dict[str, Any]) -> None:
        self._disk, self.open = disk, True
        self.writes = 0

    next = property(lambda self: self._disk["next"])
    changelog = property(lambda self: self._disk["changelog"])
    batch = property(lambda self: self._disk["batch"])

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        assert self.open
        return [self._disk["rows"].get(key) for key in keys]

    def peek(self, key: bytes) -> bytes | None:
        if not self.open:
            raise NotReady
        return self._disk["rows"].get(key)

    def prepare(self, rows: Mapping[bytes, bytes | None], unmoved: Container[bytes] = ()) -> Any:
        return Prepared(rows, unmoved)

    def write(
        self,
        rows: Any,
        *,
        next_offsets: Offsets | None,
        changelog: int,
        batch: int,
    ) -> None:
        assert self.open
        self.writes += 1
        given = rows if isinstance(rows, Prepared) else self.prepare(rows)
        for key, value in given.rows.items():
            if key.startswith(meta.DUE):
                self._disk["hints"].discard(meta.decode_hint(key))
            elif value is None:
                self._disk["rows"].pop(key, None)
            else:
                self._disk["rows"][key] = value
                if due_of(value) and key not in given.unmoved:
                    self._disk["hints"].add(Hint(due_of(value), key))
        if next_offsets is not None:
            self._disk["next"] = dict(next_offsets)
        self._disk.update(changelog=changelog, batch=batch)

    load = write  # few rows or many are the same here

    def due(self, at_ms: int, limit: int) -> list[Hint]:
        assert self.open
        return [hint for hint in sorted(self._disk["hints"]) if hint.due_ms <= at_ms][:limit]

    def after(self, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        assert self.open
        return sorted(row for row in self._disk["rows"].items() if row[0] > max(key, b"\2"))[:limit]

    def close(self) -> None:
        assert self.open, "closed twice"
        self.open = False


class MemoryStore:
    """`ports.Store`; ``disks[p]`` is what a restart finds."""

    def __init__(self) -> None:
        self.disks: dict[int, dict[str, Any]] = {}
        self.opened: list[MemoryRows] = []

    def open(self, p: int) -> MemoryRows:
        new = {"rows": {}, "hints": set(), "next": None, "changelog": 0, "batch": 0}
        self.opened.append(MemoryRows(self.disks.setdefault(p, new)))
        return self.opened[-1]


class Done:
    """`ports.Task` that ran at once."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        self._error: BaseException | None = None
        try:
            self._result = fn()
        except BaseException as error:  # noqa: BLE001 - raised by result
            self._error = error

    def done(self) -> bool:
        return True

    def cancel(self) -> bool:
        return False

    def result(self, timeout: float | None = None) -> Any:
        del timeout
        if self._error is not None:
            raise self._error
        return self._result


class AtOnce:
    """`ports.Executor` without threads."""

    def submit(self, fn: Callable[[], Any], /) -> Done:
        return Done(fn)


class Later:
    """`ports.Executor` whose task runs when its result is asked for, or when a test says so."""

    def __init__(self) -> None:
        self.task: Waiting | None = None

    def submit(self, fn: Callable[[], Any], /) -> Waiting:
        self.task = Waiting(fn)
        return self.task


class Waiting:
    """A task of `Later`."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        self._fn = fn
        self._done: Done | None = None
        self.hangs = False  # it never ends

    def run(self) -> None:
        self._done = self._done or Done(self._fn)

    def done(self) -> bool:
        return self._done is not None

    def cancel(self) -> bool:
        return False

    def result(self, timeout: float | None = None) -> Any:
        if self.hangs:
            assert timeout is not None, "waits for ever"
            raise TimeoutError
        self.run()
        assert self._done is not None
        return self._done.result(timeout)


class HandClock:
    """`ports.Clock` that moves when told."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic_s(self) -> float:
        return self.now_s


class Definitions:
    """`ports.CampaignSource` whose age a test sets."""

    def __init__(self) -> None:
        self.age_s = 0.0

    def latest(self) -> Known:
        return Known(Campaigns())

    def confirmed_age_s(self) -> float:
        return self.age_s


ROW = Codec[str](lambda _user: "", lambda _user, data: data.decode(), lambda state: state.encode())
"""A row here is the values folded so far, joined: enough to see loss, repetition and order."""


class World:
    """One worker over a broker; `crash` is kill -9: a new worker finds broker and disks."""

    def __init__(self, partitions: int = 1, committer: Any = None, **settings: Any) -> None:
        self.broker, self.store, self.clock = Broker(partitions), MemoryStore(), HandClock()
        self.campaigns = Definitions()
        self.committer: Any = committer or AtOnce()
        self.settings = {"batch_records": 100, **settings}
        self.crash()

    def crash(self) -> None:
        self.log = MemoryLog(self.broker)
        self.producers: list[MemoryProducer] = []
        parts: dict[str, Any] = {
            "log_": self.log,
            "make_producer": self._producer,
            "make_history": lambda _cancelled: MemoryHistory(self.broker),
            "store": self.store,
            "codec": ROW,
            "encode": lambda output, _cause: output,  # tests emit Outgoing themselves
            "campaigns": self.campaigns,
            "executor": AtOnce(),
            "committer": self.committer,
            "clock": self.clock,
            "topics": TOPICS,
            "changelog": CHANGELOG,
            "versions": Versions(1, 1),
        }
        self.feed = Feed(**{**parts, **self.settings})
        self.feed.start()

    def _producer(self) -> MemoryProducer:
        self.producers.append(MemoryProducer(self.broker))
        return self.producers[-1]

    def poll(self, times: int = 100) -> UnitOfWork | None:
        """Poll until there is work: an assignment, a restore and a lagging topic take polls."""
        for _ in range(times):
            work = self.feed.poll(0.0)
            if work is not None:
                return work
            self.clock.now_s += 0.01
        return None

    def step(self) -> bool | None:
        """Poll, fold, commit; None when there was nothing."""
        work = self.poll()
        if work is None:
            return None
        fold(work)
        return self.feed.commit(work)

    def settle(self) -> None:
        """Go on until nothing is left."""
        for _ in range(50):
            if self.step() is None:
                return
        raise AssertionError("never at rest")

    def outputs(self) -> list[tuple[str, bytes]]:
        return [
            (record.key.decode(), record.value)
            for p in range(self.broker.partitions)
            for record in self.broker.read("rewards", p)
        ]

    def rows(self, p: int = 0) -> dict[bytes, bytes]:
        return dict(self.store.disks.get(p, {"rows": {}})["rows"])


def fold(work: UnitOfWork) -> None:
    """Append each value to its user's row and say so; a value b"bad" is a dead letter."""
    from streams.errors import Reason  # noqa: PLC0415 - only here

    for batch in work.batches:
        for record in batch.records:
            if record.value == b"bad":
                batch.reject(record, Reason.NOT_JSON, "bad")
                continue
            user = record.key.decode()
            batch.overlay[user] += record.value.decode()
            state = batch.overlay[user].encode()
            batch.outgoing.append(Outgoing("rewards", record.key, state, [], record.partition))


UNKNOWN, FENCED = CommitUnknown("timed out"), Fenced("newer epoch")
ABORTABLE, LOST = TransactionAbortable("delivery failed"), BrokerLost("no answer")

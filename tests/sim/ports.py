"""The ports of `streams/feed/ports.py` on the simulated broker, beside the group's consumer.

Each raises what its twin on librdkafka raises (`streams/feed/{producer,history}.py`), and is
suspect for the same reasons: what is faulty about the clients themselves is tier T4's business.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from streams.errors import CommitUnknown, Fenced
from streams.feed.ports import BrokerLost, Outgoing, Record, TopicPartition, TransactionAbortable
from streams.store.gathered import RecordByRecord
from tests.sim.broker import KafkaSays
from tests.sim.network import SOCKET_S, TimedOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from streams.feed.ports import Offsets
    from tests.sim.fibers import Process, Scheduler
    from tests.sim.world import World

INIT_S, CALL_S, ASK_S, PATIENT_S = 30.0, 10.0, 5.0, 30.0

FENCED = frozenset(
    {"ILLEGAL_GENERATION", "FENCED_INSTANCE_ID", "INVALID_PRODUCER_EPOCH", "UNKNOWN_MEMBER_ID"}
)


class SimProducer:
    """`ports.Producer`. Made after init_transactions, as `KafkaProducer` is."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process
        self._who = process.name
        self.suspect = False
        self._queue: list[tuple[Outgoing, bool]] = []
        self._failed: list[str] = []
        self._marked: dict[TopicPartition, int] = {}
        self._number: int | None = None  # of the transaction, once the coordinator has begun it
        self._epoch = 0
        world.erred.discard(self._who)  # a new client has a queue of its own
        try:
            self._epoch = self._call("init", self._init, INIT_S)
        except TimedOut as error:
            raise BrokerLost("init_transactions") from error

    def _init(self) -> int:
        epoch = self._world.broker.init_transactions(self._who)
        if epoch is None:
            raise KafkaSays("CONCURRENT_TRANSACTIONS")
        return epoch

    def begin(self) -> None:
        assert not self.suspect, "a suspect producer never begins again (reliability.md 5.3)"
        self._world.touch(self._process, "begin")
        self._queue, self._failed, self._marked, self._number = [], [], {}, None

    def produce(self, records: Iterable[Outgoing]) -> None:
        for record in records:
            self._queue.append((record, False))
            if self._world.dice.random() < 0.1:
                self._send()

    def produce_marked(self, record: Outgoing) -> None:
        self._queue.append((record, True))

    def _send(self) -> None:
        """What the client's own thread does: errors are told by `flush`."""
        self._world.touch(self._process, "produce")
        batch, self._queue = self._queue, []
        if not batch or self._failed:
            return
        broker = self._world.broker
        records = [record for record, _ in batch]
        if self._world.nemesis.delivery_fails(self._who):
            lost = int(self._world.dice.random() * len(records))
            self._failed.append(f"record {lost} of {len(records)} was refused")
            del records[lost], batch[lost]
        where = {
            (r.topic, broker.partition_of(r.key) if r.partition is None else r.partition)
            for r in records
        }
        offsets: list[int] = []
        number = 0

        def produce() -> None:
            if not offsets:  # sequence numbers: the same batch again is no second batch
                offsets.extend(broker.produce(self._who, self._epoch, number, records))

        def add() -> int:
            return broker.add_partitions(self._who, self._epoch, sorted(where))

        try:
            number = self._number = self._call("add_partitions", add, CALL_S)
            self._call("produce", produce, CALL_S)
        except (TransactionAbortable, Fenced, TimedOut) as error:
            self._failed.append("fenced" if isinstance(error, Fenced) else str(error))
            return
        for (record, mark), offset in zip(batch, offsets, strict=True):
            if mark:
                self._marked[TopicPartition(record.topic, record.partition or 0)] = offset

    def flush(self) -> dict[TopicPartition, int]:
        started_s = self._world.clock.now_s
        self._send()
        self._note_time(started_s)
        self._serve_errors()
        if self._failed:
            self.suspect = True
            if "fenced" in self._failed:
                raise Fenced("delivery: fenced")
            raise TransactionAbortable(f"delivery: {self._failed[0]}")
        return dict(self._marked)

    def send_offsets(self, offsets: Mapping[TopicPartition, int], group: Any) -> None:
        world = self._world
        world.touch(self._process, "send_offsets")
        moved = {(at.topic, at.partition): offset for at, offset in offsets.items()}

        def commit() -> None:
            world.group.validate(group)
            world.broker.commit_offsets(self._who, self._epoch, moved)

        def add() -> None:
            world.broker.add_offsets(self._who, self._epoch)

        started_s = world.clock.now_s
        try:
            self._call("add_offsets", add, CALL_S)
            left_s = CALL_S - (world.clock.now_s - started_s)
            self._call("txn_offsets", commit, left_s)
        except TimedOut as error:
            self.suspect = True
            raise TransactionAbortable(f"send_offsets: {error} timed out") from error
        self._note_time(started_s)

    def commit(self) -> None:
        """Any exception: the outcome is unknown, unless we are fenced; then it does not matter."""
        started_s = self._world.clock.now_s
        self._world.touch(self._process, "commit")
        try:
            self._end(commit=True)
        except TimedOut as error:
            self.suspect = True
            raise CommitUnknown("commit timed out") from error
        except TransactionAbortable as error:
            raise CommitUnknown(str(error)) from error
        self._note_time(started_s)
        self._serve_errors()

    def abort(self) -> None:
        self.suspect = True
        self._world.touch(self._process, "abort")
        if self._number is None:
            return  # nothing of it has reached the coordinator
        try:
            self._end(commit=False)
        except (TimedOut, TransactionAbortable, Fenced) as error:
            raise BrokerLost(f"abort: {error}") from error

    def _end(self, *, commit: bool) -> None:
        broker, epoch = self._world.broker, self._epoch
        self._call(
            "end_txn", lambda: broker.end_transaction(self._who, epoch, commit=commit), CALL_S
        )

    def close(self) -> None:
        self._queue = []

    def _call(self, api: str, ask: Callable[[], Any], limit_s: float) -> Any:
        try:
            return self._world.network.call(self._who, api, ask, limit_s)
        except KafkaSays as says:
            self.suspect = True
            if says.code in FENCED:
                self._world.land("fenced", f"{self._process} {api}: {says.code}")
                raise Fenced(f"{api}: {says.code}") from says
            raise TransactionAbortable(f"{api}: {says.code}") from says

    def _serve_errors(self) -> None:
        """Its error callback runs where librdkafka serves callbacks: in flush, and in commit."""
        if self._who in self._world.erred:
            self._world.erred.discard(self._who)
            self._world.land("error callback", str(self._process))
            self.suspect = True

    def _note_time(self, started_s: float) -> None:
        if self._world.clock.now_s - started_s > SOCKET_S:
            self.suspect = True


class SimHistory(RecordByRecord):
    """`ports.History`."""

    def __init__(self, world: World, process: Process, cancelled: Callable[[], bool]) -> None:
        self._world, self._process, self._cancelled = world, process, cancelled
        self._position = 0
        self._log = world.broker.log("", 0)

    def committed(self, p: int, topics: Sequence[str]) -> Offsets:
        def ask() -> Offsets:
            found = {topic: self._world.broker.stable_offset((topic, p)) for topic in topics}
            if None in found.values():
                self._world.land("restore waited for pending offsets", str(self._process))
                raise KafkaSays("UNSTABLE_OFFSET_COMMIT")
            return {topic: at for topic, at in found.items() if at is not None and at >= 0}

        return self._patient("committed", ask)

    def low_watermarks(self, _p: int, topics: Sequence[str]) -> Offsets:
        return self._patient("watermarks", lambda: dict.fromkeys(topics, 0))

    def high_watermark(self, topic: str, p: int) -> tuple[int, int]:
        return self._patient("watermarks", lambda: (0, self._world.broker.log(topic, p).high))

    def _patient(self, api: str, ask: Callable[[], Any]) -> Any:
        clock = self._world.clock
        self._world.touch(self._process, api)
        deadline_s = clock.now_s + PATIENT_S
        while True:
            try:
                return self._world.network.call(self._process.name, api, ask, ASK_S)
            except (KafkaSays, TimedOut) as error:
                if clock.now_s > deadline_s or self._cancelled():
                    raise BrokerLost(f"{api}: {error}") from error
                clock.sleep(0.1)

    def seek(self, topic: str, p: int, offset: int) -> None:
        self._log, self._position = self._world.broker.log(topic, p), offset

    def read(self, max_records: int, timeout_s: float) -> list[Record]:
        self._world.touch(self._process, "read")
        broker, log = self._world.broker, self._log
        self._world.clock.wait(lambda: self._position < log.stable and not broker.away(), timeout_s)
        if broker.away():
            return []
        most = min(max_records, 1 + int(self._world.dice.random() * 20))
        found, self._position = log.read(self._position, most)
        return found

    def position(self) -> int:
        return self._position

    def close(self) -> None:
        pass


class SimClock:
    """`ports.Clock`."""

    def __init__(self, clock: Scheduler) -> None:
        self._clock = clock

    def monotonic_s(self) -> float:
        return self._clock.now_s


class SimTask:
    """`ports.Task`: a future that a fiber of its process fulfils."""

    def __init__(self, clock: Scheduler, fn: Callable[[], Any]) -> None:
        self._clock, self._fn = clock, fn
        self._begun = self._done = False
        self._result: Any = None
        self._error: Exception | None = None

    def run(self) -> None:
        if self._begun:
            return  # cancelled
        self._begun = True
        try:
            self._result = self._fn()
        except Exception as error:  # noqa: BLE001 - raised by result; Killed is none
            self._error = error
        self._done = True

    def done(self) -> bool:
        return self._done

    def cancel(self) -> bool:
        if self._begun:
            return False
        self._begun = self._done = True
        return True

    def result(self, timeout: float | None = None) -> Any:
        if not self._clock.wait(lambda: self._done, 1e9 if timeout is None else timeout):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._result


class SimExecutor:
    """`ports.Executor`: one more fiber of the process, tasks one after another as they came."""

    def __init__(self, clock: Scheduler, process: Process, name: str) -> None:
        self._clock, self._process, self._name = clock, process, f"{process} {name}"
        self._tasks: deque[SimTask] = deque()
        self._running = False

    def submit(self, fn: Callable[[], Any], /) -> SimTask:
        task = SimTask(self._clock, fn)
        self._tasks.append(task)
        if not self._running:
            self._running = True
            self._clock.spawn(self._name, self._run, self._process)
        return task

    def _run(self) -> None:
        while True:
            self._clock.wait(lambda: bool(self._tasks))
            self._tasks.popleft().run()

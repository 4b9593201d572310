"""What the feed needs of the world: a log, a store and a clock (the simulation has its own).

The loop, the unit of work and the restore are written against these and nothing else, without
asyncio and without a wall clock, so that the code that runs in the simulation is the code that
ships. Topic names on this side carry no prefix; an adapter maps them.

Who raises what: every method may raise `BrokerLost` when the broker did not answer in time;
`Fenced` when somebody else owns what we try to use. Both are final for the object that raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from streams.domain.registry import Campaigns
    from streams.store.gathered import Gathering, Read
    from streams.store.meta import Hint

Headers = list[tuple[str, bytes]]


class Record(NamedTuple):
    """One record as the log has it; bytes untouched."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    recorded_at_ms: int  # the record's own Kafka timestamp


class Outgoing(NamedTuple):
    """One record to be produced in the transaction. ``partition`` None: by murmur2 of the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None


class TopicPartition(NamedTuple):
    """One partition of one topic, without prefix."""

    topic: str
    partition: int


Offsets = dict[str, int]
"""Next offset to read, by topic, of one partition number p: the vectors C, L and V."""


class BrokerLost(Exception):
    """The broker did not answer, or answered with an error that a new client may not meet."""


class TransactionAbortable(Exception):
    """Before K6 something failed: abort, drop the overlay, replace the producer, restore."""


class Listener(Protocol):
    """Called from inside `Log.poll`, in the thread that polls."""

    def on_assign(self, partitions: Sequence[TopicPartition]) -> None: ...

    def on_revoke(self, partitions: Sequence[TopicPartition]) -> None:
        """Called before the partitions are given away; they are ours until this returns."""

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Called when somebody else may own them already: abort only, write nothing."""


class Log(Protocol):
    """The group consumer: one member, range assignor, read_committed, no automatic commit.

    After an assignment every partition is paused until `start` names its first offset.
    """

    def subscribe(self, topics: Sequence[str], listener: Listener) -> None: ...

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return what has arrived, up to ``max_records``; calls the listener meanwhile.

        Within a partition records come in offset order. Never blocks longer than ``timeout_s``
        plus what the listener takes.
        """

    def start(self, p: int, offsets: Offsets) -> None:
        """Read partition p of every topic from these offsets on.

        Never from inside the listener: what the `poll` that called it has fetched is dropped.
        """

    def pause(self, p: int) -> None:
        """Read nothing more of p; what was fetched but not yet returned is dropped."""

    def hold(self, topic: str, p: int) -> None:
        """Fetch no more of one topic's p for now; what was returned counts as read."""

    def resume(self, topic: str, p: int) -> None:
        """Undo `hold`: go on behind the last record returned."""

    def at_end(self, topic: str, p: int) -> bool:
        """Say whether all that can be read of it has been returned, as far as known."""

    def high(self, topic: str, p: int) -> int:
        """Return its high watermark as of the last fetch; -1 when unknown."""

    def reached(self, topic: str, p: int) -> int:
        """Return the offset up to which all that can be read of it has been returned.

        Markers and holes at the end count, once they are known to be all there is.
        """

    def group(self) -> Any:
        """Return the group metadata of this moment, opaque; None while not a member.

        Captured at assignment, sent with the offsets: what fences a zombie (5.1).
        """

    def close(self) -> None: ...


class Producer(Protocol):
    """One transactional producer. Every call has a time limit (reliability.md 5.2)."""

    suspect: bool
    """True once a call took longer than the socket timeout, an error was reported or anything
    was aborted: such a producer never begins again (reliability.md 5.3)."""

    def begin(self) -> None: ...

    def produce(self, records: Iterable[Outgoing]) -> None:
        """Hand over; delivery is checked by `flush`. Raises TransactionAbortable, Fenced."""

    def produce_marked(self, record: Outgoing) -> None:
        """As `produce`; its offset is reported by `flush` (the last changelog row of a p)."""

    def flush(self) -> dict[TopicPartition, int]:
        """Wait until all is delivered; return the offsets of the marked records.

        Raises TransactionAbortable when anything is undelivered or was reported with an error.
        """

    def send_offsets(self, offsets: Mapping[TopicPartition, int], group: Any) -> None: ...

    def commit(self) -> None:
        """Return when the broker took it. *Any* other outcome raises: CommitUnknown or Fenced."""

    def abort(self) -> None: ...

    def close(self) -> None:
        """Destroy without waiting for anything; never raises."""


class History(Protocol):
    """What a restore reads: own clients, outside the group's polling."""

    def committed(self, p: int, topics: Sequence[str]) -> Offsets:
        """C: stable committed offsets (waits for pending ones); topics without one are absent."""

    def low_watermarks(self, p: int, topics: Sequence[str]) -> Offsets: ...

    def high_watermark(self, topic: str, p: int) -> tuple[int, int]:
        """Return (low, high) as a read_uncommitted reader is told them."""

    def seek(self, topic: str, p: int, offset: int) -> None:
        """Begin reading read_committed at ``offset``."""

    def read(self, max_records: int, timeout_s: float) -> list[Record]: ...

    def gathered(self) -> Gathering:
        """Return what `gather` takes; behind `seek`."""

    def gather(self, to: Gathering, most: int, timeout_s: float) -> Read:
        """As `read`, for whoever wants the newest row of each key and no records."""

    def position(self) -> int:
        """Return the offset up to which everything has been read, markers and holes included."""

    def close(self) -> None: ...


class NotOwned(Exception):
    """Another worker has the partition, or none."""


class NotReady(Exception):
    """The partition is ours and is being opened, restored or given away."""


class CannotTell(Exception):
    """The broker does not describe groups: the embedded one (D10)."""


class Rows(Protocol):
    """The rows of one partition, open. Every error of the disk is a `DiskError` (exit 74)."""

    next: Offsets | None  # L; None: nothing was ever written
    changelog: int  # changelog offset to go on from
    batch: int  # number of the newest batch in it

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]: ...

    def peek(self, key: bytes) -> bytes | None:
        """Read one row, in any thread; what was written last. Raises NotReady once closed."""

    def prepare(self, rows: Mapping[bytes, bytes | None], unmoved: Container[bytes] = ()) -> Any:
        """Return what `write` takes in place of these rows; nothing is written by it.

        ``unmoved``: keys whose row is here with the same deadline, and its hint with it.
        """

    def write(
        self,
        rows: Any,  # a Mapping[bytes, bytes | None], one that was prepared, or as `load`
        *,
        next_offsets: Offsets | None,
        changelog: int,
        batch: int,
    ) -> None:
        """One atomic WriteBatch: rows (None deletes), L, changelog offset, batch, fold version.

        And a hint for each row that has a deadline (store/meta.py), whoever writes it.
        ``next_offsets`` None leaves L as it is: a restore between two meta rows.
        """

    def load(
        self,
        rows: Any,  # a Mapping[bytes, bytes | None], or what a Gathering gave (store/gathered.py)
        *,
        next_offsets: Offsets | None,
        changelog: int,
        batch: int,
    ) -> None:
        """As `write`, cheaper where rows are many: a restore's."""

    def due(self, at_ms: int, limit: int) -> list[Hint]:
        """Return up to ``limit`` hints of deadlines not after ``at_ms``, the earliest first."""

    def after(self, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return up to ``limit`` rows of users behind ``key``, in order; none: that was the last.

        Of pools none. Fewer where they are large.
        """

    def close(self) -> None: ...


class Store(Protocol):
    """One database per partition."""

    def open(self, p: int) -> Rows:
        """Raises Refused when it is another's, DiskError when it cannot be opened."""


class Clock(Protocol):
    """Durations only; the wall clock stays outside (D8)."""

    def monotonic_s(self) -> float: ...


class Task(Protocol):
    """Work under way elsewhere; a subset of `concurrent.futures.Future`."""

    def done(self) -> bool: ...

    def cancel(self) -> bool:
        """Give up if it has not begun; return whether that was so."""

    def result(self, timeout: float | None = None) -> Any: ...


class Executor(Protocol):
    """Runs what may block (restores, producer replacement) beside the polling."""

    def submit(self, fn: Callable[[], Any], /) -> Task: ...


class Known(NamedTuple):
    """Definitions, and what makes them: so that a replay can fold with the very same ones."""

    campaigns: Campaigns
    next: int = 0  # those before this offset of the topic `campaigns`
    files: str = ""  # and those of files with this digest; "": none


class CampaignSource(Protocol):
    """The definitions known so far, and how fresh that knowledge is (D9)."""

    def latest(self) -> Known: ...

    def confirmed_age_s(self) -> float:
        """Seconds since the end of the topic was last seen reached; inf before the first time."""

"""The simulated log: what a broker keeps and decides, without clients and without a network.

As strict as Kafka where money hangs on it, and as weak: a transaction's records take offsets when
they are produced and hold readers back (LSO) until its marker is written; markers take offsets, are
written per partition at moments of their own, and the group's offsets count as pending until
theirs is; the coordinator knows producers by epoch only, so an EndTxn that comes late is obeyed if
nobody has raised the epoch since (KAFKA-17754). tests/sim/test_conformance.py asks it and a real
broker the same questions.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

from streams.feed.ports import Outgoing, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.sim.fibers import Scheduler

At = tuple[str, int]
WALL_MS = 1_780_272_000_000
"""2026-06-01T00:00Z on the wall when the clock is at 0: later than all traffic, as in a replay."""

CLEANUP_S = 10.0
"""The coordinator looks for transactions that took too long so often."""


class KafkaSays(Exception):
    """An error code of the protocol; the client decides what it means."""

    @property
    def code(self) -> str:
        return str(self.args[0])


class Part:
    """One transaction's records in one partition."""

    __slots__ = ("committed", "first", "open")

    def __init__(self, first: int) -> None:
        self.first, self.open, self.committed = first, True, False


class Entry(NamedTuple):
    """An offset of a partition. record None: a control marker."""

    record: Record | None
    part: Part | None


class Partition:
    """Entries by offset; the transactions open in it."""

    def __init__(self, topic: str, number: int) -> None:
        self.at: At = (topic, number)
        self.entries: list[Entry] = []
        self.open: list[Part] = []

    @property
    def high(self) -> int:
        return len(self.entries)

    @property
    def stable(self) -> int:
        """The LSO: nothing from here on is given to a read_committed reader."""
        # The parts are opened at the end of the log, so the first of them stands lowest.
        return self.open[0].first if self.open else len(self.entries)

    def append(self, sent: Outgoing, at_ms: int, part: Part | None = None) -> int:
        offset = len(self.entries)
        record = Record(*self.at, offset, sent.key, sent.value, list(sent.headers), at_ms)
        self.entries.append(Entry(record, part))
        return offset

    def mark(self, part: Part | None) -> None:
        """Write a control marker; None: of a transaction of the shop's own."""
        self.entries.append(Entry(None, None))
        if part is not None:
            self.open.remove(part)

    def read(self, position: int, most: int, *, committed: bool = True) -> tuple[list[Record], int]:
        """Return records from ``position`` on and where the reader stands then."""
        found: list[Record] = []
        end = self.stable if committed else self.high
        while position < end and len(found) < most:
            record, part = self.entries[position]
            position += 1
            if record is not None and (not committed or part is None or part.committed):
                found.append(record)
        return found, position


EMPTY, ONGOING, PREPARED = "empty", "ongoing", "prepared"


class Transactions:
    """What the coordinator knows of one transactional id."""

    def __init__(self, name: str) -> None:
        self.name, self.epoch, self.state = name, 0, EMPTY
        self.number = 0  # of the transaction: ours, to recognize it; Kafka does not send it
        self.ended: bool | None = None  # how the last one ended: committed or not
        self.parts: dict[At, Part] = {}
        self.offsets: dict[At, int] | None = None  # None: the offsets topic is not part of it
        self.written: list[Record] = []
        self.awaited = 0  # markers still to be written


class Broker:
    """Partitions, transactions and one group's offsets."""

    def __init__(self, clock: Scheduler, partitions: int) -> None:
        self.clock, self.partitions = clock, partitions
        self.logs: dict[At, Partition] = {}
        self.ids: dict[str, Transactions] = {}
        self.offsets: dict[At, int] = {}  # stable
        self.pending: dict[At, set[str]] = {}  # by which transactional ids
        self.decided: dict[At, int] = {}  # offsets of every EndTxn taken, markers written or not
        self.held: dict[str, list[Callable[[], None]]] = {}  # late requests, by transactional id
        self.away_until_s = 0.0
        self.timeout_s = 15.0
        self.marker_delay: Callable[[], float] = lambda: 0.0
        self.counts: dict[str, int] = {}
        self.on_decided: Callable[[Transactions, bool], None] = lambda _transaction, _commit: None
        self.on_committed: Callable[[At, Part], None] = lambda _at, _part: None

    # -- topics ----------------------------------------------------------------------------------

    def log(self, topic: str, p: int) -> Partition:
        found = self.logs.get((topic, p))
        if found is None:
            found = self.logs[topic, p] = Partition(topic, p)
        return found

    def partition_of(self, key: bytes | None) -> int:
        """The simulation's partitioner; any fixed function of the key does."""
        return zlib.crc32(key or b"") % self.partitions

    def wall_ms(self) -> int:
        return WALL_MS + round(self.clock.now_s * 1_000)

    def away(self) -> bool:
        return self.clock.now_s < self.away_until_s

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    # -- transactions ----------------------------------------------------------------------------

    def init_transactions(self, name: str) -> int | None:
        """Fence every predecessor; None: its transaction is still being ended, ask again."""
        known = self.ids.setdefault(name, Transactions(name))
        if known.state == ONGOING:
            known.epoch += 1
            self.count("aborted by a successor")
            self._end(known, commit=False)
        if known.state == PREPARED:
            return None
        known.epoch += 1
        return known.epoch

    def _current(self, name: str, epoch: int) -> Transactions:
        known = self.ids[name]
        if known.epoch != epoch:
            raise KafkaSays("INVALID_PRODUCER_EPOCH")
        if known.state == PREPARED:
            raise KafkaSays("CONCURRENT_TRANSACTIONS")
        return known

    def add_partitions(self, name: str, epoch: int, partitions: Iterable[At]) -> int:
        """Return the number of the transaction, begun now if none was."""
        known = self._current(name, epoch)
        self._begin(known)
        for at in partitions:
            if at not in known.parts:
                log = self.log(*at)
                part = known.parts[at] = Part(log.high)
                log.open.append(part)
        return known.number

    def _begin(self, known: Transactions) -> None:
        if known.state == ONGOING:
            return
        known.state, known.number = ONGOING, known.number + 1
        known.parts, known.offsets, known.written = {}, None, []
        number, epoch = known.number, known.epoch
        for arrive in self.held.pop(known.name, []):
            self.clock.after(0.01 * self.clock.rng.random(), arrive)

        def overdue() -> None:
            if (known.number, known.epoch, known.state) == (number, epoch, ONGOING):
                known.epoch += 1
                self.count("aborted by timeout")
                self._end(known, commit=False)

        late_s = CLEANUP_S * self.clock.rng.random()
        self.clock.after(self.timeout_s + late_s, overdue)

    def produce(self, name: str, epoch: int, number: int, records: list[Outgoing]) -> list[int]:
        """Append to the transaction ``number``; KIP-890 refuses what belongs to no open one."""
        known = self.ids[name]
        if known.epoch != epoch:
            raise KafkaSays("INVALID_PRODUCER_EPOCH")
        if known.state != ONGOING or known.number != number:
            raise KafkaSays("INVALID_TXN_STATE")
        offsets = []
        for sent in records:
            p = self.partition_of(sent.key) if sent.partition is None else sent.partition
            log = self.log(sent.topic, p)
            offset = log.append(sent, self.wall_ms(), known.parts[sent.topic, p])
            offsets.append(offset)
            record = log.entries[offset].record
            assert record is not None
            known.written.append(record)
        return offsets

    def add_offsets(self, name: str, epoch: int) -> None:
        known = self._current(name, epoch)
        self._begin(known)
        if known.offsets is None:
            known.offsets = {}

    def commit_offsets(self, name: str, epoch: int, offsets: Mapping[At, int]) -> None:
        """Kept as pending until the transaction's marker reaches the offsets topic."""
        known = self._current(name, epoch)
        if known.state != ONGOING or known.offsets is None:
            raise KafkaSays("INVALID_TXN_STATE")
        known.offsets.update(offsets)
        for at in offsets:
            self.pending.setdefault(at, set()).add(name)

    def end_transaction(self, name: str, epoch: int, *, commit: bool) -> None:
        known = self.ids[name]
        if known.epoch != epoch:
            raise KafkaSays("INVALID_PRODUCER_EPOCH")
        if known.state == ONGOING:
            self._end(known, commit=commit)
        elif known.ended is not commit:  # the same again is answered as the first time
            raise KafkaSays("INVALID_TXN_STATE")

    def _end(self, known: Transactions, *, commit: bool) -> None:
        """The decision; readers learn of it by the markers, each written at its own moment."""
        known.state, known.ended = PREPARED, commit
        self.count("committed" if commit else "aborted")
        if commit:
            self.on_decided(known, commit)
            self.decided.update(known.offsets or {})
        known.awaited = len(known.parts) + 1

        def done() -> None:
            known.awaited -= 1
            if known.awaited == 0:
                known.state = EMPTY

        def mark(at: At, part: Part) -> None:
            part.open, part.committed = False, commit
            self.log(*at).mark(part)
            if commit:
                self.on_committed(at, part)
            done()

        def settle(offsets: dict[At, int]) -> None:
            for at, offset in offsets.items():
                self.pending[at].discard(known.name)
                if commit:
                    self.offsets[at] = offset
            done()

        for at, part in known.parts.items():
            self._later(lambda at=at, part=part: mark(at, part))
        self._later(lambda offsets=dict(known.offsets or {}): settle(offsets))

    def _later(self, fn: Callable[[], None]) -> None:
        delay_s = self.marker_delay()
        if delay_s > 0:
            self.clock.after(delay_s, fn)
        else:
            fn()

    # -- the group's offsets -----------------------------------------------------------------------

    def stable_offset(self, at: At) -> int | None:
        """Return it, -1 for none; None: a transaction that moves it is still open."""
        if self.pending.get(at):
            return None
        return self.offsets.get(at, -1)

"""THE UNIT OF WORK: all that one poll changes, made durable by one transaction (D4).

Batches, the overlays they fold into, outputs, dead letters and offsets of one poll, of however
many partitions, become visible together or not at all. `commit` is the protocol; a *K-point* is a
line of it at which a test can kill the process (feed/kill_points.py).
"""

from __future__ import annotations

import contextlib
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

from streams.errors import RewardsError
from streams.feed import journal
from streams.feed.batch import Phases
from streams.feed.kill_points import reach
from streams.feed.ports import BrokerLost, Outgoing, TopicPartition, TransactionAbortable
from streams.store import meta
from streams.store.overlay import Overlay, StateCache
from streams.topics import JOURNAL
from streams.wire import journal as wire_journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.feed.batch import Batch
    from streams.feed.budget import Budget
    from streams.feed.ports import Clock, Known, Offsets, Producer, Rows
    from streams.store.overlay import Codec


_OUTGOING = partial(tuple.__new__, Outgoing)


class Owned:
    """Partition p of every user-keyed topic, as this worker owns it between assign and revoke."""

    def __init__(self, p: int) -> None:
        self.p = p
        self.rows: Rows | None = None
        self.cache: StateCache[Any] = StateCache()
        self.next: Offsets = {}  # L, V and C, all equal while this is ready
        self.ready = False  # restored: records may be read
        self.held = False  # ready, but not read: definitions too old
        self.full: set[str] = set()  # topics not fetched for now: enough of them waits already
        self.parked = False  # a record of it killed three starts in a row: not read
        self.revoked = False
        self.task: Any = None  # the restore under way
        self.remaining = 0  # changelog records still to restore
        self.budgets: dict[str, Budget] = {}  # by topic

    @property
    def restored(self) -> bool:
        """Its rows are as the changelog has them, so they may be read."""
        return self.ready or self.parked


class Versions:
    """What the meta row says of the code that wrote it."""

    def __init__(self, fold_version: int, row_schema: int) -> None:
        self.fold_version, self.row_schema = fold_version, row_schema


class UnitOfWork:
    """One pass of K0 to K9. Made by the loop after a poll, folded by agents, committed once."""

    def __init__(  # noqa: PLR0913 - made in one place, feed/loop.py
        self,
        producer: Producer,
        group: Any,
        owned: dict[int, Owned],
        batches: list[Batch],
        overlays: dict[int, Overlay[Any]],
        known: Known,
        versions: Versions,
        changelog: str,
        clock: Clock,
    ) -> None:
        """``group``: metadata captured at assignment; it fences us if we have been away."""
        self.producer, self.group, self.owned = producer, group, owned
        self.batches, self.overlays, self.versions = batches, overlays, versions
        self.known = known
        self.changelog, self.clock = changelog, clock
        self.begun_s = self.committing_s = clock.monotonic_s()
        self.polled_s = 0.0  # how long the poll took that brought it, less the waiting for records
        self.phases = Phases()  # hand_over, encode, produce, flush, offsets, commit, write
        self.outputs = self.produced = 0  # and dead letters; all records of the transaction
        self.budgets: dict[tuple[str, int], Budget] = {}  # as they are once this is committed
        self.notes: dict[int, dict[bytes, bytes]] = {}  # by p; with the rows (a backfill's place)

    def next_offsets(self) -> dict[int, Offsets]:
        """Return the whole vector of each touched p: C and V can then be compared as they are."""
        vectors: dict[int, Offsets] = {}
        for batch in self.batches:
            p, topic, before = batch.partition, batch.topic, self.owned[batch.partition].next
            first = batch.records[0].offset if batch.records else before[topic]
            assert first >= before[topic], "read twice: a broken invariant"
            vector = vectors.setdefault(p, dict(before))
            if batch.records:  # none: a tick that is not yet through with its users
                vector[topic] = max(vector[topic], batch.records[-1].offset + 1)
        return vectors

    def commit(self) -> None:
        """Make the poll durable: Kafka first, RocksDB second. Blocks: call it in a thread.

        K0 polled, K1 decoded, K2 folded into the overlays: done before, by the loop and the agents.
        K3 begin. K4 produced: outputs, dead letters, the journal's record of each p, one row per
        touched user and, last of each p, one meta row {next offsets, batch number, fold version};
        flushed, every delivery checked.
        K5 source offsets of every touched p, with the group metadata captured at assignment.
        K6 commit called. K7 commit returned OK. K8 per p one WriteBatch: rows, L, changelog offset.
        K9 overlays promoted (`promote`); counted.

        Stopped in K0-K2: no transaction; the records are read again from C.
        Stopped in K3-K5: the next init_transactions, or the coordinator, aborts; read again from C.
        Abortable error in K3-K5: aborted here, raises TransactionAbortable; the caller drops the
        overlays, replaces the producer and restores.
        K6 raised or timed out: CommitUnknown. Nothing is written, nothing begun: only C decides
        (new producer, restore).
        Stopped in K6-K8 and the broker took it: L < V = C; the rows come back from the changelog,
        no output is sent twice. Inside K8 that holds for each p by itself.
        Fenced anywhere: another worker owns p; drop everything, exit 75.
        """
        producer, clock = self.producer, self.clock
        started_s = clock.monotonic_s()
        self.outputs = sum(len(batch.outgoing) for batch in self.batches)
        next_offsets = self.next_offsets()
        rows = {p: {**self.overlays[p].encoded(), **self.notes.get(p, {})} for p in next_offsets}
        metas = {
            p: meta.Meta(
                vector,
                self.owned[p].rows.batch + 1,  # type: ignore[union-attr]
                self.versions.fold_version,
                self.versions.row_schema,
            )
            for p, vector in next_offsets.items()
        }
        told = [
            Outgoing(JOURNAL, None, self._journal(p, record), [], p) for p, record in metas.items()
        ]
        started_s = self._lap("encode", started_s)
        try:
            producer.begin()
            reach("K3")
            producer.produce(self._records(rows, told))
            for p, record in metas.items():
                producer.produce_marked(
                    Outgoing(self.changelog, meta.META, meta.encode_meta(record), [], p)
                )
            for batch in self.batches:
                if batch.packed:  # librdkafka has its copies, nobody reads these again
                    batch.outgoing = []
            reach("K4")
            started_s = self._lap("produce", started_s)
            # While the broker takes it. Nothing of it is in RocksDB before K8.
            writes = {
                p: self.owned[p].rows.prepare(  # type: ignore[union-attr]
                    {**touched, **self.overlays[p].spent()}, self.overlays[p].unmoved()
                )
                for p, touched in rows.items()
            }
            started_s = self._lap("encode", started_s)
            marked = producer.flush()
            started_s = self._lap("flush", started_s)
            producer.send_offsets(
                {
                    TopicPartition(topic, p): offset
                    for p, vector in next_offsets.items()
                    for topic, offset in vector.items()
                },
                self.group,
            )
            reach("K5")
            started_s = self._lap("offsets", started_s)
        except (TransactionAbortable, BrokerLost) as error:
            with contextlib.suppress(TransactionAbortable, BrokerLost, RewardsError):
                producer.abort()  # else the next init_transactions does it
            raise TransactionAbortable(str(error)) from error
        reach("K6")
        producer.commit()  # anything but a clean return is CommitUnknown, or Fenced
        reach("K7")
        started_s = self._lap("commit", started_s)
        for p, vector in next_offsets.items():
            reach("K8")
            owned = self.owned[p]
            assert owned.rows is not None
            owned.rows.write(
                writes[p],
                next_offsets=vector,
                changelog=marked[TopicPartition(self.changelog, p)] + 1,
                batch=metas[p].batch,
            )
        self._lap("write", started_s)
        reach("K9")

    def promote(self) -> None:
        """K9: what is committed and written becomes what the next unit of work builds on.

        The loop calls it in its own thread, once `commit` has returned.
        """
        for p, vector in self.next_offsets().items():
            self.owned[p].next = vector
            self.overlays[p].kept()

    def _journal(self, p: int, record: meta.Meta) -> bytes:
        """Return what p was folded from, in which order, with what: enough to do it again."""
        batches = [batch for batch in self.batches if batch.partition == p]
        return wire_journal.encode(
            wire_journal.Folded(
                batch=record.batch,
                fold_version=record.fold_version,
                campaigns=self.known.next,
                ranges=journal.ranges_of(batches),
                files=self.known.files,
                muted=tuple(sorted(batches[0].muted)),
            )
        )

    def _records(
        self, rows: dict[int, dict[bytes, bytes | None]], told: list[Outgoing]
    ) -> Iterator[Outgoing]:
        """Outputs and dead letters as they came, the journal, then the touched rows of each p."""
        for batch in self.batches:
            yield from batch.outgoing
            self.produced += len(batch.outgoing)
        yield from told
        self.produced += len(told)
        for p, touched in rows.items():
            fields: Iterator[tuple[Any, ...]] = zip(
                repeat(self.changelog), touched, touched.values(), repeat([]), repeat(p)
            )
            yield from map(_OUTGOING, fields)  # a call of Outgoing costs three times as much
            self.produced += len(touched) + 1

    def _lap(self, phase: str, started_s: float) -> float:
        now_s = self.clock.monotonic_s()
        self.phases.add(phase, now_s - started_s)
        return now_s


def overlay_of(owned: Owned, codec: Codec[Any], under_way: UnitOfWork | None) -> Overlay[Any]:
    """Return a fresh overlay over the open rows of p, and over the commit under way if it has p."""
    assert owned.rows is not None
    below = None if under_way is None else under_way.overlays.get(owned.p)
    return Overlay(owned.rows, codec, owned.cache, below)

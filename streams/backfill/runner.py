"""One partition of a backfill, by the feed's own loop: the same batches, folds, rows and commits.

What differs from a worker is what the loop is given: a log that ends and has no group, an order
that depends on the log alone, definitions that stand still, and a target (`targets.py`). No Faust:
batches are folded where they are polled, by the functions that the agents call.
"""

from __future__ import annotations

import gc
import time
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec
import orjson

from streams import topics
from streams.agents.folds import ALL, folds
from streams.agents.ticks import MOST_ROWS, fold_part
from streams.backfill import account, frozen, order, targets
from streams.backfill.archive import Archive, told
from streams.backfill.definitions import Definitions
from streams.backfill.held import CHECKPOINT_RECORDS, HELD_BYTES, DecodedStates, HeldRows
from streams.domain.fold import FOLD_VERSION
from streams.errors import DiskError
from streams.feed import malloc
from streams.feed.background import AtOnce, Background
from streams.feed.batch import fail_stop
from streams.feed.loop import Feed
from streams.feed.unit_of_work import Versions
from streams.partitioner import partition_of
from streams.pool_secrets import Seeds
from streams.store import meta, states
from streams.store.rows import DiskStore, read_rows
from streams.wire import campaigns, outputs, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.backfill.account import Account
    from streams.backfill.plan import Plan
    from streams.feed.align import Aligner
    from streams.feed.batch import Batch
    from streams.feed.unit_of_work import UnitOfWork
    from streams.settings import Settings
    from streams.store.meta import Identity
    from streams.wire.journal import Folded

LOOK_S = 0.25
"""Between two looks that are told."""

UNIT_RECORDS = 8_000
"""Of a unit of work: rows are written at checkpoints, so more save little."""

CACHE_BYTES = 32 << 20
"""Of RocksDB: what is read soon again is held before it (`held.py`)."""


class Job(msgspec.Struct, frozen=True):
    """What every process of a backfill is given."""

    plan: Plan
    settings: Settings
    directory: str
    checkpoint_records: int = CHECKPOINT_RECORDS
    held_bytes: int = HELD_BYTES  # of rows, in each process

    @property
    def users(self) -> Path:
        """Return where the databases lie, as a worker has them."""
        return Path(self.directory) / "users"


class Look(msgspec.Struct, frozen=True):
    """How far one partition is: offsets gone through, of so many."""

    partition: int
    at: int
    of: int
    account: Account


class Done(msgspec.Struct, frozen=True):
    """One partition at its end.

    `folded`: records of this life, in `seconds` of work, `cpu_s` of them on a processor.
    """

    partition: int
    account: Account
    rows: int
    rows_digest: str
    folded: int
    seconds: float
    cpu_s: float


def fold_partition(job: Job, p: int, tell: Callable[[Look], None]) -> Done:
    """Fold partition p from where its rows are to the frozen ends.

    Raises Refused, DiskError, BrokerUnreachable, Fenced; our own error ends the process (70).
    """
    run = _Run(job, p)
    try:
        run.fold(tell)
    finally:
        run.close()
    count, digest = rows_digest(job.users / str(p))
    done = Done(p, run.ledger.account, count, digest, run.folded, run.seconds, run.cpu_s)
    del run
    gc.collect()  # its parts know each other, and hold the rows and the cache of a partition
    return done


def rows_digest(path: Path) -> tuple[int, str]:
    """Return how many rows a closed database has, and a hash of all of them in key order."""
    found, count = blake2b(digest_size=16), 0
    for key, value in read_rows(path):
        found.update(b"%d %d " % (len(key), len(value)))
        found.update(key)
        found.update(value)
        count += 1
    return count, found.hexdigest()


class _States:
    """The databases, and the one that is open. Implements `ports.Store`."""

    def __init__(self, job: Job) -> None:
        identity = identity_of(job.plan, job.settings)
        self._disk = DiskStore(job.users, identity, cache_bytes=CACHE_BYTES)
        self._bounds = job.checkpoint_records, job.held_bytes
        self.opened: HeldRows | None = None

    def open(self, p: int) -> HeldRows:
        self.opened = HeldRows(self._disk.open(p), *self._bounds)
        return self.opened


class _Clock:
    def monotonic_s(self) -> float:
        return time.monotonic()


class _Run:
    def __init__(self, job: Job, p: int) -> None:
        self.p, self.plan, settings = p, job.plan, job.settings
        self.folded, self.seconds, self.cpu_s = 0, 0.0, 0.0
        plan = self.plan
        self.store = _States(job)
        source = source_of(plan, settings)
        self.order = self._order(source, settings)
        shadow = plan.into == "shadow"
        starts = plan.starts(p)
        group = targets.no_member(targets.shadow_settings(settings, plan)) if shadow else None
        self._threads = Background("restore"), Background("commit") if shadow else AtOnce()
        self.feed = Feed(
            log_=frozen.FrozenLog(source, p, plan.ends(p), group),
            make_producer=(
                (lambda: targets.shadow_producer(settings, plan, p)) if shadow else targets.Nowhere
            ),
            make_history=(
                (lambda cancelled: targets.ShadowHistory(settings, plan, starts, cancelled))
                if shadow
                else (lambda _cancelled: targets.RowsAlone(starts, self._next))
            ),
            store=self.store,
            codec=states.CODEC,
            encode=outputs.encode,
            campaigns=self.known,
            executor=self._threads[0],
            committer=self._threads[1],
            clock=_Clock(),
            topics=topics.FOLDED,
            changelog=topics.CHANGELOG,
            versions=Versions(FOLD_VERSION, rows.ROW_SCHEMA),
            batch_records=min(settings.batch_records, UNIT_RECORDS),
            dead_letter_budget=False,  # history has what it has
            muted=topics.MUTED,
            aligner=self.order,
        )
        count = plan.partitions
        following = isinstance(self.order, order.JournalOrder)
        self.folds = folds(
            lambda pool_id: partition_of(pool_id.encode(), count),
            Seeds(settings),
            ALL if following else MOST_ROWS,
        )
        self.ledger = account.Ledger(account.Account())
        self._restores = 0
        self._kept: IO[bytes] | None = None
        self._path = Path(job.directory) / "outputs" / f"{p}.ndjson" if plan.keep_outputs else None

    def _order(self, source: frozen.Source, settings: Settings) -> Aligner:
        plan, p = self.plan, self.p
        from_files, files = campaigns.read_files(map(Path, settings.campaign_files))
        known = plan.of(topics.CAMPAIGNS, 0)
        self.known = Definitions(
            p,
            from_files,
            list(frozen.records(source, topics.CAMPAIGNS, 0, known.first, known.end)),
            files,
        )
        if plan.order == "time":
            self.known.as_of(None)
            return order.by_time()
        journal = plan.of(topics.JOURNAL, p)
        where = (source, topics.JOURNAL, p, journal.first, journal.end)

        def transactions() -> Iterator[Folded]:
            return order.transactions(frozen.records(*where, at_once=frozen.READ_RECORDS))

        return order.JournalOrder(
            transactions,
            order.begins(transactions()),
            self.known,
            lambda: self._account().journal,
        )

    def _next(self) -> dict[str, int] | None:
        return None if self.store.opened is None else self.store.opened.next

    def _account(self) -> Account:
        opened = self.store.opened
        return account.read(None if opened is None else opened.peek(meta.BACKFILL))

    def fold(self, tell: Callable[[Look], None]) -> None:
        feed, began_s, told_s = self.feed, time.monotonic(), 0.0
        began_cpu_s = time.process_time()
        feed.start()
        while True:
            work = feed.poll(0.05)
            if work is not None:
                self._fold(work)
                feed.commit(work)
                feed.take_finished()  # nobody counts them here, and each holds all it was made of
            now_s = time.monotonic()
            if now_s - told_s > LOOK_S and self._restores:
                told_s = now_s
                tell(self._look())
            if work is None and feed.idle():
                break
        if not self._restores:  # nothing was left to fold
            self._begin_again()
        feed.close()  # and the commit under way with it
        self.folded = sum(feed.counts.records.values())
        self.seconds = time.monotonic() - began_s
        self.cpu_s = time.process_time() - began_cpu_s
        if self._kept is not None:
            self._kept.close()
        tell(self._look())

    def _fold(self, work: UnitOfWork) -> None:
        if self.feed.counts.restores != self._restores:
            self._begin_again()
        for batch in work.batches:
            with fail_stop(batch):
                self._fold_batch(batch)
        found = self.ledger.add(work.batches)
        if isinstance(self.order, order.JournalOrder):
            found.journal = self.order.batch
        if self._kept is not None:
            found.file_bytes += _append(self._kept, work.batches)
        work.notes[self.p] = {meta.BACKFILL: found.encoded()}

    def _fold_batch(self, batch: Batch) -> None:
        """Fold as the agents do; of a tick that was only begun, the part that the journal names."""
        begun = self.order.begun if isinstance(self.order, order.JournalOrder) else None
        if batch.topic != topics.TICKS or begun is None:
            self.folds[batch.topic](batch)
            return
        whole, part = batch.records[:-1], batch.records[-1:]
        if whole:
            batch.records = whole
            self.folds[batch.topic](batch)
        batch.records = part
        fold_part(batch, begun.users, begun.dated)
        batch.leave(0, begun.users)
        batch.records = whole

    def _begin_again(self) -> None:
        """Take up the account that lies with the rows: at the start, and after a recovery."""
        self._restores = self.feed.counts.restores
        self.ledger = account.Ledger(self._account())
        if self.p in self.feed.owned:
            self.feed.owned[self.p].cache = DecodedStates()
        self._open_outputs()

    def _open_outputs(self) -> None:
        """Cut the file of outputs to what is committed: the rest is said again."""
        if self._path is None:
            return
        if self._kept is not None:
            self._kept.close()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._kept = self._path.open("ab")
            self._kept.truncate(self.ledger.account.file_bytes)
        except OSError as error:
            raise DiskError(f"{self._path}: {error}") from error

    def _look(self) -> Look:
        plan, p = self.plan, self.p
        owned = self.feed.owned.get(p)
        starts, ends = plan.starts(p), plan.ends(p)
        next_ = ends if owned is None else owned.next
        at = sum(min(next_.get(t, starts[t]), ends[t]) - starts[t] for t in starts)
        return Look(p, at, plan.offsets(p), self.ledger.account)

    def close(self) -> None:
        """Give everything back, also after an error."""
        if self.feed.owned:
            self.feed.owned.clear()
            if self.store.opened is not None:
                self.store.opened.close()
        for thread in self._threads:
            thread.close()


def _append(file: IO[bytes], batches: list[Batch]) -> int:
    """Append the outputs; return the bytes. In the file before their note is in the rows."""
    written = 0
    for batch in batches:
        for topic, key, value, headers, _ in batch.outgoing:
            written += file.write(
                orjson.dumps(
                    {
                        "topic": topic,
                        "key": told(key),
                        "value": told(value),
                        "headers": [[name, told(header)] for name, header in headers],
                    },
                    option=orjson.OPT_APPEND_NEWLINE,
                )
            )
    file.flush()
    return written


def source_of(plan: Plan, settings: Settings) -> frozen.Source:
    """Return what a plan is folded from."""
    if plan.archive is not None:
        return Archive(Path(plan.archive))
    return frozen.KafkaSource(settings)


def identity_of(plan: Plan, settings: Settings) -> Identity:
    """Return whose rows these are: the live app's, unless they are a shadow's."""
    app = settings.app_id
    if plan.into == "shadow":
        app = targets.shadow_settings(settings, plan).app_id
    return states.identity(app, plan.cluster, plan.partitions, plan.topic_ids)


def tune_memory() -> None:
    """Have all threads share two heaps, where glibc gives each its own, eight a core.

    What librdkafka's threads take is given back in ours, and each partition has new ones: a heap of
    theirs keeps its holes. 228 MB at most instead of 319, and no slower (four partitions).
    """
    malloc.ask(malloc.M_ARENA_MAX, 2)


def tune_collector() -> None:
    """Leave garbage to reference counts, which find all that a fold leaves (91 of 60,000 events).

    Cycles of whatever else is about are still looked for, once in a million new objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000_000, 100, 1_000)

"""The feed's loop on ports: poll, hand out batches, commit; assign, restore, revoke, recover.

Synchronous, without asyncio and without a wall clock: the Faust service (feed/service.py) drives
it in a real worker, the simulation drives the very same code on a simulated log. One pass is

    work = feed.poll(timeout_s)      # None: nothing to fold now
    ... every batch of work.batches is folded, in order ...
    feed.commit(work)                # begins the commit; the next pass may poll and fold meanwhile

One commit at most is under way, and one unit of work is folded on top of it (a layered overlay):
whatever happens to the first happens to the second. A rebalance arrives inside `poll` only; it
waits for the commit under way and never meets a unit of work that is being folded.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import math
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from streams.errors import CommitUnknown, DeadLetterBudgetSpent, DiskError, Fenced, Refused
from streams.feed.align import MOST_RECORDS, Aligner, rounds
from streams.feed.batch import Batch, Phases
from streams.feed.budget import Budget
from streams.feed.kill_points import reach
from streams.feed.pace import Pace
from streams.feed.ports import (
    BrokerLost,
    NotOwned,
    NotReady,
    TopicPartition,
    TransactionAbortable,
)
from streams.feed.unit_of_work import Owned, UnitOfWork, Versions, overlay_of
from streams.position import Position
from streams.store.overlay import CACHED_BYTES
from streams.store.restore import Cancelled, Restore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streams.domain.outputs import Output
    from streams.feed.ports import (
        CampaignSource,
        Clock,
        Executor,
        History,
        Log,
        Offsets,
        Outgoing,
        Producer,
        Record,
        Store,
        Task,
    )
    from streams.store.overlay import Codec

log = logging.getLogger(__name__)

SHORT_S = 0.01
"""Wait for records while some are here already, waiting for another topic to come as far."""

GATHER_S = 0.01
"""While a commit is under way: between two looks whether a whole unit of work has come."""

POLLED_RECORDS = 8_000
"""Of one call: what the client hands over lies here twice for a moment. A unit of work may be more
calls' worth."""

GIVE_UP_S = 12.0
"""Longest wait for work on the executor that was told to stop: its calls end within 5 s each."""

COMMIT_LIMIT_S = 35.0
"""Longest commit: flush, offsets and commit end within 10 s each, or so librdkafka promises. Its
send_offsets was seen to last for minutes (librdkafka#5456); feed/client.py, IDLE_MS, ends most."""

CAMPAIGNS_STALE_S = 30.0
"""Half of D9's lead time of 60 s: with definitions older than that, pause; do not guess."""

BROKER_BUDGET_S = 120.0
"""How long recoveries may fail in a row before the process leaves with 75: row 4 of the fault
matrix has all brokers away for 90 s, and healing without a restart is cheaper than with one."""


class Counts:
    """What happened since the process started; for metrics and the stats file, never for rules."""

    def __init__(self) -> None:
        self.records: Counter[str] = Counter()  # by topic
        self.outcomes: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()  # by reason
        self.outputs: Counter[str] = Counter()  # by type
        self.ledger: Counter[tuple[str, str, str, str]] = Counter()  # see Batch.emit
        self.transactions: Counter[str] = Counter()  # committed, aborted, unknown, fenced
        self.rebalances: Counter[str] = Counter()  # assigned, revoked, lost
        self.phases = Phases()
        self.batches = 0
        self.produced = 0
        self.restores = 0
        self.restored_rows = 0
        self.restore_seconds: deque[float] = deque(maxlen=1_000)  # taken by whoever shows them
        self.producers = 0
        self.first_s: float | None = None  # first records, newest commit: monotonic
        self.last_s = 0.0

    @property
    def active_s(self) -> float:
        """Seconds from the first records to the newest commit: what a rate is counted over."""
        return 0.0 if self.first_s is None else max(0.0, self.last_s - self.first_s)


class Pause(enum.StrEnum):
    """Why nothing is folded at the moment."""

    NONE = ""
    CAMPAIGNS = "campaigns"
    RESTORING = "restoring"
    PRODUCER = "producer"


class Feed:
    """Owns the consumer, the producer and the partitions. Not thread safe: one caller at a time."""

    def __init__(  # noqa: PLR0913 - the one place that wires it is app.py (or the simulation)
        self,
        *,
        log_: Log,
        make_producer: Callable[[], Producer],
        make_history: Callable[[Callable[[], bool]], History],
        store: Store,
        codec: Codec[Any],
        encode: Callable[[Output, Record], Outgoing],
        campaigns: CampaignSource,
        executor: Executor,
        committer: Executor,
        clock: Clock,
        topics: Sequence[str],
        changelog: str,
        versions: Versions,
        batch_records: int,
        dead_letter_budget: bool = True,
        parked: Callable[[int, Offsets], Position | None] = lambda _p, _next: None,
        note: Callable[[Position], None] | None = None,
        muted: frozenset[str] = frozenset(),
        dialects: Sequence[str] = (),
        aligner: Aligner | None = None,
        on_dropped: Callable[[UnitOfWork, str], None] = lambda _work, _outcome: None,
        packed: bool = False,
    ) -> None:
        """Take everything from outside; nothing runs before `start`.

        ``make_producer`` returns it after init_transactions; it may block, on the executor.
        ``make_history(cancelled)``: its calls give up soon after ``cancelled()`` turns true.

        ``parked(p, next)``: the record that killed three starts in a row, if p is to be parked for
        it; ``note(position)`` is told of a record that killed this one (feed/crash_notes.py).
        ``muted``, ``dialects``, ``packed``: see `Batch`.
        ``aligner``: what orders the topics of a partition; a replay has its own.
        ``on_dropped(work, outcome)`` is told of a unit of work whose commit failed, and how.
        """
        self._muted, self._dialects, self._packed = muted, dialects, packed
        self._log, self._make_producer, self._make_history = log_, make_producer, make_history
        self._store, self._codec, self._encode = store, codec, encode
        self._campaigns, self._executor, self._clock = campaigns, executor, clock
        self._committer = committer
        self.topics, self.changelog = tuple(topics), changelog
        self._versions, self._pace = versions, Pace(batch_records)
        self._budgeted, self._parked = dead_letter_budget, parked
        self._note, self._on_dropped = note, on_dropped
        self._producer: Producer | None = None
        self._producer_task: Any = None
        self.group: Any = None
        self._failing_since_s: float | None = None
        self._was_stale = False
        self._aligner = aligner or Aligner(topics)
        self._gathers = aligner is None  # a replay has no latency to lose
        self.owned: dict[int, Owned] = {}
        self.counts = Counts()
        self.beat_s = clock.monotonic_s()  # last sign of life: a poll, a restore's progress
        self.work: UnitOfWork | None = None  # being folded
        self._under_way: tuple[UnitOfWork, Task] | None = None  # being committed
        self._finished: list[UnitOfWork] = []
        self.lagging = False  # the newest unit of work was as large as one may be

    # --- one pass ---------------------------------------------------------------------------

    def start(self) -> None:
        """Get the first producer ready and join the group."""
        self._replace_producer()
        self._log.subscribe(self.topics, self)

    def pause_reason(self) -> Pause:
        """Say why nothing is folded, if so."""
        if self._producer is None:
            return Pause.PRODUCER
        if not all(owned.restored for owned in self.owned.values()):
            return Pause.RESTORING
        if self._campaigns.confirmed_age_s() > CAMPAIGNS_STALE_S:
            return Pause.CAMPAIGNS
        return Pause.NONE

    def poll(self, timeout_s: float) -> UnitOfWork | None:
        """K0: return what arrived, by (topic, partition); None when there is nothing to fold.

        Raises what ends the process: Refused, DiskError, Fenced, and BrokerLost beyond the budget.
        """
        assert self.work is None, "the unit of work being folded comes first"
        started_s = self._clock.monotonic_s()
        self._settle_commit(wait=False)
        self._settle_tasks()
        self._hold_while_stale()
        soon = self._under_way is not None or not self._aligner.empty()
        records = self._log.poll(self._most_polled(), SHORT_S if soon else timeout_s)
        self._aligner.add(records)
        read_s = self._clock.monotonic_s()
        if not self._gather(read_s + timeout_s):
            return None
        self.beat_s = self._clock.monotonic_s()
        waited_s = self.beat_s - read_s
        taken = self._aligner.take(
            self._pace.records, self.beat_s, self._log.at_end, self._log.reached
        )
        self._control_flow()
        self.lagging = sum(map(len, taken.values())) >= self._pace.records
        polled_s = self._clock.monotonic_s() - started_s - waited_s
        if records or taken:  # waiting for input is not counted
            self.counts.phases.add("poll", polled_s)
            self.counts.phases.add("wait", waited_s)
        if not taken:
            return None
        assert self._producer is not None, "records came before a producer was ready"
        reach("K0")
        if self.counts.first_s is None:
            self.counts.first_s = started_s
        self.work = self._unit_of(taken)
        self.work.polled_s = polled_s
        return self.work

    def _most_polled(self) -> int:
        return min(self._pace.records, POLLED_RECORDS)

    def _gather(self, until_s: float) -> bool:
        """Let more come while a commit is under way; say whether what is here may be folded now.

        What is folded beside a commit waits for it, and all that comes after it waits for both. So
        what comes during a commit is one unit of work, folded when that one has ended: a record
        waits for half a commit before its own, not for one and a half. Only a full unit is folded
        beside a commit: under lag there always is one.
        """
        while self._gathers and self._under_way and self._aligner.count() < self._pace.records:
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0:
                return False
            with contextlib.suppress(Exception):  # its outcome is taken over below
                self._under_way[1].result(min(left_s, GATHER_S))
            if self._settle_commit(wait=False) is False:
                return False
            self._aligner.add(self._log.poll(self._most_polled(), 0.0))
            self.beat_s = self._clock.monotonic_s()
        return True

    def _control_flow(self) -> None:
        """Stop fetching what lies far ahead of the rest, go on with it when it has been handed out.

        Every topic of every p gets an equal share of what may wait here.
        """
        share = MOST_RECORDS // max(1, len(self.owned) * len(self.topics))
        overflowing = self._aligner.overflowing()
        for owned in self.owned.values():
            if not owned.ready or owned.held:
                continue
            for topic in self.topics:
                waiting = self._aligner.waiting(topic, owned.p)
                if topic in owned.full:
                    # one that holds nothing is not what overflows, and others may wait for it
                    if not waiting or (waiting <= share // 2 and not overflowing):
                        owned.full.discard(topic)
                        self._log.resume(topic, owned.p)
                elif waiting > share or (overflowing and waiting):
                    owned.full.add(topic)
                    self._log.hold(topic, owned.p)

    def _hold_while_stale(self) -> None:
        """Read nothing while the definitions are too old (D9), but stay a member of the group.

        Far too old means that no broker has answered for that long, whatever the group thinks.
        """
        age_s = self._campaigns.confirmed_age_s()
        if BROKER_BUDGET_S < age_s < math.inf:
            raise Fenced(
                f"no broker has answered for {age_s:.0f} s: lost beyond the budget; a restart goes "
                "on from the committed offsets"
            )
        stale = age_s > CAMPAIGNS_STALE_S
        under_way = () if self._under_way is None else self._under_way[0].overlays
        for owned in self.owned.values():
            if not owned.ready or owned.held == stale:
                continue
            if not stale and owned.p in under_way:
                continue  # its next offsets move when that commit settles
            owned.held = stale
            owned.full.clear()
            self._aligner.drop(owned.p)
            if stale:
                self._log.pause(owned.p)
            else:
                self._aligner.begin(owned.p, owned.next)
                self._log.start(owned.p, owned.next)
        if stale and not self._was_stale:
            log.warning("campaigns not confirmed for %.0f s: folding pauses", CAMPAIGNS_STALE_S)
        self._was_stale = stale

    def _unit_of(self, taken: dict[int, list[Record]]) -> UnitOfWork:
        assert self._producer is not None
        known = self._campaigns.latest()
        under_way = None if self._under_way is None else self._under_way[0]
        overlays = {p: overlay_of(self.owned[p], self._codec, under_way) for p in sorted(taken)}
        for overlay in overlays.values():
            overlay.date_by(known.campaigns.dates)
        given = (known.campaigns, self._encode, self._note, self._muted, self._dialects)
        batches = [
            Batch(run[0].topic, p, run, overlays[p], *given, packed=self._packed)
            for p in overlays
            for run in rounds(taken[p], self.topics)
        ]
        return UnitOfWork(
            self._producer,
            self.group,
            self.owned,
            batches,
            overlays,
            known,
            self._versions,
            self.changelog,
            self._clock,
        )

    def commit(self, work: UnitOfWork) -> bool | None:
        """Begin K3 to K9. False: it was dropped, recovery has begun. None: it is under way.

        Waits for the commit before it. Raises DeadLetterBudgetSpent before anything began, Fenced,
        DiskError.
        """
        assert work is self.work
        self.work = None
        reach("K2")
        folded_s = sum(sum(batch.phases.values()) for batch in work.batches)
        now_s = self._clock.monotonic_s()
        self._pace.note(sum(len(batch.records) for batch in work.batches), now_s - work.begun_s)
        work.phases["hand_over"] = max(0.0, now_s - work.begun_s - folded_s)  # channels, event loop
        if self._settle_commit(wait=True) is False or work.producer is not self._producer:
            return False  # what it was folded on never happened, or is going to be read again
        self.counts.phases.add("wait", self._clock.monotonic_s() - now_s)
        for batch in work.batches:
            self._aligner.put_back(batch.partition, batch.left)
        try:
            work.budgets = self._spend(work)
        except DeadLetterBudgetSpent:
            _tell_dead(work)  # what they died of, since nothing of it is committed
            raise
        work.committing_s = self._clock.monotonic_s()
        self._under_way = work, self._committer.submit(work.commit)
        return self._settle_commit(wait=False)

    def _settle_commit(self, *, wait: bool) -> bool | None:
        """Take over the outcome of the commit under way; True committed, False dropped, else None.

        Its calls are limited to 10 s each (reliability.md 5.2), and where one is not, we leave.
        """
        if self._under_way is None or not (wait or self._under_way[1].done()):
            return None
        work, task = self._under_way
        try:
            since_s = self._clock.monotonic_s() - work.committing_s
            task.result(max(0.0, COMMIT_LIMIT_S - since_s))
        except TimeoutError:
            raise Fenced(
                f"a commit under way for {COMMIT_LIMIT_S:.0f} s has outlasted every limit of its "
                "calls: the broker is lost; a restart goes on from the committed offsets"
            ) from None
        except TransactionAbortable as error:
            self._under_way = None
            self.counts.transactions["aborted"] += 1
            self._on_dropped(work, "aborted")
            self._recover(f"transaction aborted: {error}")
            return False
        except CommitUnknown as error:
            self._under_way = None
            self.counts.transactions["unknown"] += 1
            self._on_dropped(work, "unknown")
            self._recover(f"commit unknown: {error}")
            return False
        except Fenced:
            self._under_way = None
            self.counts.transactions["fenced"] += 1
            self._on_dropped(work, "fenced")
            raise
        self._under_way = None
        self._pace.committed(self._clock.monotonic_s() - work.committing_s)
        work.promote()
        for (topic, p), budget in work.budgets.items():
            self.owned[p].budgets[topic] = budget
        self._count(work)
        self._finished.append(work)
        self._failing_since_s = None
        self.beat_s = self._clock.monotonic_s()
        if work.producer.suspect:
            self._recover("the producer is suspect (a slow call or a reported error)")
        return True

    def take_finished(self) -> list[UnitOfWork]:
        """Return what was committed since the last call: metrics are raised from it, after."""
        finished, self._finished = self._finished, []
        return finished

    def committed(self, p: int, key: bytes) -> bytes | None:
        """Return a row as of the last commit that was written; None: there is none. Any thread.

        From RocksDB alone: what lies in overlays may never happen. Raises NotOwned, NotReady.
        """
        owned = self.owned.get(p)
        if owned is None:
            raise NotOwned
        rows = owned.rows
        if rows is None or not owned.restored:
            raise NotReady
        return rows.peek(key)

    def busy_since_s(self) -> float | None:
        """Since when the oldest unit of work is open; read by the watchdog's thread."""
        under_way, work = self._under_way, self.work
        if under_way is not None:
            return under_way[0].begun_s
        return None if work is None else work.begun_s

    def _spend(self, work: UnitOfWork) -> dict[tuple[str, int], Budget]:
        if not self._budgeted:
            return {}
        records: dict[tuple[str, int], list[int]] = {}
        dead: dict[tuple[str, int], set[int]] = {}
        for batch in work.batches:
            where = (batch.topic, batch.partition)
            records.setdefault(where, []).extend(record.offset for record in batch.records)
            dead.setdefault(where, set()).update(batch.dead)
        return {
            (topic, p): self.owned[p]
            .budgets.get(topic, Budget())
            .after(topic, p, sorted(offsets), dead[topic, p])
            for (topic, p), offsets in records.items()
        }

    def _count(self, work: UnitOfWork) -> None:
        counts = self.counts
        counts.last_s = self._clock.monotonic_s()
        counts.transactions["committed"] += 1
        counts.batches += len(work.batches)
        counts.produced += work.produced
        for batch in work.batches:
            counts.records[batch.topic] += len(batch.records)
            counts.outcomes.update(batch.outcomes)
            counts.dead_letters.update(batch.reasons)
            counts.outputs.update(batch.outputs)
            counts.ledger.update(batch.ledger)
            counts.phases.add_all(batch.phases)
        _tell_dead(work)
        counts.phases.add_all(work.phases)

    def idle(self) -> bool:
        """Say whether everything that can be read has been folded and committed."""
        return (
            bool(self.owned)
            and self.work is None
            and self._under_way is None
            and self._aligner.empty()
            and all(
                owned.parked
                or (owned.ready and all(self._log.at_end(topic, owned.p) for topic in self.topics))
                for owned in list(self.owned.values())
            )
        )

    def lag(self) -> dict[TopicPartition, int]:
        """Return offsets between what is committed and the end, as far as known; markers count."""
        return {
            TopicPartition(topic, owned.p): max(
                0, self._log.high(topic, owned.p) - owned.next[topic]
            )
            for owned in self.owned.values()
            if owned.next
            for topic in self.topics
        }

    def oldest_ms(self) -> dict[TopicPartition, int | None]:
        """Return when the oldest record not committed was recorded; None: it has not been read.

        Partitions of which all that can be read is committed are absent.
        """
        under_way = set() if self._under_way is None else set(self._under_way[0].overlays)
        found: dict[TopicPartition, int | None] = {}
        for owned in self.owned.values():
            for topic in self.topics if owned.next else ():
                here = self._aligner.oldest_ms(topic, owned.p)
                if here or owned.p in under_way or not self._log.at_end(topic, owned.p):
                    found[TopicPartition(topic, owned.p)] = here
        return found

    def close(self) -> None:
        """Finish the commit under way, then leave: databases, the producer, the group."""
        self._settle_commit(wait=True)
        for owned in self.owned.values():
            self._let_go(owned)
        self.owned.clear()
        if self._producer is not None:
            self._producer.close()
            self._producer = None
        self._log.close()

    # --- the group --------------------------------------------------------------------------

    def on_assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Open and restore every p; the records begin when its restore has settled."""
        self.counts.rebalances["assigned"] += 1
        self._require_equal_sets(partitions)
        self.group = self._log.group()  # now, not at K5: a later one would hide that we lag
        for p in sorted({tp.partition for tp in partitions}):
            self.owned[p] = Owned(p)
            self._restore(self.owned[p])
        self._share_cache()

    def _share_cache(self) -> None:
        for owned in self.owned.values():
            owned.cache.most_bytes = CACHED_BYTES // len(self.owned)

    def on_revoke(self, partitions: Sequence[TopicPartition]) -> None:
        """Finish the commit under way, then close every p before it is given away."""
        self.counts.rebalances["revoked"] += 1
        self._settle_commit(wait=True)
        reach("REVOKE")
        self._forget(partitions)

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Somebody else may own them: begin nothing, write nothing new, close.

        A commit under way is fenced by its group metadata, or it came first and its rows are true.
        """
        self.counts.rebalances["lost"] += 1
        self._settle_commit(wait=True)
        log.warning("partitions lost: %s", sorted({tp.partition for tp in partitions}))
        self._forget(partitions)

    def _require_equal_sets(self, partitions: Sequence[TopicPartition]) -> None:
        sets = {
            topic: {tp.partition for tp in partitions if tp.topic == topic} for topic in self.topics
        }
        if len({frozenset(found) for found in sets.values()}) > 1:
            listed = {topic: sorted(found) for topic, found in sets.items()}
            raise Refused(
                f"assigned {listed}: one user's topics "
                "on different workers. Every member of the group must use the range assignor and "
                "the same version of leidan; stop all workers, then start them"
            )

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        for p in sorted({tp.partition for tp in partitions}):
            owned = self.owned.pop(p, None)
            if owned is not None:
                self._let_go(owned)
        self._share_cache()

    def _let_go(self, owned: Owned) -> None:
        owned.revoked, owned.ready = True, False
        self._aligner.drop(owned.p)
        if owned.task is not None:
            self._settle_quietly(owned.task)
        if owned.rows is not None:
            owned.rows.close()
            owned.rows = None

    def _settle_quietly(self, task: Any) -> None:
        """Wait for work on the executor whose result no longer matters, but not its disk errors."""
        if task.cancel():
            return  # it had not begun
        try:
            task.result(GIVE_UP_S)
        except DiskError:
            raise
        except Exception as error:  # noqa: BLE001 - it was cancelled; whatever it met is moot
            log.info("given up: %s", error or type(error).__name__)

    # --- restore and recovery ---------------------------------------------------------------

    def _restore(self, owned: Owned) -> None:
        """Begin Restore(p) on the executor; its records stay paused until it has settled."""
        owned.ready = False
        self.counts.restores += 1

        def beat(remaining: int) -> None:
            owned.remaining = remaining
            self.beat_s = self._clock.monotonic_s()

        def run() -> Any:
            if self._producer_task is not None:
                self._producer_task.result()  # step 1: a producer after init_transactions
            if owned.revoked:
                raise Cancelled
            if owned.rows is None:
                owned.rows = self._store.open(owned.p)  # may wait for a predecessor's LOCK
            reach("R1")
            history = self._make_history(lambda: owned.revoked)
            try:
                return Restore(
                    owned.p,
                    owned.rows,
                    history,
                    self.topics,
                    self.changelog,
                    self._clock,
                    lambda: owned.revoked,
                    beat,
                    fold_version=self._versions.fold_version,
                    row_schema=self._versions.row_schema,
                ).run()
            finally:
                history.close()

        owned.task = self._executor.submit(run)

    def _settle_tasks(self) -> None:
        """Take over what has finished on the executor: a producer, then restored partitions."""
        if self._producer_task is not None:
            if not self._producer_task.done():
                return
            task, self._producer_task = self._producer_task, None
            try:
                self._producer = task.result()
            except BrokerLost as error:
                self._recover(f"no producer: {error}")
                return
            self.counts.producers += 1
        for owned in list(self.owned.values()):
            if owned.task is None or not owned.task.done():
                continue
            task, owned.task = owned.task, None
            try:
                restored = task.result()
            except BrokerLost as error:
                self._recover(f"restore of partition {owned.p}: {error}")
                return
            owned.next, owned.remaining = dict(restored.next), 0
            self.counts.restored_rows += restored.rows
            self.counts.restore_seconds.append(restored.seconds)
            log.info(
                "partition %d restored: %d changelog records in %.2f s, next %s",
                owned.p, restored.rows, restored.seconds, restored.next,
                extra={"partition": owned.p},
            )  # fmt: skip
            killer = self._parked(owned.p, owned.next)
            if killer is not None:
                owned.parked = True
                log.critical(
                    "partition %d is PARKED: %s killed three starts in a row; the others go on. "
                    "Fix the fold, then delete its crash note", owned.p, killer,
                    extra=killer._asdict(),
                )  # fmt: skip
                continue
            # Step 6. Held until the next poll has looked at the definitions' age.
            owned.ready = owned.held = True

    def _recover(self, reason: str) -> None:
        """Drop everything not committed, replace the producer, restore every p (section 2)."""
        now_s = self._clock.monotonic_s()
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        elif now_s - self._failing_since_s > BROKER_BUDGET_S:
            raise Fenced(
                f"no commit for {now_s - self._failing_since_s:.0f} s ({reason}): the broker is "
                "lost beyond the budget; a restart goes on from the committed offsets"
            )
        log.warning("%s; replacing the producer, then restoring", reason)
        for owned in self.owned.values():
            owned.ready = False
            self._log.pause(owned.p)
            self._aligner.drop(owned.p)
            owned.full.clear()
            owned.cache.clear()
            if owned.task is not None:
                owned.revoked = True
                self._settle_quietly(owned.task)
                owned.revoked, owned.task = False, None
        self._replace_producer()
        for owned in self.owned.values():
            if not owned.parked:
                self._restore(owned)

    def _replace_producer(self) -> None:
        old, self._producer = self._producer, None

        def run() -> Producer:
            if old is not None:
                old.close()
            return self._make_producer()

        self._producer_task = self._executor.submit(run)


def _tell_dead(work: UnitOfWork) -> None:
    """Say which records were refused: a line a batch, or a surge is a flood of lines."""
    for batch in work.batches:
        if not batch.dead:
            continue
        first = Position(batch.topic, batch.partition, min(batch.dead))
        log.info(
            "%s: %d of %d records refused: %s", first, len(batch.dead), len(batch.records),
            ", ".join(f"{reason} {n}" for reason, n in batch.reasons.items()),
            extra={
                **first._asdict(), "records": len(batch.dead), "reasons": dict(batch.reasons)
            },
        )  # fmt: skip

"""Planted bugs: the shipped code with one thing wrong, to see that the simulation finds it.

A bug is a change to the source of one function, which must still be there to be changed, or a
patch of one of the ports where the mistake would be in a client's use. Nothing of it is in
`streams/`. Bugs of the protocol of reliability.md 9.
"""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
import zlib
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import msgspec

from streams.agents import draws, folding
from streams.domain import fold as fold_module
from streams.domain import frozen, pools
from streams.domain.pool_state import POOL, PoolState
from streams.domain.settling import Settling
from streams.feed import batch as batch_module
from streams.feed import journal
from streams.feed.align import Aligner
from streams.feed.loop import Feed
from streams.feed.unit_of_work import UnitOfWork
from streams.store.overlay import Overlay
from streams.store.restore import Restore
from tests.sim import evidence
from tests.sim.consumer import SimLog
from tests.sim.group import Group
from tests.sim.ports import SimHistory, SimProducer
from tests.sim.run import run_seed
from tests.sim.world import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

MOST_SEEDS = 500


@contextmanager
def changed(owner: Any, name: str, *edits: tuple[str, str]) -> Iterator[None]:
    """Run with the function's source edited; each old text must be there exactly once."""
    function = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in edits:
        assert source.count(old) == 1, f"{name} has changed: {old!r} is there {source.count(old)}x"
        source = source.replace(old, new)
    flags = __future__.annotations.compiler_flag
    code = compile(source, f"<planted in {name}>", "exec", flags, dont_inherit=True)
    made: dict[str, Any] = {}
    exec(code, sys.modules[function.__module__].__dict__, made)  # noqa: S102 - our own source
    with mock.patch.object(owner, name, made[name]):
        yield


WRITE = """owned.rows.write(
            writes[p],
            next_offsets=vector,
            changelog=marked[TopicPartition(self.changelog, p)] + 1,
            batch=metas[p].batch,
        )"""
BEFORE = """for p, vector in next_offsets.items():
        self.owned[p].rows.write(rows[p], next_offsets=vector, batch=metas[p].batch,
            changelog=marked[TopicPartition(self.changelog, p)] + 1)
    reach("K6")"""
OFFSETS_FIRST = """owned.rows.write({}, next_offsets=vector, batch=metas[p].batch,
            changelog=marked[TopicPartition(self.changelog, p)] + 1)
        owned.rows.write(rows[p], next_offsets=None, batch=metas[p].batch,
            changelog=marked[TopicPartition(self.changelog, p)] + 1)"""


def _rocksdb_before_commit() -> AbstractContextManager[Any]:
    return changed(UnitOfWork, "commit", ('reach("K6")', BEFORE))


def _offset_outside_the_batch() -> AbstractContextManager[Any]:
    return changed(UnitOfWork, "commit", (WRITE, OFFSETS_FIRST))


def _last_offset() -> AbstractContextManager[Any]:
    return changed(
        UnitOfWork, "next_offsets", ("batch.records[-1].offset + 1", "batch.records[-1].offset")
    )


def _no_dedupe() -> AbstractContextManager[Any]:
    return changed(
        fold_module, "_refold", ("if facts_.identity(other) == name:", "if known is None:")
    )


def _outputs_after_restore() -> AbstractContextManager[Any]:
    return changed(
        Restore,
        "run",
        (
            "version, count = self._read_changelog(end)",
            "version, count = (self.rows.next, 0) if self.rows.next else self._read_changelog(end)",
        ),
        (
            "next_offsets = self._settle(committed, version, low)",
            "next_offsets = self.rows.next or self._settle(committed, version, low)",
        ),
    )


def _delivery_ignored() -> AbstractContextManager[Any]:
    return changed(SimProducer, "flush", ("if self._failed:", 'if "fenced" in self._failed:'))


def _producer_kept() -> AbstractContextManager[Any]:
    return changed(
        Feed,
        "_replace_producer",
        ("old.close()", "old.suspect = False\n            return old"),
    )


def _metadata_of_now() -> AbstractContextManager[Any]:
    """What the client knows at K5 always fits: it hides that the assignment has changed."""
    return changed(SimProducer, "send_offsets", ("world.group.validate(group)", "pass"))


def _restore_to_lso() -> AbstractContextManager[Any]:
    return changed(SimHistory, "high_watermark", ("log(topic, p).high", "log(topic, p).stable"))


def _no_v_equals_c() -> AbstractContextManager[Any]:
    return changed(
        Restore,
        "_settle",
        ("if {**low, **version} != {**low, **committed}:", "if version is None:"),
    )


@contextmanager
def _ack_in_finally() -> Iterator[None]:
    """The fold raises now and then; the batch is answered all the same."""
    step, met = folding.step, set()

    def raising(state: Any, event: Any, campaigns: Any) -> Any:
        name = event.cause_id
        if zlib.crc32(name.encode()) % 5 == 0 and name not in met:
            met.add(name)
            raise ValueError(name)
        return step(state, event, campaigns)

    @contextmanager
    def answered(_batch: Any) -> Iterator[None]:
        with suppress(ValueError):
            yield

    with (
        mock.patch.object(folding, "step", raising),
        mock.patch.object(batch_module, "fail_stop", answered),
    ):
        yield


@contextmanager
def _past_an_in_flight_batch() -> Iterator[None]:
    """Commit where the consumer stands, not where the batch ends."""
    make = Feed._unit_of  # noqa: SLF001

    def with_the_rest(self: Feed, taken: Any) -> Any:
        work = make(self, taken)
        work.ahead = self._aligner.waiting  # type: ignore[attr-defined]
        return work

    old = "batch.records[-1].offset + 1"
    with (
        mock.patch.object(Feed, "_unit_of", with_the_rest),
        changed(UnitOfWork, "next_offsets", (old, f"{old} + self.ahead(topic, p)")),
    ):
        yield


@contextmanager
def _rules_once_a_batch() -> Iterator[None]:
    """Of what a batch says about a user, the last of each kind."""
    whole = folding.fold_batch

    def once(batch: Any, decode: Any) -> None:
        whole(batch, decode)
        last = {(out.topic, out.key, out.headers[3][1]): out for out in batch.outgoing}
        batch.outgoing[:] = [
            out
            for out in batch.outgoing
            if out.topic == "dead-letters" or last[out.topic, out.key, out.headers[3][1]] is out
        ]

    def once_compiled(batch: Any, decode: Any, _plans: Any) -> None:
        once(batch, decode)

    with (
        mock.patch.object(folding, "fold_batch", once),
        mock.patch.object(folding, "fold_compiled", once_compiled),
    ):
        yield


@contextmanager
def _wall_clock() -> Iterator[None]:
    """The fold asks the machine when a record was recorded."""
    step, calls = folding.step, [0]

    def by_the_clock(state: Any, event: Any, campaigns: Any) -> Any:
        calls[0] += 1
        now_ms = 1_800_000_000_000 + calls[0] * 1_000
        if hasattr(event, "recorded_at_ms"):
            event = msgspec.structs.replace(event, recorded_at_ms=now_ms)
        return step(state, event, campaigns)

    with mock.patch.object(folding, "step", by_the_clock):
        yield


def _read_uncommitted() -> AbstractContextManager[Any]:
    return mock.patch.object(evidence, "COMMITTED", False)  # noqa: FBT003


@contextmanager
def _split_p() -> Iterator[None]:
    """An assignor that knows no co-partitioning, and a feed that does not look."""
    start, every = SimLog.start, SimLog._all  # noqa: SLF001

    def ours(self: Any, topic: str, p: int) -> bool:
        names = sorted(self._world.group.members)
        index = self._topics.index(topic) + p
        return not names or names[index % len(names)] == self._process.name

    def some(self: Any, partitions: Any) -> Any:
        return [at for at in every(self, partitions) if ours(self, *at)]

    def started(self: Any, p: int, offsets: Any) -> None:
        start(self, p, offsets)
        self._running = {at for at in self._running if ours(self, *at)}

    with ExitStack() as stack:
        for owner, name, new in (
            (SimLog, "_all", some),
            (SimLog, "start", started),
            (Feed, "_require_equal_sets", lambda _self, _partitions: None),
        ):
            stack.enter_context(mock.patch.object(owner, name, new))
        stack.enter_context(
            changed(
                Group,
                "_complete",
                (
                    "member.assigned = list(range(first, first + count))",
                    "member.assigned = list(range(self.broker.partitions))",
                ),
            )
        )
        yield


@contextmanager
def _stock_outside_the_overlay() -> Iterator[None]:
    """A pool's row is kept in memory, where no dropped overlay and no other worker undoes it."""
    step, memory = pools.step, {}

    class Beside:
        def __init__(self, rows: Any) -> None:
            self._rows = rows

        def __getitem__(self, key: str) -> Any:
            return memory.get(key) or self._rows[key]

    def remembering(rows: Any, request: Any, pool: Any, changes: Any, seed: Any) -> Any:
        folded = step(Beside(rows), request, pool, changes, seed)
        memory.update({k: row for k, row in folded.rows.items() if k.startswith(POOL)})
        return folded

    with mock.patch.object(draws.pools, "step", remembering):
        yield


def _requests_forgotten() -> AbstractContextManager[Any]:
    return changed(pools, "step", ("if known.answer:", "if known is None:"))


@contextmanager
def _no_hints_at_restore() -> Iterator[None]:
    """Rows come back from the changelog, and no tick ever finds them."""
    run = Restore.run

    def forgetful(self: Any) -> Any:
        known = set(self.rows.disk.hints)
        try:
            return run(self)
        finally:
            self.rows.disk.hints &= known

    with mock.patch.object(Restore, "run", forgetful):
        yield


def _tick_done_too_soon() -> AbstractContextManager[Any]:
    """A tick's offset goes with the first of its users, the rest are forgotten."""
    return mock.patch.object(batch_module.Batch, "leave", return_value=None)


def _ticks_by_their_time() -> AbstractContextManager[Any]:
    """A tick is merged by its timestamp, whatever it should wait for."""
    return mock.patch.object(Aligner, "_ends_of", return_value={})


def _moved_deadlines_without_hints() -> AbstractContextManager[Any]:
    return changed(Overlay, "unmoved", ("and part(row) == part(before)", ""))


def _hints_of_the_committed_alone() -> AbstractContextManager[Any]:
    """A tick does not see the rows whose commit is under way."""
    layers = "(self,) if self._below is None else (self, self._below)"
    return changed(Overlay, "due", (layers, "()"))


def _dated_as_written() -> AbstractContextManager[Any]:
    """A definition read later moves no deadline of a row that stands."""
    return mock.patch.object(Overlay, "date_by")


def _any_budget_pays() -> AbstractContextManager[Any]:
    return mock.patch.object(PoolState, "can_pay", return_value=True)


def _asks_forgotten() -> AbstractContextManager[Any]:
    """A draw is asked for, and the row does not know of it: its answer is nobody's."""
    return changed(
        fold_module,
        "_fact",
        ("known.added_all(found.asked) if found.asked else known", "known"),
    )


@contextmanager
def _runs_swapped() -> Iterator[None]:
    """The journal names the first two runs of a transaction in the wrong order."""
    right = journal.ranges_of

    def swapped(batches: Any) -> Any:
        first, *rest = right(batches)
        return (rest[0], first, *rest[1:]) if rest else (first,)

    with mock.patch.object(journal, "ranges_of", swapped):
        yield


def _parts_by_the_hints() -> AbstractContextManager[Any]:
    """Which users of a tick come first depends on which commit is under way."""
    return changed(
        Overlay,
        "due",
        ("found = [one for one in found if hints and one <= hints[-1]]", "pass"),
        ("found = sorted(", "found = list("),
    )


def _frozen_settled() -> AbstractContextManager[Any]:
    """What is due is asked of tasks that are over, too: nothing of theirs is."""
    return changed(Settling, "bring_to", ("if not entry.frozen:", "if True:"))


def _past_forgotten() -> AbstractContextManager[Any]:
    """What was compacted is not known any more when it comes again."""
    return mock.patch.object(frozen, "may_meet", return_value=False)


class Bug(NamedTuple):
    """start: a seed shortly before the one that catches it. force: faults that it takes."""

    plant: Callable[[], AbstractContextManager[Any]]
    start: int = 0
    force: tuple[str, ...] = ()


BUGS = {
    "RocksDB before commit": Bug(_rocksdb_before_commit),
    "offset outside the WriteBatch": Bug(_offset_outside_the_batch),
    "last instead of next offset": Bug(_last_offset),
    "no dedupe": Bug(_no_dedupe),
    "outputs repeated after restore": Bug(_outputs_after_restore),
    "a delivery error ignored": Bug(_delivery_ignored),
    "producer kept after a commit timeout": Bug(_producer_kept, 0, ("delayed",)),
    "metadata taken at K5": Bug(_metadata_of_now, 105),
    "restore ends at LSO": Bug(_restore_to_lso, 170),
    "restore skips V == C": Bug(_no_v_equals_c, 60),
    "ack in finally": Bug(_ack_in_finally),
    "commit past an in-flight batch": Bug(_past_an_in_flight_batch),
    "rules once per batch": Bug(_rules_once_a_batch),
    "wall clock in the fold": Bug(_wall_clock),
    "read_uncommitted downstream": Bug(_read_uncommitted),
    "a p split across workers": Bug(_split_p),
    "stock outside the overlay": Bug(_stock_outside_the_overlay),
    "requests to pools forgotten": Bug(_requests_forgotten),
    "no hints at restore": Bug(_no_hints_at_restore, 105),
    "a tick done too soon": Bug(_tick_done_too_soon),
    "ticks merged by their time": Bug(_ticks_by_their_time),
    "moved deadlines without hints": Bug(_moved_deadlines_without_hints, 30),
    "hints of the committed alone": Bug(_hints_of_the_committed_alone),
    "dated as written": Bug(_dated_as_written, 150),
    "any budget pays": Bug(_any_budget_pays),
    "draws asked for and forgotten": Bug(_asks_forgotten),
    "two runs of the journal swapped": Bug(_runs_swapped),
    "a tick's users in any order": Bug(_parts_by_the_hints),
    "settle reaches what is frozen": Bug(_frozen_settled),
    "what was compacted forgotten": Bug(_past_forgotten),
}


def hunt(name: str, first: int = 0, most: int = MOST_SEEDS) -> tuple[int, str] | None:
    """Run seeds with the bug until one catches it: (seeds it took, the first violation)."""
    for count, seed in enumerate(range(first, first + most), 1):
        drawn = Settings(seed, force=BUGS[name].force)
        with BUGS[name].plant():
            found = run_seed(drawn).violations
        if found:
            assert not run_seed(drawn).violations, f"seed {seed} fails without the bug"
            return count, found[0].splitlines()[0]
    return None


def table() -> int:
    """Print how many seeds each bug took from seed 0; 1 if one was not caught."""
    missed = 0
    for name in BUGS:
        found = hunt(name)
        missed += found is None
        count, text = found or (MOST_SEEDS, "NOT CAUGHT")
        print(f"{name:40} {count:4}  {text[:150]}", flush=True)
    return int(missed > 0)

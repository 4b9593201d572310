"""Restore(p): bring RocksDB to where the committed offsets are.

The one routine for every start, assignment and unknown outcome (reliability.md 2). L are the source
offsets inside RocksDB, C the committed ones, V those of p's newest meta row on the changelog. It
ends with L = V = C, or it refuses; it never guesses.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

from streams.errors import NO_REBUILD, Refused
from streams.feed.kill_points import reach
from streams.store import meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from streams.feed.ports import Clock, History, Offsets, Rows
    from streams.store.gathered import Gathering, Read, Taken

log = logging.getLogger(__name__)

READ_RECORDS = 8_000
"""In one read, which may be given up in between."""
READ_S = 0.5
HELD_BYTES = 40 << 20
"""Of memory for rows read and not written yet, and once more for those that are being written.
They become one sorted file (store/rows.py): the more of them, the fewer files."""
WRITTEN_ROWS = 10_000
"""So many are a WriteBatch, and only more of them a file: a short stop leaves none behind."""
FULL = 0.8
"""Of HELD_BYTES, without what was replaced; else that would be looked for at every read."""

TURN_S = 0.0005
"""How long a thread may keep the interpreter's lock while another waits: 5 ms by default. Whoever
writes a file has it all the time; the reading asks for it twice each read, and so do those who fold
(on two busy cores 180,000 records/s became 320,000; of a thread that folds, one turn in ten came 12
ms late, and now 4)."""

STALL_S = 120.0
"""An open transaction of a dead worker ends within transaction.timeout.ms (15 s) and the broker's
cleanup interval (10 s); a restore that sees no progress for far longer is reported, not hidden."""


class Cancelled(Exception):
    """The partition was taken away meanwhile."""


class Restored(NamedTuple):
    """Where to go on, and how much came back."""

    next: Offsets
    rows: int
    seconds: float


@contextlib.contextmanager
def _short_turns() -> Iterator[None]:
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(min(TURN_S, before_s))
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


class _Writing:
    """Writes what was read while more is read: one part after the other, in a thread.

    As a context: it leaves nobody writing, because the rows may be closed next.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None

    def begin(self, rows: Taken, at: tuple[Offsets, int] | None, after: int) -> None:
        """Write in the thread, behind what was begun before."""
        self.end()
        self._thread = threading.Thread(
            target=self._run, args=(rows, at, after), name="load", daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """Wait for what was begun; raises what it met."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed

    def __enter__(self) -> None: ...

    def __exit__(self, *_error: object) -> None:
        self.end()

    def write(self, rows: Taken, at: tuple[Offsets, int] | None, after: int) -> None:
        """Write rows, the L they end at and its batch, and up to where the changelog was read.

        ``at`` None: L stays, rows ahead of it are harmless until V == C is shown.
        """
        next_offsets, batch = at or (None, self._rows.batch)
        write = self._rows.load if len(rows) > WRITTEN_ROWS else self._rows.write
        write(rows, next_offsets=next_offsets, changelog=after, batch=batch)

    def _run(self, rows: Taken, at: tuple[Offsets, int] | None, after: int) -> None:
        try:
            self.write(rows, at, after)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._failed = error


class _Held:
    """Rows read and not written yet: of whole transactions, and of the one being read."""

    def __init__(self, gathering: Gathering, writing: _Writing) -> None:
        self.gathering, self._writing = gathering, writing
        self._newest: tuple[meta.Meta, int] | None = None  # the last whole one, and where it ends

    def close(self, found: meta.Meta, after: int) -> None:
        """Note the meta row that was read last; ``after``: the offset behind it."""
        self._newest = found, after

    def bound(self, after: int) -> None:
        """Write if this is too much to be held; ``after``: the offset behind all that was read."""
        if self.gathering.held_bytes > HELD_BYTES and self.gathering.is_full(
            int(FULL * HELD_BYTES)
        ):
            if self._newest is not None:
                self._writing.begin(*self._whole())
            if self.gathering.held_bytes > FULL * HELD_BYTES:
                self._writing.begin(self.gathering.take(False), None, after)  # noqa: FBT003

    def write_all(self, after: int) -> None:
        """Write what there is; ``after``: the offset behind all that was read."""
        self._writing.end()
        if self._newest is not None:
            self._writing.write(*self._whole())
        self._writing.write(self.gathering.take(False), None, after)  # noqa: FBT003

    def _whole(self) -> tuple[Taken, tuple[Offsets, int], int]:
        """Return whole transactions, the L and batch they end at, and where."""
        assert self._newest is not None
        (found, after), self._newest = self._newest, None
        return self.gathering.take(True), (found.next, found.batch), after  # noqa: FBT003


class Restore:
    """One run for one partition; ``run`` may block for long and belongs in its own thread."""

    def __init__(  # noqa: PLR0913 - the one place it is made is Feed
        self,
        p: int,
        rows: Rows,
        history: History,
        topics: Sequence[str],
        changelog: str,
        clock: Clock,
        cancelled: Callable[[], bool],
        beat: Callable[[int], None],
        *,
        fold_version: int,
        row_schema: int,
    ) -> None:
        """``topics``: the user-keyed ones. ``beat(n)``: called with rows still to come.

        ``fold_version``, ``row_schema``: what this code knows; rows of newer ones are refused.
        """
        self.p, self.rows, self.history, self.topics = p, rows, history, topics
        self.changelog, self.clock, self.cancelled, self.beat = changelog, clock, cancelled, beat
        self.fold_version, self.row_schema = fold_version, row_schema

    def run(self) -> Restored:
        """Steps 2 to 5; step 1 (a producer after init_transactions) is the caller's, 6 too.

        Raises Refused (V != C and its kin), Cancelled, BrokerLost, DiskError.
        """
        begun_s = self.clock.monotonic_s()
        reach("R2")
        committed = self.history.committed(self.p, self.topics)  # C
        low = self.history.low_watermarks(self.p, self.topics)
        self._refuse_deleted_input(committed, low)
        self._refuse_ahead(self.rows.next, committed)
        reach("R3")  # after step 2: markers reach the offsets topic and the changelog separately
        start, end = self.history.high_watermark(self.changelog, self.p)
        self._refuse_truncated_changelog(start, end)
        reach("R4")
        version, count = self._read_changelog(end)  # V
        reach("R5")
        next_offsets = self._settle(committed, version, low)
        if self.rows.next != next_offsets:
            self.rows.write(
                {}, next_offsets=next_offsets, changelog=self.rows.changelog, batch=self.rows.batch
            )
        reach("R6")
        return Restored(next_offsets, count, self.clock.monotonic_s() - begun_s)

    def _read_changelog(self, end: int) -> tuple[Offsets | None, int]:
        """Step 4: read_committed from L's changelog offset until the *position* is at ``end``.

        The position, not the last offset delivered: the tail may be a marker, compacted or empty.
        Rows wait for their meta row where they can, so that rows and L advance together; and whole
        transactions for each other, so that a user of many of them is written once.
        """
        history, writing = self.history, _Writing(self.rows)
        version = self.rows.next
        count, moved_s, position = 0, self.clock.monotonic_s(), self.rows.changelog
        if position >= end:
            return version, 0
        history.seek(self.changelog, self.p, position)
        held = _Held(history.gathered(), writing)
        with _short_turns(), writing:
            while position < end:
                if self.cancelled():
                    raise Cancelled
                self.beat(end - position)
                read = history.gather(held.gathering, READ_RECORDS, READ_S)
                count += read.records
                version = self._note(read, held) or version
                now_s = self.clock.monotonic_s()
                if history.position() > position:
                    position, moved_s = history.position(), now_s
                elif now_s - moved_s > STALL_S:
                    log.error(
                        "restore of partition %d stands at %s[%d]@%d of %d: an open transaction "
                        "holds readers back (LSO); waiting",
                        self.p, self.changelog, self.p, position, end,
                        extra={"topic": self.changelog, "partition": self.p, "offset": position},
                    )  # fmt: skip
                    moved_s = now_s
            held.write_all(position)
        return version, count

    def _note(self, read: Read, held: _Held) -> Offsets | None:
        """Heed what was read; return the newest V among it, if there is one."""
        version = None
        for offset, value in read.metas:
            found = meta.decode_meta(value)
            self._refuse_newer(found)
            version = found.next
            held.close(found, offset + 1)
        if read.records:
            held.bound(read.after)
        return version

    def _settle(self, committed: Offsets, version: Offsets | None, low: Offsets) -> Offsets:
        """Step 5: V == C, or say exactly what is wrong."""
        name = f"partition {self.p}"
        if version is None and not committed:
            for topic, offset in low.items():
                if offset:
                    log.warning(
                        "%s: first start, but %s begins at %d: earlier records were deleted unread",
                        name, topic, offset,
                        extra={"topic": topic, "partition": self.p, "offset": offset},
                    )  # fmt: skip
            return low
        if version is None:
            raise Refused(
                f"{name}: offsets {committed} are committed, but the changelog {self.changelog} "
                "has no rows for it: the changelog was lost. Put it back from a replica or a "
                "backup; starting empty would pay rewards twice. " + NO_REBUILD
            )
        if not committed and {**low, **version} == low:
            return low  # started before, but nothing was ever committed
        if not committed:
            log.warning(
                "%s: committed offsets have expired; going on from the changelog's", name,
                extra={"partition": self.p},
            )  # fmt: skip
            return {**low, **version}
        if {**low, **version} != {**low, **committed}:
            raise Refused(
                f"{name}: the changelog was written at offsets {version}, but {committed} are "
                "committed. Somebody moved the group's offsets, or a transaction was torn. Put the "
                f"committed offsets back to {version}. {NO_REBUILD}"
            )
        return {**low, **version}

    def _refuse_newer(self, found: meta.Meta) -> None:
        """A disk that was lost has no identity to refuse us by; the changelog still does.

        Without this, users whom the newer version never met would be folded by the older one.
        """
        if found.row_schema > self.row_schema or found.fold_version > self.fold_version:
            raise Refused(
                f"{self.changelog}[{self.p}]: written by a newer version (row schema "
                f"{found.row_schema}, fold {found.fold_version}); this one knows row schema "
                f"{self.row_schema}, fold {self.fold_version}. Start the newer version again"
            )

    def _refuse_deleted_input(self, committed: Offsets, low: Offsets) -> None:
        for topic, offset in committed.items():
            if offset < low.get(topic, 0):
                raise Refused(
                    f"{topic}[{self.p}]: committed at {offset}, but the topic now begins at "
                    f"{low[topic]}: {low[topic] - offset} records were deleted before they were "
                    "read. Put them back from a backup and raise the topic's retention. "
                    f"{NO_REBUILD}"
                )

    def _refuse_ahead(self, local: Offsets | None, committed: Offsets) -> None:
        """L > C: offsets were reset or the broker lost data."""
        if local is None or not committed:
            return  # nothing committed is settled against V, below
        for topic, offset in local.items():
            if offset > committed.get(topic, offset):
                raise Refused(
                    f"partition {self.p}: RocksDB is at {topic}@{offset}, ahead of the committed "
                    f"{committed[topic]}. The group's offsets were reset, or the broker lost data. "
                    "Put the offsets back, or use a replay with its own group"
                )

    def _refuse_truncated_changelog(self, start: int, end: int) -> None:
        at = self.rows.changelog
        if at > end:
            raise Refused(
                f"{self.changelog}[{self.p}] ends at {end}, RocksDB has read it up to {at}: the "
                "changelog was made again or the broker lost data. Put it back from a replica or a "
                f"backup. {NO_REBUILD}"
            )
        if at < start:
            raise Refused(
                f"{self.changelog}[{self.p}] begins at {start}, needed from {at}: rows were "
                "deleted. The changelog must be compacted only (`leidan topics plan`); put it back "
                f"from a replica or a backup. {NO_REBUILD}"
            )

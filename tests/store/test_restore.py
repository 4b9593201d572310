"""Row 24: restores of changelogs as brokers leave them: markers, holes, tombstones, nothing at all.

`None` is an offset without a record: a transaction's marker, or what compaction took away.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from streams.errors import DiskError, Exit, Refused
from streams.store import meta, restore
from streams.store.restore import Restore
from streams.store.rows import DiskStore
from streams.wire.rows import ROW_SCHEMA
from tests.feed.memory import CHANGELOG, TOPICS, Broker, HandClock, MemoryHistory, MemoryStore
from tests.native.beside import MODULE, needs_native
from tests.store.test_rows import OURS, ROOT

END = {"orders": 9, "claims": 4}
EARLIER = {"orders": 5, "claims": 4}


def row(user: str, value: bytes | None) -> tuple[bytes, bytes | None]:
    return user.encode(), value


def vector(offsets: dict[str, int], batch: int) -> tuple[bytes, bytes]:
    return meta.META, meta.encode_meta(meta.Meta(offsets, batch, 1, 1))


def broker_with(*entries: tuple[bytes, bytes | None] | None) -> Broker:
    """Return a broker with this changelog of partition 0, committed at END."""
    broker = Broker()
    broker.logs[CHANGELOG, 0] = []
    for entry in entries:
        if entry is None:
            broker.logs[CHANGELOG, 0].append(None)
            continue
        offset = broker.put(CHANGELOG, "", b"")
        found = broker.logs[CHANGELOG, 0][offset]
        assert found is not None
        broker.logs[CHANGELOG, 0][offset] = found._replace(key=entry[0], value=entry[1])
    broker.committed = {(topic, 0): offset for topic, offset in END.items()}
    return broker


class CompiledHistory(MemoryHistory):
    """What it gives is gathered in C."""

    def gathered(self):
        return MODULE.Gathered(meta.META, meta.DUE, ROW_SCHEMA)


HISTORIES = {"python": MemoryHistory, "compiled": CompiledHistory}


def restored(
    broker: Broker, rows, history: type[MemoryHistory] = MemoryHistory
) -> restore.Restored:
    return Restore(
        0,
        rows,
        history(broker),
        TOPICS,
        CHANGELOG,
        HandClock(),
        lambda: False,
        lambda _remaining: None,
        fold_version=1,
        row_schema=1,
    ).run()


COMPILED = pytest.param("compiled", marks=needs_native)


@pytest.fixture(params=["memory", "disk", COMPILED])
def place(request):
    return request.param


@pytest.fixture
def history(place):
    return HISTORIES["compiled" if place == "compiled" else "python"]


@pytest.fixture
def rows(place, tmp_path):
    store = MemoryStore() if place == "memory" else DiskStore(tmp_path, OURS)
    opened = store.open(0)
    yield opened
    opened.close()


@pytest.fixture
def written_rows(request, monkeypatch):
    """In one WriteBatch, at most: above that a restore loads a file."""
    monkeypatch.setattr(restore, "WRITTEN_ROWS", request.param)


A, B = row("u1", b"a"), row("u2", b"b")

CHANGELOGS = {
    "tail-is-a-marker": ([A, B, vector(END, 1), None], {b"u1": b"a", b"u2": b"b"}),
    "tail-is-all-markers": ([A, vector(END, 1), None, None, None, None], {b"u1": b"a"}),
    "holes-and-one-vector-left": (
        [None, None, A, None, B, None, None, row("u1", b"c"), vector(END, 7), None],
        {b"u1": b"c", b"u2": b"b"},
    ),
    "begins-with-a-hole-and-ends-with-one": ([None, A, vector(END, 3), None], {b"u1": b"a"}),
    "tombstone-last-of-its-transaction": (
        [A, B, vector(EARLIER, 1), None, row("u1", None), vector(END, 2), None],
        {b"u2": b"b"},
    ),
    "tombstone-of-a-row-that-never-came": ([row("u9", None), A, vector(END, 1)], {b"u1": b"a"}),
    "a-row-again-after-its-tombstone": (
        [A, row("u1", None), row("u1", b"new"), vector(END, 1), None],
        {b"u1": b"new"},
    ),
    "a-transaction-without-rows": (
        [A, vector(EARLIER, 1), None, vector(END, 2), None],
        {b"u1": b"a"},
    ),
}


@pytest.mark.parametrize("held_bytes", [0, 1 << 20])
@pytest.mark.parametrize("written_rows", [0, 10_000], ids=["loaded", "written"], indirect=True)
@pytest.mark.parametrize(
    ("entries", "due"), CHANGELOGS.values(), ids=[f"row24-{name}" for name in CHANGELOGS]
)
@pytest.mark.usefixtures("written_rows")
def test_a_restore_ends_at_the_end_with_every_row(  # noqa: PLR0913 - a matrix
    rows, monkeypatch, entries, due, held_bytes, history
):
    monkeypatch.setattr(restore, "READ_RECORDS", 1)
    monkeypatch.setattr(restore, "HELD_BYTES", held_bytes)
    assert restored(broker_with(*entries), rows, history).next == END
    users = [b"u1", b"u2", b"u9"]
    found = dict(zip(users, rows.get_many(users), strict=True))
    assert {user: value for user, value in found.items() if value is not None} == due
    assert (rows.next, rows.changelog) == (END, len(entries))


@pytest.mark.parametrize("stop", range(1, 7))
@pytest.mark.parametrize("written_rows", [0, 10_000], ids=["loaded", "written"], indirect=True)
@pytest.mark.usefixtures("written_rows")
def test_row24_a_restore_stopped_anywhere_goes_on_from_where_it_stood(
    rows, monkeypatch, stop, history
):
    monkeypatch.setattr(restore, "HELD_BYTES", 0)
    monkeypatch.setattr(restore, "READ_RECORDS", 1)
    entries = CHANGELOGS["tombstone-last-of-its-transaction"][0]
    beats = iter(range(stop))
    broker = broker_with(*entries)
    first = Restore(
        0, rows, history(broker), TOPICS, CHANGELOG, HandClock(),
        lambda: next(beats, None) is None, lambda _remaining: None,
        fold_version=1, row_schema=1,
    )  # fmt: skip
    with pytest.raises(restore.Cancelled):
        first.run()
    assert rows.next in (None, EARLIER, END)
    assert restored(broker, rows, history).next == END
    assert rows.get_many([b"u1", b"u2"]) == [None, b"b"]


TRANSACTIONS = 12


def long_changelog() -> tuple[Broker, dict[bytes, bytes]]:
    """Some users again and again; the newest row of each."""
    entries: list[tuple[bytes, bytes | None] | None] = []
    newest = {}
    for batch in range(TRANSACTIONS):
        for n in range(7):
            user, value = f"u{(3 * batch + n) % 20}", b"%d-%d" % (batch, n)
            entries.append(row(user, value))
            newest[user.encode()] = value
        at = END if batch == TRANSACTIONS - 1 else {"orders": 0, "claims": batch}
        entries += [vector(at, batch + 1), None]
    return broker_with(*entries), newest


KILLED = """
import sys
from pathlib import Path
from streams.store import restore, rows
from tests.store import test_restore
restore.HELD_BYTES, restore.READ_RECORDS, restore.WRITTEN_ROWS = 0, int(sys.argv[2]), 0
broker, _ = test_restore.long_changelog()
opened = rows.DiskStore(Path(sys.argv[1]), test_restore.OURS).open(0)
test_restore.restored(broker, opened, test_restore.HISTORIES[sys.argv[3]])
"""


@pytest.mark.parametrize(("at_once", "passes"), [(5, 1), (5, 2), (5, 9), (30, 1), (30, 2)])
@pytest.mark.parametrize("gathered", ["python", COMPILED])
def test_row24_killed_before_a_file_is_taken_in_a_restore_goes_on_from_the_file_before(
    tmp_path, at_once, passes, gathered
):
    """``at_once``: records of one read, less than a transaction has and more than three have."""
    environment = {**os.environ, "LEIDAN_KILL": f"LOAD:{passes}"}
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(at_once), gathered]
    killed = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    broker, newest = long_changelog()
    rows = DiskStore(tmp_path, OURS).open(0)
    assert (rows.changelog > 0) == (passes > 1)
    assert rows.changelog < len(broker.logs[CHANGELOG, 0])
    assert restored(broker, rows, HISTORIES[gathered]).next == END
    assert dict(zip(newest, rows.get_many(list(newest)), strict=True)) == newest
    rows.close()


class Beside:
    """Rows whose first load waits until somebody lets it go on, or fails."""

    def __init__(self, rows) -> None:
        self._rows, self.go_on, self.error = rows, threading.Event(), None
        self.loads = 0

    def __getattr__(self, name):
        return getattr(self._rows, name)

    def load(self, *given, **named) -> None:
        self.loads += 1
        assert self.loads > 1 or self.go_on.wait(20), "nothing was read meanwhile"
        if self.error is not None:
            raise self.error
        self._rows.load(*given, **named)


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """Every read is a file."""
    for name, value in {"HELD_BYTES": 0, "READ_RECORDS": 9, "WRITTEN_ROWS": 0}.items():
        monkeypatch.setattr(restore, name, value)
    rows = DiskStore(tmp_path, OURS).open(0)
    yield Beside(rows)
    rows.close()


@pytest.mark.parametrize("gathered", ["python", COMPILED])
def test_more_is_read_while_a_file_is_written(beside, gathered):
    class Reading(HISTORIES[gathered]):
        def read(self, max_records, timeout_s):
            if self.position() > 0:
                beside.go_on.set()
            return super().read(max_records, timeout_s)

    broker, newest = long_changelog()
    assert restored(broker, beside, Reading).next == END
    assert dict(zip(newest, beside.get_many(list(newest)), strict=True)) == newest


@pytest.fixture
def long_turns():
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(0.004)
    yield
    sys.setswitchinterval(before_s)


@pytest.mark.parametrize("ends", [None, DiskError("no space")], ids=["well", "badly"])
@pytest.mark.usefixtures("long_turns")
def test_those_who_fold_wait_half_a_millisecond_while_a_restore_reads(beside, ends):
    """For the interpreter's lock; afterwards, however it ends, as long as before."""
    seen_s = []

    class Reading(MemoryHistory):
        def read(self, max_records, timeout_s):
            seen_s.append(sys.getswitchinterval())
            return super().read(max_records, timeout_s)

    beside.error = ends
    beside.go_on.set()
    with contextlib.nullcontext() if ends is None else pytest.raises(DiskError):
        restored(long_changelog()[0], beside, Reading)
    assert len(seen_s) > 1
    assert seen_s == [pytest.approx(0.0005)] * len(seen_s)
    assert sys.getswitchinterval() == pytest.approx(0.004)


@pytest.mark.parametrize("gathered", ["python", COMPILED])
def test_a_file_that_cannot_be_written_beside_the_reading_ends_the_restore(beside, gathered):
    beside.error = DiskError("no space")
    beside.go_on.set()
    with pytest.raises(DiskError, match="no space"):
        restored(long_changelog()[0], beside, HISTORIES[gathered])
    assert (beside.loads, beside.changelog) == (1, 0), "nothing is written behind it"


@pytest.mark.parametrize("gathered", ["python", COMPILED])
def test_a_restore_that_is_given_up_leaves_nobody_writing(beside, gathered):
    """Whoever has its partition taken away closes the rows next."""
    broker, _ = long_changelog()
    asked = iter(range(1))

    def cancelled() -> bool:
        if next(asked, None) is not None:
            return False
        threading.Timer(0.1, beside.go_on.set).start()
        return True

    given_up = Restore(
        0, beside, HISTORIES[gathered](broker), TOPICS, CHANGELOG, HandClock(),
        cancelled, lambda _remaining: None,
        fold_version=1, row_schema=1,
    )  # fmt: skip
    with pytest.raises(restore.Cancelled):
        given_up.run()
    assert beside.changelog > 0, "the file that was under way is there, and its L with it"
    assert "load" not in {thread.name for thread in threading.enumerate()}


def test_row24_an_empty_changelog_without_committed_offsets_is_a_first_start(rows):
    broker = broker_with()
    broker.committed = {}
    assert restored(broker, rows).next == {"orders": 0, "claims": 0}
    assert rows.batch == 0


@pytest.mark.parametrize("left", [[], [None], [A, None]], ids=["empty", "a marker", "no vector"])
def test_row24_a_lost_changelog_is_refused_and_no_row_of_it_counts(rows, left):
    with pytest.raises(Refused, match="the changelog was lost") as refused:
        restored(broker_with(*left), rows)
    assert refused.value.exit is Exit.REFUSED
    assert rows.next is None


def test_row24_a_changelog_whose_beginning_was_deleted_is_refused(rows):
    broker = broker_with(None, None, A, vector(END, 1))
    broker.low[CHANGELOG, 0] = 2
    with pytest.raises(Refused, match="begins at 2, needed from 0: rows were deleted"):
        restored(broker, rows)

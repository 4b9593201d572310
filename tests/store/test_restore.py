"""Row 24: restores of changelogs as brokers leave them: markers, holes, tombstones, nothing at all.

`None` is an offset without a record: a transaction's marker, or what compaction took away.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from streams.errors import Exit, Refused
from streams.store import meta, restore
from streams.store.restore import Restore
from streams.store.rows import DiskStore
from tests.feed.memory import CHANGELOG, TOPICS, Broker, HandClock, MemoryHistory, MemoryStore
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


def restored(broker: Broker, rows) -> restore.Restored:
    return Restore(
        0,
        rows,
        MemoryHistory(broker),
        TOPICS,
        CHANGELOG,
        HandClock(),
        lambda: False,
        lambda _remaining: None,
        fold_version=1,
        row_schema=1,
    ).run()


@pytest.fixture(params=["memory", "disk"])
def rows(request, tmp_path):
    store = MemoryStore() if request.param == "memory" else DiskStore(tmp_path, OURS)
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
def test_a_restore_ends_at_the_end_with_every_row(rows, monkeypatch, entries, due, held_bytes):
    monkeypatch.setattr(restore, "READ_RECORDS", 1)
    monkeypatch.setattr(restore, "HELD_BYTES", held_bytes)
    assert restored(broker_with(*entries), rows).next == END
    users = [b"u1", b"u2", b"u9"]
    found = dict(zip(users, rows.get_many(users), strict=True))
    assert {user: value for user, value in found.items() if value is not None} == due
    assert (rows.next, rows.changelog) == (END, len(entries))


@pytest.mark.parametrize("stop", range(1, 7))
@pytest.mark.parametrize("written_rows", [0, 10_000], ids=["loaded", "written"], indirect=True)
@pytest.mark.usefixtures("written_rows")
def test_row24_a_restore_stopped_anywhere_goes_on_from_where_it_stood(rows, monkeypatch, stop):
    monkeypatch.setattr(restore, "HELD_BYTES", 0)
    monkeypatch.setattr(restore, "READ_RECORDS", 1)
    entries = CHANGELOGS["tombstone-last-of-its-transaction"][0]
    beats = iter(range(stop))
    broker = broker_with(*entries)
    first = Restore(
        0, rows, MemoryHistory(broker), TOPICS, CHANGELOG, HandClock(),
        lambda: next(beats, None) is None, lambda _remaining: None,
        fold_version=1, row_schema=1,
    )  # fmt: skip
    with pytest.raises(restore.Cancelled):
        first.run()
    assert rows.next in (None, EARLIER, END)
    assert restored(broker, rows).next == END
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
test_restore.restored(broker, rows.DiskStore(Path(sys.argv[1]), test_restore.OURS).open(0))
"""


@pytest.mark.parametrize(("at_once", "passes"), [(5, 1), (5, 2), (5, 9), (30, 1), (30, 2)])
def test_row24_killed_before_a_file_is_taken_in_a_restore_goes_on_from_the_file_before(
    tmp_path, at_once, passes
):
    """``at_once``: records of one read, less than a transaction has and more than three have."""
    environment = {**os.environ, "LEIDAN_KILL": f"LOAD:{passes}"}
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(at_once)]
    killed = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    broker, newest = long_changelog()
    rows = DiskStore(tmp_path, OURS).open(0)
    assert (rows.changelog > 0) == (passes > 1)
    assert rows.changelog < len(broker.logs[CHANGELOG, 0])
    assert restored(broker, rows).next == END
    assert dict(zip(newest, rows.get_many(list(newest)), strict=True)) == newest
    rows.close()


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

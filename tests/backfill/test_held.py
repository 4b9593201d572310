"""Rows held between checkpoints: what is read is what was written; a kill falls back, in whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from streams.backfill.held import KEPT_BYTES, DecodedStates, HeldRows
from streams.store import meta
from streams.store.meta import Hint
from streams.store.rows import DiskRows, DiskStore, read_offsets, read_row, read_rows
from streams.wire.rows import ROW_SCHEMA

ROOT = Path(__file__).resolve().parents[2]
OURS = meta.Identity("leidan", "cluster-1", -1, 1, {}, 1, 1)
MANY = 1_000_000


def row(due_ms: int, size: int = 0) -> bytes:
    return bytes([ROW_SCHEMA]) + due_ms.to_bytes(8, "big") + b"x" * size


def opened(directory: Path, most_records: int = MANY, **bounds: int) -> HeldRows:
    return HeldRows(DiskStore(directory, OURS).open(0), most_records, **bounds)


def write(rows: HeldRows, at: int, changes: dict[bytes, bytes | None]) -> None:
    rows.write(changes, next_offsets={"orders": at}, changelog=0, batch=at)


def written(directory: Path) -> int:
    """Up to where the database is written, as another process sees it."""
    return (read_offsets(directory / "0") or {}).get("orders", 0)


def test_what_was_written_last_is_read_before_a_checkpoint_and_after_two_of_them(tmp_path):
    rows = opened(tmp_path, most_records=2)
    for at in range(1, 7):
        write(rows, at, {b"u1": b"%d" % at, b"u%d" % (at + 1): b"once"})
        assert rows.get_many([b"u1", b"u9", b"u2", b"u%d" % (at + 1)]) == [
            b"%d" % at, None, b"once", b"once",
        ]  # fmt: skip
        assert written(tmp_path) == at // 2 * 2
    rows.close()
    assert dict(read_rows(tmp_path / "0")).keys() == {b"u%d" % n for n in range(1, 8)}


def test_closing_writes_what_is_held_with_its_place(tmp_path):
    rows = opened(tmp_path)
    write(rows, 5, {b"u1": b"a", meta.BACKFILL: b"an account"})
    assert (written(tmp_path), rows.peek(meta.BACKFILL)) == (0, b"an account")
    rows.close()
    again = opened(tmp_path)
    assert (again.next, again.batch) == ({"orders": 5}, 5)
    assert (again.get_many([b"u1"]), again.peek(meta.BACKFILL)) == ([b"a"], b"an account")
    again.close()


def test_rows_are_written_when_they_are_many_bytes_but_not_when_one_changes_often(tmp_path):
    rows = opened(tmp_path, most_bytes=8 * (1_009 + KEPT_BYTES))
    for at in range(1, 50):
        write(rows, at, {b"u1": row(0, 1_000)})
    assert written(tmp_path) == 0
    for at in range(50, 60):
        write(rows, at, {b"u%d" % at: row(0, 1_000)})
    assert 55 < written(tmp_path) < 60
    rows.close()


class Asked:
    """A database, and which keys are asked of it."""

    def __init__(self, rows: DiskRows) -> None:
        self._rows, self.keys = rows, set[bytes]()

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        self.keys.update(keys)
        return self._rows.get_many(keys)

    def __getattr__(self, name: str) -> object:
        return getattr(self._rows, name)


def test_a_user_who_fits_is_never_read_again_and_one_who_does_not_is_read_as_written(tmp_path):
    users = [b"u%03d" % n for n in range(100)]
    for fit, read in ((100, 0), (60, 100)):
        disk = Asked(DiskStore(tmp_path / f"{fit}", OURS).open(0))
        rows = HeldRows(disk, 30, fit * (1_010 + KEPT_BYTES))
        for at in range(1, 301):
            key = users[at % 100]
            before = None if at <= 100 else row(at - 100, 1_000)
            if at == 101:
                assert len(disk.keys) == 100, "each was looked for when it was new"
                disk.keys.clear()
            assert rows.get_many([key]) == [before]
            write(rows, at, {key: row(at, 1_000)})
        assert len(disk.keys) == read
        rows.close()
        left = {users[at % 100]: row(at, 1_000) for at in range(201, 301)}
        assert dict(read_rows(tmp_path / f"{fit}" / "0")) == left


@pytest.mark.parametrize(
    ("size", "ticks", "most_records"),
    [(20, False, 3_000), (20, True, MANY), (200, True, MANY), (1_000, False, 3_000)],
)
def test_what_is_held_with_its_keys_and_places_and_a_load_stays_within_the_bound(
    tmp_path, size, ticks, most_records
):
    """Twice as many users as fit, each twice; what Python takes, checkpoints included."""
    most_bytes = 4 << 20
    rows = opened(tmp_path, most_records, most_bytes=most_bytes)
    count = 2 * most_bytes // (size + KEPT_BYTES)
    tracemalloc.start()
    try:
        for at in range(0, 2 * count, 500):
            users = range(at % count, at % count + 500)
            write(rows, at + 500, {b"user-%07d" % n: row(n, size) for n in users})
            if ticks:
                rows.due(5, 10)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    rows.close()
    assert 0.3 * most_bytes < held
    assert peak < 1.1 * most_bytes, f"{peak / most_bytes:.2f} of the bound"


@pytest.mark.parametrize("checkpoints", [0, 1, 2])
def test_deadlines_are_found_wherever_their_rows_lie(tmp_path, checkpoints):
    """One row's deadline passes on, one's is met and comes again, one's stays."""
    rows = opened(tmp_path)

    def checkpoint(number: int) -> None:
        if checkpoints >= number:
            rows.after(b"", 1)  # a walk needs all rows in order

    write(rows, 1, {b"u1": row(10), b"u2": row(20), b"u3": row(30)})
    checkpoint(1)
    assert rows.due(20, 9) == [Hint(10, b"u1"), Hint(20, b"u2")]
    assert rows.due(99, 1) == [Hint(10, b"u1")]
    write(rows, 2, {b"u1": row(40), b"u2": row(0), Hint(10, b"u1").encoded(): None,
                    Hint(20, b"u2").encoded(): None})  # fmt: skip
    checkpoint(2)
    assert rows.due(99, 9) == [Hint(30, b"u3"), Hint(40, b"u1")]
    write(rows, 3, {b"u2": row(20)})
    every = [Hint(20, b"u2"), Hint(30, b"u3"), Hint(40, b"u1")]
    assert rows.due(99, 9) == every
    rows.close()
    again = opened(tmp_path)
    assert again.due(99, 9) == every
    again.close()


def test_a_walk_sees_held_rows_among_those_on_disk(tmp_path):
    rows = opened(tmp_path)
    write(rows, 1, {b"u1": b"old", b"u3": b"c"})
    rows.after(b"", 9)
    write(rows, 2, {b"u1": b"new", b"u2": b"b"})
    assert rows.after(b"", 9) == [(b"u1", b"new"), (b"u2", b"b"), (b"u3", b"c")]
    assert rows.after(b"u1", 9) == [(b"u2", b"b"), (b"u3", b"c")]
    rows.close()


def test_of_what_is_committed_only_states_are_kept_and_never_one_that_is_older_than_its_row():
    kept, old, new = DecodedStates(), object(), object()
    kept.keep({b"u1": old, b"u2": old, b"u3": b"bytes"})
    assert kept.held == {b"u1": old, b"u2": old}
    kept.keep({b"u1": b"bytes", b"u2": new, b"u4": b"bytes"})
    assert kept.held == {b"u2": new}


KILLED = """
import os, sys
from pathlib import Path
from tests.backfill.test_held import opened, row, write
rows = opened(Path(sys.argv[1]), most_records=10)
for at in range(1, 10_000):
    write(rows, at, {b"u%d" % (at % 7): row(at, 50), b"last": b"%d" % at})
"""


@pytest.mark.parametrize(("passes", "left"), [(1, 0), (2, 10), (5, 40)])
def test_killed_before_a_file_is_taken_in_it_is_as_the_checkpoint_before_left_it(
    tmp_path, passes, left
):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "LEIDAN_KILL": f"LOAD:{passes}"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert written(tmp_path) == left
    assert read_row(tmp_path / "0", b"last") == (b"%d" % left if left else None)
    again = opened(tmp_path, most_records=10)
    assert (
        again.due(left, 99)
        == [Hint(at, b"u%d" % (at % 7)) for at in range(1, left + 1) if at > left - 7]
        or left > 7
    ), "earlier hints are stale, and stay until somebody looks"
    write(again, left + 20, {b"u1": b"on"})
    again.close()
    assert written(tmp_path) == left + 20

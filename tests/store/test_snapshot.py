"""Snapshots: the rows of one moment and their offsets, of a stopped owner and of a running one."""

from __future__ import annotations

import json
import threading

import pytest

from streams import cli
from streams.errors import DiskError, UsageError
from streams.store import snapshot
from streams.store.restore import Restore
from streams.store.rows import read_offsets, read_row, read_rows
from tests.feed.memory import CHANGELOG, TOPICS, HandClock, MemoryHistory
from tests.store.test_restore import END, A, B, broker_with, row, vector
from tests.store.test_rows import NEXT, disk_store

KEYS = [f"u{n}".encode() for n in range(20)]


@pytest.fixture
def stopped(tmp_path):
    """Two partitions with a row each, closed."""
    directory = tmp_path / "state" / "users"
    for p in range(2):
        rows = disk_store(directory).open(p)
        rows.write({b"u%d" % p: b"row"}, next_offsets=NEXT, changelog=9, batch=3)
        rows.close()
    return directory


def test_of_a_stopped_owner_it_is_linked_and_opens_where_the_owner_was(stopped, tmp_path):
    about = snapshot.take(stopped, tmp_path / "kept", "2026a")
    assert [(one.partition, one.next, one.changelog, one.linked) for one in about.databases] == [
        (0, NEXT, 9, True),
        (1, NEXT, 9, True),
    ]
    assert json.loads((tmp_path / "kept" / "snapshot.json").read_bytes())["tzdata"] == "2026a"
    rows = disk_store(tmp_path / "kept").open(1)
    assert (rows.get_many([b"u1"]), rows.next, rows.batch) == ([b"row"], NEXT, 3)
    rows.close()


def test_what_the_owner_writes_later_is_not_in_it(stopped, tmp_path):
    snapshot.take(stopped, tmp_path / "kept", "")
    rows = disk_store(stopped).open(0)
    rows.write({b"u0": b"later"}, next_offsets={"orders": 99}, changelog=99, batch=4)
    rows.close()
    assert read_row(tmp_path / "kept" / "0", b"u0") == b"row"
    assert read_offsets(tmp_path / "kept" / "0") == NEXT


def test_beside_a_running_owner_it_is_the_rows_of_one_write_and_no_mixture(tmp_path):
    rows = disk_store(tmp_path / "state").open(0)
    stop = threading.Event()

    def write_on() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            value = (b"%d:" % number).ljust(20_000, b"x")  # some memtables full in a second
            offsets = {"orders": number}
            many = dict.fromkeys(KEYS, value)
            rows.write(many, next_offsets=offsets, changelog=1, batch=number)

    writing = threading.Thread(target=write_on)
    writing.start()
    try:
        seen = []
        for n in range(4):
            about = snapshot.take(tmp_path / "state", tmp_path / f"kept-{n}", "")
            (taken,) = about.databases
            assert not taken.linked
            found = {value.split(b":")[0] for _, value in read_rows(tmp_path / f"kept-{n}" / "0")}
            if taken.batch:
                assert found == {b"%d" % taken.batch}
                assert taken.next == {"orders": taken.batch}
            seen.append(taken.batch)
    finally:
        stop.set()
        writing.join()
        rows.close()
    assert seen == sorted(seen)
    assert seen[-1] > seen[0] >= 0


def test_a_restore_from_it_reads_the_changelog_from_there_and_not_from_zero(tmp_path):
    broker = broker_with(A, vector({"orders": 5, "claims": 4}, 1), B, vector(END, 2), None)
    first = disk_store(tmp_path / "state").open(0)
    first.write({b"u1": b"a"}, next_offsets={"orders": 5, "claims": 4}, changelog=2, batch=1)
    first.close()
    snapshot.take(tmp_path / "state", tmp_path / "kept", "")
    rows = disk_store(tmp_path / "kept").open(0)
    restored = Restore(
        0, rows, MemoryHistory(broker), TOPICS, CHANGELOG, HandClock(), lambda: False,
        lambda _remaining: None, fold_version=1, row_schema=1,
    ).run()  # fmt: skip
    assert restored.rows == 2, "the second row and its vector"
    assert dict(rows.users()) == dict([row("u1", b"a"), row("u2", b"b")])
    rows.close()


def test_a_damaged_database_gives_none_and_is_left_as_it_is(stopped, tmp_path):
    (current,) = (stopped / "1").glob("CURRENT")
    current.write_bytes(b"nothing\n")
    with pytest.raises(DiskError):
        snapshot.take(stopped, tmp_path / "kept", "")
    assert not list(tmp_path.glob("kept*"))
    assert current.read_bytes() == b"nothing\n"
    assert not list(stopped.glob("*corrupt*"))


def test_no_state_and_a_place_that_is_taken_are_refused(stopped, tmp_path):
    with pytest.raises(UsageError, match="no state here"):
        snapshot.take(tmp_path / "empty", tmp_path / "kept", "")
    (tmp_path / "kept").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        snapshot.take(stopped, tmp_path / "kept", "")


def test_the_verb_says_where_each_partition_goes_on(stopped, tmp_path, capsys):
    assert (
        cli.run(["state", "snapshot", "--state-dir", str(stopped), "--out", str(tmp_path / "k")])
        == 0
    )
    said = capsys.readouterr()
    assert said.out.splitlines()[1] == "partition 1: linked; goes on at claims@0, orders@7"
    assert (
        cli.run(["state", "snapshot", "--state-dir", str(stopped), "--out", str(tmp_path / "k")])
        == 2
    )

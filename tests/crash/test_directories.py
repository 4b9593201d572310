"""Rows 22 and 23: whose directory it is, how old it is, and who holds it."""

from __future__ import annotations

import hashlib
import shutil
import signal
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from streams.errors import DiskError, Exit
from streams.store.rows import DiskStore
from tests.crash.loop import Child, finish
from tests.crash.verify import found
from tests.crash.world import IDENTITY, PARTITIONS, Options, Place, broker_of

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = Options(3, records=1_200, batch_records=30, rebalance_every=1_000_000, lock_wait_s=1.0)


def run_and_kill(place: Place, units: int) -> None:
    child = Child(place, OPTIONS)
    assert child.read(1 + units), "void: it ended before the kill"
    child.kill()
    assert child.wait() == -signal.SIGKILL


def digests(place: Place, scratch: Path) -> list[str]:
    return [found(place, p, scratch).digest() for p in range(PARTITIONS)]


def bytes_below(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


# --- row 22: foreign, old, lost -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"cluster": "another-cluster"}, "rows of Kafka cluster 'another-cluster'"),
        ({"app": "another-app"}, "belongs to app 'another-app'"),
        ({"partitions": 64}, "made with 64 partitions"),
    ],
)
def test_row22_a_foreign_directory_is_refused_and_not_a_byte_of_it_changes(
    tmp_path, theirs, message
):
    place = Place(tmp_path)
    foreign = DiskStore(place.state, msgspec.structs.replace(IDENTITY, **theirs)).open(1)
    foreign.write({b"u": b"theirs"}, next_offsets={"orders": 1}, changelog=2, batch=1)
    foreign.close()
    before = bytes_below(place.state / "1")
    child = Child(place, OPTIONS)
    assert child.wait() == Exit.REFUSED
    assert message in child.errors
    assert bytes_below(place.state / "1") == before


def test_row22_a_directory_of_another_partition_is_refused_and_its_rows_stay(tmp_path):
    place = Place(tmp_path)
    run_and_kill(place, 20)
    there = found(place, 2, tmp_path / "copy").digest()
    shutil.rmtree(place.state / "1")
    (place.state / "2").rename(place.state / "1")  # somebody mixed them up
    child = Child(place, OPTIONS)
    assert child.wait() == Exit.REFUSED
    assert "rows of partition 2, opened for 1" in child.errors
    shutil.rmtree(place.state / "2", ignore_errors=True)  # begun anew meanwhile
    (place.state / "1").rename(place.state / "2")
    assert found(place, 2, tmp_path / "copy").digest() == there
    assert finish(place, OPTIONS, tmp_path / "copy") == []


def test_row22_an_old_snapshot_put_back_goes_on_from_its_own_position(tmp_path):
    place, old = Place(tmp_path), tmp_path / "old"
    run_and_kill(place, 20)
    shutil.copytree(place.state, old)
    assert finish(place, OPTIONS, tmp_path / "copy") == []
    due = digests(place, tmp_path / "copy")
    shutil.rmtree(place.state)
    old.rename(place.state)
    broker = broker_of(place, OPTIONS)
    for p in range(PARTITIONS):
        local = found(place, p, tmp_path / "copy").next
        assert local is None or local["orders"] < broker.committed["orders", p], "void: not old"
    assert finish(place, OPTIONS, tmp_path / "copy") == []
    assert digests(place, tmp_path / "copy") == due


def test_row22_a_lost_disk_is_rebuilt_to_the_same_hash(tmp_path):
    place = Place(tmp_path)
    assert finish(place, OPTIONS, tmp_path / "copy") == []
    due, outputs = digests(place, tmp_path / "copy"), place.journal.stat().st_size
    shutil.rmtree(place.state)
    assert finish(place, OPTIONS, tmp_path / "copy") == []
    assert digests(place, tmp_path / "copy") == due
    assert place.journal.stat().st_size == outputs, "nothing was sent again"


# --- row 23: the LOCK -----------------------------------------------------------------------------


def asleep(place: Place, units: int) -> Child:
    """Return a worker that holds its databases and does not move."""
    child = Child(place, OPTIONS)
    assert child.read(1 + units), "void: it ended before it was stopped"
    child.process.send_signal(signal.SIGSTOP)
    return child


def test_row23_a_stopped_predecessor_is_waited_for_then_74_and_nobody_writes_beside_it(tmp_path):
    place = Place(tmp_path)
    first = asleep(place, 20)
    try:
        begun_s = time.monotonic()
        second = Child(place, OPTIONS)
        assert second.wait() == Exit.DISK
        assert "still held after 1 s" in second.errors
        assert time.monotonic() - begun_s >= OPTIONS.lock_wait_s, "it did not wait"
        assert second.batches == {}, "two writers"
    finally:
        first.process.send_signal(signal.SIGCONT)
    assert first.wait() == Exit.OK, "the one who holds them is not disturbed"
    assert finish(place, OPTIONS, tmp_path / "copy") == []


def test_row23_a_successor_that_waits_goes_on_when_the_predecessor_is_gone(tmp_path):
    place = Place(tmp_path)
    first = asleep(place, 20)
    second = Child(place, msgspec.structs.replace(OPTIONS, lock_wait_s=30.0))
    assert second.read(1)
    time.sleep(0.3)  # it now waits for the LOCK
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert second.wait() == Exit.OK
    assert finish(place, OPTIONS, tmp_path / "copy") == []


def test_row23_a_walk_still_open_at_close_keeps_the_successor_out_until_it_is_dropped(tmp_path):
    place = Place(tmp_path)
    run_and_kill(place, 20)
    rows = place.store().open(0)
    walk = rows.users()
    next(walk)
    rows.close()
    child = Child(place, OPTIONS)
    assert child.wait() == Exit.DISK
    assert "still held" in child.errors
    with pytest.raises(DiskError, match="still held"):
        place.store(lock_wait_s=0.1).open(0)
    walk.close()  # type: ignore[attr-defined]
    assert finish(place, OPTIONS, tmp_path / "copy") == []

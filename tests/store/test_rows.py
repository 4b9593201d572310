"""Rows of one partition: one suite over every store, then what only RocksDB has."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
import rocksdict

from streams.backfill.held import HeldRows
from streams.errors import DiskError, Exit, Refused
from streams.feed.ports import NotReady
from streams.store import meta
from streams.store import rows as rows_module
from streams.store.meta import Hint
from streams.store.rows import DiskStore, read_offsets, read_rows
from streams.wire.rows import ROW_SCHEMA
from tests.feed.memory import MemoryStore

ROOT = Path(__file__).resolve().parents[2]
OURS = meta.Identity("leidan", "cluster-1", -1, 4, {"orders": "id-1"}, 1, 1)
NEXT = {"orders": 7, "claims": 0}


def disk_store(directory: Path, identity: meta.Identity = OURS, **options) -> DiskStore:
    return DiskStore(directory, identity, **{"lock_wait_s": 0.1, **options})


class Held:
    """A store as a backfill has it, checkpoints in between."""

    def __init__(self, directory: Path) -> None:
        self.disk = disk_store(directory)

    def open(self, p: int) -> HeldRows:
        return HeldRows(self.disk.open(p), most_records=2)


@pytest.fixture(params=["memory", "disk", "held"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryStore()
    return Held(tmp_path) if request.param == "held" else disk_store(tmp_path)


# --- every store ---------------------------------------------------------------------------------


def test_a_new_partition_knows_nothing(store):
    rows = store.open(0)
    assert (rows.next, rows.changelog, rows.batch) == (None, 0, 0)
    assert rows.get_many([b"u1"]) == [None]
    rows.close()


def test_what_is_written_together_is_there_after_reopening(store):
    rows = store.open(0)
    rows.write({b"u1": b"a", b"u2": b"b"}, next_offsets=NEXT, changelog=9, batch=3)
    rows.close()
    rows = store.open(0)
    assert (rows.next, rows.changelog, rows.batch) == (NEXT, 9, 3)
    assert rows.get_many([b"u2", b"u3", b"u1"]) == [b"b", None, b"a"]
    rows.close()


def test_another_thread_reads_what_was_written_last_and_nothing_once_it_is_closed(store):
    rows = store.open(0)
    assert rows.peek(b"u1") is None
    rows.write({b"u1": b"a"}, next_offsets=NEXT, changelog=9, batch=3)
    assert rows.peek(b"u1") == b"a"
    rows.close()
    with pytest.raises(NotReady):
        rows.peek(b"u1")


def test_none_deletes_and_offsets_may_stay(store):
    rows = store.open(0)
    rows.write({b"u1": b"a"}, next_offsets=NEXT, changelog=9, batch=3)
    rows.write({b"u1": None}, next_offsets=None, changelog=10, batch=3)
    assert rows.get_many([b"u1"]) == [None]
    assert (rows.next, rows.changelog) == (NEXT, 10)
    rows.close()


def test_partitions_are_apart(store):
    zero, one = store.open(0), store.open(1)
    zero.write({b"u1": b"a"}, next_offsets=NEXT, changelog=1, batch=1)
    assert one.get_many([b"u1"]) == [None]
    assert one.next is None
    zero.close()
    one.close()


def row(due_ms: int) -> bytes:
    """The beginning of a row with this deadline; the rest is nobody's business here."""
    return bytes([ROW_SCHEMA]) + due_ms.to_bytes(8, "big") + b"..."


def test_deadlines_come_in_their_order_up_to_a_time_and_a_number(store):
    rows = store.open(0)
    rows.write(
        {b"u1": row(300), b"u2": row(20), b"u3": row(0), b"u4": row(100)},
        next_offsets=NEXT, changelog=9, batch=3,
    )  # fmt: skip
    assert rows.due(100, 10) == [Hint(20, b"u2"), Hint(100, b"u4")]
    assert rows.due(2**62, 2) == [Hint(20, b"u2"), Hint(100, b"u4")]
    assert rows.due(19, 10) == []
    rows.close()


def test_a_hint_survives_reopening_and_goes_when_it_is_dropped(store):
    rows = store.open(0)
    rows.write({b"u1": row(20)}, next_offsets=NEXT, changelog=9, batch=3)
    rows.write({b"u1": row(30)}, next_offsets=NEXT, changelog=10, batch=4)
    rows.close()
    rows = store.open(0)
    assert rows.due(50, 10) == [Hint(20, b"u1"), Hint(30, b"u1")], "the first is stale"
    rows.write({Hint(20, b"u1").encoded(): None}, next_offsets=None, changelog=10, batch=4)
    assert rows.due(50, 10) == [Hint(30, b"u1")]
    rows.close()


def test_a_row_whose_deadline_has_not_moved_is_led_to_by_the_hint_it_has(store):
    rows = store.open(0)
    rows.write({b"u1": row(20), b"u2": row(30)}, next_offsets=NEXT, changelog=9, batch=3)
    changed = {b"u1": row(20) + b"!", b"u2": row(40), b"u3": row(50)}
    prepared = rows.prepare(changed, {b"u1"})
    assert rows.get_many([b"u1"]) == [row(20)], "nothing is written yet"
    rows.write(prepared, next_offsets=NEXT, changelog=10, batch=4)
    assert rows.get_many([b"u1", b"u2", b"u3"]) == list(changed.values())
    assert rows.due(60, 10) == [Hint(20, b"u1"), Hint(30, b"u2"), Hint(40, b"u2"), Hint(50, b"u3")]
    rows.close()


# --- RocksDB --------------------------------------------------------------------------------------


def written(directory: Path, p: int = 0) -> None:
    rows = disk_store(directory).open(p)
    rows.write({b"u1": b"a"}, next_offsets=NEXT, changelog=9, batch=3)
    rows.close()


def test_no_hint_is_written_again_for_a_row_whose_deadline_has_not_moved(tmp_path):
    rows = disk_store(tmp_path).open(0)
    rows.write(rows.prepare({b"u1": row(20), b"u2": row(30)}, {b"u1"}),
               next_offsets=NEXT, changelog=9, batch=3)  # fmt: skip
    assert rows.due(60, 10) == [Hint(30, b"u2")]
    rows.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"app": "other"}, "belongs to app 'leidan', this is 'other'"),
        ({"cluster": "cluster-2"}, "Kafka cluster 'cluster-1', connected to 'cluster-2'"),
        ({"partitions": 8}, "made with 4 partitions, the topics now have 8"),
        ({"topics": {"orders": "id-2"}}, "topic orders was deleted and made again"),
        ({"row_schema": 0}, "newer version .row schema 1, fold 1.; this one knows row schema 0"),
        ({"fold_version": 0}, "Start the newer version again"),
    ],
)
def test_foreign_rows_are_refused_with_what_differs_and_what_to_do(tmp_path, changes, message):
    written(tmp_path)
    with pytest.raises(Refused, match=message) as refused:
        disk_store(tmp_path, msgspec.structs.replace(OURS, **changes)).open(0)
    assert refused.value.exit is Exit.REFUSED
    assert str(tmp_path / "0") in str(refused.value)
    rows = disk_store(tmp_path).open(0)
    assert rows.get_many([b"u1"]) == [b"a"], "foreign data is never wiped"
    rows.close()


@pytest.mark.parametrize("label", ["moved too", "left behind"])
def test_a_directory_of_another_partition_is_refused(tmp_path, label):
    written(tmp_path, 2)
    (tmp_path / "2").rename(tmp_path / "1")
    if label == "moved too":
        (tmp_path / "2.identity.json").rename(tmp_path / "1.identity.json")
    with pytest.raises(Refused, match="rows of partition 2, opened for 1"):
        disk_store(tmp_path).open(1)


def test_a_refusal_lets_go_of_the_lock(tmp_path):
    written(tmp_path)
    (tmp_path / "0.identity.json").unlink()
    with pytest.raises(Refused):
        disk_store(tmp_path, msgspec.structs.replace(OURS, app="other")).open(0)
    disk_store(tmp_path).open(0).close()


def test_an_unreadable_identity_is_refused(tmp_path):
    written(tmp_path)
    (tmp_path / "0.identity.json").write_bytes(b"{")
    with pytest.raises(Refused, match="unreadable identity"):
        disk_store(tmp_path).open(0)


def test_rows_of_an_older_version_are_ours_and_are_marked_as_the_newer_ones(tmp_path):
    written(tmp_path)
    newer = msgspec.structs.replace(OURS, row_schema=2, fold_version=5)
    disk_store(tmp_path, newer).open(0).close()
    with pytest.raises(Refused, match="row schema 2, fold 5"):
        disk_store(tmp_path).open(0)


def test_rows_of_a_version_without_hints_get_theirs_when_they_are_opened(tmp_path):
    rows = disk_store(tmp_path).open(0)
    rows.write({b"u1": row(20), b"u2": b"\1..."}, next_offsets=NEXT, changelog=9, batch=3)
    rows.write(
        {Hint(20, b"u1").encoded(): None, Hint(1, b"u2").encoded(): None, meta.HINTED: None},
        next_offsets=NEXT, changelog=9, batch=3,
    )  # fmt: skip
    assert rows.due(50, 10) == []
    rows.close()
    rows = disk_store(tmp_path).open(0)
    assert rows.due(50, 10) == [Hint(1, b"u2"), Hint(20, b"u1")], "of schema 1: at the next tick"
    rows.close()


def test_a_database_somebody_else_holds_is_waited_for_and_then_a_disk_error(tmp_path):
    store = disk_store(tmp_path)
    rows = store.open(0)
    with pytest.raises(DiskError, match="still held after") as error:
        disk_store(tmp_path).open(0)
    assert error.value.exit is Exit.DISK
    rows.close()
    disk_store(tmp_path).open(0).close()


def test_a_file_where_the_directory_should_be_is_a_disk_error(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(DiskError, match="cannot be created"):
        disk_store(tmp_path / "state").open(0)


def test_use_after_close_is_a_disk_error_and_never_no_such_user(tmp_path):
    rows = disk_store(tmp_path).open(0)
    rows.close()
    with pytest.raises(DiskError, match="read failed"):
        rows.get_many([b"u1"])
    with pytest.raises(DiskError, match="write failed"):
        rows.write({}, next_offsets=NEXT, changelog=1, batch=1)


def test_a_file_that_a_kill_left_may_be_a_table_and_is_not_written_over(tmp_path):
    """Taken in, a file has two names until the first is dropped."""
    rows = disk_store(tmp_path).open(0)
    rows.load({b"u1": b"a" * 5_000}, next_offsets=NEXT, changelog=1, batch=1)
    table = max((tmp_path / "0").glob("*.sst"), key=lambda path: path.stat().st_mtime_ns)
    os.link(table, tmp_path / "0.load.sst")
    rows.load({b"u2": b"b"}, next_offsets=NEXT, changelog=2, batch=2)
    rows.close()
    rows = disk_store(tmp_path).open(0)
    assert rows.get_many([b"u1", b"u2"]) == [b"a" * 5_000, b"b"]
    assert not (tmp_path / "0.load.sst").exists()
    rows.close()


def open_and_read(directory: Path, keys: list[bytes]) -> None:
    rows = disk_store(directory).open(0)
    try:
        rows.get_many(keys)
    finally:
        rows.close()


def flushed(directory: Path) -> tuple[dict[bytes, bytes], Path]:
    """Write 3,000 users and close; return them, and the table that holds them."""
    rows = disk_store(directory).open(0)
    users = {f"u{n:05d}".encode(): os.urandom(200) for n in range(3_000)}
    rows.write(users, next_offsets=NEXT, changelog=1, batch=1)
    rows._db.flush()  # noqa: SLF001
    rows.close()
    return users, max((directory / "0").glob("*.sst"), key=lambda path: path.stat().st_size)


def test_a_corrupt_table_is_a_disk_error_and_never_no_such_user(tmp_path):
    users, table = flushed(tmp_path)
    data = bytearray(table.read_bytes())
    data[1_000:60_000] = bytes(59_000)
    table.write_bytes(data)
    with pytest.raises(DiskError, match="read failed"):
        open_and_read(tmp_path, list(users))
    rows = disk_store(tmp_path).open(0)
    assert (rows.next, rows.changelog) == (None, 0), "rebuilt from the changelog, from the start"
    rows.close()
    assert (tmp_path / "0.corrupt-1").is_dir(), "kept for whoever wants to know"


def test_a_walk_over_a_corrupt_table_is_a_disk_error_and_never_a_shorter_walk(tmp_path):
    _users, table = flushed(tmp_path)
    data = bytearray(table.read_bytes())
    data[300_000] ^= 1
    table.write_bytes(data)
    rows = disk_store(tmp_path).open(0)
    with pytest.raises(DiskError, match="read failed"):
        list(rows.users())
    rows.close()
    with pytest.raises(Exception, match="Corruption"):
        list(read_rows(tmp_path / "0"))


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST-*"])
def test_a_database_that_cannot_be_opened_is_moved_aside_and_begun_anew(tmp_path, name):
    written(tmp_path)
    (file,) = (tmp_path / "0").glob(name)
    file.write_bytes(file.read_bytes()[:3])
    rows = disk_store(tmp_path).open(0)
    assert rows.next is None
    rows.close()
    assert (tmp_path / "0.corrupt-1").is_dir()


def test_walking_the_users_skips_what_is_ours_and_lets_go(tmp_path):
    written(tmp_path)
    rows = disk_store(tmp_path).open(0)
    assert list(rows.users()) == [(b"u1", b"a")]
    rows.close()
    disk_store(tmp_path).open(0).close()
    assert dict(read_rows(tmp_path / "0")) == {b"u1": b"a"}
    assert read_offsets(tmp_path / "0") == NEXT


def test_a_live_walk_keeps_the_lock_even_after_close(tmp_path):
    """The fact behind `users` being exhausted or closed before every close."""
    written(tmp_path)
    rows = disk_store(tmp_path).open(0)
    walk = rows._db.items()  # noqa: SLF001
    rows.close()
    with pytest.raises(DiskError, match="still held"):
        disk_store(tmp_path).open(0)
    del walk
    disk_store(tmp_path).open(0).close()


def test_readers_without_the_lock_do_not_hinder_a_writer(tmp_path):
    rows = disk_store(tmp_path).open(0)
    rows.write({b"u1": b"a"}, next_offsets=NEXT, changelog=9, batch=3)
    assert dict(read_rows(tmp_path / "0")) == {b"u1": b"a"}
    rows.close()


def test_a_database_opened_again_has_the_workers_cache_and_filters_as_a_new_one_has(tmp_path):
    for turn in range(2):
        store = disk_store(tmp_path, cache_bytes=48 << 20)
        rows = store.open(0)
        written = {b"u%d" % n: b"a" for n in range(1_000)}
        rows.write(written, next_offsets=NEXT, changelog=turn, batch=turn)
        rows._db.flush()  # noqa: SLF001
        told = rows._db.property_value("rocksdb.aggregated-table-properties")  # noqa: SLF001
        (filter_bytes,) = re.findall(r"filter block size=(\d+)", told)
        assert int(filter_bytes) >= 1_250 * (turn + 1), "of each file: 10 bits a key"
        capacity = rows._db.property_int_value("rocksdb.block-cache-capacity")  # noqa: SLF001
        assert capacity == 48 << 20
        rows.close()


def made_by_an_older_version(directory: Path) -> None:
    """Leave a database as one is that was made with options of its own."""
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    options.set_compression_type(rocksdict.DBCompressionType.lz4())
    options.set_level_zero_file_num_compaction_trigger(4)
    rocksdict.Rdict(str(directory / "0"), options).close()


@pytest.mark.parametrize("made", [None, made_by_an_older_version], ids=["new", "older"])
def test_files_are_written_as_this_version_says_whoever_made_the_database(tmp_path, made):
    if made is not None:
        made(tmp_path)
    for _ in range(2):
        disk_store(tmp_path).open(0).close()
        newest = max((tmp_path / "0").glob("OPTIONS-*"), key=lambda path: path.name)
        said = dict(
            line.strip().split("=", 1) for line in newest.read_text().split("\n") if "=" in line
        )
        assert (said["compression"], said["bottommost_compression"]) == ("kZSTD", "kZSTD")
        assert "level=-1;" in said["compression_opts"]
        assert "max_dict_bytes=16384;" in said["compression_opts"]
        assert "level=-1;" in said["bottommost_compression_opts"]
        assert "max_dict_bytes=32768;" in said["bottommost_compression_opts"]
        assert "enabled=true;" in said["bottommost_compression_opts"]
        assert "zstd_max_train_bytes=0;" in said["bottommost_compression_opts"]
        assert said["level0_file_num_compaction_trigger"] == "10"
        assert said["write_buffer_size"] == str(8 << 20)
        assert said["block_size"] == str(4 << 10)


def test_all_databases_share_one_memory_budget(tmp_path):
    store = disk_store(tmp_path)
    opened = [store.open(p) for p in range(8)]
    value = os.urandom(100_000)
    for n in range(160):
        opened[n % 8].write({f"u{n}".encode(): value}, next_offsets=NEXT, changelog=n, batch=n)
    assert 0 < store._buffers.get_usage() <= 64 << 20  # noqa: SLF001
    for rows in opened:
        rows.close()


CRASHER = """
import sys
from pathlib import Path
from streams.store import meta
from streams.store import rows as rows_module
from streams.store.rows import DiskStore
rows = DiskStore(Path(sys.argv[1]), meta.Identity("leidan", "c", -1, 1, {}, 1, 1)).open(0)
batch = rows.batch
print("ready", flush=True)
while True:
    batch += 1
    rows.write(
        {f"u{n}".encode(): str(batch).encode() * 50 for n in range(64)},
        next_offsets={"orders": batch * 10}, changelog=batch * 100, batch=batch,
    )
    print(batch, flush=True)
"""


def test_killed_while_writing_rows_offsets_and_batch_number_agree(tmp_path):
    """kill -9 loses no batch that was written and never half of one (T2, a short run)."""
    for kill in range(5):
        command = [sys.executable, "-c", CRASHER, str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as child:
            lines = [child.stdout.readline() for _ in range(40 + kill * 7)]
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.read().splitlines()
        assert child.returncode == -9
        said = max(int(line) for line in lines if line.strip().isdigit())
        store = disk_store(tmp_path, meta.Identity("leidan", "c", -1, 1, {}, 1, 1))
        rows = store.open(0)
        assert rows.batch in (said, said + 1), "a batch that was written is gone"
        assert (rows.next, rows.changelog) == ({"orders": rows.batch * 10}, rows.batch * 100)
        values = rows.get_many([f"u{n}".encode() for n in range(64)])
        assert set(values) == {str(rows.batch).encode() * 50}
        rows.close()


def test_a_partition_may_close_under_those_who_read_it(tmp_path):
    """Both values of a batch, or not ready: never a crash, a half batch or "no such user"."""
    store = disk_store(tmp_path)
    for life in range(20):
        rows = store.open(0)
        rows.write({b"u1": b"0"}, next_offsets=NEXT, changelog=1, batch=1)
        started, said = threading.Barrier(4), []

        def read(rows=rows, started=started, said=said):
            started.wait()
            try:
                before = 0
                while True:
                    now = int(rows.peek(b"u1"))
                    assert now >= before, "went back"
                    before = now
            except NotReady:
                said.append("closed")

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        started.wait()
        for n in range(1, 20 + life):
            rows.write({b"u1": str(n).encode()}, next_offsets=NEXT, changelog=n, batch=n)
        rows.close()
        for reader in readers:
            reader.join(10)
        assert said == ["closed"] * 3


def test_a_torn_log_tail_goes_back_as_a_whole(tmp_path):
    rows = disk_store(tmp_path).open(0)
    for batch in range(1, 51):
        rows.write(
            {b"u1": str(batch).encode()},
            next_offsets={"orders": batch},
            changelog=batch,
            batch=batch,
        )
    crashed = tmp_path / "crashed"  # a copy made before `close`, which writes everything out
    shutil.copytree(tmp_path / "0", crashed / "0")
    rows.close()
    (wal,) = (crashed / "0").glob("*.log")
    wal.write_bytes(wal.read_bytes()[:-7])  # as a crash of the machine may leave it
    rows = disk_store(crashed).open(0)
    assert rows.batch == 49
    assert (rows.next, rows.changelog) == ({"orders": 49}, 49)
    assert rows.get_many([b"u1"]) == [b"49"]
    rows.close()


def crashed_with_half_a_manifest(directory: Path) -> Path:
    """Leave batch 1-10 in a table, 11-20 in one the manifest has forgotten, 21-30 in a log."""
    rows = disk_store(directory).open(0)
    for batch in range(1, 31):
        one = {f"u{batch}".encode(): b"x"}
        rows.write(one, next_offsets={"orders": batch}, changelog=batch, batch=batch)
        if batch in (10, 20):
            rows._db.flush()  # noqa: SLF001
        if batch == 10:
            (manifest,) = (directory / "0").glob("MANIFEST-*")
            known = manifest.stat().st_size
    crashed = directory / "crashed"
    shutil.copytree(directory / "0", crashed / "0")
    rows.close()
    os.truncate(crashed / "0" / manifest.name, known)
    return crashed


def test_rocksdb_itself_opens_with_a_hole_and_says_nothing(tmp_path):
    """The fact behind the numbered writes; when it is no longer one, they can go."""
    crashed = crashed_with_half_a_manifest(tmp_path)
    found = dict(read_rows(crashed / "0"))
    assert b"u10" in found
    assert b"u15" not in found
    assert b"u30" in found
    assert read_offsets(crashed / "0") == {"orders": 30}, "L covers rows that are not there"


def test_a_hole_between_older_and_newer_writes_is_a_disk_error_and_then_a_rebuild(tmp_path):
    crashed = crashed_with_half_a_manifest(tmp_path)
    with pytest.raises(DiskError, match="write 12 of 31 is missing, later ones are there"):
        disk_store(crashed).open(0)
    rows = disk_store(crashed).open(0)
    assert (rows.next, rows.changelog) == (None, 0), "rebuilt from the changelog, from the start"
    assert (crashed / "0.corrupt-1").is_dir()
    rows.close()


def test_the_numbers_of_the_writes_go_round_and_still_tell(tmp_path, monkeypatch):
    monkeypatch.setattr(meta, "WRITES_KEPT", 7)
    rows = disk_store(tmp_path).open(0)
    for batch in range(1, 31):
        rows.write({}, next_offsets=NEXT, changelog=batch, batch=batch)
    rows.close()
    disk_store(tmp_path).open(0).close()
    monkeypatch.setattr(meta, "WRITES_KEPT", 12)
    crashed = crashed_with_half_a_manifest(tmp_path / "again")
    with pytest.raises(DiskError, match="write 20 of 31 is missing"):
        disk_store(crashed).open(0)


def test_rocksdict_spells_sync_as_an_attribute():
    """A method of that name would make every commit wait for the disk, or none."""
    options = rocksdict.WriteOptions()
    options.sync = True
    assert options.sync is True


def test_users_are_walked_in_slices_in_order_without_pools_and_what_is_ours(store):
    rows = store.open(0)
    found = {b"u3": b"c", b"u1": b"a", b"\1pool": b"p", b"u2": b"b", meta.DATED: b"{}"}
    rows.write(found, next_offsets=NEXT, changelog=0, batch=1)
    assert rows.after(b"", 2) == [(b"u1", b"a"), (b"u2", b"b")]
    assert rows.after(b"u2", 2) == [(b"u3", b"c")]
    assert rows.after(b"u3", 2) == []
    assert rows.peek(meta.DATED) == b"{}"
    rows.close()


def test_of_large_rows_fewer_are_walked_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "SLICE_BYTES", 5)
    rows = disk_store(tmp_path).open(0)
    found = {b"u1": b"small", b"u2": b"larger", b"u3": b"behind"}
    rows.write(found, next_offsets=NEXT, changelog=0, batch=1)
    assert rows.after(b"", 9) == [(b"u1", b"small"), (b"u2", b"larger")]
    rows.close()

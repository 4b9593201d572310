"""One RocksDB per partition: open with identity, one WriteBatch per commit, close.

RocksDB is a cache of a prefix of the changelog, never the truth (D4): it may lose its newest
batches in a crash, and it then goes back with its offsets, because rows, L and the changelog
offset are always written together. What it must never do is hold rows of anybody else, or answer
"no such user" when a read failed. Options and findings: reliability.md 4.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import rocksdict

from streams.errors import DiskError, Refused
from streams.feed.kill_points import reach
from streams.feed.ports import NotReady
from streams.store import meta
from streams.wire.rows import NO_DUE, due_bytes, due_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

CACHE_BYTES = 128 << 20  # whole process, memtables included: reliability.md 4, memory per worker
MEMTABLE_BYTES = 64 << 20  # of those; charged to the cache
WRITE_BUFFER_BYTES = 8 << 20  # one memtable of one database
MAX_OPEN_FILES = 128  # one database
SYNCED_BYTES = 1 << 20
"""A file is on its way to the disk while it is written, so what ends it waits for its last part."""
FILES_BEFORE_COMPACTION = 10
"""Of level 0, where RocksDB has 4. Each time all rows are written again: 4.1 an order with 250,000
of them, where 8 files made it 4.9. A file costs a read 0.3 us, with a bloom filter before it, and
3 MB of disk: with 12 there would be 450 bytes a user before a compaction, with 10 there are 414."""
WINDOW_BITS = -14  # as RocksDB has it
LEVEL = -1
"""Of zstd: sequences have entropy codes, literals stand as they are. Level 1 saves 18 bytes of 293
more, for 1 us a read and 1 us a row compacted. The table is in streams/README.md, D4."""
DICTIONARY_BYTES = 32 << 10
"""Of each file at the bottom, where nine of ten rows lie: rows are alike, and one block shows too
few of them. Rows as they come: RocksDB reads a trained one's entropy tables again for each block,
3 us a read."""
UPPER_DICTIONARY_BYTES = 16 << 10
"""Of each file of level 0: 8,000 rows, written once and read through once."""
FILE_BYTES = 16 << 20
"""One file at the bottom. A compaction holds it whole until its dictionary is made: with the 64 MiB
that RocksDB has by itself a backfill of 60,000 users took 236 MB at most, now 161."""
ALL_ROWS = "default"
"""The one column family there is. Unless its options are said to be ours, rocksdict takes those of
the database's last owner from its files, where neither the cache nor the filters are."""
RESERVED = b"\0"
FIRST_ROW = b"\1"  # keys of ours begin with a NUL, those of pools with \1, no user's with either
FIRST_USER = b"\2"
SLICE_BYTES = 16 << 20  # of `after`: rows of 2 kB come by the thousand, of 768 kB they must not
LOCK_WAIT_S = 30.0  # a stopped predecessor gets this long to let go


class DiskStore:
    """All databases of one worker: ``state/<instance>/users/<p>/``. Implements `ports.Store`."""

    def __init__(
        self,
        directory: Path,
        identity: meta.Identity,
        *,
        lock_wait_s: float = LOCK_WAIT_S,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """``identity``: the worker's own, its ``partition`` replaced by p at each open."""
        self.directory, self._identity, self._lock_wait_s = directory, identity, lock_wait_s
        self._open_rows: dict[int, DiskRows] = {}
        self._cache = rocksdict.Cache(cache_bytes)
        self._buffers = rocksdict.WriteBufferManager.new_write_buffer_manager_with_cache(
            MEMTABLE_BYTES,
            False,  # noqa: FBT003 - allow_stall: a stalled write looks like a stuck worker
            self._cache,
        )

    def open(self, p: int) -> DiskRows:
        """Open or create the database of p. Raises Refused, DiskError."""
        identity = msgspec.structs.replace(self._identity, partition=p)
        path = self.directory / str(p)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"{path.parent}: cannot be created ({error})") from error
        label = self.directory / f"{p}.identity.json"
        refuse_unless_ours(label, _read(label), identity)
        if _corrupt_note(path).exists():
            _move_aside(path)
        rows = DiskRows(path, self._open(path), identity, label, self._options)
        _write_label(label, identity)
        self._open_rows[p] = rows
        return rows

    def sizes(self) -> tuple[dict[str, int], dict[int, int]]:
        """Return bytes in use by kind (cache, memtables, disk), and about how many keys p has.

        For whoever shows them; memtables are part of the cache. Any thread may ask.
        """
        found = {p: rows.size() for p, rows in list(self._open_rows.items())}
        sizes = {
            "cache": self._cache.get_usage(),
            "memtables": self._buffers.get_usage(),
            "disk": sum(size for _, size in found.values()),
        }
        return sizes, {p: keys for p, (keys, _) in found.items() if keys >= 0}

    def _open(self, path: Path) -> Any:
        """Open, waiting for a predecessor's LOCK; never delete it (reliability.md 4)."""
        deadline = time.monotonic() + self._lock_wait_s
        while True:
            try:
                options = self._options()
                return rocksdict.Rdict(str(path), options, column_families={ALL_ROWS: options})
            except Exception as error:  # rocksdict raises bare Exception
                if _is_corruption(error):
                    _move_aside(path)
                    continue
                held = "lock" in str(error).lower() and "LOCK" in str(error)
                if held and time.monotonic() < deadline:
                    time.sleep(0.2)
                    continue
                hint = (
                    f"still held after {self._lock_wait_s:.0f} s: stop the other worker that has it"
                    if held
                    else "move the directory aside; it is rebuilt from the changelog"
                )
                raise DiskError(f"{path}: cannot be opened ({error}). {hint}") from error

    def _options(self) -> Any:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(create_if_missing=True)
        options.set_paranoid_checks(enabled=True)
        options.set_wal_recovery_mode(rocksdict.DBRecoveryMode.point_in_time())
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_write_buffer_manager(self._buffers)
        options.set_max_open_files(MAX_OPEN_FILES)
        options.set_level_zero_file_num_compaction_trigger(FILES_BEFORE_COMPACTION)
        options.set_target_file_size_base(FILE_BYTES)
        options.set_bytes_per_sync(SYNCED_BYTES)
        options.set_keep_log_file_num(3)
        _compress(options, rocksdict.DBCompressionType.zstd(), DICTIONARY_BYTES)
        options.set_compression_type(rocksdict.DBCompressionType.zstd())
        options.set_compression_options(WINDOW_BITS, LEVEL, 0, UPPER_DICTIONARY_BYTES)
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(self._cache)
        table.set_bloom_filter(10, block_based=False)
        table.set_cache_index_and_filter_blocks(True)
        options.set_block_based_table_factory(table)
        return options


class DiskRows:
    """The rows of one partition, open. Implements `ports.Rows`."""

    def __init__(
        self,
        path: Path,
        db: Any,
        identity: meta.Identity,
        label: Path,
        options: Callable[[], Any],
    ) -> None:
        self.path, self._db, self._identity, self._options = path, db, identity, options
        self._peeking, self._closed = threading.Lock(), False
        self.failed = False
        """The disk has failed: the handle is not used again."""
        self._write_options = rocksdict.WriteOptions()
        self._write_options.sync = False  # the log is the truth; 207 us against 1153 us a batch
        try:
            self._recognize(label)
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self._db.close()  # or its LOCK stays
            raise

    def _recognize(self, label: Path) -> None:
        """Read L and the identity, and mark the rows as this version's."""
        ours = meta.encode_identity(self._identity)
        inside = self._get(meta.ID)
        refuse_unless_ours(label, inside, self._identity)
        self._load()
        self._require_no_hole()
        if inside is None and self.next is not None:
            raise Refused(f"{self.path}: holds rows but no identity; move the directory aside")
        hinted = self._get(meta.HINTED) is not None
        if inside != ours or not hinted:
            batch = rocksdict.WriteBatch(raw_mode=True)
            batch.put(meta.ID, ours)
            for key, value in () if hinted else self.users():  # of a version without hints
                _put_hint(batch, key, value)
            batch.put(meta.HINTED, b"1")
            self._commit(batch)

    def _load(self) -> None:
        next_offsets = self._get(meta.NEXT)
        self.next = None if next_offsets is None else meta.decode_offsets(next_offsets)
        self.changelog = int(self._get(meta.CHANGELOG) or 0)
        self.batch = int(self._get(meta.BATCH) or 0)
        self._writes = int(self._get(meta.WRITES) or 0)

    def _require_no_hole(self) -> None:
        """Rows of a prefix of the changelog, or none: see `meta` for what leaves a hole."""
        try:
            lost = hole_in(self._db)
        except Exception as error:  # noqa: BLE001 - rocksdict raises just that
            self._fail("read", error)
        if lost:
            self._fail("open", ValueError(f"Corruption: {lost}"))

    def _get(self, key: bytes) -> bytes | None:
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read many rows at once. A failed read is a DiskError, never "no such user"."""
        if not keys:
            return []
        try:
            found: list[bytes | None] = self._db.get(list(keys))
        except Exception as error:  # noqa: BLE001 - rocksdict raises just that
            self._fail("read", error)
        return found

    def peek(self, key: bytes) -> bytes | None:
        """Read one row in a thread that is not the feed's: closing waits for it, never breaks it.

        Raises NotReady once the feed has closed it, DiskError.
        """
        with self._peeking:
            if self._closed:
                raise NotReady
            return self._get(key)

    def size(self) -> tuple[int, int]:
        """Return about how many keys there are, and bytes of files; (-1, 0) once it is closed."""
        with self._peeking:
            if self._closed:
                return -1, 0
            keys = self._db.property_int_value("rocksdb.estimate-num-keys")
            return keys or 0, self._db.property_int_value("rocksdb.total-sst-files-size") or 0

    def prepare(self, rows: Any, unmoved: Container[bytes] = ()) -> Any:
        """Return a WriteBatch of these rows and the hints that lead to them.

        ``unmoved``: keys whose row is here with the same deadline, so its hint is too. Most are: an
        order moves no end of a task, and each hint would be an entry beside its row's.
        """
        writes = rocksdict.WriteBatch(raw_mode=True)
        if not isinstance(rows, Mapping):  # in order, with their hints
            for key, value in rows.in_order({}):
                if value is None:
                    writes.delete(key)
                else:
                    writes.put(key, value)
            return writes
        for key, value in rows.items():
            if value is None:
                writes.delete(key)
            else:
                writes.put(key, value)
                if key not in unmoved:
                    _put_hint(writes, key, value)
        return writes

    def write(
        self,
        rows: Any,
        *,
        next_offsets: dict[str, int] | None,
        changelog: int,
        batch: int,
    ) -> None:
        """Put rows, L, changelog offset, batch number and fold version in one WriteBatch (K8)."""
        writes = rows if isinstance(rows, rocksdict.WriteBatch) else self.prepare(rows)
        for key, value in self._place(next_offsets, changelog, batch):
            writes.put(key, value)
        self._commit(writes)
        self._wrote(next_offsets, changelog, batch)

    def load(
        self,
        rows: Any,
        *,
        next_offsets: dict[str, int] | None,
        changelog: int,
        batch: int,
    ) -> None:
        """As `write`, for many rows: one sorted file, which RocksDB takes in whole or not at all.

        Neither the memtable nor its log sees them: 4 us a row where a WriteBatch takes 10 and three
        times their memory (45,000 rows of 1.2 kB, their flush included).
        """
        beside = {**dict(self._place(next_offsets, changelog, batch)), **dict(self._number())}
        in_order = _in_order(rows, beside) if isinstance(rows, Mapping) else rows.in_order(beside)
        file = self.path.with_name(f"{self.path.name}.load.sst")
        try:
            # Left by a kill it may be one of the tables by another name: never written over.
            file.unlink(missing_ok=True)
            options = self._options()
            # Quickly, no dictionary: a row of a load lives until the next one, and is compacted.
            _compress(options, rocksdict.DBCompressionType.lz4(), 0)
            writer = rocksdict.SstFileWriter(options)
            writer.open(str(file))
            for key, value in in_order:
                if value is None:
                    del writer[key]
                else:
                    writer[key] = value
            writer.finish()
            reach("LOAD")
            taken_in = rocksdict.IngestExternalFileOptions()
            taken_in.set_move_files(True)
            self._db.ingest_external_file([str(file)], taken_in)
        except Exception as error:  # noqa: BLE001 - rocksdict raises just that
            self._fail("load", error)
        self._wrote(next_offsets, changelog, batch)

    def _place(
        self, next_offsets: dict[str, int] | None, changelog: int, batch: int
    ) -> Iterator[tuple[bytes, bytes]]:
        if next_offsets is not None:
            yield meta.NEXT, meta.encode_offsets(next_offsets)
        yield meta.CHANGELOG, str(changelog).encode()
        yield meta.BATCH, str(batch).encode()
        yield meta.FOLD, str(self._identity.fold_version).encode()

    def _wrote(self, next_offsets: dict[str, int] | None, changelog: int, batch: int) -> None:
        self.changelog, self.batch = changelog, batch
        if next_offsets is not None:
            self.next = dict(next_offsets)

    def _number(self) -> Iterator[tuple[bytes, bytes]]:
        self._writes += 1
        number = str(self._writes).encode()
        yield meta.WRITES, number
        yield meta.write_slot(self._writes), number

    def _commit(self, writes: Any) -> None:
        for key, value in self._number():
            writes.put(key, value)
        try:
            self._db.write(writes, self._write_options)
        except Exception as error:  # noqa: BLE001 - rocksdict raises just that
            self._fail("write", error)

    def due(self, at_ms: int, limit: int, without: Container[bytes] = ()) -> list[meta.Hint]:
        """Return up to `limit` hints of deadlines not after `at_ms`, the earliest first.

        ``without``: records of hints that are left out.
        """
        found: list[meta.Hint] = []
        try:
            for record, _ in walk(self._db, meta.DUE):
                hint = meta.decode_hint(record)
                if not record.startswith(meta.DUE) or hint.due_ms > at_ms or len(found) == limit:
                    break
                if record not in without:
                    found.append(hint)
        except Exception as error:  # noqa: BLE001 - rocksdict raises just that
            self._fail("read", error)
        return found

    def after(self, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` rows of users behind a key, fewer where they are large."""
        found: list[tuple[bytes, bytes]] = []
        size = 0
        try:
            for row in walk(self._db, max(FIRST_USER, key + b"\0")):
                found.append(row)
                size += len(row[1])
                if len(found) == limit or size > SLICE_BYTES:
                    break
        except Exception as error:  # noqa: BLE001 - rocksdict raises just that
            self._fail("read", error)
        return found

    def users(self) -> Iterator[tuple[bytes, bytes]]:
        """Walk all rows in key order. Exhaust or close it: an open walk keeps the LOCK."""
        try:
            yield from walk(self._db, FIRST_ROW)
        except Exception as error:  # noqa: BLE001 - rocksdict raises just that
            self._fail("read", error)

    def close(self) -> None:
        """Close for good. An error here is one of the disk's too."""
        try:
            with self._peeking:
                self._closed = True
                self._db.close()
        except Exception as error:
            raise DiskError(f"{self.path}: close failed ({error})") from error

    def _fail(self, what: str, error: Exception) -> NoReturn:
        self.failed = True
        if _is_corruption(error):
            with contextlib.suppress(OSError):  # the process ends with 74 in any case
                _corrupt_note(self.path).write_text(str(error))
        raise DiskError(
            f"{self.path}: {what} failed ({error}). The handle is not used again; check the disk, "
            "then start the worker: rows come back from the changelog"
        ) from error


def _compress(options: Any, way: Any, dictionary_bytes: int) -> None:
    """Say how the bottom level, and any file that is made whole, is written."""
    options.set_bottommost_compression_type(way)
    options.set_bottommost_compression_options(
        WINDOW_BITS,
        LEVEL,  # lz4 has none
        0,
        dictionary_bytes,
        True,  # noqa: FBT003
    )
    options.set_bottommost_zstd_max_train_bytes(0, True)  # noqa: FBT003


def hole_in(db: Any) -> str:
    """Return which WriteBatch is missing among later ones, in words; empty: none is."""
    writes = int(db.get(meta.WRITES) or 0)
    kept = {}
    for key, value in walk(db, meta.WRITE):
        if not key.startswith(meta.WRITE):
            break
        kept[key] = value
    for number in range(max(1, writes - meta.WRITES_KEPT + 1), writes + 1):
        if kept.get(meta.write_slot(number)) != str(number).encode():
            return f"write {number} of {writes} is missing, later ones are there"
    return ""


def _put_hint(writes: Any, key: bytes, value: bytes) -> None:
    if (hint := _hint(key, value)) is not None:
        writes.put(hint, b"")


def _hint(key: bytes, value: bytes) -> bytes | None:
    """Return the key of the hint that leads to a row, as `meta.Hint`; None: nothing is due."""
    if key[:1] == RESERVED or (at := due_bytes(value)) == NO_DUE:
        return None
    return meta.DUE + at + key


def _in_order(
    rows: Mapping[bytes, bytes | None], beside: Mapping[bytes, bytes]
) -> Iterator[tuple[bytes, bytes | None]]:
    """Return rows, the hints that lead to them and what is beside them, in the order of keys.

    As `native.Ordered.in_order`.
    """
    ours: dict[bytes, bytes | None] = {
        key: value for key, value in rows.items() if key[:1] <= RESERVED
    }
    for key, value in rows.items():  # hints win over a deletion of the same: the row that is
        if value is not None and (hint := _hint(key, value)) is not None:
            ours[hint] = b""  # there now has this deadline
    ours.update(beside)
    for key in sorted(ours):  # a NUL comes first
        yield key, ours[key]
    for key in sorted(key for key in rows if key[:1] > RESERVED):
        yield key, rows[key]


def due_ms(key: bytes, value: bytes) -> int:
    """Return the deadline of a row; 0: it has none, or the record is no row but ours."""
    return 0 if key.startswith(RESERVED) else due_of(value)


def walk(db: Any, first: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Walk from a key on. Raises at a damaged block, where rocksdict's own `items` just ends."""
    at = db.iter()
    at.seek(first)
    while at.valid():
        yield at.key(), at.value()
        at.next()
    at.status()


def _is_corruption(error: Exception) -> bool:
    """Tell damaged files from a disk that is full, slow or gone: only those are given up."""
    return str(error).startswith("Corruption")


def _corrupt_note(path: Path) -> Path:
    return path.with_name(f"{path.name}.corrupt")


def _move_aside(path: Path) -> None:
    """Give a damaged database up for a new one; the rows come back from the changelog.

    It is ours (its label was checked), so nothing is lost; it is kept for whoever wants to know.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    try:
        path.rename(aside)
        _corrupt_note(path).unlink(missing_ok=True)
    except OSError as error:
        raise DiskError(f"{path}: damaged, and cannot be moved aside ({error})") from error
    log.error("%s was damaged; moved to %s, rebuilding from the changelog", path, aside.name)


def read_rows(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Walk the rows of a database nobody writes to, without taking its LOCK (checkers)."""
    db = _read_only(path)
    try:
        yield from walk(db, FIRST_ROW)
    finally:
        db.close()


def read_row(path: Path, key: bytes) -> bytes | None:
    """Return one row of a database, its owner running or not; None: there is no such row.

    What the owner has written by now is seen, nothing later. Raises DiskError.
    """
    found: bytes | None = glanced(path, lambda db: db.get(key))
    return found


GLANCES = 5
"""Tries to open a database that another process writes: it may drop a file between our reading the
manifest and opening the file, and what was in that file would be missing without a word."""


def glanced(path: Path, look: Callable[[Any], Any]) -> Any:
    """Return what `look` sees in a database, its owner running or not. Raises DiskError."""
    for glance in range(1, GLANCES + 1):
        try:
            db = _read_only(path)
            try:
                if lost := hole_in(db):
                    raise ValueError(lost)
                return look(db)
            finally:
                db.close()
        except Exception as error:  # rocksdict raises just that
            if glance == GLANCES:
                raise DiskError(f"{path}: cannot be read ({error})") from error
            time.sleep(0.05 * glance)
    raise AssertionError


def read_offsets(path: Path) -> dict[str, int] | None:
    """Return L of a database nobody writes to; None when it never had one."""
    db = _read_only(path)
    try:
        value = db.get(meta.NEXT)
    finally:
        db.close()
    return None if value is None else meta.decode_offsets(value)


def _read_only(path: Path) -> Any:
    access = rocksdict.AccessType.read_only(error_if_log_file_exist=False)
    return rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True), access_type=access)


def refuse_unless_ours(label: Path, found: bytes | None, ours: meta.Identity) -> None:
    """Compare an identity record with ours; raise Refused with the one thing that differs.

    None: nothing was written yet. Lower versions are ours too: rows are upcast when they are read.
    """
    if found is None:
        return
    where = label.with_name(str(ours.partition))
    try:
        theirs = meta.decode_identity(found)
    except msgspec.MsgspecError as error:
        raise Refused(
            f"{label}: unreadable identity ({error}). Move {where} and this file aside; the rows "
            "come back from the changelog"
        ) from error
    aside = f"Point state_dir elsewhere, or move {where} and {label.name} aside"
    if theirs.app != ours.app:
        raise Refused(f"{where}: belongs to app {theirs.app!r}, this is {ours.app!r}. {aside}")
    if theirs.cluster != ours.cluster:
        raise Refused(
            f"{where}: rows of Kafka cluster {theirs.cluster!r}, connected to {ours.cluster!r}. "
            f"{aside}, or connect to the right cluster"
        )
    if theirs.partition != ours.partition:
        raise Refused(
            f"{where}: rows of partition {theirs.partition}, opened for {ours.partition}. Somebody "
            "moved directories; move them back, or aside and they are rebuilt"
        )
    if theirs.partitions != ours.partitions:
        raise Refused(
            f"{where}: made with {theirs.partitions} partitions, the topics now have "
            f"{ours.partitions}: users live elsewhere now. Connect to the topics of these rows, or "
            "point state_dir elsewhere: `leidan state resize` brings rows to more partitions"
        )
    if theirs.row_schema > ours.row_schema or theirs.fold_version > ours.fold_version:
        raise Refused(
            f"{where}: written by a newer version (row schema {theirs.row_schema}, fold "
            f"{theirs.fold_version}); this one knows row schema {ours.row_schema}, fold "
            f"{ours.fold_version}. Start the newer version again"
        )
    for topic, topic_id in theirs.topics.items():
        now = ours.topics.get(topic, topic_id)
        if now != topic_id:
            raise Refused(
                f"{where}: topic {topic} was deleted and made again (id {topic_id}, now {now}); "
                f"its offsets mean nothing here. {aside} to start from the new topic"
            )


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DiskError(f"{path}: cannot be read ({error})") from error


def _write_label(label: Path, identity: meta.Identity) -> None:
    """Put the identity beside the database, so that a person can read whose it is."""
    data = meta.encode_identity(identity)
    if _read(label) == data:
        return
    new = label.with_suffix(".tmp")
    try:
        new.write_bytes(data)
        new.replace(label)
    except OSError as error:
        raise DiskError(f"{label}: cannot be written ({error})") from error

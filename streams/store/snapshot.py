"""Snapshots of databases: the rows of one moment with their offsets, from where a rebuild goes on.

A snapshot has the layout of `state/<instance>/users`: a database a partition with its identity
beside it, and `snapshot.json`. It may be put in a worker's place: its restore goes on from the
changelog offset inside, not from zero.

Of a database whose owner has stopped, RocksDB's own Checkpoint is taken: hard links, milliseconds.
A running owner holds the LOCK, so its database is looked at read-only and copied row by row. (A
Checkpoint of a read-only or secondary view succeeds and lacks all that is still in the log files:
tried with rocksdict 0.3.29.) Either way it is opened as a worker would, before it is called one:
its identity is there and no WriteBatch is missing among others.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import rocksdict

from streams.errors import DiskError, UsageError
from streams.store import meta
from streams.store.rows import DiskStore, glanced, walk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COPIED_AT_ONCE = 5_000
LABEL = ".identity.json"
ABOUT = "snapshot.json"


class Taken(msgspec.Struct, frozen=True):
    """One partition's: `next` are the source offsets to go on from, L. linked: by Checkpoint."""

    partition: int
    next: dict[str, int] | None
    changelog: int
    batch: int
    linked: bool


class About(msgspec.Struct, frozen=True):
    """What `snapshot.json` says. tzdata: days, and so rows, depend on it."""

    v: int
    app: str
    cluster: str
    partitions: int
    row_schema: int
    fold_version: int
    tzdata: str
    databases: tuple[Taken, ...]


class Source(NamedTuple):
    """A database and whose it is."""

    path: Path
    identity: meta.Identity


def sources(directory: Path) -> list[Source]:
    """Return the databases in or below a directory, in order of partition."""
    found = []
    for label in directory.rglob(f"*{LABEL}"):
        path = label.with_name(label.name.removesuffix(LABEL))
        if path.is_dir():
            found.append(Source(path, meta.decode_identity(label.read_bytes())))
    return sorted(found, key=lambda one: one.identity.partition)


def take(directory: Path, out: Path, tzdata: str) -> About:
    """Write a snapshot of all databases below a directory to `out`, which must be new.

    Raises UsageError, DiskError; then nothing is left at `out`.
    """
    there = sources(directory)
    _require_possible(directory, there, out)
    building = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        taken = tuple(_one(source, building) for source in there)
        first = there[0].identity
        about = About(
            1, first.app, first.cluster, first.partitions, first.row_schema, first.fold_version,
            tzdata, taken,
        )  # fmt: skip
        (building / ABOUT).write_bytes(msgspec.json.format(msgspec.json.encode(about)) + b"\n")
        building.rename(out)
    except OSError as error:
        raise DiskError(f"{building}: {error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return about


def plain(about: About) -> dict[str, Any]:
    """Return what `snapshot.json` says as plain values."""
    found: dict[str, Any] = msgspec.to_builtins(about)
    return found


def _require_possible(directory: Path, there: Sequence[Source], out: Path) -> None:
    if not there:
        raise UsageError(f"{directory}: no state here; name the worker's --state-dir")
    partitions = [one.identity.partition for one in there]
    if twice := sorted({p for p in partitions if partitions.count(p) > 1}):
        raise UsageError(
            f"{directory}: partitions {twice} are there twice, of two instances; name one of them"
        )
    if out.exists():
        raise UsageError(f"{out}: is there already; name a new directory")


def _one(source: Source, out: Path) -> Taken:
    target = out / str(source.identity.partition)
    linked = _linked(source.path, target)
    if not linked:
        glanced(source.path, lambda db: _copied(db, target))
    label = target.with_name(target.name + LABEL)
    label.write_bytes(meta.encode_identity(source.identity))
    rows = DiskStore(out, source.identity, lock_wait_s=0).open(source.identity.partition)
    try:
        return Taken(source.identity.partition, rows.next, rows.changelog, rows.batch, linked)
    finally:
        rows.close()


def _linked(path: Path, target: Path) -> bool:
    """Take a Checkpoint; False: the owner runs. Raises DiskError."""
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(create_if_missing=False)
    options.set_paranoid_checks(enabled=True)
    options.set_wal_recovery_mode(rocksdict.DBRecoveryMode.point_in_time())
    try:
        db = rocksdict.Rdict(str(path), options)
    except Exception as error:  # rocksdict raises just that
        if "LOCK" in str(error):
            return False
        raise DiskError(f"{path}: cannot be opened ({error})") from error
    try:
        rocksdict.Checkpoint(db).create_checkpoint(str(target))
    except Exception as error:
        raise DiskError(f"{path}: no checkpoint ({error})") from error
    finally:
        db.close()
    return True


def _copied(view: Any, target: Path) -> None:
    """Copy all keys of a view, ours and the users'; a target of an earlier try is overwritten."""
    shutil.rmtree(target, ignore_errors=True)
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    options.set_compression_type(rocksdict.DBCompressionType.lz4())
    db = rocksdict.Rdict(str(target), options)
    try:
        batch = rocksdict.WriteBatch(raw_mode=True)
        for count, (key, value) in enumerate(walk(view, b""), 1):
            batch.put(key, value)
            if not count % COPIED_AT_ONCE:
                db.write(batch)
                batch = rocksdict.WriteBatch(raw_mode=True)
        db.write(batch)
        db.flush()
    finally:
        db.close()

r"""The records of ours that lie among the rows, in RocksDB and on the changelog.

Key            Where              Value
`\0meta`       changelog          JSON {next: {topic: offset}, batch, fold_version, row_schema}
`\0next`       RocksDB            JSON {topic: offset}: L
`\0changelog`  RocksDB            decimal: changelog offset to go on from
`\0batch`      RocksDB            decimal: number of the newest batch in it
`\0fold`       RocksDB            decimal: fold version that wrote last
`\0id`         RocksDB, and file  JSON: whose database this is
`\0writes`     RocksDB            decimal: how many WriteBatches it has taken
`\0write-n`    RocksDB            decimal: the number of a WriteBatch, n its rest mod WRITES_KEPT
`\0due`+t+key  RocksDB            empty: a hint that a tick at t (8 bytes, ms) matters to this row
`\0hinted`     RocksDB            1: every row has its hint
`\0dated`      both               JSON {of, at, done}: by which definitions the rows are dated
`\0backfill`   both, a backfill's JSON: what it has folded and said (backfill/account.py)
`\0resized`    both               JSON: from which topics these rows came (backfill/resize.py)

Those of `write` prove at open that no WriteBatch is missing between others: where an older log file
or the manifest's newest edits were lost, RocksDB replays the younger log over the hole, silently.

A hint goes into the WriteBatch of every row that has a deadline, whoever writes it, so none is ever
missing. It may be stale: the row decides, and whoever finds it stale drops it.

A definition may move the deadlines of rows that were written before it was known (`Dating`). Which
rows those are only a walk can tell; how far it has come travels with the rows of each transaction.

User ids never begin with a NUL (the wire refuses them), so nothing here can meet a user's row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

META = b"\0meta"
NEXT = b"\0next"
CHANGELOG = b"\0changelog"
BATCH = b"\0batch"
FOLD = b"\0fold"
ID = b"\0id"
WRITES = b"\0writes"
WRITE = b"\0write-"
DUE = b"\0due"
HINTED = b"\0hinted"
DATED = b"\0dated"
BACKFILL = b"\0backfill"
RESIZED = b"\0resized"

WRITES_KEPT = 40_000
"""A hole ends where the oldest log file begins; the log files hold two memtables of 8 MiB at most,
and the smallest WriteBatch takes 420 bytes of one (measured)."""


class Hint(NamedTuple):
    """What a `due` record says: the row of this key has, or once had, this deadline."""

    due_ms: int
    key: bytes

    def encoded(self) -> bytes:
        """Hints sort by time, then by key."""
        return DUE + self.due_ms.to_bytes(8, "big") + self.key


def decode_hint(record: bytes) -> Hint:
    start = len(DUE)
    return Hint(int.from_bytes(record[start : start + 8], "big"), record[start + 8 :])


def write_slot(number: int) -> bytes:
    """Return the key under which the WriteBatch of this number leaves its number."""
    return b"%s%05d" % (WRITE, number % WRITES_KEPT)


class Meta(msgspec.Struct, frozen=True):
    """One per partition and transaction, the last changelog record of it: V."""

    next: dict[str, int]
    batch: int
    fold_version: int
    row_schema: int


_meta = msgspec.json.Decoder(Meta)
_offsets = msgspec.json.Decoder(dict[str, int])
_encoder = msgspec.json.Encoder(order="deterministic")


def _read(decode: Callable[[bytes], T], value: bytes) -> T:
    """Decode; whatever is wrong with the bytes is a msgspec.DecodeError, as callers expect.

    msgspec itself lets two others through: keys that are not UTF-8, and fields nobody knows that
    nest deeper than the interpreter's stack.
    """
    try:
        return decode(value)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def encode_meta(meta: Meta) -> bytes:
    """Return the meta row's value; equal metas give equal bytes."""
    return _encoder.encode(meta)


def decode_meta(value: bytes) -> Meta:
    """Raises msgspec.DecodeError, of which ValidationError is one: the changelog is ours, a bug."""
    return _read(_meta.decode, value)


def encode_offsets(offsets: dict[str, int]) -> bytes:
    return _encoder.encode(offsets)


def decode_offsets(value: bytes) -> dict[str, int]:
    return _read(_offsets.decode, value)


class Dating(msgspec.Struct, frozen=True, omit_defaults=True):
    """By which definitions all rows up to here are dated, or how far a walk has come with that.

    A unit of work that is folded under other definitions begins the walk again, whatever rows it
    writes: so `done` is never said of rows which somebody dated by fewer.
    """

    of: str = ""  # Campaigns.dates
    at: str = ""  # the last key that was visited
    done: bool = True


_dating = msgspec.json.Decoder(Dating)


def encode_dating(dating: Dating) -> bytes:
    return _encoder.encode(dating)


def decode_dating(value: bytes) -> Dating:
    """Raises msgspec.DecodeError: as the meta row, it is ours."""
    return _read(_dating.decode, value)


class Resized(msgspec.Struct, frozen=True):
    """Where the first rows of a partition were brought from, by `leidan state resize`.

    The first record of its changelog, for ever: nothing is written before it, and no other has its
    key. What was folded before lies on topics of that prefix alone.
    """

    cluster: str
    prefix: str
    app: str
    partitions: int
    rows: int  # that this partition began with


_resized = msgspec.json.Decoder(Resized)


def encode_resized(resized: Resized) -> bytes:
    return _encoder.encode(resized)


def decode_resized(value: bytes) -> Resized:
    """Raises msgspec.DecodeError: as the meta row, it is ours."""
    return _read(_resized.decode, value)


class Identity(msgspec.Struct, frozen=True):
    """Whose rows these are. Any difference but a lower version is a refusal (reliability.md 4)."""

    app: str
    cluster: str
    partition: int
    partitions: int
    topics: dict[str, str]  # topic -> topic id; "" where the broker cannot tell (mock cluster)
    row_schema: int
    fold_version: int


_identity = msgspec.json.Decoder(Identity)


def encode_identity(identity: Identity) -> bytes:
    return _encoder.encode(identity)


def decode_identity(value: bytes) -> Identity:
    return _read(_identity.decode, value)

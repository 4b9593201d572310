"""Rows as they lie on disk: one user's, or whose row knows an order or a reward. Read only.

A state directory is `state/<instance>/users`, with one database a partition, or anything above it:
a snapshot, a directory of several instances. Its owner may be running: nothing is locked or
changed, and what is seen is what the owner had committed when we looked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streams.domain import facts, state
from streams.domain.events import OrderReported
from streams.domain.state import unpack_ledger
from streams.errors import UsageError
from streams.partitioner import partition_of
from streams.store import meta
from streams.store.rows import read_row, read_rows
from streams.wire.rows import decode_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from streams.domain.state import UserState

LABEL = ".identity.json"  # what the store writes beside every database


class Database(NamedTuple):
    """One partition's database and how many partitions its topics have."""

    path: Path
    partition: int
    partitions: int


def databases(directory: Path) -> list[Database]:
    """Return the databases in or below a directory; raises UsageError when there is none."""
    found = []
    for label in sorted(directory.rglob(f"*{LABEL}")):
        path = label.with_name(label.name.removesuffix(LABEL))
        if path.is_dir():
            identity = meta.decode_identity(label.read_bytes())
            found.append(Database(path, identity.partition, identity.partitions))
    if not found:
        raise UsageError(f"{directory}: no state here; name the worker's --state-dir")
    return found


def row_of(directory: Path, user_id: str) -> UserState | None:
    """Return a user's row; None: the state knows no such user. Raises UsageError, DiskError.

    Where partitions have moved between instances, the row that has seen most is the one.
    """
    key = user_id.encode()
    there = databases(directory)
    mine = [one for one in there if one.partition == partition_of(key, one.partitions)]
    if not mine:
        p = partition_of(key, there[0].partitions)
        raise UsageError(
            f"{directory}: has no database of partition {p}, where {user_id!r} would be; "
            "name the directory above all instances, or of the one that owns it"
        )
    found = [read_row(one.path, key) for one in mine]
    known = [decode_row(user_id, data) for data in found if data is not None]
    return max(known, key=lambda row: row.version, default=None)


def whose(
    directory: Path, id_: str, progress: Callable[[int], None] = lambda _: None
) -> str | None:
    """Return the user whose row knows an order or a reward of this id, by a look at every row.

    There is no index: a million rows take some seconds. progress: told the rows looked at.
    """
    needle = id_.encode()
    seen = 0
    for one in databases(directory):
        for key, data in read_rows(one.path):
            seen += 1
            if not seen % 50_000:
                progress(seen)
            if needle in data and _knows(key, data, id_):
                return key.decode()
    return None


def _knows(key: bytes, data: bytes, id_: str) -> bool:
    if key.startswith(b"\1"):
        return False  # a pool's
    row = decode_row(key.decode(), data)
    return id_ in set(_ids(row))


def _ids(row: state.UserState) -> Iterator[str]:
    yield from unpack_ledger(row.ledger)
    for fact in facts.unpack(row.facts):
        if isinstance(fact, OrderReported):
            yield fact.order_id
            yield fact.checkout_id

"""Bugs put into the shipped code on purpose: a crash loop that misses them proves nothing.

Each is a patch of one step of the protocol, inside the child process of a test and nowhere else.
"""

from __future__ import annotations

from typing import Any

import rocksdict

from streams.feed import unit_of_work
from streams.feed.kill_points import reach
from streams.feed.ports import TopicPartition
from streams.store import rows


def offset_outside_the_write_batch() -> None:
    """Rows in one WriteBatch, L and the changelog offset in a second one."""
    whole = rows.DiskRows.write

    def write(self: Any, touched: Any, **position: Any) -> None:
        prepared = isinstance(touched, rocksdict.WriteBatch)
        self._commit(touched if prepared else self.prepare(touched))
        whole(self, {}, **position)

    rows.DiskRows.write = write  # type: ignore[method-assign, assignment]


def rocksdb_before_commit() -> None:
    """K8 before K6: rows and L are on the disk while the transaction can still fail."""
    shipped = unit_of_work.UnitOfWork.commit

    class Early:
        """The producer, and a step of the protocol in the wrong place."""

        def __init__(self, work: Any) -> None:
            self._work, self._producer = work, work.producer
            self._marked: dict[TopicPartition, int] = {}

        def __getattr__(self, name: str) -> Any:
            return getattr(self._producer, name)

        def flush(self) -> Any:
            self._marked = self._producer.flush()
            return self._marked

        def commit(self) -> None:
            work = self._work
            for p, vector in work.next_offsets().items():
                reach("K8")
                owned = work.owned[p]
                owned.rows.write(
                    work.overlays[p].encoded(),
                    next_offsets=vector,
                    changelog=self._marked[TopicPartition(work.changelog, p)] + 1,
                    batch=owned.rows.batch + 1,
                )
            self._producer.commit()

    def commit(self: Any) -> None:
        real = self.producer
        self.producer = Early(self)
        try:
            shipped(self)
        finally:
            self.producer = real

    # the line moves with the write: what the shipped code does there is done already
    unit_of_work.reach = lambda point: None if point == "K8" else reach(point)  # type: ignore[attr-defined]
    unit_of_work.UnitOfWork.commit = commit  # type: ignore[method-assign]


def log_switched_off() -> None:
    """No write-ahead log: what a kill finds in the memtable is gone, and nothing says so."""
    shipped = rows.DiskRows.__init__

    def made(self: Any, *args: Any) -> None:
        shipped(self, *args)
        self._write_options.disable_wal = True

    rows.DiskRows.__init__ = made  # type: ignore[method-assign, assignment]


def holes_unseen() -> None:
    """No look at the numbers of the writes at open: what RocksDB recovers is believed."""
    shipped = rows.DiskRows
    shipped._require_no_hole = lambda self: None  # type: ignore[method-assign]  # noqa: ARG005, SLF001


BUGS = {
    "offset outside the WriteBatch": offset_outside_the_write_batch,
    "RocksDB before commit": rocksdb_before_commit,
    "write-ahead log switched off": log_switched_off,
    "holes unseen": holes_unseen,
}


def plant(name: str) -> None:
    """Patch this process; an empty name leaves it as it ships."""
    if name:
        BUGS[name]()

"""The rows of one partition, held between two checkpoints: a backfill writes most of them once.

A worker writes every row it touches with the transaction that touched it. A backfill may be killed
whenever it likes, its log stays: so what its units of work have written stays here, and goes to
RocksDB as one sorted file that is taken in whole or not at all, with the offsets and the account it
belongs to. A kill falls back to the checkpoint before. The rows of that one are kept for reading.

Memory is a matter of bounds: HELD_BYTES of rows not yet written, as many of those before them.
"""

from __future__ import annotations

import threading
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from streams.store import meta
from streams.store.rows import due_ms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.feed.ports import Offsets
    from streams.store.rows import DiskRows

CHECKPOINT_RECORDS = 200_000
"""Folded again after a kill, at most: some six seconds of work."""

HELD_BYTES = 64 << 20
FULL = 0.9
"""Of them, without what was replaced; else they would be added up at every write."""

MOST_SPENT = 5_000
"""Hints that were found stale: until they are written, each tick walks over them again."""

_ABSENT = b"\0"  # no row is that


class HeldRows:
    """Implements `ports.Rows` over the open database, of which it is the only writer."""

    def __init__(self, rows: DiskRows, most_records: int, most_bytes: int = HELD_BYTES) -> None:
        """``most_records``: offsets gone through between two checkpoints."""
        self._rows, self._most_records, self._most_bytes = rows, most_records, most_bytes
        self.next, self.changelog, self.batch = rows.next, rows.changelog, rows.batch
        self._pending: dict[bytes, bytes | None] = {}  # None: to be deleted
        self._before: dict[bytes, bytes | None] = {}  # those of the last checkpoint
        self._bytes = 0  # of the pending rows; what was replaced may still be counted
        self._spent = 0
        self._due: dict[bytes, int] | None = None  # deadlines of pending rows; None: nobody asked
        self._hints: list[meta.Hint] = []  # a heap of them; some are stale
        self._writing = threading.Lock()

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows as they were written last. A failed read is a DiskError."""
        pending, before = self._pending, self._before
        found = [
            row if (row := pending.get(key, _ABSENT)) is not _ABSENT else before.get(key, _ABSENT)
            for key in keys
        ]
        missing = [n for n, row in enumerate(found) if row is _ABSENT]
        read = self._rows.get_many([keys[n] for n in missing])
        for n, row in zip(missing, read, strict=True):
            found[n] = row
        return found

    def peek(self, key: bytes) -> bytes | None:
        row = self._pending.get(key, _ABSENT)
        return self._rows.peek(key) if row is _ABSENT else row

    def write(
        self,
        rows: Mapping[bytes, bytes | None],
        *,
        next_offsets: Offsets | None,
        changelog: int,
        batch: int,
    ) -> None:
        """Take over what a unit of work has written; write a checkpoint when it is time."""
        with self._writing:
            self._pending.update(rows)
            for key in rows.keys() & self._before.keys():
                del self._before[key]
            for value in rows.values():
                if value is None:
                    self._spent += 1
                else:
                    self._bytes += len(value)
            self.changelog, self.batch = changelog, batch
            if next_offsets is not None:
                self.next = dict(next_offsets)
            if self._due is not None:
                self._note_deadlines(rows)
            if self._is_time():
                self._checkpoint()

    load = write  # held, either way

    def due(self, at_ms: int, limit: int) -> list[meta.Hint]:
        """Return up to `limit` hints of deadlines not after `at_ms`, the earliest first."""
        with self._writing:
            if self._due is None:
                self._due = {}
                self._note_deadlines(self._pending)
            here: set[meta.Hint] = set()
            while self._hints and self._hints[0].due_ms <= at_ms:
                hint = heappop(self._hints)
                if self._due[hint.key] == hint.due_ms:
                    here.add(hint)
            for hint in here:
                heappush(self._hints, hint)
            written = self._rows.due(at_ms, limit, self._pending)
            return sorted(here.union(written))[:limit]

    def after(self, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` rows of users behind a key: for a walk all must lie in order."""
        with self._writing:
            self._checkpoint()
            return self._rows.after(key, limit)

    def close(self) -> None:
        """Write what is held, and close. After an error of the disk nothing is written any more."""
        try:
            with self._writing:
                if not self._rows.failed:
                    self._checkpoint()
        finally:
            self._pending, self._before = {}, {}  # whoever closes it may hold on to it
            self._rows.close()

    # --- its parts --------------------------------------------------------------------------

    def _is_time(self) -> bool:
        return (
            self._is_full()
            or self._spent > MOST_SPENT
            or _sum(self.next) - _sum(self._rows.next) >= self._most_records
        )

    def _is_full(self) -> bool:
        if self._bytes <= self._most_bytes:
            return False
        self._bytes = sum(len(row) for row in self._pending.values() if row is not None)
        return self._bytes > FULL * self._most_bytes

    def _checkpoint(self) -> None:
        if not self._pending and self.next == self._rows.next:
            return
        self._rows.load(
            self._pending, next_offsets=self.next, changelog=self.changelog, batch=self.batch
        )
        # In this order: who reads meanwhile finds each row in one of them.
        self._before = self._pending
        self._pending = {}
        self._bytes = self._spent = 0
        self._due, self._hints = None, []

    def _note_deadlines(self, rows: Mapping[bytes, bytes | None]) -> None:
        assert self._due is not None
        known, hints = self._due, self._hints
        for key, row in rows.items():
            if row is None or known.get(key, 0) == (at_ms := due_ms(key, row)):
                continue
            known[key] = at_ms
            if at_ms:
                heappush(hints, meta.Hint(at_ms, key))


def _sum(offsets: Offsets | None) -> int:
    return sum((offsets or {}).values())

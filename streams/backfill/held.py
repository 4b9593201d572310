"""The rows of one partition, held between two checkpoints: a backfill writes most of them once.

A worker writes every row it touches with the transaction that touched it. A backfill may be killed
whenever it likes, its log stays: so what its units of work have written stays here, and goes to
RocksDB as one sorted file that is taken in whole or not at all, with the offsets and the account it
belongs to. A kill falls back to the checkpoint before.

What was written stays as well, for reading, as long as there is room: a user comes back, and a row
that is read from RocksDB again costs more than its event. Memory is a matter of one bound for both,
HELD_BYTES. Where users do not fit, the rows whose write lies furthest back go first.
"""

from __future__ import annotations

import threading
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from streams.feed import malloc
from streams.store import meta
from streams.store.overlay import StateCache
from streams.store.rows import due_ms

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from typing import Any

    from streams.feed.ports import Offsets
    from streams.store.rows import DiskRows

CHECKPOINT_RECORDS = 2_000_000
"""Folded again after a kill, at most: less than half a minute of work. Each checkpoint writes every
row that was touched since the one before, so of 250,000 users nearly all: with 500,000 records
between two of them a fifth of a backfill's time was that."""

HELD_BYTES = 256 << 20
"""Of one process, which has one partition open at a time: 120,000 users of twelve orders."""

KEPT_BYTES = 450
"""Of a row besides its bytes: its objects, its places in two dictionaries, its deadline, and what a
load takes for its moment. Measured (tests/backfill/test_held.py)."""

ROOM = 16
"""When they are full, a sixteenth is given up at once: looking for the oldest walks over holes."""

MOST_SPENT = 5_000
"""Hints that were found stale: until they are written, each tick walks over them again."""

_ABSENT = b"\0"  # no row is that


class HeldRows:
    """Implements `ports.Rows` over the open database, of which it is the only writer."""

    def __init__(self, rows: DiskRows, most_records: int, most_bytes: int = HELD_BYTES) -> None:
        """``most_records``: offsets gone through between two checkpoints."""
        self._rows, self._most_records, self._most_bytes = rows, most_records, most_bytes
        self.next, self.changelog, self.batch = rows.next, rows.changelog, rows.batch
        self._held: dict[bytes, bytes | None] = {}  # None: to be deleted
        self._pending: dict[bytes, bytes | None] = {}  # of those, what RocksDB has not
        self._bytes = 0  # of all of them, keys and places included
        self._spent = 0
        self._due: dict[bytes, int] | None = None  # deadlines of pending rows; None: nobody asked
        self._hints: list[meta.Hint] = []  # a heap of them; some are stale
        self._writing = threading.Lock()

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return rows as they were written last. A failed read is a DiskError."""
        held = self._held
        found = [held.get(key, _ABSENT) for key in keys]
        missing = [n for n, row in enumerate(found) if row is _ABSENT]
        if missing:
            read = self._rows.get_many([keys[n] for n in missing])
            for n, row in zip(missing, read, strict=True):
                found[n] = row
        return found

    def peek(self, key: bytes) -> bytes | None:
        row = self._held.get(key, _ABSENT)
        return self._rows.peek(key) if row is _ABSENT else row

    def prepare(
        self, rows: Mapping[bytes, bytes | None], _unmoved: Container[bytes] = ()
    ) -> Mapping[bytes, bytes | None]:
        """Return the rows: they are loaded with all their hints."""
        return rows

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
            self._hold(rows)
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
            self._held, self._pending = {}, {}  # whoever closes it may hold on to it
            self._rows.close()

    # --- its parts --------------------------------------------------------------------------

    def _hold(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Hold what was written, and count the bytes of what it replaces no more."""
        held, more = self._held, 0
        for key, row in rows.items():
            old = held.get(key, _ABSENT)
            held[key] = row
            if old is _ABSENT:
                more += KEPT_BYTES
            elif old is not None:
                more -= len(old)
            if row is None:
                self._spent += 1
            else:
                more += len(row)
        self._pending.update(rows)
        self._bytes += more
        if self._bytes > self._most_bytes:
            self._give_up()

    def _give_up(self) -> None:
        """Let go of the rows whose write lies furthest back, as far as RocksDB has them."""
        held, pending, left = self._held, self._pending, self._most_bytes - self._most_bytes // ROOM
        oldest = []
        for key, row in held.items():
            if self._bytes <= left:
                break
            if key not in pending:
                oldest.append(key)
                self._bytes -= KEPT_BYTES + len(row or b"")
        for key in oldest:
            del held[key]

    def _is_time(self) -> bool:
        return (
            self._bytes > self._most_bytes  # of pending rows alone
            or self._spent > MOST_SPENT
            or _sum(self.next) - _sum(self._rows.next) >= self._most_records
        )

    def _checkpoint(self) -> None:
        if not self._pending and self.next == self._rows.next:
            return
        self._rows.load(
            self._pending, next_offsets=self.next, changelog=self.changelog, batch=self.batch
        )
        held = self._held
        for key, row in self._pending.items():  # behind those that were not written since
            del held[key]  # whoever reads it at this moment finds it in RocksDB
            held[key] = row
        self._pending = {}
        self._spent = 0
        self._due, self._hints = None, []
        malloc.give_back()  # what the load took, and compactions since the one before

    def _note_deadlines(self, rows: Mapping[bytes, bytes | None]) -> None:
        assert self._due is not None
        known, hints = self._due, self._hints
        for key, row in rows.items():
            if row is None or known.get(key, 0) == (at_ms := due_ms(key, row)):
                continue
            known[key] = at_ms
            if at_ms:
                heappush(hints, meta.Hint(at_ms, key))


class DecodedStates(StateCache["Any"]):
    """The cache over held rows: a row that is bytes lies there already, a state must be decoded."""

    def keep(self, touched: dict[bytes, Any]) -> None:
        """Take over committed states; what became bytes is dropped."""
        states = {key: row for key, row in touched.items() if not isinstance(row, bytes)}
        for key in touched.keys() & self.held.keys() - states.keys() if self.held else ():
            del self.held[key]
        if states:
            super().keep(states)


def _sum(offsets: Offsets | None) -> int:
    return sum((offsets or {}).values())

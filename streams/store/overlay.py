"""THE OVERLAY of D4: the rows of one partition as one unit of work sees them.

Read through: what was touched in this unit of work, then in the one before it that is still being
committed (the layer below), then the states kept from earlier ones, then RocksDB. Nothing reaches
RocksDB from here before the transaction has committed; an overlay that is dropped leaves no trace,
and takes the one above it along. It takes its codec as arguments, so it knows nothing of what a
row means.

A row is held as it was last needed: decoded (a state), or as bytes, which is what the compiled
short path takes and gives (`as_rows`). Either becomes the other where it is asked for.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from streams.store import meta
from streams.store.meta import Hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streams.feed.ports import Rows

    Layer = dict[bytes, Any]
    LookUp = Callable[
        [list[Any], Layer, Layer, Layer, Layer], tuple[dict[bytes, None], list[bytes]]
    ]

S = TypeVar("S")

HINTS_LOOKED_AT = 4
"""Hints looked at for each row asked for: stale ones cost a read each, and there may be many."""

CACHED_BYTES = 96 << 20
"""Of rows in the caches of a worker, which is budgeted at 512 MiB: 100,000 users of five orders.
With 20,000 rows a partition as the only bound, 16 of them may hold 300 MB of those users, and 6 GB
of users with 200 orders."""

KEPT_BYTES = 150  # of a row besides its bytes: its key, the dictionary's place, three headers
STATE_BYTES = 4_000  # of a row that is decoded, facts and all, where nobody counts
ROWS_LOOKED_AT = 50

RESERVED = b"\0"
"""First byte of the keys that are ours (`\\0meta`, `\\0next`...): never a user's."""


class Codec(Generic[S]):
    """Row to state and back: ``new(user_id)``, ``decode(user_id, data)``, ``encode(state)``."""

    def __init__(  # noqa: PLR0913 - a row has this many sides
        self,
        new: Callable[[str], S],
        decode: Callable[[str, bytes], S],
        encode: Callable[[S], bytes],
        due_ms: Callable[[S], int] = lambda _state: 0,
        due_of: Callable[[bytes], int] | None = None,
        due_part: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """``due_ms(state)``: the deadline that `rows.due_of` reads in its bytes; 0: none.

        ``due_of(row)`` is that; without it a row is decoded to find out. ``due_part(row)``: what it
        reads of the bytes, quicker to compare.
        """
        self.new, self.decode, self.encode = new, decode, encode
        self.due_ms, self.due_of, self.due_part = due_ms, due_of, due_part


class StateCache(Generic[S]):
    """Rows as of the last commit, decoded or not, least recently touched dropped first.

    Decoding a row costs about as much as folding an event into it; users come back within minutes.
    Belongs to one open partition and is cleared whenever its rows may have changed elsewhere.
    ``most_bytes``: what they may take, about; whoever owns several partitions divides.
    """

    def __init__(self, capacity: int = 20_000, most_bytes: int = CACHED_BYTES) -> None:
        self._capacity, self.most_bytes = capacity, most_bytes
        self.held: dict[bytes, S | bytes] = {}
        self._row_bytes = KEPT_BYTES
        self.dating: meta.Dating | None = None  # None: not looked up yet

    def get(self, key: bytes) -> S | bytes | None:
        return self.held.get(key)

    def keep(self, touched: dict[bytes, S | bytes]) -> None:
        """Take over committed rows; drop the oldest beyond the capacity.

        Bytes are reckoned by some rows of each unit of work: to count all would cost every event.
        """
        held = self.held
        for key, row in touched.items():
            held.pop(key, None)  # a dict keeps insertion order: newest last
            held[key] = row
        some = list(islice(touched.values(), ROWS_LOOKED_AT))
        if some:
            sizes = (len(row) if isinstance(row, bytes) else STATE_BYTES for row in some)
            self._row_bytes = KEPT_BYTES + sum(sizes) // len(some)
        most = min(self._capacity, self.most_bytes // self._row_bytes)
        for key in list(islice(held, max(0, len(held) - most))):
            del held[key]

    def clear(self) -> None:
        self.held.clear()
        self.dating = None


class Overlay(Generic[S]):
    """``overlay[user_id]`` reads, ``overlay[user_id] = state`` touches; see the module."""

    def __init__(
        self,
        rows: Rows,
        codec: Codec[S],
        cache: StateCache[S],
        below: Overlay[S] | None = None,
    ) -> None:
        """``below``: the overlay of the same p whose commit is under way; not touched again."""
        self._rows, self._codec, self._cache, self._below = rows, codec, cache, below
        self._read: dict[bytes, S | bytes | None] = {}  # None: there is no row
        self._touched: dict[bytes, S | bytes] = {}
        self._recoded: set[bytes] = set()  # held as bytes of our own making
        self._hints: set[Hint] = set()  # those that were looked at
        self._dating: meta.Dating | None = None  # None: as below
        self.dating_begun = False  # by this unit of work

    def prefetch(self, user_ids: Iterable[str]) -> None:
        """Read the rows of these users in one go: a multi-get is 3x cheaper than as many gets."""
        read = self._read
        for key in self._fetch(dict.fromkeys(user_id.encode() for user_id in user_ids)):
            read[key] = self._decoded(key.decode(), read[key])

    def as_rows(
        self, records: list[Any], look_up: LookUp
    ) -> tuple[dict[bytes, S | bytes], dict[bytes, S | bytes | None]]:
        """Read the rows of the records' users in one go; return those touched, and those only read.

        Each user's key is in the first or else in the second, as bytes or (there is no row) None.
        Rows put into the first are touched. ``look_up``: of the compiled path, see there.
        """
        touched, read = self._touched, self._read
        below = {} if self._below is None else self._below._touched  # noqa: SLF001
        wanted, states = look_up(records, touched, read, below, self._cache.held)
        read.update(zip(wanted, self._rows.get_many(list(wanted)), strict=True))
        for key in states:
            self.as_row(key)
        return touched, read

    def as_row(self, key: bytes) -> None:
        """Hold a row that is here as bytes."""
        for held in (self._touched, self._read):
            row = held.get(key)
            if row is not None:
                if not isinstance(row, bytes):
                    held[key] = self._codec.encode(row)
                    self._recoded.add(key)
                break

    def _fetch(self, keys: Iterable[bytes]) -> list[bytes]:
        """Bring each row that is not here into ``_read``; return which those of RocksDB are."""
        read, touched = self._read, self._touched
        wanted: list[bytes] = []
        for key in keys:
            if key in touched or key in read:
                continue
            row = self._kept(key)
            if row is None:
                assert not key.startswith(RESERVED), "the wire refuses such user ids"
                wanted.append(key)
            else:
                read[key] = row
        read.update(zip(wanted, self._rows.get_many(wanted), strict=True))
        return wanted

    def __getitem__(self, user_id: str) -> S:
        key = user_id.encode()
        row = self._touched.get(key)
        if row is None:
            if key not in self._read:
                self._fetch([key])
            row = self._read[key]
        if row is None or isinstance(row, bytes):
            return self._decoded(user_id, row)
        return row

    def __setitem__(self, user_id: str, state: S) -> None:
        self._touched[user_id.encode()] = state

    def due(self, at_ms: int, limit: int) -> tuple[list[str], bool]:
        """Return keys whose deadline `at_ms` has reached, and whether there may be more.

        Those of rows not yet committed, here and below, and those that hints lead to. What a hint
        leads to is read through like any row, so a stale hint leads to nothing. In order of
        deadline, then key, and none left out between: which users come first is then a function of
        the rows alone, and a replay whose commits fell elsewhere takes the same.
        """
        layers = (self,) if self._below is None else (self, self._below)
        keys = {key for layer in layers for key in layer._touched}  # noqa: SLF001
        looked = HINTS_LOOKED_AT * limit
        hints = self._rows.due(at_ms, looked)
        self._hints.update(hints)
        hinted = [hint.key for hint in hints]
        every = dict.fromkeys((*keys, *hinted))
        self._fetch(every)
        found = sorted(
            Hint(due_ms, key) for key in every if 0 < (due_ms := self._due_ms(key)) <= at_ms
        )
        more = len(hints) == looked
        if more:  # behind the last hint others may lie that were not looked at
            found = [one for one in found if hints and one <= hints[-1]]
        return [one.key.decode() for one in found[:limit]], more or len(found) > limit

    @property
    def dating(self) -> meta.Dating:
        """By which definitions the rows are dated, and how far the walk has come with that."""
        if self._dating is not None:
            return self._dating
        if self._below is not None:
            return self._below.dating
        if self._cache.dating is None:
            found = self._rows.peek(meta.DATED)
            self._cache.dating = meta.Dating() if found is None else meta.decode_dating(found)
        return self._cache.dating

    def date_by(self, digest: str) -> None:
        """Begin the walk again when the rows are dated by other definitions than these.

        No row is visited in the same unit of work: one that is being committed may hold new rows
        dated by the definitions before. In the next they lie in RocksDB.
        """
        if self.dating.of != digest:
            self._dating, self.dating_begun = meta.Dating(digest, "", done=False), True

    def dated(self, at: str, *, done: bool) -> None:
        """Note that the walk has come to this key, or through."""
        self._dating = meta.Dating(self.dating.of, "" if done else at, done)

    def after(self, key: str, limit: int) -> list[tuple[str, S | bytes]]:
        """Return up to `limit` users behind a key, in order, with their rows as they are here."""
        found: list[tuple[str, S | bytes]] = []
        for raw, row in self._rows.after(key.encode(), limit):
            here = self._touched.get(raw) or self._read.get(raw) or self._kept(raw)
            found.append((raw.decode(), row if here is None else here))
        return found

    def spent(self) -> dict[bytes, None]:
        """Return the hints that were looked at and whose row has another deadline now."""
        return {
            hint.encoded(): None
            for hint in sorted(self._hints)
            if self._due_ms(hint.key) != hint.due_ms
        }

    def _due_ms(self, key: bytes) -> int:
        """Return the deadline of a row that is here."""
        row = self._touched.get(key)
        if row is None:
            row = self._read[key]
        if isinstance(row, bytes) and self._codec.due_of is not None:
            return self._codec.due_of(row)
        return self._codec.due_ms(self._decoded(key.decode(), row))

    def _kept(self, key: bytes) -> S | bytes | None:
        row = None if self._below is None else self._below._touched.get(key)  # noqa: SLF001
        return self._cache.get(key) if row is None else row

    def _decoded(self, user_id: str, row: S | bytes | None) -> S:
        if row is None:
            return self._codec.new(user_id)
        return self._codec.decode(user_id, row) if isinstance(row, bytes) else row

    @property
    def touched(self) -> int:
        """Number of rows this unit of work changes."""
        return len(self._touched)

    def encoded(self) -> dict[bytes, bytes | None]:
        """Return the touched rows as changelog and RocksDB get them, first touched first."""
        encode = self._codec.encode
        rows: dict[bytes, bytes | None] = {
            key: row if isinstance(row, bytes) else encode(row)
            for key, row in self._touched.items()
        }
        if self._dating is not None:
            rows[meta.DATED] = meta.encode_dating(self._dating)
        return rows

    def unmoved(self) -> set[bytes]:
        """Return the keys whose row had the same deadline when this unit of work read it.

        RocksDB has that row when these are written: it came from there, or from a commit before.
        Only of rows that are bytes, which is where it pays; none that was encoded anew, since one
        of an older version may have another deadline now.
        """
        read, part, recoded = self._read, self._codec.due_part, self._recoded
        if part is None:
            return set()
        return {
            key
            for key, row in self._touched.items()
            if isinstance(row, bytes)
            and isinstance(before := read.get(key), bytes)
            and part(row) == part(before)
            and key not in recoded
        }

    def kept(self) -> None:
        """Hand the rows to the cache; call only when they are committed and written."""
        self._cache.keep(self._touched)
        if self._dating is not None:
            self._cache.dating = self._dating
        self._below = None  # else every unit of work would hold on to all before it

"""THE OVERLAY of D4: the rows of one partition as one unit of work sees them.

Read through: what was touched in this unit of work, then in the one before it that is still being
committed (the layer below), then the states kept from earlier ones, then RocksDB. Nothing reaches
RocksDB from here before the transaction has committed; an overlay that is dropped leaves no trace,
and takes the one above it along. It takes its codec as arguments, so it knows nothing of what a
row means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streams.feed.ports import Rows
    from streams.store.meta import Hint

S = TypeVar("S")

HINTS_LOOKED_AT = 4
"""Hints looked at for each row asked for: stale ones cost a read each, and there may be many."""

RESERVED = "\0"
"""First character of the keys that are ours (`\\0meta`, `\\0next`...): never a user's."""


class Codec(Generic[S]):
    """Row to state and back: ``new(user_id)``, ``decode(user_id, data)``, ``encode(state)``."""

    def __init__(
        self,
        new: Callable[[str], S],
        decode: Callable[[str, bytes], S],
        encode: Callable[[S], bytes],
        due_ms: Callable[[S], int] = lambda _state: 0,
    ) -> None:
        """``due_ms(state)``: the deadline that `rows.due_of` reads in its bytes; 0: none."""
        self.new, self.decode, self.encode, self.due_ms = new, decode, encode, due_ms


class StateCache(Generic[S]):
    """Decoded states as of the last commit, least recently touched dropped first.

    Decoding a row costs about as much as folding an event into it; users come back within minutes.
    Belongs to one open partition and is cleared whenever its rows may have changed elsewhere.
    """

    def __init__(self, capacity: int = 20_000) -> None:
        # 20,000 rows of about 2 kB decoded: 40 to 100 MB in a worker budgeted at 512 MiB.
        self._capacity = capacity
        self._states: dict[str, S] = {}

    def get(self, user_id: str) -> S | None:
        return self._states.get(user_id)

    def keep(self, touched: dict[str, S]) -> None:
        """Take over committed states; drop the oldest beyond the capacity."""
        states = self._states
        for user_id, state in touched.items():
            states.pop(user_id, None)  # a dict keeps insertion order: newest last
            states[user_id] = state
        for user_id in list(states)[: max(0, len(states) - self._capacity)]:
            del states[user_id]

    def clear(self) -> None:
        self._states.clear()


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
        self._read: dict[str, S] = {}
        self._touched: dict[str, S] = {}
        self._hints: set[Hint] = set()  # those that were looked at

    def prefetch(self, user_ids: Iterable[str]) -> None:
        """Read the rows of these users in one go: a multi-get is 3x cheaper than as many gets."""
        read, touched = self._read, self._touched
        wanted: list[str] = []
        for user_id in dict.fromkeys(user_ids):
            if user_id in touched or user_id in read:
                continue
            state = self._kept(user_id)
            if state is None:
                assert not user_id.startswith(RESERVED), "the wire refuses such user ids"
                wanted.append(user_id)
            else:
                read[user_id] = state
        found = self._rows.get_many([user_id.encode() for user_id in wanted])
        for user_id, data in zip(wanted, found, strict=True):
            read[user_id] = self._decoded(user_id, data)

    def __getitem__(self, user_id: str) -> S:
        state = self._touched.get(user_id)
        if state is None:
            state = self._read.get(user_id)
        if state is None:
            state = self._kept(user_id)
        if state is None:
            assert not user_id.startswith(RESERVED), "the wire refuses such user ids"
            state = self._decoded(user_id, self._rows.get_many([user_id.encode()])[0])
            self._read[user_id] = state
        return state

    def __setitem__(self, user_id: str, state: S) -> None:
        self._touched[user_id] = state

    def due(self, at_ms: int, limit: int) -> tuple[list[str], bool]:
        """Return keys whose deadline `at_ms` has reached, and whether there may be more.

        Those of rows not yet committed, here and below, and those that hints lead to. What a hint
        leads to is read through like any row, so a stale hint leads to nothing.
        """
        due_ms = self._codec.due_ms
        layers = (self,) if self._below is None else (self, self._below)
        keys = {key for layer in layers for key in layer._touched}  # noqa: SLF001
        looked = HINTS_LOOKED_AT * limit
        hints = self._rows.due(at_ms, looked)
        self._hints.update(hints)
        hinted = [hint.key.decode() for hint in hints]
        self.prefetch(hinted)
        found = [
            key for key in dict.fromkeys((*sorted(keys), *hinted)) if 0 < due_ms(self[key]) <= at_ms
        ]
        return found[:limit], len(found) > limit or len(hints) == looked

    def spent(self) -> dict[bytes, None]:
        """Return the hints that were looked at and whose row has another deadline now."""
        due_ms = self._codec.due_ms
        return {
            hint.encoded(): None
            for hint in sorted(self._hints)
            if due_ms(self[hint.key.decode()]) != hint.due_ms
        }

    def _kept(self, user_id: str) -> S | None:
        state = None if self._below is None else self._below._touched.get(user_id)  # noqa: SLF001
        return self._cache.get(user_id) if state is None else state

    def _decoded(self, user_id: str, data: bytes | None) -> S:
        return self._codec.new(user_id) if data is None else self._codec.decode(user_id, data)

    @property
    def touched(self) -> int:
        """Number of rows this unit of work changes."""
        return len(self._touched)

    def encoded(self) -> dict[bytes, bytes | None]:
        """Return the touched rows as changelog and RocksDB get them, first touched first."""
        encode = self._codec.encode
        return {user_id.encode(): encode(state) for user_id, state in self._touched.items()}

    def kept(self) -> None:
        """Hand the states to the cache; call only when they are committed and written."""
        self._cache.keep(self._touched)
        self._below = None  # else every unit of work would hold on to all before it

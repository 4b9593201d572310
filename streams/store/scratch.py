"""A temporary RocksDB for what does not fit in memory while one command runs; gone with it.

Nothing in it outlives the process, so nothing is logged or synced. It is made when something is
first spilled: a small run never touches the disk.
"""

from __future__ import annotations

import heapq
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import rocksdict

from streams.errors import DiskError
from streams.store.rows import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

V = TypeVar("V")
CACHE_BYTES = 32 << 20
WRITE_BUFFER_BYTES = 8 << 20
SPILL = 500
"""Entries that leave memory together."""


class Scratch:
    """Keys and values in order, below the directory for temporary files; a context manager."""

    def __init__(self) -> None:
        self._place: tempfile.TemporaryDirectory[str] | None = None
        self._db: Any = None
        self._options: Any = rocksdict.WriteOptions()
        self._prefixes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._place is not None:
            self._place.cleanup()

    def prefix(self) -> bytes:
        """Return a prefix that nobody else has."""
        self._prefixes += 1
        return self._prefixes.to_bytes(4, "big")

    @property
    def used(self) -> bool:
        """Tell whether anything was spilled."""
        return self._db is not None

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = None if self._db is None else self._db.get(key)
        return found

    def put(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Raises DiskError."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in entries:
            batch.put(key, value)
        self._write(batch)

    def drop(self, first: bytes, end: bytes) -> None:
        """Forget the keys of [first, end)."""
        if self._db is not None:
            batch = rocksdict.WriteBatch(raw_mode=True)
            batch.delete_range(first, end)
            self._write(batch)

    def walk(self, first: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries of [first, end) in key order, as they are when it begins."""
        if self._db is None:
            return
        for key, value in walk(self._db, first):
            if key >= end:
                break
            yield key, value

    def _write(self, batch: Any) -> None:
        try:
            if self._db is None:
                self._db = self._opened()
            self._db.write(batch, self._options)
        except Exception as error:
            where = self._place.name if self._place else tempfile.gettempdir()
            raise DiskError(
                f"{where}: {error}. What does not fit in memory goes there; TMPDIR names another "
                "place"
            ) from error

    def _opened(self) -> Any:
        self._place = tempfile.TemporaryDirectory(prefix="leidan-scratch-")
        cache = rocksdict.Cache(CACHE_BYTES)
        options = rocksdict.Options(raw_mode=True)
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_compression_type(rocksdict.DBCompressionType.lz4())
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(cache)
        table.set_bloom_filter(10, block_based=False)
        options.set_block_based_table_factory(table)
        self._options.disable_wal = True
        return rocksdict.Rdict(str(Path(self._place.name) / "db"), options)


class Spilled(Generic[V]):
    """A mapping by text, of which the newest `most` entries are in memory and all others spilled.

    Values are not to be changed in place: set them anew.
    """

    def __init__(
        self,
        scratch: Scratch,
        most: int,
        encode: Callable[[V], bytes],
        decode: Callable[[str, bytes], V],
    ) -> None:
        self._scratch, self._most = scratch, most
        self._encode, self._decode = encode, decode
        self._prefix = scratch.prefix()
        self._held: OrderedDict[str, V] = OrderedDict()
        self._dirty: set[str] = set()

    def get(self, name: str) -> V | None:
        """Return the value of a name; None: it has none."""
        held = self._held
        if name in held:
            held.move_to_end(name)
            return held[name]
        found = self._scratch.get(self._key(name))
        if found is None:
            return None
        value = held[name] = self._decode(name, found)
        self._spill()
        return value

    def __getitem__(self, name: str) -> V:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __setitem__(self, name: str, value: V) -> None:
        self._held[name] = value
        self._held.move_to_end(name)
        self._dirty.add(name)
        self._spill()

    def update(self, others: dict[str, V]) -> None:
        for name, value in others.items():
            self[name] = value

    def items(self) -> Iterator[tuple[str, V]]:
        """Yield all, in order of name; nothing may be set meanwhile."""
        if not self._scratch.used:
            for name in sorted(self._held):
                yield name, self._held[name]
            return
        self._write(list(self._held))
        start = len(self._prefix)
        for key, value in self._scratch.walk(self._prefix, self._end):
            name = key[start:].decode()
            yield name, self._decode(name, value)

    def values(self) -> Iterator[V]:
        """Yield the value of each name, in order of name."""
        return (value for _, value in self.items())

    def clear(self) -> None:
        self._held.clear()
        self._dirty.clear()
        self._scratch.drop(self._prefix, self._end)

    @property
    def _end(self) -> bytes:
        return (int.from_bytes(self._prefix, "big") + 1).to_bytes(4, "big")

    def _key(self, name: str) -> bytes:
        return self._prefix + name.encode()

    def _spill(self) -> None:
        if len(self._held) > self._most + SPILL:
            oldest = [name for name, _ in zip(self._held, range(SPILL), strict=False)]
            self._write(oldest)
            for name in oldest:
                del self._held[name]

    def _write(self, names: list[str]) -> None:
        dirty = [name for name in names if name in self._dirty]
        if dirty:
            self._scratch.put((self._key(n), self._encode(self._held[n])) for n in dirty)
            self._dirty.difference_update(dirty)


class Agenda:
    """Things to be done at their time, (at_ms, kind, name), earliest first; each is had once.

    Those of the near future are in memory, about as many as `most` or what falls on one instant; a
    thing added twice may be had twice.
    """

    def __init__(self, scratch: Scratch, most: int) -> None:
        self._scratch, self._most = scratch, most
        self._prefix = scratch.prefix()
        self._near: list[tuple[int, int, str]] = []
        self._far: set[tuple[int, int, str]] = set()  # to be spilled
        self._horizon_ms = 1 << 62  # what is not earlier is far; nothing is, until there is much

    def add(self, at_ms: int, kind: int, name: str) -> None:
        if at_ms < self._horizon_ms:
            heapq.heappush(self._near, (at_ms, kind, name))
            if len(self._near) > 2 * self._most:
                self._move_away()
        else:
            self._far.add((at_ms, kind, name))
            if len(self._far) >= self._most:
                self._spill()

    def next(self, until_ms: int) -> tuple[int, int, str] | None:
        """Take out the earliest that is not later than this; None: there is none."""
        while True:
            if self._near and self._near[0][0] <= until_ms:
                return heapq.heappop(self._near)
            if self._near or until_ms < self._horizon_ms or not self._fetch():
                return None

    def keep(self, kind: int) -> None:
        """Forget all of another kind."""
        self._spill()
        far = [self._thing(key) for key, _ in self._scratch.walk(self._prefix, self._end)]
        self._scratch.drop(self._prefix, self._end)
        kept = [thing for thing in (*self._near, *far) if thing[1] == kind]
        self._near, self._horizon_ms = [], 1 << 62
        for thing in kept:
            self.add(*thing)

    @property
    def _end(self) -> bytes:
        return (int.from_bytes(self._prefix, "big") + 1).to_bytes(4, "big")

    def _key(self, at_ms: int, kind: int, name: str) -> bytes:
        return self._prefix + at_ms.to_bytes(8, "big") + bytes([kind]) + name.encode()

    def _thing(self, key: bytes) -> tuple[int, int, str]:
        start = len(self._prefix)
        at_ms = int.from_bytes(key[start : start + 8], "big")
        return at_ms, key[start + 8], key[start + 9 :].decode()

    def _move_away(self) -> None:
        """Keep the nearer half; things of one instant stay together."""
        self._near.sort()  # a sorted list is a heap
        horizon_ms = self._near[self._most][0]
        here = [thing for thing in self._near if thing[0] < horizon_ms]
        if here:
            self._far.update(self._near[len(here) :])
            self._near, self._horizon_ms = here, horizon_ms
            self._spill()

    def _spill(self) -> None:
        if self._far:
            self._scratch.put((self._key(*thing), b"") for thing in self._far)
            self._far.clear()

    def _fetch(self) -> bool:
        """Fetch the nearest that were far; False: nothing is."""
        self._spill()
        first = self._prefix + self._horizon_ms.to_bytes(8, "big")
        self._horizon_ms = 1 << 62
        for key, _ in self._scratch.walk(first, self._end):
            thing = self._thing(key)
            if len(self._near) >= self._most and thing[0] > self._near[-1][0]:
                self._horizon_ms = thing[0]
                break
            self._near.append(thing)
        end = self._prefix + self._horizon_ms.to_bytes(8, "big")
        self._scratch.drop(first, end)
        return bool(self._near)

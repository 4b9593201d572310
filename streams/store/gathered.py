"""What a restore has read and not written yet: the newest row of each key, by transactions.

In Python; `native/gathered.c` does the same without an object for each row and without the
interpreter's lock, and is taken where it is built (feed/history.py). Tests hold the two equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from streams.store import meta

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streams.feed.ports import Record

ROW_BYTES = 200  # of a row besides its value: its key, the dictionary's place, two headers


class Read(NamedTuple):
    """What one read brought."""

    records: int
    after: int  # the offset behind the last of them; -1: none came
    metas: list[tuple[int, bytes]]  # offset and value of each meta row among them, in order


class Taken(Protocol):
    """Rows to be written, for once: a dict, or compiled what also knows their order and hints."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[object]: ...


class Gathering(Protocol):
    """`Gathered`, here or compiled. One thread at a time."""

    held_bytes: int
    """Of memory; what was replaced may still be counted."""

    def add(self, records: list[Record]) -> list[tuple[int, bytes]]:
        """Take rows in their order; return the metas. Each makes whole what came before it."""

    def is_full(self, most: int) -> bool:
        """Say whether there are more bytes than `most`, without what was replaced."""

    def take(self, whole: bool, /) -> Taken:  # noqa: FBT001 - C knows no names
        """Hand over the rows of whole transactions, or all there are; they are here no more."""


class Gathered:
    """Implements `Gathering`."""

    def __init__(self) -> None:
        self._whole: dict[bytes, bytes | None] = {}
        self._open: dict[bytes, bytes | None] = {}
        self.held_bytes = 0

    def add(self, records: list[Record]) -> list[tuple[int, bytes]]:
        metas = []
        read_bytes = ROW_BYTES * len(records)
        for _, _, offset, key, value, _, _ in records:
            if key == meta.META and value is not None:
                metas.append((offset, value))
                self._whole.update(self._open)
                self._open.clear()
            elif key is not None:
                self._open[key] = value
                if value is not None:
                    read_bytes += len(value)
        self.held_bytes += read_bytes
        return metas

    def is_full(self, most: int) -> bool:
        self.held_bytes = _bytes(self._whole) + _bytes(self._open)
        return self.held_bytes > most

    def take(self, whole: bool, /) -> dict[bytes, bytes | None]:  # noqa: FBT001 - C knows no names
        taken, self._whole = self._whole, {}
        if not whole:
            taken.update(self._open)
            self._open = {}
        self.held_bytes = _bytes(self._open)
        return taken


def _bytes(rows: dict[bytes, bytes | None]) -> int:
    return sum(map(len, filter(None, rows.values()))) + ROW_BYTES * len(rows)


class RecordByRecord:
    """How a `ports.History` that gives records is gathered from: what it inherits."""

    def read(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        raise NotImplementedError

    def gathered(self) -> Gathering:
        return Gathered()

    def gather(self, to: Gathering, most: int, timeout_s: float) -> Read:
        records = list(self.read(most, timeout_s))
        return Read(len(records), records[-1].offset + 1 if records else -1, to.add(records))

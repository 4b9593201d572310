"""Which record killed this worker, and how often: a counter beside the database.

Our own error ends the process (D12), and the restart meets the same record. After three starts in a
row it is the record's partition that stops, parked and alarmed, not the worker (reliability.md 2).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from streams.position import Position

if TYPE_CHECKING:
    from pathlib import Path

    from streams.feed.ports import Offsets

KILLS = 3


class Note(msgspec.Struct, frozen=True):
    """``<p>.crashes.json``: the record under the fold when the process ended."""

    topic: str
    offset: int
    kills: int


class CrashNotes:
    """Notes of one worker, one file per partition."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, position: Position) -> None:
        """Count one more kill of this record; another record begins at one."""
        old = self._read(position.partition)
        same = old is not None and (old.topic, old.offset) == (position.topic, position.offset)
        kills = old.kills + 1 if old is not None and same else 1
        path = self._path(position.partition)
        with contextlib.suppress(OSError):  # the process is ending anyway
            new = path.with_suffix(".tmp")
            new.write_bytes(msgspec.json.encode(Note(position.topic, position.offset, kills)))
            new.replace(path)

    def parked(self, p: int, next_offsets: Offsets) -> Position | None:
        """Return the record for which p must not be read: it is still ahead, killed too often."""
        note = self._read(p)
        if note is None:
            return None
        if next_offsets.get(note.topic, 0) > note.offset:
            with contextlib.suppress(OSError):
                self._path(p).unlink()  # it has been folded since
            return None
        return Position(note.topic, p, note.offset) if note.kills >= KILLS else None

    def _path(self, p: int) -> Path:
        return self._directory / f"{p}.crashes.json"

    def _read(self, p: int) -> Note | None:
        try:
            return msgspec.json.decode(self._path(p).read_bytes(), type=Note)
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
            # a damaged note counts for none; bytes that are no text are a ValueError to msgspec
            return None

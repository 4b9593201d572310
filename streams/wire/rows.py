"""Rows to bytes and back: states of users and pools as RocksDB and the changelog hold them.

Layout: one byte ROW_SCHEMA, 8 bytes of the next deadline (ms, big-endian; see `due_of`), then
msgpack of the state by position, without the key (a user's id).
An older schema is upcast here and nowhere else; a newer one is refused (exit 78), never guessed.
Schema 1 held the same structs with fewer fields at their ends, which decode to their defaults, but
for what its ledger left to be inferred (`_ledger_of_1`), and no deadline: the next tick looks at
such a row and finds it. Schema 2 did not know which orders had brought a task's chances: a draw of
such a task is walked, which writes it down. Schema 3 knew no compaction: its rows differ by
defaults alone, and are compacted once a tick has closed another task of them.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import msgspec

from streams.domain import pool_state, state
from streams.domain.state import (
    DEBT,
    REVOKED,
    STANDING,
    Entry,
    Key,
    Notice,
    Packed,
    Task,
    UserState,
    pack_ledger,
    unpack_ledger,
)
from streams.errors import DiskError, Refused
from streams.wire import pool_rows

State = UserState | pool_state.Row

ROW_SCHEMA = 4


class _Row(msgspec.Struct, frozen=True, array_like=True):
    version: int
    newest: Key
    facts: Packed[Any]
    seen: bytes
    tasks: tuple[Task, ...]
    ledger: Packed[Any]
    owed_minor: int
    asks: Packed[Any] = Packed()
    asks_ms: int = 0
    results: bytes = b""
    early: Packed[Any] = Packed()
    ledger_ms: int = 0
    pins: Packed[Any] = Packed()
    notices: tuple[Notice, ...] = ()
    noticed_ms: int = 0
    gone: tuple[Task, ...] = ()
    compact_ms: int = 0
    past_ms: int = 0
    frozen: bytes = b""


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode = msgspec.msgpack.Decoder(_Row).decode
_PREFIX = bytes([ROW_SCHEMA])
_READ = tuple(bytes([schema]) for schema in range(1, ROW_SCHEMA + 1))
_V1 = bytes([1])
_DUE_FROM, _BODY_FROM = 1, 9
NO_DUE = bytes(8)
OVERDUE_MS = 1
"""Of rows that do not say it: earlier than any tick."""
_OVERDUE = OVERDUE_MS.to_bytes(8, "big")


def new(key: str) -> State:
    """Return the state behind a key of which nothing is known."""
    return pool_state.new(key) if pool_state.is_pool_key(key) else state.new(key)


def encode(row: State) -> bytes:
    """Return the row's bytes; the same state gives the same bytes in every process."""
    if isinstance(row, UserState):
        return encode_row(row)
    return _PREFIX + due_ms(row).to_bytes(8, "big") + pool_rows.encode(row)


def due_ms(row: State) -> int:
    """Return the next deadline of a row; `due_of` reads it in the bytes. 0: none."""
    return row.due_ms if isinstance(row, UserState) else 0


def decode(key: str, data: bytes) -> State:
    """Return the state of a row; raises as `decode_row`."""
    if not pool_state.is_pool_key(key):
        return decode_row(key, data)
    _refuse_newer(key, data)
    return pool_rows.decode(key, data[1 if data[:1] == _V1 else _BODY_FROM :])


def encode_row(state: UserState) -> bytes:
    """Return the bytes of a user's row."""
    row = _Row(
        state.version,
        state.newest,
        state.facts,
        state.seen,
        state.tasks,
        state.ledger,
        state.owed_minor,
        state.asks,
        state.asks_ms,
        state.results,
        state.early,
        state.ledger_ms,
        state.pins,
        state.notices,
        state.noticed_ms,
        state.gone,
        state.compact_ms,
        state.past_ms,
        state.frozen,
    )
    return _PREFIX + state.due_ms.to_bytes(8, "big") + _encode(row)


def due_of(data: bytes) -> int:
    """Return a row's next deadline without decoding it; 0: none. Damaged and newer rows: none."""
    return int.from_bytes(due_bytes(data), "big")


due_part = itemgetter(slice(0, _BODY_FROM))
"""All that `due_of` reads of a row: rows that are alike in it have the same deadline."""


def due_bytes(data: bytes) -> bytes:
    """Return the same as it is written, in 8 bytes; NO_DUE: none."""
    schema = data[:1]
    if schema == _V1:
        return _OVERDUE
    return data[_DUE_FROM:_BODY_FROM].rjust(8, b"\0") if schema in _READ else NO_DUE


def decode_row(user_id: str, data: bytes) -> UserState:
    """Return the state of a row.

    Raises Refused when a newer version of leidan wrote it, DiskError when it is damaged: a row that
    cannot be read is never a user of whom nothing is known (reliability.md 4).
    """
    _refuse_newer(user_id, data)
    try:
        row = _decode(data[1 if data[:1] == _V1 else _BODY_FROM :])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"row of user {user_id!r} is damaged ({error}); remove this partition's database"
        raise DiskError(msg) from None
    return UserState(
        user_id,
        row.version,
        row.newest,
        row.facts,
        row.seen,
        row.tasks,
        _ledger_of_1(row.ledger) if data[:1] == _V1 else row.ledger,
        row.owed_minor,
        row.asks,
        row.asks_ms,
        row.results,
        row.early,
        row.ledger_ms,
        row.pins,
        row.notices,
        row.noticed_ms,
        row.gone,
        due_of(data),
        row.compact_ms,
        row.past_ms,
        row.frozen,
    )


def _ledger_of_1(ledger: Packed[Entry]) -> Packed[Entry]:
    """Say of entries of schema 1 whether they are due, and what has become of their debts."""
    entries = unpack_ledger(ledger)
    paid_back: dict[str, int] = {}
    for entry in entries.values():
        for debt_id, part in entry.set_off:
            paid_back[debt_id] = paid_back.get(debt_id, 0) + part
    for entry in entries.values():
        entry.due = entry.state in STANDING
        entry.back = entry.value if entry.state == REVOKED else 0  # with a set-off it was less
        if entry.state == DEBT:
            entry.debt = entry.paid
            entry.written_off = entry.paid - entry.owed - paid_back.get(entry.reward_id, 0)
    return pack_ledger(entries)


def _refuse_newer(key: str, data: bytes) -> None:
    if data[:1] not in _READ and data:
        msg = (
            f"row of user {key!r} has schema {data[0]}, this version reads {ROW_SCHEMA}: "
            "start the newer version of leidan, or rebuild the state from the log"
        )
        raise Refused(msg)

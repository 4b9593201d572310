"""Rows of pools to bytes and back. Which kind a row is, its key says.

Layout as of users' rows: one byte ROW_SCHEMA, then msgpack by position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from streams.domain.pool_state import (
    ENTRANT,
    POOL,
    REQUEST,
    TASK,
    Answered,
    Entrant,
    Held,
    PoolState,
)
from streams.errors import DiskError

if TYPE_CHECKING:
    from streams.domain.pool_state import Row

encode = msgspec.msgpack.Encoder(order="deterministic").encode
_DECODERS: dict[str, Any] = {
    POOL: msgspec.msgpack.Decoder(PoolState).decode,
    REQUEST: msgspec.msgpack.Decoder(Answered).decode,
    ENTRANT: msgspec.msgpack.Decoder(Entrant).decode,
    TASK: msgspec.msgpack.Decoder(Held).decode,
}


def decode(key: str, data: bytes) -> Row:
    """Return the row below its schema byte. Raises DiskError when it is damaged."""
    try:
        row: Row = _DECODERS[key[: key.index(":") + 1]](data)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, ValueError) as error:
        msg = f"row {key!r} is damaged ({error}); remove this partition's database"
        raise DiskError(msg) from None
    return row

"""`ticks`: how far time has come on a partition. Schema: schemas/ticks.v1.schema.json.

Without user and key, so read by hand; judged in the order of `envelope.py`, which goes without
no_user here.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads it
from typing import TYPE_CHECKING, Annotated

import msgspec

from streams.errors import Reason
from streams.wire.envelope import (
    MAX_INTEGER,
    Frame,
    diagnosed,
    payload,
    rejected,
    require_no_future,
    time_ms,
)

if TYPE_CHECKING:
    from streams.feed.ports import Record

MAX_TOPICS = 64  # that one tick may wait for; a bound, so that it cannot grow without one
Offset = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]


class Written(Frame, tag="tick"):
    """A tick as it is written."""

    at: Annotated[datetime, msgspec.Meta(tz=True)]
    partition: Offset
    ends: Annotated[dict[str, Offset], msgspec.Meta(max_length=MAX_TOPICS)] | None = None


class PartitionTick(msgspec.Struct, frozen=True):
    """Time has reached `at_ms` for every user of a partition, once it was read up to `ends`."""

    at_ms: int
    partition: int
    ends: dict[str, int]  # by topic: the next offset there


class Reader:
    """What `envelope.Reader` is to values with a user."""

    union = Written
    types = frozenset({"tick"})


READER = Reader()
_decode = msgspec.json.Decoder(Written).decode


def decode(record: Record) -> PartitionTick:
    """Return the tick; raises EventRejected with the first reason, in the order of `envelope`."""
    value = payload(record)
    try:
        tick = _decode(value)
    except msgspec.DecodeError as error:
        raise diagnosed(record, value, READER.types, error) from None
    if record.key is not None:
        raise rejected(record, Reason.KEY_MISMATCH, "a tick has no key")
    at_ms = time_ms(record, tick.at)
    if tick.partition != record.partition:
        raise rejected(record, Reason.SCHEMA, f"a tick for partition {tick.partition}")
    require_no_future(record, at_ms)
    return PartitionTick(at_ms, tick.partition, tick.ends or {})

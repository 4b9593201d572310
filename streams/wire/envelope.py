"""What every user-keyed record shares: frame, JSON, type, version, user, key, time (D12).

The order of judgement is part of the contract, because a record with two faults must die of the
same one in every replay:

    empty, too_large, not_utf8, not_json, not_object, unknown_type, unknown_major, no_user,
    key_mismatch (the key), schema (fields, time, control characters), future,
    and then what only one topic knows: schema (between fields), key_mismatch (`ce_id`), amounts

The happy path is one typed decode of the whole value; a second look is taken only at values that
failed, to find out why. Nothing here depends on the machine, the stack or the clock.
Source: semantics.md 4, ecosystem.md 1.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import msgspec

from streams.domain import events
from streams.errors import EventRejected, Reason
from streams.position import Position

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from streams.feed.ports import Record

# Above this a value is not even parsed. A full order (MAX_LINES lines with ids of 128 ASCII
# characters) stays below it, and so does Kafka's own default of 1,048,588 bytes a batch.
MAX_VALUE_BYTES = 1024 * 1024

# msgspec recurses into nested values, unknown fields too, and gives up at the interpreter's limit
# less the current stack: live and replay would judge the same bytes differently. So the line is
# drawn here, well below that limit (1,000) and well above our own depth of 4.
MAX_DEPTH = 256

MAX_SEGMENTS = 200  # of one user; a bound, so that a context cannot grow without one

MAX_LINES = 2_000  # of one order or refund; the longest real order of our test data has 675

# Largest integer that every JSON reader holds exactly (a double has 53 bits): 90 trillion in cents.
MAX_INTEGER = 2**53 - 1

# 2000-01-01T00:00:00Z. No shop of ours is older; what lies before is a clock at 1970, a unit
# mix-up (seconds as milliseconds) or a negative epoch, and would open windows in the past.
EARLIEST_MS = 946_684_800_000

# 3000-01-01T00:00:00Z. The longest campaign (1,000 cycles of 1,000 days) of a later event would end
# beyond the calendar's year 9999, and the fold must not fail on any event it is given.
LATEST_MS = 32_503_680_000_000

# An event may be dated this far ahead of its own record, for clock skew; further, and a worker
# could meet it before it has read the campaign that is in force then (D9).
LEAD_MS = 60_000

# Schema registries put a zero byte and a four-byte schema id before the value.
FRAME_BYTES = 5

DETAIL_CHARACTERS = 200  # of a dead letter's explanation; the bytes themselves are beside it

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Count = Annotated[int, msgspec.Meta(ge=1, le=MAX_INTEGER)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]  # minor units
Total = Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]  # minor units, as claimed


class Frame(msgspec.Struct, tag_field="type", gc=False):
    """What every value has: its type, and the version of its schema."""

    v: Annotated[int, msgspec.Meta(ge=1, le=1)]


class Fact(Frame):
    """The fields of every user-keyed value. Unknown fields are tolerated, known ones strict."""

    user_id: Id
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)]


class Context(msgspec.Struct, gc=False):
    """What the shop knew of a user, as it is written; absent or null: not known, never "none"."""

    segments: Annotated[list[Id], msgspec.Meta(max_length=MAX_SEGMENTS)] | None = None
    orders_30d: Amount | None = None

    def as_fact(self) -> events.Context:
        segments = None if self.segments is None else tuple(self.segments)
        return events.Context(segments, self.orders_30d)


FactT = TypeVar("FactT", bound=Fact)


class Reader(Generic[FactT]):
    """Reads the values of one topic: `types` are its structs, told apart by their tag.

    key: the field that the record's key repeats. ours: we write the topic ourselves, so a time
    ahead of the record's says that a shop's clock and ours differ, and must cost no request.
    """

    def __init__(self, *types: type[FactT], key: str = "user_id", ours: bool = False) -> None:
        self._key, self._lead_ms = key, LATEST_MS if ours else LEAD_MS
        union: Any = types[0]
        for other in types[1:]:
            union |= other
        self.union = union
        self._decode = msgspec.json.Decoder(union).decode
        self.types = frozenset(str(each.__struct_config__.tag) for each in types)

    def read(self, record: Record) -> tuple[FactT, int]:
        """Return the value and its occurred_at in ms since the epoch, UTC.

        Raises EventRejected with the first reason, in the order of this module's docstring.
        """
        value = payload(record)
        try:
            fact: FactT = self._decode(value)
        except msgspec.DecodeError as error:
            raise self._diagnosed(record, value, error) from None
        if record.key != getattr(fact, self._key).encode():
            raise rejected(record, Reason.KEY_MISMATCH, f"key is not {self._key}")
        at_ms = time_ms(record, _exact(value, fact.occurred_at))
        # A control character is written as an escape, as DEL, or as C1, whose first byte is C2.
        if value.find(b"\\") >= 0 or value.find(b"\x7f") >= 0 or value.find(b"\xc2") >= 0:
            _require_no_control(record, fact)
        require_no_future(record, at_ms, self._lead_ms)
        return fact, at_ms

    def _diagnosed(self, record: Record, value: bytes, error: msgspec.DecodeError) -> EventRejected:
        """Say why a value failed. Slow, and only for those that did."""
        head = _head(record, value)
        unknown = _unknown(record, head, self.types)
        if unknown is not None:
            return unknown
        if bytes(head.user_id) in (b"", b"null"):
            return rejected(record, Reason.NO_USER)
        key = _as(str, getattr(head, self._key))
        if key is not None and record.key != key.encode():
            return rejected(record, Reason.KEY_MISMATCH, f"key is not {self._key}")
        return rejected(record, Reason.SCHEMA, str(error))


def time_ms(record: Record, at: datetime) -> int:
    """Return an event's time in ms since the epoch; raises EventRejected outside our years."""
    since = at - _EPOCH
    at_ms = (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000
    if at_ms < EARLIEST_MS:
        raise rejected(record, Reason.SCHEMA, "occurred_at before 2000-01-01")
    if at_ms >= LATEST_MS:
        raise rejected(record, Reason.SCHEMA, "occurred_at after 2999-12-31")
    return at_ms


def require_no_future(record: Record, at_ms: int, lead_ms: int = LEAD_MS) -> None:
    if at_ms > record.recorded_at_ms + lead_ms:
        raise rejected(record, Reason.FUTURE, f"{at_ms - record.recorded_at_ms} ms ahead")


def diagnosed(
    record: Record, value: bytes, types: Collection[str], error: msgspec.DecodeError
) -> EventRejected:
    """Say why a value without a user failed."""
    unknown = _unknown(record, _head(record, value), types)
    return unknown or rejected(record, Reason.SCHEMA, str(error))


def _unknown(record: Record, head: _Head, types: Collection[str]) -> EventRejected | None:
    type_ = _as(str, head.type)
    if type_ is not None and type_ not in types:
        return rejected(record, Reason.UNKNOWN_TYPE, type_)
    major = _as(int, head.v)
    if major is not None and major != 1:
        return rejected(record, Reason.UNKNOWN_MAJOR, f"v {major}")
    return None


def rejected(record: Record, reason: Reason, detail: str = "") -> EventRejected:
    """Build the refusal of a record; `detail` is made printable and short, it becomes a header."""
    position = Position(record.topic, record.partition, record.offset)
    printable = detail.encode("ascii", "backslashreplace").decode()
    return EventRejected(reason, position, _CONTROL.sub("?", printable)[:DETAIL_CHARACTERS])


def require_id(record: Record, own_id: str) -> None:
    """Refuse a CloudEvents id that contradicts the payload's own; headers are optional."""
    for name, value in record.headers:
        if name == "ce_id" and value != own_id.encode():
            raise rejected(record, Reason.KEY_MISMATCH, f"ce_id is not {own_id}")


class _Head(msgspec.Struct, gc=False):
    """The fields that decide before the schema does, unparsed: any of them may be wrong."""

    type: msgspec.Raw = msgspec.Raw()
    v: msgspec.Raw = msgspec.Raw()
    user_id: msgspec.Raw = msgspec.Raw()
    pool_id: msgspec.Raw = msgspec.Raw()


_HEAD = msgspec.json.Decoder(_Head)
_WHOLE = msgspec.json.Decoder(msgspec.Raw)  # grammar alone
_T = TypeVar("_T")


def _head(record: Record, value: bytes) -> _Head:
    try:
        return _HEAD.decode(value)
    except msgspec.DecodeError as error:
        _require_json(record, value)  # msgspec stops at the first sign of something else
        raise rejected(record, Reason.NOT_OBJECT, str(error)) from None


def _require_json(record: Record, value: bytes) -> None:
    try:
        _WHOLE.decode(value)
    except msgspec.DecodeError as error:
        raise rejected(record, Reason.NOT_JSON, str(error)) from None


def _as(type_: type[_T], raw: msgspec.Raw) -> _T | None:
    """Return the field as `type_`, or None if it is absent or something else."""
    try:
        return msgspec.json.decode(raw, type=type_) if raw else None
    except msgspec.DecodeError:
        return None


def payload(record: Record) -> bytes:
    """Return the JSON bytes, without a registry's frame; text, but not yet known to be JSON."""
    value = record.value
    if not value:
        raise rejected(record, Reason.EMPTY)
    if len(value) > MAX_VALUE_BYTES:
        raise rejected(record, Reason.TOO_LARGE, f"{len(value)} bytes")
    if value[0] == 0 and len(value) >= FRAME_BYTES:
        value = value[FRAME_BYTES:]
        if not value:
            raise rejected(record, Reason.EMPTY, "only a registry frame")
    # msgspec skips unknown fields without a look at their encoding, so it is checked here.
    if not value.isascii():
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise rejected(record, Reason.NOT_UTF8, str(error)) from None
    # Depth d takes at least 2 * d bytes, so most values need no count.
    if len(value) > 2 * MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise rejected(record, Reason.NOT_JSON, f"nested deeper than {MAX_DEPTH}")
    return value


# One left open runs to the end of the value, or each quote in it would start another search.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = [1 if byte in b"[{" else -1 for byte in range(256)]


def _depth(value: bytes) -> int:
    """Return how deep arrays and objects nest; exact for JSON, any number for what is not.

    A value with few opening brackets is told at once: it cannot nest deeper than it has of them.
    """
    opened = value.count(b"{") + value.count(b"[")
    if opened <= MAX_DEPTH:
        return opened
    brackets = _STRING.sub(b"", value).translate(None, _NOT_BRACKETS)
    return max(accumulate(_STEP[byte] for byte in brackets), default=0)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Written(msgspec.Struct, gc=False):
    occurred_at: str


_WRITTEN = msgspec.json.Decoder(_Written)
_BEYOND_MICROSECONDS = re.compile(r"(\.\d{6})\d+")
_FRACTION_FROM = len('{"occurred_at":"2023-09-02T19:04:11')  # no fraction begins earlier


def _exact(value: bytes, at: datetime) -> datetime:
    """Undo the rounding of a seventh digit: 23:59:59.9999999 is not yet the next day.

    Times are cut to milliseconds, and msgspec has rounded to microseconds. Only 999 and a further
    digit can be carried into the next millisecond, so few values are looked at again.
    """
    if at.microsecond % 1_000 or value.find(b".", _FRACTION_FROM) < 0 or value.find(b"999") < 0:
        return at
    text = _BEYOND_MICROSECONDS.sub(r"\1", _WRITTEN.decode(value).occurred_at)
    return msgspec.convert(text, datetime)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        yield from _texts(list(value))
    elif isinstance(value, msgspec.Struct):
        yield from _texts(msgspec.structs.astuple(value))


def _require_no_control(record: Record, fact: Fact) -> None:
    """Refuse control characters in known texts: ids are joined by line feeds to be hashed (D5)."""
    for text in _texts(fact):
        if _CONTROL.search(text):
            raise rejected(record, Reason.SCHEMA, f"control character in {text!a}")

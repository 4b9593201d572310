"""The first place where the live world and the rebuilt one part: offset, user and field."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import orjson

from streams.errors import RewardsError
from streams.wire import rows

if TYPE_CHECKING:
    from streams.feed.ports import Headers, Outgoing, Record

SHOWN = 120
"""Longest value that is shown."""


class Difference(NamedTuple):
    """`where` is topic[partition]@offset, or where a record is missing."""

    where: str
    user: str  # or pool; "" where it is nobody's
    field: str
    found: str  # live
    wanted: str  # rebuilt

    def __str__(self) -> str:
        of = f" of {self.user}" if self.user else ""
        return f"{self.where}: {self.field}{of} is {self.found}, rebuilt {self.wanted}"


def at(record: Record) -> str:
    return f"{record.topic}[{record.partition}]@{record.offset}"


def shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def of_rows(where: str, key: bytes, found: bytes | None, wanted: bytes | None) -> Difference:
    """Return how two rows of one key differ: the first field that does, however deep."""
    name = key.decode(errors="backslashreplace")
    if found is None or wanted is None:
        states = tuple("nothing" if row is None else "a row" for row in (found, wanted))
        return Difference(where, name, "the row", *states)
    try:
        live = rows.decode(name, found)
    except RewardsError as error:
        return Difference(where, name, "the row", f"unreadable ({error})", "a row")
    field, was, is_ = _field("", live, rows.decode(name, wanted))
    return Difference(where, name, field or "the row's encoding", shown(was), shown(is_))


def of_outputs(where: str, found: Record, wanted: Outgoing, same: Headers) -> Difference:
    """Return how an output differs from the one that was to come. same: headers of `wanted`."""
    user = (wanted.key or b"").decode(errors="backslashreplace")
    if found.key != wanted.key:
        return Difference(where, user, "the key", shown(found.key), shown(wanted.key))
    if found.value != wanted.value:
        try:
            live, right = orjson.loads(found.value or b""), orjson.loads(wanted.value or b"")
        except orjson.JSONDecodeError:
            return Difference(where, user, "the value", shown(found.value), shown(wanted.value))
        field, was, is_ = _field("", live, right)
        return Difference(where, user, field or "the value's encoding", shown(was), shown(is_))
    for (name, live), (of, right) in zip_longest(found.headers, same, fillvalue=("", None)):
        if (name, live) != (of, right):
            return Difference(where, user, f"header {of or name}", shown(live), shown(right))
    raise AssertionError("they do not differ")


def _field(path: str, found: Any, wanted: Any) -> tuple[str, Any, Any]:
    """Return the path of the first difference, and both values; "" when there is none."""
    if isinstance(found, msgspec.Struct) and type(found) is type(wanted):
        pairs = {
            name: (getattr(found, name), getattr(wanted, name)) for name in found.__struct_fields__
        }
    elif isinstance(found, dict) and isinstance(wanted, dict):
        names = sorted({str(name) for name in (*found, *wanted)})
        pairs = {name: (found.get(name), wanted.get(name)) for name in names}
    elif isinstance(found, list | tuple) and isinstance(wanted, list | tuple):
        pairs = {str(n): pair for n, pair in enumerate(zip_longest(found, wanted))}
    else:
        return ("" if found == wanted else path or "the value"), found, wanted
    for name, (live, right) in pairs.items():
        if live != right:
            return _field(f"{path}.{name}" if path else name, live, right)
    return "", found, wanted

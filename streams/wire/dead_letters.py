"""What stands beside a dead letter: written in our words and those of three tools, read in all.

A letter is the refused record itself, key, value and headers untouched, with headers behind them:

    dl-*                    ours: reason, detail, topic, partition, offset, attempt, app-version
    __streams.errors.*      Kafka Streams' (KIP-1034), text; always written too
    __connect.errors.*      Kafka Connect's, text; written where `dead_letter_headers` says so
    kafka_dlt-*             Spring's, numbers as big-endian bytes; likewise

Of a name that comes twice the last counts, which is the writer's: a sender may have headers like
these. So nothing here is proof: a replay compares the record that stands at the place named.
Source: ecosystem.md 1.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from streams import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.errors import Reason
    from streams.feed.ports import Headers, Record

OURS = "dl-"
STREAMS = "__streams.errors."
CONNECT = "__connect.errors."
SPRING = "kafka_dlt-"

DIALECTS = {"connect": CONNECT, "spring": SPRING}
"""What may be written besides: the values of the setting `dead_letter_headers`."""

ATTEMPT = "dl-attempt"
"""On a letter and on a replayed record: how often it was tried, this time counted."""

REPLAY_OF = "dl-replay-of"
"""On a replayed record: the letter it comes from, as `<partition>@<offset>`."""

UNKNOWN = "unknown"
"""The reason of a letter that says none."""

_INT, _LONG = struct.Struct(">i"), struct.Struct(">q")


class Origin(NamedTuple):
    """Where the refused record stands, or stood; topic without prefix."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Letter(NamedTuple):
    """A dead letter without its bytes, so that a month of them fits into memory.

    partition, offset: its own place. written_ms: when it was refused. reason: of our closed list,
    else the name of another tool's exception. origin: None where the headers name none. attempt:
    1 the first time. dialect: whose headers they are: leidan, connect, spring, streams or none.
    user_id: what the key says. digest: of key and value. replay_of: the place of the letter
    that was replayed and died again as this one; empty where none was.
    """

    partition: int
    offset: int
    written_ms: int
    reason: str
    detail: str
    origin: Origin | None
    attempt: int
    version: str
    dialect: str
    user_id: str
    bytes: int
    digest: str
    replay_of: str

    @property
    def place(self) -> str:
        return f"{self.partition}@{self.offset}"


def headers_for(
    record: Record, reason: Reason, detail: bytes, dialects: Iterable[str] = ()
) -> Headers:
    """Return what goes behind the record's own headers."""
    topic = str(record.topic).encode()
    partition, offset = str(record.partition).encode(), str(record.offset).encode()
    why = reason.value.encode()
    attempt = b"1"
    for name, value in record.headers:
        if name == ATTEMPT and value:
            attempt = value  # a replayed record carries the number of its attempt
    added = [
        ("dl-reason", why),
        ("dl-detail", detail),
        ("dl-topic", topic),
        ("dl-partition", partition),
        ("dl-offset", offset),
        (ATTEMPT, attempt),
        ("dl-app-version", __version__.encode()),
        ("__streams.errors.exception", why),
        ("__streams.errors.message", detail),
        ("__streams.errors.topic", topic),
        ("__streams.errors.partition", partition),
        ("__streams.errors.offset", offset),
    ]
    # behind all others: what a setting adds is cut off where letters are compared (`compared`)
    if "connect" in dialects:
        added += [
            ("__connect.errors.topic", topic),
            ("__connect.errors.partition", partition),
            ("__connect.errors.offset", offset),
            ("__connect.errors.connector.name", b"leidan"),
            ("__connect.errors.stage", b"VALUE_CONVERTER"),
            ("__connect.errors.exception.class.name", why),
            ("__connect.errors.exception.message", detail),
        ]
    if "spring" in dialects:
        added += [
            ("kafka_dlt-original-topic", topic),
            ("kafka_dlt-original-partition", _INT.pack(record.partition)),
            ("kafka_dlt-original-offset", _LONG.pack(record.offset)),
            ("kafka_dlt-original-timestamp", _LONG.pack(record.recorded_at_ms)),
            ("kafka_dlt-original-timestamp-type", b"CreateTime"),
            ("kafka_dlt-exception-fqcn", why),
            ("kafka_dlt-exception-message", detail),
        ]
    return added


def compared(headers: Headers) -> Headers:
    """Return a letter's headers without those that only a setting adds, at their end."""
    end = len(headers)
    while end and headers[end - 1][0].startswith((CONNECT, SPRING)):
        end -= 1
    return headers[:end]


def own_headers(headers: Headers) -> Headers:
    """Return what the refused record itself had: all in front of what was added."""
    end = len(headers)
    while end and headers[end - 1][0].startswith((OURS, STREAMS, CONNECT, SPRING)):
        end -= 1
    return headers[:end]


def digest(key: bytes | None, value: bytes | None) -> str:
    """Return 32 hex digits that stand for a record's bytes; no key and an empty one differ."""
    found = blake2b(digest_size=16)
    for part in (key, value):
        found.update(b"-" if part is None else b"%d:" % len(part))
        found.update(part or b"")
    return found.hexdigest()


def read(record: Record, prefix: str = "") -> Letter:
    """Return what a record of `dead-letters` says; never raises, whoever wrote it.

    prefix: of topic names; other tools write names as the broker has them.
    """
    said = {name: value or b"" for name, value in record.headers}
    dialect, reason, detail, origin = _why(said, prefix)
    attempt = _number(said.get(ATTEMPT, b""))
    return Letter(
        record.partition,
        record.offset,
        record.recorded_at_ms,
        reason or UNKNOWN,
        detail,
        origin,
        max(attempt or 1, 1),
        _text(said.get("dl-app-version", b"")),
        dialect,
        _text(record.key or b""),
        len(record.value or b""),
        digest(record.key, record.value),
        _text(said.get(REPLAY_OF, b"")),
    )


def _why(said: dict[str, bytes], prefix: str) -> tuple[str, str, str, Origin | None]:
    """Return (dialect, reason, detail, origin) of the first dialect that names a topic."""
    text = {name: _text(value) for name, value in said.items()}
    if "dl-topic" in said:
        place = (_number(said.get("dl-partition", b"")), _number(said.get("dl-offset", b"")))
        why = (text.get("dl-reason", ""), text.get("dl-detail", ""))
        return "leidan", *why, _origin(text["dl-topic"], *place)
    if "kafka_dlt-original-topic" in said:
        place = (
            _packed(_INT, said.get("kafka_dlt-original-partition", b"")),
            _packed(_LONG, said.get("kafka_dlt-original-offset", b"")),
        )
        cause = text.get("kafka_dlt-exception-cause-fqcn")
        reason = cause or text.get("kafka_dlt-exception-fqcn", "")
        origin = _origin(text["kafka_dlt-original-topic"].removeprefix(prefix), *place)
        return "spring", reason, text.get("kafka_dlt-exception-message", ""), origin
    for dialect, of, exception, message in (
        ("connect", CONNECT, "exception.class.name", "exception.message"),
        ("streams", STREAMS, "exception", "message"),
    ):
        if of + "topic" in said:
            place = (
                _number(said.get(f"{of}partition", b"")),
                _number(said.get(f"{of}offset", b"")),
            )
            origin = _origin(text[f"{of}topic"].removeprefix(prefix), *place)
            return dialect, text.get(of + exception, ""), text.get(of + message, ""), origin
    return "none", text.get("dl-reason", ""), text.get("dl-detail", ""), None


def _origin(topic: str, partition: int | None, offset: int | None) -> Origin | None:
    if not topic or partition is None or offset is None or partition < 0 or offset < 0:
        return None
    return Origin(topic, partition, offset)


_MOST_DIGITS = 19  # of an offset: Python would read a megabyte of them


def _number(value: bytes) -> int | None:
    return int(value) if value.isdigit() and len(value) <= _MOST_DIGITS else None


def _packed(form: struct.Struct, value: bytes) -> int | None:
    return int(form.unpack(value)[0]) if len(value) == form.size else None


def _text(value: bytes) -> str:
    """Return it printable, on one line: whoever may write here must not move a terminal."""
    text = value.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

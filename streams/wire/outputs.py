"""Outputs to bytes: canonical JSON with CloudEvents headers (binary mode) and the cause's position.

The value is the bare event (orjson, sorted keys): the same output is the same bytes in every
replay. Positions are headers, not fields: a replay reads other offsets. Source: ecosystem.md 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from streams.feed.ports import Outgoing

if TYPE_CHECKING:
    from streams.domain.outputs import Output
    from streams.feed.ports import Record

_PASSED_ON = ("traceparent", "tracestate")


@lru_cache(maxsize=256)
def _of_type(topic: str, type_: str) -> tuple[tuple[str, bytes], ...]:
    return (
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_source", b"/leidan"),
        ("ce_type", f"leidan.{type_}.v1".encode()),
        ("ce_dataschema", f"/schemas/{topic}.v1.schema.json".encode()),
    )


@lru_cache(maxsize=4096)
def _caused_in(topic: str, partition: int) -> tuple[tuple[str, bytes], ...]:
    return (("cause-topic", topic.encode()), ("cause-partition", b"%d" % partition))


def encode(output: Output, cause: Record) -> Outgoing:
    """Return the record for an output caused by `cause`; the topic is without prefix."""
    key = output.key.encode()
    headers = [
        *_of_type(output.topic, output.type),
        ("ce_id", output.event_id.encode()),
        ("ce_subject", key),
        ("ce_time", output.body["occurred_at"].encode()),
        *_caused_in(cause.topic, cause.partition),
        ("cause-offset", b"%d" % cause.offset),
    ]
    if cause.headers:
        headers += [header for header in cause.headers if header[0] in _PASSED_ON]
    value = orjson.dumps(output.body, option=orjson.OPT_SORT_KEYS)
    return Outgoing(output.topic, key, value, headers)

"""The contract in one document: AsyncAPI 3.1 with Kafka bindings, made from `schemas/`.

`document()` describes every topic of the registry: its messages by type, their schema, key and
headers, who writes and who reads it, partitions, cleanup and retention. Nothing is said twice: what
the registry or a schema says is copied or pointed at, and headers are held to what the code writes
by a test. `leidan asyncapi > schemas/asyncapi.yaml` writes it. Source: ecosystem.md 1.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from streams import __version__
from streams.topics import (
    CHANGELOG,
    DEAD_LETTERS,
    DRAW_REQUESTS,
    DRAW_RESULTS,
    LOTTERY_DRAWS,
    NOTIFICATIONS,
    REWARDS,
    TASK_EVENTS,
    USER_KEYED,
    registry,
    schema_path,
    schemas_dir,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streams.topics import Topic

VERSION = "3.1.0"
KAFKA_BINDING = "0.5.0"
JSON_SCHEMA = "application/schema+json;version=draft-2020-12"
N = "N: a number that all user-keyed topics share, for ever"
GROUP = re.compile(r"\(group ([\w-]+)\)")
OURS = ("worker", "leidan", "backfill")

SAID = (REWARDS, TASK_EVENTS, NOTIFICATIONS, LOTTERY_DRAWS, DRAW_REQUESTS, DRAW_RESULTS)
"""What a fold says, with CloudEvents headers and the position of its cause."""

OUTPUT_HEADERS = {
    "content-type": "application/json",
    "ce_specversion": "1.0: CloudEvents in Kafka's binary mode",
    "ce_source": "/leidan",
    "ce_type": "leidan.<type of the value>.v<version>",
    "ce_dataschema": "The schema of the value, as /schemas/<topic>.v<version>.schema.json",
    "ce_id": "The value's event_id or request_id, derived: the same in every replay",
    "ce_subject": "The key: a user or a pool",
    "ce_time": "The value's occurred_at: event time, not when it was written",
    "cause-topic": "The input that this follows from: its topic, without prefix",
    "cause-partition": "its partition, in digits",
    "cause-offset": "and its offset, in digits",
}
TRACE_HEADERS = {
    "traceparent": "W3C Trace Context, passed from an input to what follows from it",
    "tracestate": "likewise",
}
INPUT_HEADERS = {
    "ce_id": "The payload's own id (<order_id>:<version> of an order); another is a dead letter",
    **TRACE_HEADERS,
    "dl-attempt": "On a record put back by `leidan dlq replay`: which attempt it is",
    "dl-replay-of": "likewise: the letter it comes from, as <partition>@<offset>",
}
MENDED_HEADERS = {
    "backfill-from": "On what `leidan backfill --into live` has put back: where it is from",
    "makegood-digest": "On what `leidan makegood` has emitted: the digest of the approved file",
}
LETTER_HEADERS = {
    "dl-reason": "Why: of the closed list in schemas/README.md",
    "dl-detail": "What is wrong, in ASCII, at most 200 characters",
    "dl-topic": "Where the record stands: its topic, without prefix",
    "dl-partition": "its partition, in digits",
    "dl-offset": "and its offset, in digits",
    "dl-attempt": "How often it was tried, this time counted",
    "dl-app-version": "Which version of leidan refused it",
    "__streams.errors.exception": "As dl-reason, in the words of Kafka Streams (KIP-1034)",
    "__streams.errors.message": "As dl-detail",
    "__streams.errors.topic": "As dl-topic",
    "__streams.errors.partition": "As dl-partition",
    "__streams.errors.offset": "As dl-offset",
}
"""Each by name, with its meaning; values are text in UTF-8."""

NO_SCHEMA = {
    DEAD_LETTERS: ("letter", "The refused record's value, byte for byte; no schema holds for it."),
    CHANGELOG: (
        "row",
        "A row, or a meta row: internal, with a version byte. No value: it is gone.",
    ),
}


def document(prefix: str = "", partitions: int | None = None) -> dict[str, Any]:
    """Return the contract, or that of one installation.

    prefix: put before every topic's name. partitions: N of the user-keyed topics; None leaves it
    open, as `schemas/asyncapi.yaml` does.
    """
    topics = registry().values()
    operations: dict[str, Any] = {}
    for topic in topics:
        operations |= _operations(topic)
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "leidan",
            "version": __version__,
            "description": "Cumulative-order rewards from an order log, exactly once. Operations "
            "are those of leidan itself: what it receives is what others write. Conventions that "
            "hold for all topics, and every dead-letter reason: schemas/README.md.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.topic: _channel(topic, prefix, partitions) for topic in topics},
        "operations": operations,
        "components": {
            "schemas": {
                "InputHeaders": _headers({}, INPUT_HEADERS),
                "OutputHeaders": _headers(OUTPUT_HEADERS, TRACE_HEADERS | MENDED_HEADERS),
                "LetterHeaders": _headers(LETTER_HEADERS, {}),
            }
        },
    }


def text(found: dict[str, Any]) -> str:
    """Return a document as YAML, its first lines saying who has written it."""
    head = "# Written by `leidan asyncapi > schemas/asyncapi.yaml`; a test holds the two equal.\n"
    return head + str(yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=100))


def path() -> Path:
    """Return where the committed document lies, in the checkout or the installed package."""
    return schemas_dir() / "asyncapi.yaml"


def _channel(topic: Topic, prefix: str, partitions: int | None) -> dict[str, Any]:
    configs = {**topic.configs, "cleanup.policy": [topic.configs["cleanup.policy"]]}
    kafka: dict[str, Any] = {"topicConfiguration": configs, "bindingVersion": KAFKA_BINDING}
    if topic.partitions != "N" or partitions is not None:
        kafka["partitions"] = topic.partition_count(partitions or 1)
    found: dict[str, Any] = {
        "address": prefix + topic.topic,
        "description": topic.purpose,
        "messages": dict(_messages(topic)),
        "bindings": {"kafka": kafka},
        "x-key": topic.key,
        "x-producers": list(topic.producers),
        "x-consumers": list(topic.consumers),
        "x-compatibility": topic.schemas.compatibility,
    }
    if "partitions" not in kafka:
        found["x-partitions"] = N
    return found


def _messages(topic: Topic) -> Iterator[tuple[str, Any]]:
    """Yield each type of each published version, by name; bytes are one message without a type."""
    if topic.topic in NO_SCHEMA:
        name, meaning = NO_SCHEMA[topic.topic]
        payload = {"type": "string", "format": "binary", "description": meaning}
        yield name, _message(topic, name, payload) | {"contentType": "application/octet-stream"}
    for version in topic.schemas.versions:
        file = schema_path(topic.topic, version)
        for type_, meaning in sorted(_types(json.loads(file.read_text("utf-8"))).items()):
            just = {"properties": {"type": {"const": type_}}}
            schema = {"allOf": [{"$ref": f"./{file.name}"}, just]}
            name = f"{type_}.v{version}"
            found = _message(topic, name, {"schemaFormat": JSON_SCHEMA, "schema": schema})
            yield name, found | {"description": meaning}


def _message(topic: Topic, name: str, payload: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "payload": payload}
    if headers := _headers_of(topic.topic, name):
        found["headers"] = headers
    if not topic.key.startswith("none"):
        key = {"type": "string", "description": topic.key}
        found["bindings"] = {"kafka": {"key": key, "bindingVersion": KAFKA_BINDING}}
    return found


def _headers_of(topic: str, name: str) -> dict[str, Any] | None:
    """Return the headers of a message; None where it has none."""
    if topic in SAID:
        just = {"properties": {"ce_type": {"const": f"leidan.{name}"}}}
        return {"allOf": [{"$ref": "#/components/schemas/OutputHeaders"}, just]}
    if topic == DEAD_LETTERS:
        return {"$ref": "#/components/schemas/LetterHeaders"}
    if topic in USER_KEYED:
        return {"$ref": "#/components/schemas/InputHeaders"}
    return None


def _headers(required: dict[str, str], optional: dict[str, str]) -> dict[str, Any]:
    """Return the schema of headers; others are welcome, and passed on to dead letters."""
    properties = {
        name: {"type": "string", "description": meaning}
        for name, meaning in (required | optional).items()
    }
    found: dict[str, Any] = {"type": "object", "properties": properties}
    return found | ({"required": list(required)} if required else {})


def _types(schema: dict[str, Any]) -> dict[str, str]:
    """Return the types a topic's schema has, each with the schema's own words for it."""
    found: dict[str, list[str]] = {}
    for variant in schema.get("oneOf", [schema]):
        whole = variant
        if "$ref" in variant:
            whole = schema["$defs"][variant["$ref"].rpartition("/")[2]]
        told = whole["properties"]["type"]
        for type_ in told.get("enum") or [told["const"]]:
            found.setdefault(type_, []).append(whole.get("description") or told["description"])
    return {type_: " Or: ".join(words) for type_, words in found.items()}


def _operations(topic: Topic) -> dict[str, Any]:
    """Return what leidan does with a topic: it sends, receives, or both."""
    found: dict[str, Any] = {}
    for action, who in (("send", topic.producers), ("receive", topic.consumers)):
        ours = [one for one in who if one.startswith(OURS)]
        if not ours:
            continue
        words = "".join(word.capitalize() for word in topic.topic.split("-"))
        one: dict[str, Any] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{topic.topic}"},
            "summary": ", ".join(ours),
        }
        groups = GROUP.findall(" ".join(ours))
        if action == "receive" and groups:
            group = {"type": "string", "const": groups[0]}
            one["bindings"] = {"kafka": {"groupId": group, "bindingVersion": KAFKA_BINDING}}
        found[f"{action}{words}"] = one
    return found

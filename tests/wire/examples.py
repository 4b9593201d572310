"""The example files of `schemas/examples`, as records: read by tests here and in tests/contract.

A file is the value of a record, byte for byte. What is unusual about the record around it stands
beside it in `<name>.record.yaml`: key, headers, recorded_at; of a definition also the `known` ones,
by the names of valid examples. Otherwise the key is the value's user_id (none without one) and the
record was written on 2026-01-01, later than any example.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from streams.feed.ports import Record
from streams.topics import schemas_dir
from streams.wire import cancellations, claims, draw_requests, draw_results, orders, results, ticks

if TYPE_CHECKING:
    from pathlib import Path

DECODERS = {
    "orders": orders.decode,
    "claims": claims.decode,
    "cancellations": cancellations.decode,
    "reward-results": results.decode,
    "draw-requests": draw_requests.decode,
    "draw-results": draw_results.decode,
    "ticks": ticks.decode,
}
KEYS = {"draw-requests": "pool_id"}  # of the others: user_id
WRITTEN_AT = "2026-01-01T00:00:00+00:00"


class Example(NamedTuple):
    topic: str
    kind: str  # valid, tolerated, invalid
    path: Path

    @property
    def reason(self) -> str:
        """For an invalid one: the reason its name begins with."""
        return self.path.stem.partition("--")[0]

    @property
    def value(self) -> bytes:
        return self.path.read_bytes()

    @property
    def around(self) -> dict[str, Any]:
        beside = self.path.with_name(self.path.stem + ".record.yaml")
        return yaml.safe_load(beside.read_text("utf-8")) if beside.exists() else {}

    @property
    def known(self) -> list[Example]:
        """What was defined before, for a definition that names it."""
        valid = self.path.parents[1] / "valid"
        return [
            Example(self.topic, "valid", valid / f"{name}.json")
            for name in self.around.get("known", [])
        ]

    @property
    def recorded_at_ms(self) -> int:
        return ms(self.around.get("recorded_at", WRITTEN_AT))

    @property
    def record(self) -> Record:
        around = self.around
        key = around["key"] if "key" in around else key_of(self.value, self.topic)
        headers = [(name, text.encode()) for name, text in around.get("headers", {}).items()]
        key = None if key is None else key.encode()
        return Record(self.topic, 0, 0, key, self.value, headers, self.recorded_at_ms)

    def __str__(self) -> str:
        return f"{self.topic}/{self.path.stem}"


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def key_of(value: bytes, topic: str) -> str | None:
    try:
        key = json.loads(value).get(KEYS.get(topic, "user_id"))
    except (ValueError, AttributeError):
        return None
    return key if isinstance(key, str) else None


def examples(*kinds: str, topics: tuple[str, ...] = ()) -> list[Example]:
    """Return the examples of these kinds, of some topics or of all."""
    files = (path for path in (schemas_dir() / "examples").rglob("*") if path.is_file())
    found = [
        Example(path.parts[-4], path.parts[-2], path)
        for path in sorted(files)
        if not path.name.endswith(".record.yaml")
    ]
    return [e for e in found if e.kind in kinds and (not topics or e.topic in topics)]

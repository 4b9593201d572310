"""Definitions: bytes from the `campaigns` topic, or a file, to what they define, checked.

A record must take effect at least LEAD_MS after its own timestamp, so that every worker, and every
replay, has it before it is needed (D9). A definition read from a file is in force as written.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from streams.domain.definition import definition_from
from streams.errors import CampaignRefused, Reason, UsageError
from streams.wire.envelope import LEAD_MS, MAX_VALUE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from streams.domain.definition import Definition


def decode(value: bytes, recorded_at_ms: int | None, source: str = "campaigns") -> Definition:
    """Return what one record defines.

    recorded_at_ms: the record's own timestamp, or None for a file.
    Raises CampaignRefused naming every problem; its `reason` says which dead letter it would be.
    """
    if len(value) > MAX_VALUE_BYTES:
        raise CampaignRefused(source, [f"{len(value)} bytes: larger than {MAX_VALUE_BYTES}"])
    try:
        definition = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise CampaignRefused(source, [f"line {error.lineno}: not JSON: {error.msg}"]) from None
    return _checked(definition, recorded_at_ms, source)


def _checked(definition: Any, recorded_at_ms: int | None, source: str) -> Definition:
    record, problems = definition_from(definition)
    if record is None:
        raise CampaignRefused(source, problems)
    if recorded_at_ms is not None and record.effective_from_ms < recorded_at_ms + LEAD_MS:
        early = recorded_at_ms + LEAD_MS - record.effective_from_ms
        problem = f"effective_from: must lie 60 s after its record; {early} ms too soon"
        refused = CampaignRefused(source, [problem])
        refused.reason = Reason.CAMPAIGN_TOO_SOON
        raise refused
    return record


def read_files(paths: Iterable[Path]) -> tuple[list[Definition], str]:
    """Return what these files define, in order, and 16 hex digits that stand for it; "" for none.

    Raises as `read_file`.
    """
    found: list[Definition] = []
    each: list[bytes] = []
    for path in paths:
        data = _bytes(path)
        found += _definitions(path, data)
        each.append(hashlib.sha256(data).digest())
    return found, hashlib.sha256(b"".join(each)).hexdigest()[:16] if each else ""


def fields_of(one: msgspec.Struct) -> Iterator[tuple[str, Any, bool]]:
    """Yield (name, plain value, equals its default) of a definition, in the order of its struct."""
    for field in msgspec.structs.fields(one):
        value, default = getattr(one, field.name), field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        usual = default is not msgspec.NODEFAULT and value == default
        if isinstance(value, Enum):
            value = value.name.lower()
        yield field.name, msgspec.to_builtins(value, str_keys=True, order="deterministic"), usual


def read_file(path: Path) -> list[Definition]:
    """Return the definitions of a file: one JSON object, a list of them, or one a line (NDJSON).

    Raises UsageError when it cannot be read, CampaignRefused when a definition is unclear.
    """
    return _definitions(path, _bytes(path))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path}: {error.strerror}: give the path of a campaign definition"
        raise UsageError(msg) from None


def _definitions(path: Path, data: bytes) -> list[Definition]:
    try:
        whole = orjson.loads(data)
    except orjson.JSONDecodeError:
        lines = [(i, line) for i, line in enumerate(data.splitlines(), 1) if line.strip()]
        return [decode(line, None, f"{path}:{i}") for i, line in lines]
    many = whole if isinstance(whole, list) else [whole]
    return [_checked(one, None, str(path)) for one in many]

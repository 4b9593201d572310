"""What a worker says of itself: lines for people, or one JSON object a line (`log_format`).

A line about a record names it in its text, and carries `topic`, `partition` and `offset` as fields
of their own: `log.info("%s: ...", position, extra=position._asdict())`. A test holds every such
line of the worker to that. Secrets are in neither form. Source: ecosystem.md 4.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from streams.settings import redacted

FIELDS = ("topic", "partition", "offset", "records", "reasons")
"""What a line may carry beside its text: the place of a record, the first of several where there
are `records`; `reasons` counts dead letters."""

NOISY = ("faust", "mode", "aiokafka", "aiohttp")
"""Whose talk below warning is noise beside ours."""


class Text(logging.Formatter):
    """For people; the last line of defence: whatever is logged, tracebacks too, has no secret."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class Json(logging.Formatter):
    """One object a line: time (UTC), level, logger, message, and FIELDS where the line has them.

    A traceback is the field `error`, so that it stays on its line.
    """

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        told: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        told |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            told["error"] = redacted(self.formatException(record.exc_info))
        return json.dumps(told, ensure_ascii=False, default=str)


def to_stderr(level: str, form: Literal["text", "json"] = "text") -> None:
    """Send all of it to stderr, from this level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if form == "json" else Text())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)

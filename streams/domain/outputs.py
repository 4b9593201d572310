"""What goes out: ledger entries and task events, as plain values.

`body` is the public value, whole; `wire/outputs.py` turns it into canonical JSON. `occurred_at` is
the cause's own time (D8). Source: semantics.md 4.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Output(msgspec.Struct, frozen=True):
    """One record for one topic; the same history gives the same event_id and body (D5)."""

    topic: str  # "rewards", "task-events", "lottery-draws", ... without prefix
    type: str  # "reward.issued", "task.advanced", ...
    event_id: str
    key: str  # of the record: the user, or in topics of pools the pool
    body: dict[str, Any]

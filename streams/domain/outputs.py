"""What goes out: ledger entries and task events, as plain values.

`body` holds the public fields but for type, v, user_id and event_id, which every output has;
`wire/outputs.py` turns the whole into canonical JSON. Source: semantics.md 4.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Output(msgspec.Struct, frozen=True):
    """One record for one topic; the same history gives the same event_id and body (D5)."""

    topic: str  # "rewards" or "task-events", without prefix
    type: str  # "reward.issued", "task.advanced", ...
    event_id: str
    user_id: str
    occurred_at_ms: int  # the cause's own time (D8)
    body: dict[str, Any]

"""Verdicts of the risk service: review holds rewards, block lets nothing count, clear undoes both.

A verdict is about one order, or about the user and so about every order and claim of theirs. Of
several about the same, the latest by its own time acts. For a task, one recorded after its horizon
comes too late, as a cancellation would; unlike a cancellation, it waits for its order without end.
Source: semantics.md 4 (`risk.verdict`), 3 (P4, C4), 5; question 47.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain.days import NEVER_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.events import RiskVerdict

REVIEW, BLOCK = "review", "block"
RISK = "RISK"  # the code of an order that does not count because of a block


def acting(verdicts: Sequence[RiskVerdict], horizon_ms: int = NEVER_MS) -> str:
    """Return the latest verdict recorded by the horizon, or the empty text. In key order."""
    for verdict in reversed(verdicts):
        if verdict.recorded_at_ms <= horizon_ms:
            return verdict.verdict
    return ""

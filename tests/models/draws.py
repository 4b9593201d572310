"""The draw of semantics.md 6: secret seed, commitment, ticket, hit. By hand, with hashlib alone."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.models.ids import sampled


def commitment(pool_id: str, seed: bytes) -> str:
    return hashlib.sha256(f"leidan/commit/1\n{pool_id}\n{seed.hex()}".encode()).hexdigest()


def odds_digest(odds: dict[str, Any]) -> str:
    text = json.dumps(odds, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def ticket(  # noqa: PLR0913  all that a draw depends on
    seed: bytes, pool_id: str, odds_version: int, task_id: str, label: str, denominator: int
) -> tuple[int, int]:
    """(ticket, counter)."""
    lines = ["leidan/draw/1", pool_id, str(odds_version), task_id, label]
    return sampled(seed, lines, denominator)


def hit(odds: dict[str, Any], number: int) -> str | None:
    """The first prize whose running sum of weights, in published order, is above the ticket."""
    running = 0
    for weighed in odds["weights"]:
        running += weighed["weight"]
        if running > number:
            return weighed["prize_id"]
    return None


def free_from_ms(  # noqa: PLR0913  all that pacing depends on
    seed: bytes,
    pool_id: str,
    prize: dict[str, Any],
    opens_ms: int,
    closes_ms: int,
    unit: int,
) -> int:
    """When unit k of a paced prize is free."""
    slot = (closes_ms - opens_ms) // prize["stock"]
    at_ms = opens_ms + unit * slot
    if prize["release"].get("jitter"):
        lines = ["leidan/release/1", pool_id, prize["prize_id"], str(unit)]
        at_ms += sampled(seed, lines, slot)[0]
    return at_ms

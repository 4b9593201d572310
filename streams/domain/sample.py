"""Fair integers that anybody can compute again: commitment, ticket, walk of the weights (D7).

Everything is SHA-256 or HMAC-SHA256 over lines of text: integers in decimal without leading zeros,
hex in small letters, lines joined by one LF with none at the end. No floats, no modulo bias.
Source: semantics.md 6, `Algorithm`.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SEED_BYTES = 32
WORD = 2**64


def sample(key: bytes | None, lines: Sequence[str], width: int) -> tuple[int, int]:
    """Return (value, counter): value uniform in 0..width-1, counter the tries it took less one.

    Each try hashes the lines and its own number; what would favour small values is thrown away.
    key: the secret seed, or None for choices that need no secret. width: 1..2**64.
    """
    limit = WORD - WORD % width
    counter = 0
    while True:
        text = "\n".join((*lines, str(counter))).encode()
        digest = sha256(text).digest() if key is None else hmac.digest(key, text, "sha256")
        r = int.from_bytes(digest[:8], "big")
        if r < limit:
            return r % width, counter
        counter += 1


def commitment(pool_id: str, seed: bytes) -> str:
    """Return what is published before the pool opens; the seed stays secret until the reveal."""
    return sha256(f"leidan/commit/1\n{pool_id}\n{seed.hex()}".encode()).hexdigest()


def odds_digest(odds: dict[str, Any]) -> str:
    """Return the digest of one odds table: {odds_version, denominator, weights: [...]}."""
    return sha256(canonical(odds)).hexdigest()


canonical = msgspec.json.Encoder(order="sorted").encode
"""Return canonical JSON: UTF-8, sorted keys, no spaces. The bytes that topics carry (wire)."""


def ticket(  # noqa: PLR0913 - these are what a draw is made of
    seed: bytes, pool_id: str, odds_version: int, task_id: str, step: str, denominator: int
) -> tuple[int, int]:
    """Return (ticket, counter) of one draw: the same chance always gives the same one."""
    lines = ("leidan/draw/1", pool_id, str(odds_version), task_id, step)
    return sample(seed, lines, denominator)


def hit(ticket_: int, weights: Iterable[tuple[str, int]]) -> str | None:
    """Return the first prize, in published order, at which the summed weights exceed the ticket."""
    total = 0
    for prize_id, weight in weights:
        total += weight
        if total > ticket_:
            return prize_id
    return None


def unit_delay_ms(seed: bytes, pool_id: str, prize_id: str, unit: int, slot_ms: int) -> int:
    """Return how far into its slot a unit is held back: the jitter of release pacing."""
    if slot_ms < 1:
        return 0
    lines = ("leidan/release/1", pool_id, prize_id, str(unit))
    return sample(seed, lines, slot_ms)[0]

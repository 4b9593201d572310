"""The arithmetic of a draw, a second time: from semantics.md 6 alone, with nothing of ours.

Written to disagree with `streams.domain.sample` wherever one of the two misreads the text: another
HMAC (the two nested hashes of RFC 2104 by hand), another search for the limit, another JSON.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

BLOCK = 64


def digest(text: bytes) -> bytes:
    return hashlib.new("sha256", text).digest()


def mac(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA256 as RFC 2104 has it."""
    if len(key) > BLOCK:
        key = digest(key)
    padded = key + bytes(BLOCK - len(key))
    inner = digest(bytes(b ^ 0x36 for b in padded) + text)
    return digest(bytes(b ^ 0x5C for b in padded) + inner)


def uniform(key: bytes | None, lines: list[str], width: int) -> tuple[int, int, bytes, int]:
    """Return (value, counter, d, r) of section 6.3."""
    for counter in range(10_000):
        text = f"{counter:d}".encode()
        for line in reversed(lines):
            text = line.encode("utf-8") + b"\x0a" + text
        d = mac(key, text) if key is not None else digest(text)
        r = 0
        for byte in d[:8]:
            r = r * 256 + byte
        whole = (2**64 // width) * width  # the largest multiple of width: 2^64 - (2^64 mod W)
        if r < whole:
            return r - (r // width) * width, counter, d, r
    raise AssertionError("10,000 rejections in a row")


def hashed_id(kind: str, *parts: str) -> str:
    text = f"leidan/{kind}/1"
    for part in parts:
        text += chr(10) + part
    return "".join(f"{byte:02x}" for byte in digest(text.encode("utf-8"))[:16])


def commitment(pool_id: str, seed: bytes) -> str:
    text = "leidan/commit/1" + chr(10) + pool_id + chr(10) + "".join(f"{b:02x}" for b in seed)
    return "".join(f"{byte:02x}" for byte in digest(text.encode("utf-8")))


def as_json(value: Any) -> str:
    """Canonical JSON of what odds are made of: objects, lists, texts of plain letters, integers."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{as_json(k)}:{as_json(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(as_json(each) for each in value) + "]"
    if isinstance(value, str):
        assert all(32 <= ord(c) < 127 and c not in '"\\' for c in value), value
        return f'"{value}"'
    assert isinstance(value, int)
    assert not isinstance(value, bool)
    return str(value)


def odds_digest(odds: dict[str, Any]) -> str:
    return hashlib.sha256(as_json(odds).encode("utf-8")).hexdigest()


def chance_of_more(square: float, freedom: int) -> float:
    """Return the chance that chi-square of so many degrees is at least this large.

    The upper incomplete gamma function, regularised: one less its series (Abramowitz, 6.5.29).
    """
    a, x = freedom / 2, square / 2
    if x == 0:
        return 1.0
    term = total = 1 / a
    n = a
    while term > total * 1e-15:
        n += 1
        term *= x / n
        total += term
    return 1 - total * math.exp(-x + a * math.log(x) - math.lgamma(a))

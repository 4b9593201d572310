"""Times as a user types them: RFC 3339 with an offset."""

from __future__ import annotations

import re

AGO = re.compile(r"([1-9]\d{0,4})([dhm])")
UNIT_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000}


def millis(text: str) -> int | None:
    """Return the time in ms since 1970, None for what is none; the caller says of which option."""
    from streams.domain.days import instant_ms

    try:
        return instant_ms(text)
    except ValueError:
        return None


def moment(option: str, text: str | None, now_ms: int) -> int | None:
    """Return the time of an option in ms: `30d`, `12h`, `5m` ago, or RFC 3339; None: not given.

    Raises UsageError.
    """
    from streams.errors import UsageError

    if text is None:
        return None
    if ago := AGO.fullmatch(text):
        return now_ms - int(ago[1]) * UNIT_MS[ago[2]]
    if (at_ms := millis(text)) is None:
        raise UsageError(
            f"{option} {text}: neither like 30d, 12h or 5m ago, nor a time like "
            "2026-01-05T08:00:00+08:00"
        )
    return at_ms

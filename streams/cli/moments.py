"""Times as a user types them: RFC 3339 with an offset."""

from __future__ import annotations


def millis(text: str) -> int | None:
    """Return the time in ms since 1970, None for what is none; the caller says of which option."""
    from streams.domain.days import instant_ms

    try:
        return instant_ms(text)
    except ValueError:
        return None

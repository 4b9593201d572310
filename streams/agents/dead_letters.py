"""The agent `dead-letters`: plain Faust, per event; it only counts what operators should look at.

Also what keeps Faust alive: a worker that subscribes to no topic at all crashes at start. Losing or
doubling a count here costs nothing, so Faust's own commits are good enough (reliability.md 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    import faust

UNKNOWN = "unknown"
"""What no worker of ours wrote: whoever may write to the topic must not name our metrics."""

_REASONS = {reason.value.encode(): reason.value for reason in Reason}


def reason_of(headers: Any) -> str:
    """Return the reason a dead letter carries, from the closed list, or UNKNOWN.

    headers: a mapping or (name, value) pairs, as the client hands them out; of a name that comes
    twice the last counts, which is ours.
    """
    found = dict(headers or ()).get("dl-reason")
    return _REASONS.get(found, UNKNOWN) if isinstance(found, bytes) else UNKNOWN


def register(app: faust.App, topic: str, seen: Callable[[str], None]) -> None:
    """``seen(reason)`` is called for every dead letter of any worker."""
    channel = app.topic(
        topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )

    @app.agent(channel, name="dead-letters")
    async def on_dead_letters(letters: Any) -> None:
        """dead-letters → a count by reason."""
        async for event in letters.events():
            seen(reason_of(event.message.headers))

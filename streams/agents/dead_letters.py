"""The agent `dead-letters`: plain Faust, per event; it only counts what operators should look at.

Also what keeps Faust alive: a worker that subscribes to no topic at all crashes at start. Losing or
doubling a count here costs nothing, so Faust's own commits are good enough (reliability.md 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import faust


def register(app: faust.App, topic: str, seen: Callable[[str], None]) -> None:
    """``seen(reason)`` is called for every dead letter of any worker."""
    channel = app.topic(
        topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )

    @app.agent(channel, name="dead-letters")
    async def on_dead_letters(letters: Any) -> None:
        """dead-letters → a count by reason."""
        async for event in letters.events():
            headers = event.message.headers or {}
            reason = dict(headers).get("dl-reason", b"")
            seen(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason))

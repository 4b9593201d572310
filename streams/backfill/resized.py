"""Whether rows were brought here by a resize: what gave them lies on the topics of before alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from streams import topics
from streams.errors import BrokerUnreachable, Refused
from streams.feed.history import KafkaHistory
from streams.feed.ports import BrokerLost
from streams.store import meta

if TYPE_CHECKING:
    from streams.feed.ports import Record
    from streams.settings import Settings

WAIT_S = 5.0
"""For the first record; behind an open transaction none can be read, and nothing was brought."""


def origin_of(settings: Settings) -> meta.Resized | None:
    """Return where these topics' first rows were brought from; None: they were folded here.

    Raises BrokerUnreachable.
    """
    history, until_s = KafkaHistory(settings, lambda: False), time.monotonic() + WAIT_S
    try:
        low, end = history.high_watermark(topics.CHANGELOG, 0)
        if low == end:
            return None
        history.seek(topics.CHANGELOG, 0, low)
        while history.position() < end and time.monotonic() < until_s:
            if found := history.read(1, 0.5):
                return origin_in(found[0])
    except BrokerLost as error:
        raise BrokerUnreachable(str(error)) from error
    finally:
        history.close()
    return None


def origin_in(first: Record) -> meta.Resized | None:
    """Return what the first record of a changelog says of where its rows came from, if it does."""
    return meta.decode_resized(first.value or b"") if first.key == meta.RESIZED else None


def told(origin: meta.Resized) -> str:
    """Return what a reader of the log should know."""
    return (
        f"rows were brought here by `leidan state resize` from {origin.partitions} partitions of "
        f"topics with the prefix {origin.prefix!r}: what users did before lies there alone"
    )


def require_whole(settings: Settings) -> None:
    """Refuse to fold these topics from their beginning where it is not that of their rows."""
    origin = origin_of(settings)
    if origin is not None:
        raise Refused(
            f"{settings.topic(topics.CHANGELOG)}: {told(origin)}. Nothing can be folded again from "
            f"here; what was until then, with --topic-prefix {origin.prefix!r}"
        )

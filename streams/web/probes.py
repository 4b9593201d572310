"""What a kubelet asks: is this worker to be ended, and is it to be sent users (ecosystem.md 3).

Both answer 200 or 503 and say why. A startup probe asks /readyz too: it sees the restore move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from streams.web.server import Answer

if TYPE_CHECKING:
    from streams.feed.loop import Feed
    from streams.feed.watchdog import Watchdog


def live(watchdog: Watchdog, now_s: float) -> Answer:
    """Answer /livez: the loop turns, and no record read is older than its unit of work may be.

    now_s: monotonic. An idle worker lives, and so does one with a parked partition or without a
    broker: ending those mends nothing.
    """
    stuck = watchdog.verdict(now_s)
    return _said(stuck or "")


def ready(feed: Feed) -> Answer:
    """Answer /readyz: partitions are assigned, and all of them restored. Any thread may ask.

    ``restore_remaining_rows``: changelog records still to be read, of all partitions.
    """
    owned = list(feed.owned.values())
    restoring = sorted(one.p for one in owned if not one.restored)
    why = f"partitions {restoring} are being restored" if restoring else ""
    return _said(
        why if owned else "no partition is assigned",
        restore_remaining_rows=sum(one.remaining for one in owned),
    )


def _said(why: str, **more: int) -> Answer:
    said = {"ok": not why, "why": why, **more}
    return Answer(503 if why else 200, orjson.dumps(said), headers={"Cache-Control": "no-store"})

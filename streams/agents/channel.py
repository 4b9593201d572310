"""The channel a batch crosses from the feed to its agent."""

from __future__ import annotations

from typing import Any

from faust.channels import Channel
from mode.utils.queues import FlowControlEvent, ThrowableQueue


class BatchChannel(Channel[Any]):
    """`app.channel()` with a queue Faust's flow control does not touch.

    Faust suspends and *empties* every channel's queue when its own consumer rebalances or stops
    (`faust/app/base.py`, `_stop_consumer` and `on_rebalance_start`). That consumer only watches
    dead-letters; a batch of ours dropped from a queue would never be answered (seen: every SIGTERM
    under load ended in exit 71).
    """

    @property
    def queue(self) -> Any:
        if self._queue is None:
            self._queue = ThrowableQueue(
                maxsize=self.maxsize or 1,
                flow_control=FlowControlEvent(initially_suspended=False, loop=self.app.loop),
            )
        return self._queue

"""Which worker to send a user's question to, remembered for some seconds."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

KEPT_S = 3.0
"""How long an answer is good for. Our own rebalances end it at once: each moves partitions."""


class Owners:
    """Asks at most one question at a time, however many wait for its answer."""

    def __init__(
        self,
        ask: Callable[[], Future[dict[int, str]]],
        epoch: Callable[[], object],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """ask: addresses by partition. epoch: what changes whenever this worker's own part does."""
        self._ask, self._epoch, self._clock_s = ask, epoch, clock_s
        self._known: dict[int, str] = {}
        self._until_s, self._of = -1.0, object()
        self._asking: asyncio.Future[dict[int, str]] | None = None

    async def of(self, p: int) -> str | None:
        """Return the address of p's owner, "" if it has none; None: nobody owns p.

        Raises what asking raises.
        """
        if self._clock_s() < self._until_s and self._of == self._epoch():
            return self._known.get(p)
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._refresh())
            self._asking.add_done_callback(self._asked)
        return (await asyncio.shield(self._asking)).get(p)

    def forget(self) -> None:
        """Ask anew next time: what we knew was wrong."""
        self._until_s = -1.0

    async def _refresh(self) -> dict[int, str]:
        epoch = self._epoch()
        known = await asyncio.wrap_future(self._ask())
        # Nobody's is soon somebody's: a group that rebalances is asked again.
        self._known, self._of = known, epoch
        self._until_s = self._clock_s() + (KEPT_S if known else 0.2)
        return known

    def _asked(self, done: asyncio.Future[dict[int, str]]) -> None:
        self._asking = None
        if not done.cancelled():
            done.exception()  # taken by those who wait, if any still do

"""The feed as a Faust Service: four verbs in a loop (D3).

Poll; put each batch on its agent's channel; await the batch's answer; commit. What blocks runs in
one thread of its own, so the event loop, Faust's signals and the agents stay awake, and consumer
and producer are only ever used by that thread.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from mode import Service

from streams.errors import Exit, RewardsError
from streams.feed.background import Background
from streams.feed.batch import stop_process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streams.feed.loop import Feed
    from streams.feed.unit_of_work import UnitOfWork

log = logging.getLogger(__name__)

POLL_S = 0.2
"""Longest wait for records; also how long a stop may have to wait for the poll under way."""

SPACING_S = 0.02
"""From one unit of work to the next, but under lag: whatever is in it, a transaction asks a broker
20 things, a produce request for each partition it writes to among them (librdkafka#1700)."""


class FeedService(Service):
    """Drives a `Feed`; ends the process when something ends it (Faust would swallow it)."""

    def __init__(  # noqa: PLR0913 - made in app.py only
        self,
        feed: Feed,
        channels: Mapping[str, Any],
        *,
        on_committed: Callable[[UnitOfWork], None],
        on_second: Callable[[], None],
        on_exit: Callable[[], None],
        exit_when_idle_s: float | None,
        idle: Callable[[], bool],
        stop_worker: Callable[[], None],
        **kwargs: Any,
    ) -> None:
        self.feed, self.channels = feed, channels
        self._on_committed, self._on_second, self._on_exit = on_committed, on_second, on_exit
        self._exit_when_idle_s = math.inf if exit_when_idle_s is None else exit_when_idle_s
        self._idle, self._stop_worker = idle, stop_worker
        self._thread = Background("feed")
        self._second_s = self._idle_since_s = time.monotonic()
        self._looping: asyncio.Future[None] | None = None
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        await self._in_thread(self.feed.start)

    @Service.task
    async def _run(self) -> None:
        self._looping = asyncio.get_running_loop().create_future()
        try:
            while not self.should_stop:
                await self._pass()
        except asyncio.CancelledError:
            log.critical("the feed's task was cancelled under way; exit 70")
            stop_process(Exit.BROKEN)
        except RewardsError as error:
            self._end(error.exit, str(error), error)
        except BaseException as error:  # noqa: BLE001 - Faust must not go on without a feed
            self._end(Exit.BROKEN, "our own error in the feed", error)
        finally:
            if not self._looping.done():
                self._looping.set_result(None)

    async def _pass(self) -> None:
        work = await self._in_thread(self.feed.poll, POLL_S)
        if work is not None:
            begun_s = time.monotonic()
            loop = asyncio.get_running_loop()
            for batch in work.batches:
                batch.done = loop.create_future()
                channel = self.channels[batch.topic]
                # put would drop it while the agent still starts; Faust has no event for that
                while not channel.subscriber_count:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                await channel.put(batch)
                await batch.done
            await self._in_thread(self.feed.commit, work)
            if not self.feed.lagging:
                await asyncio.sleep(begun_s + SPACING_S - time.monotonic())
        for finished in self.feed.take_finished():
            self._on_committed(finished)
        now_s = time.monotonic()
        if now_s - self._second_s >= 1.0:
            self._second_s = now_s
            await self._in_thread(self._on_second)
        if work is not None or not self._idle():
            self._idle_since_s = now_s
        elif now_s - self._idle_since_s >= self._exit_when_idle_s:
            log.info("idle for %.1f s: leaving", self._exit_when_idle_s)
            self._exit_when_idle_s = math.inf
            self._stop_worker()

    async def on_stop(self) -> None:
        """Finish the pass under way, close databases, then leave the group."""
        if self._looping is not None:
            await self._looping
        try:
            await self._in_thread(self.feed.close)
        except RewardsError as error:
            self._end(error.exit, str(error), error)
        for finished in self.feed.take_finished():
            self._on_committed(finished)
        self._on_exit()

    async def _in_thread(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.wrap_future(self._thread.submit(partial(fn, *args)))

    def _end(self, code: Exit, text: str, error: BaseException) -> None:
        """One clear line, the last numbers, and out: nothing uncommitted is worth a clean exit."""
        position = getattr(error, "position", None)
        log.critical(
            "%s (exit %d)", text, code,
            extra=None if position is None else position._asdict(),
            exc_info=None if isinstance(error, RewardsError) else error,
        )  # fmt: skip
        try:
            self._on_exit()
        finally:
            stop_process(code)

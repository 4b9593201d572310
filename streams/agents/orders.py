"""The agent `orders`: a thin shell, the rules are in `domain`, durability is in `feed`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams import native
from streams.agents.folding import each_batch, fold_batch, fold_compiled
from streams.wire import orders

if TYPE_CHECKING:
    from collections.abc import Callable

    import faust

    from streams.feed.batch import Batch


def folder() -> Callable[[Batch], None]:
    """Return what folds a batch of orders: compiled where that is built, else in Python."""
    plans = native.plans()

    def fold(batch: Batch) -> None:
        if plans is None:
            fold_batch(batch, orders.decode)
        else:
            fold_compiled(batch, orders.decode, plans)

    return fold


def register(app: faust.App, channel: Any) -> None:
    """Attach the agent to its channel; the name is durable, metrics carry it."""
    fold = folder()

    @app.agent(channel, name="orders")
    async def on_orders(batches: Any) -> None:
        """orders → overlay. A batch is one partition in offset order; the feed commits it."""
        await each_batch(batches, fold)

"""The agent `answers`: a thin shell, the rules are in `domain`, durability is in `feed`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.agents.folding import each_batch, fold_batch
from streams.wire import draw_results

if TYPE_CHECKING:
    import faust


def register(app: faust.App, channel: Any) -> None:
    """Attach the agent to its channel; the name is durable, metrics carry it."""

    @app.agent(channel, name="answers")
    async def on_answers(batches: Any) -> None:
        """draw-results → users' rows in the overlay. A batch is one partition."""
        await each_batch(batches, lambda batch: fold_batch(batch, draw_results.decode))

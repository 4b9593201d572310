"""The agent `results`: a thin shell, the rules are in `domain`, durability is in `feed`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.agents.folding import each_batch, fold_batch
from streams.wire import results

if TYPE_CHECKING:
    import faust


def register(app: faust.App, channel: Any) -> None:
    """Attach the agent to its channel; the name is durable, metrics carry it."""

    @app.agent(channel, name="results")
    async def on_results(batches: Any) -> None:
        """reward-results → ledger in the overlay. A batch is one partition; the feed commits it."""
        await each_batch(batches, lambda batch: fold_batch(batch, results.decode))

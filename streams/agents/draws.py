"""The agent `draws`, the second stage of D6: pools read their requests in log order.

Same feed, same unit of work, same databases as users; rows of pools have keys of their own kind.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from streams.agents.folding import decoded, each_batch
from streams.domain import pools
from streams.domain.fold import Outcome
from streams.domain.pool_state import pool_key
from streams.errors import EventRejected
from streams.wire import draw_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    import faust

    from streams.domain.pool import Pool
    from streams.domain.registry import Campaigns
    from streams.feed.batch import Batch
    from streams.feed.ports import Record

    Seed = Callable[[Pool], bytes]


def register(app: faust.App, channel: Any, seed: Seed) -> None:
    """Attach the agent to its channel. seed: gives the secret of a lottery, or ends the process."""

    @app.agent(channel, name="draws")
    async def on_requests(batches: Any) -> None:
        """draw-requests → pools' rows in the overlay. A batch is one partition in offset order."""
        await each_batch(batches, lambda batch: fold_requests(batch, seed))


def fold_requests(batch: Batch, seed: Seed) -> None:
    """Fold a batch of requests into its overlay; nothing is durable before the feed commits."""
    started_s = perf_counter()
    requests = decoded(batch, draw_requests.decode)
    decoded_s = perf_counter()
    overlay, campaigns, outcomes = batch.overlay, batch.campaigns, batch.outcomes
    asked = [request for request in requests if not isinstance(request, EventRejected)]
    overlay.prefetch(key for request in asked for key in pools.keys_of(request))
    read_s = perf_counter()
    for record, request in zip(batch.records, requests, strict=True):
        batch.at = record
        if isinstance(request, EventRejected):
            batch.reject(record, request.reason, request.detail)
            continue
        pool_id = request.pool_id
        folded = pools.step(
            overlay, request, campaigns.pool(pool_id), campaigns.pool_changes(pool_id), seed
        )
        for key, row in folded.rows.items():
            overlay[key] = row
        batch.emit(folded.outputs, record)
        outcomes[(Outcome.DUPLICATE if folded.again else Outcome.APPLIED).value] += 1
    batch.at = None
    batch.phases.add("decode", decoded_s - started_s)
    batch.phases.add("read", read_s - decoded_s)
    batch.phases.add("fold", perf_counter() - read_s)


def tick_pools(
    batch: Batch, record: Record, at_ms: int, mine: Callable[[str], bool], seed: Seed
) -> None:
    """Let time pass for the pools of a tick's partition: commitments, changes, reveals.

    mine: tells whether a pool's key belongs to this partition. record: the tick.
    """
    campaigns: Campaigns = batch.campaigns
    for pool in campaigns.pools:
        if not mine(pool.pool_id):
            continue
        key = pool_key(pool.pool_id)
        before, changes = batch.overlay[key], campaigns.pool_changes(pool.pool_id)
        state, outputs = pools.tick(before, pool, changes, at_ms, seed)
        if state is not before:
            batch.overlay[key] = state
            batch.emit(outputs, record)

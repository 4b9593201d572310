"""The agent `ticks`: time has come so far, for all of a partition whose deadline that is."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from streams.agents.dating import follow, redate
from streams.agents.draws import tick_pools
from streams.agents.folding import each_batch
from streams.domain.events import Tick
from streams.domain.fold import Outcome, step
from streams.errors import EventRejected
from streams.feed.kill_points import reach
from streams.wire import ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import faust

    from streams.agents.draws import Seed
    from streams.feed.batch import Batch
    from streams.feed.ports import Record

MOST_ROWS = 500
"""Rows that ticks change in one unit of work: some 0.1 s of folding. A campaign that ends for a
million users at midnight would else be one transaction, and outlast the watchdog."""


def register(app: faust.App, channel: Any, home: Callable[[str], int], seed: Seed) -> None:
    """Attach the agent to its channel; the name is durable, metrics carry it.

    home: the partition of a pool. seed: the secret of a lottery (`draws.py`).
    """
    fold = folder(home, seed)

    @app.agent(channel, name="ticks")
    async def on_ticks(batches: Any) -> None:
        """ticks → overlay. A batch is one partition in offset order; the feed commits it."""
        await each_batch(batches, fold)


def folder(
    home: Callable[[str], int],
    seed: Seed,
    most_rows: int = MOST_ROWS,
    date: Callable[[Batch], bool] = redate,
) -> Callable[[Batch], None]:
    """Return what folds a batch of ticks, for the users and the pools of its partition."""

    def pass_pools(batch: Batch, record: Record, at_ms: int) -> None:
        tick_pools(batch, record, at_ms, lambda pool_id: home(pool_id) == batch.partition, seed)

    return lambda batch: fold_ticks(batch, pass_pools, most_rows, date)


def fold_ticks(
    batch: Batch,
    pass_pools: Callable[[Batch, Record, int], None] = lambda _batch, _record, _at_ms: None,
    most_rows: int = MOST_ROWS,
    date: Callable[[Batch], bool] = redate,
) -> None:
    """Fold each tick for all whose deadline it has reached, `most_rows` users of them at most.

    A tick with more of them is left to the next unit of work, its offset with it. Whoever was
    folded has a later deadline in its row, committed with this unit, so nobody is folded twice
    and nobody forgotten, however often the tick is read again.
    """
    started_s = perf_counter()
    reach("K1")
    room = most_rows
    for n, record in enumerate(batch.records):
        batch.at = record
        try:
            tick = ticks.decode(record)
        except EventRejected as rejected:
            batch.reject(record, rejected.reason, rejected.detail)
            continue
        if not date(batch):
            batch.leave(n, 0, batch.overlay.dating.at)
            break
        keys, more = batch.overlay.due(tick.at_ms, room)
        _reach(batch, record, tick.at_ms, keys)
        room -= len(keys)
        if more:
            batch.leave(n, len(keys))
            break
        pass_pools(batch, record, tick.at_ms)
        batch.outcomes[(Outcome.APPLIED if keys else Outcome.IGNORED).value] += 1
    batch.at = None
    batch.phases.add("fold", perf_counter() - started_s)


def fold_part(batch: Batch, users: int, dated: str) -> None:
    """Fold the batch's one tick for the next so many of its users: a part that the journal names.

    The same ones as then: `Overlay.due` gives them in an order that the rows alone decide. Hints
    that are stale here and were not there only make it look further.
    """
    (record,) = batch.records
    follow(batch, dated)
    if not users:
        return
    at_ms = ticks.decode(record).at_ms
    keys, more = batch.overlay.due(at_ms, users)
    limit = users
    while more and len(keys) < users:
        limit *= 4
        keys, more = batch.overlay.due(at_ms, limit)
    _reach(batch, record, at_ms, keys[:users])


def _reach(batch: Batch, record: Record, at_ms: int, keys: Iterable[str]) -> None:
    """Let the time of a tick reach these users."""
    for key in keys:
        before = batch.overlay[key]
        state, outputs, _ = step(before, Tick(key, at_ms), batch.campaigns)
        batch.overlay[key] = state
        batch.emit(outputs, record)

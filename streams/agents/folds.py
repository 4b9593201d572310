"""How a batch of each topic is folded: what the agents do, for whoever folds without Faust."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from streams import topics
from streams.agents import draws, orders, ticks
from streams.agents.dating import redate, through
from streams.agents.folding import fold_batch
from streams.wire import cancellations, claims, draw_results, results

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.agents.draws import Seed
    from streams.feed.batch import Batch

    Fold = Callable[[Batch], None]


ALL = sys.maxsize


def folds(
    home: Callable[[str], int], seed: Seed, most_rows: int = ticks.MOST_ROWS
) -> dict[str, Fold]:
    """Return the fold of each topic of `topics.FOLDED`; nothing is durable before a commit.

    home: the partition of a pool. seed: the secret of a lottery (`draws.py`). most_rows: that ticks
    change in one unit of work; what follows a journal, which says how many there were, has ALL.
    """
    return {
        topics.ORDERS: orders.folder(),
        topics.CLAIMS: partial(fold_batch, decode=claims.decode),
        topics.CANCELLATIONS: partial(fold_batch, decode=cancellations.decode),
        topics.REWARD_RESULTS: partial(fold_batch, decode=results.decode),
        topics.DRAW_RESULTS: partial(fold_batch, decode=draw_results.decode),
        topics.DRAW_REQUESTS: partial(draws.fold_requests, seed=seed),
        topics.TICKS: ticks.folder(home, seed, most_rows, through if most_rows == ALL else redate),
    }

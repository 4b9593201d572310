"""Rows whose next deadline a later definition has moved: which those may be, and the new date.

A row says when time next matters to it, as of the definitions its worker knew then. A killed
campaign, or a pool closed early, moves that for users of whom nothing is read any more. Redating
says nothing: it only lets the tick that comes find them. Source: semantics.md 2, 6, 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.domain import asking, asks, deadlines
from streams.domain.fold import PARTS
from streams.domain.state import unpack_ledger

if TYPE_CHECKING:
    from streams.domain.registry import Campaigns
    from streams.domain.state import UserState


def concerned(campaigns: Campaigns) -> frozenset[str]:
    """Return the campaigns whose tasks may have another deadline by such a change."""
    pools = {pool_id for _, pool_id in campaigns.closings}
    of_pools = {c.campaign_id for c in campaigns if c.lottery and c.lottery.pool_id in pools}
    return frozenset({campaign_id for _, campaign_id in campaigns.kills} | of_pools)


def redated(state: UserState, campaigns: Campaigns) -> UserState:
    """Return the state with its deadline by these definitions; itself when that stands."""
    asks_ms = asking.earliest_ms(
        state.tasks, unpack_ledger(state.ledger), asks.unpack(state.asks), campaigns
    )
    if asks_ms != state.asks_ms:
        state = msgspec.structs.replace(state, asks_ms=asks_ms)
    return deadlines.dated(state, PARTS, campaigns)

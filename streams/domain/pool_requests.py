"""What users' folds ask of a pool: one request each, read in log order by the pool's one writer.

`units` are counted by right_id, money is minor units of the pool's currency, times are ms UTC.
Source: semantics.md 4, `draw-requests`; 6 and 7.
"""

from __future__ import annotations

import msgspec


class DrawAsked(msgspec.Struct, frozen=True):
    """draw.asked: the one use of the chance (task_id, step); its request_id is the draw's id."""

    pool_id: str
    user_id: str
    occurred_at_ms: int
    request_id: str
    task_id: str
    step: str
    odds_version: int


class Reserved(msgspec.Struct, frozen=True):
    """pool.reserve: money and units set aside for a task, all of it or nothing."""

    pool_id: str
    user_id: str
    occurred_at_ms: int
    request_id: str
    task_id: str
    amount_minor: int = 0
    units: dict[str, int] = {}


class Released(msgspec.Struct, frozen=True):
    """pool.release: what a task's reservation did not need."""

    pool_id: str
    user_id: str
    occurred_at_ms: int
    request_id: str
    task_id: str
    amount_minor: int = 0
    units: dict[str, int] = {}


class UnitReturned(msgspec.Struct, frozen=True):
    """unit.returned: a prize that was clawed back (`step`), or what a task gave and got back."""

    pool_id: str
    user_id: str
    occurred_at_ms: int
    request_id: str
    task_id: str
    step: str = ""
    amount_minor: int = 0
    units: dict[str, int] = {}


Request = DrawAsked | Reserved | Released | UnitReturned

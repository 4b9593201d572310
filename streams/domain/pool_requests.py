"""What users' folds ask of a pool: one request each, read in log order by the pool's one writer.

`units` are counted by right_id, money is minor units of the pool's currency, times are ms UTC.
Source: semantics.md 4, `draw-requests`; 6 and 7.
"""

from __future__ import annotations

import msgspec


class Asking(msgspec.Struct, frozen=True):
    """What every request says: of which pool, for whose task, as of when."""

    pool_id: str
    user_id: str
    occurred_at_ms: int
    request_id: str
    task_id: str


class DrawAsked(Asking, frozen=True):
    """draw.asked: the one use of the chance (task_id, step); its request_id is the draw's id."""

    step: str
    odds_version: int


class Reserved(Asking, frozen=True):
    """pool.reserve: money and units set aside for a task, all of it or nothing.

    step: of a lottery, the chance whose prize went back and is spent: no question, but news.
    """

    amount_minor: int = 0
    units: dict[str, int] = {}
    step: str = ""


class Released(Asking, frozen=True):
    """pool.release: what a task's reservation did not need."""

    amount_minor: int = 0
    units: dict[str, int] = {}


class UnitReturned(Asking, frozen=True):
    """unit.returned: a prize that was clawed back (`step`), or what a task gave and got back."""

    step: str = ""
    amount_minor: int = 0
    units: dict[str, int] = {}


Request = DrawAsked | Reserved | Released | UnitReturned

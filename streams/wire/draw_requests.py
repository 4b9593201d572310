"""`draw-requests`: what folds ask of pools. Schema: schemas/draw-requests.v1.schema.json.

Keyed by pool; written by our own first stage, whose times are those of its causes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from streams.domain import ids
from streams.domain.pool_requests import DrawAsked, Released, Request, Reserved, UnitReturned
from streams.errors import Reason
from streams.wire.envelope import Amount, Count, Fact, Id, Reader, rejected, require_id

if TYPE_CHECKING:
    from streams.feed.ports import Record

MAX_RIGHTS = 1_000  # of one request; a campaign's rights are far fewer

PoolId = Annotated[str, msgspec.Meta(min_length=1, max_length=71)]
"""A name, or `budget:` and a name."""

CauseId = Annotated[str, msgspec.Meta(min_length=1, max_length=160)]
Units = Annotated[dict[Id, Count], msgspec.Meta(max_length=MAX_RIGHTS)]


class Ask(Fact):
    """What every request says."""

    request_id: Id
    pool_id: PoolId
    task_id: Id
    event_id: Id
    cause_id: CauseId


class Draw(Ask, tag="draw.asked"):
    """A draw for the chance (task_id, step), as it is written."""

    step: Id
    odds_version: Count


class Reserve(Ask, tag="pool.reserve"):
    """A reservation as it is written; with a step, a prize that had returned and is spent."""

    amount_minor: Amount | None = None
    units: Units | None = None
    step: Id | None = None


class Release(Ask, tag="pool.release"):
    """What a reservation did not need, as it is written."""

    amount_minor: Amount | None = None
    units: Units | None = None


class Return(Ask, tag="unit.returned"):
    """A prize, money or units that came back, as it is written."""

    step: Id | None = None
    amount_minor: Amount | None = None
    units: Units | None = None


READER: Reader[Draw | Reserve | Release | Return] = Reader(
    Draw, Reserve, Release, Return, key="pool_id", ours=True
)


def decode(record: Record) -> Request:
    """Return the request; raises EventRejected. The record's `ce_id`, if any, is the event_id."""
    ask, occurred_at_ms = READER.read(record)
    if record.headers:
        require_id(record, ask.event_id)
    said = (ask.pool_id, ask.user_id, occurred_at_ms, ask.request_id, ask.task_id)
    if isinstance(ask, Draw):
        if ask.request_id != ids.draw_id(ask.task_id, ask.step):
            raise rejected(record, Reason.SCHEMA, "request_id is not the draw's id")
        return DrawAsked(*said, ask.step, ask.odds_version)
    amount_minor, units = ask.amount_minor or 0, ask.units or {}
    if isinstance(ask, Reserve):
        return Reserved(*said, amount_minor, units, ask.step or "")
    if isinstance(ask, Release):
        return Released(*said, amount_minor, units)
    return UnitReturned(*said, ask.step or "", amount_minor, units)

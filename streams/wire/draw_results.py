"""`draw-results`: what pools answered. Schema: schemas/draw-results.v1.schema.json.

Written by our own second stage; to the user's fold an answer is a fact like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from streams.domain.events import PoolAnswered
from streams.wire.draw_requests import PoolId  # noqa: TC001 - msgspec reads it
from streams.wire.envelope import Amount, Count, Fact, Id, Reader, require_id

if TYPE_CHECKING:
    from streams.feed.ports import Record

canonical = msgspec.json.Encoder(order="sorted").encode
DrawOutcome = Literal[
    "won", "nothing", "no_stock", "not_released", "user_limit", "no_budget", "closed", "unknown"
]
DenialOutcome = Literal["no_stock", "no_tasks", "no_budget", "closed", "unknown"]


class Given(msgspec.Struct, omit_defaults=True, gc=False):
    """The right behind a prize, as the pool's definition has it; defaults are left out."""

    right_id: Id
    type: Id
    value_minor: Amount = 0
    quantity: Count = 1
    valid_days: Count = 30
    face: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    fallback: Given | None = None


class Answer(Fact):
    """What every answer says."""

    request_id: Id
    pool_id: PoolId


class Drawn(Answer, tag="draw.result"):
    """What a draw gave, as it is written."""

    outcome: DrawOutcome
    prize_id: Id | None = None
    right: Given | None = None


class Granted(Answer, tag="pool.granted"):
    """All that was asked for is set aside."""

    outcome: Literal["granted"]


class Denied(Answer, tag="pool.denied"):
    """Nothing of it is."""

    outcome: DenialOutcome


READER: Reader[Drawn | Granted | Denied] = Reader(Drawn, Granted, Denied, ours=True)
_ANSWERS = {Drawn: "drawn", Granted: "granted", Denied: "denied"}


def decode(record: Record) -> PoolAnswered:
    """Return the answer; raises EventRejected. The record's `ce_id`, if any, is the request_id."""
    answer, occurred_at_ms = READER.read(record)
    if record.headers:
        require_id(record, answer.request_id)
    prize_id, right = "", b""
    if isinstance(answer, Drawn) and answer.prize_id and answer.right is not None:
        prize_id, right = answer.prize_id, canonical(answer.right)
    return PoolAnswered(
        user_id=answer.user_id,
        occurred_at_ms=occurred_at_ms,
        recorded_at_ms=record.recorded_at_ms,
        request_id=answer.request_id,
        pool_id=answer.pool_id,
        answer=_ANSWERS[type(answer)],
        outcome=answer.outcome,
        prize_id=prize_id,
        right=right,
    )

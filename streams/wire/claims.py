"""`claims`: a user asks to take part. Schema: schemas/claims.v1.schema.json.

draw.requested, reward.collected and task.withdrawn belong here too, but are not built yet: until
then they are dead letters, `unknown_type`, and can be sent again once they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from streams.domain import events
from streams.domain.events import ClaimRequested
from streams.wire.envelope import Amount, Fact, Id, Reader, require_id

if TYPE_CHECKING:
    from streams.feed.ports import Record

MAX_SEGMENTS = 200  # of one user; a bound, so that a claim cannot grow without one


class Context(msgspec.Struct, gc=False):
    """What the shop knew of the user at the claim, as it is written."""

    segments: Annotated[list[Id], msgspec.Meta(max_length=MAX_SEGMENTS)] | None = None
    orders_30d: Amount | None = None

    def as_fact(self) -> events.Context:
        segments = None if self.segments is None else tuple(self.segments)
        return events.Context(segments, self.orders_30d)


class Claim(Fact, tag="claim.requested"):
    """A claim as it is written."""

    claim_id: Id
    campaign_id: Id
    entry: Id | None = None
    trigger_order_id: Id | None = None
    context: Context | None = None


READER = Reader(Claim)


def decode(record: Record) -> ClaimRequested:
    """Return the claim; raises EventRejected. The record's `ce_id`, if any, is the claim_id."""
    claim, occurred_at_ms = READER.read(record)
    if record.headers:
        require_id(record, claim.claim_id)
    return ClaimRequested(
        user_id=claim.user_id,
        occurred_at_ms=occurred_at_ms,
        recorded_at_ms=record.recorded_at_ms,
        claim_id=claim.claim_id,
        campaign_id=claim.campaign_id,
        entry=claim.entry or "",
        trigger_order_id=claim.trigger_order_id or "",
        context=None if claim.context is None else claim.context.as_fact(),
    )

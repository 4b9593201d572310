"""`cancellations`: orders that fall away, in whole or by units, the undoing of that, and verdicts.

Schema: schemas/cancellations.v1.schema.json.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from streams.domain.events import CancellationWithdrawn, OrderCancelled, Returned, RiskVerdict
from streams.wire.envelope import MAX_LINES, Count, Fact, Id, Reader, require_id

if TYPE_CHECKING:
    from streams.feed.ports import Record


class RefundedLine(msgspec.Struct, gc=False):
    """Units of one line that came back, as it is written."""

    line_id: Id
    quantity: Count


class Cancellation(Fact):
    """What all of them have; the id is of the cancellation, not of the order."""

    cancellation_id: Id


class Cancelled(Cancellation, tag="order.cancelled"):
    """The whole order falls away."""

    order_id: Id
    reason: Literal["user", "shop", "unpaid", "uncollected", "return"]


class Refunded(Cancellation, tag="order.refunded"):
    """Some units fall away; at least one line, or it would read as the whole order."""

    order_id: Id
    lines: Annotated[list[RefundedLine], msgspec.Meta(min_length=1, max_length=MAX_LINES)]


class Withdrawn(Cancellation, tag="cancellation.withdrawn"):
    """The named cancellation was a mistake."""

    withdraws: Id


class Verdict(Cancellation, tag="risk.verdict"):
    """What the risk service thinks of an order, or (none named) of the user."""

    verdict: Literal["review", "block", "clear"]
    order_id: Id | None = None


READER: Reader[Cancelled | Refunded | Withdrawn | Verdict] = Reader(
    Cancelled, Refunded, Withdrawn, Verdict
)


def decode(record: Record) -> OrderCancelled | CancellationWithdrawn | RiskVerdict:
    """Return the cancellation, its withdrawal or a verdict; raises EventRejected.

    The record's `ce_id`, if any, is the cancellation_id. The reason of a cancellation is checked
    and dropped: none has a rule of its own.
    """
    fact, occurred_at_ms = READER.read(record)
    if record.headers:
        require_id(record, fact.cancellation_id)
    said = (fact.user_id, occurred_at_ms, record.recorded_at_ms, fact.cancellation_id)
    if isinstance(fact, Withdrawn):
        return CancellationWithdrawn(*said, fact.withdraws)
    if isinstance(fact, Verdict):
        return RiskVerdict(*said, fact.verdict, fact.order_id or "")
    return OrderCancelled(
        *said, fact.order_id, _returned(fact.lines) if isinstance(fact, Refunded) else ()
    )


def _returned(lines: list[RefundedLine]) -> tuple[Returned, ...]:
    """Add up a line named twice: it came back in two parcels, which is no contradiction."""
    units: dict[str, int] = {}
    for line in lines:
        units[line.line_id] = units.get(line.line_id, 0) + line.quantity
    return tuple(Returned(line_id, quantity) for line_id, quantity in units.items())

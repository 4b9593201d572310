"""`orders`: one version of one order a record. Schema: schemas/orders.v1.schema.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from streams.domain.events import Discount, Line, OrderReported, Status
from streams.errors import Reason
from streams.wire.envelope import (
    MAX_LINES,
    Amount,
    Context,
    Count,
    Fact,
    Id,
    Reader,
    Total,
    rejected,
    require_id,
)

if TYPE_CHECKING:
    from streams.feed.ports import Record


class OrderLine(msgspec.Struct, gc=False):
    """One line as it is written."""

    line_id: Id
    sku: Id
    quantity: Count
    unit_minor: Amount
    category: Id | None = None


class OrderDiscount(msgspec.Struct, gc=False):
    """One discount on the whole order, as it is written."""

    kind: Literal["event", "voucher", "full"]
    amount_minor: Amount
    threshold_minor: Amount | None = None


class Order(Fact):
    """Optional fields may be null as well as absent: many producers write them so."""

    order_id: Id
    version: Count
    currency: Annotated[str, msgspec.Meta(min_length=3, max_length=3)]
    # Signed, so that a consistent but negative consumption is named `amounts`, not `schema`.
    goods_minor: Total
    consumption_minor: Total
    lines: Annotated[list[OrderLine], msgspec.Meta(min_length=1, max_length=MAX_LINES)]
    discounts: Annotated[list[OrderDiscount], msgspec.Meta(max_length=MAX_LINES)] | None = None
    shipping_minor: Amount | None = None
    channel: Id | None = None
    store_id: Id | None = None
    parent_order_id: Id | None = None
    entry: Id | None = None
    context: Context | None = None


class OrderPlaced(Order, tag="order.placed"):
    """The user ordered."""


class OrderPaid(Order, tag="order.paid"):
    """The money came."""


class OrderFulfilled(Order, tag="order.fulfilled"):
    """The goods were handed over."""


class OrderSettled(Order, tag="order.settled"):
    """The time to return it is over."""


class OrderAmended(Order, tag="order.amended"):
    """Its content changed, its status did not."""


_STATUS = {
    OrderPlaced: Status.PLACED,
    OrderPaid: Status.PAID,
    OrderFulfilled: Status.FULFILLED,
    OrderSettled: Status.SETTLED,
    OrderAmended: Status.AMENDED,
}
READER = Reader(OrderPlaced, OrderPaid, OrderFulfilled, OrderSettled, OrderAmended)


def decode(record: Record) -> OrderReported:
    """Return the order a record reports; raises EventRejected.

    `sku`, `shipping_minor` and the kind of a discount are checked and then dropped: no rule of this
    version reads them. The record's `ce_id`, if any, is ``<order_id>:<version>``.
    """
    order, occurred_at_ms = READER.read(record)
    currency = order.currency
    if not (currency.isascii() and currency.isalpha() and currency.isupper()):
        raise rejected(record, Reason.SCHEMA, "currency is not three capital letters")
    goods_minor = 0
    lines = []
    for line in order.lines:
        goods_minor += line.quantity * line.unit_minor
        lines.append(Line(line.line_id, line.quantity, line.unit_minor, line.category or ""))
    if len(lines) > 1 and len({line.line_id for line in lines}) < len(lines):
        raise rejected(record, Reason.SCHEMA, "line_id appears twice")
    if record.headers:
        require_id(record, f"{order.order_id}:{order.version}")
    consumption_minor = goods_minor
    discounts = []
    for discount in order.discounts or ():
        consumption_minor -= discount.amount_minor
        discounts.append(Discount(discount.amount_minor, discount.threshold_minor or 0))
    if goods_minor != order.goods_minor:
        detail = f"goods_minor {order.goods_minor}, lines sum to {goods_minor}"
        raise rejected(record, Reason.AMOUNTS, detail)
    if consumption_minor != order.consumption_minor or consumption_minor < 0:
        detail = f"consumption_minor {order.consumption_minor}, {consumption_minor} is left"
        raise rejected(record, Reason.AMOUNTS, detail)
    return OrderReported(
        user_id=order.user_id,
        occurred_at_ms=occurred_at_ms,
        recorded_at_ms=record.recorded_at_ms,
        order_id=order.order_id,
        version=order.version,
        status=_STATUS[type(order)],
        currency=currency,
        goods_minor=goods_minor,
        consumption_minor=consumption_minor,
        lines=tuple(lines),
        discounts=tuple(discounts),
        channel=order.channel or "",
        store_id=order.store_id or "",
        parent_order_id=order.parent_order_id or "",
        entry=order.entry or "",
        context=None if order.context is None else order.context.as_fact(),
    )

"""What one order is worth to one campaign: does it qualify, when, and for how much.

An order is known by its versions and by the cancellations that name it. Its time is that of its
first event at or past the campaign's status; its content is its highest version; sub-orders of one
checkout are weighed together. Source: semantics.md 2 `qualify`, 3 P4, 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streams.domain import refunds, risk
from streams.domain.days import DAY_MS, NEVER_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.domain.campaign import Campaign
    from streams.domain.events import OrderCancelled, OrderReported, RiskVerdict, Status

TOMBSTONE_MS = 60 * DAY_MS  # a cancellation waits this long for its order

COUNTS = ""
STATUS, CURRENCY, CATEGORY = "STATUS", "CURRENCY", "CATEGORY"
CHANNEL, STORE, MIN_AMOUNT, LATE = "CHANNEL", "STORE", "MIN_AMOUNT", "LATE"
CANCELLED = "CANCELLED"  # never shown: what a cancellation takes away, the task event says


class Weighed(NamedTuple):
    """An order in the eyes of a campaign: `code` is COUNTS or why it does not qualify.

    Only lines of the categories asked for are in the amounts.
    """

    at_ms: int
    order_id: str
    amount_minor: int  # what is held against the minimum: consumption, or goods
    code: str
    spent_minor: int  # consumption of what is left
    held: bool = False  # under review: what it earns waits


class Order:
    """One order as known so far: its versions in key order, the cancellations that name it.

    withdrawn: of all this user's cancellations, when the record that withdrew it was written.
    verdicts: those about it, and (of_user) those about its user, each in key order.
    """

    def __init__(
        self,
        order_id: str,
        checkout_id: str,
        withdrawn: dict[str, int],
        of_user: Sequence[RiskVerdict],
    ) -> None:
        self.order_id, self.checkout_id, self.withdrawn = order_id, checkout_id, withdrawn
        self.of_user = of_user
        self.versions: list[OrderReported] = []
        self.cancellations: list[OrderCancelled] = []
        self.verdicts: list[RiskVerdict] = []

    @property
    def content(self) -> OrderReported:
        """The highest version says what was bought."""
        versions = self.versions
        return versions[0] if len(versions) == 1 else max(versions, key=lambda one: one.version)

    def acting(self, horizon_ms: int) -> list[OrderCancelled]:
        """Return the cancellations that act on a task with this horizon.

        They, what withdraws them and a tombstone's life are all judged by their records' time.
        """
        recorded_ms = min(version.recorded_at_ms for version in self.versions)
        return [
            c
            for c in self.cancellations
            if c.recorded_at_ms <= horizon_ms < self.withdrawn.get(c.cancellation_id, NEVER_MS)
            and recorded_ms <= c.recorded_at_ms + TOMBSTONE_MS
        ]


def weigh(order: Order, campaign: Campaign, end_ms: int) -> Weighed:
    """Return what is left of the order for a task of `campaign` whose window ends at `end_ms`.

    The end decides what comes too late: the order (grace), a cancellation or verdict (horizon).
    """
    reached = first_reached(order.versions, campaign.on)
    first = reached or order.versions[0]
    content = order.content
    horizon_ms = end_ms + campaign.horizon_ms
    acting = order.acting(horizon_ms) if order.cancellations else None
    if reached is None:
        code, amount, spent = STATUS, 0, 0
    elif first.recorded_at_ms > end_ms + campaign.grace_ms:
        code, amount, spent = LATE, 0, 0
    elif acting:
        code, amount, spent = _less_returns(content, campaign, acting)
    else:
        code, amount, spent = content_weight(content, campaign)
    held = False
    if code == COUNTS and (order.verdicts or order.of_user):
        stand = {risk.acting(said, horizon_ms) for said in (order.verdicts, order.of_user)}
        held = risk.REVIEW in stand
        if risk.BLOCK in stand:
            code = risk.RISK
    return Weighed(first.occurred_at_ms, order.order_id, amount, code, spent, held)


def time_of(order: Order, campaign: Campaign) -> tuple[int, str] | None:
    """Return (time, id) of an order that has reached the campaign's status, else None."""
    reached = first_reached(order.versions, campaign.on)
    return None if reached is None else (reached.occurred_at_ms, order.order_id)


def first_reached(versions: Iterable[OrderReported], on: Status) -> OrderReported | None:
    """Return the event that gives an order its time: its first at or past a status, if any is."""
    for version in versions:
        if version.status >= on:
            return version
    return None


def content_weight(content: OrderReported, campaign: Campaign) -> tuple[str, int, int]:
    """Return (code, amount, consumption) of an order of which nothing came back.

    No minimum is applied yet.
    """
    code = _context_code(content, campaign)
    if code:
        return code, 0, 0
    if campaign.categories.open:
        spent = content.consumption_minor
        return COUNTS, spent if campaign.basis == "consumption" else content.goods_minor, spent
    return _matching(content, campaign, {})


def judged(weighed: Iterable[Weighed], campaign: Campaign) -> Weighed:
    """Return one verdict on a checkout: the surviving sub-orders' sum against the minimum."""
    parts = sorted(weighed)
    if len(parts) == 1:  # the rule, and its sum is itself
        (part,) = parts
        short = part.code == COUNTS and part.amount_minor < campaign.min_amount_minor
        return part._replace(code=MIN_AMOUNT) if short else part
    good = [part for part in parts if part.code == COUNTS]
    if not good:
        return next((part for part in parts if part.code != CANCELLED), parts[0])
    amount = sum(part.amount_minor for part in good)
    return good[0]._replace(
        amount_minor=amount,
        code=COUNTS if amount >= campaign.min_amount_minor else MIN_AMOUNT,
        spent_minor=sum(part.spent_minor for part in good),
        held=any(part.held for part in good),
    )


def over_refunded(order: Order) -> bool:
    """Tell whether more units came back than were bought, or units of lines never bought."""
    bought = {line.line_id: line.quantity for line in order.content.lines}
    standing = [c for c in order.cancellations if c.cancellation_id not in order.withdrawn]
    returned = returned_units(standing)
    return any(units > bought.get(line_id, 0) for line_id, units in returned.items())


def _context_code(content: OrderReported, campaign: Campaign) -> str:
    if content.currency != campaign.currency:
        return CURRENCY
    if not campaign.channels.admits(content.channel):
        return CHANNEL
    if not campaign.stores.admits(content.store_id):
        return STORE
    return COUNTS


def _less_returns(
    content: OrderReported, campaign: Campaign, acting: Sequence[OrderCancelled]
) -> tuple[str, int, int]:
    code = _context_code(content, campaign)
    if code:
        return code, 0, 0
    units = returned_units(acting)
    returned = {
        line.line_id: min(units.get(line.line_id, 0), line.quantity) for line in content.lines
    }
    whole = any(not cancellation.lines for cancellation in acting)
    if whole or all(returned[line.line_id] == line.quantity for line in content.lines):
        return CANCELLED, 0, 0
    return _matching(content, campaign, returned)


def spent_on(content: OrderReported, campaign: Campaign, returned: dict[str, int]) -> list[int]:
    """Return what is left of each line's consumption after `returned` units (line_id -> units)."""
    if campaign.refund_basis == "recompute":
        return refunds.recomputed(
            content.lines, content.discounts, content.consumption_minor, returned
        )
    return refunds.kept(content.lines, content.consumption_minor, returned)


def _matching(
    content: OrderReported, campaign: Campaign, returned: dict[str, int]
) -> tuple[str, int, int]:
    """Return what is left of the lines of the categories asked for, if any unit of them is."""
    matching = [
        i
        for i, line in enumerate(content.lines)
        if campaign.categories.admits(line.category)
        and returned.get(line.line_id, 0) < line.quantity
    ]
    if not matching:
        return CATEGORY, 0, 0
    by_line = spent_on(content, campaign, returned)
    spent = amount = sum(by_line[i] for i in matching)
    if campaign.basis == "goods":
        goods = refunds.kept_goods(content.lines, returned)
        amount = sum(goods[i] for i in matching)
    return COUNTS, amount, spent


def returned_units(cancellations: Iterable[OrderCancelled]) -> dict[str, int]:
    """Return units back by line, as the cancellations say: perhaps more than were bought."""
    units: dict[str, int] = {}
    for cancellation in cancellations:
        for back in cancellation.lines:
            units[back.line_id] = units.get(back.line_id, 0) + back.quantity
    return units

"""What an order is worth after returns (semantics.md 5, rules 1 to 4)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.models.definitions import Version, allows
from tests.models.facts import CANCELLATION, DAY_MS, ORDER
from tests.models.who import verdict

if TYPE_CHECKING:
    from tests.models.facts import Fact

TOMBSTONE_MS = 60 * DAY_MS


class Left(NamedTuple):
    """What is left of the matching lines of an order, by `basis` and as consumption."""

    amount_minor: int
    consumption_minor: int


def amount_left(
    facts: list[Fact], version: Version, end_ms: int, content: dict[str, Any]
) -> int | None:
    found = left_of(facts, version, end_ms, content)
    return found and found.amount_minor


def left_of(
    facts: list[Fact], version: Version, end_ms: int, content: dict[str, Any]
) -> Left | None:
    """None if no matching line is left."""
    returned = units_back(facts, version, end_ms, content["order_id"])
    if returned is None:
        return None
    lines = [line for line in content["lines"] if line["quantity"] > 0]
    back = [min(line["quantity"], returned[line["line_id"]]) for line in lines]
    matches = [
        n < line["quantity"] and allows(version.categories, line.get("category"))
        for line, n in zip(lines, back, strict=True)
    ]
    if not any(matches):
        return None
    by_basis = values_left(content, lines, back, version.basis, recompute=version.recompute)
    paid = values_left(content, lines, back, "consumption", recompute=version.recompute)
    return Left(
        sum(value for value, match in zip(by_basis, matches, strict=True) if match),
        sum(value for value, match in zip(paid, matches, strict=True) if match),
    )


def units_back(
    facts: list[Fact], version: Version, end_ms: int, order_id: str
) -> dict[str, int] | None:
    """{line_id: units back} over the cancellations that act on the task; None: all cancelled."""
    horizon_ms = version.horizon(end_ms)
    in_time = [
        f for f in facts if f.rank == CANCELLATION and f["recorded_at_ms"] <= horizon_ms
    ]  # PAST_HORIZON
    if "block" in (verdict(in_time, order_id), verdict(in_time, None)):
        return None  # RISK
    withdrawn = {f["withdraws"] for f in in_time if f["type"] == "cancellation.withdrawn"}
    order_ms = min(
        f["recorded_at_ms"] for f in facts if f.rank == ORDER and f["order_id"] == order_id
    )
    returned: dict[str, int] = defaultdict(int)
    for fact in in_time:
        if fact.kind not in ("order.cancelled", "order.refunded") or fact["order_id"] != order_id:
            continue
        if fact["cancellation_id"] in withdrawn:
            continue
        if order_ms > fact["recorded_at_ms"] + TOMBSTONE_MS:
            continue  # the tombstone was gone before its order came
        if fact["type"] == "order.cancelled":
            return None
        for line in fact["lines"]:
            returned[line["line_id"]] += line["quantity"]
    return returned


def values_left(
    content: dict[str, Any],
    lines: list[dict[str, Any]],
    back: list[int],
    basis: str,
    *,
    recompute: bool,
) -> list[int]:
    """What each line is worth after `back` units of it returned (semantics.md 5, rules 2, 3)."""
    bought = [line["quantity"] * line["unit_minor"] for line in lines]
    goods_left = [
        (line["quantity"] - n) * line["unit_minor"] for line, n in zip(lines, back, strict=True)
    ]
    if basis == "goods":
        return goods_left
    if recompute and any(back):
        return allocate(goods_left, consumption_recomputed(content, sum(bought), sum(goods_left)))
    return [
        value - value * n // line["quantity"]
        for line, n, value in zip(
            lines, back, allocate(bought, content["consumption_minor"]), strict=True
        )
    ]


def allocate(amounts: list[int], total: int) -> list[int]:
    """Spread `total` over lines by their amounts, to the last minor unit (largest remainder)."""
    whole = sum(amounts)
    if whole == 0:
        return [0] * len(amounts)
    shares = [amount * total // whole for amount in amounts]
    by_remainder = sorted(range(len(amounts)), key=lambda i: (-(amounts[i] * total % whole), i))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def consumption_recomputed(content: dict[str, Any], goods: int, goods_left: int) -> int:
    """C': what the rest would have cost; discounts below their threshold are lost."""
    discounts = sum(
        discount["amount_minor"] * goods_left // goods
        for discount in content.get("discounts", [])
        if discount.get("threshold_minor", 0) <= goods_left
    )
    return min(content["consumption_minor"], goods_left - discounts) if goods else 0

"""What is left of an order after its discounts and returns, in integer minor units.

A = goods, D = the order's discounts, C = A - D. C is spread over the lines by largest remainder, so
that the refunds of all lines sum to C and never more. Source: semantics.md 5, rules 2 and 3; E1-E3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.domain.events import Discount, Line


def allocate(total: int, parts: Sequence[int]) -> list[int]:
    """Spread `total` over `parts` in proportion; the sum of the shares is exactly `total`.

    Missing minor units go one each to the largest remainders, ties to the earlier part. Parts that
    sum to zero get nothing. Needs 0 <= total <= sum(parts).
    """
    whole = sum(parts)
    if whole == 0:
        return [0] * len(parts)
    shares = [part * total // whole for part in parts]
    missing = total - sum(shares)
    by_remainder = sorted(range(len(parts)), key=lambda i: (-(parts[i] * total % whole), i))
    for i in by_remainder[:missing]:
        shares[i] += 1
    return shares


def kept(lines: Sequence[Line], consumption_minor: int, returned: Mapping[str, int]) -> list[int]:
    """Return what is left of each line's share of C after `returned` units (line_id -> units).

    With n of q units back a line has refunded floor(share * n / q) in all.
    """
    shares = allocate(consumption_minor, [line.quantity * line.unit_minor for line in lines])
    return [
        share - share * returned.get(line.line_id, 0) // line.quantity
        for line, share in zip(lines, shares, strict=True)
    ]


def kept_goods(lines: Sequence[Line], returned: Mapping[str, int]) -> list[int]:
    """Return the goods value of each line's units that were not returned."""
    return [(line.quantity - returned.get(line.line_id, 0)) * line.unit_minor for line in lines]


def recomputed(
    lines: Sequence[Line],
    discounts: Sequence[Discount],
    consumption_minor: int,
    returned: Mapping[str, int],
) -> list[int]:
    """Return each line's share of C', the price of the remaining goods bought alone.

    A discount whose threshold the remaining goods A' miss is lost; the others shrink to
    floor(d * A' / A). C' = min(C, A' - their sum).
    """
    goods = kept_goods(lines, returned)
    left = sum(goods)
    whole = sum(line.quantity * line.unit_minor for line in lines)
    if whole == 0:
        return [0] * len(lines)
    standing = sum(d.amount_minor * left // whole for d in discounts if d.threshold_minor <= left)
    return allocate(min(consumption_minor, left - standing), goods)

"""Microseconds per decode on this machine: `python -m tests.wire.bench_decode`. Asserts nothing."""

from __future__ import annotations

from contextlib import suppress
from timeit import repeat
from typing import TYPE_CHECKING

from streams.errors import EventRejected
from streams.wire import claims, orders
from tests.wire.examples import Example, examples

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.feed.ports import Record


def measure(decodes: int = 100_000) -> dict[str, float]:
    """Return us per decode, best of five rounds, by what was decoded."""
    order = _named("orders", "paid--a-full-discount").record
    order = order._replace(value=(order.value or b"").strip())
    claim = _named("claims", "requested--after-a-purchase").record
    claim = claim._replace(value=(claim.value or b"").strip())
    guest = _named("orders", "no_user--guest").record
    return {
        f"orders, {len(order.value or b'')} bytes": _us(lambda: orders.decode(order), decodes),
        f"claims, {len(claim.value or b'')} bytes": _us(lambda: claims.decode(claim), decodes),
        "guests": _us(lambda: _refused(guest), decodes),
    }


def _named(topic: str, stem: str) -> Example:
    return next(e for e in examples("valid", "invalid", topics=(topic,)) if e.path.stem == stem)


def _refused(record: Record) -> None:
    with suppress(EventRejected):
        orders.decode(record)


def _us(call: Callable[[], object], decodes: int) -> float:
    return min(repeat(call, number=decodes, repeat=5)) / decodes * 1e6


if __name__ == "__main__":
    for what, us in measure().items():
        print(f"{what}: {us:.2f} us")

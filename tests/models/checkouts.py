"""Orders as the rules see them: checkouts of one or several orders (P4)."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from tests.models.definitions import Version, allows
from tests.models.facts import ORDER, STEPS_OF_AN_ORDER, Fact
from tests.models.refunds import Left, left_of


class Checkout(NamedTuple):
    """What is left of one order, or of several with one parent.

    key: (time, order id) of its earliest sub-order that qualifies.
    """

    key: tuple[int, str]
    amount_minor: int  # what is judged against the minimum: consumption, or goods
    consumption_minor: int
    parent: str
    names: frozenset[str]  # its order ids and the parent's
    parts: frozenset[str]  # the order ids that make it up


def checkout_of(facts: list[Fact], version: Version, end_ms: int, order_id: str) -> Checkout | None:
    found = [c for c in checkouts(facts, version, end_ms) if order_id in c.names]
    return found[0] if found else None


def checkouts(facts: list[Fact], version: Version, end_ms: int) -> list[Checkout]:
    """All orders that qualify but for their amount, for a task that ends at `end_ms`.

    A sub-order that is late, cancelled or of no matching kind is not part of its checkout, so it
    gives it neither money nor time.
    """
    parts: dict[str, list[tuple[tuple[int, str], Left]]] = defaultdict(list)
    for order_id in sorted({fact["order_id"] for fact in facts if fact.rank == ORDER}):
        timed = gives_time(facts, order_id, version)
        content = newest(facts, order_id)
        if timed is None or timed["recorded_at_ms"] > end_ms + version.grace_ms:
            continue  # STATUS, LATE
        if content["currency"] != version.currency:
            continue
        if not allows(version.channels, content.get("channel")):
            continue
        if not allows(version.stores, content.get("store_id")):
            continue
        left = left_of(facts, version, end_ms, content)
        if left is not None:
            parts[parent_of(facts, order_id)].append(((timed.key[0], order_id), left))
    return [
        Checkout(
            key=min(key for key, _left in found),
            amount_minor=sum(left.amount_minor for _key, left in found),
            consumption_minor=sum(left.consumption_minor for _key, left in found),
            parent=parent,
            names=frozenset({parent, *(key[1] for key, _left in found)}),
            parts=frozenset(key[1] for key, _left in found),
        )
        for parent, found in parts.items()
    ]


def gives_time(facts: list[Fact], order_id: str, version: Version) -> Fact | None:
    """The first event of the order at or past `qualify.on`."""
    for fact in facts:
        if fact.rank != ORDER or fact["order_id"] != order_id:
            continue
        if STEPS_OF_AN_ORDER[fact["type"].removeprefix("order.")] >= version.on:
            return fact
    return None


def times_of(facts: list[Fact], version: Version, order_id: str) -> list[int]:
    """The times its checkout may have; which one it has depends on the parts that are left."""
    ids = {fact["order_id"] for fact in facts if fact.rank == ORDER}
    parent = parent_of(facts, order_id)
    timed = [gives_time(facts, each, version) for each in ids if parent_of(facts, each) == parent]
    return sorted({fact.key[0] for fact in timed if fact is not None})


def parent_of(facts: list[Fact], order_id: str) -> str:
    """The name of the checkout; an order without a parent is one of its own."""
    return newest(facts, order_id).get("parent_order_id") or order_id


def newest(facts: list[Fact], order_id: str) -> dict[str, Any]:
    """The highest version is the content, whatever its type."""
    events = [f.event for f in facts if f.rank == ORDER and f["order_id"] == order_id]
    return max(events, key=lambda event: event["version"])

"""The set of facts: events on the wire, each once, in the order of the walk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

DAY_MS = 86_400_000

CLAIM, ORDER, CANCELLATION = 0, 1, 2
RANKS = {
    "claim.requested": CLAIM,
    "order.placed": ORDER,
    "order.paid": ORDER,
    "order.fulfilled": ORDER,
    "order.settled": ORDER,
    "order.amended": ORDER,
    "order.cancelled": CANCELLATION,
    "order.refunded": CANCELLATION,
    "cancellation.withdrawn": CANCELLATION,
}
STEPS_OF_AN_ORDER = {"amended": 0, "placed": 1, "paid": 2, "fulfilled": 3, "settled": 4}


@dataclass(frozen=True)
class Fact:
    """One event and its place in the walk: (occurred_at, rank, id, version)."""

    key: tuple[int, int, str, int]
    event: dict[str, Any]

    def __getitem__(self, field: str) -> Any:
        return self.event[field]

    @property
    def rank(self) -> int:
        return RANKS[self.event["type"]]


def unique(events: list[dict[str, Any]]) -> list[Fact]:
    """Sort by key; of several with one id the first of the list stays (D2, P3)."""
    first: dict[tuple[Any, ...], Fact] = {}
    for event in events:
        rank = RANKS.get(event["type"])
        if rank is None:
            continue  # results and the like: they change the ledger, not what is due
        name, version = event_id(rank, event)
        key = (instant_ms(event["occurred_at"]), rank, name, version)
        first.setdefault((rank, name, version), Fact(key, event))
    return sorted(first.values(), key=lambda fact: fact.key)


def event_id(rank: int, event: dict[str, Any]) -> tuple[str, int]:
    if rank == CLAIM:
        return event["claim_id"], 0
    if rank == ORDER:
        return event["order_id"], event["version"]
    return event["cancellation_id"], 0


def instant_ms(rfc3339: str) -> int:
    since = datetime.fromisoformat(rfc3339) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(milliseconds=1)

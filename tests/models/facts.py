"""The set of facts: events on the wire, each once, in the order of the walk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

DAY_MS = 86_400_000

CLAIM, ORDER, CANCELLATION, RESULT, TICK = range(5)
RANKS = {
    "claim.requested": CLAIM,
    "draw.requested": CLAIM,
    "reward.collected": CLAIM,
    "task.withdrawn": CLAIM,
    "order.placed": ORDER,
    "order.paid": ORDER,
    "order.fulfilled": ORDER,
    "order.settled": ORDER,
    "order.amended": ORDER,
    "order.cancelled": CANCELLATION,
    "order.refunded": CANCELLATION,
    "cancellation.withdrawn": CANCELLATION,
    "risk.verdict": CANCELLATION,
    "draw.result": RESULT,
    "pool.granted": RESULT,
    "pool.denied": RESULT,
}
"""`reward.result` is missing: it changes the books, never what is due. A tick is told as a time."""

LATER = frozenset({"draw.requested", "reward.collected"})
"""What users ask of a running task: after the orders of that instant, a chance won and used."""

STEPS_OF_AN_ORDER = {"amended": 0, "placed": 1, "paid": 2, "fulfilled": 3, "settled": 4}

Key = tuple[int, int, str, int]  # occurred_at in ms, rank, id, version


@dataclass(frozen=True)
class Fact:
    """One event and its place in the walk."""

    key: Key
    event: dict[str, Any]

    def __getitem__(self, field: str) -> Any:
        return self.event[field]

    @property
    def rank(self) -> int:
        return RANKS[self.event["type"]]

    @property
    def kind(self) -> str:
        return self.event["type"]

    @property
    def cause_id(self) -> str:
        """`order:<id>:<version>, claim:<id>, cancel:<id>, result:<id>` (semantics.md 4)."""
        _at, _rank, name, version = self.key
        if self.rank == ORDER:
            return f"order:{name}:{version}"
        return {CLAIM: "claim", CANCELLATION: "cancel", RESULT: "result"}[self.rank] + f":{name}"


def unique(events: list[dict[str, Any]]) -> list[Fact]:
    """Sort by key; of several with one id the first of the list stays (D2, P3)."""
    first: dict[tuple[Any, ...], Fact] = {}
    for event in events:
        rank = RANKS.get(event["type"])
        if rank is None:
            continue
        name, version = event_id(rank, event)
        place = CANCELLATION if event["type"] in LATER else rank
        key = (instant_ms(event["occurred_at"]), place, name, version)
        first.setdefault((rank, name, version), Fact(key, event))
    return sorted(first.values(), key=lambda fact: fact.key)


def event_id(rank: int, event: dict[str, Any]) -> tuple[str, int]:
    if rank == ORDER:
        return event["order_id"], event["version"]
    return event[
        {CLAIM: "claim_id", CANCELLATION: "cancellation_id", RESULT: "request_id"}[rank]
    ], 0


def largest_tick_ms(events: list[dict[str, Any]]) -> int | None:
    """The watermark: how far time has come, or None if nobody has said."""
    return max((instant_ms(e["at"]) for e in events if e["type"] == "tick"), default=None)


def instant_ms(rfc3339: str) -> int:
    since = datetime.fromisoformat(rfc3339) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(milliseconds=1)

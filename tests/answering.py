"""Pools that answer by the toss of a hash: a stand-in for the second stage in random cases.

What a request is answered, and when, depends on its request_id alone, so a case can be made smaller
without its answers changing. Some are answered at once, some later, some after everything else.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from streams.domain.events import (
    DrawRequested,
    PoolAnswered,
    RewardCollected,
    RiskVerdict,
    TaskWithdrawn,
)
from tests.builders import decoded
from tests.models.facts import instant_ms

if TYPE_CHECKING:
    from streams.domain.events import Event
    from streams.domain.outputs import Output

PRIZES = (
    {"right_id": "rp-top", "type": "red_packet", "value_minor": 300},
    {"right_id": "rp-low", "type": "red_packet", "value_minor": 20},
)
ANSWERS = {"pool.granted": "granted", "pool.denied": "denied", "draw.result": "drawn"}


def answer(request: Output) -> tuple[dict[str, Any], int] | None:
    """(the answer as an event on the wire, after how many further events it is read), or None."""
    if request.type not in ("pool.reserve", "draw.asked"):
        return None
    body = request.body
    toss = hashlib.sha256(body["request_id"].encode()).digest()
    said: dict[str, Any] = {
        "type": "pool.granted" if toss[0] < 180 else "pool.denied",
        "v": 1,
        "user_id": body["user_id"],
        "occurred_at": body["occurred_at"],
        "recorded_at_ms": instant_ms(body["occurred_at"]),
        "request_id": body["request_id"],
        "pool_id": body["pool_id"],
    }
    if request.type == "draw.asked":
        said |= {"type": "draw.result", "outcome": "nothing"}
        if toss[1] < 200:
            said |= {"outcome": "won", "prize_id": "p", "right": PRIZES[toss[2] % 2]}
    return said, (0, 0, 0, 2, 5, 99)[toss[3] % 6]


def as_event(event: dict[str, Any]) -> Event:
    """The domain event of a wire object, also of types that only the second stage writes."""
    common = (event["user_id"], instant_ms(event["occurred_at"]), event["recorded_at_ms"])
    match event["type"]:
        case "draw.requested":
            return DrawRequested(*common, event["claim_id"], event["task_id"], event["step"])
        case "reward.collected":
            return RewardCollected(*common, event["claim_id"], event["reward_id"])
        case "task.withdrawn":
            return TaskWithdrawn(*common, event["claim_id"], event["task_id"])
        case "risk.verdict":
            about = event.get("order_id") or ""
            return RiskVerdict(*common, event["cancellation_id"], event["verdict"], about)
        case "pool.granted" | "pool.denied" | "draw.result":
            right = event.get("right")
            return PoolAnswered(
                *common,
                request_id=event["request_id"],
                pool_id=event["pool_id"],
                answer=ANSWERS[event["type"]],
                outcome=event.get("outcome", ""),
                prize_id=event.get("prize_id", ""),
                right=json.dumps(right).encode() if right else b"",
            )
    return decoded(event)

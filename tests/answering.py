"""Pools and a rights service that answer by the toss of a hash, in random cases.

What a request or a command is answered, and when, depends on its id alone, so a case can be made
smaller without its answers changing. Some are answered at once, some later, some after everything
else.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from streams.domain import events
from streams.domain.events import (
    DrawRequested,
    PoolAnswered,
    RewardCollected,
    RiskVerdict,
    TaskWithdrawn,
)
from tests.builders import USER, decoded
from tests.models.facts import instant_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.domain.events import Event
    from streams.domain.outputs import Output

PRIZES = (
    {"right_id": "rp-top", "type": "red_packet", "value_minor": 300},
    {"right_id": "rp-low", "type": "red_packet", "value_minor": 20},
)
ANSWERS = {"pool.granted": "granted", "pool.denied": "denied", "draw.result": "drawn"}


LATER = (0, 0, 0, 2, 5, 99)
"""After how many further events an answer is read."""

REQUIRED = {
    "reward.issued": (
        *(
            ("issued",),
            ("issued",),
            ("issued", "spent"),
            ("issued", "spent"),
            ("issued", "expired"),
        ),
        *(("again", "issued"), ("failed",), ("spent",), ()),
    ),
    "reward.revoked": (("revoked",), ("revoked",), ("revoke_failed",), ()),
}
ASSUMED = {
    "reward.issued": (("spent",), ("spent",), ("expired",), ("failed",), (), (), ()),
    "reward.revoked": (("revoke_failed",), (), (), ()),
}
"""What the rights service says, in turn, to a command. again: failed, but retryable."""

Said = tuple[dict[str, Any], int]
"""An event on the wire, and after how many further events it is read."""


def answers(output: Output, services: dict[str, str]) -> list[Said]:
    """What comes back of one output. services: results of each campaign: required or assumed."""
    if output.type in ("pool.reserve", "draw.asked"):
        return [pool_answer(output)]
    if output.type in ("reward.issued", "reward.revoked"):
        return list(results(output, services.get(output.body["campaign_id"], "")))
    return []


def toss(*names: object) -> bytes:
    return hashlib.sha256("/".join(map(str, names)).encode()).digest()


def pool_answer(request: Output) -> Said:
    body = request.body
    dice = toss(body["request_id"])
    said: dict[str, Any] = {
        "type": "pool.granted" if dice[0] < 180 else "pool.denied",
        "v": 1,
        "user_id": body["user_id"],
        "occurred_at": body["occurred_at"],
        "recorded_at_ms": instant_ms(body["occurred_at"]),
        "request_id": body["request_id"],
        "pool_id": body["pool_id"],
    }
    if request.type == "draw.asked":
        said |= {"type": "draw.result", "outcome": "nothing"}
        if dice[1] < 200:
            said |= {"outcome": "won", "prize_id": "p", "right": PRIZES[dice[2] % 2]}
    return said, LATER[dice[3] % len(LATER)]


def results(output: Output, service: str) -> Iterator[Said]:
    if not service:
        return
    body = output.body
    dice = toss(body["reward_id"], body["seq"])
    choices = (REQUIRED if service == "required" else ASSUMED)[output.type]
    later = 0
    for turn, outcome in enumerate(choices[dice[0] % len(choices)]):
        later += LATER[dice[turn + 1] % len(LATER)]
        yield (
            {
                "type": "reward.result",
                "v": 1,
                "user_id": body["user_id"],
                "occurred_at": body["occurred_at"],
                "recorded_at_ms": instant_ms(body["occurred_at"]),
                "result_id": f"{body['reward_id']}-{body['seq']}-{turn}",
                "reward_id": body["reward_id"],
                "seq": body["seq"],
                "outcome": "failed" if outcome == "again" else outcome,
                "retryable": outcome == "again",
            },
            later,
        )


def as_event(event: dict[str, Any]) -> Event:  # noqa: PLR0911  one line per type
    """The domain event of a wire object, also of types that only the second stage writes."""
    if event["type"] == "tick":
        return events.Tick(USER, instant_ms(event["at"]))
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

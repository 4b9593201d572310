"""A bug in the rules that wrote rewards: an engine with `>` for `>=`, or with a threshold too low.

Whoever compares an order with its minimum one cent off does what the right engine does with a
minimum one cent off; ids, versions and everything else are those of the right one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from streams.domain.registry import Campaigns
from streams.replay.past import Records
from streams.replay.whatif import DECODE
from streams.replay.world import NO_CAUSE, World
from streams.wire.campaigns import decode
from streams.wire.outputs import encode
from tests.builders import at, campaign, claim, order, topic_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.demo.sending import Sent
    from streams.domain.definition import Definition
    from streams.domain.outputs import Output

RIGHT_MINOR = 1_500


def definition(min_amount_minor: int = RIGHT_MINOR, **fields: Any) -> dict[str, Any]:
    return campaign(qualify={"min_amount_minor": min_amount_minor}, **fields)


def checked(written: dict[str, Any]) -> Definition:
    return decode(orjson.dumps(written), None)


def sent(*events: dict[str, Any]) -> list[Sent]:
    return [
        (
            topic_of(event),
            event["user_id"].encode(),
            orjson.dumps({k: v for k, v in event.items() if k != "recorded_at_ms"}),
            event["recorded_at_ms"],
        )
        for event in events
    ]


def shoppers(amounts: dict[str, tuple[int, ...]]) -> list[dict[str, Any]]:
    """Users who claim on day 1 and buy once a day for these amounts."""
    events = []
    for user, minor in amounts.items():
        events.append({**claim(f"k-{user}"), "user_id": user})
        for day, amount in enumerate(minor, 1):
            bought = order(f"o-{user}-{day}", day, lines=[(1, amount)])
            events.append({**bought, "user_id": user})
    return sorted(events, key=lambda event: event["recorded_at_ms"])


def world_of(written: dict[str, Any], log: Iterable[Sent]) -> tuple[World, list[Output]]:
    """Fold a log as an engine does that reads this definition; return all it said."""
    said: list[Output] = []
    world = World(Campaigns.of([checked(written)]), said.append)
    past = Records(log, [])
    for record in past.records([0]):
        world.take(DECODE[record.topic](record))
    return world, said


def rewards_of(written: dict[str, Any], log: Iterable[Sent]) -> list[Sent]:
    """Return what such an engine writes to `rewards`."""
    _, said = world_of(written, log)
    outgoing = [encode(output, NO_CAUSE) for output in said if output.topic == "rewards"]
    at_ms = round(at(15).timestamp() * 1000)
    return [(one.topic, one.key, one.value or b"", at_ms) for one in outgoing]

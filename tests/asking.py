"""Campaigns that ask pools, what users say of chances, and what pools answer."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from streams.domain import asking
from streams.domain.announce import UTC, Announcer
from streams.domain.campaign import Campaigns, Right
from streams.domain.events import DrawRequested, PoolAnswered
from streams.domain.features import Budget, Chances, Lottery
from streams.domain.pool import Pool
from streams.domain.state import new
from tests.builders import USER, at, campaign, millis
from tests.given import Given, registry

if TYPE_CHECKING:
    from streams.domain.outputs import Output

WHEEL = "wheel"
CLOSES = at(20, "00:00")
PRIZE = Right(right_id="rp-100", type="red_packet", value_minor=10_000)
FIVE = campaign(
    features=["light_box"],
    entries=None,
    target={"orders": 5},
    step_rewards=None,
    final_rewards=[{"right_id": "pts", "type": "points", "value_minor": 500}],
)
BUDGET = "budget:three"


def with_lottery(
    definition: dict[str, Any] = FIVE, *chances: tuple[int | str, int], **rules: Any
) -> Campaigns:
    """Return a campaign with chances (step, count), at step 3 and the last unless told otherwise."""
    won = chances or ((3, 1), ("final", 1))
    lottery = Lottery(WHEEL, 1, tuple(Chances(step, count) for step, count in won), **rules)
    wheel = Pool(pool_id=WHEEL, kind="lottery", effective_from_ms=0, closes_at_ms=millis(CLOSES))
    return changed(registry(definition), lottery=lottery).with_pool(wheel)


def with_budget(definition: dict[str, Any], amount_minor: int = 10**9) -> Campaigns:
    return changed(registry(definition), budget=Budget(amount_minor))


def changed(campaigns: Campaigns, **fields: Any) -> Campaigns:
    return Campaigns.of(msgspec.structs.replace(each, **fields) for each in campaigns)


def user(campaigns: Campaigns, *events: Any) -> Given:
    return Given(campaigns, new(USER)).when(*events)


def draw(known: Given, label: str, claim_id: str = "d1", when: datetime | None = None):
    """The user asks for the draw of a chance of the (only) task."""
    moment = millis(when or at(9))
    return DrawRequested(USER, moment, moment, claim_id, known.task().task_id, label)


def asked(known: Given, type_: str = "") -> list[Output]:
    """What the last event asked of pools."""
    found = [output for output in known.outputs if output.topic == "draw-requests"]
    return [output for output in found if not type_ or output.type == type_]


def answer(request: Output, said: str, right: Right | None = None, delay_s: int = 1):
    """A pool's answer to a request: of the request's time, written a little later."""
    body = request.body
    occurred = millis(datetime.fromisoformat(body["occurred_at"]))
    return PoolAnswered(
        user_id=body["user_id"],
        occurred_at_ms=occurred,
        recorded_at_ms=occurred + delay_s * 1000,
        request_id=body["request_id"],
        pool_id=body["pool_id"],
        answer=said,
        outcome="won" if right else "",
        right=msgspec.json.encode(right) if right else b"",
    )


class Moment(msgspec.Struct, frozen=True):
    at_ms: int
    say: Announcer


def tick(known: Given, when: datetime) -> Given:
    """Time reaches an instant: each deadline on the way is passed as of its own time."""
    outputs: list[Output] = []
    while 0 < asking.next_deadline_ms(known.state, known.campaigns) <= millis(when):
        at_ms = asking.next_deadline_ms(known.state, known.campaigns)
        now = Moment(at_ms, Announcer(USER, f"deadline:{UTC.text(at_ms)}", at_ms))
        known.state, said = asking.pass_time(known.state, now, known.campaigns)
        outputs += said
    known.outputs = tuple(outputs)
    return known

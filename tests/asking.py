"""Campaigns that ask pools, what users say of chances, and what pools answer."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from streams.domain import asking, sample
from streams.domain.announce import UTC, Announcer
from streams.domain.campaign import Right
from streams.domain.events import DrawRequested, PoolAnswered
from streams.domain.state import new
from tests import pooling
from tests.builders import USER, at, campaign, millis
from tests.given import Given, registry

if TYPE_CHECKING:
    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from streams.domain.state import UserState

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


def wheel(**fields: Any) -> dict[str, Any]:
    """A lottery in which every ticket wins `top` while there are any; open to day 19."""
    written = {
        "pool_id": WHEEL,
        "effective_from": "2025-11-01T00:00:00+08:00",
        "opens_at": "2025-12-01T00:00:00+08:00",
        "closes_at": CLOSES.isoformat(),
        "commitment": sample.commitment(WHEEL, pooling.SEED),
        "prizes": [pooling.prize("top", 3, 10_000)],
        "odds": [pooling.odds(("top", pooling.EVERY_TICKET))],
    }
    return pooling.definition(**written | fields)


def ware(**stock: int) -> dict[str, Any]:
    """A supply of rights."""
    return {
        "type": "pool.defined",
        "v": 1,
        "pool_id": "ware",
        "kind": "rights",
        "effective_from": "2025-11-01T00:00:00+08:00",
        "opens_at": "2025-12-01T00:00:00+08:00",
        "stock": [{"right_id": id_, "units": units} for id_, units in stock.items()],
    }


def lottery(
    definition: dict[str, Any] = FIVE, *chances: tuple[int | str, int], **rules: Any
) -> dict[str, Any]:
    """A campaign with chances (step, count): at step 3 and the last unless told others."""
    won = chances or ((3, 1), ("final", 1))
    return {
        **definition,
        "features": [*definition["features"], "lottery"],
        "claim": {"closes_at": at(5).isoformat()},
        "lottery": {
            "pool_id": WHEEL,
            "odds_version": 1,
            "chances": [{"step": step, "count": count} for step, count in won],
            **rules,
        },
    }


def with_lottery(
    definition: dict[str, Any] = FIVE, *chances: tuple[int | str, int], **rules: Any
) -> Campaigns:
    return registry(wheel(), lottery(definition, *chances, **rules))


def with_budget(definition: dict[str, Any], amount_minor: int = 10**9, **rules: Any) -> Campaigns:
    return registry({**definition, "budget": {"amount_minor": amount_minor, **rules}})


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
    known.state, outputs = pass_until(known.state, known.campaigns, millis(when))
    known.outputs = tuple(outputs)
    return known


def pass_until(
    state: UserState, campaigns: Campaigns, until_ms: int
) -> tuple[UserState, list[Output]]:
    """Time reaches an instant: each deadline on the way is passed as of its own time."""
    outputs: list[Output] = []
    while 0 < asking.next_deadline_ms(state, campaigns) <= until_ms:
        at_ms = asking.next_deadline_ms(state, campaigns)
        now = Moment(at_ms, Announcer(state.user_id, f"deadline:{UTC.text(at_ms)}", at_ms))
        state, said = asking.pass_time(state, now, campaigns)
        assert asking.next_deadline_ms(state, campaigns) != at_ms, "a deadline that does not pass"
        outputs += said
    return state, outputs

"""Events in few words, as wire objects: the facts that tests are told in.

Day 1 is 2026-03-02 in Shanghai; an order of day n is paid at noon of day n unless told otherwise.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import orjson

from streams.domain.events import Tick
from streams.feed.ports import Record
from streams.wire import cancellations, claims, orders, results

if TYPE_CHECKING:
    from streams.domain.events import Event

USER = "u-1"
DAY_1 = datetime(2026, 3, 2, tzinfo=ZoneInfo("Asia/Shanghai"))
CANCELLATIONS = ("order.cancelled", "order.refunded", "cancellation.withdrawn", "risk.verdict")
DECODERS = {
    "cancellations": cancellations.decode,
    "claims": claims.decode,
    "orders": orders.decode,
    "reward-results": results.decode,
}


def at(day: int, clock: str = "12:00:00") -> datetime:
    """Return a local time of day n of the campaign."""
    hour, minute, *second = (int(part) for part in clock.split(":"))
    return DAY_1 + timedelta(
        days=day - 1, hours=hour, minutes=minute, seconds=second[0] if second else 0
    )


def millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def event(
    type_: str, when: datetime, recorded: datetime | None = None, **fields: Any
) -> dict[str, Any]:
    return {
        "type": type_,
        "v": 1,
        "user_id": USER,
        "occurred_at": when.isoformat(),
        "recorded_at_ms": millis(recorded or when),
        **{name: value for name, value in fields.items() if value is not None},
    }


def order(  # noqa: PLR0913  # an order has this many sides; tests name the ones they need
    order_id: str,
    day: int | None = None,
    when: datetime | None = None,
    *,
    status: str = "paid",
    version: int = 1,
    yuan: int = 50,
    lines: list[tuple[int, int]] | None = None,
    discounts: list[tuple[str, int, int]] | None = None,
    recorded: datetime | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """An order; day None: the day its id says (o3 is of day 3). lines: (quantity, unit_minor)."""
    bought = lines or [(1, yuan * 100)]
    taken = discounts or []
    goods = sum(quantity * unit for quantity, unit in bought)
    return event(
        f"order.{status}",
        when or at(day if day is not None else int(order_id[1:])),
        recorded,
        order_id=order_id,
        version=version,
        currency=fields.pop("currency", "CNY"),
        goods_minor=goods,
        discounts=[
            {"kind": kind, "amount_minor": amount, "threshold_minor": threshold}
            for kind, amount, threshold in taken
        ],
        consumption_minor=goods - sum(amount for _, amount, _ in taken),
        lines=[
            {"line_id": str(i), "sku": "s", "quantity": quantity, "unit_minor": unit}
            | ({"category": fields["category"]} if "category" in fields else {})
            for i, (quantity, unit) in enumerate(bought, 1)
        ],
        **{name: value for name, value in fields.items() if name != "category"},
    )


def claim(claim_id: str = "k1", day: int = 1, when: datetime | None = None, **fields: Any):
    return event(
        "claim.requested",
        when or at(day, "08:00"),
        fields.pop("recorded", None),
        claim_id=claim_id,
        campaign_id=fields.pop("campaign_id", "three"),
        entry=fields.pop("entry", "home"),
        **fields,
    )


def cancel(order_id: str, day: int = 20, when: datetime | None = None, **fields: Any):
    return event(
        "order.cancelled",
        when or at(day),
        fields.pop("recorded", None),
        cancellation_id=fields.pop("id", f"c-{order_id}"),
        order_id=order_id,
        reason="user",
    )


def refund(order_id: str, lines: dict[str, int], day: int = 20, **fields: Any):
    return event(
        "order.refunded",
        fields.pop("when", None) or at(day),
        fields.pop("recorded", None),
        cancellation_id=fields.pop("id", f"r-{order_id}"),
        order_id=order_id,
        lines=[{"line_id": line_id, "quantity": units} for line_id, units in lines.items()],
    )


def withdraw(cancellation_id: str, day: int = 21, when: datetime | None = None):
    return event(
        "cancellation.withdrawn",
        when or at(day),
        None,
        cancellation_id=f"w-{cancellation_id}",
        withdraws=cancellation_id,
    )


def result(  # noqa: PLR0913  # a result has this many sides; tests name the ones they need
    reward_id: str,
    outcome: str,
    seq: int = 1,
    day: int = 10,
    *,
    retryable: bool = False,
    id: str | None = None,  # noqa: A002
):
    return event(
        "reward.result",
        at(day),
        None,
        result_id=id or f"res-{reward_id}-{seq}-{outcome}",
        reward_id=reward_id,
        seq=seq,
        outcome=outcome,
        retryable=retryable or None,
    )


def collect(reward_id: str, day: int, claim_id: str = "k-collect"):
    return event("reward.collected", at(day), None, claim_id=claim_id, reward_id=reward_id)


def tick(day: int, clock: str = "00:00") -> dict[str, Any]:
    """Time has reached this; to a user it comes as one event."""
    return {"type": "tick", "v": 1, "at": at(day, clock).isoformat()}


def leave(task_id: str, when: datetime, claim_id: str = "k-leave"):
    return event("task.withdrawn", when, None, claim_id=claim_id, task_id=task_id)


def verdict(said: str, day: int, order_id: str | None = None, **fields: Any):
    """The risk service's word on an order, or on the user."""
    return event(
        "risk.verdict",
        fields.pop("when", None) or at(day),
        fields.pop("recorded", None),
        cancellation_id=fields.pop("id", f"v-{said}-{order_id}-{day}"),
        order_id=order_id,
        verdict=said,
    )


def campaign(**fields: Any) -> dict[str, Any]:
    """The 4.0 example of semantics.md cut to its rules: Y 3, cap 1, three steps, points last."""
    definition: dict[str, Any] = {
        "type": "campaign.defined",
        "v": 1,
        "campaign_id": "three",
        "version": 1,
        "effective_from": "2026-01-01T00:00:00+08:00",
        "features": ["light_box", "full_link"],
        "scenes": ["home", "post_purchase"],
        "entries": ["home", "post_purchase"],
        "currency": "CNY",
        "window": {"days": 10},
        "target": {"orders": 3},
        "qualify": {"min_amount_minor": 1500},
        "step_rewards": [
            {"step": 1, "right": {"right_id": "rp-1", "type": "red_packet", "value_minor": 100}},
            {"step": 2, "right": {"right_id": "rp-2", "type": "red_packet", "value_minor": 200}},
            {"step": 3, "right": {"right_id": "c-3", "type": "coupon", "value_minor": 300}},
        ],
        "final_rewards": [{"right_id": "pts", "type": "points", "value_minor": 500}],
    }
    for name, value in fields.items():
        if isinstance(value, dict) and isinstance(definition.get(name), dict):
            definition[name] = {**definition[name], **value}
        elif value is None:
            definition.pop(name, None)
        else:
            definition[name] = value
    return definition


def pool(**fields: Any) -> dict[str, Any]:
    """The pool of semantics.md 2 in the weeks of `DAY_1`; name it in a campaign that closes.

    Its campaign: `campaign(features=[..., "lottery"], lottery=chances(), claim=CLOSING)`.
    """
    definition = {
        "type": "pool.defined",
        "v": 1,
        "pool_id": "wheel",
        "kind": "lottery",
        "effective_from": "2025-12-30T00:00:00+08:00",
        "opens_at": "2026-01-01T00:00:00+08:00",
        "closes_at": "2026-06-01T00:00:00+08:00",
        "currency": "CNY",
        "budget_minor": 2_000_000,
        "commitment": "ab" * 32,
        "prizes": [
            {
                "prize_id": "top",
                "right": {"right_id": "rp-100", "type": "red_packet", "value_minor": 10_000},
                "stock": 31,
                "max_per_user": 1,
                "release": {"kind": "even", "jitter": True},
            },
            {
                "prize_id": "five",
                "right": {"right_id": "rp-5", "type": "red_packet", "value_minor": 500},
                "stock": 2000,
            },
        ],
        "odds": [odds(1, top=100, five=20_000)],
    }
    return {k: v for k, v in {**definition, **fields}.items() if v is not None}


def odds(version: int, denominator: int = 1_000_000, **weights: int) -> dict[str, Any]:
    return {
        "odds_version": version,
        "denominator": denominator,
        "weights": [{"prize_id": name, "weight": weight} for name, weight in weights.items()],
    }


def chances(*steps: int | str, **fields: Any) -> dict[str, Any]:
    """The lottery of a campaign: a chance at each of the steps, or at the end."""
    given = [{"step": step, "count": 1} for step in steps or ("final",)]
    return {"pool_id": "wheel", "odds_version": 1, "chances": given, **fields}


CLOSING = {"closes_at": "2026-05-01T00:00:00+08:00"}


def shelf(units: int = 10, **fields: Any) -> dict[str, Any]:
    """A pool of rights: mugs."""
    return {
        "type": "pool.defined",
        "v": 1,
        "pool_id": "shelf",
        "kind": "rights",
        "effective_from": "2025-12-30T00:00:00+08:00",
        "stock": [{"right_id": "mug", "units": units}],
        **fields,
    }


def change(type_: str, **fields: Any) -> dict[str, Any]:
    """A record that changes a pool or ends a campaign: `change("pool.closed", pool_id="wheel")`."""
    effective = fields.pop("effective_from", "2026-03-10T00:00:00+08:00")
    return {"type": type_, "v": 1, "effective_from": effective, **fields}


def topic_of(event: dict[str, Any]) -> str:
    if event["type"] in CANCELLATIONS:
        return "cancellations"
    if event["type"] in ("reward.collected", "task.withdrawn"):
        return "claims"
    return {"order": "orders", "claim": "claims", "reward": "reward-results"}[
        event["type"].split(".")[0]
    ]


def decoded(event: dict[str, Any], offset: int = 0) -> Event:
    """Return the domain event of a wire object, through the real decoder; a tick as USER's."""
    if event["type"] == "tick":
        return Tick(USER, millis(datetime.fromisoformat(event["at"])))
    topic = topic_of(event)
    value = orjson.dumps({k: v for k, v in event.items() if k != "recorded_at_ms"})
    key = event["user_id"].encode()
    return DECODERS[topic](Record(topic, 0, offset, key, value, [], event["recorded_at_ms"]))

"""Events, campaigns and questions in few words, for the tests of the model.

Day n is the n-th of January 2026, in Shanghai.
"""

from __future__ import annotations

from tests.models.facts import instant_ms
from tests.models.users import earn

DAY_MS = 86_400_000
USER = "u-1"


def at(day: int, clock: str = "12:00:00", month: int = 1) -> str:
    return f"2026-{month:02d}-{day:02d}T{clock}+08:00"


def recorded(event: dict, when: str | None) -> dict:
    return {**event, "recorded_at_ms": instant_ms(when or event["occurred_at"])}


def order(  # noqa: PLR0913  a builder
    order_id: str,
    day: int = 1,
    clock: str = "12:00:00",
    *,
    kind: str = "paid",
    version: int = 1,
    amount: int = 5000,
    lines: list[tuple[int, int]] | None = None,
    discounts: list[dict] | None = None,
    came: str | None = None,
    **more: object,
) -> dict:
    """An order; `lines` are (quantity, unit_minor), `came` is when it was recorded."""
    bought = lines or [(1, amount)]
    goods = sum(quantity * unit for quantity, unit in bought)
    taken = discounts or []
    event = {
        "type": f"order.{kind}",
        "v": 1,
        "user_id": USER,
        "occurred_at": at(day, clock),
        "order_id": order_id,
        "version": version,
        "currency": "CNY",
        "goods_minor": goods,
        "discounts": taken,
        "consumption_minor": goods - sum(d["amount_minor"] for d in taken),
        "lines": [
            {"line_id": str(n), "sku": f"sku-{n}", "quantity": quantity, "unit_minor": unit}
            for n, (quantity, unit) in enumerate(bought, start=1)
        ],
        **more,
    }
    return recorded(event, came)


def claim(
    claim_id: str = "k-1",
    day: int = 1,
    clock: str = "10:00:00",
    campaign_id: str = "c",
    entry: str = "home",
    **more: object,
) -> dict:
    event = {
        "type": "claim.requested",
        "v": 1,
        "user_id": USER,
        "occurred_at": at(day, clock),
        "claim_id": claim_id,
        "campaign_id": campaign_id,
        "entry": entry,
        **more,
    }
    return recorded(event, None)


def taken_back(kind: str, cancellation_id: str, day: int, came: str | None, **body: object) -> dict:
    event = {
        "type": kind,
        "v": 1,
        "user_id": USER,
        "occurred_at": at(day, "18:00:00"),
        "cancellation_id": cancellation_id,
        **body,
    }
    return recorded(event, came)


def cancel(order_id: str, day: int = 2, came: str | None = None, name: str | None = None) -> dict:
    return taken_back(
        "order.cancelled", name or f"x-{order_id}", day, came, order_id=order_id, reason="user"
    )


def refund(order_id: str, back: dict[str, int], day: int = 2, name: str | None = None) -> dict:
    lines = [{"line_id": line_id, "quantity": n} for line_id, n in back.items()]
    return taken_back(
        "order.refunded", name or f"r-{order_id}", day, None, order_id=order_id, lines=lines
    )


def withdraw(cancellation_id: str, day: int = 3, came: str | None = None) -> dict:
    return taken_back(
        "cancellation.withdrawn", f"w-{cancellation_id}", day, came, withdraws=cancellation_id
    )


def campaign(campaign_id: str = "c", **more: object) -> dict:
    """The 4.0 example: Y 3, cap 1, ten days from the claim, a reward per step and a final one."""
    return {
        "type": "campaign.defined",
        "v": 1,
        "campaign_id": campaign_id,
        "version": 1,
        "effective_from": "2025-12-01T00:00:00+08:00",
        "features": ["light_box", "full_link"],
        "scenes": ["home"],
        "entries": ["home", "post_purchase"],
        "currency": "CNY",
        "window": {"days": 10},
        "target": {"orders": 3},
        "qualify": {"min_amount_minor": 1500},
        "step_rewards": [
            {"step": n, "right": {"right_id": f"rp-{n}", "type": "red_packet", "value_minor": v}}
            for n, v in ((1, 100), (2, 200), (3, 300))
        ],
        "final_rewards": [{"right_id": "pts", "type": "points", "value_minor": 500}],
        **more,
    }


def every_n(**window: object) -> dict:
    return campaign(
        features=["light_box"],
        entries=[],
        step_rewards=[],
        window={"mode": "every_n", "days": 10, **window},
    )


def auto(**more: object) -> dict:
    return campaign(enrolment="auto", **more)


def labels(earned: object) -> list[str]:
    """`1`, `2` ... and `final@3`, sorted: what stands."""
    rewards = earned.rewards.values()  # type: ignore[attr-defined]
    return sorted(
        step if kind == "step" else f"{kind}@{step}" for step, kind, _right, _value in rewards
    )


def counted(events: list[dict], *definitions: dict, now: str | None = None) -> int:
    (task,) = earn(USER, events, list(definitions) or [campaign()], now and instant_ms(now)).tasks
    return task["counted"]


def state(events: list[dict], *definitions: dict, now: str) -> str:
    (task,) = earn(USER, events, list(definitions) or [campaign()], instant_ms(now)).tasks
    return task["state"]


def answer(events: list[dict], claim_id: str, *definitions: dict) -> tuple[str, str | None]:
    return earn(USER, events, list(definitions) or [campaign()]).answers[claim_id]


def event(kind: str, day: int, clock: str = "12:00:00", **body: object) -> dict:
    made = {"type": kind, "v": 1, "user_id": USER, "occurred_at": at(day, clock), **body}
    return recorded(made, None)


def verdict(what: str, day: int, order_id: str | None = None, name: str = "v-1") -> dict:
    about = {"order_id": order_id} if order_id else {}
    return event("risk.verdict", day, cancellation_id=name, verdict=what, **about)


def draw(task: str, step: str, day: int, name: str = "d-1") -> dict:
    return event("draw.requested", day, claim_id=name, task_id=task, step=step)


def leave(task: str, day: int, clock: str = "12:00:00") -> dict:
    return event("task.withdrawn", day, clock, claim_id="w-1", task_id=task)


def answered(kind: str, request_id: str, day: int = 1, **body: object) -> dict:
    return event(kind, day, request_id=request_id, pool_id="p", **body)


def ends(kind: str, day: int, campaign_id: str = "c", **body: object) -> dict:
    """campaign.stopped or campaign.killed, at midnight of a day."""
    made = {"type": kind, "v": 1, "campaign_id": campaign_id}
    return {**made, "effective_from": at(day, "00:00:00"), **body}


THREE = [claim(), order("o1", 1), order("o2", 2), order("o3", 3)]

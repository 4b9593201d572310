"""Random campaigns and histories for properties: small numbers, so that edges meet often."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from streams.domain.features import Quiet, Reminder
from tests import builders as b
from tests.given import registry

if TYPE_CHECKING:
    from streams.domain.registry import Campaigns

DAYS = st.integers(1, 9)
CLOCKS = st.sampled_from(["00:00", "03:59", "04:00", "08:00", "10:00", "12:00", "23:59"])
LAST = b.at(16)  # later than every event, sooner than any horizon
LAST_MS = b.millis(LAST)
MOMENTS = st.builds(b.at, DAYS, CLOCKS)
DELAYS = st.sampled_from([timedelta(0)] * 6 + [timedelta(days=3), timedelta(days=40)])
ORDER_IDS = st.sampled_from([f"o{i}" for i in range(1, 8)])
PARENTS = {"o5": "o1", "o6": "p1", "o7": "p1"}  # sub-orders; a checkout may bear an order's own id
PARTS = {"o1", *PARENTS}
UNITS = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from([0, 333, 500, 1500])), min_size=1, max_size=3
)


@st.composite
def orders(draw: st.DrawFn) -> dict[str, Any]:
    when = draw(MOMENTS)
    lines = draw(UNITS)
    goods = sum(quantity * unit for quantity, unit in lines)
    off = draw(st.integers(0, min(goods, 400)))
    order_id = draw(ORDER_IDS)
    return b.order(
        order_id,
        when=when,
        status=draw(st.sampled_from(["paid"] * 5 + ["placed", "fulfilled", "amended"])),
        # What amends a part of a checkout may or may not begin an automatic task: left open.
        version=draw(st.sampled_from([1] * 4 + [2, 3])) if order_id not in PARTS else 1,
        lines=lines,
        discounts=[("full", off, draw(st.sampled_from([0, 1000, 3000])))] if off else [],
        recorded=when + draw(DELAYS),
        currency=draw(st.sampled_from(["CNY"] * 9 + ["USD"])),
        category=draw(st.sampled_from(["veg", "veg", "card"])),
        channel=draw(st.sampled_from(["app", "web"])),
        parent_order_id=PARENTS.get(order_id),
    )


@st.composite
def claims(draw: st.DrawFn) -> dict[str, Any]:
    when = draw(MOMENTS)
    return b.claim(
        draw(st.sampled_from(["k1", "k2", "k3"])),
        when=when,
        recorded=when + draw(DELAYS),
        entry=draw(st.sampled_from(["home", "home", "elsewhere"])),
        trigger_order_id=draw(st.sampled_from([None, None, "o1", "o2"])),
    )


@st.composite
def cancellations(draw: st.DrawFn) -> dict[str, Any]:
    when = draw(MOMENTS)
    order_id, name = draw(ORDER_IDS), draw(st.sampled_from(["c1", "c2", "c3", "c4"]))
    recorded = when + draw(DELAYS)
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return b.withdraw(name, when=when)
    if kind == 1:
        return b.cancel(order_id, when=when, recorded=recorded, id=name)
    lines = draw(st.dictionaries(st.sampled_from("123"), st.integers(1, 3), min_size=1, max_size=2))
    return b.refund(order_id, lines, when=when, recorded=recorded, id=name)


FACTS = st.one_of(orders(), orders(), orders(), claims(), cancellations())


def histories(max_size: int = 18) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(FACTS, max_size=max_size)


def one_of_each(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep the first of each identity: with conflicts, arrival decides which content stays."""
    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in events:
        id_ = event.get("claim_id") or event.get("cancellation_id") or event.get("order_id")
        kept.setdefault((event["type"].split(".")[0], id_, event.get("version")), event)
    return list(kept.values())


@st.composite
def campaigns(draw: st.DrawFn) -> dict[str, Any]:
    mode = draw(st.sampled_from(["from_claim", "fixed", "every_n"]))
    days, goal = draw(st.integers(2, 8)), draw(st.integers(1, 3))
    cap = draw(st.sampled_from([0, 1, 1, 2]))
    window: dict[str, Any] = {
        "mode": mode,
        "days": days,
        "lookback": draw(st.sampled_from(["none", "trigger_order", "same_day"])),
    }
    if mode == "fixed" or (mode == "every_n" and draw(st.booleans())):
        window["first_day"] = draw(st.sampled_from(["2026-03-01", "2026-03-03"]))
    if mode == "every_n":
        reach = days * cap // goal if cap else 3
        window["max_cycles"] = draw(st.integers(1, max(1, min(3, reach))))
    goal = min(goal, days * cap) if cap else goal
    rounds = {}
    if mode != "every_n":
        rounds = {"max": draw(st.integers(1, 3)), "cool_down_days": draw(st.integers(0, 2))}
    steps = [
        {"step": k, "right": {"right_id": f"s{k}", "type": "red_packet", "value_minor": 100 * k}}
        for k in range(1, goal + 1)
        if draw(st.booleans())
    ]
    return b.campaign(
        enrolment=draw(st.sampled_from(["claim", "auto"])),
        calendar={
            "time_zone": draw(st.sampled_from(["Asia/Shanghai", "UTC", "America/New_York"])),
            "day_start": draw(st.sampled_from(["00:00", "04:00"])),
        },
        window=window,
        target={"orders": goal},
        qualify={
            "on": draw(st.sampled_from(["paid", "paid", "placed", "fulfilled"])),
            "min_amount_minor": draw(st.sampled_from([0, 500, 1500])),
            "basis": draw(st.sampled_from(["consumption", "goods"])),
            "refund_basis": draw(st.sampled_from(["keep", "recompute"])),
            "daily_cap": cap,
            "categories": draw(st.sampled_from([{}, {"exclude": ["card"]}])),
            "channels": draw(st.sampled_from([{}, {}, {"include": ["app"]}])),
        },
        rounds=rounds,
        step_rewards=steps,
        expiry={
            "grace_hours": draw(st.sampled_from([0, 12, 48])),
            "clawback_days": draw(st.sampled_from([0, 3, 30])),
        },
    )


@st.composite
def reminding_campaigns(draw: st.DrawFn) -> Campaigns:
    """A campaign that sends notices of any kind, with quiet hours or without."""
    kinds = ["task_expiring", "one_order_left", "reward_expiring", "reward_issued"]
    hours = st.sampled_from([0, 1, 20, 48, 700])
    before = hours.map(lambda each: each * 3_600_000)
    reminders = st.builds(Reminder, st.sampled_from(kinds), before)
    return registry(
        draw(campaigns()),
        reminders=tuple(draw(st.lists(reminders, max_size=4))),
        quiet=draw(st.sampled_from([Quiet(), Quiet(0, 0)])),
    )

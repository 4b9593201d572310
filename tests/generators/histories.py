"""Histories of one user, by seed: events as on the wire, in an order of arrival of their own."""

# Seeded dice, repeatable by design.
# ruff: noqa: TID251

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests import builders as b
from tests.generators.campaigns import SEGMENTS
from tests.models.ids import reward_id, task_id

if TYPE_CHECKING:
    import random

CLOCKS = ("00:00", "03:59", "04:00", "08:00", "10:00", "12:00", "23:59")
DELAYS = (*[timedelta(0)] * 6, timedelta(days=3), timedelta(days=40))
PARENTS = {"o5": "o1", "o6": "p1", "o7": "p1"}  # a checkout may bear an order's own id
PARTS = {"o1", *PARENTS}


def history(  # noqa: C901, PLR0912  a line or two for each feature
    rng: random.Random, features: frozenset[str], records: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Up to twenty events, some of them twice; half of the histories are fertile: much counts."""
    campaigns = [r for r in records if r["type"] == "campaign.defined"]
    fertile = rng.random() < 0.5
    if fertile:
        made = [good_claim(rng, features, one) for one in campaigns]
        made += [good_order(rng, features, n) for n in range(1, rng.randint(3, 10))]
        names = [event["order_id"] for event in made if "order_id" in event]
        for n in range(rng.choice([0, 1, 2, 3, 4])):
            gone = b.cancel(rng.choice(names), when=moment(rng), id=f"c{n}")
            made += [gone, b.withdraw(f"c{n}", when=moment(rng))][: rng.choice([1, 1, 2])]
    else:
        made = [claim(rng, features, campaigns) for _ in range(rng.randint(1, 4))]
        made += [order(rng, features) for _ in range(rng.randint(1, 10))]
        made += [cancellation(rng) for _ in range(rng.choice([0, 0, 1, 2, 3]))]
    if "steps" in features:
        bought = [
            e for e in made if "lines" in e and "currency" in e and e["order_id"] not in PARTS
        ]
        made += [further(rng, event) for event in bought if rng.random() < 0.5]
    makers = {
        "withdrawn": lambda: withdrawal(rng, campaigns),
        "risk": lambda: verdict(rng),
        "lottery": lambda: draw(rng, campaigns),
        "collect": lambda: collection(rng, campaigns),
    }
    for feature, make in makers.items():
        if feature in features and rng.random() < 0.6:
            made += [make() for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.5:
        made.sort(key=lambda event: event["occurred_at"])
    elif not fertile or rng.random() < 0.3:
        rng.shuffle(made)
    if rng.random() < 0.3:
        made.insert(rng.randint(0, len(made)), rng.choice(made))
    if "regained" in features:
        made += regained(rng, made)
    if "ticks" in features:
        for day in sorted(rng.sample(range(2, 50), rng.randint(0, 4)), reverse=True):
            made.insert(min(len(made), rng.randint(day // 2, day)), b.tick(day))
        if "over" in features:  # histories are over, and what is read then is not
            for day in sorted(rng.sample(range(42, 66), rng.randint(1, 3)), reverse=True):
                made.insert(rng.randint(len(made) // 2, len(made)), b.tick(day))
        made.append(b.tick(60))  # later than any horizon
    return made


def regained(rng: random.Random, made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All orders come far; some go, each with one in its place that has not come so far yet."""
    bought = [e for e in made if "currency" in e and e["order_id"] not in PARTS]
    found = [{**event, "type": "order.settled", "version": 9} for event in bought]
    lost = rng.sample(bought, k=min(len(bought), rng.randint(1, 3)))
    for n, event in enumerate(lost, 10):
        instead = {**event, "order_id": f"o{n}", "type": "order.paid", "version": 1}
        found += [b.cancel(event["order_id"], when=moment(rng), id=f"c{n}"), instead]
        then = [b.cancel(f"o{n}", when=moment(rng), id=f"d{n}"), further(rng, instead)]
        found += rng.choice([then[:1], then[1:], then, []])
    return found


def moment(rng: random.Random) -> datetime:
    return b.at(rng.randint(1, 9), rng.choice(CLOCKS))


def context(rng: random.Random) -> dict[str, Any] | None:
    """None, or either half of what the shop may know."""
    known: dict[str, Any] = {}
    if rng.random() < 0.75:
        known["segments"] = sorted(rng.sample(SEGMENTS, rng.randint(0, 3)))
    if rng.random() < 0.75:
        known["orders_30d"] = rng.choice([0, 1, 2, 3, 9])
    return known or None


def good_claim(
    rng: random.Random, features: frozenset[str], campaign: dict[str, Any]
) -> dict[str, Any]:
    """One that most campaigns accept."""
    return b.claim(
        f"k-{campaign['campaign_id']}",
        when=b.at(rng.choice([1, 1, 2]), "03:00"),
        campaign_id=campaign["campaign_id"],
        context=context(rng) if features & {"audience", "variants"} else None,
    )


def good_order(rng: random.Random, features: frozenset[str], n: int) -> dict[str, Any]:
    """One that most tasks count, of a day of its own or of one that has others too."""
    when = b.at(min(n, 8) if rng.random() < 0.6 else rng.randint(1, 8), rng.choice(CLOCKS[3:]))
    return b.order(
        f"o{n}",
        when=when,
        status=rng.choice(["paid", "paid", "fulfilled"]),
        yuan=rng.choice([15, 20, 50]),
        channel="app",
        entry="home" if "orders_enter" in features else None,
        context=context(rng) if "orders_enter" in features else None,
    )


def claim(
    rng: random.Random, features: frozenset[str], campaigns: list[dict[str, Any]]
) -> dict[str, Any]:
    when = b.at(rng.choice([1, 1, 1, 2, 3, 5, 7, 9]), rng.choice(CLOCKS))
    return b.claim(
        rng.choice(["k1", "k2", "k3", "k4", "k5"]),
        when=when,
        recorded=when + rng.choice(DELAYS),
        campaign_id=rng.choice(campaigns)["campaign_id"],
        entry=rng.choice(["home", "home", "home", "elsewhere"]),
        trigger_order_id=rng.choice([None, None, "o1", "o2"]),
        context=context(rng) if features & {"audience", "variants"} else None,
    )


def order(rng: random.Random, features: frozenset[str]) -> dict[str, Any]:
    when = moment(rng)
    lines = [(rng.randint(1, 4), rng.choice([0, 333, 500, 1500])) for _ in range(rng.randint(1, 3))]
    goods = sum(quantity * unit for quantity, unit in lines)
    off = rng.choice([0, 0, min(goods, 333)])
    order_id = f"o{rng.randint(1, 9)}"
    enters: dict[str, Any] = {}
    if "orders_enter" in features:
        enters = {"entry": rng.choice([None, "home", "home", "elsewhere"]), "context": context(rng)}
    return b.order(
        order_id,
        when=when,
        status=rng.choice(["paid"] * 5 + ["placed", "fulfilled", "settled", "amended"]),
        # What amends a part of a checkout may or may not begin an automatic task: left open.
        version=rng.choice([1] * 4 + [2, 3]) if order_id not in PARTS else 1,
        lines=lines,
        discounts=[("full", off, rng.choice([0, 1000, 3000]))] if off else [],
        recorded=when + rng.choice(DELAYS),
        currency=rng.choice(["CNY"] * 12 + ["USD"]),
        category=rng.choice(["veg", "veg", "card"]),
        channel=rng.choice(["app", "app", "web"]),
        parent_order_id=PARENTS.get(order_id),
        **enters,
    )


def further(rng: random.Random, event: dict[str, Any]) -> dict[str, Any]:
    """The same order come further, so that campaigns may date it differently."""
    when = datetime.fromisoformat(event["occurred_at"]) + timedelta(hours=rng.choice([1, 9, 30]))
    return {
        **event,
        "type": rng.choice(["order.paid", "order.fulfilled", "order.settled"]),
        "version": event["version"] + 1,
        "occurred_at": when.isoformat(),
        "recorded_at_ms": b.millis(when),
    }


def cancellation(rng: random.Random) -> dict[str, Any]:
    when, order_id, name = moment(rng), f"o{rng.randint(1, 9)}", f"c{rng.randint(1, 4)}"
    kind = rng.randint(0, 3)
    if kind == 0:
        return b.withdraw(name, when=when)
    recorded = when + rng.choice(DELAYS)
    if kind == 1:
        return b.cancel(order_id, when=when, recorded=recorded, id=name)
    lines = {str(rng.randint(1, 3)): rng.randint(1, 3) for _ in range(rng.randint(1, 2))}
    return b.refund(order_id, lines, when=when, recorded=recorded, id=name)


def verdict(rng: random.Random) -> dict[str, Any]:
    return b.event(
        "risk.verdict",
        moment(rng),
        cancellation_id=f"v{rng.randint(1, 4)}",
        order_id=rng.choice([None, *(f"o{n}" for n in range(1, 10))]),
        verdict=rng.choice(["block", "block", "review", "clear"]),
    )


def a_task(rng: random.Random, campaigns: list[dict[str, Any]]) -> str:
    return task_id(b.USER, rng.choice(campaigns)["campaign_id"], rng.choice([1, 1, 1, 2]))


def withdrawal(rng: random.Random, campaigns: list[dict[str, Any]]) -> dict[str, Any]:
    return b.event(
        "task.withdrawn",
        moment(rng),
        claim_id=f"w{rng.randint(1, 3)}",
        task_id=a_task(rng, campaigns),
    )


def draw(rng: random.Random, campaigns: list[dict[str, Any]]) -> dict[str, Any]:
    return b.event(
        "draw.requested",
        moment(rng),
        claim_id=f"d{rng.randint(1, 5)}",
        task_id=a_task(rng, campaigns),
        step=rng.choice(["1", "1", "2", "2#2", "1#2", "3"]),
    )


def collection(rng: random.Random, campaigns: list[dict[str, Any]]) -> dict[str, Any]:
    step = rng.randint(1, 3)
    kind, right = rng.choice([("step", f"s{step}"), ("final", "pts")])
    return b.event(
        "reward.collected",
        moment(rng),
        claim_id=f"g{rng.randint(1, 6)}",
        reward_id=reward_id(a_task(rng, campaigns), str(step), kind, right),
    )

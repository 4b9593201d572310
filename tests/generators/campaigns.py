"""Campaign records with every feature: as an operator would write them, in small numbers."""

# Seeded dice, repeatable by design.
# ruff: noqa: TID251

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests import builders as b

if TYPE_CHECKING:
    import random

CAMPAIGN_IDS = ("three", "four", "five")
SEGMENTS = ("new", "loyal", "price")
POOL, SUPPLY = "wheel", "depot"
TYPES = ("red_packet", "red_packet", "points", "coupon", "voucher", "physical")


def records(rng: random.Random, features: frozenset[str]) -> list[dict[str, Any]]:
    """One campaign, or up to three; pools first, then stops and kills."""
    count = rng.choice([1, 1, 2]) if "groups" not in features else rng.choice([1, 2, 2, 3])
    found: list[dict[str, Any]] = []
    if "supply" in features:
        found.append(supply(rng))
    if "lottery" in features:
        found.append(wheel(rng))
    found += [campaign(rng, features, campaign_id) for campaign_id in CAMPAIGN_IDS[:count]]
    for campaign_id in CAMPAIGN_IDS[:count]:
        if "stop" in features and rng.random() < 0.15:
            found.append(stopped(rng, campaign_id))
        if "kill" in features and rng.random() < 0.3:
            found.append(killed(rng, campaign_id))
    if "lottery" in features and rng.random() < 0.2:
        found.append(
            {
                "type": "pool.closed",
                "v": 1,
                "pool_id": POOL,
                "effective_from": b.at(rng.randint(3, 10), "06:00").isoformat(),
            }
        )
    return found


def stopped(rng: random.Random, campaign_id: str) -> dict[str, Any]:
    return {
        "type": "campaign.stopped",
        "v": 1,
        "campaign_id": campaign_id,
        "effective_from": b.at(rng.randint(1, 8), rng.choice(["00:00", "08:00"])).isoformat(),
    }


def killed(rng: random.Random, campaign_id: str) -> dict[str, Any]:
    made = {**stopped(rng, campaign_id), "type": "campaign.killed"}
    if rng.random() < 0.5:
        made["compensation"] = right("sorry", rng, 50)
    return made


def campaign(rng: random.Random, features: frozenset[str], campaign_id: str) -> dict[str, Any]:
    """One definition; what is not in `features` has its default."""
    auto = rng.random() < 0.35
    mode = rng.choice(["from_claim", "from_claim", "fixed", "every_n"])
    days, goal, cap = rng.randint(2, 8), rng.randint(1, 3), rng.choice([0, 1, 1, 2])
    goal = min(goal, days * cap) if cap else goal
    window: dict[str, Any] = {
        "mode": mode,
        "days": days,
        "lookback": rng.choice(["none", "trigger_order", "same_day"]),
    }
    if mode == "fixed" or (mode == "every_n" and rng.random() < 0.5):
        window["first_day"] = rng.choice(["2026-03-01", "2026-03-03"])
    if mode == "every_n":
        reach = days * cap // goal if cap else 3
        window["max_cycles"] = rng.randint(1, max(1, min(3, reach)))
    fields: dict[str, Any] = {
        "campaign_id": campaign_id,
        "enrolment": "auto" if auto else "claim",
        "calendar": {
            "time_zone": rng.choice(["Asia/Shanghai", "UTC", "America/New_York"]),
            "day_start": rng.choice(["00:00", "04:00"]),
        },
        "window": window,
        "target": {"orders": goal},
        "qualify": {
            "on": rng.choice(["paid", "paid", "paid", "placed", "fulfilled"]),
            "min_amount_minor": rng.choice([0, 500, 1500]),
            "basis": rng.choice(["consumption", "goods"]),
            "refund_basis": rng.choice(["keep", "recompute"]),
            "daily_cap": cap,
            "categories": rng.choice([{}, {"exclude": ["card"]}]),
            "channels": rng.choice([{}, {}, {"include": ["app"]}]),
        },
    }
    if mode != "every_n":
        fields["rounds"] = {"max": rng.randint(1, 3), "cool_down_days": rng.randint(0, 2)}
    fields["step_rewards"] = [
        {"step": k, "right": right(f"s{k}", rng, 100 * k)}
        for k in range(1, goal + 1)
        if rng.random() < 0.6
    ]
    fields["final_rewards"] = [right("pts", rng, 500)]
    options(rng, features, fields, goal)
    return b.campaign(**fields)


def options(  # noqa: C901, PLR0912  a line or two for each feature
    rng: random.Random, features: frozenset[str], fields: dict[str, Any], goal: int
) -> None:
    """Add what is switched on, each with even chances."""
    every_n = fields["window"]["mode"] == "every_n"

    def on(feature: str, chance: float = 0.5) -> bool:
        return feature in features and rng.random() < chance

    if on("audience"):
        fields["audience"] = audience(rng)
    if on("holdout", 0.3):
        fields |= {"holdout_bp": rng.choice([1, 5_000, 10_000]), "holdout_salt": rng.choice("abc")}
    if on("amount") and not every_n:
        fields["target"] |= {
            "amount_minor": rng.choice([1000, 3000, 6000]),
            "match": rng.choice(["all", "any"]),
        }
    if on("saved", 0.7):
        fields["saved"] = saved(rng, endless="amount_minor" in fields["target"])
        fields["final_rewards"] = [
            {"right_id": "bank", "type": "red_packet", "value": "saved_amount"},
            *fields["final_rewards"][: rng.randint(0, 1)],
        ]
    if on("variants"):
        fields["variants"] = variants(rng, fields, goal)
    if on("groups", 0.8):
        fields |= {"exclusion_group": rng.choice(["veg", "veg", "meat"])}
        fields["priority"] = rng.choice([0, 0, 5])
    if on("lottery", 0.8):
        fields["features"] = ["light_box", "full_link", "lottery"]
        fields["lottery"] = lottery(rng, goal)
        # The pool has to outlive the last window.
        fields["claim"] = {"closes_at": b.at(12, "00:00").isoformat()}
    if on("release"):
        fields["release"] = {
            "instant_limit_minor": rng.choice([0, 150, 400]),
            "on": rng.choice(["paid", "fulfilled", "settled"]),
            "hold_days": rng.choice([0, 0, 2]),
        }
    if on("collect", 0.3):
        fields |= {"collect": "manual", "collect_days": rng.choice([1, 7])}
    if on("required", 0.6):
        fields["results"] = "required"
        if rng.random() < 0.5:
            fields["final_rewards"][0]["fallback"] = right("instead", rng, 70)
    if on("supply"):
        fields["final_rewards"][0]["supply"] = SUPPLY
        if rng.random() < 0.5:
            fields["final_rewards"][0]["fallback"] = right("instead", rng, 70)
    if on("budget"):
        fields["budget"] = rng.choice(
            [{"amount_minor": 10**6}, {"max_tasks": 3}, {"amount_minor": 10**6, "max_tasks": 2}]
        )
    if on("reminders"):
        fields["reminders"] = [
            {"kind": kind, "before_hours": rng.choice([0, 12, 48])}
            for kind in ("task_expiring", "one_order_left", "reward_issued")
            if rng.random() < 0.6
        ]
    if on("results", 0.5):
        fields["clawback"] = {
            "red_packet": rng.choice(["debt", "revoke", "keep"]),
            "coupon": rng.choice(["keep", "revoke"]),
        }
        fields["debt_cap_minor"] = rng.choice([10_000, 150])
    if rng.random() < 0.2:
        fields["expiry"] = {"grace_hours": rng.choice([0, 24]), "clawback_days": rng.choice([1, 5])}


def right(right_id: str, rng: random.Random, value: int) -> dict[str, Any]:
    return {"right_id": right_id, "type": rng.choice(TYPES), "value_minor": value}


def audience(rng: random.Random) -> dict[str, Any]:
    clauses: dict[str, Any] = {}
    for name in ("segments_any", "segments_all", "segments_none"):
        if rng.random() < 0.35:
            clauses[name] = sorted(rng.sample(SEGMENTS, rng.randint(1, 2)))
    if rng.random() < 0.35:
        clauses["orders_30d_max"] = rng.choice([0, 2])
    return clauses


def saved(rng: random.Random, *, endless: bool) -> dict[str, Any]:
    """endless: no count bounds the orders, so a cap has to."""
    rule = rng.choice(
        [
            {"rule": "fixed", "value_minor": 30},
            {"rule": "percent", "bp": rng.choice([250, 3333])},
            {"rule": "table", "table": [10, 20, 35][: rng.randint(1, 3)]},
            {"rule": "random", "min_minor": 5, "max_minor": rng.choice([5, 9, 77])},
        ]
    )
    if endless or rule["rule"] == "percent" or rng.random() < 0.5:
        rule["cap_minor"] = rng.choice([40, 75, 1000])
    return rule


def variants(rng: random.Random, fields: dict[str, Any], goal: int) -> list[dict[str, Any]]:
    """Of one or two segments; reachable, and with steps within their own target."""
    window, cap = fields["window"], fields["qualify"]["daily_cap"]
    found = []
    for segment in rng.sample(SEGMENTS, rng.randint(1, 2)):
        days = rng.randint(window["days"], 8)
        orders = rng.randint(1, max(1, goal))
        assert not cap or orders * window.get("max_cycles", 1) <= days * cap
        found.append(
            {
                "segment": segment,
                "days": days,
                "orders": orders,
                "step_rewards": [
                    {"step": k, "right": right(f"v{k}", rng, 11 * k)}
                    for k in range(1, orders + 1)
                    if rng.random() < 0.6
                ],
                "final_rewards": [right("vfin", rng, 600)],
            }
        )
    return found


def lottery(rng: random.Random, goal: int) -> dict[str, Any]:
    chances: list[dict[str, Any]] = [
        {"step": k, "count": rng.randint(1, 2)} for k in range(1, goal) if rng.random() < 0.5
    ]
    if not chances or rng.random() < 0.6:
        chances.append({"step": "final", "count": rng.randint(1, 2)})
    return {
        "pool_id": POOL,
        "odds_version": 1,
        "chances": chances,
        "draw": rng.choice(["request", "request", "immediate"]),
        "at_close": rng.choice(["expire", "draw"]),
    }


def wheel(rng: random.Random) -> dict[str, Any]:
    """A lottery pool with good odds: one of two draws hits."""
    made: dict[str, Any] = {
        "type": "pool.defined",
        "v": 1,
        "pool_id": POOL,
        "kind": "lottery",
        "effective_from": "2025-12-01T00:00:00+08:00",
        "opens_at": "2026-01-01T00:00:00+08:00",
        "closes_at": b.at(40, "00:00").isoformat(),
        "currency": "CNY",
        "commitment": "0" * 64,
        "prizes": [
            {"prize_id": "top", "right": prize("rp-top", 300), "stock": rng.randint(1, 3)},
            {"prize_id": "low", "right": prize("rp-low", 20), "stock": rng.randint(1, 9)},
        ],
        "odds": [
            {
                "odds_version": 1,
                "denominator": 1_000_000,
                "weights": [
                    {"prize_id": "top", "weight": 200_000},
                    {"prize_id": "low", "weight": 300_000},
                ],
            }
        ],
    }
    if rng.random() < 0.5:
        made["budget_minor"] = rng.choice([300, 500, 2000])
    if rng.random() < 0.5:
        made["fallback"] = prize("rp-none", 1)
    if rng.random() < 0.5:
        made["prizes"][0]["max_per_user"] = 1
    if rng.random() < 0.5:
        made["prizes"][1]["release"] = {"kind": "even", "jitter": rng.random() < 0.5}
    return made


def prize(right_id: str, value: int) -> dict[str, Any]:
    return {"right_id": right_id, "type": "red_packet", "value_minor": value}


def supply(rng: random.Random) -> dict[str, Any]:
    return {
        "type": "pool.defined",
        "v": 1,
        "pool_id": SUPPLY,
        "kind": "rights",
        "effective_from": "2025-12-01T00:00:00+08:00",
        "stock": [
            {"right_id": name, "units": rng.randint(1, 5)} for name in ("pts", "bank", "vfin")
        ],
    }

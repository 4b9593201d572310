"""`campaign.defined` field by field, in the order of the table of semantics.md 2."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from streams.domain.campaign import Campaign
from streams.domain.days import HOUR_MS, Calendar
from streams.domain.definition.fields import CURRENCY, MAX_MINOR, NAME, REQUIRED
from streams.domain.definition.rights import read_final_rewards, read_policies, read_step_rewards
from streams.domain.events import Status
from streams.domain.features import (
    FEATURES,
    Audience,
    Budget,
    Chances,
    Lottery,
    Quiet,
    Release,
    Reminder,
    Saved,
    Variant,
)

if TYPE_CHECKING:
    from streams.domain.definition.fields import Fields

LOOKBACKS = ("none", "trigger_order", "same_day")
STATUSES = {s.name.lower(): s for s in Status if s is not Status.AMENDED}
SAVED_RULES = ("fixed", "percent", "table", "random")
NOTICES = (
    "reward_issued",
    "reward_expiring",
    "task_expiring",
    "one_order_left",
    "chance_expiring",
)
CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
QUIET = re.compile(rf"{CLOCK.pattern}-{CLOCK.pattern}")
ONE_LINE = re.compile(r"[^\x00-\x1f\x7f]{1,128}")  # it is a line of what is hashed


def read_campaign(top: Fields) -> Campaign | None:
    """Return the campaign whose fields each are clear, or None: the problems are in `top`."""
    window, target, qualify = top.inner("window"), top.inner("target"), top.inner("qualify")
    rounds, claim, expiry = top.inner("rounds"), top.inner("claim"), top.inner("expiry")
    values: dict[str, Any] = {
        "campaign_id": top.text("campaign_id", pattern=NAME),
        "version": top.integer("version", 1, 10**6),
        "effective_from_ms": top.required_instant("effective_from"),
        "features": frozenset(top.texts("features", REQUIRED, among=FEATURES)),
        "scenes": tuple(top.texts("scenes", REQUIRED)),
        "entries": frozenset(top.texts("entries", [])),
        "title": top.text("title", ""),
        "currency": top.text("currency", pattern=CURRENCY),
        "calendar": _calendar(top.inner("calendar")),
        "auto": top.choice("enrolment", ("claim", "auto"), "claim") == "auto",
        "mode": window.choice("mode", ("from_claim", "fixed", "every_n"), "from_claim"),
        "days": window.integer("days", 1, 1000),
        "first_day": window.day("first_day"),
        "max_cycles": window.integer("max_cycles", 1, 1000, 1),
        "lookback": window.choice("lookback", LOOKBACKS, "trigger_order"),
        "target_orders": target.integer("orders", 1, 366),
        "target_amount_minor": target.integer("amount_minor", 0, MAX_MINOR, 0),
        "match": target.choice("match", ("all", "any"), "all"),
        "on": _status(qualify),
        "min_amount_minor": qualify.integer("min_amount_minor", 0, MAX_MINOR, 0),
        "basis": qualify.choice("basis", ("consumption", "goods"), "consumption"),
        "categories": qualify.filter("categories"),
        "channels": qualify.filter("channels"),
        "stores": qualify.filter("stores"),
        "daily_cap": qualify.integer("daily_cap", 0, 1000, 1),
        "refund_basis": qualify.choice("refund_basis", ("keep", "recompute"), "keep"),
        "saved": _saved(top),
        "final_rewards": read_final_rewards(top),
        "step_rewards": read_step_rewards(top),
        "lottery": _lottery(top),
        "release": _release(top),
        "collect": top.choice("collect", ("auto", "manual"), "auto"),
        "collect_days": top.integer("collect_days", 1, 366, 7),
        "audience": _audience(top),
        "holdout_bp": top.integer("holdout_bp", 0, 10_000, 0),
        "holdout_salt": top.text("holdout_salt", "", ONE_LINE),
        "opens_at_ms": claim.instant("opens_at", None),
        "closes_at_ms": claim.instant("closes_at", None),
        "rounds_max": rounds.integer("max", 1, 1000, 1),
        "cool_down_days": rounds.integer("cool_down_days", 0, 1000, 0),
        "priority": top.integer("priority", -(10**6), 10**6, 0),
        "exclusion_group": top.text("exclusion_group", "", NAME),
        "budget": _budget(top),
        "policies": read_policies(top),
        "debt_cap_minor": top.integer("debt_cap_minor", 0, MAX_MINOR, 10_000),
        "debt_days": top.integer("debt_days", 1, 3660, 90),
        "grace_ms": expiry.integer("grace_hours", 0, 8784, 48) * HOUR_MS,
        "clawback_ms": expiry.integer("clawback_days", 0, 366, 30) * 24 * HOUR_MS,
        "results": top.choice("results", ("assumed", "required"), "assumed"),
        "reminders": _reminders(top),
        "quiet": _quiet(top),
    }
    values["variants"] = _variants(top, values)
    for inner in (window, target, qualify, rounds, claim, expiry):
        inner.refuse_unknown()
    return None if top.problems else Campaign(**values)


def _calendar(fields: Fields) -> Calendar:
    zone = fields.text("time_zone", "Asia/Shanghai")
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):  # unknown, malformed, or a directory of the database
        fields.problem("time_zone", f"unknown zone {zone!r}")
    start = CLOCK.fullmatch(fields.text("day_start", "00:00"))
    if start is None:
        fields.problem("day_start", "must be HH:MM")
    fields.refuse_unknown()
    return Calendar(zone, int(start[1]) * 60 + int(start[2]) if start else 0)


def _status(fields: Fields) -> Status:
    return STATUSES.get(fields.choice("on", tuple(STATUSES), "paid"), Status.PAID)


def _saved(top: Fields) -> Saved | None:
    """Only the fields of its rule are known, so that another rule's are not silently ignored."""
    fields = top.optional_inner("saved")
    if fields is None:
        return None
    rule = fields.choice("rule", SAVED_RULES)
    amounts: dict[str, Any] = {"cap_minor": fields.optional_integer("cap_minor", 1, MAX_MINOR) or 0}
    if rule == "fixed":
        amounts["value_minor"] = fields.integer("value_minor", 1, MAX_MINOR)
    elif rule == "percent":
        amounts["bp"] = fields.integer("bp", 1, 10_000)
    elif rule == "table":
        amounts["table"] = tuple(fields.integers("table", 0, MAX_MINOR))
    elif rule == "random":
        amounts["min_minor"] = fields.integer("min_minor", 0, MAX_MINOR)
        amounts["max_minor"] = fields.integer("max_minor", amounts["min_minor"], MAX_MINOR)
    fields.refuse_unknown()
    return Saved(rule, **amounts)


def _lottery(top: Fields) -> Lottery | None:
    fields = top.optional_inner("lottery")
    if fields is None:
        return None
    lottery = Lottery(
        pool_id=fields.text("pool_id", pattern=NAME),
        odds_version=fields.integer("odds_version", 1, 10**6),
        chances=tuple(_chances(one) for one in fields.items("chances", REQUIRED)),
        draw=fields.choice("draw", ("request", "immediate"), "request"),
        at_close=fields.choice("at_close", ("expire", "draw"), "expire"),
    )
    if fields.has("chances") and not lottery.chances:
        fields.problem("chances", "must not be empty")
    fields.refuse_unknown()
    return lottery


def _chances(fields: Fields) -> Chances:
    step: int | str = "final"
    if fields.take("step", None) != "final":
        step = fields.integer("step", -(10**9), 10**9)
    chances = Chances(step, fields.integer("count", 1, 100))
    fields.refuse_unknown()
    return chances


def _release(top: Fields) -> Release | None:
    fields = top.optional_inner("release")
    if fields is None:
        return None
    release = Release(
        fields.integer("instant_limit_minor", 0, MAX_MINOR, 0),
        _status(fields),
        fields.integer("hold_days", 0, 366, 0),
    )
    fields.refuse_unknown()
    return release


def _audience(top: Fields) -> Audience | None:
    if top.take("audience", None) in (None, "all"):
        return None
    fields = top.inner("audience")
    audience = Audience(
        segments_any=frozenset(fields.texts("segments_any", [])),
        segments_all=frozenset(fields.texts("segments_all", [])),
        segments_none=frozenset(fields.texts("segments_none", [])),
        orders_30d_max=fields.optional_integer("orders_30d_max", 0, 10**6),
    )
    fields.refuse_unknown()
    return None if audience == Audience() else audience


def _variants(top: Fields, base: dict[str, Any]) -> tuple[Variant, ...]:
    """Each has what it names, and of the rest what the campaign has."""
    found: list[Variant] = []
    for fields in top.items("variants"):
        segment = fields.text("segment", pattern=ONE_LINE)
        if segment in [variant.segment for variant in found]:
            fields.problem("segment", f"{segment!r} has a variant already; the first match wins")
        finals, steps = read_final_rewards(fields), read_step_rewards(fields)
        found.append(
            Variant(
                segment=segment,
                days=fields.integer("days", 1, 1000, base["days"]),
                target_orders=fields.integer("orders", 1, 366, base["target_orders"]),
                final_rewards=finals if fields.has("final_rewards") else base["final_rewards"],
                step_rewards=steps if fields.has("step_rewards") else base["step_rewards"],
            )
        )
        fields.refuse_unknown()
    return tuple(found)


def _budget(top: Fields) -> Budget | None:
    fields = top.optional_inner("budget")
    if fields is None:
        return None
    budget = Budget(
        fields.optional_integer("amount_minor", 1, MAX_MINOR) or 0,
        fields.optional_integer("max_tasks", 1, 10**9) or 0,
    )
    if not fields.has("amount_minor") and not fields.has("max_tasks"):
        top.problem("budget", "needs amount_minor, max_tasks, or both")
    fields.refuse_unknown()
    return budget


def _reminders(top: Fields) -> tuple[Reminder, ...]:
    found = []
    for fields in top.items("reminders"):
        kind = fields.choice("kind", NOTICES)
        found.append(Reminder(kind, fields.integer("before_hours", 0, 8784, 0) * HOUR_MS))
        fields.refuse_unknown()
    return tuple(found)


def _quiet(top: Fields) -> Quiet:
    text = top.text("quiet", "22:00-08:00")
    hours = QUIET.fullmatch(text)
    if hours is None:
        top.problem("quiet", "must be HH:MM-HH:MM")
        return Quiet()
    start, end = (int(hours[i]) * 60 + int(hours[i + 1]) for i in (1, 3))
    return Quiet(start, end)

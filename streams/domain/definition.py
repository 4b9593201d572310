"""A campaign as an operator writes it, checked: every problem named at once, nothing guessed.

Strict, unlike events: an unknown field is a problem, because a misspelt rule is money. What this
version does not do yet is refused by name; its default value is accepted. Source: semantics.md 2,
the field table and the table `Refused`.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from typing import Any
from zoneinfo import ZoneInfo

from streams.domain.campaign import OWABLE, Campaign, Filter, Right
from streams.domain.days import EPOCH, EPOCH_DAY, HOUR_MS, Calendar
from streams.domain.events import Status

RIGHT_TYPES = ("red_packet", "cash", "points", "coupon", "voucher", "physical")
POLICIES = ("keep", "revoke", "debt")
DEFAULT_POLICIES = {kind: "debt" if kind in OWABLE else "revoke" for kind in RIGHT_TYPES} | {
    "physical": "keep"  # "revoke until issued, then keep": assumed results issue it at once
}
LOOKBACKS = ("none", "trigger_order", "same_day")
FEATURES = ("dark_box", "light_box", "lottery", "full_link")
STATUSES = {s.name.lower(): s for s in Status if s is not Status.AMENDED}
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
MAX_MINOR = 2**53 - 1  # what every JSON reader downstream holds exactly
# A window that begins later could end beyond the calendar's year 9999: 1,000 cycles of 1,000 days.
YEARS = range(1970, 3000)
MOST_HINTS = 50  # problems after which nobody is asked what was meant: it takes a while each
REQUIRED: Any = object()

# Fields of later features: accepted only as their default, so that nothing is silently ignored.
NOT_BUILT: dict[str, tuple[Any, ...]] = {
    "saved": (None,),
    "lottery": (None,),
    "release": (None,),
    "collect": ("auto",),
    "audience": (None, {}, "all"),
    "holdout_bp": (0,),
    "variants": ([],),
    "exclusion_group": (None,),
    "budget": (None,),
    "results": ("assumed",),
    "reminders": ([],),
}
WITHOUT_EFFECT = ("collect_days", "holdout_salt", "priority", "quiet", "debt_days")


def campaign_from(definition: Any) -> tuple[Campaign | None, list[str]]:
    """Return the campaign, or None and every problem as `<path>: <problem>`.

    definition: the parsed JSON object of one `campaign.defined` record.
    """
    top = _Fields(definition, "")
    if top.problems:
        return None, top.problems
    top.choice("type", ("campaign.defined",))
    top.integer("v", 1, 1)
    for name, accepted in NOT_BUILT.items():
        if top.take(name, accepted[0]) not in accepted:
            top.problem(name, "not built in this version")
    for name in WITHOUT_EFFECT:
        top.take(name, None)
    campaign = _read(top)
    top.refuse_unknown()
    return (None, top.problems) if top.problems or campaign is None else (campaign, [])


def _read(top: _Fields) -> Campaign | None:
    campaign_id = top.text("campaign_id", pattern=NAME)
    features = top.texts("features", REQUIRED, among=FEATURES)
    entries = top.texts("entries", [])
    calendar = _calendar(top.inner("calendar"))
    window, target, qualify = top.inner("window"), top.inner("target"), top.inner("qualify")
    mode = window.choice("mode", ("from_claim", "fixed", "every_n"), "from_claim")
    days = window.integer("days", 1, 1000)
    first_day = window.day("first_day")
    cycles = window.integer("max_cycles", 1, 1000, 1)
    orders = target.integer("orders", 1, 366)
    if target.take("amount_minor", 0) != 0 or target.take("match", "all") != "all":
        target.problem("amount_minor", "not built in this version")
    cap = qualify.integer("daily_cap", 0, 1000, 1)
    rounds, claim, expiry = top.inner("rounds"), top.inner("claim"), top.inner("expiry")
    fields: dict[str, Any] = {
        "campaign_id": campaign_id,
        "version": top.integer("version", 1, 10**6),
        "effective_from_ms": top.instant("effective_from", REQUIRED),
        "currency": top.text("currency", pattern=re.compile(r"[A-Z]{3}")),
        "features": frozenset(features),
        "scenes": tuple(top.texts("scenes", REQUIRED)),
        "entries": frozenset(entries),
        "title": top.text("title", ""),
        "calendar": calendar,
        "auto": top.choice("enrolment", ("claim", "auto"), "claim") == "auto",
        "mode": mode,
        "days": days,
        "first_day": first_day,
        "max_cycles": cycles,
        "lookback": window.choice("lookback", LOOKBACKS, "trigger_order"),
        "target_orders": orders,
        "on": STATUSES.get(qualify.choice("on", tuple(STATUSES), "paid"), Status.PAID),
        "min_amount_minor": qualify.integer("min_amount_minor", 0, MAX_MINOR, 0),
        "basis": qualify.choice("basis", ("consumption", "goods"), "consumption"),
        "categories": qualify.filter("categories"),
        "channels": qualify.filter("channels"),
        "stores": qualify.filter("stores"),
        "daily_cap": cap,
        "refund_basis": qualify.choice("refund_basis", ("keep", "recompute"), "keep"),
        "final_rewards": tuple(_right(r) for r in top.items("final_rewards")),
        "step_rewards": _step_rewards(top, orders),
        "rounds_max": rounds.integer("max", 1, 1000, 1),
        "cool_down_days": rounds.integer("cool_down_days", 0, 1000, 0),
        "opens_at_ms": claim.instant("opens_at", None),
        "closes_at_ms": claim.instant("closes_at", None),
        "policies": _policies(top),
        "debt_cap_minor": top.integer("debt_cap_minor", 0, MAX_MINOR, 10_000),
        "grace_ms": expiry.integer("grace_hours", 0, 8784, 48) * HOUR_MS,
        "clawback_ms": expiry.integer("clawback_days", 0, 366, 30) * 24 * HOUR_MS,
    }
    for inner in (window, target, qualify, rounds, claim, expiry):
        inner.refuse_unknown()
    if top.problems:
        return None
    campaign = Campaign(**fields)
    _refuse_unclear(top, campaign)
    return campaign


def _refuse_unclear(top: _Fields, c: Campaign) -> None:
    """Rules between fields: definitions that could not mean what they say."""
    reach = c.days * c.daily_cap
    many = f"{c.limit} orders cannot be reached: {c.days} days x daily_cap {c.daily_cap} = {reach}"
    boxes = c.features & {"dark_box", "light_box"}
    opens, closes = c.opens_at_ms, c.closes_at_ms
    unclear = (
        (0 < reach < c.limit, "target.orders", many),
        (len(boxes) != 1, "features", "choose exactly one of dark_box, light_box"),
        ("lottery" in c.features, "features", "lottery is not built in this version"),
        ("full_link" in c.features and not c.entries, "entries", "full_link needs entries"),
        (
            c.step_rewards and "full_link" not in c.features,
            "step_rewards",
            "step_rewards need full_link",
        ),
        (not c.final_rewards and not c.step_rewards, "final_rewards", "nothing to win"),
        (
            c.mode == "fixed" and c.first_day is None,
            "window.first_day",
            "first_day does not fit window mode fixed: it is missing",
        ),
        (
            c.mode == "from_claim" and c.first_day is not None,
            "window.first_day",
            "first_day does not fit window mode from_claim",
        ),
        (
            c.mode != "every_n" and c.max_cycles != 1,
            "window.max_cycles",
            f"max_cycles does not fit window mode {c.mode}",
        ),
        (
            c.mode == "every_n" and c.rounds_max != 1,
            "rounds.max",
            "rounds does not fit window mode every_n",
        ),
        (opens and closes and closes <= opens, "claim.closes_at", "not after opens_at"),
    )
    for refused, name, problem in unclear:
        if refused:
            top.problem(name, problem)
    for step, rights in (("final_rewards", c.final_rewards), *c.step_rewards.items()):
        if len({right.right_id for right in rights}) != len(rights):
            top.problem(f"step {step}" if step != "final_rewards" else str(step), "use quantity")


def _calendar(fields: _Fields) -> Calendar:
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


def _right(fields: _Fields) -> Right:
    for later in ("value", "fallback", "supply"):
        if fields.take(later, None) is not None:
            fields.problem(later, "not built in this version")
    right = Right(
        right_id=fields.text("right_id", pattern=NAME),
        type=fields.choice("type", RIGHT_TYPES),
        value_minor=fields.integer("value_minor", 0, MAX_MINOR),
        quantity=fields.integer("quantity", 1, 10**9, 1),
        valid_days=fields.integer("valid_days", 1, 3660, 30),
        face=fields.text("face", ""),
    )
    fields.refuse_unknown()
    return right


def _step_rewards(top: _Fields, orders: int) -> dict[int, tuple[Right, ...]]:
    steps: dict[int, tuple[Right, ...]] = {}
    for fields in top.items("step_rewards"):
        step = fields.integer("step", -(10**9), 10**9)
        if not 1 <= step <= orders:
            fields.problem("step", f"step {step} is outside 1..{orders}")
        steps[step] = (*steps.get(step, ()), _right(fields.inner("right", REQUIRED)))
        fields.refuse_unknown()
    return steps


def _policies(top: _Fields) -> dict[str, str]:
    fields, policies = top.inner("clawback"), dict(DEFAULT_POLICIES)
    for kind in RIGHT_TYPES:
        policy = fields.choice(kind, POLICIES, policies[kind])
        if policy == "debt" and kind not in OWABLE:
            fields.problem(kind, f"{kind} cannot be owed")
        # A physical right is issued as soon as it is due here, and from then on it is kept.
        policies[kind] = "keep" if (kind, policy) == ("physical", "revoke") else policy
    fields.refuse_unknown()
    return policies


class _Fields:
    """One JSON object under inspection; collects problems in the list that all of them share."""

    def __init__(self, value: Any, path: str, problems: list[str] | None = None) -> None:
        self.path = path
        self.problems: list[str] = [] if problems is None else problems
        self.values: dict[str, Any] = value if isinstance(value, dict) else {}
        self.known: set[str] = set()
        if not isinstance(value, dict):
            self.problems.append(f"{path or 'definition'}: must be an object")

    def problem(self, name: str, text: str) -> None:
        self.problems.append(f"{self.path}{name}: {text}")

    def take(self, name: str, default: Any) -> Any:
        self.known.add(name)
        return self.values.get(name, default)

    def text(
        self, name: str, default: Any = REQUIRED, pattern: re.Pattern[str] | None = None
    ) -> str:
        value = self._typed(name, str, "text", default)
        if value is not None and pattern is not None and not pattern.fullmatch(value):
            self.problem(name, f"{value!r} does not match {pattern.pattern}")
        return value or ""

    def integer(self, name: str, low: int, high: int, default: Any = REQUIRED) -> int:
        value = self._typed(name, int, "an integer", default)
        if value is None:
            return low
        if not low <= value <= high:
            self.problem(name, f"{value} is outside {low}..{high}")
        return int(value)

    def choice(self, name: str, among: tuple[str, ...], default: Any = REQUIRED) -> str:
        value = self._typed(name, str, "text", default)
        if value is not None and value not in among:
            self.problem(name, _none_of(value, among))
        return value or ""

    def texts(self, name: str, default: Any, among: tuple[str, ...] = ()) -> list[str]:
        values = self._typed(name, list, "a list", default) or []
        if not all(isinstance(value, str) for value in values):
            self.problem(name, "must be a list of texts")
            return []
        for value in values:
            if among and value not in among:
                self.problem(name, _none_of(value, among))
        return values

    def instant(self, name: str, default: Any) -> int | None:
        value = self._typed(name, str, "an RFC 3339 time", default)
        if value is None:
            return None
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            at = None
        if at is None or at.tzinfo is None or "T" not in value:
            self.problem(name, f"{value!r} is no RFC 3339 time with an offset")
            return None
        if at.year not in YEARS:
            self.problem(name, f"{value!r} is outside {YEARS.start}..{YEARS.stop - 1}")
            return None
        return (at - EPOCH) // timedelta(milliseconds=1)

    def day(self, name: str) -> int | None:
        value = self._typed(name, str, "a date", None)
        if value is None:
            return None
        try:
            found = date.fromisoformat(value)
        except ValueError:
            self.problem(name, f"{value!r} is no date (YYYY-MM-DD)")
            return None
        if found.year not in YEARS:
            self.problem(name, f"{value!r} is outside {YEARS.start}..{YEARS.stop - 1}")
        return found.toordinal() - EPOCH_DAY

    def filter(self, name: str) -> Filter:
        fields = self.inner(name)
        include, exclude = fields.texts("include", []), fields.texts("exclude", [])
        fields.refuse_unknown()
        return Filter(frozenset(include), frozenset(exclude))

    def inner(self, name: str, default: Any = None) -> _Fields:
        value = self.take(name, None)
        if value is None and default is REQUIRED:
            self.problem(name, "is required")
        return _Fields({} if value is None else value, f"{self.path}{name}.", self.problems)

    def items(self, name: str) -> list[_Fields]:
        values = self._typed(name, list, "a list", []) or []
        return [_Fields(v, f"{self.path}{name}[{i}].", self.problems) for i, v in enumerate(values)]

    def refuse_unknown(self) -> None:
        for name in sorted(self.values.keys() - self.known):
            few = len(self.problems) < MOST_HINTS
            hint = _did_you_mean(name, tuple(self.known)) if few else ""
            self.problem(name, f"unknown field{hint}")

    def _typed(self, name: str, kind: type, said: str, default: Any) -> Any:
        value = self.take(name, None)
        if value is None:
            if default is REQUIRED:
                self.problem(name, "is required")
                return None
            return default
        if not isinstance(value, kind) or isinstance(value, bool):
            self.problem(name, f"must be {said}")
            return None if default is REQUIRED else default
        return value


def _none_of(value: str, among: tuple[str, ...]) -> str:
    return f"{value!r} is none of {', '.join(among)}{_did_you_mean(value, among)}"


def _did_you_mean(word: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""

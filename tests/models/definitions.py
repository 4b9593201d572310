"""Campaign definitions with their defaults, and their days (semantics.md 2)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.models.facts import DAY_MS, STEPS_OF_AN_ORDER, instant_ms

HOUR_MS = 3_600_000


class Version:
    """One campaign definition with its defaults filled in (semantics.md 2).

    variant: the number, from 1, of the variant whose days, target and rewards these are; 0: none.
    """

    def __init__(self, definition: dict[str, Any], variant: int = 0) -> None:
        own = definition["variants"][variant - 1] if variant else {}
        calendar = definition.get("calendar", {})
        window = definition["window"]
        target = definition["target"]
        claim = definition.get("claim", {})
        self.definition = definition
        self.variant = variant
        self.campaign_id: str = definition["campaign_id"]
        self.version: int = definition["version"]
        self.effective_ms = instant_ms(definition["effective_from"])
        self.currency: str = definition["currency"]
        self.auto = definition.get("enrolment", "claim") == "auto"
        self.zone = ZoneInfo(calendar.get("time_zone", "Asia/Shanghai"))
        self.day_start = time.fromisoformat(calendar.get("day_start", "00:00"))
        self.every_n = window.get("mode") == "every_n"
        self.days: int = own.get("days", window["days"])
        self.first_day = date.fromisoformat(window["first_day"]) if "first_day" in window else None
        self.lookback: str = window.get("lookback", "trigger_order")
        self.per_cycle: int = own.get("orders", target["orders"])
        self.target: int = self.per_cycle * window.get("max_cycles", 1)
        self.target_minor: int = target.get("amount_minor", 0)
        self.match: str = target.get("match", "all")
        self.opens_ms = instant_ms(claim["opens_at"]) if claim.get("opens_at") else None
        self.closes_ms = instant_ms(claim["closes_at"]) if claim.get("closes_at") else None
        terms = {**definition, **own}  # a variant has what it names, and of the rest the campaign's
        self.step_rewards: list[dict[str, Any]] = terms.get("step_rewards", [])
        self.final_rewards: list[dict[str, Any]] = terms.get("final_rewards", [])
        self.saved: dict[str, Any] | None = definition.get("saved")
        self.lottery: dict[str, Any] | None = definition.get("lottery")
        self.budget: dict[str, Any] | None = definition.get("budget")
        self.release: dict[str, Any] = definition.get("release") or {}
        self.manual = definition.get("collect", "auto") == "manual"
        self.collect_ms = definition.get("collect_days", 7) * DAY_MS
        self.reminders: list[dict[str, Any]] = definition.get("reminders", [])
        self.quiet = quiet_of(definition.get("quiet") or "22:00-08:00")
        self._qualify(definition.get("qualify", {}))
        self._who(definition)
        self._ends(definition)

    def _qualify(self, qualify: dict[str, Any]) -> None:
        self.on = STEPS_OF_AN_ORDER[qualify.get("on", "paid")]
        self.min_minor: int = qualify.get("min_amount_minor", 0)
        self.basis: str = qualify.get("basis", "consumption")
        self.recompute = qualify.get("refund_basis", "keep") == "recompute"
        self.daily_cap: int = qualify.get("daily_cap", 1)
        self.categories = qualify.get("categories", {})
        self.channels = qualify.get("channels", {})
        self.stores = qualify.get("stores", {})

    def _who(self, definition: dict[str, Any]) -> None:
        rounds = definition.get("rounds", {})
        self.entries: list[str] = definition.get("entries", [])
        audience = definition.get("audience")
        self.audience: dict[str, Any] = {} if audience in (None, "all") else audience
        self.holdout_bp: int = definition.get("holdout_bp", 0)
        self.holdout_salt: str = definition.get("holdout_salt") or self.campaign_id
        self.variants: list[dict[str, Any]] = definition.get("variants", [])
        self.max_rounds: int = rounds.get("max", 1)
        self.cool_down_days: int = rounds.get("cool_down_days", 0)
        self.priority: int = definition.get("priority", 0)
        self.group: str = definition.get("exclusion_group") or ""

    def _ends(self, definition: dict[str, Any]) -> None:
        expiry = definition.get("expiry", {})
        self.grace_ms = expiry.get("grace_hours", 48) * HOUR_MS
        self.clawback_ms = expiry.get("clawback_days", 30) * DAY_MS
        self.policies: dict[str, str] = definition.get("clawback") or {}
        self.debt_cap_minor: int = definition.get("debt_cap_minor", 10_000)
        self.debt_ms = definition.get("debt_days", 90) * DAY_MS
        self.required = definition.get("results", "assumed") == "required"

    def of_variant(self, number: int) -> Version:
        return Version(self.definition, number) if number else self

    def final_label(self, cycle: int = 1) -> str:
        return str(self.per_cycle * cycle)

    def day(self, at_ms: int) -> date:
        """The campaign day of an instant: the last day that has begun by then."""
        around = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(self.zone).date()
        days = (around + timedelta(days=n) for n in (1, 0, -1, -2))
        return next(day for day in days if self.begin_of(day) <= at_ms)

    def begin_of(self, day: date) -> int:
        """When a day begins; a time that does not exist begins right after the gap.

        Of a time that exists twice it is the earlier one, which is what fold=0 means.
        """
        wanted = datetime.combine(day, self.day_start)
        begin = wanted.replace(tzinfo=self.zone).astimezone(UTC)
        if begin.astimezone(self.zone).replace(tzinfo=None) != wanted:
            # In a gap. Before it the local clock is behind `wanted`, after it ahead: halve.
            low, high = begin - timedelta(days=2), begin
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                if middle.astimezone(self.zone).replace(tzinfo=None) < wanted:
                    low = middle
                else:
                    high = middle
            begin = high.replace(microsecond=0)
        return int(begin.timestamp()) * 1000

    def window_end(self, at_ms: int) -> int:
        """The end of a window that begins at this instant."""
        first = self.first_day or self.day(at_ms)
        return self.begin_of(first + timedelta(days=self.days))

    def horizon(self, end_ms: int) -> int:
        return end_ms + max(self.grace_ms, self.clawback_ms)


def in_force(versions: list[Version], at_ms: int) -> Version | None:
    begun = [version for version in versions if version.effective_ms <= at_ms]
    return max(begun, key=lambda version: version.version, default=None)


def allows(rule: dict[str, list[str]], value: str | None) -> bool:
    include, exclude = rule.get("include") or [], rule.get("exclude") or []
    return (not include or value in include) and value not in exclude


def is_open(version: Version, at_ms: int) -> bool:
    if version.opens_ms is not None and at_ms < version.opens_ms:
        return False
    return version.closes_ms is None or at_ms < version.closes_ms


def quiet_of(quiet: str) -> tuple[time, time]:
    """(from, to) in local time; between them nobody is reminded. May span midnight."""
    begin, end = quiet.split("-")
    return time.fromisoformat(begin), time.fromisoformat(end)

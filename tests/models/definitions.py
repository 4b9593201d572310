"""Campaign definitions with their defaults, and their days (semantics.md 2)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.models.facts import DAY_MS, STEPS_OF_AN_ORDER, instant_ms

HOUR_MS = 3_600_000


class Version:
    """One campaign definition with its defaults filled in (semantics.md 2)."""

    def __init__(self, definition: dict[str, Any]) -> None:
        calendar = definition.get("calendar", {})
        window = definition["window"]
        qualify = definition.get("qualify", {})
        rounds = definition.get("rounds", {})
        claim = definition.get("claim", {})
        expiry = definition.get("expiry", {})
        self.campaign_id: str = definition["campaign_id"]
        self.version: int = definition["version"]
        self.effective_ms = instant_ms(definition["effective_from"])
        self.currency: str = definition["currency"]
        self.entries: list[str] = definition.get("entries", [])
        self.auto = definition.get("enrolment", "claim") == "auto"
        self.zone = ZoneInfo(calendar.get("time_zone", "Asia/Shanghai"))
        self.day_start = time.fromisoformat(calendar.get("day_start", "00:00"))
        self.days: int = window["days"]
        self.first_day = date.fromisoformat(window["first_day"]) if "first_day" in window else None
        self.lookback: str = window.get("lookback", "trigger_order")
        self.per_cycle: int = definition["target"]["orders"]
        self.target: int = self.per_cycle * window.get("max_cycles", 1)
        self.on = STEPS_OF_AN_ORDER[qualify.get("on", "paid")]
        self.min_minor: int = qualify.get("min_amount_minor", 0)
        self.basis: str = qualify.get("basis", "consumption")
        self.recompute = qualify.get("refund_basis", "keep") == "recompute"
        self.daily_cap: int = qualify.get("daily_cap", 1)
        self.categories = qualify.get("categories", {})
        self.channels = qualify.get("channels", {})
        self.stores = qualify.get("stores", {})
        self.max_rounds: int = rounds.get("max", 1)
        self.cool_down_days: int = rounds.get("cool_down_days", 0)
        self.opens_ms = instant_ms(claim["opens_at"]) if claim.get("opens_at") else None
        self.closes_ms = instant_ms(claim["closes_at"]) if claim.get("closes_at") else None
        self.grace_ms = expiry.get("grace_hours", 48) * HOUR_MS
        self.clawback_ms = expiry.get("clawback_days", 30) * DAY_MS
        self.step_rewards = definition.get("step_rewards", [])
        self.final_rewards = definition.get("final_rewards", [])

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

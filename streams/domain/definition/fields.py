"""One JSON object under inspection: each field taken by name and type, each problem collected.

Strict, unlike events: what nobody asked for is an unknown field, because a misspelt rule is money.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from typing import Any

from streams.domain.campaign import Filter
from streams.domain.days import EPOCH, EPOCH_DAY

REQUIRED: Any = object()
MAX_MINOR = 2**53 - 1  # what every JSON reader downstream holds exactly
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
CURRENCY = re.compile(r"[A-Z]{3}")
# A window that begins later could end beyond the calendar's year 9999: 1,000 cycles of 1,000 days.
YEARS = range(1970, 3000)
MOST_HINTS = 50  # problems after which nobody is asked what was meant: it takes a while each


class Fields:
    """One JSON object under inspection; collects problems in the list that all of them share."""

    def __init__(self, value: Any, path: str, problems: list[str] | None = None) -> None:
        self.path = path
        self.problems: list[str] = [] if problems is None else problems
        self.values: dict[str, Any] = value if isinstance(value, dict) else {}
        self.known: set[str] = set()
        if not isinstance(value, dict):
            self.problems.append(f"{path.rstrip('.') or 'definition'}: must be an object")

    def problem(self, name: str, text: str) -> None:
        self.problems.append(f"{self.path}{name}: {text}")

    def take(self, name: str, default: Any) -> Any:
        self.known.add(name)
        return self.values.get(name, default)

    def text(
        self, name: str, default: Any = REQUIRED, pattern: re.Pattern[str] | None = None
    ) -> str:
        value = self._typed(name, str, "text", default)
        if pattern is not None and self._given(name, value) and not pattern.fullmatch(value):
            self.problem(name, f"{value!r} does not match {pattern.pattern}")
        return value or ""

    def integer(self, name: str, low: int, high: int, default: Any = REQUIRED) -> int:
        value = self._typed(name, int, "an integer", default)
        if value is None:
            return low
        if self._given(name, value) and not low <= value <= high:
            self.problem(name, f"{value} is outside {low}..{high}")
        return int(value)

    def optional_integer(self, name: str, low: int, high: int) -> int | None:
        """Return None where it is absent, which can differ from any number in the range."""
        self.known.add(name)
        return self.integer(name, low, high) if self.has(name) else None

    def choice(self, name: str, among: tuple[str, ...], default: Any = REQUIRED) -> str:
        value = self._typed(name, str, "text", default)
        if self._given(name, value) and value not in among:
            self.problem(name, _none_of(value, among))
        return value or ""

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self.take(name, None)
        if value is not None and not isinstance(value, bool):
            self.problem(name, "must be true or false")
        return default if value is None else bool(value)

    def integers(self, name: str, low: int, high: int) -> list[int]:
        """Return a list of one or more whole numbers."""
        values: list[Any] | None = self._typed(name, list, "a list", REQUIRED)
        if values is None:
            return []
        if not values or not all(type(value) is int and low <= value <= high for value in values):
            self.problem(name, f"must be a list of integers in {low}..{high}")
            return []
        return values

    def has(self, name: str) -> bool:
        """Tell whether the field is there; null is the same as absent."""
        return self.values.get(name) is not None

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

    def required_instant(self, name: str) -> int:
        return self.instant(name, REQUIRED) or 0

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

    def inner(self, name: str, default: Any = None) -> Fields:
        value = self.take(name, None)
        if value is None and default is REQUIRED:
            self.problem(name, "is required")
        return Fields({} if value is None else value, f"{self.path}{name}.", self.problems)

    def optional_inner(self, name: str) -> Fields | None:
        self.known.add(name)
        return self.inner(name) if self.has(name) else None

    def items(self, name: str, default: Any = None) -> list[Fields]:
        values = self._typed(name, list, "a list", default) or []
        return [Fields(v, f"{self.path}{name}[{i}].", self.problems) for i, v in enumerate(values)]

    def refuse_unknown(self) -> None:
        for name in sorted(self.values.keys() - self.known):
            few = len(self.problems) < MOST_HINTS
            hint = _did_you_mean(name, tuple(self.known)) if few else ""
            self.problem(name, f"unknown field{hint}")

    def _given(self, name: str, value: Any) -> bool:
        """Tell whether a value was written, of the type asked for: a default is always good."""
        return value is not None and self.values.get(name) is value

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

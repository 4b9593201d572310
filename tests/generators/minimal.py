"""Make a failing case small: drop events and fields one by one while it still fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Case = tuple[list[dict[str, Any]], list[dict[str, Any]]]
"""(records of campaigns, events)."""

OPTIONAL = (
    *("audience", "holdout_bp", "holdout_salt", "variants", "exclusion_group", "priority"),
    *("saved", "release", "collect", "collect_days", "results", "budget", "reminders", "clawback"),
    *("debt_cap_minor", "expiry", "rounds", "calendar", "qualify", "step_rewards", "enrolment"),
    *("trigger_order_id", "context", "category", "channel", "parent_order_id"),
)


def smallest(records: list[Any], events: list[Any], fails: Callable[[Any, Any], bool]) -> Case:
    """The smallest case found; `fails(records, events)` is true of what is given."""
    shrunk = True
    while shrunk:
        shrunk = False
        for n in reversed(range(len(events))):
            fewer = events[:n] + events[n + 1 :]
            if fails(records, fewer):
                events, shrunk = fewer, True
        for n in reversed(range(len(records))):
            fewer = records[:n] + records[n + 1 :]
            if fewer and still(fails, fewer, events):
                records, shrunk = fewer, True
        for case in list(with_less(records, events)):
            if still(fails, *case):
                return smallest(*case, fails)
    return records, events


def with_less(records: list[Any], events: list[Any]) -> Iterator[Case]:
    """The same case without one field."""
    for n, row in enumerate(records):
        for name in set(OPTIONAL) & set(row):
            less = {k: v for k, v in row.items() if k != name}
            yield [*records[:n], less, *records[n + 1 :]], events
    for n, row in enumerate(events):
        for name in set(OPTIONAL) & set(row):
            less = {k: v for k, v in row.items() if k != name}
            yield records, [*events[:n], less, *events[n + 1 :]]


def still(fails: Callable[[Any, Any], bool], records: list[Any], events: list[Any]) -> bool:
    """A case that is no case any more (a definition that is refused) does not fail."""
    try:
        return fails(records, events)
    except (AssertionError, ValueError):
        return False

"""Histories that are over (semantics.md 5, rule 9): which events may be refused, and which must be.

The set model keeps everything. What was read after a tick had come 7 days past a task's horizon is
refused for that task: `earn` is told which events (from the engine's own words), and here it is
judged, from the rule alone, whether they were refused rightly, and whether one was missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.models.definitions import Version, in_force
from tests.models.facts import DAY_MS, ORDER, RANKS, RESULT, event_id, instant_ms
from tests.models.ids import task_id as id_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.models.facts import Fact
    from tests.models.world import Pin

AFTER_MS = 7 * DAY_MS
Refused = frozenset[tuple[str, str]]
"""(cause id, task id) of each COMPACTED; no task id: of everything."""


def told(bodies: Iterable[dict[str, Any]]) -> Refused:
    """Read off task events which events were refused, and for which tasks."""
    return frozenset(
        (body["cause_id"], body.get("task_id", "") if body["type"] == "order.ignored" else "")
        for body in bodies
        if body.get("code") == "COMPACTED"
    )


REFUSALS = frozenset({"COMPACTED", "PAST_HORIZON", "LATE", "NO_TASK"})


def turned_away(bodies: Iterable[dict[str, Any]]) -> Refused:
    """Read off task events which orders every task refused: such a one begins no task either.

    One may be refused by a task that is over and act on another that is not; then its cause is
    that of more than refusals.
    """
    words = [body for body in bodies if body["cause_id"].startswith("order:")]
    acted = {
        body["cause_id"]
        for body in words
        if body["type"] != "order.ignored" or body["code"] not in REFUSALS
    }
    return frozenset((cause, "") for cause, _ in told(words) if cause not in acted)


def heeded(facts: Iterable[Fact], refused: Refused, task_id: str = "") -> list[Fact]:
    """Return the facts less those that are refused for a task, or (none named) for all."""
    return [fact for fact in facts if (fact.cause_id, task_id) not in refused]


def cause_of(event: dict[str, Any]) -> str:
    rank = RANKS[event["type"]]
    name, version = event_id(rank, event)
    return f"order:{name}:{version}" if rank == ORDER else f"{('claim', '', 'cancel')[rank]}:{name}"


def recorded(arrived: list[dict[str, Any]]) -> dict[str, int]:
    """When each was recorded; of one id with two contents either may be the one refused."""
    found: dict[str, int] = {}
    for event in arrived:
        if event["type"] != "tick" and RANKS.get(event["type"], RESULT) != RESULT:
            at_ms = event["recorded_at_ms"]
            found[cause_of(event)] = min(at_ms, found.get(cause_of(event), at_ms))
    return found


def could_not_begin(
    user_id: str, versions: Iterable[Version], order: dict[str, Any], now_ms: int
) -> set[str]:
    """Return the automatic tasks that an order read by now (no other event) begins no more.

    Other histories are over by now, and orders that would count in it went with them: those of the
    day of an order read this late; those of a window with a first day once it is over itself.
    """
    found = set()
    at_ms = instant_ms(order["occurred_at"])
    named: dict[str, list[Version]] = {}
    for version in versions if "version" in order else ():
        named.setdefault(version.campaign_id, []).append(version)
    for campaign_id, own in named.items():
        version = in_force(own, at_ms)
        if version is None or not version.auto:
            continue
        numbers = range(len(version.variants) + 1)
        ends = [version.of_variant(number).window_end(at_ms) for number in numbers]
        over_ms = version.horizon(min(ends)) + AFTER_MS
        if version.first_day is None or now_ms >= over_ms:
            found.add(id_of(user_id, campaign_id, 1))
    return found


def misjudged(  # noqa: PLR0913  # whose events, under which rules, and what was refused
    user_id: str,
    records: list[dict[str, Any]],
    arrived: list[dict[str, Any]],
    pins: list[Pin],
    refused: Refused,
    unheard: Refused = frozenset(),
    *,
    calm: bool,
) -> list[str]:
    """Name the events refused too early, or without need; calm: and those that were missed.

    arrived: in order of arrival, ticks among them. unheard: what was read since one was over. calm:
    nothing is asked of others, so nothing holds a history back.
    """
    from tests.models.users import earn  # noqa: PLC0415  # which heeds what is refused

    versions = {
        (record["campaign_id"], record["version"]): Version(record)
        for record in records
        if record.get("type", "campaign.defined") == "campaign.defined"
    }
    found, known = [], set[str]()
    rounds = set[tuple[str, int]]()
    over: dict[str, tuple[dict[str, Any], Version]] = {}  # when time last came by
    earliest_ms = recorded(arrived)
    ticked_ms = 0
    for n, event in enumerate(arrived):
        if event["type"] == "tick":
            now_ms = instant_ms(event["at"])
            ticked_ms = max(now_ms, ticked_ms)
            earned = earn(
                user_id, arrived[:n], records, now_ms, pins, frozenset(), refused, unheard
            )
            for task in earned.tasks:
                version = versions[task["campaign_id"], task["campaign_version"]]
                rounds.add((task["campaign_id"], task["round"]))
                if task["granted"] and now_ms >= version.horizon(task["end"]) + AFTER_MS:
                    over[task["task_id"]] = (task, version)
        rank = RANKS.get(event["type"], RESULT)
        if rank == RESULT or cause_of(event) in known:
            continue
        cause = cause_of(event)
        of = {task_id for refused_, task_id in refused if refused_ == cause}
        gone = could_not_begin(user_id, versions.values() if over else (), event, ticked_ms)
        for name in of - (gone - over.keys()):
            if name not in over and (name or not over):
                found.append(f"refused {cause}: too early for {name or 'all'}")
            elif name and earliest_ms[cause] > over[name][1].horizon(over[name][0]["end"]):
                found.append(f"refused {cause}: too late for {name} anyway")
        if calm and rank == ORDER and "" not in of and not event.get("parent_order_id"):
            new = not any(other.startswith(f"order:{event['order_id']}:") for other in known)
            found += [
                f"missed {cause}: {task['task_id']} is over"
                for task, version in over.values()
                if new
                and task["task_id"] not in of
                and task["state"] not in ("withdrawn", "killed")  # its window ended sooner
                and task["start"] <= instant_ms(event["occurred_at"]) < task["end"]
                and (task["campaign_id"], task["round"] + 1) not in rounds
                and event["recorded_at_ms"] <= task["end"] + version.grace_ms
            ]
        known.add(cause)
    return found

"""I4: what an output names as its cause exists, counts, and is that very event."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from tests.checker.findings import BROKEN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.checker.evidence import Entry, Evidence, Position, Seen
    from tests.checker.findings import Report


def causes_exist(report: Report, evidence: Evidence, entries: Iterable[Entry]) -> None:
    """I4: the record an output names as its cause exists, lies below C and is that very event."""
    inputs = evidence.input_that_counts()
    for entry in entries:
        at = cause_at(report, entry)
        if at is not None:
            cause_is(report, entry, at, inputs.get(at))


def cause_at(report: Report, entry: Entry) -> Position | None:
    """I4: the position an output names as its cause, None (and a finding) if it names none."""
    report.compared["causes"] += 1
    headers = dict(entry.seen.headers)
    try:
        topic = headers["cause-topic"].decode()
        return topic, int(headers["cause-partition"]), int(headers["cause-offset"])
    except (KeyError, ValueError) as error:
        report.add("I4", BROKEN, f"{entry}: cause headers are missing or unreadable ({error})")
        return None


def cause_is(report: Report, entry: Entry, at: Position, cause: Seen | None) -> None:
    """I4: what stands at that position is the event this output says it comes from."""
    if cause is None:
        report.add("I4", BROKEN, f"{entry}: its cause {at} is not in the input below C")
    elif cause.topic == "ticks":
        tick_is(report, entry, cause)
    elif cause.key == entry.seen.key and is_behind(cause, entry):
        return  # a kill, said ahead of the first event after it
    elif cause.key != entry.seen.key or cause_id(cause) != entry.body["cause_id"]:
        text = f"{entry}: says {entry.body['cause_id']}, but {at} is {cause_id(cause)}"
        report.add("I4", BROKEN, text)


def is_behind(cause: Seen, entry: Entry) -> bool:
    """Tell whether an entry is about an instant that had passed at the time of this event."""
    name, _, deadline = str(entry.body["cause_id"]).partition(":")
    if name != "deadline":
        return False
    happened = json.loads(cause.value or b"null")["occurred_at"]
    return datetime.fromisoformat(deadline) <= datetime.fromisoformat(happened)


def tick_is(report: Report, entry: Entry, tick: Seen) -> None:
    """I4: a deadline that this tick has reached, of a user of its partition."""
    said = str(entry.body["cause_id"])
    at = datetime.fromisoformat(json.loads(tick.value or b"null")["at"])
    name, _, deadline = said.partition(":")
    if name != "deadline" or datetime.fromisoformat(deadline) > at:
        report.add("I4", BROKEN, f"{entry}: says {said}, but its tick is of {at.isoformat()}")
    if tick.partition != entry.seen.partition:
        report.add("I4", BROKEN, f"{entry}: its tick is one of partition {tick.partition}")


def cause_id(seen: Seen) -> str:
    """The id that semantics.md 4 gives to this input event as a cause."""
    event = json.loads(seen.value or b"null")
    match seen.topic:
        case "orders":
            return f"order:{event['order_id']}:{event['version']}"
        case "claims":
            return f"claim:{event['claim_id']}"
        case "cancellations":
            return f"cancel:{event['cancellation_id']}"
        case "draw-results":
            return f"result:{event['request_id']}"
        case _:
            return f"result:{event['result_id']}"

"""I6: versions of rows count the events of their user, and tasks go back only for a reason."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from tests.checker.evidence import stands_at
from tests.checker.findings import BROKEN
from tests.checker.transactions import transactions

if TYPE_CHECKING:
    from tests.checker.evidence import Evidence, Seen
    from tests.checker.findings import Report


def versions_count_events(report: Report, evidence: Evidence, *, dates: bool = False) -> None:
    """I6: a row's version grows with each of its changelog rows, by events and never by batches.

    By at most the records of that user which its transaction took, and the deadlines that its ticks
    passed, which are not counted here. A task that goes back names a
    cause that can do that: a cancellation, or a record that came late.

    dates: a definition may have moved deadlines, and rows were written for that alone.
    """
    known: Counter[bytes] = Counter()
    told = {seen.partition for seen in evidence.inputs.get("ticks", ())}
    for meta, taken, written in transactions(report, evidence):
        events = Counter(seen.key for topic in taken for seen in topic)
        for key, seen in written.items():
            if key.startswith(b"\x01"):
                continue  # a pool's: they count nothing
            report.compared["versions"] += 1
            version = version_of(seen.value or b"")
            grown = version - known[key]
            if grown < (0 if dates else 1) or (grown > events[key] and seen.partition not in told):
                text = f"{stands_at(seen)}: version {version} of {key!r} after {known[key]}"
                report.add(
                    "I6", BROKEN, f"{text}, with {events[key]} events up to {stands_at(meta)}"
                )
            known[key] = version
    steps_back_are_caused(report, evidence)


def version_of(row: bytes) -> int:
    """A row is its schema's byte, 8 of its deadline, then an array that begins with the version.

    -1: it is not.
    """
    try:
        parts = msgspec.msgpack.decode(row[9:])
    except msgspec.DecodeError:
        return -1
    return parts[0] if isinstance(parts, list) else -1


def steps_back_are_caused(report: Report, evidence: Evidence) -> None:
    inputs = evidence.all_input()
    of_user: dict[bytes | None, list[Seen]] = defaultdict(list)
    for seen in inputs.values():
        of_user[seen.key].append(seen)
    for seen in evidence.outputs.get("task-events", ()):
        if json.loads(seen.value or b"null")["type"] != "task.regressed":
            continue
        report.compared["steps back"] += 1
        headers = dict(seen.headers)
        place = int(headers["cause-partition"]), int(headers["cause-offset"])
        cause = inputs.get((headers["cause-topic"].decode(), *place))
        if cause is None:
            continue  # I4 has said so
        event = json.loads(cause.value or b"null")
        late = any(occurred(other) > occurred(cause) for other in of_user[cause.key])
        if cause.topic != "cancellations" and not late and event.get("version", 1) < 2:
            report.add(
                "I6", BROKEN, f"{stands_at(seen)}: a task goes back because of {stands_at(cause)}"
            )


def occurred(seen: Seen) -> datetime:
    try:
        return datetime.fromisoformat(json.loads(seen.value or b"null")["occurred_at"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return datetime.min.replace(tzinfo=UTC)  # it cannot be read, so nothing is late by it

"""I10: the bad inputs, and no others, are dead letters."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.checker.evidence import stands_at
from tests.checker.findings import BROKEN, LOST, SPURIOUS, TWICE

if TYPE_CHECKING:
    from tests.checker.evidence import Bad, Evidence, Position, Seen
    from tests.checker.findings import Report

ADDED_HEADERS = ("dl-", "__streams.errors.", "__connect.errors.", "kafka_dlt-")
"""What a dead letter has beyond the record's own headers."""


def dead_letters_are_the_bad_ones(report: Report, evidence: Evidence, bad: Bad) -> None:
    """I10: bad inputs == dead letters, once each, bytes equal, right coordinates and reason."""
    inputs = evidence.input_that_counts()
    found: dict[Position, Seen] = {}
    for letter in evidence.outputs["dead-letters"]:
        report.compared["dead letters"] += 1
        name = f"dead letter {stands_at(letter)}"
        try:
            at, reason = about(letter)
        except (KeyError, ValueError) as error:
            report.add("I10", BROKEN, f"{name}: headers are missing or unreadable ({error})")
            continue
        if at in found:
            report.add("I10", TWICE, f"{name}: {at} is dead at {stands_at(found[at])} already")
            continue
        found[at] = letter
        record = inputs.get(at)
        if record is None:
            report.add("I10", SPURIOUS, f"{name}: {at} is not in the input below C")
            continue
        if at not in bad:
            report.add("I10", SPURIOUS, f"{name}: {at} is a good record, set aside as {reason}")
        elif reason != bad[at]:
            report.add("I10", BROKEN, f"{name}: {at} is {bad[at]}, set aside as {reason}")
        own = tuple(h for h in letter.headers if not h[0].startswith(ADDED_HEADERS))
        if (letter.key, letter.value, own) != (record.key, record.value, record.headers):
            report.add("I10", BROKEN, f"{name}: other bytes than {at}")
    for at in sorted(bad.keys() - found.keys()):
        if at in inputs:
            report.add("I10", LOST, f"{at}: {bad[at]}, and no dead letter has it")


def dead(evidence: Evidence) -> dict[Position, Seen]:
    """Return the dead letters that can be read, by the record each is of."""
    found = {}
    for letter in evidence.outputs["dead-letters"]:
        with contextlib.suppress(KeyError, ValueError):
            found[about(letter)[0]] = letter
    return found


def about(letter: Seen) -> tuple[Position, str]:
    """Return of which record a dead letter is, and its reason; KeyError, ValueError: unreadable."""
    headers = dict(letter.headers)
    at = int(headers["dl-partition"]), int(headers["dl-offset"])
    return (headers["dl-topic"].decode(), *at), headers["dl-reason"].decode()

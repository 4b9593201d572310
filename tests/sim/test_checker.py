"""What `tests/checker` says of I5, I6, I11 and I12: spoilt evidence must be called by its name.

I1 to I4 and I7 to I10 are spoilt in tests/kafka/test_exactly_once.py.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.checker import META, Evidence, Seen, check_with_fold
from tests.sim.campaigns import DEFINITIONS, registry
from tests.sim.evidence import gather
from tests.sim.world import Settings, World

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGELOG = "user-tasks-changelog"


@cache
def world() -> World:
    """One worker, orders only, one record a transaction: much to spoil."""
    drawn = Settings(5, 11, {"kill"}, batch_records=1, workers=1, partitions=1, only="orders")
    made = World(drawn)
    assert not made.run().violations
    return made


@cache
def clean() -> Evidence:
    return gather(world())


def rows() -> list[Seen]:
    return clean().outputs[CHANGELOG]


def with_output(topic: str, seen: list[Seen]) -> Evidence:
    return replace(clean(), outputs=clean().outputs | {topic: seen})


def a_version_that_stands_still() -> Evidence:
    users = [n for n, row in enumerate(rows()) if row.key != META]
    first, second = next(
        (a, b) for a, b in itertools.pairwise(users) if rows()[a].key == rows()[b].key
    )
    spoilt = rows()[second]._replace(value=rows()[first].value)
    return with_output(CHANGELOG, [*rows()[:second], spoilt, *rows()[second + 1 :]])


def a_version_that_counts_twice() -> Evidence:
    """A user's first row is left out, so the next one's version has grown by two."""
    first = next(n for n, row in enumerate(rows()) if row.key != META)
    return with_output(CHANGELOG, [*rows()[:first], *rows()[first + 1 :]])


def outputs_in_another_order() -> Evidence:
    seen = clean().outputs["task-events"]
    swapped = [seen[1]._replace(offset=seen[0].offset), seen[0]._replace(offset=seen[1].offset)]
    return with_output("task-events", [*swapped, *seen[2:]])


def a_record_that_was_not_read() -> Evidence:
    c = clean().committed
    return replace(clean(), committed=c | {("orders", 0): c["orders", 0] - 1})


def a_draw_that_nobody_asked_for() -> Evidence:
    return with_output("lottery-draws", rows()[:1])


@pytest.mark.parametrize(
    ("spoil", "invariant"),
    [
        (a_version_that_stands_still, "I6"),
        (a_version_that_counts_twice, "I6"),
        (outputs_in_another_order, "I11"),
        (a_record_that_was_not_read, "I12"),
        (a_draw_that_nobody_asked_for, "I5"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_spoilt_evidence_is_called_by_its_name(
    spoil: Callable[[], Evidence], invariant: str
) -> None:
    bad = world().bad
    assert not check_with_fold(clean(), DEFINITIONS, registry(), bad=bad).findings
    found = check_with_fold(spoil(), DEFINITIONS, registry(), bad=bad).findings
    assert invariant in {finding.invariant for finding in found}

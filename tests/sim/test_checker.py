"""What `tests/checker` says of I5, I6, I11 and I12: spoilt evidence must be called by its name.

I1 to I4 and I7 to I10 are spoilt in tests/kafka/test_exactly_once.py. And what it takes from the
words of the engine: which events a history that is over has refused (I2).
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from streams.domain.state import STANDING, unpack_ledger
from tests.builders import at, campaign, claim, order, tick, topic_of
from tests.checker import META, Evidence, Seen, check_with_fold, expected
from tests.given import given
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


# -- I2, when a history is over: what was refused, and by whom, is read off the engine's words -----

BY_ITSELF = campaign(
    campaign_id="auto",
    enrolment="auto",
    target={"orders": 1},
    step_rewards=[],
    window={"days": 3},
    rounds={"max": 3},
)


def earned_and_standing(
    definitions: list[dict[str, Any]], events: list[dict[str, Any]]
) -> tuple[set[str], set[str]]:
    """Return the rewards that the checker says are earned, and those that the fold let stand."""
    known, said = given(definitions, []), []
    for event in events:
        said += known.when(event).outputs
    logs: dict[str, list[Seen]] = {}
    for n, event in enumerate(one for one in events if one["type"] != "tick"):
        body = {k: v for k, v in event.items() if k != "recorded_at_ms"}
        seen = Seen(topic_of(event), 0, n, b"", orjson.dumps(body), (), event["recorded_at_ms"])
        logs.setdefault(seen.topic, []).append(seen)
    told = [
        Seen(one.topic, 0, n, b"", orjson.dumps(one.body), (), 0)
        for n, one in enumerate(said)
        if one.topic == "task-events"
    ]
    ends = {(topic, 0): len(events) for topic in logs}
    evidence = Evidence(logs, {"task-events": told}, ends, {}, user_keyed=tuple(logs))
    entries = unpack_ledger(known.state.ledger).values()
    stands = {entry.reward_id for entry in entries if entry.state in STANDING}
    return set(expected(evidence, definitions, {})), stands


def test_an_order_that_one_history_refuses_earns_in_another_that_is_kept():
    long = campaign(campaign_id="long", window={"days": 30})
    events = [claim(), claim("k2", campaign_id="long", when=at(1, "09:00")), order("o1")]
    events += [*map(tick, (11, 13, 41, 48)), order("o5", recorded=at(6))]
    earned, stands = earned_and_standing([campaign(), long], events)
    assert len(stands) == 3
    assert earned == stands


def test_an_order_that_all_refuse_begins_no_round_either():
    """It lay before all that is kept: the round that it would have begun stays where it began."""
    events = [claim(), order("o1", yuan=10), order("o9")]
    events += [*map(tick, (12, 14, 41, 48, 60)), order("o4", recorded=at(5))]
    earned, stands = earned_and_standing(
        [campaign(qualify={"min_amount_minor": 900}), BY_ITSELF], events
    )
    assert len(stands) == 3
    assert earned == stands

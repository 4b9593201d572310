"""Rows: what is written is read again, and a changed layout cannot hide behind an old number."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from streams.domain import facts
from streams.domain.fold import step
from streams.domain.state import new, unpack_ledger
from streams.errors import Refused
from streams.wire.rows import OVERDUE_MS, ROW_SCHEMA, decode_row, due_of, encode_row
from tests.builders import USER, campaign, cancel, claim, decoded, order, refund, result, tick
from tests.given import given

# One digest per row schema: another digest under the same number is a row that workers in the field
# could not read. Give the layout a new ROW_SCHEMA and an upcaster, and keep the old line.
GOLDEN = {
    1: "640b3b7cb79ae362",
    2: "669b58a79b80fddf",
    3: "9faeac1356541df7",
    4: "ab56b1d8f5e31c0e",
}


def a_full_row():
    """A user of whom everything is known that a row can hold."""
    known = given(
        campaign(),
        [
            claim(),
            order("o1", lines=[(2, 2500), (1, 900)], discounts=[("full", 300, 3000)]),
            order("o2", parent_order_id="p", channel="app", store_id="s-1", category="veg"),
            order("o3"),
            cancel("o2", day=4),
            refund("o1", {"1": 1}, day=5),
        ],
    )
    return known.when(result(known.reward_id("1", "rp-1"), "spent", day=6)).state


def test_a_row_read_again_is_the_same_row():
    state = a_full_row()
    assert decode_row(USER, encode_row(state)) == state
    assert decode_row(USER, encode_row(new(USER))) == new(USER)


def test_the_layout_is_the_one_its_schema_number_stands_for():
    assert hashlib.sha256(encode_row(a_full_row())).hexdigest()[:16] == GOLDEN[ROW_SCHEMA]


def test_a_row_of_schema_1_is_read_as_the_state_it_was():
    data = bytes.fromhex((Path(__file__).parent / "golden" / "row.v1.hex").read_text())
    before, now = decode_row(USER, data), a_full_row()
    assert hashlib.sha256(data).hexdigest()[:16] == GOLDEN[1]
    # What an order was worth, schema 1 did not say: its tasks say so from their next walk on.
    tasks = tuple(msgspec.structs.replace(task, accumulated_minor=0) for task in now.tasks)
    assert (before.tasks, unpack_ledger(before.ledger)) == (tasks, unpack_ledger(now.ledger))
    assert facts.unpack(before.facts) == facts.unpack(now.facts)


@pytest.mark.parametrize("schema", [2, 3])
def test_a_row_of_an_older_schema_is_read_as_the_state_it_is(schema):
    data = bytes.fromhex((Path(__file__).parent / "golden" / f"row.v{schema}.hex").read_text())
    assert hashlib.sha256(data).hexdigest()[:16] == GOLDEN[schema]
    before, now = decode_row(USER, data), a_full_row()
    # Nothing was compacted then: entries in the ledger lack that they were not.
    assert unpack_ledger(before.ledger) == unpack_ledger(now.ledger)
    assert msgspec.structs.replace(before, ledger=now.ledger) == now
    assert due_of(data) == now.due_ms


def test_a_compacted_row_read_again_is_the_same_row():
    state = a_full_row()
    known = given(campaign(), []).campaigns
    for day in (11, 41, 48, 200):
        state = step(state, decoded(tick(day)), known).state
    assert state.frozen
    assert state.tasks[0].frozen
    assert decode_row(USER, encode_row(state)) == state


def test_a_row_of_a_newer_version_is_refused_with_what_to_do():
    data = bytes([ROW_SCHEMA + 1]) + encode_row(new(USER))[1:]
    with pytest.raises(Refused, match="start the newer version of leidan"):
        decode_row(USER, data)


def test_a_row_says_its_next_deadline_without_being_decoded():
    state = a_full_row()
    assert due_of(encode_row(state)) == state.due_ms == state.tasks[0].end_ms
    assert due_of(encode_row(new(USER))) == 0


def test_a_row_of_schema_1_is_overdue_so_that_the_next_tick_finds_its_deadline():
    data = bytes.fromhex((Path(__file__).parent / "golden" / "row.v1.hex").read_text())
    assert due_of(data) == decode_row(USER, data).due_ms == OVERDUE_MS

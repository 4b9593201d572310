"""Rows of a restore held in C are those held in Python: any rows, any transactions, any bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.feed.ports import Record
from streams.store import meta
from streams.store.gathered import Gathered
from streams.store.rows import _in_order
from streams.wire.rows import ROW_SCHEMA
from tests.native.beside import MODULE, needs_native

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = needs_native
BESIDE = {meta.CHANGELOG: b"7", meta.BATCH: b"3", meta.WRITES: b"1", meta.NEXT: b"{}"}
SCHEMAS = [bytes([n]) for n in range(ROW_SCHEMA + 2)]

keys = st.one_of(
    st.binary(max_size=3),
    st.binary(max_size=10).map(lambda tail: b"the same eight bytes and more" + tail),
    st.integers(0, 40).map(b"user-%08d".__mod__),
    st.sampled_from(
        [meta.META, meta.DATED, meta.DUE, b"", b"\0", b"\1pool", b"u", b"u\0", b"u\0\0"]
    ),
    st.binary(max_size=2).map(lambda tail: meta.DUE + bytes(7) + b"\1" + tail),
)
due = st.sampled_from([bytes(8), bytes(7) + b"\1", b"\0\0\1\x99" + bytes(4), b"\xff" * 8])
values = st.one_of(
    st.none(),
    st.binary(max_size=12),
    st.builds(
        lambda schema, at, body: schema + at + body, st.sampled_from(SCHEMAS), due, st.binary()
    ),
)
steps = st.lists(
    st.one_of(
        st.lists(st.tuples(keys, values), max_size=12),
        st.sampled_from(["whole", "all", "full"]),
        st.just([(meta.META, b"{}")]),
    ),
    max_size=12,
)


def compiled() -> Any:
    return MODULE.Gathered(meta.META, meta.DUE, ROW_SCHEMA)


def records(rows: Sequence[tuple[bytes | None, bytes | None]]) -> list[Record]:
    return [Record("t", 0, n, key, value, [], 0) for n, (key, value) in enumerate(rows)]


def require_same(ours: Any, python: Gathered, whole: bool) -> None:  # noqa: FBT001 - as `take`
    given, expected = ours.take(whole), python.take(whole)
    assert len(given) == len(expected)
    assert list(given.in_order(BESIDE)) == list(_in_order(expected, BESIDE))
    assert list(given) == [], "read once"


@given(steps=steps)
def test_the_same_rows_and_hints_in_the_same_order(steps):
    ours, python = compiled(), Gathered()
    for step in steps:
        if isinstance(step, list):
            assert ours.add(records(step)) == python.add(records(step))
        elif step == "full":
            assert not ours.is_full(1 << 20), "lets go of what was replaced"
        else:
            require_same(ours, python, step == "whole")
    require_same(ours, python, whole=True)
    require_same(ours, python, whole=False)
    assert ours.held_bytes == 0


def test_order_is_that_of_all_bytes_and_keys_of_ours_come_first():
    ours = compiled()
    users = [b"user-%05d" % (n * 7_919 % 50_000) for n in range(50_000)]
    value = bytes([ROW_SCHEMA]) + (5).to_bytes(8, "big")
    ours.add(records([(user, value) for user in users]))
    found = list(ours.take(False).in_order({meta.BATCH: b"3"}))  # noqa: FBT003
    hints = [meta.Hint(5, user).encoded() for user in sorted(users)]
    assert [key for key, _ in found] == [meta.BATCH, *hints, *sorted(users)]


def test_what_was_replaced_is_let_go_of_when_there_is_too_much():
    """Six times a megabyte of one user, a quarter of one of others: blocks are freed in between."""
    ours = compiled()
    rows = [(b"u%d" % n, b"%d" % n * 1_000) for n in range(100)]
    for n in range(6):
        ours.add(records([(b"again", b"%d" % n * (1 << 20)), *rows, (meta.META, b"{}")]))
    ours.add(records([(b"open", b"1"), (b"open", b"2" * 3_000_000)]))
    assert ours.held_bytes > 9_000_000
    assert ours.is_full(4_000_000)
    assert ours.held_bytes > 9_000_000, "it is to be written"
    assert not ours.is_full(4_500_000)
    assert ours.held_bytes < 4_500_000
    whole = dict(ours.take(True).in_order({}))  # noqa: FBT003
    assert whole == {**dict(rows), b"again": b"5" * (1 << 20)}
    assert dict(ours.take(True).in_order({})) == {}  # noqa: FBT003
    assert dict(ours.take(False).in_order({})) == {b"open": b"2" * 3_000_000}  # noqa: FBT003


def test_few_whole_rows_before_a_large_transaction_are_handed_over_alone():
    ours = compiled()
    open_rows = [(b"o%d" % n, b"open") for n in range(1_000)]
    ours.add(records([(b"u", b"whole"), (meta.META, b"{}"), *open_rows]))
    before = ours.held_bytes
    assert dict(ours.take(True).in_order({})) == {b"u": b"whole"}  # noqa: FBT003
    assert 0 < ours.held_bytes < before
    ours.add(records([(meta.META, b"{}"), (b"v", b"2")]))
    assert dict(ours.take(True).in_order({})) == dict(open_rows)  # noqa: FBT003


def test_what_is_none_of_ours_is_refused():
    ours = compiled()
    for wrong in (
        [1],
        [("t", 0, 1)],
        [("t", 0, 1, "key", None, [], 0)],
        [Record(*"tpo", b"", 1, [], 0)],
    ):
        with pytest.raises(TypeError, match="not a record"):
            ours.add(wrong)
    for beside in ({b"user": b""}, {"": b""}, {meta.NEXT: None}):
        with pytest.raises(TypeError, match="not a record of ours"):
            ours.take(False).in_order(beside)  # noqa: FBT003
    with pytest.raises(TypeError):
        MODULE.Gathered("meta", meta.DUE, 4)
    with pytest.raises(OverflowError):
        MODULE.Gathered(meta.META, meta.DUE, 400)

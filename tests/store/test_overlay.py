"""The overlay: reads through, keeps what is touched, leaves no trace when dropped."""

from __future__ import annotations

import pytest

from streams.store.overlay import Codec, Overlay, StateCache
from tests.feed.memory import ROW, MemoryStore


@pytest.fixture
def rows():
    rows = MemoryStore().open(0)
    rows.write({b"u1": b"old"}, next_offsets=None, changelog=0, batch=0)
    return rows


def test_reads_the_row_or_begins_a_new_one(rows):
    overlay = Overlay(rows, ROW, StateCache())
    assert (overlay["u1"], overlay["u2"]) == ("old", "")
    assert overlay.encoded() == {}, "reading changes nothing"


def test_what_is_touched_is_seen_and_encoded_in_the_order_of_touching(rows):
    overlay = Overlay(rows, ROW, StateCache())
    overlay["u2"] = "b"
    overlay["u1"] = "a"
    overlay["u2"] += "c"
    assert (overlay["u1"], overlay["u2"]) == ("a", "bc")
    assert list(overlay.encoded().items()) == [(b"u2", b"bc"), (b"u1", b"a")]


def test_a_dropped_overlay_leaves_no_trace(rows):
    cache = StateCache()
    Overlay(rows, ROW, cache)["u1"] = "lost"
    assert Overlay(rows, ROW, cache)["u1"] == "old"


def test_kept_states_need_no_read_and_no_decode(rows):
    decoded = []
    codec = Codec(ROW.new, lambda user, data: decoded.append(user) or data.decode(), ROW.encode)
    cache = StateCache()
    overlay = Overlay(rows, codec, cache)
    overlay.prefetch(["u1"])
    overlay["u1"] += "!"
    overlay.kept()
    again = Overlay(rows, codec, cache)
    again.prefetch(["u1"])
    assert (again["u1"], decoded) == ("old!", ["u1"])


def test_the_cache_drops_the_least_recently_touched():
    cache = StateCache(capacity=2)
    for user in ("u1", "u2", "u1", "u3"):
        cache.keep({user: user})
    assert [cache.get(user) for user in ("u1", "u2", "u3")] == ["u1", None, "u3"]


def test_the_cache_holds_fewer_of_long_rows():
    short, long = StateCache(most_bytes=100_000), StateCache(most_bytes=100_000)
    for n in range(1_000):
        short.keep({b"%d" % n: b"x" * 50})
        long.keep({b"%d" % n: b"x" * 20_000})
    held = [sum(cache.get(b"%d" % n) is not None for n in range(1_000)) for cache in (short, long)]
    assert held == [500, 4]
    assert long.get(b"999"), "the newest stays"


def test_a_row_is_unmoved_while_its_deadline_is_the_one_it_was_read_with():
    """The first byte of these rows is their deadline; so is a state's."""
    codec = Codec(ROW.new, ROW.decode, ROW.encode, ord, lambda row: row[0], lambda row: row[:1])
    rows = MemoryStore().open(0)
    rows.write({b"%d" % n: b"d" for n in range(5)}, next_offsets=None, changelog=0, batch=0)
    below = Overlay(rows, codec, StateCache())
    below["4"] = "e"
    overlay = Overlay(rows, codec, StateCache(), below)

    def look_up(_records, _touched, read, _below, _kept):
        read[b"4"] = b"e"
        return dict.fromkeys([b"0", b"1", b"2", b"5"]), []

    touched, _ = overlay.as_rows([], look_up)
    touched |= {b"0": b"d!", b"1": b"e", b"2": "d!", b"4": b"e!", b"5": b"d"}
    overlay.prefetch(["3"])
    overlay.as_row(b"3")
    touched[b"3"] = b"d!"
    assert overlay.unmoved() == {b"0", b"4"}, "moved, a state, encoded anew, and new ones are not"


def test_reserved_keys_are_nobodys_rows(rows):
    with pytest.raises(AssertionError, match="refuses"):
        Overlay(rows, ROW, StateCache())["\0meta"]


def test_other_definitions_begin_the_walk_over_the_rows_again_and_it_is_kept_with_them(rows):
    cache = StateCache()
    overlay = Overlay(rows, ROW, cache)
    assert overlay.dating.done
    overlay.date_by("")
    assert overlay.encoded() == {}, "no definition moves a deadline: nothing to note"
    overlay.date_by("k1")
    above = Overlay(rows, ROW, cache, overlay)
    above.date_by("k1")
    assert (overlay.dating_begun, above.dating_begun) == (True, False)
    above.dated("u5", done=False)
    rows.write(above.encoded(), next_offsets=None, changelog=0, batch=1)
    again = Overlay(rows, ROW, StateCache())
    assert (again.dating.of, again.dating.at, again.dating.done) == ("k1", "u5", False)
    again.date_by("k1")
    assert not again.encoded(), "the same definitions: the walk goes on"


def test_a_walk_meets_every_user_and_each_as_this_unit_of_work_has_it(rows):
    rows.write(
        {b"\1pool": b"p", b"u2": b"two", b"u3": b"three"}, next_offsets=None, changelog=0, batch=1
    )
    overlay = Overlay(rows, ROW, StateCache())
    overlay["u2"] = "TWO"
    assert overlay.after("", 2) == [("u1", b"old"), ("u2", "TWO")]
    assert overlay.after("u2", 2) == [("u3", b"three")]
    assert overlay.after("u3", 2) == []

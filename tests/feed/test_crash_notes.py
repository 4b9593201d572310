"""A record that killed three starts in a row parks its partition, and only that."""

from __future__ import annotations

from streams.feed.crash_notes import CrashNotes
from streams.position import Position


def test_the_third_kill_by_the_same_record_parks(tmp_path):
    notes = CrashNotes(tmp_path)
    for kills in (1, 2, 3):
        notes.write(Position("orders", 3, 81))
        killer = Position("orders", 3, 81) if kills == 3 else None
        assert notes.parked(3, {"orders": 80}) == killer
    assert not notes.parked(2, {"orders": 80}), "another partition"


def test_another_record_begins_at_one(tmp_path):
    notes = CrashNotes(tmp_path)
    for offset in (81, 81, 82, 81):
        notes.write(Position("orders", 3, offset))
    assert not notes.parked(3, {"orders": 80})


def test_a_record_that_was_folded_since_is_forgotten(tmp_path):
    notes = CrashNotes(tmp_path)
    for _ in range(3):
        notes.write(Position("orders", 3, 81))
    assert not notes.parked(3, {"orders": 82})
    assert not notes.parked(3, {"orders": 80})

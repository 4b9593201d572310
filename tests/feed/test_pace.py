"""Units of work grow while they fold fast, and begin small again after one that did not."""

from __future__ import annotations

from streams.feed.pace import FIRST_RECORDS, Pace


def test_grows_to_its_bound_while_full_units_fold_fast():
    pace = Pace(4 * FIRST_RECORDS)
    seen = [pace.records]
    for _ in range(3):
        pace.note(pace.records, 0.1)
        seen.append(pace.records)
    assert seen == [FIRST_RECORDS, 2 * FIRST_RECORDS, 4 * FIRST_RECORDS, 4 * FIRST_RECORDS]


def test_grows_fourfold_where_four_times_as_much_would_have_been_fast():
    pace = Pace(20 * FIRST_RECORDS)
    pace.note(pace.records, 0.049)
    assert pace.records == 4 * FIRST_RECORDS
    pace.note(pace.records, 0.05)
    assert pace.records == 8 * FIRST_RECORDS


def test_stays_while_units_are_not_full_or_not_fast():
    pace = Pace(4 * FIRST_RECORDS)
    pace.note(pace.records - 1, 0.0)
    pace.note(pace.records, 0.5)
    assert pace.records == FIRST_RECORDS


def test_begins_anew_after_a_slow_one():
    pace = Pace(4 * FIRST_RECORDS)
    pace.note(pace.records, 0.1)
    pace.note(10, 2.0)
    assert pace.records == FIRST_RECORDS


def test_halves_down_to_where_it_began_while_commits_are_slow():
    pace = Pace(4 * FIRST_RECORDS)
    pace.note(pace.records, 0.1)
    pace.note(pace.records, 0.1)
    pace.committed(1.0)
    assert pace.records == 4 * FIRST_RECORDS
    seen = []
    for _ in range(3):
        pace.committed(3.0)
        seen.append(pace.records)
    assert seen == [2 * FIRST_RECORDS, FIRST_RECORDS, FIRST_RECORDS]


def test_a_small_bound_is_never_left():
    pace = Pace(5)
    pace.note(5, 0.0)
    pace.committed(3.0)
    assert pace.records == 5

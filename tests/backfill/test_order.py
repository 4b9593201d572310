"""The order of a replay: transactions as they were live, and a merge by time around them."""

from __future__ import annotations

from itertools import islice

import pytest

from streams.backfill.definitions import Definitions
from streams.backfill.order import JournalOrder, begins, by_time
from streams.errors import Refused
from streams.feed.ports import Record
from streams.wire.journal import Folded, Range


def record(topic: str, offset: int, at_ms: int) -> Record:
    return Record(topic, 0, offset, f"u{offset}".encode(), b"{}", [], at_ms)


def folded(batch: int, *ranges: tuple[str, int, int], files: str = "") -> Folded:
    return Folded(batch, 1, 0, tuple(Range(*each) for each in ranges), files)


LOG = [record("orders", n, 10 * n) for n in range(6)] + [
    record("claims", n, 10 * n + 5) for n in range(4)
]
JOURNAL = [
    folded(7, ("claims", 1, 3), ("orders", 2, 3), ("orders", 4, 5), ("orders", 3, 4)),
    folded(8, ("orders", 5, 6)),
]


def order(journal: list[Folded], done: int = 0) -> JournalOrder:
    found = JournalOrder(
        lambda: iter(journal), begins(iter(journal)), Definitions(0, [], []), lambda: done
    )
    found.begin(0, {})
    return found


def taken(found: JournalOrder, log: list[Record]) -> list[list[tuple[str, int]]]:
    """Every unit of work, when all of the log has been read."""
    found.add(log)
    units = []
    while not found.empty():
        units += [
            [(one.topic, one.offset) for one in unit]
            for unit in found.take(100, 0.0, lambda _t, _p: True, lambda _t, _p: 99).values()
        ]
    return units


def test_each_transaction_is_one_unit_of_work_in_its_own_order_and_the_rest_goes_by_time():
    assert taken(order(JOURNAL), LOG) == [
        [("orders", 0), ("claims", 0), ("orders", 1)],  # before the journal
        [("claims", 1), ("claims", 2), ("orders", 2), ("orders", 4), ("orders", 3)],
        [("orders", 5)],
        [("claims", 3)],  # nobody has folded it yet
    ]


def test_what_an_earlier_life_has_folded_is_not_folded_again():
    assert taken(order(JOURNAL, done=7), [r for r in LOG if r.offset > 2 and r != LOG[3]][1:]) == [
        [("orders", 5)],
        [("claims", 3)],
    ]


def test_a_transaction_waits_until_all_of_it_was_read():
    found = order(JOURNAL, done=0)
    found.add([one for one in LOG if one.offset < 2])
    nobody = (lambda _t, _p: False, lambda _t, _p: 0)
    units = list(islice(iter(lambda: found.take(100, 0.0, *nobody), None), 4))
    assert [len(each.get(0, ())) for each in units][-1] == 0
    assert found.waiting("orders", 0) == 0, "so that more of it is fetched"


def test_a_tick_that_was_only_begun_is_handed_out_with_how_many_users_it_had():
    found = order([folded(1, ("ticks", 0, 0, 3)), folded(2, ("ticks", 0, 1))])
    tick = record("ticks", 0, 50)
    found.add([tick])
    assert found.take(9, 0.0, lambda _t, _p: True) == {0: [tick]}
    assert found.begun == Range("ticks", 0, 0, 3)
    found.put_back(0, [tick])
    assert found.take(9, 0.0, lambda _t, _p: True) == {0: [tick]}
    assert found.begun is None


def test_a_record_that_no_transaction_names_is_a_hole_and_refused():
    with pytest.raises(Refused, match=r"a hole: orders\[0\]@3 .*Use --order time"):
        taken(order([folded(1, ("orders", 0, 3)), folded(2, ("orders", 4, 6))]), LOG)


def test_other_campaign_files_than_live_are_refused():
    with pytest.raises(Refused, match=r"digest 12ab, given are none.*--campaigns"):
        taken(order([folded(1, ("orders", 0, 3), files="12ab")]), LOG)


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_the_merge_waits_for_a_topic_that_lags_as_long_as_it_takes(limit):
    found, units = by_time(), []
    claims_read = 0

    def at_end(topic: str, _p: int) -> bool:
        return topic != "claims" or claims_read == 4

    found.add(LOG[:6])
    for second in range(1_000):
        taken_ = found.take(limit, float(second), at_end).get(0, [])
        assert not taken_ or claims_read, "never impatient"
        units += taken_
        if second >= 990 and claims_read < 4:
            found.add([LOG[6 + claims_read]])
            claims_read += 1
    while not found.empty():
        units += found.take(limit, 0.0, at_end).get(0, [])
    seen = [one.recorded_at_ms for one in units]
    assert seen == sorted(one.recorded_at_ms for one in LOG)

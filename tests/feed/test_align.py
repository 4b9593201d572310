"""Topics side by side in time, and runs that keep each user's order."""

from __future__ import annotations

import random  # noqa: TID251 - seeded

import orjson

from streams.feed.align import MOST_OF_A_USER, WAIT_S, Aligner, rounds
from streams.feed.ports import Record

TOPICS = ("orders", "claims", "cancellations")


def record(topic: str, offset: int, at_ms: int, user: str = "u1", value: bytes = b"") -> Record:
    return Record(topic, 0, offset, user.encode(), value, [], at_ms)


def never(_topic: str, _p: int) -> bool:
    return False


def always(_topic: str, _p: int) -> bool:
    return True


def names(records: list[Record]) -> list[str]:
    return [f"{r.topic[0]}{r.offset}" for r in records]


def test_topics_leave_merged_by_record_time_ties_in_topic_order():
    aligner = Aligner(TOPICS)
    aligner.add([record("claims", 0, 5), record("claims", 1, 20)])
    aligner.add([record("orders", 0, 5), record("orders", 1, 10), record("orders", 2, 30)])
    assert names(aligner.take(10, 0.0, always)[0]) == ["o0", "c0", "o1", "c1", "o2"]
    assert aligner.empty()


def test_a_topic_that_is_behind_is_waited_for_and_then_not():
    aligner = Aligner(TOPICS)
    aligner.add([record("orders", 0, 5)])
    assert aligner.take(10, 0.0, never) == {}
    assert aligner.take(10, WAIT_S / 2, never) == {}
    assert names(aligner.take(10, WAIT_S, never)[0]) == ["o0"]


def test_what_is_handed_out_ends_where_a_topic_that_is_behind_ends():
    aligner = Aligner(TOPICS)
    aligner.add([record("orders", n, n * 10) for n in range(5)])
    aligner.add([record("claims", 0, 15)])
    at_end = {"cancellations"}.__contains__
    taken = aligner.take(10, 0.0, lambda topic, _p: at_end(topic))
    assert names(taken[0]) == ["o0", "o1", "c0"], "the next claim may be older than order 2"


def test_offset_order_within_a_topic_wins_over_time():
    aligner = Aligner(TOPICS)
    aligner.add([record("orders", 0, 50), record("orders", 1, 10), record("claims", 0, 30)])
    assert names(aligner.take(10, 0.0, always)[0]) == ["c0", "o0", "o1"]


def test_the_limit_holds_and_nothing_is_lost_by_it():
    aligner = Aligner(TOPICS)
    aligner.add([record("orders", n, n) for n in range(7)])
    taken = [names(aligner.take(3, 0.0, always).get(0, [])) for _ in range(4)]
    assert taken == [["o0", "o1", "o2"], ["o3", "o4", "o5"], ["o6"], []]


def test_one_user_takes_no_more_than_a_share_of_a_unit_of_work():
    """Found with 12,000 orders of one instant: a poll full of late folds outlasted the watchdog."""
    aligner = Aligner(TOPICS)
    aligner.add([record("orders", n, n, "hot") for n in range(MOST_OF_A_USER + 5)])
    aligner.add([record("claims", n, 2 * n + 1, f"u{n}") for n in range(MOST_OF_A_USER)])
    first = aligner.take(10_000, 0.0, always)[0]
    assert sum(r.key == b"hot" for r in first) == MOST_OF_A_USER
    rest = aligner.take(10_000, 0.0, always)[0]
    assert aligner.empty()
    taken = [*first, *rest]
    assert [r.recorded_at_ms for r in taken] == sorted(r.recorded_at_ms for r in taken)
    assert len(taken) == 2 * MOST_OF_A_USER + 5, "nothing is lost by it"


def test_records_without_a_key_are_no_users():
    aligner = Aligner(TOPICS)
    aligner.add([record("orders", n, n)._replace(key=None) for n in range(3 * MOST_OF_A_USER)])
    assert len(aligner.take(10_000, 0.0, always)[0]) == 3 * MOST_OF_A_USER


def test_dropped_partitions_leave_nothing_behind():
    aligner = Aligner(TOPICS)
    aligner.add([record("orders", 0, 5, value=b"x" * (40 << 20))])
    assert aligner.overflowing()
    aligner.drop(0)
    assert aligner.empty()
    assert not aligner.overflowing()
    assert aligner.take(10, 1.0, always) == {}


def test_large_values_are_not_held_back():
    aligner = Aligner(TOPICS)
    aligner.add([record("orders", 0, 5, value=b"x" * (40 << 20))])
    assert names(aligner.take(10, 0.0, never)[0]) == ["o0"]


def test_runs_keep_each_users_order_and_are_few():
    rnd = random.Random(1)  # noqa: S311
    offsets = dict.fromkeys(TOPICS, 0)
    records = []
    for n in range(500):
        topic = rnd.choices(TOPICS, (8, 1, 2))[0]
        records.append(record(topic, offsets[topic], n, f"u{rnd.randrange(100)}"))
        offsets[topic] += 1
    runs = rounds(records, TOPICS)
    assert len(runs) < 30, "a crossing to an agent costs as much as several folds"
    for run in runs:
        assert len({r.topic for r in run}) == 1
        assert [r.offset for r in run] == sorted(r.offset for r in run)
    flat = [r for run in runs for r in run]
    assert sorted(flat) == sorted(records)
    for user in {r.key for r in records}:
        assert [r for r in flat if r.key == user] == [r for r in records if r.key == user]


def test_records_of_one_topic_are_one_run_and_none_are_none():
    records = [record("orders", n, n) for n in range(3)]
    assert rounds(records, TOPICS) == [records]
    assert rounds([], TOPICS) == []


# --- ticks ------------------------------------------------------------------------------------

TIMED = ("orders", "claims", "ticks")
MARCH_MS = 1_772_409_600_000


def tick(offset: int, at_ms: int, **ends: int) -> Record:
    value = {"type": "tick", "v": 1, "at": "2026-03-02T00:00:00Z", "partition": 0, "ends": ends}
    return Record("ticks", 0, offset, None, orjson.dumps(value), [], MARCH_MS + at_ms)


def timed(topic: str, offset: int, at_ms: int) -> Record:
    return record(topic, offset, MARCH_MS + at_ms)


def test_a_tick_is_the_last_of_its_unit_of_work():
    aligner = Aligner(TIMED)
    aligner.add([timed("orders", n, n * 10) for n in range(4)])
    aligner.add([tick(0, 15), tick(1, 16), tick(2, 30)])
    taken = [names(aligner.take(10, 0.0, always).get(0, [])) for _ in range(3)]
    assert taken == [["o0", "o1", "t0", "t1"], ["o2", "o3", "t2"], []]


def test_a_tick_waits_for_the_offsets_it_names_whatever_its_time():
    aligner = Aligner(TIMED)
    aligner.begin(0, {"orders": 0, "claims": 0, "ticks": 0})
    aligner.add([tick(0, 5, orders=2), timed("orders", 0, 10), timed("orders", 1, 20)])
    aligner.add([timed("orders", 2, 30)])
    assert names(aligner.take(10, 0.0, always)[0]) == ["o0", "o1", "t0"]
    assert names(aligner.take(10, 0.0, always)[0]) == ["o2"]


def test_a_tick_waits_for_what_has_not_arrived_yet_and_nothing_waits_for_it():
    aligner = Aligner(TIMED)
    aligner.begin(0, {"orders": 0, "claims": 7, "ticks": 0})
    aligner.add([tick(0, 5, orders=3, claims=7)])
    assert aligner.take(10, 9.9, always, lambda topic, _p: {"orders": 2}.get(topic, 0)) == {}
    aligner.add([timed("claims", 7, 40)])
    assert names(aligner.take(10, 9.9, always)[0]) == ["c7"]
    assert not aligner.empty()
    assert names(aligner.take(10, 9.9, always, lambda _topic, _p: 3)[0]) == ["t0"], "a marker"


def test_a_record_behind_the_offset_shows_that_nothing_before_it_is_missing():
    aligner = Aligner(TIMED)
    aligner.begin(0, {"orders": 0, "claims": 0, "ticks": 0})
    aligner.add([tick(0, 5, orders=3), timed("orders", 4, 30)])
    assert names(aligner.take(10, 0.0, always)[0]) == ["t0"]


def test_a_topic_nobody_reads_holds_no_tick_up():
    aligner = Aligner(TIMED)
    aligner.add([tick(0, 5, parcels=3)])
    assert names(aligner.take(10, 0.0, always)[0]) == ["t0"]


def test_what_is_put_back_comes_first_again():
    aligner = Aligner(TIMED)
    aligner.add([tick(0, 5), tick(1, 6), timed("orders", 0, 30)])
    taken = aligner.take(10, 0.0, always)[0]
    assert names(taken) == ["t0", "t1"]
    aligner.put_back(0, taken[1:])
    assert names(aligner.take(10, 0.0, always)[0]) == ["t1"]
    assert names(aligner.take(10, 0.0, always)[0]) == ["o0"]


def test_ticks_are_a_run_of_their_own_behind_all_others():
    merged = [timed("orders", 0, 1), timed("claims", 0, 2), timed("orders", 1, 3), tick(0, 3)]
    assert names(rounds(merged, TIMED)[-1]) == ["t0"]
    assert [run[0].topic for run in rounds(merged, TIMED)][-1] == "ticks"
    assert [names(run) for run in rounds([tick(0, 1), tick(1, 2)], TIMED)] == [["t0", "t1"]]

"""Records as no producer should send them, on a real broker: rows 3 and 12 to 18.

Whatever can be an event counts exactly once, however often and in whatever order it comes; whatever
cannot is set aside once, unchanged, with its reason; and neither holds up anything else. The kinds
of spoilt bytes (row 16) are in tests/kafka/test_poison.py.
"""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from streams.errors import Exit, Reason
from streams.traffic import DAY, SECOND, Traffic
from tests import builders as b
from tests.faults.runs import AT_MS, MOST_KB, Run, owns, record, working
from tests.kafka.harness import dice, wait_until
from tests.kafka.workers import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from streams.traffic import Sent
    from tests.checker import Position
    from tests.kafka.harness import SentWithHeaders
    from tests.kafka.workers import Worker

CHAOS = ("dup", "late", "reorder")


def scattered(
    good: Iterable[Any], spoilt: list[tuple[str, Any]]
) -> tuple[list[Any], dict[int, str]]:
    """Good records with spoilt ones among them, and the reason of each by its place."""
    log: list[Any] = []
    reasons: dict[int, str] = {}
    waiting = list(spoilt)
    for nth, one in enumerate(good):
        log.append(one)
        if nth % 20 == 10 and waiting:
            reason, bad = waiting.pop()
            if reason:
                reasons[len(log)] = reason
            log.append(bad)
    assert not waiting, "there must be room for all of them"
    return log, reasons


def fold_all(run: Run, log: list[Any], reasons: dict[int, str], **settings: object) -> Worker:
    """Send it through a live worker and compare everything; return the worker, stopped."""
    run.create()
    worker = run.worker(dead_letter_budget="false", **settings)
    worker.start()
    run.topics.send(log)
    bad = {at: reasons[nth] for at, nth in run.topics.sent_at.items() if nth in reasons}
    assert len(bad) == len(reasons), "void: not every spoilt record was acknowledged"
    report = run.check(worker, bad=bad, least_due=100)
    assert report.compared["dead letters"] == len(bad)
    return worker


# -- row 12 ----------------------------------------------------------------------------------------


def test_row12_up_to_fifty_copies_count_once_and_contradicting_ones_are_set_aside(
    run: Run,
) -> None:
    rolls = dice("row12")
    log: list[Any] = []
    reasons: dict[int, str] = {}
    for nth, one in enumerate(Traffic(12, 60, 400)):
        log += [one] * rolls.randint(1, 50)
        if nth % 25 == 0 and one[0] == "orders":
            topic, key, value, at_ms = one
            other = json.dumps(json.loads(value) | {"channel": "elsewhere"}).encode()
            reasons[len(log)] = Reason.CONFLICT
            log.append((topic, key, other, at_ms))
    worker = fold_all(run, log, reasons, batch_records=1_000)
    assert len(reasons) > 5, "void: no contradiction was sent"
    assert worker.stats()["duplicates"] > 5_000, "void: hardly anything came twice"


# -- row 13 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [10, 1_000], ids=["row13-window-10", "row13-window-1000"])
def test_records_far_out_of_order_earn_what_they_earn_in_order(run: Run, window: int) -> None:
    rolls = dice(f"row13/{window}")
    log = list(Traffic(13, 150, 1_500, CHAOS))
    places = sorted(range(len(log)), key=lambda nth: nth + rolls.uniform(0, window))
    assert places != sorted(places)
    fold_all(run, [log[nth] for nth in places], {})


def test_row13_records_thirty_days_late_are_judged_by_when_they_came(run: Run) -> None:
    """Past window and grace an order pays nothing, and a cancellation takes back what it may."""
    rolls = dice("row13/late")
    log = list(Traffic(14, 150, 1_500))
    late = {nth for nth in range(len(log)) if rolls.random() < 0.1}
    kept = [one for nth, one in enumerate(log) if nth not in late]
    delayed = [(*log[nth][:3], log[nth][3] + 30 * DAY) for nth in sorted(late)]
    worker = fold_all(run, [*kept, *delayed], {})
    assert worker.stats()["outcomes"].get("late", 0) > 20, "void: hardly anything came late"


# -- rows 14 and 18 --------------------------------------------------------------------------------


def test_row14_impossible_times_are_dead_letters_and_a_minute_of_skew_is_none(run: Run) -> None:
    def order(name: str, **fields: object) -> Sent:
        return record(b.order(f"t-{name}", 1) | fields)

    ten_years = b.at(3_650).isoformat()
    log, reasons = scattered(
        Traffic(15, 100, 800, CHAOS),
        [
            (Reason.FUTURE, order("ten-years", occurred_at=ten_years)),
            (Reason.FUTURE, record(b.order("t-61", 1), AT_MS - 61 * SECOND)),
            ("", record(b.order("t-60", 1), AT_MS - 60 * SECOND)),  # clock skew
            (Reason.SCHEMA, order("epoch", occurred_at="1970-01-01T00:00:00Z")),
            (Reason.SCHEMA, order("before", occurred_at="1969-12-31T23:59:59Z")),
            (Reason.SCHEMA, order("negative", occurred_at=-1)),
            (Reason.SCHEMA, order("missing", occurred_at=None)),
            (Reason.SCHEMA, order("naive", occurred_at="2026-03-02T12:00:00")),
        ],
    )
    fold_all(run, log, reasons)


def test_row18_newer_minors_count_and_newer_majors_and_types_are_never_guessed(run: Run) -> None:
    def newer(one: Sent) -> Sent:
        """With fields this version has never heard of."""
        topic, key, value, at_ms = one
        more = {"loyalty": {"tier": 3, "of": ["a", None]}, "minor": 7}
        return topic, key, json.dumps(json.loads(value) | more).encode(), at_ms

    log, reasons = scattered(
        map(newer, Traffic(18, 100, 800, CHAOS)),
        [
            (Reason.UNKNOWN_MAJOR, record(b.order("m-1", 1) | {"v": 2})),
            (Reason.UNKNOWN_MAJOR, record(b.claim("m-2") | {"v": 99})),
            (Reason.UNKNOWN_TYPE, record(b.order("m-3", 1) | {"type": "order.teleported"})),
            (Reason.UNKNOWN_TYPE, record(b.claim("m-4") | {"type": "claim.withdrawn"})),
        ],
    )
    fold_all(run, log, reasons)


# -- row 17 ----------------------------------------------------------------------------------------

TEN_MB = 10_000_000


def test_row17_giant_values_keys_and_headers_are_set_aside_in_bounded_memory(run: Run) -> None:
    good = record(b.order("g-1", 1))
    large = json.dumps(json.loads(good[2]) | {"note": "x" * TEN_MB}).encode()
    # librdkafka shows no headers at all of a record with more than 100,000; a dead letter adds 12.
    headers = tuple((f"h{n}", b"\x00") for n in range(99_980))
    giants: list[tuple[str, SentWithHeaders]] = [
        (Reason.TOO_LARGE, ("orders", good[1], large, AT_MS, ())),
        (Reason.KEY_MISMATCH, ("orders", b"k" * TEN_MB, good[2], AT_MS, ())),
        (Reason.NOT_JSON, ("orders", good[1], b"{", AT_MS, headers)),
    ]
    log, reasons = scattered(Traffic(17, 100, 800, CHAOS), giants * 2)
    run.create()
    worker = run.worker(dead_letter_budget="false")
    worker.start()
    run.topics.send(log)
    run.drain(worker)
    peak = worker.peak_kb()
    print(f"peak {peak >> 10} MiB")
    assert peak < MOST_KB
    bad = {at: reasons[nth] for at, nth in run.topics.sent_at.items() if nth in reasons}
    assert len(bad) == len(giants) * 2, "void: not every giant was acknowledged"
    run.check(worker, bad=bad, least_due=100)


def test_row17_a_user_without_end_is_refused_further_facts_and_the_others_go_on(run: Run) -> None:
    """Orders of one user until the row is full: further ones are dead letters, and only those."""
    # Long orders, each later than the one before: a fact that is not walks them all again, and
    # some thousand such facts of one user keep a unit of work busy for longer than a minute.
    lines = [(2, 300)] * 400
    endless = [
        record(b.order(f"e-{n:05}", when=at, lines=lines) | {"user_id": "u-endless"}, b.millis(at))
        for n, at in enumerate(b.at(1) + timedelta(minutes=n) for n in range(ENDLESS))
    ]
    good = list(Traffic(19, 100, 800, CHAOS))
    run.create()
    worker = run.worker(dead_letter_budget="false", batch_records=200)
    worker.start()
    run.topics.send([*good[:400], *endless, *good[400:]])
    run.drain(worker, 180)
    assert worker.peak_kb() < MOST_KB
    places = [at for at, nth in sorted(run.topics.sent_at.items()) if 400 <= nth < 400 + ENDLESS]
    dead = worker_dead(run, Reason.ROW_FULL)
    assert 0 < len(dead) < ENDLESS, f"void: {len(dead)} were refused"
    assert sorted(dead) == places[-len(dead) :], "once full, always full, and nobody else"
    run.check(worker, bad=dict.fromkeys(dead, Reason.ROW_FULL), least_due=100)


ENDLESS = 300


def worker_dead(run: Run, reason: str) -> set[Position]:
    """Where the records stood that were set aside for this reason."""
    found = set()
    for letter in run.topics.read("dead-letters"):
        headers = {name: value.decode() for name, value in letter.headers}
        if headers["dl-reason"] == reason:
            at = headers["dl-topic"], int(headers["dl-partition"]), int(headers["dl-offset"])
            found.add(at)
    return found


# -- row 15 ----------------------------------------------------------------------------------------

CLOCK = """
import os, time
real, begun, shift = time.time, time.time(), float(os.environ["CLOCK_SHIFT"])
backwards = 2.0 if os.environ.get("CLOCK_BACKWARDS") else 0.0
time.time = lambda: real() + shift - backwards * (real() - begun)
"""


def test_row15_the_wall_clock_changes_no_byte(run: Run, tmp_path: Path) -> None:
    """Lives a day behind, a day ahead, ten years on, backwards, and in zones with clock changes.

    The check folds the same log under the true clock, and compares every output byte for byte.
    """
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    run.create()
    worker, traffic = run.worker(), run.traffic(15)
    lives = [
        {"CLOCK_SHIFT": "-86400", "TZ": "America/New_York"},
        {"CLOCK_SHIFT": "86400", "TZ": "Pacific/Kiritimati"},
        {"CLOCK_SHIFT": str(10 * 365.25 * 86_400), "TZ": "Europe/Berlin"},
        {"CLOCK_SHIFT": "0", "CLOCK_BACKWARDS": "1", "TZ": "Australia/Lord_Howe"},
    ]
    for life in lives:
        worker.start(PYTHONPATH=f"{tmp_path}{os.pathsep}{REPOSITORY}", **life)
        working(worker, 10)
        worker.kill()
    traffic.stop()
    worker.start()
    run.check(worker)
    logged = set(re.findall(r"^(\d{4}-\d\d-\d\d) ", worker.log.read_text(), re.MULTILINE))
    assert len(logged) >= 4, f"void: the clocks differed by nothing, all said {logged}"


# -- row 3 -----------------------------------------------------------------------------------------

PLANTED = """
import streams.domain.fold as fold
real = fold.step
def step(state, event, campaigns):
    assert event.user_id != "u-00003", "planted"
    return real(state, event, campaigns)
fold.step = step
"""


def test_row03_a_record_that_breaks_the_fold_parks_its_partition_until_the_fold_is_mended(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(PLANTED)
    path = f"{tmp_path}{os.pathsep}{REPOSITORY}"
    run.create()
    run.topics.send(Traffic(3, 100, 1_000, CHAOS))
    worker = run.worker()
    for death in range(3):
        worker.start(PYTHONPATH=path)
        assert worker.wait(40, "end with 70") == Exit.BROKEN, f"death {death}: {worker.tail()}"
    worker.start(PYTHONPATH=path)
    owns(worker, 0, 1, 2, 3)
    wait_until(lambda: len(worker.stats()["parked"]) == 1, lambda: f"{worker.stats()}", 30)
    (parked,) = worker.stats()["parked"]
    ends = {at: end for at, end in run.topics.ends(["orders"]).items() if at[1] != parked}
    wait_until(
        lambda: ends.items() <= run.topics.committed(worker.group, ["orders"]).items(),
        lambda: "the other partitions to flow",
        40,
    )
    assert worker.stop() == 0
    note = worker.databases / f"{parked}.crashes.json"
    assert json.loads(note.read_bytes())["kills"] == 3
    assert re.search(rf"\w+\[{parked}\]@\d+: our own error", worker.log.read_text()), "named"
    note.unlink()  # the fold is mended: what the alarm says to do
    worker.start()
    run.check(worker, least_due=150)

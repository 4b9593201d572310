"""The soak's own tests: its live check is not blind, its record survives, a short one runs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.checker import BROKEN, TWICE, Report, Seen
from tests.faults.fleet import K_POINTS, R_POINTS
from tests.faults.live import LiveCheck
from tests.faults.record import Record
from tests.faults.soak import Input

REPOSITORY = Path(__file__).resolve().parents[2]
ORDER = {"order_id": "o1", "version": 1, "user_id": "u1"}
INPUT = Seen("orders", 0, 7, b"u1", json.dumps(ORDER).encode(), (), 0)
POSTINGS = [{"amount_minor": 100}, {"amount_minor": -100}]


def entry(offset: int, **fields: object) -> Seen:
    body = {
        "event_id": f"evt_{offset}",
        "type": "reward.issued",
        "user_id": "u1",
        "task_id": "tsk_1",
        "reward_id": "rwd_1",
        "seq": 1,
        "amount_minor": 100,
        "offset_minor": 0,
        "postings": POSTINGS,
        "cause_id": "order:o1:1",
        **fields,
    }
    cause = {"cause-topic": b"orders", "cause-partition": b"0", "cause-offset": b"7"}
    return Seen("rewards", 0, offset, b"u1", json.dumps(body).encode(), tuple(cause.items()), 0)


def live(*outputs: Seen, inputs: tuple[Seen, ...] = (INPUT,)) -> set[tuple[str, str]]:
    """What the live check says of these, given one by one."""
    check = LiveCheck()
    check.take_input(inputs)
    for output in outputs:
        check.take_output([output])
        check.settle(lambda _topic, _p: 8)
    return {finding[:2] for finding in check.report.findings}


REVOKED = entry(1, type="reward.revoked", seq=2)


def test_a_good_ledger_is_clean_live() -> None:
    assert live(entry(0), REVOKED) == set()


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        ((entry(0), entry(1, event_id="evt_0")), ("I1", TWICE)),
        ((entry(0), entry(1, seq=3)), ("I1", BROKEN)),
        ((entry(0, postings=POSTINGS[:1]),), ("I3", BROKEN)),
        ((entry(0), REVOKED, entry(2, type="reward.revoked", seq=3)), ("I3", BROKEN)),
        ((entry(0, cause_id="order:o2:1"),), ("I4", BROKEN)),
    ],
    ids=["twice", "a seq left out", "lopsided", "revoked twice", "another cause"],
)
def test_a_violation_is_seen_live(outputs: tuple[Seen, ...], found: tuple[str, str]) -> None:
    assert found in live(*outputs)


def test_a_cause_that_is_not_in_the_input_is_seen_live() -> None:
    assert live(entry(0), inputs=()) == {("I4", BROKEN)}


def test_a_cause_that_is_not_read_yet_is_waited_for() -> None:
    check = LiveCheck()
    check.take_output([entry(0)])
    check.settle(lambda _topic, _p: 7)
    check.take_input([INPUT])
    check.settle(lambda _topic, _p: 8)
    assert not check.report.findings
    assert check.report.compared["causes"] == 1


def test_the_input_of_a_seed_is_always_the_same_and_knows_its_bad_records() -> None:
    one, other = Input(5, 20, 100), Input(5, 20, 100)
    records = list(one)
    assert records == list(other)
    assert len(one.bad) > 10
    assert set(one.bad) <= set(records)
    assert len(set(one.bad.values())) > 5, "of many kinds"


def given(path: Path | None = None) -> argparse.Namespace:
    return argparse.Namespace(seed=1, hours=0.1, least_kills=None, json=path)


def test_the_record_is_on_disk_before_the_end_and_says_so(tmp_path: Path) -> None:
    record = Record(given(tmp_path / "soak.json"))
    record.write()
    found = json.loads((tmp_path / "soak.json").read_text())
    assert (found["state"], found["violations"], found["kills of workers"]) == ("running", [], 0)


def test_too_few_kills_are_void_and_a_violation_is_a_failure(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    record = Record(given())
    record.rounds = 1
    record.sums_kept.landed["rebalance"] = 1
    record.sums_kept.kills["K6"] = 17
    assert record.exit_status(directory) == 3
    directory.mkdir()
    record.sums_kept.kills["K6"] = 18
    assert record.exit_status(directory) == 0
    directory.mkdir()
    report = Report()
    report.add("I2", "lost", "one reward")
    record.violation(str(report))
    assert record.exit_status(directory) == 1
    assert directory.is_dir(), "the evidence is kept"


@pytest.mark.parametrize("brokers", [1, 3])
def test_two_minutes_of_everything_break_nothing(
    brokers: int,
    tmp_path: Path,
    kafka_jars: Path,  # noqa: ARG001 - fetched, or skipped, first
) -> None:
    path = tmp_path / "soak.json"
    command = [sys.executable, "-m", "tests.faults.soak", "--hours", str(2 / 60), "--seed", "4"]
    command += ["--brokers", str(brokers), "--fault-every", "5", "--json", str(path)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LEIDAN_")}
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False, timeout=850)
    found = json.loads(path.read_text())
    assert ended.returncode == 0, found["violations"]
    assert found["kills of workers"] >= 6
    points = Counter(found["kills by point"])
    assert any(points[point] for point in (*K_POINTS, *R_POINTS)), "void: no line was met"
    assert found["other faults landed"], "void: nothing but kills"
    assert found["rewards due"] > 500

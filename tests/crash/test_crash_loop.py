"""Killed at any moment, a database is a prefix of the log, and its worker goes on from there."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from streams.store.rows import DiskRows
from tests.crash import damage, loop
from tests.crash.planted import BUGS
from tests.crash.world import Options

CRASHES = 20
MOST_KILLS = 20
KILLED = [bug for bug in BUGS if bug != "holes unseen"]


@pytest.mark.slow
def test_row01_row02_killed_at_k8_and_anywhere_every_row_is_of_one_moment(tmp_path):
    reports = loop.run(tmp_path, seed=1, crashes=CRASHES, each=10, say=print)
    landed: Counter[str] = sum((report.landed for report in reports), Counter())
    assert [text for report in reports for text in report.violations] == []
    assert landed.total() >= CRASHES, "void: too few kills landed"
    assert landed["K8"] >= 4, "void: hardly a kill between two databases of one transaction"
    assert landed["random"] + landed["torn"] + landed["early"] >= 6, f"void: {landed}"
    assert sum(report.behind for report in reports) >= 3, "void: no restore had anything to do"


@pytest.mark.slow
@pytest.mark.parametrize("bug", KILLED)
def test_a_planted_bug_is_caught_within_twenty_kills(tmp_path, bug):
    kills = 0
    for seed in itertools.count(1):
        options = Options.drawn(seed, plant=bug)
        report = loop.episode(tmp_path / str(seed), options, MOST_KILLS - kills, until_caught=True)
        kills += sum(report.landed.values())
        if report.violations or kills >= MOST_KILLS:
            break
    assert report.violations, f"{bug}: not caught by {kills} kills"
    print(f"{bug}: caught by kill {kills}: {report.violations[0]}")


def test_row21_without_the_look_for_holes_a_wrong_row_would_pass(tmp_path, monkeypatch):
    """The control of the damage tests: RocksDB's own recovery does not notice a lost log.

    Nor a cut manifest, which tests/store/test_rows.py cuts where it counts.
    """
    monkeypatch.setattr(DiskRows, "_require_no_hole", lambda _rows: None)
    for seed in range(1, 11):
        options = Options.drawn(seed, plant="holes unseen", write_buffer=64 << 10)
        outcome = damage.damaged(tmp_path / str(seed), options, "older_log_lost")
        wrong = [] if outcome is None else [t for t in outcome.violations if "differ from" in t]
        if wrong:
            print(f"{seed} tries: {wrong[0]}")
            return
    pytest.fail("ten tries, no wrong row")

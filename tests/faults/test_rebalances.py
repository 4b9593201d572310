"""Partitions that move, members that share a name, transactions that outlive their time (T4).

Row 8, the zombie, is in tests/kafka/test_worker_faults.py.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from streams.errors import Exit
from tests.faults.runs import Run, owns, sleeping_at, working
from tests.kafka.aftermath import aborted_transactions
from tests.kafka.harness import CHANGELOG, TookTooLong, wait_until

if TYPE_CHECKING:
    from tests.faults.steady import Steady
    from tests.kafka.harness import Topics
    from tests.kafka.workers import Worker

EVERY_S = 5.0


@pytest.fixture
def traffic(run: Run) -> Steady:
    run.create()
    return run.traffic(9)


def partitions_of(*workers: Worker) -> list[list[int]]:
    return [w.stats().get("partitions", []) if w.running and w.lives() else [] for w in workers]


def shared(*workers: Worker) -> None:
    """Wait until each owns some, and together all of them once."""
    wait_until(
        lambda: (
            all(partitions_of(*workers))
            and sorted(p for owned in partitions_of(*workers) for p in owned) == [0, 1, 2, 3]
        ),
        lambda: f"{len(workers)} workers to share four partitions: {partitions_of(*workers)}",
        60,
    )


def test_row09_a_third_worker_that_comes_and_goes_every_5_s_splits_and_loses_nothing(
    run: Run, traffic: Steady
) -> None:
    # Sessions of 2 s: a static member says no good-bye, so its partitions move when that is over.
    zero, one, third = (run.worker(f"leidan-{n}", session_timeout_ms=2_000) for n in range(3))
    zero.start()
    one.start()
    shared(zero, one)
    before = one.stats()["generation"]
    for _ in range(3):
        third.start()
        shared(zero, one, third)
        working(third, 1)
        time.sleep(EVERY_S)
        assert third.stop() == 0, third.tail()
        shared(zero, one)
        time.sleep(EVERY_S)
    moved = one.stats()["generation"] - before
    assert moved >= 6, f"void: {moved} rebalances, three comings and three goings are six"
    traffic.stop()
    run.check(zero, one, third)


def test_row09_a_rebalance_inside_a_transaction_finishes_or_aborts_it(
    run: Run, traffic: Steady
) -> None:
    """One sleeps inside its transaction while the other joins, and wakes within its session."""
    zero, one = (run.worker(f"leidan-{n}", session_timeout_ms=30_000) for n in range(2))
    for point in ("K3", "K4", "K5", "K6", "K7"):
        sleeping_at(zero, point)
        if one.running:
            one.kill()
        one.start()  # a member that is new, or one whose restart changes nothing
        time.sleep(2.5)
        os.kill(zero.pid, signal.SIGCONT)
        working(one, 1)
        zero.kill()
    zero.start()
    shared(zero, one)
    traffic.stop()
    run.check(zero, one)


def test_row09_a_static_restart_is_no_rebalance(run: Run, traffic: Steady) -> None:
    zero, one = (run.worker(f"leidan-{n}", session_timeout_ms=20_000) for n in range(2))
    zero.start()
    one.start()
    shared(zero, one)
    mine, before = one.stats()["partitions"], zero.stats()["generation"]
    for _ in range(3):
        one.kill()
        one.start()
        owns(one, *mine)
        working(one, 1)
    assert zero.stats()["generation"] == one.stats()["generation"] == before
    assert zero.stats()["rebalances"].get("revoked", 0) <= 1, "only when the other first came"
    traffic.stop()
    run.check(zero, one)


def test_row09_of_two_workers_with_one_name_one_is_fenced_and_nothing_is_paid_twice(
    run: Run, traffic: Steady
) -> None:
    first = run.worker()
    first.start()
    working(first)
    # The same name from another machine, so to say: a disk of its own.
    second = run.worker(home=run.directory / "elsewhere")
    second.start()
    assert first.wait(40, "be fenced by its double") == Exit.FENCED, first.tail()
    working(second)
    traffic.stop()
    run.check(second)


def test_row11_a_transaction_longer_than_its_timeout_is_aborted_and_done_again(
    run: Run, traffic: Steady
) -> None:
    # Only the transaction's time runs out: the session is longer than the sleep.
    worker = run.worker(session_timeout_ms=40_000, transaction_timeout_ms=5_000)
    sleeping_at(worker, "K5", 6)  # all of it is on the broker by then, offsets too
    assert opened(run.topics) > 0, "void: no transaction was open"
    wait_until(
        lambda: opened(run.topics) == 0,
        lambda: "the coordinator to abort what takes too long",
        40,
        0.5,
    )
    os.kill(worker.pid, signal.SIGCONT)
    try:
        status = worker.wait(15, "notice that its transaction is gone")
    except TookTooLong:
        stats = worker.stats()["transactions"]
        assert stats["aborted"] + stats["unknown"] >= 1, "void: it met no abort"
    else:
        assert status == Exit.FENCED, worker.tail()
        worker.start()
    working(worker)
    assert aborted_transactions(run.topics) >= 1, "void: no transaction was aborted"
    traffic.stop()
    run.check(worker)


def opened(topics: Topics) -> int:
    """Partitions of the changelog that an open transaction holds back."""
    lso, hw = topics.ends([CHANGELOG], committed=True), topics.ends([CHANGELOG])
    return sum(lso[at] != hw[at] for at in hw)

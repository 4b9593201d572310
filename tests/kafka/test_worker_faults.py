"""A zombie, and a broker that stops answering in the middle of commits, on real Kafka (T4).

Both are made with SIGSTOP and SIGCONT: nobody closes a connection, nobody says good-bye.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from streams.errors import Exit
from streams.traffic import Traffic
from tests.gates import LONG
from tests.kafka.aftermath import gathered, require_clean
from tests.kafka.harness import USER_KEYED, Topics, wait_drained, wait_settled, wait_until
from tests.kafka.workers import Process, Worker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.slow, LONG]


def worker_of(topics: Topics, instance: str, directory: Path, **settings: object) -> Worker:
    given = {"batch_records": 100, **settings}
    return Worker(topics.bootstrap, topics.prefix, instance, directory, settings=given)


def require_all_clean(topics: Topics, *workers: Worker) -> None:
    """Drain, settle, stop, compare everything."""
    wait_drained(topics, workers[0].group)
    wait_settled(topics)
    for worker in workers:
        if worker.running:
            assert worker.stop() == 0, worker.tail()
    require_clean(gathered(topics, *workers), least_due=301)


def test_row08_a_zombie_that_wakes_up_in_its_transaction_is_fenced_with_75(
    broker: Cluster, tmp_path: Path, processes: list[Process]
) -> None:
    topics = Topics(broker.bootstrap, "zombie.")
    topics.create(broker)
    zero, one = (worker_of(topics, name, tmp_path) for name in ("leidan-0", "leidan-1"))
    processes += [zero, one]
    # Asleep in its sixth transaction, before its offsets are sent: their generation will be old.
    # (Asleep after that, at K5, it may still commit, and its successor's restore waits for it.)
    zero.start(LEIDAN_KILL="K4:6:stop")
    one.start()
    wait_until(
        lambda: (
            len(zero.stats().get("partitions", [])) == len(one.stats().get("partitions", [])) == 2
        ),
        lambda: "both workers to own two partitions each",
        30,
    )
    sending = topics.sending(Traffic(31, 300, 3_000), per_s=600)
    took_s = wait_until(
        lambda: one.stats().get("partitions") == [0, 1, 2, 3],
        lambda: f"its partitions to move, leidan-1 has {one.stats().get('partitions')}",
        40,
    )
    print(f"partitions moved {took_s:.1f} s after the traffic began")
    os.kill(zero.pid, signal.SIGCONT)
    ended = zero.wait(30, "notice that it is a zombie")
    assert ended == Exit.FENCED, zero.tail()
    zero.start()  # what a supervisor does with 75
    sending.join(60)
    require_all_clean(topics, zero, one)


def test_commits_into_a_broker_that_does_not_answer_are_neither_lost_nor_repeated(
    broker: Cluster, tmp_path: Path, processes: list[Process]
) -> None:
    topics = Topics(broker.bootstrap, "silence.")
    topics.create(broker)
    # a session longer than the silence: the worker must heal by itself, without a restart
    worker = worker_of(topics, "leidan-0", tmp_path, session_timeout_ms=45_000)
    processes.append(worker)
    worker.start()
    # dense enough that a transaction is under way at any moment the broker stops
    sending = topics.sending(Traffic(32, 1_500, 15_000), per_s=1_500)
    wait_until(lambda: worker.transactions() > 3, lambda: "the first commits", 40)
    os.kill(broker.pid(), signal.SIGSTOP)
    try:
        time.sleep(14)  # longer than the 10 s every transactional call has
    finally:
        os.kill(broker.pid(), signal.SIGCONT)
    restarts = 0

    def healed() -> bool:
        """Drained; a supervisor starts the worker again where it ended with 75."""
        nonlocal restarts
        if not worker.running:
            assert worker.ended() == Exit.FENCED, worker.tail()
            restarts += 1
            worker.start()
        return sending.over and topics.lag(worker.group, USER_KEYED) == 0

    # Whether the coordinator gave the transaction up before the worker did is a matter of a second:
    # then the commit is answered with a fence, and the worker leaves to be started again.
    wait_until(healed, lambda: f"the worker to heal, {restarts} restarts so far", 120)
    assert restarts <= 3, "a fault costs at most 3 restarts"
    transactions = worker.stats()["transactions"]
    print(transactions, f"{restarts} restarts")
    met = transactions["aborted"] + transactions["unknown"] + restarts
    assert met >= 1, "void: no commit met the silence"
    require_all_clean(topics, worker)

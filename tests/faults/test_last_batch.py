"""Killed in the very last batch: no further input comes to help the restart along (row 1).

What a storm cannot show: with traffic flowing, the next commit would cover up a restart that stops
one record, or one marker, before the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams.traffic import Traffic
from tests.faults.runs import Run, ready
from tests.kafka.harness import wait_until
from tests.kafka.workers import K_POINTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.traffic import Sent
    from tests.kafka.cluster import Cluster
    from tests.kafka.workers import Worker

WORKERS = 3
BURST = 60  # records of a last batch, over all partitions
MODES = ("normal", "restore", "revoke")
CELLS = [(mode, point) for mode in MODES for point in K_POINTS]


@pytest.fixture(scope="module")
def landed(broker: Cluster, tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """Every cell in one run, and one check of all of them."""
    run = Run(broker, "row01-last", tmp_path_factory.mktemp("row01-last"))
    try:
        return die_in_last_batches(run)
    finally:
        run.close()


def die_in_last_batches(run: Run) -> set[tuple[str, str]]:
    cells = set()
    topics = run.create(2 * WORKERS)
    workers = [run.worker(f"leidan-{n}", session_timeout_ms=4_000) for n in range(WORKERS)]
    log = iter(Traffic(41, 300, 10**6, ("dup", "late", "reorder")))
    topics.send(some(log, 2_000))
    for worker in workers:
        worker.start()
    for mode in MODES:
        points = list(K_POINTS)
        while points:
            run.drain(workers[0])
            # While partitions move, somebody must be there to take them: one dies at a time.
            dying = dict(zip(workers if mode != "revoke" else workers[:1], points, strict=False))
            points = points[len(dying) :]
            arm(workers, dying)
            topics.send(some(log, BURST))
            for worker, point in dying.items():
                worker.wait(40, f"die at {point} in the last batch")
                worker.note_death(point)
                cells.add((mode, point))
            AFTERWARDS[mode](run, workers, list(dying))
            for worker in dying:
                worker.start()
    for worker in workers:
        ready(worker)
    run.check(*workers)
    return cells


def arm(workers: list[Worker], dying: dict[Worker, str]) -> None:
    for worker, point in dying.items():
        worker.kill()
        worker.start_and_die_at(f"{point}:1")
    for worker in workers:
        ready(worker)
    all_owned(workers)


def nothing(_run: Run, _workers: list[Worker], _dead: list[Worker]) -> None:
    pass


def die_in_the_restore(_run: Run, _workers: list[Worker], dead: list[Worker]) -> None:
    for nth, worker in enumerate(dead, worker_starts(dead)):
        worker.start_and_die_at(f"R{nth % 6 + 1}:1")
    for worker in dead:
        worker.wait(40, "die again in its restore")
        worker.note_death("R")


def worker_starts(workers: list[Worker]) -> int:
    """A number that goes up, so that every line of the restore has its turn."""
    return sum(worker.starts for worker in workers)


def let_others_take_over(run: Run, workers: list[Worker], dead: list[Worker]) -> None:
    others = [worker for worker in workers if worker not in dead]
    all_owned(others)
    run.drain(others[0])


AFTERWARDS = {
    "normal": nothing,
    "restore": die_in_the_restore,
    "revoke": let_others_take_over,
}


def some(log: Iterator[Sent], count: int) -> list[Sent]:
    return [next(log) for _ in range(count)]


def all_owned(workers: list[Worker]) -> None:
    """Wait until these share all partitions, so that each gets some of the last batch."""

    def owned() -> list[int]:
        return sorted(p for w in workers if w.lives() for p in w.stats()["partitions"])

    wait_until(
        lambda: owned() == list(range(2 * WORKERS)),
        lambda: f"all partitions to be owned, they are {owned()}",
        60,
    )


@pytest.mark.parametrize(
    ("mode", "point"), CELLS, ids=[f"row01-{point}-last-{mode}" for mode, point in CELLS]
)
def test_a_kill_in_the_last_batch_leaves_nothing_behind(
    landed: set[tuple[str, str]], mode: str, point: str
) -> None:
    assert (mode, point) in landed

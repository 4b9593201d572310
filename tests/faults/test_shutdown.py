"""Told to stop at the worst moment: gone within 20 s, and nothing lost or left open (row 29)."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from streams.errors import Exit
from tests.faults.runs import Run, sleeping_at, working
from tests.kafka.harness import wait_until
from tests.kafka.workers import K_POINTS, REPOSITORY, STOP_LIMIT_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster

GONE_S = 20.0

# Puts the process to sleep at a line, as LEIDAN_KILL does, but in a way that a test can end: the
# worker hangs there in Python, with its threads alive, for so many seconds.
HANG = """
import os, sys, time
point, seconds = os.environ["HANG"].split(":")
import streams.feed.kill_points as kill_points
real, passes = kill_points.reach, [0]
def reach(name):
    if name == point:
        passes[0] += 1
        if passes[0] == 5:
            open(os.environ["HANG_FILE"], "w").write("hanging")
            time.sleep(float(seconds))
    real(name)
kill_points.reach = reach
"""


@pytest.fixture(scope="module")
def stopped_everywhere(
    broker: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[int | None, float]]:
    """One worker, told to stop at every line in turn; the end of each, and one check of all."""
    run = Run(broker, "row29", tmp_path_factory.mktemp("row29"))
    try:
        return stop_at_every_line(run)
    finally:
        run.close()


def stop_at_every_line(run: Run) -> dict[str, tuple[int | None, float]]:
    """Asleep at the line, SIGTERM comes; awake again, it has to be gone in 20 s."""
    run.create()
    worker, traffic = run.worker(), run.traffic(29)
    ends: dict[str, tuple[int | None, float]] = {}
    for point in K_POINTS:
        sleeping_at(worker, point)
        os.kill(worker.pid, signal.SIGTERM)
        os.kill(worker.pid, signal.SIGCONT)
        begun_s = time.monotonic()
        status = worker.wait(STOP_LIMIT_S, f"stop after SIGTERM at {point}")
        ends[point] = status, time.monotonic() - begun_s
    traffic.stop()
    worker.start()
    run.check(worker)
    return ends


@pytest.mark.parametrize("point", K_POINTS, ids=[f"row29-{point}" for point in K_POINTS])
def test_told_to_stop_at_any_line_it_is_gone_in_time_with_0(
    stopped_everywhere: dict[str, tuple[int | None, float]], point: str
) -> None:
    status, seconds = stopped_everywhere[point]
    assert status == Exit.OK
    assert seconds < GONE_S


def test_row29_a_second_sigterm_ends_it_at_once_and_loses_nothing(run: Run) -> None:
    run.create()
    worker, traffic = run.worker(), run.traffic(29)
    for _ in range(3):
        # asleep inside its transaction, so that there is something to leave open
        sleeping_at(worker, "K4")
        os.kill(worker.pid, signal.SIGTERM)
        os.kill(worker.pid, signal.SIGCONT)
        time.sleep(0.01)
        os.kill(worker.pid, signal.SIGTERM)
        status = worker.wait(5, "leave at once")
        assert status in {Exit.OK, 128 + signal.SIGTERM}, worker.tail()
    traffic.stop()
    worker.start()
    run.check(worker, least_due=100)  # three starts take some seconds of traffic


@pytest.mark.parametrize(
    ("point", "what"),
    [("K1", "agent"), ("K0", "poll-thread"), ("K5", "commit-thread")],
    ids=["row29-stuck-agent", "row29-stuck-poll-thread", "row29-stuck-commit"],
)
def test_stuck_and_told_to_stop_it_is_gone_in_time_with_71(
    run: Run, tmp_path: Path, point: str, what: str
) -> None:
    run.create()
    worker = run.worker()
    patch = tmp_path / "patched"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(HANG)
    note = tmp_path / "hanging"
    traffic = run.traffic(30)
    worker.start(
        PYTHONPATH=f"{patch}{os.pathsep}{REPOSITORY}", HANG=f"{point}:60", HANG_FILE=str(note)
    )
    wait_until(note.exists, lambda: f"the {what} to hang: {worker.tail(5)}", 40)
    os.kill(worker.pid, signal.SIGTERM)
    begun_s = time.monotonic()
    assert worker.wait(STOP_LIMIT_S, "be ended by its watchdog") == Exit.STUCK, worker.tail()
    assert time.monotonic() - begun_s < GONE_S + 3
    assert "exit 71" in worker.log.read_text()
    worker.start()
    working(worker)
    traffic.stop()
    run.check(worker)

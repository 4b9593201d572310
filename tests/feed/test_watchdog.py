"""When the watchdog bites, and when it must not."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from streams.errors import Exit
from streams.feed.watchdog import BATCH_S, SILENT_S, STOP_S, Watchdog


def watching(beat_s: float, busy_since_s: float | None = None) -> Watchdog:
    dog = Watchdog()
    dog.watch(lambda: beat_s, lambda: busy_since_s)
    return dog


def test_an_idle_worker_that_polls_is_well():
    assert watching(beat_s=1_000.0).verdict(1_000.0 + SILENT_S - 1) is None


def test_a_poll_loop_silent_for_30_s_is_stuck():
    assert "silent for 31 s" in watching(beat_s=1_000.0).verdict(1_000.0 + SILENT_S + 1)


def test_a_unit_of_work_may_take_long_but_not_60_s():
    dog = watching(beat_s=1_000.0, busy_since_s=1_000.0)
    assert dog.verdict(1_000.0 + BATCH_S - 1) is None, "nobody polls while a commit is waited for"
    assert "not finished after 61 s" in dog.verdict(1_061.0)


@pytest.mark.parametrize(("later_s", "stuck"), [(STOP_S - 1, False), (STOP_S + 1, True)])
def test_a_shutdown_has_20_s(later_s, stuck):
    dog = watching(beat_s=0.0)
    dog.stopping()
    dog.stopping()  # a second call does not begin anew
    assert (dog.verdict(time.monotonic() + later_s) is not None) is stuck


def test_before_the_loop_runs_the_start_itself_is_limited():
    dog = Watchdog()
    now_s = time.monotonic()
    assert dog.verdict(now_s + BATCH_S) is None
    assert dog.verdict(now_s + BATCH_S + SILENT_S + 1) is not None


HUNG_STOP = """
import asyncio
from streams.feed import watchdog

watchdog.STOP_S = watchdog.CHECK_S = 0.05

async def never_answered():
    await asyncio.get_running_loop().create_future()

async def main():
    dog = watchdog.Watchdog()
    dog.tell_tasks_of(asyncio.get_running_loop())
    dog.start()
    dog.stopping()
    await never_answered()

asyncio.run(main())
"""


def test_the_dump_names_what_a_task_of_the_event_loop_waits_for():
    ran = subprocess.run(
        [sys.executable, "-c", HUNG_STOP], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == Exit.STUCK
    assert "in never_answered" in ran.stderr

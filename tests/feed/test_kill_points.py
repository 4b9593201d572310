"""The fault injection itself: off when unset, exact when set, refused when misspelt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streams.errors import UsageError
from streams.feed import kill_points

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
from streams.feed import kill_points
for n in range(1, 6):
    kill_points.reach("K6")
    kill_points.reach("K5")
    print(n, flush=True)
"""


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "LEIDAN_KILL"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
        timeout=60,
        check=False,
    )


def test_unset_nothing_is_killed():
    assert not kill_points.armed()
    done = run()
    assert (done.returncode, done.stdout.split()) == (0, ["1", "2", "3", "4", "5"])


def test_set_the_process_dies_at_exactly_that_pass():
    done = run(LEIDAN_KILL="K6:3")
    assert (done.returncode, done.stdout.split()) == (-9, ["1", "2"])


def test_a_stop_is_asked_for_by_name():
    assert kill_points.parse("K5:6:stop") == ("K5", 6, signal.SIGSTOP)
    assert kill_points.parse("K5:6") == ("K5", 6, signal.SIGKILL)


@pytest.mark.parametrize("text", ["K6:1:halt", "K6", "K10:1", "K6:0", "k6:1", "K6:x", "X1:1"])
def test_a_misspelt_fault_is_refused_or_it_would_never_land(text):
    with pytest.raises(UsageError, match="K6:17"):
        kill_points.parse(text)


def test_every_point_of_the_protocol_is_reached_in_the_source():
    source = "".join(path.read_text() for path in (ROOT / "streams").rglob("*.py"))
    missing = {point for point in kill_points.POINTS if f'reach("{point}")' not in source}
    assert missing == set()

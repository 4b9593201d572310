"""The worker's disk is full, and later it is not (row 20). Needs root: a tmpfs of its own size."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from streams.errors import Exit
from tests.faults.runs import working

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.runs import Run
    from tests.kafka.workers import Worker

SIZE_MB = 64


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB, gone after the test."""
    if os.geteuid() != 0:
        pytest.skip("row 20 needs root, to mount a tmpfs of a known size")
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(place)],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"row 20 needs a tmpfs, and mount said: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take every block that is left."""
    balloon = disk / "balloon"
    with balloon.open("ab", buffering=0) as growing, contextlib.suppress(OSError):
        while True:
            growing.write(bytes(4_096))
    assert os.statvfs(disk).f_bavail == 0, "void: there is room left"
    return balloon


def test_row20_a_full_disk_ends_it_with_74_and_once_freed_it_goes_on(
    run: Run, small_disk: Path
) -> None:
    run.create()
    worker: Worker = run.worker()
    worker.state_dir.symlink_to(small_disk)
    traffic = run.traffic(20)
    worker.start()
    working(worker)
    balloon = fill(small_disk)
    assert worker.wait(60, "meet the full disk") == Exit.DISK, worker.tail()
    worker.start()
    assert worker.wait(60, "meet the full disk again") == Exit.DISK, worker.tail()
    balloon.unlink()
    worker.start()
    working(worker)
    traffic.stop()
    run.check(worker)

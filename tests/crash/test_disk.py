"""Rows 19 and 20: a disk that is full, fails or is slow, under a worker that is at work.

A disk of its own needs root (a small tmpfs); failing and slow calls need strace, no root. What a
machine lacks is skipped by name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import msgspec
import pytest

from streams.errors import Exit
from tests.crash.loop import Child, finish
from tests.crash.verify import found, wrong_with
from tests.crash.world import PARTITIONS, Options, Place, broker_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPTIONS = Options(5, records=4_000, batch_records=40, row_bytes=4_000, rebalance_every=1_000_000)


def consistent(place: Place, scratch: Path) -> None:
    """The database is a prefix and the log holds every output once, whatever the disk did."""
    broker = broker_of(place, OPTIONS)
    for p in range(PARTITIONS):
        assert wrong_with(found(place, p, scratch), broker, p, OPTIONS) == []


# --- row 20: full ---------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(at: Path, size: str) -> Iterator[None]:
    """Mount a tmpfs of this size there, or skip by name."""
    at.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "leidan-crash", str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a disk of its own needs root and mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(at)], check=True)


def test_row20_a_full_disk_is_74_at_the_first_error_and_space_is_all_it_takes(tmp_path):
    place = Place(tmp_path)
    with small_disk(place.state, "1500k"):
        child = Child(place, OPTIONS)
        assert child.wait() == Exit.DISK, child.errors
        assert "No space left on device" in child.errors
        assert child.errors.count("(exit 74)") == 1
        assert child.batches, "void: full before the first batch"
        again = Child(place, OPTIONS)
        assert again.wait() == Exit.DISK, "still full: nothing is given up, nothing is deleted"
        assert list(place.state.glob("*.corrupt*")) == []
        command = ["mount", "-o", "remount,size=200m", str(place.state)]
        subprocess.run(command, check=True)
        consistent(place, tmp_path / "copy")
        assert finish(place, OPTIONS, tmp_path / "copy") == []


# --- row 19: failing and slow ---------------------------------------------------------------------


def strace(report: Path, *what: str) -> tuple[str, ...]:
    """Return the command to run a worker under, or skip by name."""
    found_at = shutil.which("strace")
    if found_at is None:
        pytest.skip("failing system calls need strace")
    probe = [found_at, "-f", "-o", os.devnull, "-e", "trace=fdatasync", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    return (found_at, "-f", "--seccomp-bpf", "-o", str(report), *what)


def landed(report: Path, mark: str) -> int:
    """Count the calls that strace says it spoilt."""
    return sum(mark in line for line in report.read_text().splitlines())


@pytest.mark.parametrize("when", [1, 2, 9], ids=["row19-first", "row19-second", "row19-ninth"])
def test_an_fdatasync_that_fails_is_74_and_the_next_start_goes_on(tmp_path, when):
    place, report = Place(tmp_path), tmp_path / "strace"
    inject = f"inject=fdatasync:error=EIO:when={when}+"
    child = Child(place, OPTIONS, prefix=strace(report, "-e", "trace=fdatasync", "-e", inject))
    assert child.wait() == Exit.DISK, child.errors
    assert landed(report, "(INJECTED)") >= 1, "void: no call was spoilt"
    assert "Input/output error" in child.errors
    assert finish(place, OPTIONS, tmp_path / "copy", restarts=1) == []


@pytest.mark.parametrize(
    ("error", "message", "when"),
    [
        pytest.param("EIO", "Input/output error", 3, id="row19-early"),
        pytest.param("EIO", "Input/output error", 120, id="row19-late"),
        pytest.param("ENOSPC", "No space left on device", 40, id="row20-without-root"),
    ],
)
def test_a_write_that_fails_is_74_and_the_next_start_goes_on(tmp_path, error, message, when):
    place, report = Place(tmp_path), tmp_path / "strace"
    logs = [str(place.state / str(p) / "000004.log") for p in range(PARTITIONS)]
    paths = [part for log in logs for part in ("-P", log)]
    inject = f"inject=write:error={error}:when={when}+"
    one_log = msgspec.structs.replace(OPTIONS, write_buffer=32 << 20)
    prefix = strace(report, *paths, "-e", "trace=write", "-e", inject)
    child = Child(place, one_log, prefix=prefix)
    assert child.wait() == Exit.DISK, child.errors
    assert landed(report, "(INJECTED)") >= 1, "void: no call was spoilt"
    assert message in child.errors
    consistent(place, tmp_path / "copy")
    assert finish(place, OPTIONS, tmp_path / "copy", restarts=1) == []


def test_row19_a_slow_fsync_slows_the_worker_and_nothing_else(tmp_path):
    place, report = Place(tmp_path), tmp_path / "strace"
    few = msgspec.structs.replace(OPTIONS, records=400, write_buffer=512 << 10)
    inject = "inject=fdatasync:delay_enter=200000"
    child = Child(place, few, prefix=strace(report, "-e", "trace=fdatasync", "-e", inject))
    assert child.wait(120) == Exit.OK, child.errors
    assert landed(report, "(DELAYED)") >= 10, "void: hardly a call was slow"
    assert finish(place, few, tmp_path / "copy") == []

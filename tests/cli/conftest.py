"""The command as a user types it: a process of its own, its exit code and both of its outputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from streams.cli import run

REPOSITORY = Path(__file__).resolve().parents[2]
REAL_YEAR = REPOSITORY.parent / "shared" / "data" / "online-retail-2010"
SAMPLES = REPOSITORY / "schemas" / "samples"
LIMIT_S = 120.0


class Ran(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str


def start(*arguments: object, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start `leidan ARGUMENTS` without the caller's settings and without colour."""
    unset = {name for name in os.environ if name.startswith("LEIDAN_")}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.Popen(
        [sys.executable, *options, "-m", "streams", *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], limit_s: float = LIMIT_S) -> Ran:
    """Wait for its end; a command that never ends is killed and is a failure."""
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"{process.args} did not end within {limit_s:.0f} s; it said:\n{out}{err}")
    return Ran(process.returncode, out, err)


def leidan(*arguments: object, options: tuple[str, ...] = (), limit_s: float = LIMIT_S) -> Ran:
    """Run `leidan ARGUMENTS` to its end."""
    return finish(start(*arguments, options=options), limit_s)


def ended(arguments: list[str]) -> int:
    """Run a verb in this process; return its exit code, whether it returns or leaves with it."""
    try:
        return run(arguments)
    except SystemExit as left:
        return int(left.code or 0)


def require_one_clear_message(ran: Ran) -> None:
    """Bad input never ends in a traceback, and says so on stderr, not among the data."""
    assert "Traceback" not in ran.err, ran.err
    assert "leidan:" in ran.err or "Error:" in ran.err, ran.err
    assert ran.out == ""


@pytest.fixture(scope="session")
def real_year() -> Path:
    """The real year beside the checkout; what needs it is skipped by name where it is absent."""
    if not REAL_YEAR.is_dir():
        pytest.skip("../shared/data/online-retail-2010 is absent")
    return REAL_YEAR

"""Other versions of leidan for tests to start: real ones, taken out of this checkout's history."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.domain.fold import FOLD_VERSION
from streams.wire.rows import ROW_SCHEMA
from tests.kafka.workers import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.workers import Worker

VERSIONS = {
    "streams/wire/rows.py": r"^ROW_SCHEMA = ",
    "streams/domain/fold.py": r"^FOLD_VERSION = ",
}
"""Where a version says what rows it writes, and by which rules it folds."""


@dataclass(frozen=True)
class Version:
    """A leidan that can be started. tree: its checkout; environment: what else makes it that."""

    name: str
    tree: Path
    environment: dict[str, str] = field(default_factory=dict)


THIS = Version("this", REPOSITORY)
IN_PYTHON = Version("this in Python alone", REPOSITORY, {"LEIDAN_NATIVE": "0"})


def git(*words: str) -> bytes:
    """What git says in this checkout. Raises subprocess.CalledProcessError, OSError."""
    return subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, check=True).stdout


def previous_version() -> str | None:
    """The oldest commit with this row schema and fold version; None where the history lacks it."""
    try:
        bumps = [
            git("log", "-1", "--format=%ct %h", f"-G{line}", "--", path).decode().split()
            for path, line in VERSIONS.items()
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    if not all(bumps):
        return None
    commit = max(bumps, key=lambda bump: int(bump[0]))[1]
    if versions_of(commit) != (ROW_SCHEMA, FOLD_VERSION):
        return None  # this checkout's own bump is not committed yet
    try:
        git("rev-parse", "--verify", f"{commit}^")
    except subprocess.CalledProcessError:
        return None  # the history is cut off here: that commit is all there is
    return commit


def versions_of(commit: str) -> tuple[int, ...]:
    """Row schema and fold version of a commit."""
    found = []
    for path, line in VERSIONS.items():
        said = re.search(line + r"(\d+)", git("show", f"{commit}:{path}").decode(), re.MULTILINE)
        found.append(int(said[1]) if said else 0)
    return tuple(found)


def taken_out(commit: str, folder: Path, *, compiled: bool) -> Version:
    """Put a commit's engine into a folder. compiled: its short path too, where a compiler is."""
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(git("archive", commit, "streams", "schemas"))) as kept:
        kept.extractall(folder, filter="data")
    if compiled:
        build = [sys.executable, "-m", "streams.native.build"]
        subprocess.run(build, cwd=folder, capture_output=True, check=False)
    return Version(commit, folder)


def start(worker: Worker, version: Version) -> None:
    """Start it as this version, in its own folder: `-m streams` takes the one at hand."""
    words = worker.command[worker.command.index(sys.executable) :]
    worker.command = ("env", f"--chdir={version.tree}", *words)
    worker.start(**version.environment)


def lives_of(worker: Worker, version: Version) -> int:
    """How many lives of the worker say that they were this version's tree."""
    return worker.log.read_text().count(f"(streams from {version.tree}/")

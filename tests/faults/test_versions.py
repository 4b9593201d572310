"""A newer leidan takes over mid-stream; the older one must never touch what it left (row 27).

The newer version is this one with another row schema and fold version, which reads rows of both.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from streams.traffic import Traffic
from streams.wire.rows import ROW_SCHEMA
from tests import checker
from tests.faults.runs import working
from tests.kafka.aftermath import DEFINITIONS, gathered
from tests.kafka.harness import CHANGELOG, wait_settled
from tests.kafka.workers import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.runs import Run
    from tests.kafka.workers import Worker

NEWER = """
import streams.domain.fold as fold
import streams.wire.rows as rows
newer = rows.ROW_SCHEMA + 1
rows.ROW_SCHEMA, rows._PREFIX, rows._READ = newer, bytes([newer]), (*rows._READ, bytes([newer]))
fold.FOLD_VERSION += 1
"""


@pytest.fixture
def newer(tmp_path: Path) -> dict[str, str]:
    """What makes a worker the newer version."""
    folder = tmp_path / "newer"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(NEWER)
    return {"PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}"}


def check(run: Run, worker: Worker) -> None:
    """Everything but the bytes of rows: those are of two schemas now."""
    run.drained_and_stopped(worker)
    wait_settled(run.topics)
    report = checker.check(gathered(run.topics, worker), DEFINITIONS)
    report.require_clean()
    assert report.compared["rewards due"] > 300, "void: next to nothing was earned"


def schemas(run: Run) -> set[int]:
    return {
        row.value[0] for row in run.topics.read(CHANGELOG) if row.key != checker.META and row.value
    }


def test_row27_a_newer_version_takes_over_mid_stream(run: Run, newer: dict[str, str]) -> None:
    run.create()
    worker, traffic = run.worker(), run.traffic(27)
    for life in ({}, newer, newer):
        worker.start(**life)
        working(worker, 10)
        worker.kill()
    worker.start(**newer)
    working(worker, 10)
    traffic.stop()
    assert schemas(run) == {ROW_SCHEMA, ROW_SCHEMA + 1}, "void: only one version wrote"
    check(run, worker)


@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_row27_the_older_version_refuses_what_a_newer_one_wrote(
    run: Run, newer: dict[str, str], disk: str
) -> None:
    run.create()
    run.topics.send(Traffic(27, 150, 1_500))
    worker = run.worker()
    worker.start(**newer)
    run.drained_and_stopped(worker)
    assert schemas(run) == {ROW_SCHEMA + 1}, "void: the newer version wrote nothing"
    if disk == "lost":
        shutil.rmtree(worker.databases)
    # Not even users whom the newer version never met: their rows would be of the older one.
    strangers = (
        (topic, b"x" + key, value.replace(b'"u-', b'"xu-'), at_ms)
        for topic, key, value, at_ms in Traffic(28, 50, 300)
        if key is not None
    )
    run.topics.send(strangers)
    before = run.topics.committed(worker.group)
    run.refused(worker, "newer version")
    assert run.topics.committed(worker.group) == before, "and nothing was folded"
    worker.start(**newer)
    check(run, worker)

"""README tried as a new user would: every command of every block, in order, on a real broker."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kafka.cluster import Cluster
from tests.kafka.readme import TRIALS, User, commands
from tests.kafka.workers import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_every_command_of_the_readme_has_a_trial_and_every_trial_a_command():
    assert list(TRIALS) == commands(), "in the README's order"


@pytest.mark.parametrize(
    "command", [command for command, trial in TRIALS.items() if trial.dry and "make" in command[:5]]
)
def test_a_target_that_is_not_run_is_there(command: str):
    words = command.partition(" ARGS=")[0].split()
    ran = subprocess.run(
        [*words, "--dry-run", "PYTHON=python3"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.fixture
def user(kafka_jars: Path, tmp_path: Path) -> Iterator[User]:  # noqa: ARG001 - or it is skipped
    """With a broker of their own: its topics have no prefix."""
    with Cluster().start() as cluster:
        one = User(cluster.bootstrap, tmp_path)
        yield one
        one.close()


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_block_of_the_readme_does_what_it_says(user: User) -> None:
    wrong = []
    for command, trial in TRIALS.items():
        if trial.dry:
            continue
        try:
            user.try_(command, trial)
        except AssertionError as error:  # who writes the README wants to hear of all of them
            wrong.append(str(error))
    assert not wrong, "\n\n".join(wrong)
    assert "<svg" in (user.home / "report.html").read_text(), "a report with plots"

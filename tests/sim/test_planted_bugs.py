"""The simulation must find what we break on purpose: else a green run means nothing."""

from __future__ import annotations

import pytest

from tests.sim.planted import BUGS, hunt
from tests.sim.run import run_seed

NEAR = 60
"""Seeds from the stored start on; from seed 0 it takes what `python -m tests.sim --planted` says,
and never more than 500."""


@pytest.mark.parametrize("name", BUGS, ids=lambda name: name.replace(" ", "-"))
def test_a_planted_bug_is_caught(name):
    found = hunt(name, BUGS[name].start, NEAR)
    assert found is not None, f"{name}: not caught in {NEAR} seeds from {BUGS[name].start}"


def test_nothing_of_a_planted_bug_is_left_behind():
    for bug in BUGS.values():
        with bug.plant():
            pass
    assert not run_seed(0).violations

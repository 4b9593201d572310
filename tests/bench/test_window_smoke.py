"""The measurement of long windows measures what it says; its figures here mean nothing."""

from __future__ import annotations

import pytest

from streams.domain.fold import step
from tests.bench import window


@pytest.mark.parametrize("phase", window.PHASES)
def test_every_order_of_a_long_window_counts_and_is_measured(phase):
    about = window.window(window.PHASES[phase], 40)
    state = about.before
    for event in about.coming:
        state = step(state, event, about.campaigns).state
    assert state.tasks[0].counted == 40 + window.NEXT
    assert state.ledger.count == (40 + window.NEXT if phase == "4.0" else 0), (
        "4.0 pays order by order"
    )


def test_each_phase_is_measured_with_and_without_its_row():
    costs = window.measured(rounds=1, large=40)
    assert [(cost.phase, cost.way) for cost in costs] == [
        (phase, way) for phase in window.PHASES for way in window.WAYS
    ]
    assert all(cost.small_ns > 0 and cost.large_ns > 0 for cost in costs)

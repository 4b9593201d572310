"""The measurement of long windows measures what it says; its figures here mean nothing."""

from __future__ import annotations

import pytest

from streams.domain.fold import step
from tests.bench import window

SAID = {
    "1.0": {
        "claim": ("pool.reserve",),
        "grant": ("reward.adjusted", "task.claimed"),
        "denial": ("claim.rejected",),
    },
    "3.0": {"draw": ("draw.asked",), "prize": ("reward.issued",), "nothing": ()},
}
SAID["4.0"] = {**SAID["1.0"], "result": ("reward.adjusted",)}
KINDS = {phase: ("order", *kinds) for phase, kinds in SAID.items()}


@pytest.mark.parametrize(("phase", "kind"), [(p, kind) for p in SAID for kind in SAID[p]])
def test_each_kind_of_event_does_what_it_is_measured_for(phase, kind):
    about = window.windows(phase, 40)[kind]
    outputs = step(about.before, about.coming[0], about.campaigns).outputs
    assert tuple(output.type for output in outputs) == SAID[phase][kind]
    assert max(task.counted for task in about.before.tasks) >= 40


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


def test_each_phase_and_kind_is_measured_with_and_without_its_row():
    costs = window.measured(rounds=1, large=40)
    kinds = {"2.0": ("order",), **KINDS}
    assert [(cost.phase, cost.kind, cost.way) for cost in costs] == [
        (phase, kind, way)
        for phase in window.PHASES
        for kind in kinds[phase]
        for way in window.WAYS
    ]
    assert all(cost.small_ns > 0 and cost.large_ns > 0 for cost in costs)

"""`python -m tests.bench.window`: what an event costs when its user's window holds 200 orders.

CPU time of the fold's `step` for the next orders of a user, with 5 and with 200 orders in the
window, for a campaign of each phase (the examples of semantics.md 2, made long enough that the
200th order still counts); and the same with the row's bytes read before and written after. Both
sizes are measured in one run, turn by turn; the ratio of their medians is what counts, and
figures of other machines do not.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.domain.fold import Outcome, step
from streams.domain.state import new
from streams.wire.rows import decode_row, encode_row
from tests import builders as b
from tests.asking import answer, wheel
from tests.given import registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.events import Event
    from streams.domain.registry import Campaigns
    from streams.domain.state import UserState

SMALL, LARGE = 5, 200
NEXT = 8  # orders that are measured, one after the other
BOUND = 1.3
TARGET = LARGE + 2 * NEXT
RED = "red_packet"


def right(right_id: str, value_minor: int | str, type_: str = RED) -> dict[str, Any]:
    value = "value" if isinstance(value_minor, str) else "value_minor"
    return {"right_id": right_id, "type": type_, value: value_minor}


def of_phase(features: list[str], **rules: Any) -> dict[str, Any]:
    return b.campaign(
        features=features,
        window={"days": 30},
        target={"orders": TARGET},
        qualify={"min_amount_minor": 1000, "daily_cap": 0},
        **{"step_rewards": None, "entries": None, **rules},
    )


PHASES: dict[str, list[dict[str, Any]]] = {
    "1.0": [
        of_phase(
            ["dark_box"],
            saved={"rule": "percent", "bp": 300, "cap_minor": 90_000},
            final_rewards=[right("grocery", "saved_amount")],
            budget={"amount_minor": 50_000_000},
        )
    ],
    "2.0": [
        of_phase(
            ["light_box"],
            final_rewards=[right("grocery-8", 800)],
            rounds={"max": 4, "cool_down_days": 1},
            reminders=[{"kind": "one_order_left", "before_hours": 48}],
        )
    ],
    "3.0": [
        wheel(closes_at=b.at(90).isoformat()),
        of_phase(
            ["light_box", "lottery"],
            final_rewards=[right("rp-5", 500)],
            claim={"closes_at": b.at(5).isoformat()},
            lottery={
                "pool_id": "wheel",
                "odds_version": 1,
                "chances": [
                    *({"step": k, "count": 1} for k in range(3, TARGET, 10)),
                    {"step": "final", "count": 1},
                ],
                "draw": "request",
                "at_close": "draw",
            },
        ),
    ],
    "4.0": [
        of_phase(
            ["light_box", "full_link"],
            entries=["home"],
            step_rewards=[
                {"step": k, "right": right(f"rp-{k}", 100)} for k in range(1, TARGET + 1)
            ],
            priority=10,
            exclusion_group="veg",
            budget={"amount_minor": 90_000_000},
        )
    ],
}
"""The examples of semantics.md 2 by phase. 4.0 pays each order, as its name says."""


class Window(NamedTuple):
    """A user with so many orders in the window, and the next ones."""

    campaigns: Campaigns
    before: UserState
    row: bytes
    coming: list[Event]


def window(definitions: Sequence[dict[str, Any]], orders: int) -> Window:
    """Fold a claim, what pools answer to it, and the orders, an hour apart."""
    campaigns = registry(*definitions)
    state, _ = told(new(b.USER), b.decoded(b.claim()), campaigns)
    for n in range(orders):
        state, _ = told(state, order(n), campaigns)
    counted = state.tasks[0].counted
    assert counted == orders, f"{counted} of {orders} orders count: this measures something else"
    return Window(campaigns, state, encode_row(state), [order(orders + n) for n in range(NEXT)])


def order(n: int) -> Event:
    return b.decoded(b.order(f"o{n}", when=b.at(1, "09:00") + timedelta(hours=n)))


def told(state: UserState, event: Event, campaigns: Campaigns) -> tuple[UserState, int]:
    """Fold an event, and the grants of what it reserves; return the outputs' number, too."""
    folded = step(state, event, campaigns)
    assert folded.outcome is Outcome.APPLIED, folded.outcome
    state, said = folded.state, len(folded.outputs)
    for output in folded.outputs:
        if output.type == "pool.reserve":
            state, more = told(state, answer(output, "granted"), campaigns)
            said += more
    return state, said


def folding(about: Window) -> int:
    """Fold the next orders; return nanoseconds of CPU time for each."""
    campaigns, state = about.campaigns, about.before
    begun = time.thread_time_ns()
    for event in about.coming:
        state = step(state, event, campaigns).state
    return (time.thread_time_ns() - begun) // len(about.coming)


def through_rows(about: Window) -> int:
    """Fold the next orders, each from a row's bytes to a row's bytes."""
    campaigns, row = about.campaigns, about.row
    begun = time.thread_time_ns()
    for event in about.coming:
        row = encode_row(step(decode_row(b.USER, row), event, campaigns).state)
    return (time.thread_time_ns() - begun) // len(about.coming)


WAYS = {"fold": folding, "fold and row": through_rows}


class Cost(NamedTuple):
    """Medians of CPU time per event, in nanoseconds."""

    phase: str
    way: str
    small_ns: float
    large_ns: float
    row_bytes: int

    @property
    def ratio(self) -> float:
        return self.large_ns / self.small_ns


def measured(rounds: int, large: int = LARGE) -> list[Cost]:
    """Measure every phase, both sizes and ways, turn by turn."""
    windows = {
        (phase, orders): window(definitions, orders)
        for phase, definitions in PHASES.items()
        for orders in (SMALL, large)
    }
    found: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for (phase, orders), about in windows.items():
                for way, measure in WAYS.items():
                    found[phase, way, orders].append(measure(about))
    finally:
        gc.enable()
    return [
        Cost(
            phase,
            way,
            statistics.median(found[phase, way, SMALL]),
            statistics.median(found[phase, way, large]),
            len(windows[phase, large].row),
        )
        for phase in PHASES
        for way in WAYS
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """0: measured; 1: a ratio is above the bound."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.window", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1_000, help="of all of it (1000)")
    given = parser.parse_args(argv)
    costs = measured(given.rounds)
    print(f"CPU time per event, medians of {given.rounds} rounds of {NEXT} orders each")
    print(f"{'phase':7}{'':14}{SMALL:>4} orders{LARGE:>6} orders   ratio   row at {LARGE}")
    for cost in costs:
        small, large = cost.small_ns / 1000, cost.large_ns / 1000
        print(
            f"{cost.phase:7}{cost.way:14}{small:8.1f} us{large:10.1f} us{cost.ratio:8.2f}"
            f"{cost.row_bytes:10} B"
        )
    over = [cost for cost in costs if cost.ratio > BOUND]
    for cost in over:
        print(f"above {BOUND}: {cost.phase} {cost.way}")
    return int(bool(over))


if __name__ == "__main__":
    raise SystemExit(main())

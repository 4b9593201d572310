"""`python -m tests.bench.window`: what an event costs when its user's window holds 200 orders.

CPU time of the fold's `step` for the next orders of a user, with 5 and with 200 orders in the
window, for a campaign of each phase (the examples of semantics.md 2, made long enough that the
200th order still counts); and the same with the row's bytes read before and written after. So too
for what else comes while that window is open: a claim of another campaign with a budget, what the
budget answers, a draw and what it gave, what the rights service did with a reward. Both sizes are
measured in one run, turn by turn; the ratio of their medians is what counts, and figures of other
machines do not.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.domain.events import DrawRequested, OrderReported, RewardResult
from streams.domain.fold import Outcome, step
from streams.domain.state import new
from streams.wire.rows import decode_row, encode_row
from tests import builders as b
from tests.asking import PRIZE, answer, wheel
from tests.given import registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

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


SECOND = of_phase(
    ["light_box"],
    campaign_id="second",
    final_rewards=[right("rp-9", 900)],
    budget={"amount_minor": 9_000_000},
)
"""What a user claims beside it."""


class Window(NamedTuple):
    """A user with so many orders in the window, and what comes next."""

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
    return _next(campaigns, state, *(order(orders + n) for n in range(NEXT)))


def _next(campaigns: Campaigns, before: UserState, *coming: Event) -> Window:
    return Window(campaigns, before, encode_row(before), list(coming))


def windows(phase: str, orders: int) -> dict[str, Window]:
    """Return what is measured of a phase, by kind of event."""
    found = {"order": window(PHASES[phase], orders)}
    if phase in ("1.0", "4.0"):
        found |= _claims(phase, orders)
    if phase == "3.0":
        found |= _draws(found["order"], orders)
    if phase == "4.0":
        found["result"] = _result(found["order"])
    return found


def _claims(phase: str, orders: int) -> dict[str, Window]:
    campaigns, state, _, _ = window([*PHASES[phase], SECOND], orders)
    claim = b.decoded(b.claim("k2", campaign_id="second", when=_hour(orders)))
    folded = step(state, claim, campaigns)
    request = next(output for output in folded.outputs if output.type == "pool.reserve")
    return {
        "claim": _next(campaigns, state, claim),
        "grant": _next(campaigns, folded.state, answer(request, "granted")),
        "denial": _next(campaigns, folded.state, answer(request, "denied")),
    }


def _draws(about: Window, orders: int) -> dict[str, Window]:
    """The next chance that an order brings, as the user draws it at once."""
    campaigns, state = about.campaigns, about.before
    for n in range(orders, TARGET):
        folded = step(state, order(n), campaigns)
        state = folded.state
        if any(output.type == "chance.granted" for output in folded.outputs):
            draw = _draw(state, n)
            asked = step(state, draw, campaigns)
            request = next(output for output in asked.outputs if output.type == "draw.asked")
            return {
                "draw": _next(campaigns, state, draw),
                "prize": _next(campaigns, asked.state, answer(request, "drawn", PRIZE)),
                "nothing": _next(campaigns, asked.state, answer(request, "drawn")),
            }
    raise AssertionError("no order brings a chance any more")


def _draw(state: UserState, n: int) -> Event:
    at_ms, task = b.millis(_hour(n)) + 1_000, state.tasks[0]
    return DrawRequested(b.USER, at_ms, at_ms, f"d{n}", task.task_id, str(task.counted))


def _result(about: Window) -> Window:
    """What the rights service says of the latest reward."""
    folded = step(about.before, about.coming[0], about.campaigns)
    issued = next(output.body for output in folded.outputs if output.type == "reward.issued")
    at_ms = about.coming[0].occurred_at_ms + 1_000
    said = RewardResult(b.USER, at_ms, at_ms, "r1", issued["reward_id"], issued["seq"], "spent")
    return _next(about.campaigns, folded.state, said)


def _hour(n: int) -> datetime:
    return b.at(1, "09:00") + timedelta(hours=n)


def order(n: int) -> OrderReported:
    event = b.decoded(b.order(f"o{n}", when=_hour(n)))
    assert isinstance(event, OrderReported)
    return event


def told(state: UserState, event: Event, campaigns: Campaigns) -> tuple[UserState, int]:
    """Fold an event, the grants of what it reserves, and draws of its chances, that give nothing.

    Return the outputs' number, too.
    """
    folded = step(state, event, campaigns)
    assert folded.outcome is Outcome.APPLIED, folded.outcome
    state, said = folded.state, len(folded.outputs)
    for output in folded.outputs:
        if output.type == "pool.reserve":
            state, more = told(state, answer(output, "granted"), campaigns)
            said += more
        elif output.type == "chance.granted" and isinstance(event, OrderReported):
            state, more = told(state, _draw(state, int(event.order_id[1:])), campaigns)
            said += more
        elif output.type == "draw.asked":
            state, more = told(state, answer(output, "drawn"), campaigns)
            said += more
    return state, said


def folding(about: Window) -> int:
    """Fold what comes next; return nanoseconds of CPU time for each."""
    campaigns, state = about.campaigns, about.before
    begun = time.thread_time_ns()
    for event in about.coming:
        state = step(state, event, campaigns).state
    return (time.thread_time_ns() - begun) // len(about.coming)


def through_rows(about: Window) -> int:
    """Fold what comes next, each from a row's bytes to a row's bytes."""
    campaigns, row = about.campaigns, about.row
    begun = time.thread_time_ns()
    for event in about.coming:
        row = encode_row(step(decode_row(b.USER, row), event, campaigns).state)
    return (time.thread_time_ns() - begun) // len(about.coming)


WAYS = {"fold": folding, "fold and row": through_rows}


class Cost(NamedTuple):
    """Medians of CPU time per event, in nanoseconds."""

    phase: str
    kind: str
    way: str
    small_ns: float
    large_ns: float
    row_bytes: int

    @property
    def ratio(self) -> float:
        return self.large_ns / self.small_ns


def measured(rounds: int, large: int = LARGE) -> list[Cost]:
    """Measure every phase, both sizes and ways, turn by turn."""
    every = {
        (phase, kind, orders): about
        for phase in PHASES
        for orders in (SMALL, large)
        for kind, about in windows(phase, orders).items()
    }
    found: dict[tuple[str, str, str, int], list[int]] = defaultdict(list)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for (phase, kind, orders), about in every.items():
                for way, measure in WAYS.items():
                    found[phase, kind, way, orders].append(measure(about))
    finally:
        gc.enable()
    return [
        Cost(
            phase,
            kind,
            way,
            statistics.median(found[phase, kind, way, SMALL]),
            statistics.median(found[phase, kind, way, large]),
            len(every[phase, kind, large].row),
        )
        for phase, kind, orders in every
        if orders == SMALL
        for way in WAYS
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """0: measured; 1: a ratio is above the bound."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.window", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1_000, help="of all of it (1000)")
    given = parser.parse_args(argv)
    costs = measured(given.rounds)
    print(f"CPU time per event, medians of {given.rounds} rounds; orders: {NEXT} each")
    print(
        f"{'phase':7}{'event':9}{'':14}{SMALL:>4} orders{LARGE:>6} orders   ratio   row at {LARGE}"
    )
    for cost in costs:
        small, large = cost.small_ns / 1000, cost.large_ns / 1000
        print(
            f"{cost.phase:7}{cost.kind:9}{cost.way:14}{small:8.1f} us{large:10.1f} us"
            f"{cost.ratio:8.2f}{cost.row_bytes:10} B"
        )
    over = [cost for cost in costs if cost.ratio > BOUND]
    for cost in over:
        print(f"above {BOUND}: {cost.phase} {cost.kind} {cost.way}")
    return int(bool(over))


if __name__ == "__main__":
    raise SystemExit(main())

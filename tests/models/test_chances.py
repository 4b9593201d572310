"""Chances, draws, prizes; the draw algorithm by its worked example."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from tests.models.draws import commitment, hit, ticket
from tests.models.given import (
    USER,
    answer,
    answered,
    at,
    campaign,
    cancel,
    claim,
    draw,
    every_n,
    labels,
    order,
)
from tests.models.ids import draw_id, sampled, task_id
from tests.models.users import earn

TASK = task_id(USER, "c", 1)
FOUR = [claim(), *(order(f"o{n}", n) for n in range(1, 5))]
POOL = {"type": "pool.defined", "pool_id": "wheel", "closes_at": at(9, "00:00:00")}


def spin(*chances: tuple[int | str, int], base: dict | None = None) -> dict:
    """The 3.0 example of the campaign: chances by step."""
    lottery = {"pool_id": "wheel", "odds_version": 1}
    lottery["chances"] = [{"step": step, "count": count} for step, count in chances]
    made = base or campaign(step_rewards=[], target={"orders": 5})
    return {**made, "lottery": lottery}


def chances(events: list[dict], definition: dict) -> list[str]:
    return earn(USER, events, [definition]).tasks[0]["chances"]


def test_chances_bear_the_label_of_their_step():
    assert chances(FOUR, spin((3, 1))) == ["3"]
    assert chances(FOUR, spin((3, 2), (4, 1))) == ["3", "3#2", "4"]
    assert chances(FOUR[:3], spin((3, 2))) == []
    target = campaign(step_rewards=[])
    assert chances(FOUR, spin(("final", 2), base=target)) == ["3", "3#2"]
    cycles = every_n(max_cycles=2)
    events = [claim(), *(order(f"o{n}", n) for n in range(1, 7))]
    assert chances(events, spin((2, 1), ("final", 1), base=cycles)) == ["2", "5", "3", "6"]


def test_20_a_chance_of_a_cancelled_step_cannot_be_drawn():
    three = spin((3, 1))
    assert answer([*FOUR, draw(TASK, "3", 5)], "d-1", three, POOL) == ("DRAW", TASK)
    gone = [*FOUR[:4], cancel("o3", 4), draw(TASK, "3", 5)]
    assert answer(gone, "d-1", three, POOL)[0] == "NO_CHANCE"
    assert answer([*FOUR, draw(TASK, "3", 2)], "d-1", three, POOL)[0] == "NO_CHANCE"
    assert answer([*FOUR, draw(TASK, "3", 9)], "d-1", three, POOL)[0] == "POOL_CLOSED"
    assert answer([*FOUR, draw("tsk_no", "3", 5)], "d-1", three, POOL)[0] == "NO_CHANCE"


def test_a_chance_asked_for_again_is_the_same_draw_even_when_the_pool_has_closed():
    twice = [*FOUR, draw(TASK, "3", 5), draw(TASK, "3", 9, "d-2")]
    assert answer(twice, "d-2", spin((3, 1)), POOL)[0] == "DRAW"


def test_21_a_regained_step_has_the_same_prize():
    won = answered(
        "draw.result",
        draw_id(TASK, "3"),
        5,
        outcome="won",
        right={"right_id": "rp-5", "type": "red_packet", "value_minor": 500},
    )
    asked = [*FOUR[:4], draw(TASK, "3", 4), won]
    definition = spin((3, 1))
    first = earn(USER, asked, [definition, POOL])
    assert labels(first) == ["prize@3"]
    assert labels(earn(USER, [*asked, cancel("o3", 6)], [definition, POOL])) == []
    regained = earn(USER, [*asked, cancel("o3", 6), order("o7", 7)], [definition, POOL])
    assert regained.rewards == first.rewards


def test_a_draw_that_gave_nothing_owes_nothing():
    nothing = answered("draw.result", draw_id(TASK, "3"), 5, outcome="nothing")
    assert labels(earn(USER, [*FOUR, draw(TASK, "3", 4), nothing], [spin((3, 1)), POOL])) == []


# -- the algorithm ---------------------------------------------------------------------------------

SEED = bytes(range(32))
ODDS = {
    "odds_version": 1,
    "denominator": 1_000_000,
    "weights": [{"prize_id": "top", "weight": 100}, {"prize_id": "five", "weight": 20_000}],
}


def test_the_worked_example_by_hand():
    task = "tsk_" + hashlib.sha256(b"leidan/task/1\nu-1\ndemo\n1").hexdigest()[:32]
    assert task == task_id("u-1", "demo", 1)
    text = f"leidan/draw/1\ndemo-pool\n1\n{task}\n3\n0"
    digest = hmac.new(SEED, text.encode(), hashlib.sha256).digest()
    number = int.from_bytes(digest[:8], "big") % 1_000_000
    assert ticket(SEED, "demo-pool", 1, task, "3", 1_000_000) == (number, 0)
    said = hashlib.sha256(b"leidan/commit/1\ndemo-pool\n" + SEED.hex().encode()).hexdigest()
    assert commitment("demo-pool", SEED) == said


@pytest.mark.parametrize(
    ("number", "prize"), [(0, "top"), (99, "top"), (100, "five"), (20_099, "five"), (20_100, None)]
)
def test_the_first_prize_whose_sum_is_above_the_ticket_is_hit(number, prize):
    assert hit(ODDS, number) == prize


def test_a_number_beyond_the_limit_is_rejected_and_the_next_counter_tried():
    width = 2**63 + 1
    found = [sampled(None, ["x", str(n)], width) for n in range(200)]
    assert any(counter > 0 for _, counter in found)
    for n, (value, counter) in enumerate(found):
        text = f"x\n{n}\n{counter}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        assert value == number % width == number < width

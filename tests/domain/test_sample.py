"""Section 6's algorithm by two programs that share no code, and its worked example."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.domain import ids, sample
from tests import fair

SEED = bytes(range(32))
ODDS = {
    "odds_version": 1,
    "denominator": 1_000_000,
    "weights": [{"prize_id": "top", "weight": 100}, {"prize_id": "five", "weight": 20_000}],
}
WEIGHTS = [("top", 100), ("five", 20_000)]
EXAMPLE = {
    "task_id": "tsk_082c20106543ba7fe1c723bfff037ccf",
    "draw_id": "drw_26dae78613ae1a673f4283847372ea0e",
    "entrant": "20ffb55ffd1c9460aee3a1f253e65d94",
    "commitment": "eccc4aea39515c822e859e2091bbc9b62aecba5652406951cbf1fbef26af5ea5",
    "odds_digest": "01168f16c4a2ede75bf890a91f9e234cfd63ef32990257a77e6fc24327c53ff6",
    "d": "76e476aec268fe887b9ff7006da9e2c3b4605627235d08768fae82d282539e50",
    "r": 8567102884123573896,
    "counter": 0,
    "ticket": 573_896,
    "hit": None,
}
HALF = 2**63 + 1  # rejects nearly every second try


def test_the_worked_example_by_our_own_program():
    task = ids.task_id("u-1", "demo", 1)
    ticket, counter = sample.ticket(SEED, "demo-pool", 1, task, "3", 1_000_000)
    assert {
        "task_id": task,
        "draw_id": ids.draw_id(task, "3"),
        "entrant": ids.entrant("demo-pool", "u-1"),
        "commitment": sample.commitment("demo-pool", SEED),
        "odds_digest": sample.odds_digest(ODDS),
        "counter": counter,
        "ticket": ticket,
        "hit": sample.hit(ticket, WEIGHTS),
    } == {name: EXAMPLE[name] for name in EXAMPLE if name not in {"d", "r"}}


def test_the_worked_example_by_the_other_program():
    task = "tsk_" + fair.hashed_id("task", "u-1", "demo", "1")
    lines = ["leidan/draw/1", "demo-pool", "1", task, "3"]
    ticket, counter, d, r = fair.uniform(SEED, lines, 1_000_000)
    assert {
        "task_id": task,
        "draw_id": "drw_" + fair.hashed_id("draw", task, "3"),
        "entrant": fair.hashed_id("entrant", "demo-pool", "u-1"),
        "commitment": fair.commitment("demo-pool", SEED),
        "odds_digest": fair.odds_digest(ODDS),
        "d": d.hex(),
        "r": r,
        "counter": counter,
        "ticket": ticket,
        "hit": "top" if ticket < 100 else "five" if ticket < 20_100 else None,
    } == EXAMPLE


def test_a_draw_of_the_example_costs_eleven_minor_units_on_average():
    value = {"top": 10_000, "five": 500}
    assert sum(weight * value[prize_id] for prize_id, weight in WEIGHTS) == 11 * 1_000_000


@pytest.mark.parametrize(
    ("key", "line", "value", "counter"),
    [
        (SEED, "1", 8374688382990988329, 6),
        (SEED, "3", 6451697873560427556, 1),
        (None, "1", 500107999282839135, 1),
        (None, "10", 3094341278744958366, 4),
    ],
)
def test_what_would_favour_small_values_is_drawn_again(key, line, value, counter):
    assert sample.sample(key, ("leidan/test/1", line), HALF) == (value, counter)
    assert fair.uniform(key, ["leidan/test/1", line], HALF)[:2] == (value, counter)


WIDTHS = st.one_of(st.integers(1, 2**32), st.integers(2**62, 2**64), st.just(HALF))
LINES = st.lists(st.text(max_size=20), max_size=5)


@given(st.one_of(st.none(), st.binary(max_size=100)), LINES, WIDTHS)
def test_both_programs_agree(key, lines, width):
    value, counter = sample.sample(key, lines, width)
    assert (value, counter) == fair.uniform(key, lines, width)[:2]
    assert 0 <= value < width


@pytest.mark.parametrize(
    ("ticket", "prize"), [(0, "top"), (99, "top"), (100, "five"), (20_099, "five"), (20_100, None)]
)
def test_the_weights_are_walked_in_published_order(ticket, prize):
    assert sample.hit(ticket, WEIGHTS) == prize


def test_a_unit_waits_within_its_slot_and_not_at_all_where_there_is_none():
    delays = [sample.unit_delay_ms(SEED, "p", "top", unit, 1_000) for unit in range(50)]
    assert all(0 <= delay < 1_000 for delay in delays)
    assert len(set(delays)) > 25
    assert sample.unit_delay_ms(SEED, "p", "top", 0, 0) == 0
    lines = ["leidan/release/1", "p", "top", "7"]
    assert delays[7] == fair.uniform(SEED, lines, 1_000)[0]

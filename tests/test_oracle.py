"""The oracle itself, on miniatures small enough to count by hand."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import oracle
from tests.oracle import DATA, count

RULES = {
    "every": 3,
    "min_minor": 5000,
    "first_day": "2009-12-01",
    "days": 400,
    "daily_cap": 1,
    "max_cycles": 133,
}


def order(order_id: str, day: int, *lines: tuple[int, int], user: str | None = "u", hour: int = 9):
    return {
        "order_id": order_id,
        "customer_id": user,
        "at": f"2009-12-{day:02d}T{hour:02d}:00:00Z",
        "lines": [{"sku": "s", "qty": qty, "unit_price": price} for qty, price in lines],
    }


def returned(name: str, day: int, *lines: tuple, user: str | None = "u"):
    """Lines are (order_id, index, qty)."""
    return {
        "cancellation_id": name,
        "customer_id": user,
        "at": f"2009-12-{day:02d}T18:00:00Z",
        "lines": [
            {"sku": "s", "qty": qty, "unit_price": 1, "order_id": order_id, "line": index}
            for order_id, index, qty in lines
        ],
    }


def counted(orders: list, documents: list = [], **other) -> int:  # noqa: B006  never changed
    return count(orders, documents, **{**RULES, **other}).counted.get("u", 0)


DAYS = [order(f"o{day}", day, (10, 500)) for day in range(1, 8)]


def test_every_third_counted_day_earns_one_reward():
    outcome = count(DAYS, [], **RULES)
    assert outcome.counted == {"u": 7}
    assert outcome.rewards == {"u": 2}
    assert outcome.rewards_net == 2
    assert count(DAYS, [], **{**RULES, "every": 7}).rewards == {"u": 1}


def test_one_order_a_day_counts_and_a_spare_takes_the_place_of_a_returned_one():
    twice = [order("a", 1, (1, 5000)), order("b", 1, (1, 5000), hour=10)]
    assert counted(twice) == 1
    assert counted(twice, [returned("C1", 2, ("a", 0, 1))]) == 1
    assert counted(twice, daily_cap=0) == 2
    assert counted(twice, daily_cap=2) == 2


def test_what_is_left_after_returns_must_reach_the_minimum():
    orders = [order("a", 1, (10, 500), (2, 100))]
    assert counted(orders, [returned("C1", 2, ("a", 1, 2))]) == 1  # 50.00 left
    assert counted(orders, [returned("C1", 2, ("a", 0, 1))]) == 0  # 47.00 left
    assert counted(orders, min_minor=5201) == 0


def test_returns_of_one_line_add_up_and_are_capped_at_what_was_bought():
    orders = [order("a", 1, (3, 1000), (1, 5000))]
    twice = [returned("C1", 2, ("a", 0, 2), ("a", 0, 2)), returned("C2", 3, ("a", 0, 2))]
    assert counted(orders, twice) == 1
    assert counted(orders, twice, min_minor=5001) == 0


def test_an_order_all_back_is_cancelled_even_without_a_minimum():
    orders = [order("a", 1, (1, 0), (2, 300))]
    assert counted(orders, [returned("C1", 2, ("a", 1, 2))], min_minor=0) == 1
    assert counted(orders, [returned("C1", 2, ("a", 0, 1), ("a", 1, 2))], min_minor=0) == 0


def test_what_names_no_order_of_this_customer_touches_nothing():
    orders = [order("a", 1, (1, 5000))]
    for document in (
        returned("C1", 2, (None, None, 1)),
        returned("C1", 2, ("elsewhere", 0, 1)),
        returned("C1", 2, ("a", 7, 1)),
        returned("C1", 2, ("a", 0, -1)),
        returned("C1", 2, ("a", 0, 1), user="somebody else"),
        returned("C1", 2, ("a", 0, 1), user=None),
    ):
        assert counted(orders, [document]) == 1


def test_a_return_dated_before_its_order_acts_for_sixty_days():
    late = order("a", 31, (1, 5000))
    assert counted([late], [returned("C1", 1, ("a", 0, 1))]) == 0
    assert counted([{**late, "at": "2010-01-30T18:00:00Z"}], [returned("C", 1, ("a", 0, 1))]) == 0
    assert counted([{**late, "at": "2010-01-30T18:01:00Z"}], [returned("C", 1, ("a", 0, 1))]) == 1


def test_guests_are_counted_and_earn_nothing():
    outcome = count([order("g", 1, (9, 9000), user=None)], [], **RULES)
    assert (outcome.guests, outcome.counted, outcome.tasks) == (1, {}, frozenset())


def test_an_id_seen_again_is_not_a_second_order():
    assert counted([order("a", 1, (1, 5000)), order("a", 2, (1, 5000))]) == 1
    document = returned("C1", 2, ("a", 0, 1))
    assert counted([order("a", 1, (2, 5000))], [document, document]) == 1


def test_the_window_is_half_open_and_the_cycles_are_bounded():
    assert counted(DAYS, first_day="2009-12-02", days=3) == 3
    assert counted(DAYS, max_cycles=1) == 3


def test_a_task_begins_with_an_order_that_counted_when_it_was_placed():
    outcome = count(DAYS[:1], [returned("C1", 2, ("o1", 0, 10))], **RULES)
    assert (outcome.counted, outcome.tasks) == ({"u": 0}, frozenset({"u"}))


def test_the_oracle_imports_nothing_of_what_it_judges():
    tree = ast.parse(Path(oracle.__file__).read_text(encoding="utf-8"))
    names = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    names += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    assert "json" in names
    assert not [name for name in names if name.split(".")[0] == "streams"]


@pytest.mark.skipif(not DATA.exists(), reason=f"needs the shared data set {DATA.name}")
def test_the_real_year():
    """Figures found once by hand-checked code; they move only if the rules or the files do."""
    outcome = oracle.oracle(DATA)
    assert (outcome.orders, outcome.documents) == (22_100, 4_592)
    assert (outcome.guests, outcome.guest_returns) == (2_885, 219)
    assert (len(outcome.counted), len(outcome.tasks)) == (4_314, 4_250)
    assert sum(outcome.counted.values()) == 16_310
    assert outcome.rewards_net == 3_896

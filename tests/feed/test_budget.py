"""The dead-letter budget: just below it goes on, just above it stops (ecosystem.md 1)."""

from __future__ import annotations

import pytest

from streams.errors import DeadLetterBudgetSpent, Exit
from streams.feed.budget import Budget


def after(budget: Budget, pattern: str, begin: int = 0) -> Budget:
    """``pattern``: one letter a record, x is dead."""
    dead = {begin + n for n, letter in enumerate(pattern) if letter == "x"}
    return budget.after("orders", 0, range(begin, begin + len(pattern)), dead)


def test_half_of_a_hundred_is_within_and_one_more_is_not():
    after(Budget(), ".x" * 50)
    with pytest.raises(DeadLetterBudgetSpent, match="51 of the last 100") as spent:
        after(Budget(), ".x" * 49 + "xx")
    assert spent.value.exit is Exit.DEAD_LETTERS


def test_fewer_than_a_hundred_records_say_nothing():
    after(Budget(), "x" * 99)


def test_199_in_a_row_are_within_and_200_are_not():
    alive = after(Budget(), "." * 1_000)
    assert after(alive, "x" * 199, 1_000)
    with pytest.raises(DeadLetterBudgetSpent, match="200 records in a row"):
        after(alive, "x" * 200, 1_000)


def test_only_the_last_thousand_count():
    old = after(Budget(), ".x" * 200)
    better = after(old, "." * 900, 400)
    after(better, ".x" * 400, 1_300)


def test_one_in_a_row_across_batches_is_still_in_a_row():
    budget = after(Budget(), "." * 1_000)
    budget = after(budget, "x" * 150, 1_000)
    with pytest.raises(DeadLetterBudgetSpent):
        after(budget, "x" * 50, 1_150)


def test_a_dropped_batch_is_not_counted():
    budget = after(Budget(), "." * 1_000)
    after(budget, "x" * 150, 1_000)  # dropped: its transaction was aborted
    after(budget, "x" * 150, 1_000)
    after(budget, "x" * 150, 1_000)


def test_the_real_years_guests_are_within():
    after(Budget(), ("." * 7 + "x") * 2_500)  # 13 percent

"""The scale benchmark runs, small: its figures mean nothing, that it measures what it says does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams.store.overlay import StateCache
from streams.store.states import CODEC
from tests.bench import population, scale
from tests.bench.population import Folder, Moulds, Orders, coming, definitions
from tests.feed.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

ORDERS = Orders(seed=7)


@pytest.mark.parametrize(("campaigns", "history"), [(1, 5), (3, 20)])
def test_a_row_made_from_a_mould_is_the_one_that_its_orders_fold_to(campaigns, history):
    moulds = Moulds(ORDERS, definitions(campaigns), history)
    for user in (3, population.SAMPLE + 3, 4_567_890):
        row = moulds.row(user)
        assert row == moulds.folded(user)
        state = CODEC.decode(Orders.key(user).decode(), row)
        assert (state.facts.count, len(state.tasks)) == (history, campaigns)


def test_every_order_that_comes_is_news_and_is_looked_at_by_each_campaign():
    """Else the legs would measure duplicates, or orders behind the campaigns' end."""
    rows, moulds = MemoryStore().open(0), Moulds(ORDERS, definitions(2), history=5)
    rows.write(
        {Orders.key(user): moulds.row(user) for user in range(50)},
        next_offsets=None, changelog=0, batch=0,
    )  # fmt: skip
    folder = Folder([rows], definitions(2), [StateCache()])
    for turn in range(2):
        for unit in coming(
            ORDERS, users=50, events=100, skewed=False, seed=1, partitions=1, turn=turn
        ):
            folder.fold(unit)
    keys = [Orders.key(user) for user in range(50)]
    found = zip(keys, rows.get_many(keys), strict=True)
    states = [CODEC.decode(key.decode(), row or b"") for key, row in found]
    assert sum(state.version for state in states) == 50 * 5 + 200
    counted = [[task.counted for task in state.tasks] for state in states]
    assert all(one == two > 0 for one, two in counted)
    assert sum(one for one, _ in counted) > 50 * 5, "hardly any of the new orders counts"


def test_a_leg_tells_figures_of_its_own_process_and_disk(tmp_path: Path) -> None:
    leg = scale.Leg("users", 300, campaigns=2, partitions=2, skew="skewed")
    (once,) = scale.run([leg], tmp_path, events=500, rounds=1, say=print)
    assert once["events"] == 500
    assert once["cpu_us"] >= once["thread_us"] > once["fold_us"] > 0
    assert 500 < once["row_bytes"] < 9_000
    assert once["compacted_bytes_per_user"] < once["row_bytes"]
    assert 20 < once["rss_mb"] < 1_000


def test_the_digest_hangs_on_the_orders_and_not_on_how_they_were_cut(monkeypatch):
    def digest(unit: int, seed: int) -> str:
        monkeypatch.setattr(population, "UNIT", unit)
        folder = Folder([MemoryStore().open(0)], definitions(1), [StateCache()])
        for one in coming(ORDERS, users=20, events=300, skewed=True, seed=seed, partitions=1):
            folder.fold(one)
        return folder.digest.hexdigest()

    assert digest(300, seed=1) == digest(7, seed=1) != digest(7, seed=2)


def leg(users: int, **told: float) -> dict[str, object]:
    fine = {"events_per_s": 100, "cpu_us": 10, "rss_mb": 1, "compacted_bytes_per_user": 1}
    said = {"of": "users", "skew": "uniform", "users": users, "disk_bytes_per_user": 1}
    return {**fine, **said, **told}


def test_figures_are_told_beside_their_targets_and_what_is_missed_is_said():
    few, many = leg(10_000), leg(5_000_000, events_per_s=61)
    assert "  target (0.6): met" in list(scale.compared([many, few]))
    few_again = leg(10_000, events_per_s=110)
    assert "  target (0.6): MISSED" in list(scale.compared([few, few_again, few_again, many]))
    large = leg(1_000_000, rss_mb=701, compacted_bytes_per_user=369, disk_bytes_per_user=462)
    assert list(scale.compared([large]))[1:] == [
        "  target (under 700 MiB): MISSED",
        "  target (under 400 bytes): at rest met, as it stands MISSED",
    ]

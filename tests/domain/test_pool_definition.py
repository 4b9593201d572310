"""Pools and changes as an operator writes them: what comes out, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from streams.domain.campaign import Killed, Right, Stopped
from streams.domain.definition import READERS, TYPES, definition_from, label
from streams.domain.pool import (
    BudgetAdded,
    Odds,
    OddsAdded,
    Pool,
    PoolClosed,
    Prize,
    ReleasePacing,
    Restocked,
    Weight,
)
from tests.builders import change, odds, pool, shelf

FIVE = {"right_id": "rp-5", "type": "red_packet", "value_minor": 500}
BANKED = {"right_id": "b", "type": "cash", "value": "saved_amount"}
SUPPLIED = {**FIVE, "supply": "shelf"}


def prize(**fields: Any) -> dict[str, Any]:
    return {"prize_id": "five", "right": FIVE, "stock": 1, **fields}


def test_a_lottery_comes_out_as_it_was_written():
    written = pool(fallback=FIVE, reveal_after_hours=72)
    found, said = definition_from(written)
    assert said == []
    assert isinstance(found, Pool)
    right = Right("rp-5", "red_packet", 500)
    top = Right("rp-100", "red_packet", 10_000)
    assert found.prizes == (
        Prize("top", top, 31, 1, ReleasePacing("even", jitter=True)),
        Prize("five", right, 2000),
    )
    assert found.odds == (Odds(1, 1_000_000, (Weight("top", 100), Weight("five", 20_000))),)
    assert (found.pool_id, found.kind, found.currency) == ("wheel", "lottery", "CNY")
    assert (found.budget_minor, found.fallback) == (2_000_000, right)
    assert found.reveal_after_ms == 72 * 3_600_000
    assert found.closes_at_ms is not None
    assert found.effective_from_ms < found.opens_at_ms < found.closes_at_ms
    assert found.prize("five") == Prize("five", right, 2000)
    assert found.prize("car") is None
    assert found.definition == written, "what draw.committed publishes"


def test_a_pool_of_rights_is_open_from_its_first_instant_and_for_good():
    found, said = definition_from(shelf(units=7))
    assert said == []
    assert isinstance(found, Pool)
    assert (found.kind, found.stock, found.budget_minor) == ("rights", {"mug": 7}, None)
    assert (found.opens_at_ms, found.closes_at_ms) == (found.effective_from_ms, None)


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        (pool(kind="wheel"), "kind: 'wheel' is none of lottery, rights"),
        (pool(colour="red"), "colour: unknown field"),
        (pool(pool_id="budget:x"), "pool_id: 'budget:x' does not match"),
        (pool(commitment="AB" * 32), "does not match [0-9a-f]{64}"),
        (pool(commitment=None), "commitment: is required"),
        (pool(opens_at="2025-12-29T00:00:00+08:00"), "opens_at: before effective_from"),
        (pool(closes_at="2026-01-01T00:00:00+08:00"), "closes_at: not after opens_at"),
        (pool(stock=[{"right_id": "mug", "units": 1}]), "stock: unknown field"),
        (pool(prizes=[]), "prizes: must not be empty"),
        (pool(prizes=[prize(), prize()]), "prizes: five twice"),
        (pool(prizes=[prize(stock=0)]), "prizes[0].stock: 0 is outside 1.."),
        (pool(prizes=[prize(max_per_user=0)]), "prizes[0].max_per_user: 0 is outside 1.."),
        (pool(prizes=[prize(release={"kind": "odd"})]), "prizes[0].release.kind: 'odd' is none"),
        (
            pool(prizes=[prize(release={"kind": "even", "jitter": 1})]),
            "prizes[0].release.jitter: must be true or false",
        ),
        (pool(prizes=[prize(right=BANKED)]), "prizes have a fixed value"),
        (pool(prizes=[prize(right=SUPPLIED)]), "prizes[0].right.supply: not here"),
        (pool(fallback=SUPPLIED), "fallback.supply: not here"),
        (pool(fallback={**FIVE, "fallback": FIVE}), "fallback.fallback: rp-5 twice"),
        (pool(prizes=[prize(right={**FIVE, "fallback": FIVE})]), "right.fallback: rp-5 twice"),
        (pool(odds=[]), "odds: must not be empty"),
        (pool(odds=[odds(2, five=1)]), "odds[0]: version 2 must follow 0"),
        (pool(odds=[odds(1, car=1)]), "odds[0]: unknown prize 'car'"),
        (pool(odds=[odds(1)]), "odds[0].weights: must not be empty"),
        (pool(odds=[odds(1, five=0)]), "odds[0].weights[0].weight: 0 is outside 1.."),
        (
            pool(odds=[odds(1, five=1_000_000, top=1)]),
            "odds[0].weights: 1000001 of 1000000 is more than all",
        ),
        (pool(odds=[odds(1, 999_999, five=1)]), "denominator: 999999 is outside 1000000.."),
        (pool(odds=[odds(1, 2**32 + 1, five=1)]), f"is outside 1000000..{2**32}"),
        (shelf(stock=[]), "stock: must not be empty"),
        (shelf(stock=None), "stock: is required"),
        (shelf(stock=[{"right_id": "mug", "units": 1}] * 2), "stock: mug twice"),
        (shelf(odds=[odds(1, five=1)]), "odds: unknown field"),
        (shelf(closes_at="2025-12-30T00:00:00+08:00"), "closes_at: not after opens_at"),
        (change("pool.closed"), "pool_id: is required"),
        (change("pool.closed", pool_id="wheel", v=2), "v: 2 is outside 1..1"),
        (change("pool.odds_added", pool_id="wheel"), "odds: is required"),
        (change("pool.restocked", pool_id="wheel", stock=[{"units": 1}]), "prize_id: is required"),
        (
            change(
                "pool.restocked",
                pool_id="wheel",
                stock=[{"prize_id": "a", "right_id": "b", "units": 1}],
            ),
            "stock[0].right_id: unknown field",
        ),
        (change("budget.added", pool_id="wheel"), "amount_minor: is required (or max_tasks)"),
        (change("budget.added", pool_id="purse:x", amount_minor=1), "pool_id: 'purse:x' does not"),
        (change("campaign.stopped"), "campaign_id: is required"),
        (
            change("campaign.killed", campaign_id="three", compensation=BANKED),
            "compensation.value: a compensation has a fixed value",
        ),
        (change("pool.close", pool_id="wheel"), "type: 'pool.close' is none of"),
        (change("", pool_id="wheel"), "type: '' is none of"),
    ],
)
def test_an_unclear_pool_or_change_is_refused_and_says_why(definition, problem):
    found, said = definition_from(definition)
    assert found is None
    assert any(problem in one for one in said), said


AT_MS = 1_773_072_000_000  # 2026-03-10T00:00:00+08:00
SORRY = {"right_id": "sorry", "type": "coupon", "value_minor": 100}


@pytest.mark.parametrize(
    ("definition", "record", "called"),
    [
        (
            change("pool.odds_added", pool_id="wheel", odds=odds(2, five=1)),
            OddsAdded("wheel", AT_MS, Odds(2, 1_000_000, (Weight("five", 1),))),
            "pool.odds_added of wheel",
        ),
        (
            change(
                "pool.restocked",
                pool_id="wheel",
                stock=[{"prize_id": "top", "units": 5}, {"right_id": "mug", "units": 6}],
            ),
            Restocked("wheel", AT_MS, {"top": 5, "mug": 6}),
            "pool.restocked of wheel",
        ),
        (
            change("budget.added", pool_id="budget:three", amount_minor=5, max_tasks=6),
            BudgetAdded("budget:three", AT_MS, 5, 6),
            "budget.added of budget:three",
        ),
        (
            change("pool.closed", pool_id="wheel"),
            PoolClosed("wheel", AT_MS),
            "pool.closed of wheel",
        ),
        (
            change("campaign.stopped", campaign_id="three"),
            Stopped("three", AT_MS),
            "campaign.stopped of three",
        ),
        (
            change("campaign.killed", campaign_id="three", compensation=SORRY),
            Killed("three", AT_MS, Right("sorry", "coupon", 100)),
            "campaign.killed of three",
        ),
    ],
)
def test_a_change_comes_out_as_it_was_written(definition, record, called):
    assert definition_from(definition) == (record, [])
    assert label(record) == called


def test_every_record_that_is_read_has_a_name():
    assert set(TYPES.values()) == set(READERS)

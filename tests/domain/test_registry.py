"""What a definition may name: pools, odds, budgets, and campaigns that ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from streams.domain.definition import definition_from
from streams.domain.pool import BudgetAdded, PoolClosed, Restocked
from streams.domain.pool_history import Unfit
from streams.domain.registry import Campaigns
from tests.builders import CLOSING, campaign, chances, change, millis, odds, pool, shelf
from tests.given import registry

LIGHT = ["light_box", "full_link"]
MUG = {"right_id": "mug", "type": "physical", "value_minor": 700, "supply": "shelf"}
RESTOCK = change("pool.restocked", pool_id="wheel", stock=[{"prize_id": "top", "units": 5}])
MORE = change("budget.added", pool_id="budget:three", amount_minor=100)


def first(day: str) -> str:
    """The first instant of a day of the year."""
    return f"2026-{day}T00:00:00+08:00"


def spin(**fields: Any) -> dict[str, Any]:
    lottery = {"features": [*LIGHT, "lottery"], "lottery": chances(2), "claim": CLOSING}
    return campaign(**{**lottery, **fields})


def budgeted(**fields: Any) -> dict[str, Any]:
    return campaign(**{"budget": {"amount_minor": 5000}, **fields})


def refused(known: list[dict[str, Any]], definition: dict[str, Any]) -> list[str]:
    """Return what is said of a clear definition that comes after the known ones."""
    record, problems = definition_from(definition)
    assert record is not None, problems
    campaigns = registry(*known)
    with pytest.raises(Unfit) as unfit:
        campaigns.with_record(record)
    return unfit.value.problems


# --- a campaign and the pools it names ----------------------------------------------------------


def test_a_campaign_may_draw_from_a_pool_that_outlives_its_windows():
    campaigns = registry(pool(), spin())
    assert campaigns.in_force("three", 2**45) is not None
    assert campaigns.pool("wheel") is not None
    assert campaigns.pool("nowhere") is None


@pytest.mark.parametrize(
    ("known", "definition", "problem"),
    [
        ([], spin(), "pool wheel: is unknown"),
        ([shelf(pool_id="wheel")], spin(), "pool wheel: is no lottery"),
        (
            [pool()],
            spin(lottery=chances(2, odds_version=2)),
            "pool wheel: odds version 2 is unknown",
        ),
        ([pool(currency="JPY")], spin(), "pool wheel: pays JPY, the campaign CNY"),
        (
            [pool(opens_at="2026-01-02T00:00:00+08:00")],
            spin(),
            f"pool wheel: opens too late: {first('01-02')}, tasks from {first('01-01')} on",
        ),
        (
            [pool(closes_at="2026-05-09T00:00:00+08:00")],
            spin(),
            f"pool wheel: closes before the last window: {first('05-09')}, {first('05-10')}",
        ),
        (
            [pool(closes_at="2026-05-10T00:00:00+08:00")],
            spin(variants=[{"segment": "slow", "days": 11}]),
            f"pool wheel: closes before the last window: {first('05-10')}, {first('05-11')}",
        ),
        (
            [pool()],
            spin(claim=None),
            f"pool wheel: closes at {first('06-01')}, claims never: set claim.closes_at",
        ),
        (
            [pool(), change("pool.closed", pool_id="wheel")],
            spin(),
            f"pool wheel: closes before the last window: {first('03-10')}, {first('05-10')}",
        ),
        (
            [pool(), change("pool.odds_added", pool_id="wheel", odds=odds(2, five=1))],
            spin(lottery=chances(2, odds_version=2)),
            f"pool wheel: odds version 2 begins at {first('03-10')}",
        ),
        ([], campaign(final_rewards=[MUG]), "pool shelf: is unknown"),
        (
            [shelf(stock=[{"right_id": "cup", "units": 1}])],
            campaign(final_rewards=[MUG]),
            "pool shelf: has no 'mug'",
        ),
        (
            [pool(pool_id="shelf")],
            campaign(final_rewards=[MUG], claim=CLOSING),
            "pool shelf: is no pool of rights",
        ),
        (
            [],
            campaign(variants=[{"segment": "new", "final_rewards": [MUG]}]),
            "pool shelf: is unknown",
        ),
    ],
)
def test_a_pool_that_cannot_serve_a_campaign_is_refused_by_its_name(known, definition, problem):
    assert refused(known, definition) == [problem]


def test_the_pool_of_a_fixed_window_must_last_to_its_end():
    window = {"mode": "fixed", "first_day": "2026-05-01", "days": 31}
    until = registry(pool(closes_at="2026-06-01T00:00:00+08:00"), spin(window=window, claim=None))
    assert len(until) == 1
    assert refused([pool(closes_at="2026-05-31T23:59:59+08:00")], spin(window=window)) == [
        f"pool wheel: closes before the last window: 2026-05-31T23:59:59+08:00, {first('06-01')}"
    ]


def test_a_campaign_that_fits_nothing_is_told_everything_at_once():
    lost = spin(version=2, final_rewards=[MUG])
    assert refused([pool(currency="JPY")], lost) == [
        "version 2 must follow 0",
        "pool wheel: pays JPY, the campaign CNY",
        "pool shelf: is unknown",
    ]


# --- changes of a pool --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        (change("pool.closed", pool_id="nowhere"), "pool nowhere: is unknown"),
        ({**RESTOCK, "effective_from": "2025-12-30T00:00:00+08:00"}, "pool wheel: not after"),
        ({**RESTOCK, "effective_from": "2026-06-01T00:00:00+08:00"}, "pool wheel: is closed from"),
        (
            {**RESTOCK, "stock": [{"prize_id": "car", "units": 1}]},
            "pool wheel: has no 'car'",
        ),
        (
            change("pool.odds_added", pool_id="wheel", odds=odds(3, five=1)),
            "pool wheel: version 3 must follow 1",
        ),
        (
            change("pool.odds_added", pool_id="wheel", odds=odds(2, car=1)),
            "pool wheel: has no 'car'",
        ),
        (
            change("pool.odds_added", pool_id="shelf", odds=odds(2, five=1)),
            "pool shelf: is no lottery",
        ),
        (
            change("budget.added", pool_id="shelf", amount_minor=1),
            "pool shelf: has no budget to add to",
        ),
        (
            change("budget.added", pool_id="budget:three", max_tasks=1),
            "pool budget:three: has no max_tasks to add to",
        ),
        (pool(reveal_after_hours=1), "pool wheel: is defined already"),
    ],
)
def test_a_change_that_its_pool_cannot_take_is_refused(definition, problem):
    (said,) = refused([pool(), shelf(), budgeted()], definition)
    assert said.startswith(problem)


def test_changes_stand_in_the_order_in_which_they_take_effect():
    later = {**RESTOCK, "effective_from": first("03-12")}
    closed = change("pool.closed", pool_id="wheel", effective_from=first("03-13"))
    campaigns = registry(pool(), closed, later, RESTOCK)
    changes = campaigns.pool_changes("wheel")
    assert [type(one) for one in changes] == [Restocked, Restocked, PoolClosed]
    starts = [one.effective_from_ms for one in changes]
    assert starts == sorted(starts)
    assert campaigns.pool_changes("shelf") == ()


def test_of_two_changes_at_one_instant_the_first_in_the_log_comes_first():
    more = {**RESTOCK, "stock": [{"prize_id": "five", "units": 9}]}
    changes = registry(pool(), RESTOCK, more).pool_changes("wheel")
    assert [one.units for one in changes if isinstance(one, Restocked)] == [{"top": 5}, {"five": 9}]


def test_a_pool_ends_when_it_is_closed_and_else_as_defined():
    early = change("pool.closed", pool_id="wheel", effective_from=first("03-13"))
    earlier = change("pool.closed", pool_id="wheel", effective_from=first("03-12"))
    closing = [registry(pool(), *closed) for closed in ([], [early], [early, earlier])]
    ends = [known.pool_closes_ms("wheel") for known in closing]
    assert ends == [
        millis(datetime.fromisoformat(first(day))) for day in ("06-01", "03-13", "03-12")
    ]
    assert registry(shelf()).pool_closes_ms("shelf") is None


def test_a_change_that_is_known_already_is_held_and_any_other_is_not():
    campaigns = registry(pool(), RESTOCK, budgeted(), MORE, change("campaign.stopped", **THREE))
    for definition in (pool(), RESTOCK, budgeted(), MORE, change("campaign.stopped", **THREE)):
        record, _ = definition_from(definition)
        assert record is not None
        assert campaigns.holds(record)
        when = record.effective_from_ms + 1
        assert not campaigns.holds(msgspec.structs.replace(record, effective_from_ms=when))


def test_added_odds_are_found_by_their_version():
    campaigns = registry(pool(), change("pool.odds_added", pool_id="wheel", odds=odds(2, five=7)))
    first, second = campaigns.odds("wheel", 1), campaigns.odds("wheel", 2)
    assert first is not None
    assert second is not None
    assert [weight.weight for weight in second.weights] == [7]
    assert campaigns.odds("wheel", 3) is None
    assert campaigns.odds("nowhere", 1) is None


# --- budgets ------------------------------------------------------------------------------------


def test_a_budget_is_a_pool_of_the_campaign_and_grows_by_what_is_added():
    campaigns = registry(budgeted(budget={"amount_minor": 5000, "max_tasks": 3}), MORE)
    made = campaigns.pool("budget:three")
    assert made is not None
    assert (made.kind, made.currency, made.budget_minor, made.max_tasks) == (
        "budget", "CNY", 5000, 3
    )  # fmt: skip
    (added,) = campaigns.pool_changes("budget:three")
    assert added == BudgetAdded("budget:three", added.effective_from_ms, 100, 0)


def test_a_campaign_without_a_budget_has_no_such_pool():
    assert registry(campaign()).pool("budget:three") is None


def test_the_next_version_repeats_the_budget_since_both_draw_on_one_pool():
    again = {"version": 2, "effective_from": "2026-02-01T00:00:00+08:00"}
    known = [budgeted()]
    assert len(registry(*known, budgeted(**again))) == 2
    for other in ({"amount_minor": 6000}, None):
        assert refused(known, budgeted(**again, budget=other)) == [
            "pool budget:three: is defined already: repeat the budget, or add to it"
        ]


# --- stop and kill ------------------------------------------------------------------------------

THREE = {"campaign_id": "three"}
COMPENSATION = {"right_id": "sorry", "type": "coupon", "value_minor": 100}


def test_a_campaign_is_stopped_from_its_stop_on_and_killed_with_what_compensates():
    stop = change("campaign.stopped", **THREE)
    kill = change("campaign.killed", **THREE, compensation=COMPENSATION)
    plain, stopped, killed = registry(campaign()), registry(campaign(), stop), registry(
        campaign(), stop, {**kill, "effective_from": "2026-03-20T00:00:00+08:00"}
    )  # fmt: skip
    assert (plain.stopped_at("three"), plain.killed_at("three")) == (None, None)
    at_ms = stopped.stopped_at("three")
    assert at_ms is not None
    assert stopped.killed_at("three") is None
    found = killed.killed_at("three")
    assert found is not None
    assert found.compensation is not None
    assert (found.compensation.right_id, found.at_ms) == ("sorry", at_ms + 10 * 86_400_000)
    assert killed.stopped_at("three") == at_ms


def test_a_killed_campaign_is_stopped():
    campaigns = registry(campaign(), change("campaign.killed", **THREE))
    killed = campaigns.killed_at("three")
    assert killed is not None
    assert campaigns.stopped_at("three") == killed.at_ms


@pytest.mark.parametrize(
    ("known", "definition", "problem"),
    [
        ([], change("campaign.stopped", **THREE), "campaign three: is unknown"),
        (
            [campaign(), change("campaign.stopped", **THREE)],
            change("campaign.stopped", **THREE, effective_from="2026-04-01T00:00:00Z"),
            "campaign three: is stopped already",
        ),
        (
            [campaign(), change("campaign.killed", **THREE)],
            campaign(version=2, effective_from="2026-04-01T00:00:00Z"),
            "is killed from 2026-03-10T00:00:00+08:00",
        ),
    ],
)
def test_what_ended_is_not_ended_or_defined_again(known, definition, problem):
    assert refused(known, definition) == [problem]


def test_a_registry_is_never_changed():
    before = registry(pool(), campaign())
    record, _ = definition_from(RESTOCK)
    assert record is not None
    after = before.with_record(record)
    assert before.pool_changes("wheel") == ()
    assert len(after.pool_changes("wheel")) == 1
    assert isinstance(after, Campaigns)

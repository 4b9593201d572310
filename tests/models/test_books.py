"""The books by the table of section 7, and their fixtures of section 10."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.models.given import USER, campaign, cancel, claim, event, order, withdraw
from tests.models.ids import reward_id, task_id
from tests.models.replay import Replay

if TYPE_CHECKING:
    from tests.models.books import Books

FIRST = [claim(), order("o1", 1)]
ONE = [{"step": 1, "right": {"right_id": "rp-1", "type": "red_packet", "value_minor": 100}}]
RP_1 = reward_id(task_id(USER, "c", 1), "1", "step", "rp-1")


def said(outcome: str, seq: int = 1, name: str = RP_1, **more: object) -> dict:
    return event(
        "reward.result",
        5,
        result_id=f"{name}-{seq}-{outcome}",
        reward_id=name,
        seq=seq,
        outcome=outcome,
        **more,
    )


def books(events: list[dict], *definitions: dict, **fields: object) -> Books:
    one = campaign(step_rewards=ONE, results="required", **fields)
    return Replay(USER, list(definitions) or [one]).read(events).books


def stands(found: Books, name: str = RP_1) -> tuple[str, int, int]:
    reward = found.rewards[name]
    return reward.state, reward.seq, reward.owed


def test_a_command_waits_for_its_answer_and_a_retryable_failure_is_the_same_command():
    assert stands(books(FIRST)) == ("issuing", 1, 0)
    assert stands(books([*FIRST, said("failed", retryable=True)])) == ("issuing", 1, 0)
    assert stands(books([*FIRST, said("issued")])) == ("issued", 1, 0)


def test_22_a_failure_for_good_makes_the_fallback_due():
    ten = {"right_id": "ten", "type": "points", "value_minor": 10}
    right = {**ONE[0]["right"], "fallback": ten}
    softer = campaign(step_rewards=[{"step": 1, "right": right}], results="required")
    found = books([*FIRST, said("failed")], softer)
    assert stands(found) == ("void", 1, 0)
    assert stands(found, reward_id(task_id(USER, "c", 1), "1", "step", "ten")) == ("issuing", 1, 0)


SPENT = [*FIRST, said("issued"), said("spent")]


def test_30_a_spent_step_cancelled_is_a_debt_that_another_tasks_reward_pays():
    two = {"right_id": "rp-9", "type": "cash", "value_minor": 200}
    other = campaign("d", step_rewards=[{"step": 1, "right": two}])
    events = [*SPENT, cancel("o1", 3), claim("k-2", 4, campaign_id="d"), order("o4", 4, "13:00:00")]
    short = campaign(step_rewards=ONE, results="required", window={"days": 2})
    found = books(events, short, other)
    assert stands(found) == ("debt", 1, 0)
    issued = [record for record in found.records if record.type == "issued"][-1]
    assert (issued.paid, issued.offset) == (100, 100)
    assert found.balances() == {"reserved": -200, "issued": 100, "spent": 100}


def test_31_a_debt_due_again_is_spent_and_nothing_is_paid():
    owed = [*SPENT, cancel("o1", 3)]
    assert stands(books(owed)) == ("debt", 1, 100)
    for regain in (order("o4", 4), withdraw("x-o1", 4)):
        found = books([*owed, regain])
        assert stands(found) == ("spent", 1, 0)
        assert [record.type for record in found.records].count("issued") == 1


def test_a_debt_over_the_cap_is_written_off_at_once_and_restored_whole():
    found = books([*SPENT, cancel("o1", 3)], debt_cap_minor=30)
    assert found.balances() == {"reserved": -100, "debt": 30, "written_off": 70}
    again = books([*SPENT, cancel("o1", 3), order("o4", 4)], debt_cap_minor=30)
    assert again.balances() == {"reserved": -100, "spent": 100}


def test_43_regained_while_revoking_then_revoke_failed_is_spent_without_a_second_issue():
    found = books([*FIRST, cancel("o1", 2), order("o3", 3), said("revoke_failed", 2)])
    assert stands(found) == ("spent", 2, 0)
    again = books([*FIRST, cancel("o1", 2), order("o3", 3), said("revoked", 2)])
    assert stands(again) == ("issuing", 3, 0)


def test_a_lapsed_reward_is_never_issued_again():
    lapsed = [*FIRST, said("issued"), said("expired")]
    assert stands(books([*lapsed, cancel("o1", 3), order("o4", 4)])) == ("void", 1, 0)


def test_a_physical_right_is_taken_back_until_it_is_issued():
    mug = {"right_id": "mug", "type": "physical", "value_minor": 100}
    one = campaign(step_rewards=[{"step": 1, "right": mug}], results="required")
    name = reward_id(task_id(USER, "c", 1), "1", "step", "mug")
    assert stands(books([*FIRST, cancel("o1", 2)], one), name) == ("revoking", 2, 0)
    kept = [*FIRST, said("issued", name=name), cancel("o1", 2)]
    assert stands(books(kept, one), name) == ("issued", 1, 0)


def test_a_reward_waits_for_its_release_and_for_its_collection():
    released = campaign(step_rewards=ONE, release={"on": "fulfilled"})
    assert stands(books(FIRST, released)) == ("due", 0, 0)
    picked_up = [*FIRST, order("o1", 2, kind="fulfilled", version=2)]
    assert stands(books(picked_up, released)) == ("issued", 1, 0)
    manual = campaign(step_rewards=ONE, collect="manual", collect_days=2)
    assert stands(books(FIRST, manual)) == ("due", 0, 0)
    for day, state in ((2, "issued"), (3, "due")):  # half open: the third day is too late
        taken = event("reward.collected", day, claim_id="g", reward_id=RP_1)
        assert stands(books([*FIRST, taken], manual))[0] == state


def test_a_review_of_an_order_holds_what_rests_on_it():
    review = event("risk.verdict", 1, cancellation_id="v", order_id="o1", verdict="review")
    clear = event("risk.verdict", 3, cancellation_id="w", order_id="o1", verdict="clear")
    one = campaign(step_rewards=ONE)
    assert stands(books([review, *FIRST], one)) == ("due", 0, 0)
    assert stands(books([review, *FIRST, clear], one)) == ("issued", 1, 0)

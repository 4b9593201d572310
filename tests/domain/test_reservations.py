"""Budgets and supplies: pending until granted, dropped when denied, honoured in flight."""

from __future__ import annotations

import pytest

from streams.domain import asks, ids, reservations
from streams.domain.campaign import Right
from streams.domain.events import Tick
from streams.domain.fold import Outcome
from streams.domain.ledger import Due
from streams.domain.state import unpack_ledger
from streams.domain.view import state_of
from tests.asking import BUDGET, answer, asked, tick, user, ware, with_budget
from tests.builders import (
    USER,
    at,
    campaign,
    cancel,
    claim,
    leave,
    millis,
    order,
    refund,
    result,
    withdraw,
)
from tests.builders import tick as clock
from tests.given import registry
from tests.shared_pools import Shop

THREE = campaign()
WORST = 1100  # 100 + 200 + 300 + 500
FULL = f"pool.reserve {BUDGET} {WORST}"
SET_ASIDE = f"reserved {WORST}"


def pending(*events, definition=THREE):
    return user(with_budget(definition), claim(), *events)


def granted(*events, definition=THREE):
    known = user(with_budget(definition), claim())
    return known.when(answer(asked(known)[0], "granted"), *events)


def test_a_claim_reserves_its_worst_case_and_is_pending():
    known = pending().then(FULL)
    assert state_of(known.task()) == "pending"
    body = asked(known)[0].body
    assert (body["cause_id"], body["amount_minor"]) == ("claim:k1", WORST)
    assert asked(known)[0].key == BUDGET


def test_a_claim_is_answered_once_it_is_granted():
    known = pending()
    request = asked(known)[0]
    known.when(answer(request, "granted")).then(SET_ASIDE, "task.claimed 0")
    assert known.outputs[0].body["cause_id"] == f"result:{request.body['request_id']}"
    assert state_of(known.task()) == "active"
    known.when(order("o1")).then("task.advanced 1", "issued 1 rp-1")


def test_orders_of_a_pending_task_count_and_are_paid_once_it_is_granted():
    known = pending()
    request = asked(known)[0]
    known.when(order("o1")).then()
    known.when(order("o2", yuan=1)).then("order.ignored MIN_AMOUNT")
    assert known.task().counted == 1
    known.when(answer(request, "granted"))
    known.then(SET_ASIDE, "task.claimed 1", "task.advanced 1", "issued 1 rp-1")
    assert known.outputs[-1].body["cause_id"] == f"result:{request.body['request_id']}"


def test_a_denied_claim_began_no_task():
    known = pending(order("o1"))
    request = asked(user(known.campaigns, claim()))[0]
    known.when(answer(request, "denied"))
    known.then("claim.rejected BUDGET_EXHAUSTED", "order.ignored NO_TASK")
    assert known.outputs[0].body["claim_id"] == "k1"
    assert known.state.tasks == ()


def test_a_pending_task_is_already_active():
    known = pending().when(claim("k2", day=2))
    known.then("claim.rejected ALREADY_ACTIVE")


def test_a_new_claim_may_try_again_after_a_denial():
    known = pending()
    first = asked(known)[0]
    known.when(answer(first, "denied"))
    known.when(claim("k2", day=2)).then(FULL)
    second = asked(known)[0]
    assert second.body["request_id"] != first.body["request_id"]
    assert second.body["task_id"] == first.body["task_id"]
    known.when(answer(second, "granted")).then(SET_ASIDE, "task.claimed 0")
    assert known.task().begun_at_ms == answer(second, "").occurred_at_ms


def test_a_claim_made_while_the_first_was_pending_tries_once_that_is_denied():
    known = pending()
    first = asked(known)[0]
    known.when(claim("k2", day=2)).then("claim.rejected ALREADY_ACTIVE")
    known.when(answer(first, "denied")).then("claim.rejected BUDGET_EXHAUSTED", FULL)
    known.when(answer(asked(known)[0], "granted")).then(SET_ASIDE, "task.claimed 0")


def test_a_task_that_was_granted_is_honoured_when_an_earlier_claim_turns_up():
    known = user(with_budget(THREE), claim("k2", day=2))
    known.when(answer(asked(known)[0], "granted"), order("o2"))
    known.when(claim("k1", day=1)).then("claim.rejected ALREADY_ACTIVE")
    assert known.task().begun_at_ms < known.state.newest.at_ms
    known.standing("1 rp-1")


def test_an_automatic_task_reserves_at_its_first_order_and_the_next_may_try_again():
    auto = campaign(enrolment="auto")
    known = user(with_budget(auto), order("o1")).then(FULL)
    assert asked(known)[0].body["cause_id"] == "order:o1:1"
    known.when(answer(asked(known)[0], "denied")).then("order.ignored BUDGET_EXHAUSTED")
    known.when(order("o2")).then(FULL)
    known.when(answer(asked(known)[0], "granted"))
    known.then(SET_ASIDE, "task.claimed 1", "task.advanced 1", "issued 1 rp-1")


def test_what_no_reward_needed_is_released_at_the_end_of_grace():
    known = granted(order("o1"), order("o2"))
    tick(known, at(12)).then()
    tick(known, at(13, "00:00")).then(f"pool.release {BUDGET} {WORST - 300}", "released 800")
    body = asked(known)[0].body
    assert body["cause_id"] == "deadline:2026-03-13T16:00:00+00:00"
    tick(known, at(99)).then()


def postings(output):
    return {p["account"]: p["amount_minor"] for p in output.body["postings"]}


def reservation(known):
    """What the last event said of a task's budget in the ledger."""
    (said,) = [o for o in known.outputs if o.topic == "rewards" and "reward_id" not in o.body]
    return said


def test_the_ledger_says_what_was_set_aside_for_a_task():
    known = pending()
    request = asked(known)[0].body
    said = reservation(known.when(answer(asked(known)[0], "granted")))
    assert known.outputs[0] is said, "ahead of what is paid of it"
    task, cause_id = known.task(), f"result:{request['request_id']}"
    assert said.event_id == ids.adjustment_id(task.task_id, "reserved", cause_id)
    assert said.body["cause_id"] == cause_id
    assert (said.body["task_id"], said.body["round"]) == (task.task_id, 1)
    assert (said.body["campaign_id"], said.body["campaign_version"]) == ("three", 1)
    assert (said.body["amount_minor"], said.body["currency"]) == (WORST, "CNY")
    assert postings(said) == {"budget": -WORST, "reserved": WORST}


def test_the_ledger_says_what_a_task_gave_back():
    known = tick(granted(order("o1"), order("o2")), at(13, "00:00"))
    said, cause_id = reservation(known), "deadline:2026-03-13T16:00:00+00:00"
    assert said.event_id == ids.adjustment_id(known.task().task_id, "released", cause_id)
    assert postings(said) == {"reserved": 300 - WORST, "budget": WORST - 300}


def test_what_was_granted_late_for_a_task_and_not_needed_goes_back_as_of_the_same_deadline():
    known = granted(order("o1"), order("o2")).when(cancel("o2", day=3, id="c1"))
    said = list(tick(known, at(13)).outputs)
    known.when(withdraw("c1", day=14))
    known.when(answer(asked(known)[0], "granted"), cancel("o2", day=15, id="c2"))
    of_each = (f"pool.release {BUDGET} 100", "released 100")  # of the old grant and of the new
    said += tick(known, at(16)).then(*of_each, *of_each).outputs
    assert len({output.body["cause_id"] for output in said}) == 1
    assert len({output.event_id for output in said}) == len(said)


def test_what_is_left_of_a_task_that_was_left_goes_back_after_its_grace():
    known = granted(order("o1"))
    end_ms = known.state.asks_ms
    known.when(leave(known.task().task_id, at(4))).then("task.withdrawn 1")
    grace_ms = next(iter(known.campaigns)).grace_ms
    assert known.state.asks_ms == known.task().ended_ms + grace_ms < end_ms
    known.when(cancel("o1", day=4)).then("task.regressed 0", "revoked 1 rp-1")
    tick(known, at(13)).then(f"pool.release {BUDGET} {WORST}", f"released {WORST}")


def test_nothing_is_released_by_a_cancellation_before_that():
    known = granted(order("o1"), order("o2")).when(cancel("o2", day=3))
    known.then("task.regressed 1", "revoked 2 rp-2")


def test_what_is_revoked_after_grace_goes_back_at_once():
    known = tick(granted(order("o1"), order("o2")), at(13))
    known.when(cancel("o2", day=15))
    known.then("task.regressed 1", "revoked 2 rp-2", f"pool.release {BUDGET} 200")


def test_what_was_spent_is_never_released():
    known = granted(order("o1"))
    known.when(result(known.reward_id("1", "rp-1"), "spent"), cancel("o1", day=11))
    tick(known, at(13)).then(f"pool.release {BUDGET} {WORST - 100}", "released 1000")


BOX = {"right_id": "box", "type": "physical", "value_minor": 700, "supply": "ware"}
POINTS = {"right_id": "pts", "type": "points", "value_minor": 500}
BOXES = "pool.reserve ware {'box': 1}"


def supplied(right=BOX, **fields):
    definition = campaign(final_rewards=[right], **fields)
    known = user(registry(ware(box=9), definition), claim())
    return known, {output.body["pool_id"]: output for output in asked(known)}


def test_a_right_with_a_supply_reserves_its_units():
    known, requests = supplied()
    known.then(BOXES)
    known.when(answer(requests["ware"], "granted")).then("task.claimed 0")


def test_without_units_and_fallback_there_is_no_task():
    known, requests = supplied()
    known.when(answer(requests["ware"], "denied")).then("claim.rejected RIGHTS_EXHAUSTED")


def test_without_units_the_fallback_is_given():
    known, requests = supplied({**BOX, "fallback": POINTS})
    known.when(answer(requests["ware"], "denied")).then("task.claimed 0")
    known.when(order("o1"), order("o2"), order("o3"))
    known.then("task.advanced 3", "task.completed 3", "issued 3 c-3", "issued 3 pts")


def test_what_other_pools_granted_goes_back_when_one_denies():
    known, requests = supplied(budget={"amount_minor": 10**6})
    known.then(BOXES, f"pool.reserve {BUDGET} 1300")
    known.when(answer(requests[BUDGET], "granted")).then("reserved 1300")
    known.when(answer(requests["ware"], "denied"))
    known.then("claim.rejected RIGHTS_EXHAUSTED", f"pool.release {BUDGET} 1300", "released 1300")
    tick(known, at(30)).then()


CODES = {BUDGET: "BUDGET_EXHAUSTED", "ware": "RIGHTS_EXHAUSTED"}


@pytest.mark.parametrize("first", ["ware", BUDGET])
def test_the_first_denial_drops_the_task_and_is_what_the_claim_is_told(first):
    known, requests = supplied(budget={"amount_minor": 10**6})
    known.when(answer(requests.pop(first), "denied")).then(f"claim.rejected {CODES[first]}")
    assert known.state.tasks == ()
    known.when(order("o1")).then("order.ignored NO_TASK")
    known.when(answer(*requests.values(), "denied")).then()


def test_what_is_granted_after_the_first_denial_goes_back():
    known, requests = supplied(budget={"amount_minor": 10**6})
    known.when(answer(requests["ware"], "denied")).then("claim.rejected RIGHTS_EXHAUSTED")
    known.when(answer(requests[BUDGET], "granted"))
    known.then("reserved 1300", f"pool.release {BUDGET} 1300", "released 1300")
    tick(known, at(30)).then()


def test_a_new_claim_after_the_first_denial_asks_when_no_answer_is_out_any_more():
    known, requests = supplied(budget={"amount_minor": 10**6})
    known.when(answer(requests[BUDGET], "denied")).then("claim.rejected BUDGET_EXHAUSTED")
    known.when(claim("k2", day=2)).then()
    known.when(answer(requests["ware"], "granted"))
    known.then("pool.release ware {'box': 1}", BOXES, f"pool.reserve {BUDGET} 1300")
    for request in asked(known):
        if request.type == "pool.reserve":
            known.when(answer(request, "granted"))
    assert [t.pending for t in known.state.tasks] == [False]


def test_a_denial_that_a_fallback_replaces_drops_nothing():
    known, requests = supplied({**BOX, "fallback": POINTS}, budget={"amount_minor": 10**6})
    known.when(answer(requests["ware"], "denied")).then()
    known.when(answer(requests[BUDGET], "granted"))
    known.then("reserved 1300", "task.claimed 0")


def test_the_order_of_an_automatic_task_that_two_pools_deny_is_told_so_once():
    auto = campaign(final_rewards=[BOX], budget={"amount_minor": 10**6}, enrolment="auto")
    known = user(registry(ware(box=9), auto), order("o1"))
    first, second = asked(known)
    known.when(answer(first, "denied"))
    assert [output.type for output in known.outputs] == ["order.ignored"]
    known.when(answer(second, "denied")).then()


@pytest.mark.parametrize("first", ["ware", BUDGET])
def test_all_pools_must_grant_in_whatever_order_they_answer(first):
    known, requests = supplied(budget={"amount_minor": 10**6})
    set_aside = {BUDGET: ["reserved 1300"], "ware": []}
    known.when(answer(requests.pop(first), "granted")).then(*set_aside.pop(first))
    ((pool_id, last),) = requests.items()
    known.when(answer(last, "granted")).then("task.claimed 0", *set_aside[pool_id])


def test_units_that_were_not_given_are_released_at_the_end_of_grace():
    known, requests = supplied()
    known.when(answer(requests["ware"], "granted"))
    tick(known, at(13)).then("pool.release ware {'box': 1}")


def test_units_that_were_given_are_not():
    known, requests = supplied()
    known.when(answer(requests["ware"], "granted"), order("o1"), order("o2"), order("o3"))
    tick(known, at(13)).then()


def test_an_order_that_comes_back_after_the_release_is_paid_once_there_is_money_for_it():
    known = granted(order("o1"), order("o2")).when(cancel("o2", day=3, id="c1"))
    tick(known, at(13)).then(f"pool.release {BUDGET} {WORST - 100}", "released 1000")
    known.when(withdraw("c1", day=14)).then("task.advanced 2", f"pool.reserve {BUDGET} 200")
    known.when(answer(asked(known)[0], "granted")).then("reserved 200", "issued 2 rp-2 seq=3")


def not_taken_back():
    """The second step's reward was taken back and its money released; then we hear it was spent."""
    known = tick(granted(order("o1"), order("o2")), at(13)).when(cancel("o2", day=15, id="c1"))
    known.then("task.regressed 1", "revoked 2 rp-2", f"pool.release {BUDGET} 200")
    return known.when(result(known.reward_id("2", "rp-2"), "revoke_failed", 2, day=16))


def test_what_was_not_taken_back_after_all_is_spent_once_there_is_money_for_it_again():
    known = not_taken_back().then(f"pool.reserve {BUDGET} 200")
    known.when(answer(asked(known)[0], "granted"))
    known.then("reserved 200", "spent 2 rp-2 200", "owed 2 rp-2 200")
    assert postings(known.outputs[0]) == {"budget": -200, "reserved": 200}
    assert postings(known.outputs[1]) == {"reserved": -200, "spent": 200}
    tick(known, at(17)).then()


def test_what_was_not_taken_back_and_is_denied_waits_for_the_next_event():
    known = not_taken_back()
    known.when(answer(asked(known)[0], "denied")).then()
    known.when(withdraw("c1", day=17)).then("task.advanced 2", f"pool.reserve {BUDGET} 200")


def test_what_was_not_taken_back_is_not_given_again_when_it_is_due_again():
    """Fixture 43, after the release: spent, no second issue."""
    known = not_taken_back()
    [request] = asked(known)
    known.when(withdraw("c1", day=17)).then("task.advanced 2")
    known.when(answer(request, "granted")).then("reserved 200", "spent 2 rp-2 200")
    known.standing("1 rp-1", "2 rp-2")


def test_that_it_was_not_taken_back_is_news_once():
    known = not_taken_back()
    known.when(result(known.reward_id("2", "rp-2"), "revoke_failed", 2, day=16, id="again"))
    known.then()
    assert known.outcome == Outcome.IGNORED


def test_units_that_were_not_taken_back_after_all_are_asked_for_again():
    known, requests = supplied(clawback={"physical": "revoke"})
    known.when(answer(requests["ware"], "granted"), order("o1"), order("o2"), order("o3"))
    tick(known, at(13)).when(cancel("o3", day=15))
    assert [o.body["units"] for o in asked(known, "pool.release")] == [{"box": 1}]
    known.when(result(known.reward_id("3", "box"), "revoke_failed", 2, day=16)).then(BOXES)
    known.when(answer(asked(known)[0], "granted")).then("spent 3 box 700")
    tick(known, at(17)).then()


def waits_again(definition, *orders, yuan=50):
    """After the release the reward of two orders is lost, due again with `orders`, and waits."""
    first = [order(name, status="fulfilled", yuan=yuan) for name in ("o1", "o2")]
    waiting = {"instant_limit_minor": 150, "on": "fulfilled", "hold_days": 0}
    known = granted(*first, definition={**definition, "release": waiting})
    tick(known, at(13)).when(cancel("o2", day=15, id="c1"), *orders)
    return known.when(answer(asked(known)[0], "granted"))


def test_what_waits_again_after_the_release_and_was_not_taken_back_has_its_money():
    known = waits_again(THREE, order("o3")).then("reserved 200", "reserved 2 rp-2 200")
    known.when(result(known.reward_id("2", "rp-2"), "revoke_failed", 2, day=16))
    known.then("spent 2 rp-2 200")
    assert postings(known.outputs[0]) == {"reserved": -200, "spent": 200}
    known.when(order("o3", day=4, version=2, status="fulfilled")).then()
    tick(known, at(17)).then()


def less_waits():
    """1000 was taken back, 750 waits to be given; then we hear that the 1000 were spent."""
    known = waits_again(BANK, order("o3", yuan=25)).then("reserved 750", "reserved 2 bank 750")
    return known.when(result(known.reward_id("2", "bank"), "revoke_failed", 2, day=16))


def test_what_was_not_taken_back_asks_for_what_is_not_set_aside_for_it():
    known = less_waits().then(f"pool.reserve {BUDGET} 250")
    [request] = asked(known)
    known.when(order("o3", day=4, version=2, status="fulfilled", yuan=25)).then()
    known.when(answer(request, "granted"))
    known.then("reserved 250", "spent 2 bank 1000", "owed 2 bank 250")
    assert postings(known.outputs[1]) == {"reserved": -1000, "spent": 1000}
    tick(known, at(17)).then()


def test_what_was_not_taken_back_and_is_lost_while_it_asks_is_owed_in_full():
    known = less_waits()
    [request] = asked(known)
    known.when(cancel("o3", day=17)).then("task.regressed 1", "task.expired 1")
    known.when(answer(request, "denied")).then()
    known.when(cancel("o1", day=18)).then("task.regressed 0", f"pool.reserve {BUDGET} 250")
    known.when(answer(asked(known)[0], "granted"))
    known.then("reserved 250", "spent 2 bank 1000", "owed 2 bank 1000")


def test_what_was_not_taken_back_and_had_cost_less_gives_the_rest_back():
    known = waits_again(BANK, order("o3"), yuan=25).then("reserved 750", "reserved 2 bank 750")
    known.when(result(known.reward_id("2", "bank"), "revoke_failed", 2, day=16))
    known.then("spent 2 bank 500")
    assert postings(known.outputs[0]) == {"reserved": -500, "spent": 500}
    tick(known, at(17)).then(f"pool.release {BUDGET} 250", "released 250")


def test_units_of_what_waits_again_and_was_not_taken_back_are_not_asked_for_twice():
    known, requests = supplied(release={"on": "fulfilled"}, clawback={"physical": "revoke"})
    known.when(answer(requests["ware"], "granted"))
    known.when(*(order(name, status="fulfilled") for name in ("o1", "o2", "o3")))
    tick(known, at(13)).when(cancel("o3", day=15), order("o4"))
    known.when(answer(asked(known)[0], "granted")).then("reserved 3 box 700")
    known.when(result(known.reward_id("3", "box"), "revoke_failed", 2, day=16))
    known.then("spent 3 box 700")


def test_what_failed_for_good_after_the_release_goes_back_at_once():
    known = tick(granted(order("o1"), order("o2")), at(13))
    known.when(result(known.reward_id("2", "rp-2"), "failed", day=16))
    known.then("failed 2 rp-2 200", f"pool.release {BUDGET} 200")


def test_what_was_not_collected_in_time_asks_for_no_money_after_the_release():
    budget = {"amount_minor": 10**9}
    waiting = campaign(collect="manual", collect_days=1, budget=budget)
    known = user(registry(waiting, campaign(campaign_id="other")), claim())
    known.when(answer(asked(known)[0], "granted"), order("o1"))
    known.when(Tick(USER, millis(at(13)))).then(
        *("released 1 rp-1 100", "task.expired 1"),
        *(f"pool.release {BUDGET} {WORST}", f"released {WORST}"),
    )
    late = claim("k2", when=at(1, "07:00"), campaign_id="other")
    known.when(late).then("task.claimed 1", "task.advanced 1", "issued 1 rp-1")


def test_fixture_39_a_budget_for_one_task_grants_one_of_two_claims():
    shop = Shop(with_budget(THREE, WORST), ["u-1", "u-2"])
    shop.tell(claim("k1"))
    shop.tell({**claim("k2"), "user_id": "u-2"})
    shop.drain()
    said = [(o.key, o.type, o.body.get("code")) for o in shop.said if o.topic == "task-events"]
    assert said == [
        ("u-1", "task.claimed", None),
        ("u-2", "claim.rejected", "BUDGET_EXHAUSTED"),
    ]
    shop.tell({**claim("k3", day=3), "user_id": "u-2"})
    shop.drain()
    assert shop.said[-1].body["code"] == "BUDGET_EXHAUSTED"


def test_a_task_that_gave_back_its_budget_makes_room_for_another():
    shop = Shop(with_budget(THREE, WORST), ["u-1", "u-2"])
    shop.tell(claim("k1"))
    shop.drain()
    shop.tick(at(13))
    shop.tell({**claim("k2", day=14), "user_id": "u-2"})
    shop.drain()
    assert shop.said[-1].type == "task.claimed"


@pytest.mark.parametrize(("value", "short"), [(WORST - 100, {}), (WORST, {"": 100})])
def test_a_compensation_takes_what_is_left_of_the_reservation_and_asks_for_the_rest(value, short):
    known = granted(order("o1"))
    right = Right(right_id="sorry", type="points", value_minor=value)
    due = Due(known.task(), next(iter(known.campaigns)), "0", "compensation", right, "")
    entries, asked_ = unpack_ledger(known.state.ledger), asks.unpack(known.state.asks)
    payable, lacking, _ = reservations.affordable([due], entries, asked_, known.campaigns)
    assert payable == ([] if short else [due])
    assert lacking == ({(known.task().task_id, BUDGET): short} if short else {})


BANK = campaign(
    target={"orders": 2},
    step_rewards=[],
    saved={"rule": "percent", "bp": 1000, "cap_minor": 2000},
    final_rewards=[{"right_id": "bank", "type": "red_packet", "value": "saved_amount"}],
)


def risen():
    """A saved amount that is 750 when the rest is released, and 1000 once a refund is undone."""
    known = granted(order("o1", lines=[(2, 2500)]), order("o2"), definition=BANK)
    known.when(refund("o1", {"1": 1}, day=3, id="c1")).standing("2 bank")
    tick(known, at(13)).then(f"pool.release {BUDGET} 1250", "released 1250")
    return known.when(withdraw("c1"))


def test_what_is_worth_more_after_the_release_stays_until_more_is_granted():
    known = risen().then("task.advanced 2", f"pool.reserve {BUDGET} 250")
    known.when(answer(asked(known)[0], "granted"))
    known.then("reserved 250", "revoked 2 bank", "issued 2 bank seq=5")
    assert known.outputs[-1].body["amount_minor"] == 1000


def test_what_is_worth_more_after_the_release_stays_as_it_is_when_more_is_denied():
    known = risen()
    known.when(answer(asked(known)[0], "denied")).then()
    known.standing("2 bank")
    [entry] = unpack_ledger(known.state.ledger).values()
    assert (entry.value, entry.seq) == (750, 3)


def test_what_had_set_off_a_debt_is_given_in_full_once_more_is_granted():
    """The debt is none any more after the release of what the reward had not cost."""
    two = campaign(target={"orders": 2}, step_rewards=[], budget={"amount_minor": 10**9})
    free = campaign(campaign_id="free", target={"orders": 1}, step_rewards=[], window={"days": 1})
    known = user(registry(free, two), claim(), claim("k-free", campaign_id="free"))
    known.when(answer(asked(user(known.campaigns, claim()))[0], "granted"), order("o1"))
    known.when(result(known.reward_id("1", "pts"), "spent", day=2), cancel("o1", day=2))
    known.when(order("o2"), order("o3")).then(
        "task.advanced 2", "task.completed 2", "issued 2 pts offset=500"
    )
    tick(known, at(13)).then(f"pool.release {BUDGET} 500", "released 500")
    known.when(withdraw("c-o1")).standing("1 pts")
    [more] = asked(known, "pool.reserve")
    assert more.body["amount_minor"] == 500
    known.when(answer(more, "granted")).then("reserved 500", "issued 2 pts seq=3")


def test_what_failed_for_good_asks_for_nothing_after_the_release():
    known = granted(order("o1"), order("o2"), definition=campaign(results="required"))
    known.when(result(known.reward_id("2", "rp-2"), "failed"))
    tick(known, at(13)).then(f"pool.release {BUDGET} 1000", "released 1000")
    for undone in (cancel("o2", day=14), withdraw("c-o2", day=15)):
        assert asked(known.when(undone)) == []


def test_what_was_never_collected_asks_for_nothing_after_the_release():
    manual = campaign(collect="manual", collect_days=2)
    known = granted(order("o1"), order("o2"), definition=manual).when(clock(13))
    for undone in (cancel("o2", day=14), withdraw("c-o2", day=15)):
        assert asked(known.when(undone)) == []
    known.standing()


def test_a_denial_of_more_does_not_deny_the_task_that_its_cause_would_begin():
    """An order falls short of money in a round; later it begins that round, granted before it."""
    window = {"mode": "fixed", "first_day": "2026-03-01"}
    rounds = {"max": 2, "cool_down_days": 1}
    twice = campaign(
        enrolment="auto", window=window, target={"orders": 2}, step_rewards=[], rounds=rounds
    )
    known = user(with_budget(twice), order("o1"))
    known.when(answer(asked(known)[0], "denied"), order("o2"))
    [still_out] = asked(known)
    known.when(order("o3"))
    known.when(answer(asked(known)[0], "granted"), clock(30))
    known.then("task.expired 1", f"pool.release {BUDGET} 500", "released 500")
    known.when(order("o4"))
    known.then(
        *("task.revived 2", "task.advanced 2", "task.completed 2", f"pool.reserve {BUDGET} 500")
    )
    known.when(answer(asked(known)[0], "denied")).then()
    known.when(answer(still_out, "denied"))  # so o3 begins round 1
    assert [task.round for task in known.state.tasks if not task.pending] == [2]
    assert known.task().begun_at_ms == millis(at(4))
    known.when(answer(asked(known, "pool.reserve")[0], "granted"), clock(31))
    known.then("task.expired 1")
    assert [(task.round, task.counted) for task in known.state.tasks] == [(1, 2), (2, 1)]

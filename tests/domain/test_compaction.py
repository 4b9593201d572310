"""Histories are compacted 7 days after the horizon: what stays, and what is said from then on.

The task of THREE is claimed on day 1 and over at the start of day 11; grace is until day 13, its
horizon day 41, and its history is over on day 48.
"""

from __future__ import annotations

import pytest

from streams.domain import facts, frozen
from streams.domain.fold import Outcome
from streams.domain.state import unpack_ledger
from tests.asking import answer, asked
from tests.builders import (
    at,
    campaign,
    cancel,
    claim,
    collect,
    decoded,
    leave,
    order,
    refund,
    result,
    tick,
    verdict,
    withdraw,
)
from tests.given import given, said

THREE = campaign(rounds={"max": 30, "cool_down_days": 2})
ONE = [claim(), order("o1")]
DONE = [*ONE, order("o2"), order("o3")]
AT_48 = [tick(day) for day in (11, 13, 41, 48)]
IN_TIME = at(40)  # recorded before the horizon
ALL = ("1 rp-1", "2 rp-2", "3 c-3", "3 pts")


def compacted(events, definitions=THREE, *more):
    """A user whose first history was compacted on day 48."""
    known = given(definitions, events).when(*AT_48, *more)
    assert known.state.frozen
    return known


def held(known):
    return [fact.cause_id for fact in facts.unpack(known.state.facts)]


def test_nothing_is_said_and_no_reward_moves_when_a_history_is_compacted():
    known = given(THREE, DONE).when(*AT_48[:-1])
    ledger = unpack_ledger(known.state.ledger)
    known.when(tick(48)).then().standing(*ALL)
    assert held(known) == []
    assert known.task().frozen
    assert known.state.due_ms == 0
    after = unpack_ledger(known.state.ledger)
    assert all(entry.frozen and entry.due for entry in after.values())
    assert [(e.seq, e.state, e.value) for e in after.values()] == [
        (e.seq, e.state, e.value) for e in ledger.values()
    ]


def test_it_is_compacted_7_days_after_its_horizon_and_not_before():
    known = given(THREE, ONE).when(*AT_48[:-1], tick(47, "23:59"))
    assert not known.state.frozen
    known.when(order("o4", recorded=at(12)))
    known.then("task.advanced 2", "issued 2 rp-2")
    assert known.outcome is not Outcome.COMPACTED


def test_an_order_that_came_in_time_and_is_read_after_that_is_compacted():
    known = compacted(ONE).when(order("o4", recorded=at(12)))
    known.then("order.ignored COMPACTED").standing("1 rp-1")
    assert known.outcome is Outcome.COMPACTED
    known.when(order("o4", recorded=at(12))).then()  # it is said once
    assert known.outcome is Outcome.DUPLICATE


def test_an_order_recorded_after_grace_is_late_as_ever():
    known = compacted(ONE).when(order("o4", recorded=at(50)))
    known.then("order.ignored LATE").standing("1 rp-1")
    assert known.outcome is Outcome.IGNORED


def test_an_order_of_a_compacted_time_and_of_no_task_is_of_no_task():
    known = compacted([claim(day=5), order("o6")], THREE, tick(60))
    known.when(order("o2", recorded=at(70))).then("order.ignored NO_TASK")
    known.when(order("o3", recorded=at(4))).then("order.ignored COMPACTED")


@pytest.mark.parametrize("again", [claim(), order("o1"), cancel("o2", day=4)])
def test_what_was_known_is_dropped_when_it_is_sent_again(again):
    known = compacted([*ONE, order("o2"), cancel("o2", day=4)])
    row = known.state
    known.when({**again, "recorded_at_ms": again["recorded_at_ms"] + 50 * 86_400_000}).then()
    assert known.outcome is Outcome.DUPLICATE
    assert known.state == row


def test_a_cancellation_recorded_after_the_horizon_is_past_it_as_ever():
    known = compacted(DONE)
    known.when(cancel("o2", day=60)).then("order.ignored PAST_HORIZON").standing(*ALL)
    assert known.outcome is Outcome.IGNORED
    known.when(cancel("o2", day=60)).then()


def test_a_cancellation_that_came_in_time_and_is_read_after_that_is_compacted():
    known = compacted(DONE)
    known.when(cancel("o2", day=30, recorded=IN_TIME)).then("order.ignored COMPACTED")
    known.standing(*ALL)
    assert known.outcome is Outcome.COMPACTED
    assert held(known) == []  # and it is no tombstone
    known.when(order("o2", version=2, day=60)).then()


def test_a_cancellation_of_an_order_that_nobody_knows_is_a_tombstone_still():
    known = compacted(ONE).when(cancel("o60", day=59), claim("k2", day=60))
    known.when(order("o60")).then().standing("1 rp-1")


def test_a_withdrawal_that_came_in_time_and_is_read_after_that_is_compacted():
    known = compacted([*DONE, cancel("o2", day=20)]).standing("1 rp-1", "2 rp-2")
    known.when({**withdraw("c-o2"), "recorded_at_ms": round(IN_TIME.timestamp() * 1000)})
    known.then("order.ignored COMPACTED").standing("1 rp-1", "2 rp-2")
    assert known.outputs[0].body["order_id"] == "o2"
    known.when({**withdraw("c-o2"), "cancellation_id": "w2", "recorded_at_ms": 1.8e12}).then()


def test_a_verdict_on_an_order_of_a_compacted_history():
    known = compacted(DONE)
    known.when(verdict("block", 30, "o1", recorded=IN_TIME)).then("order.ignored COMPACTED")
    known.when(verdict("block", 60, "o1")).then("order.ignored PAST_HORIZON")
    known.when(verdict("clear", 61, "o1")).then()
    known.standing(*ALL)


def test_a_verdict_on_the_user_stays_in_force():
    known = compacted([*ONE, verdict("block", 9)])
    assert held(known) == ["cancel:v-block-None-9"]
    known.when(claim("k2", day=60)).then("claim.rejected RULE_RISK")


def test_a_claim_of_a_compacted_time_is_refused_and_begins_nothing():
    known = compacted(ONE)
    known.when(claim("k0", day=2, recorded=at(50))).then("claim.rejected COMPACTED")
    assert known.outcome is Outcome.COMPACTED
    known.when(leave(known.task().task_id, at(3))).then("claim.rejected COMPACTED")
    assert len(known.state.tasks) == 1


def test_a_task_left_in_time_and_heard_of_after_that_stays_as_it_was():
    """It was completed, but not yet when its user left it."""
    known = compacted(DONE)
    left = leave(known.task().task_id, at(2, "10:00"))
    known.when(left).then("claim.rejected COMPACTED").standing(*ALL)
    assert known.outputs[0].body["task_id"] == known.task().task_id
    known.when(left).then()
    after = leave(known.task().task_id, at(4), "k-after")
    known.when(after).then()


def test_a_reward_collected_in_time_and_heard_of_after_that_stays_void():
    known = compacted([claim(), order("o1")], campaign(collect="manual"))
    reward_id = known.reward_id("1", "rp-1")
    known.when(collect(reward_id, day=2)).then("claim.rejected COMPACTED").standing()
    given_ = compacted([*ONE, collect(reward_id, day=2)], campaign(collect="manual"))
    given_.when(collect(reward_id, 3, "t2")).then().standing("1 rp-1")


def test_a_reward_collected_after_its_window_and_in_time_is_compacted_too():
    """Its order is of day 10, so it may be taken until day 17; the task ended on day 11."""
    known = compacted([claim(), order("o10")], campaign(collect="manual"))
    reward_id = known.reward_id("1", "rp-1")
    known.when(collect(reward_id, day=15)).then("claim.rejected COMPACTED").standing()
    assert known.outcome is Outcome.COMPACTED
    known.when(collect(reward_id, day=15)).then()
    over_soon = {"grace_hours": 0, "clawback_days": 1}
    short = given(campaign(collect="manual", expiry=over_soon), [claim(), order("o10")])
    short.when(tick(20), collect(reward_id, day=15)).then("claim.rejected COMPACTED")


def test_a_reward_collected_too_late_is_void_and_nothing_is_said_compacted_or_not():
    """It had until day 8, 12:00: later there was nothing to miss, so nobody is alerted."""
    manual = campaign(collect="manual")
    known = compacted([claim(), order("o1")], manual)
    reward_id = known.reward_id("1", "rp-1")
    known.when(collect(reward_id, day=8)).then().standing()
    assert known.outcome is not Outcome.COMPACTED
    known.when(collect(reward_id, 7, "t2")).then("claim.rejected COMPACTED").standing()
    taken_back = compacted([claim(), order("o1"), cancel("o1", day=3)], manual)
    taken_back.when(collect(reward_id, day=2)).then().standing()


def test_a_result_for_a_reward_of_a_compacted_history_is_booked():
    known = compacted(ONE)
    reward_id = known.reward_id("1", "rp-1")
    known.when(result(reward_id, "spent", day=50)).then("spent 1 rp-1 100").standing("1 rp-1")
    known.when(result(reward_id, "spent", day=50)).then()
    assert known.outcome is Outcome.DUPLICATE


def test_a_reward_that_fails_after_that_is_void_and_the_others_stay():
    known = compacted(DONE)
    known.when(result(known.reward_id("2", "rp-2"), "failed", day=50)).then("failed 2 rp-2 200")
    known.standing("1 rp-1", "3 c-3", "3 pts")


def test_a_debt_of_a_compacted_history_is_set_off_by_a_later_reward_and_ends_in_time():
    first = given(THREE, ONE)
    first.when(result(first.reward_id("1", "rp-1"), "spent", day=5), cancel("o1", day=6))
    first.then("task.regressed 0", "owed 1 rp-1 100").when(*AT_48)
    assert first.state.frozen
    again = first.when(claim("k2", day=60), order("o60"))
    again.then("task.advanced 1", "issued 1 rp-1 offset=100")
    lone = given(THREE, ONE)
    lone.when(result(lone.reward_id("1", "rp-1"), "spent", day=5), cancel("o1", day=6), *AT_48)
    assert lone.when(tick(95, "23:00")).then().state.owed_minor == 100
    lone.when(tick(96, "12:00")).then("written_off 1 rp-1 100")


def test_a_reward_that_has_set_off_a_debt_waits_with_that_debt():
    """Were the debt regained, it would be given anew: until then nobody may throw away why."""
    other = campaign(campaign_id="long", window={"days": 60}, qualify={"min_amount_minor": 9000})
    known = given([other, THREE], [claim("k0", campaign_id="long"), order("o1", yuan=90)])
    spent = [e for e in unpack_ledger(known.state.ledger).values() if e.campaign_id == "long"]
    known.when(result(spent[0].reward_id, "spent", day=2), cancel("o1", day=3))
    known.when(claim(day=4), order("o5")).when(*AT_48, tick(51))
    paid = [e for e in unpack_ledger(known.state.ledger).values() if e.set_off]
    assert paid
    assert not any(entry.frozen for entry in paid)
    known.when({**withdraw("c-o1"), "recorded_at_ms": decoded(order("o51")).recorded_at_ms})
    assert any("restored" in said(output) for output in known.outputs)


def test_rounds_cool_down_and_what_a_claim_is_told_go_on():
    twice = campaign(rounds={"max": 2, "cool_down_days": 60})
    known = compacted(DONE, twice)
    known.when(claim("k2", day=49)).then("claim.rejected COOL_DOWN")
    known.when(claim("k3", day=70)).then("task.claimed 0")
    assert known.task().round == 2
    known.when(*(tick(day) for day in (80, 82, 110, 117)))
    assert all(task.frozen for task in known.state.tasks)
    known.when(claim("k4", day=200)).then("claim.rejected ROUNDS_USED")


def test_a_task_that_overlaps_and_goes_on_keeps_what_it_counts():
    long = campaign(campaign_id="long", window={"days": 30}, target={"orders": 9})
    known = given([THREE, long], [claim(), claim("k2", day=2, campaign_id="long")])
    known.when(order("o1"), order("o2"), order("o3"), *AT_48)
    short, running = sorted(known.state.tasks, key=lambda task: task.end_ms)
    assert (short.frozen, running.frozen) == (True, False)
    assert held(known) == ["claim:k2", "order:o2:1", "order:o3:1"]
    # In time for one of them: the other has not counted it any more.
    known.when(cancel("o3", day=47))
    known.then("order.ignored PAST_HORIZON", "task.regressed 1", "revoked 2 rp-2")
    known.when(order("o5", recorded=at(6)))
    known.then(
        "order.ignored COMPACTED", "task.revived 2", "task.advanced 2", "issued 2 rp-2 seq=3"
    )
    assert known.outcome is Outcome.COMPACTED


def test_in_a_group_an_order_stays_with_the_task_that_was_compacted():
    long = campaign(campaign_id="long", window={"days": 30}, exclusion_group="g", priority=0)
    first = campaign(exclusion_group="g", priority=5)
    known = given([first, long], [claim(), claim("k2", campaign_id="long", day=1, when=None)])
    known.when(order("o1"), order("o2"), *AT_48)
    assert [task.frozen for task in known.state.tasks] == [False, True]
    counted = [task.counted for task in known.state.tasks]
    known.when(cancel("o9", day=47), order("o12", day=12, recorded=at(13)))
    assert [task.counted for task in known.state.tasks] == [counted[0] + 1, counted[1]]


def test_a_history_waits_for_what_a_pool_says_to_another_task_of_its_group():
    """Denied, that one leaves its orders to this; it is tried again after 30 days."""
    paid = {"budget": {"amount_minor": 10**6}, "priority": 5}
    other = campaign(campaign_id="other", exclusion_group="g", **paid)
    known = given([campaign(exclusion_group="g"), other], [claim()])
    [request] = asked(known.when(claim("k2", campaign_id="other")))
    known.when(order("o1"), *AT_48)
    assert not known.state.frozen
    known.when(answer(request, "denied"))
    known.then("claim.rejected BUDGET_EXHAUSTED", "task.advanced 1", "issued 1 rp-1")
    known.when(tick(78))
    assert [task.frozen for task in known.state.tasks] == [True]


def test_a_command_that_nobody_answered_keeps_its_history():
    required = campaign(results="required")
    known = given(required, ONE).when(*AT_48)
    assert not known.state.frozen
    known.when(result(known.reward_id("1", "rp-1"), "failed", day=49)).then("failed 1 rp-1 100")
    known.when(tick(78)).then()
    assert known.state.frozen


def test_an_order_that_one_history_refuses_completes_a_task_whose_history_waits():
    """Both are over; the other's is kept until its command is answered (seed 10001)."""
    slow = campaign(campaign_id="slow", results="required")
    known = given([THREE, slow], [claim(), claim("k2", campaign_id="slow", when=at(1, "09:00"))])
    known.when(order("o1"), order("o3"), *AT_48)
    assert {task.campaign_id for task in known.state.tasks if task.frozen} == {"three"}
    known.when(order("o2", recorded=at(3))).then(
        *("order.ignored COMPACTED", "task.revived 3", "task.advanced 3", "task.completed 3"),
        *("issued 3 c-3", "issued 3 pts"),
    )
    assert known.outcome is Outcome.COMPACTED
    issued = [o.body["campaign_id"] for o in known.outputs if o.topic == "rewards"]
    assert issued == ["slow", "slow"]


def test_a_tombstone_stays_as_long_as_it_may_act():
    known = compacted([*ONE, cancel("o70", day=9, recorded=at(9))])
    assert held(known) == ["cancel:c-o70"]
    known.when(tick(78))
    assert held(known) == []
    known.when(claim("k2", day=79), order("o80", recorded=at(80))).then(
        "task.advanced 1", "issued 1 rp-1"
    )
    dead = order("o70", day=66)  # it would have been taken back
    known.when(dead).then("order.ignored COMPACTED")


def test_what_was_collected_ahead_of_its_reward_stays_as_long_as_a_tombstone():
    """The order that earns it came in time for its own task, which nobody knew of yet."""
    other = campaign(campaign_id="other", collect="manual", enrolment="auto", window={"days": 60})
    reward_id = given(other, [order("o9")]).reward_id("1", "rp-1")
    taken = collect(reward_id, day=9)
    known = given([THREE, other], [claim(), taken]).when(*AT_48)
    assert held(known) == [f"claim:{taken['claim_id']}"]
    known.when(tick(78)).then()
    assert held(known) == []


def test_an_order_that_might_have_begun_an_automatic_round_sooner_is_compacted():
    """Its checkout is known still, for later tasks; the round begins where it began."""
    auto = campaign(enrolment="auto", target={"orders": 1}, step_rewards=[], window={"days": 3})
    events = [order("o4", parent_order_id="p4", yuan=10), order("o6")]
    known = given(auto, events).when(tick(9), tick(11), tick(39), tick(46))
    assert held(known) == ["order:o4:1"]
    begun_at_ms = known.task().begun_at_ms
    other = order("o5", when=at(4, "10:00"), parent_order_id="p4", yuan=10)
    known.when(other).then("order.ignored COMPACTED")
    assert known.outcome is Outcome.COMPACTED
    assert known.outputs[0].body["task_id"] == known.task().task_id
    assert (known.task().begun_at_ms, held(known)) == (begun_at_ms, ["order:o5:1", "order:o4:1"])
    known.when(other).then()
    late = order("o3", when=at(4, "09:00"), parent_order_id="p4", recorded=at(40))
    known.when(late).then()  # after the horizon: nobody missed it


def test_a_sub_order_that_gave_back_more_than_it_had_keeps_no_other_history():
    """It lies in nobody's window and stays 67 days; what is said of it is said of its own id."""
    apart = order("o12", parent_order_id="p12", recorded=at(12))
    back = refund("o12", {"1": 9}, day=13)
    known = compacted([*ONE, apart, back])
    assert held(known) == ["order:o12:1", "cancel:r-o12"]


def test_a_row_of_300_orders_in_a_year_stays_bounded():
    events = []
    for n, day in enumerate(range(1, 361, 12)):
        events += [claim(f"k{day}", day=day), *(order(f"o{day + i}") for i in range(10))]
        events += [tick(day + 10), tick(day + 11)] if n else []
    known = given(THREE, [])
    most = 0
    for event in events:
        known.when(event)
        most = max(most, known.state.facts.count)
    assert sum(event["type"] == "order.paid" for event in events) == 300
    assert most < 70
    assert known.state.facts.count < 70
    assert len(frozen.unpack(known.state.frozen).ids) < 300 * 2 * 8 + 30 * 8
    assert len(known.state.tasks) == 30


UNDONE = campaign(
    enrolment="auto",
    results="required",
    window={"days": 3},
    target={"orders": 2},
    rounds={"max": 2},
    step_rewards=campaign()["step_rewards"][:1],
)
"""o1 and o2 complete round 1, o3 begins round 2; nobody answers for round 1, so it is kept."""
TAKEN_BACK = cancel("o2", when=at(1, "08:00"), recorded=at(3))
GIVEN_BACK = {
    **withdraw("c-o2", when=at(1, "09:00")),
    "recorded_at_ms": decoded(order("o3")).recorded_at_ms,
}


def undone_and_kept():
    """Round 2, with a reward, was closed, then undone by what was read late, and is over itself."""
    known = given(UNDONE, [order("o1"), order("o2"), order("o3")])
    name = known.task().task_id
    entries = unpack_ledger(known.state.ledger).values()
    [paid] = [entry.reward_id for entry in entries if entry.task_id == name]
    known.when(result(paid, "issued", day=3), tick(4), tick(6), tick(34), tick(36))
    assert [task.closed for task in known.state.tasks] == [True, True]
    known.when(TAKEN_BACK, result(paid, "revoked", seq=2, day=36), tick(41), tick(43), tick(71))
    assert [task.round for task in known.state.tasks] == [1]
    assert "order:o3:1" in held(known)
    return known, name, paid


def test_a_round_that_was_undone_and_comes_back_goes_on_from_what_was_said_of_it():
    """Else it would expire and close a second time, under the ids of the first (seed 40169)."""
    known, name, _ = undone_and_kept()
    known.when(GIVEN_BACK)
    back = known.task()
    assert (back.task_id, back.round, back.closed) == (name, 2, True)
    revs = [
        o.body["rev"] for o in known.outputs if o.body.get("task_id") == name and "rev" in o.body
    ]
    assert min(revs) > 3, "claimed, advanced, expired and closed were said before"
    known.when(tick(90), tick(120))
    assert not any(o.type in ("task.expired", "task.closed") for o in known.outputs)


def test_a_round_that_was_undone_and_comes_back_has_its_reward_back():
    """Its orders are all known still; the reward is its own, so it has the next seq."""
    known, _, paid = undone_and_kept()
    known.when(GIVEN_BACK)
    entry = unpack_ledger(known.state.ledger)[paid]
    assert (entry.due, entry.frozen) == (True, False)
    given_back = [o.body for o in known.outputs if o.type == "reward.issued"]
    assert [
        (body["reward_id"], body["seq"]) for body in given_back if body["reward_id"] == paid
    ] == [(paid, 3)]


FIXED = campaign(
    campaign_id="fixed",
    enrolment="auto",
    window={"mode": "fixed", "days": 60, "first_day": "2026-03-03"},
    target={"orders": 4},
)
"""Day 2 to day 61, its horizon is day 92 and its history over on day 99."""
ELSEWHERE = {"entry": "elsewhere"}  # an order that counts, and begins nothing


def test_orders_stay_for_a_window_that_a_later_order_may_begin():
    """Nothing tells that it will; begun by an order in time, it counts them all (seed 40058)."""
    known = compacted([claim(), *(order(f"o{n}", **ELSEWHERE) for n in (1, 2, 3))], [THREE, FIXED])
    assert held(known) == ["order:o2:1", "order:o3:1"]
    known.when(order("o49")).then(
        *("task.claimed 3", "task.advanced 3", "issued 1 rp-1", "issued 2 rp-2", "issued 3 c-3")
    )


def test_an_order_read_when_its_window_is_over_is_compacted_and_begins_nothing():
    """What else would count may be gone: said for the task that it does not begin, and once."""
    known = compacted([claim(), *(order(f"o{n}", **ELSEWHERE) for n in (1, 2, 3))], [THREE, FIXED])
    known.when(tick(78), tick(108))
    assert held(known) == []
    known.when(order("o49", recorded=at(49))).then("order.ignored COMPACTED")
    assert known.outcome is Outcome.COMPACTED
    assert known.outputs[0].body["campaign_id"] == "fixed"
    assert [task.campaign_id for task in known.state.tasks] == ["three"]
    known.when(order("o50", recorded=at(50), **ELSEWHERE)).then("order.ignored NO_TASK")
    known.when(order("o49", recorded=at(49))).then()


def test_an_order_of_a_day_that_is_compacted_in_part_begins_nothing():
    """Another task begins at noon, so what came that morning is gone."""
    day = campaign(campaign_id="day", enrolment="auto", entries=["home"], window={"days": 40})
    long = campaign(campaign_id="long", window={"days": 60, "lookback": "none"})
    morning = order("o5", when=at(5, "08:00"), **ELSEWHERE)
    events = [claim(), morning, claim("k2", campaign_id="long", when=at(5, "10:00"))]
    known = compacted(events, [THREE, day, long])
    assert "order:o5:1" not in held(known)
    known.when(order("o6", when=at(5, "12:00"), recorded=at(6), entry="home"))
    assert known.outcome is Outcome.COMPACTED
    assert "day" not in {task.campaign_id for task in known.state.tasks}
    assert [task.counted for task in known.state.tasks if task.campaign_id == "long"] == [1]


def test_a_user_whose_history_is_compacted_begins_a_window_that_was_defined_since():
    """What is known of it counts; an order in time is never refused for what is gone."""
    new_one = {**FIXED, "campaign_id": "new", "effective_from": at(70).isoformat()}
    new_one["window"] = {**FIXED["window"], "days": 120}
    known = compacted([claim(), order("o1"), order("o2", **ELSEWHERE)], [THREE, new_one])
    assert held(known) == []
    known.when(order("o71")).then("task.claimed 1", "task.advanced 1", "issued 1 rp-1")


def test_a_window_that_is_over_wakes_nobody_any_more():
    """Orders behind the last task stay, as ever; there is nothing to try again."""
    known = compacted([claim(), order("o1"), order("o20", **ELSEWHERE)], [THREE, FIXED])
    assert known.state.due_ms
    known.when(*(tick(48 + 30 * n) for n in range(1, 5)))
    assert (held(known), known.state.due_ms) == (["order:o20:1"], 0)

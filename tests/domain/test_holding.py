"""What a due reward waits for: its orders, days, a review, its user; and the time of debts."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from streams.domain import facts, ledger, settlement
from streams.domain import state as s
from streams.domain.announce import Announcer
from streams.domain.asks import Asked
from streams.domain.days import DAY_MS
from streams.domain.fold import refold, step
from streams.domain.walk import Walk
from tests.builders import (
    USER,
    at,
    campaign,
    cancel,
    claim,
    collect,
    decoded,
    millis,
    order,
    result,
    tick,
    withdraw,
)
from tests.given import Given, given, said

DEAR = [{"step": 1, "right": {"right_id": "rp-1", "type": "red_packet", "value_minor": 900}}]
TWO = [
    *DEAR,
    {"step": 2, "right": {"right_id": "rp-2", "type": "red_packet", "value_minor": 900}},
    {"step": 2, "right": {"right_id": "c-2", "type": "coupon", "value_minor": 100}},
]


def releasing(hold_days: int = 0, **fields: Any) -> dict[str, Any]:
    release = {"instant_limit_minor": 500, "on": "fulfilled", "hold_days": hold_days}
    return campaign(release=release, step_rewards=TWO, **fields)


def collecting(**fields: Any) -> dict[str, Any]:
    return campaign(collect="manual", collect_days=3, step_rewards=DEAR, **fields)


def at_time(known: Given, at_ms: int) -> list[str]:
    """What the ledger says when a tick has reached that instant, its next deadline."""
    assert known.state.ledger_ms == at_ms
    say = Announcer(USER, f"deadline:{at_ms}", at_ms)
    known.state, outputs = settlement.pass_time(known.state, Moment(at_ms, say), known.campaigns)
    return list(map(said, outputs))


class Moment(NamedTuple):
    at_ms: int
    say: Announcer


def dues_of(known: Given) -> list[ledger.Due]:
    have = facts.unpack(known.state.facts)
    walk = Walk(USER, known.campaigns).take(have)
    return settlement.dues_of(walk, walk.tallies(), Asked(), have)


def deadline(known: Given) -> int:
    return known.state.ledger_ms


def test_a_reward_above_the_limit_waits_until_its_order_has_come_so_far():
    known = given(releasing(), [claim()])
    known.when(order("o1")).then("task.advanced 1", "reserved 1 rp-1 900")
    known.when(order("o1", day=2, version=2, status="fulfilled")).then("issued 1 rp-1")


def test_a_reward_at_the_limit_is_given_at_once():
    known = given(releasing(), [claim(), order("o1")])
    known.when(order("o2")).then("task.advanced 2", "reserved 2 rp-2 900", "issued 2 c-2")


def test_a_later_reward_waits_for_each_order_so_far():
    known = given(releasing(), [claim(), order("o1"), order("o2")])
    known.when(order("o2", day=3, version=2, status="fulfilled")).then()
    known.when(order("o1", day=4, version=2, status="settled")).then(
        "issued 1 rp-1", "issued 2 rp-2"
    )


def test_an_order_far_enough_at_once_holds_nothing_back():
    known = given(releasing(), [claim()])
    known.when(order("o1", status="fulfilled")).then("task.advanced 1", "issued 1 rp-1")


def test_days_of_hold_end_at_their_deadline_and_no_event_ends_them_sooner():
    known = given(releasing(hold_days=2), [claim(), order("o1", status="fulfilled")])
    known.when(order("o9")).then("task.advanced 2", "reserved 2 rp-2 900", "issued 2 c-2")
    free_ms = millis(at(1)) + 2 * DAY_MS
    assert deadline(known) == free_ms
    assert at_time(known, free_ms) == ["issued 1 rp-1"]


def test_what_waits_and_is_lost_is_void_and_waits_again_when_it_is_due_again():
    known = given(releasing(), [claim(), order("o1")])
    known.when(cancel("o1", day=2)).then("task.regressed 0", "released 1 rp-1 900")
    known.when(order("o3")).then("task.advanced 1", "reserved 1 rp-1 900")
    known.when(order("o3", day=4, version=2, status="fulfilled")).then("issued 1 rp-1")


def taken_back(*later: dict[str, Any], **fields: Any) -> Given:
    """A reward was given and, as is assumed, taken back; then `later`, and it was not after all."""
    known = given(releasing(**fields), [claim(), order("o1", status="fulfilled"), cancel("o1")])
    known.when(*later)
    return known.when(result(known.reward_id("1", "rp-1"), "revoke_failed", 2, day=5))


def postings(known: Given) -> list[tuple[str, int]]:
    body = known.outputs[0].body
    return [(p["account"], p["amount_minor"]) for p in body["postings"]]


def test_fixture_43_what_waits_to_be_given_again_and_was_not_taken_back_is_spent():
    """Spent, no second issue, whatever it waits for."""
    known = taken_back(order("o3")).then("spent 1 rp-1 900")
    assert postings(known) == [("reserved", -900), ("spent", 900)]
    assert deadline(known) == 0
    known.when(order("o3", day=6, version=2, status="fulfilled")).then()
    known.when(cancel("o3", day=7)).then("task.regressed 0", "owed 1 rp-1 900")


@pytest.mark.parametrize("since", ["lost again", "in vain"])
def test_fixture_43_what_was_given_up_and_was_not_taken_back_is_spent(since):
    later = cancel("o3", day=4) if since == "lost again" else tick(45)
    known = taken_back(order("o3"), later)
    owed = ["owed 1 rp-1 900"] if since == "lost again" else []
    known.then("spent 1 rp-1 900", *owed)
    assert postings(known) == [("budget", -900), ("spent", 900)]
    came = order("o3", day=4, version=2, status="fulfilled")
    known.when(withdraw("c-o3", day=6), came).standing("1 rp-1")
    [entry] = [e for e in s.unpack_ledger(known.state.ledger).values() if e.right_id == "rp-1"]
    assert (entry.state, entry.seq, entry.owed) == (s.SPENT, 2, 0)


def test_what_was_taken_back_and_waits_is_given_again_where_no_answer_says_otherwise():
    known = given(releasing(), [claim(), order("o1", status="fulfilled"), cancel("o1")])
    known.when(order("o3"), order("o3", day=6, version=2, status="fulfilled"))
    known.then("issued 1 rp-1 seq=3")


def test_a_service_that_has_answered_does_not_take_its_word_back():
    known = given(releasing(results="required"), [claim(), order("o1", status="fulfilled")])
    known.when(cancel("o1"), result(known.reward_id("1", "rp-1"), "revoked", 2), order("o3"))
    known.when(result(known.reward_id("1", "rp-1"), "revoke_failed", 2, day=5, id="again")).then()
    known.when(order("o3", day=6, version=2, status="fulfilled")).then("issued 1 rp-1 seq=3")


def test_a_reward_whose_orders_never_come_so_far_is_void_at_the_horizon():
    known = given(releasing(), [claim(), order("o1")])
    horizon_ms = millis(at(11, "00:00")) + 30 * DAY_MS
    assert deadline(known) == horizon_ms
    assert at_time(known, horizon_ms) == ["released 1 rp-1 900"]


def test_what_is_void_at_the_horizon_is_not_set_aside_again_by_what_is_read_after_it():
    known = given(releasing(), [claim(), order("o1"), tick(45)]).standing()
    known.when(cancel("o1", day=9), withdraw("c-o1", day=10)).standing()
    assert not [output for output in known.outputs if output.topic == "rewards"]
    came = order("o1", day=5, status="fulfilled", version=2)
    known.when(came).standing("1 rp-1")  # and is given all the same if its order came in time


@pytest.mark.parametrize("waiting", ["for its orders", "for its user"])
def test_what_has_waited_in_vain_does_not_wait_again_when_something_else_happens(waiting):
    first = releasing() if waiting == "for its orders" else collecting()
    other = campaign(campaign_id="other")
    known = given([first, other], [claim(), order("o1")])
    assert at_time(known, deadline(known)) == ["released 1 rp-1 900"]
    fact = decoded(claim("k2", day=3, campaign_id="other"))
    quick, slow = (path(known.state, fact, known.campaigns) for path in (step, refold))
    assert quick == slow
    assert list(map(said, slow.outputs)) == ["task.claimed 0"]
    assert slow.state.ledger_ms == 0, "no deadline of the past is left"


def test_a_reward_to_be_collected_waits_for_its_user_and_is_given_when_taken():
    known = given(collecting(), [claim()])
    known.when(order("o1")).then("task.advanced 1", "reserved 1 rp-1 900")
    known.when(collect(known.reward_id("1", "rp-1"), day=2)).then("issued 1 rp-1")


def test_a_reward_that_is_not_collected_in_time_is_void_for_good():
    known = given(collecting(), [claim(), order("o1")])
    by_ms = millis(at(1)) + 3 * DAY_MS
    assert deadline(known) == by_ms
    assert at_time(known, by_ms) == ["released 1 rp-1 900"]
    known.when(collect(known.reward_id("1", "rp-1"), day=4, claim_id="late")).then()


def test_what_no_order_has_earned_waits_neither_for_orders_nor_for_its_user():
    kill = {"type": "campaign.killed", "v": 1, "campaign_id": "three"}
    sorry = {"right_id": "sorry", "type": "coupon", "value_minor": 50}
    kill |= {"effective_from": at(3, "00:00").isoformat(), "compensation": sorry}
    for waiting in (collecting(), releasing(hold_days=2)):
        known = given([waiting, kill], [claim(), order("o1")])
        known.when(order("o3")).then("task.killed 1", "issued 0 sorry", "order.ignored NO_TASK")


def test_a_reward_collected_once_need_not_be_collected_again():
    known = given(collecting(results="assumed"), [claim(), order("o1")])
    known.when(collect(known.reward_id("1", "rp-1"), day=2), cancel("o1", day=3))
    known.when(order("o4")).then("task.advanced 1", "issued 1 rp-1 seq=3")


def test_a_collection_read_before_what_earns_it_counts_all_the_same():
    reward_id = given(collecting(), [claim(), order("o1")]).reward_id("1", "rp-1")
    known = given(collecting(), [claim(), collect(reward_id, day=2)])
    known.when(order("o1")).then("task.advanced 1", "issued 1 rp-1")


def test_a_collection_of_a_reward_that_needs_none_says_nothing():
    known = given(campaign(), [claim(), order("o1")])
    known.when(collect(known.reward_id("1", "rp-1"), day=2)).then()


def test_a_reward_under_review_waits_whatever_else_is_done():
    known = given(campaign(step_rewards=DEAR), [claim(), order("o1")])
    dues = [due._replace(held=True) for due in dues_of(known)]
    entries: dict[str, s.Entry] = {}
    policies = {due.reward_id: due.campaign for due in dues}
    (change,) = ledger.settle(entries, dues, policies)
    assert (change.reason, change.postings) == ("reserved", [("budget", -900), ("reserved", 900)])
    (change,) = ledger.settle(entries, dues_of(known), policies)
    assert (change.type, change.postings) == (
        "reward.issued",
        [("reserved", -900), ("issued", 900)],
    )


def test_what_waited_and_pays_a_debt_gives_the_rest_back():
    """Reserved at its full value, paid less: the set-off part goes home."""
    cash = {"right_id": "rp-9", "type": "cash", "value_minor": 900}
    other = campaign(
        campaign_id="other",
        window={"days": 20},
        release={"instant_limit_minor": 500, "on": "fulfilled"},
        step_rewards=[{"step": 1, "right": cash}],
    )
    small = [{"step": 1, "right": {"right_id": "rp-1", "type": "red_packet", "value_minor": 100}}]
    known = given([campaign(step_rewards=small), other], [claim(), order("o1")])
    known.when(result(known.reward_id("1", "rp-1"), "spent", day=2), cancel("o1", day=3))
    known.when(claim("k2", day=12, campaign_id="other"), order("o12"))
    known.when(order("o12", day=13, version=2, status="fulfilled")).then("issued 1 rp-9 offset=100")
    assert [(p["account"], p["amount_minor"]) for p in known.outputs[0].body["postings"]] == [
        ("reserved", -900), ("issued", 800), ("budget", 100), ("debt", -100), ("spent", 100),
    ]  # fmt: skip


def test_a_debt_is_written_off_after_its_days():
    known = given(campaign(step_rewards=DEAR, debt_days=90), [claim(), order("o1")])
    known.when(result(known.reward_id("1", "rp-1"), "spent", day=2), cancel("o1", day=3))
    end_ms = millis(at(3)) + 90 * DAY_MS
    assert deadline(known) == end_ms
    assert at_time(known, end_ms) == ["written_off 1 rp-1 900"]
    assert (deadline(known), known.state.owed_minor) == (0, 0)


def test_a_ledger_where_nothing_waits_has_no_deadline():
    assert deadline(given(campaign(), [claim(), order("o1"), order("o2")])) == 0

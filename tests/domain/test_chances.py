"""Chances and draws: won with a step, used once, and what becomes of a prize whose step is lost."""

from __future__ import annotations

import pytest

from streams.domain import short_path
from streams.domain.fold import Outcome
from tests.asking import FIVE, PRIZE, answer, asked, draw, lottery, tick, user, wheel, with_lottery
from tests.builders import at, campaign, cancel, claim, decoded, order, refund, result, withdraw
from tests.given import registry

WON = [claim(), order("o1"), order("o2"), order("o3")]


def drawn(*events, right=PRIZE, campaigns=None):
    """A user whose chance at step 3 was drawn, and brought `right`."""
    known = user(campaigns or with_lottery(), *WON, *events)
    known.when(draw(known, "3"))
    return known.when(answer(asked(known)[0], "drawn", right))


def test_a_step_grants_its_chance():
    known = user(with_lottery(), *WON)
    known.then("task.advanced 3", "chance.granted 3")
    assert known.outputs[-1].body["task_id"] == known.task().task_id


def test_several_chances_of_a_step_have_labels_of_their_own():
    many = with_lottery(campaign(), (1, 3))
    known = user(many, claim(), order("o1"))
    granted = ["chance.granted 1", "chance.granted 1#2", "chance.granted 1#3"]
    known.then("task.advanced 1", "issued 1 rp-1", *granted)
    assert len({output.event_id for output in known.outputs}) == len(known.outputs)


def test_the_final_chance_is_of_the_last_step():
    known = user(with_lottery(), *WON, order("o4")).when(order("o5"))
    known.then("task.advanced 5", "task.completed 5", "issued 5 pts", "chance.granted 5")


def test_a_step_keeps_its_chance_and_its_draw_when_an_amount_makes_it_the_last_and_then_no_more():
    either = {**FIVE, "target": {"orders": 5, "amount_minor": 4000, "match": "any"}}
    known = user(with_lottery(either, (1, 2), ("final", 1)), claim())
    known.when(order("o1", lines=[(5, 1000)])).then(
        *("task.advanced 1", "task.completed 1", "issued 5 pts"),
        *("chance.granted 1", "chance.granted 1#2", "chance.granted 5"),
    )
    known.when(draw(known, "1"))
    known.when(answer(asked(known)[0], "drawn", PRIZE)).then("issued 1 rp-100")
    known.when(refund("o1", {"1": 2}, day=10)).then(
        "task.regressed 1", "task.reopened 1", "revoked 5 pts", "chance.withdrawn 5"
    )
    known.standing("1 rp-100")


def test_each_cycle_has_chances_of_its_own():
    cycles = campaign(
        window={"mode": "every_n", "days": 10, "max_cycles": 3},
        step_rewards=None,
        target={"orders": 2},
    )
    known = user(with_lottery(cycles, (1, 1), ("final", 1)), claim())
    said = []
    for day in range(1, 5):
        known.when(order(f"o{day}"))
        said += [o.body["step"] for o in known.outputs if o.type == "chance.granted"]
    assert said == ["1", "2", "3", "4"]


def test_a_draw_is_asked_of_the_pool_once():
    known = user(with_lottery(), *WON)
    known.when(draw(known, "3")).then("draw.asked wheel 3")
    request = asked(known)[0]
    assert (request.body["odds_version"], request.body["cause_id"]) == (1, "claim:d1")
    assert request.key == "wheel"
    known.when(draw(known, "3", "d2")).then()
    known.when(answer(request, "drawn", PRIZE)).when(draw(known, "3", "d3")).then()


def test_what_was_won_is_issued_as_a_prize():
    known = drawn()
    known.then("issued 3 rp-100")
    body = known.outputs[0].body
    assert (body["kind"], body["order_id"]) == ("prize", "o3")
    assert body["cause_id"].startswith("result:drw_")


def test_a_draw_that_brought_nothing_says_nothing():
    drawn(right=None).then().when(order("o4")).then("task.advanced 4")


@pytest.mark.parametrize(
    ("label", "when", "code"),
    [
        ("5", at(9), "NO_CHANCE"),  # not reached
        ("3#2", at(9), "NO_CHANCE"),
        ("2", at(9), "NO_CHANCE"),
        ("nonsense", at(9), "NO_CHANCE"),
        ("3", at(3, "11:59"), "NO_CHANCE"),  # before the order
        ("3", at(20, "00:00"), "POOL_CLOSED"),
    ],
)
def test_a_draw_that_cannot_be_had_is_refused_with_its_code(label, when, code):
    known = user(with_lottery(), *WON)
    known.when(draw(known, label, when=when)).then(f"claim.rejected {code}")
    body = known.outputs[0].body
    assert (body["claim_id"], body["campaign_id"]) == ("d1", "three")


def test_nobody_draws_for_a_task_that_is_not_theirs():
    known = user(with_lottery(), *WON)
    other = draw(known, "3")
    stranger = user(with_lottery())
    stranger.when(other).then("claim.rejected NO_CHANCE")
    assert "campaign_id" not in stranger.outputs[0].body


def test_fixture_20_a_chance_is_withdrawn_with_its_order():
    known = user(with_lottery(), *WON).when(cancel("o3", day=4))
    known.then("task.regressed 2", "chance.withdrawn 3")
    known.when(draw(known, "3", when=at(5))).then("claim.rejected NO_CHANCE")


def test_fixture_21_a_lost_prize_comes_back_with_its_step_and_is_never_drawn_again():
    known = drawn()
    known.when(cancel("o3", day=9, id="c1")).then("task.regressed 2", "revoked 3 rp-100")
    known.when(order("o4")).then("task.advanced 3", "issued 3 rp-100 seq=3")
    known.when(draw(known, "3", "d2")).then()


def test_a_chance_that_was_asked_for_stays_when_its_step_goes():
    known = user(with_lottery(), *WON)
    known.when(draw(known, "3"))
    request = asked(known)[0]
    known.when(cancel("o3", day=9, id="c1")).then("task.regressed 2")
    known.when(answer(request, "drawn", PRIZE)).then()
    known.when(order("o4")).then("task.advanced 3", "issued 3 rp-100")


def test_a_spent_prize_whose_step_is_lost_is_owed():
    known = drawn()
    prize = known.reward_id("3", "rp-100")
    known.when(result(prize, "spent"))
    known.when(cancel("o3", day=11)).then("task.regressed 2", "owed 3 rp-100 10000")


def test_a_draw_read_before_its_order_is_had_once_the_order_is_read():
    known = user(with_lottery(), *WON[:3])
    known.when(draw(known, "3")).then("claim.rejected NO_CHANCE")
    known.when(order("o3")).then("task.advanced 3", "chance.granted 3", "draw.asked wheel 3")
    assert asked(known)[0].body["cause_id"] == "claim:d1"
    assert asked(known)[0].body["occurred_at"] == "2026-03-10T04:00:00+00:00"


def test_immediate_draws_are_asked_with_their_step():
    known = user(with_lottery(draw="immediate"), *WON)
    known.then("task.advanced 3", "chance.granted 3", "draw.asked wheel 3")
    known.when(answer(asked(known)[0], "drawn", PRIZE)).then("issued 3 rp-100")
    known.when(cancel("o3", day=9, id="c1")).then("task.regressed 2", "revoked 3 rp-100")
    known.when(order("o4")).then("task.advanced 3", "issued 3 rp-100 seq=3")


def test_an_immediate_draw_of_a_step_lost_before_the_answer_is_not_asked_again():
    known = user(with_lottery(draw="immediate"), *WON)
    known.when(cancel("o3", day=9, id="c1")).then("task.regressed 2")
    known.when(order("o4")).then("task.advanced 3")


def test_an_answer_sent_again_changes_nothing():
    known = user(with_lottery(), *WON)
    known.when(draw(known, "3"))
    request = asked(known)[0]
    known.when(answer(request, "drawn", PRIZE), answer(request, "drawn", PRIZE, delay_s=9)).then()
    assert known.outcome == Outcome.DUPLICATE
    known.when(answer(request, "drawn")).then()
    assert known.outcome == Outcome.CONFLICT


def test_an_answer_to_nothing_that_was_asked_is_ignored():
    known = user(with_lottery(), *WON)
    other = user(with_lottery(), *WON)
    other.when(draw(other, "3"))
    before = known.state
    known.when(answer(asked(other)[0], "drawn", PRIZE)).then()
    assert (known.outcome, known.state) == (Outcome.IGNORED, before)


def test_a_chance_that_nobody_used_expires_with_its_pool():
    known = user(with_lottery(), *WON)
    tick(known, at(19)).then()
    tick(known, at(21)).then("chance.expired 3")
    assert known.outputs[0].body["occurred_at"] == "2026-03-21T00:00:00+08:00"
    tick(known, at(22)).then()
    known.when(cancel("o3", day=21)).then("task.regressed 2")
    known.when(draw(known, "3", when=at(19))).then("claim.rejected POOL_CLOSED")


def test_a_chance_asked_for_lost_and_regained_is_its_draw_and_does_not_expire():
    known = user(with_lottery(), *WON)
    known.when(draw(known, "3"))
    [request] = asked(known)
    known.when(cancel("o3", day=5, id="c1"), order("o6", day=6))
    tick(known, at(21)).then()
    known.when(answer(request, "drawn", PRIZE)).then("issued 3 rp-100")


def test_or_is_drawn_with_its_pool_as_of_the_pools_end():
    known = user(with_lottery(at_close="draw"), *WON)
    tick(known, at(21)).then("draw.asked wheel 3")
    body = asked(known)[0].body
    assert (body["cause_id"], body["occurred_at"]) == (
        "deadline:2026-03-20T16:00:00+00:00",
        "2026-03-20T16:00:00+00:00",
    )
    known.when(answer(asked(known)[0], "drawn", PRIZE)).then("issued 3 rp-100")


def test_a_lost_prize_is_returned_when_its_task_can_no_longer_regain_it():
    known = drawn()
    known.when(cancel("o3", day=10))
    tick(known, at(12)).then()
    tick(known, at(13, "00:00")).then("unit.returned wheel 3")
    known.when(withdraw("c-o3", day=14)).then("task.advanced 3")
    tick(known, at(30)).then()


def test_a_pool_hears_that_a_prize_which_went_back_to_it_is_spent():
    """With assumed results nobody can know before: unit and money are gone, and it must say so."""
    known = drawn()
    tick(known.when(cancel("o3", day=10)), at(13, "00:00")).then("unit.returned wheel 3")
    known.when(result(known.reward_id("3", "rp-100"), "revoke_failed", 2, day=14))
    known.then("spent 3 rp-100 10000", "owed 3 rp-100 10000", "pool.reserve wheel 3")
    known.when(result(known.reward_id("3", "rp-100"), "revoke_failed", 2, day=15, id="again"))
    known.then()
    tick(known.when(withdraw("c-o3", day=16)), at(30)).then()


def test_a_prize_that_is_spent_before_it_went_back_stays_out():
    known = drawn().when(cancel("o3", day=10))
    known.when(result(known.reward_id("3", "rp-100"), "revoke_failed", 2, day=11))
    known.then("spent 3 rp-100 10000", "owed 3 rp-100 10000")
    tick(known, at(30)).then()


def test_a_prize_that_is_kept_is_not_returned():
    known = drawn()
    known.when(result(known.reward_id("3", "rp-100"), "spent"))
    known.when(cancel("o3", day=10))
    tick(known, at(30)).then()


def test_a_prize_lost_after_grace_is_returned_at_the_next_tick():
    known = tick(drawn(), at(14)).when(cancel("o3", day=15))
    tick(known, at(15)).then("unit.returned wheel 3")


def test_a_plain_order_of_a_lottery_with_a_budget_looks_at_no_history():
    definition = lottery(campaign(target={"orders": 3}), (2, 1), draw="immediate")
    known = user(registry(wheel(), {**definition, "budget": {"amount_minor": 10**6}}), claim())
    known.when(answer(asked(known)[0], "granted"))
    for name in ("o1", "o2", "o3"):  # a step, a chance drawn at once, the target
        fact = decoded(order(name))
        assert short_path.next_order(known.state, fact, (), known.campaigns) is not None
        known.when(fact)
    known.then("task.advanced 3", "task.completed 3", "issued 3 c-3", "issued 3 pts")

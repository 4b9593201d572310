"""The short path of answers: what usually comes takes it, and says and leaves what the walk does.

`tests/test_set_model.py` holds both paths equal in random cases; here stands which events take it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from streams.domain import asks, ids, short_answers, short_path
from streams.domain.asks import Ask
from streams.domain.events import ClaimRequested, PoolAnswered
from streams.domain.state import packed
from tests.asking import FIVE, PRIZE, answer, asked, draw, user, ware, with_budget, with_lottery
from tests.builders import at, campaign, cancel, claim, decoded, order, result
from tests.given import registry, require_both_paths_alike

if TYPE_CHECKING:
    from streams.domain.events import Event
    from tests.given import Given

BUDGET = with_budget(campaign())
SUPPLIED = {"right_id": "mug", "type": "physical", "value_minor": 900, "supply": "ware"}
REPLACED = {**SUPPLIED, "fallback": {"right_id": "pts", "type": "points", "value_minor": 1}}
EARLIER = order("o1", when=at(1, "07:00"))
PAID = registry(campaign(results="required"))


def short(known: Given, event: Event) -> bool:
    """Fold an event both ways, which must be alike; tell whether it took the short path."""
    if isinstance(event, PoolAnswered):
        took = short_answers.next_answer(known.state, event, known.campaigns)
    elif isinstance(event, ClaimRequested):
        took = short_path.next_claim(known.state, event, known.campaigns)
    else:
        took = short_answers.next_result(known.state, event, known.campaigns)
    folded = require_both_paths_alike(known.state, event, known.campaigns)
    known.state, known.outputs = folded.state, folded.outputs
    return took is not None


def pending(*events, campaigns=BUDGET):
    return user(campaigns, *events, claim())


def supplied(*rights, **more):
    return registry(ware(mug=3), FIVE | {"final_rewards": list(rights)} | more)


def test_a_claim_that_reserves_takes_it():
    assert short(user(BUDGET), decoded(claim()))


def test_a_second_claim_after_a_denial_does_not():
    known = pending()
    known.when(answer(asked(known)[0], "denied"))
    assert not short(known, decoded(claim("k2", day=2)))
    assert known.state.tasks[0].pending


def test_a_grant_takes_it():
    known = pending(EARLIER)
    assert short(known, answer(asked(known)[0], "granted"))
    assert (known.task().pending, known.state.asks_ms) == (
        False,
        known.task().end_ms + 48 * 3600_000,
    )


def test_grants_of_several_pools_take_it_while_they_come_in_order():
    known = pending(campaigns=supplied(SUPPLIED, budget={"amount_minor": 10**6}))
    first, second = sorted(asked(known), key=lambda output: output.body["request_id"])
    assert short(known, answer(first, "granted"))
    assert known.task().pending
    assert short(known, answer(second, "granted"))
    assert not known.task().pending


def test_a_grant_of_the_past_is_walked():
    known = pending()
    request = asked(known)[0]
    known.when(order("o1"))
    assert not short(known, answer(request, "granted"))
    assert "issued" in {output.type.partition(".")[2] for output in known.outputs}


def test_a_denial_of_the_newest_claim_takes_it():
    known = pending(EARLIER)
    assert short(known, answer(asked(known)[0], "denied"))
    known.then("claim.rejected BUDGET_EXHAUSTED")
    assert known.state.tasks == ()


def test_a_denial_is_walked_where_another_claim_of_that_instant_began_the_task():
    known = user(BUDGET, claim("k2"))
    request = asked(known)[0]
    known.when(claim("k1"))
    assert not short(known, answer(request, "denied"))
    assert known.task().pending


@pytest.mark.parametrize(
    "claimed", [claim(day=2), claim(day=2, trigger_order_id="o1")], ids=["same_day", "trigger"]
)
def test_a_denial_of_a_claim_that_looked_back_is_walked(claimed):
    lookback = "trigger_order" if "trigger_order_id" in claimed else "same_day"
    known = user(
        with_budget(campaign(window={"days": 5, "lookback": lookback})),
        order("o1", when=at(2, "07:00")),
        claimed,
    )
    assert known.task().counted == 1
    assert not short(known, answer(asked(known)[0], "denied"))
    known.then("claim.rejected BUDGET_EXHAUSTED", "order.ignored NO_TASK")


def test_a_denial_that_a_fallback_replaces_takes_it():
    known = pending(campaigns=supplied(REPLACED))
    assert short(known, answer(asked(known)[0], "denied"))
    assert known.task().lacks == ("ware",)


def test_a_draw_that_won_nothing_takes_it():
    known = user(with_lottery(), claim(), order("o1"), order("o2"), order("o3"))
    known.when(draw(known, "3"))
    assert short(known, answer(asked(known)[0], "drawn"))


def drawn_for(known: Given, label: str):
    known.when(draw(known, label))
    return asked(known)[0]


def test_a_prize_takes_it_and_names_the_order_that_brought_its_chance():
    known = user(with_lottery(), claim(), *map(order, ("o1", "o2", "o3", "o4")))
    assert short(known, answer(drawn_for(known, "3"), "drawn", PRIZE))
    known.then("issued 3 rp-100")
    assert known.outputs[0].body["order_id"] == "o3"


def test_a_prize_drawn_at_once_takes_it():
    known = user(with_lottery(FIVE, (1, 2), draw="immediate"), claim(), order("o1"))
    requests = sorted(asked(known), key=lambda output: output.body["request_id"])
    assert [short(known, answer(request, "drawn", PRIZE)) for request in requests] == [True, True]


def test_a_prize_whose_step_is_lost_is_walked():
    known = user(with_lottery(), claim(), order("o1"), order("o2"), order("o3"))
    request = drawn_for(known, "3")
    known.when(cancel("o1", when=at(4)))
    assert not short(known, answer(request, "drawn", PRIZE))
    known.then()


def test_a_prize_in_a_group_is_walked_while_its_orders_are_not_pinned():
    grouped = with_lottery({**FIVE, "exclusion_group": "veg"})
    known = user(grouped, claim(), order("o1"), order("o2"), order("o3"))
    assert not short(known, answer(drawn_for(known, "3"), "drawn", PRIZE))
    assert known.state.pins.count == 3


def test_a_row_that_does_not_know_its_chances_orders_learns_them_by_the_walk():
    """As rows of schema 2 do not."""
    known = user(with_lottery(), claim(), order("o1"), order("o2"), order("o3"))
    request = drawn_for(known, "3")
    old = msgspec.structs.replace(known.task(), chances=())
    known.state = msgspec.structs.replace(known.state, tasks=(old,))
    assert not short(known, answer(request, "drawn", PRIZE))
    assert known.task().chances == ((3, "o3"),)


@pytest.mark.parametrize("label", ["", "x", "3#", "#3", "03", "-3", "³", "9" * 5_000, "3#2"])
def test_no_text_but_the_label_of_a_chance_is_one(label):
    known = user(with_lottery(), claim(), order("o1"), order("o2"), order("o3"))
    known.when(draw(known, label)).then("claim.rejected NO_CHANCE")


def test_an_answer_that_nobody_asked_for_is_ignored_by_the_walk():
    known = pending()
    request = asked(known)[0]
    request.body["request_id"] = "req_" + "0" * 32
    before = known.state
    assert not short(known, answer(request, "granted"))
    assert known.state is before


@pytest.mark.parametrize(
    ("outcome", "took"), [("issued", True), ("spent", True), ("expired", True), ("failed", False)]
)
def test_results_that_let_nothing_else_fall_due_take_it(outcome, took):
    known = user(PAID, claim(), order("o1"), order("o2"))
    about = decoded(result(known.reward_id("1", "rp-1"), outcome))
    assert short(known, about) is took


TEXTS = st.one_of(st.text(max_size=5), st.just("\x9f\xd9$req_"), st.just("é\u07d9$req_" + "0" * 32))


@hypothesis.given(st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 2**62)), max_size=6), st.data())
def test_one_ask_of_a_run_is_found_and_replaced_alone(texts, data):
    asked_ = [
        Ask("req_" + ids.derived("t", str(n)), "reserve", pool, "t", at_ms, 0x9FD924, cause_id=why)
        for n, (pool, why, at_ms) in enumerate(texts)
    ]
    run = packed(asked_)
    assert asks.reservations(run) == asked_
    assert asks.SPLICE.find(run, "req_" + ids.derived("t", "none")) is None
    if asked_:
        n = data.draw(st.integers(0, len(asked_) - 1))
        found = asks.SPLICE.find(run, asked_[n].request_id)
        assert found is not None
        assert found.value == asked_[n]
        asked_[n] = Ask(asked_[n].request_id, "reserve", "another", "t", 1, 2)
        assert asks.SPLICE.replaced(run, found, asked_[n]) == packed(asked_)

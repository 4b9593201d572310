"""What a pool gives, denies and says, told in its own requests. Source: semantics.md 6, 7, 10."""

import pytest

from streams.domain import pools, sample
from streams.domain.pool import BudgetAdded, Odds, OddsAdded, PoolClosed, Restocked, Weight
from streams.domain.pool_state import TASKS, entrant_key, request_key, task_key
from tests.pooling import (
    CLOSES_AFTER_H,
    EVERY_TICKET,
    SEED,
    Book,
    ask,
    at,
    budget,
    certain,
    definition,
    lottery,
    odds,
    prize,
    release,
    reserve,
    returned,
    rights,
    spent,
    text,
)

ID = "veg-wheel"
EVEN = {"kind": "even"}
CONSOLATION = {"right_id": "c-1", "type": "coupon", "value_minor": 10}


def left(book, id_):
    return book.state.stock_of(id_).left


# Draws


def test_a_draw_is_public_and_its_user_is_told_what_was_won():
    book = Book(certain()).when(ask()).then("committed 1", "drawn sure sure won", "result won sure")
    drawn, told = book.said[1], book.said[2]
    assert (drawn.key, told.key) == (ID, "u-1")
    assert drawn.body["entrant"] not in ("", "u-1")
    assert told.body["request_id"] == drawn.body["draw_id"]
    assert told.body["right"] == {"right_id": "rp-sure", "type": "red_packet", "value_minor": 500}


def test_a_draw_that_hits_nothing_says_so():
    blank = lottery(odds=[odds(("five", 0))])
    Book(blank).when(ask()).then("committed 1", "drawn - - nothing", "result nothing")


def test_the_same_request_gets_the_same_answer_again_and_moves_nothing():
    book = Book(certain(stock=5)).when(ask())
    told, state = book.said[-1], book.state
    assert pools.step(book, ask(), book.pool, [], book.seed).again
    book.when(ask()).then("result won sure")
    assert (book.said[0], book.state) == (told, state)


def test_a_refusal_is_remembered_too():
    book = Book(certain()).when(ask(1), ask(2)).then("drawn sure - no_stock", "result no_stock")
    book.changes.append(Restocked(ID, at(2), {"sure": 9}))
    book.when(ask(2, hours=3)).then("result no_stock")


# Fixture 40 of section 10, and the order of the checks


def test_fixture_40_the_last_unit_is_given_once():
    book = Book(certain(stock=1)).when(ask(1, user="u-1"), ask(2, user="u-2"))
    book.then("drawn sure - no_stock", "result no_stock")
    assert left(book, "sure") == 0


def test_fixture_40_a_user_wins_a_limited_prize_no_more_often_than_its_limit():
    book = Book(certain(stock=5, max_per_user=1)).when(ask(1), ask(2))
    book.then("drawn sure - user_limit", "result user_limit")
    book.when(ask(3, user="u-2")).then("drawn sure sure won", "result won sure")


def test_fixture_40_a_paced_prize_waits_for_its_slot():
    paced = certain(stock=CLOSES_AFTER_H, release=EVEN)  # one unit an hour
    book = Book(paced).when(ask(1, hours=0)).when(ask(2, hours=0.99))
    book.then("drawn sure - not_released", "result not_released")
    book.when(ask(3, hours=1)).then("drawn sure sure won", "result won sure")


def test_pacing_goes_by_the_time_of_the_draw_and_not_by_its_place_in_the_log():
    paced = certain(stock=CLOSES_AFTER_H, release=EVEN)
    book = Book(paced).when(ask(1, hours=5)).when(ask(2, hours=0.5))
    book.then("drawn sure - not_released", "result not_released")


def test_jitter_holds_a_unit_back_within_its_own_slot():
    jittered = certain(stock=CLOSES_AFTER_H, release={"kind": "even", "jitter": True})
    delay_ms = sample.unit_delay_ms(SEED, ID, "sure", 0, 3_600_000)
    assert 0 < delay_ms < 3_600_000
    hours = delay_ms / 3_600_000
    Book(jittered).when(ask(1, hours=hours - 0.001)).then(
        "committed 1", "drawn sure - not_released", "result not_released"
    )
    Book(jittered).when(ask(1, hours=hours)).then(
        "committed 1", "drawn sure sure won", "result won sure"
    )


def test_what_the_budget_cannot_pay_is_not_given():
    book = Book(certain(stock=5, budget_minor=999)).when(ask(1), ask(2))
    book.then("drawn sure - no_budget", "result no_budget")
    assert book.state.held_minor == 500


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"stock": 1, "max_per_user": 1, "release": EVEN, "budget_minor": 500}, "no_stock"),
        ({"stock": 2, "max_per_user": 1, "release": EVEN, "budget_minor": 500}, "not_released"),
        ({"stock": 2, "max_per_user": 1, "budget_minor": 500}, "user_limit"),
        ({"stock": 2, "budget_minor": 500}, "no_budget"),
    ],
)
def test_of_several_reasons_the_first_in_order_is_said(fields, outcome):
    book = Book(certain(**fields)).when(ask(1), ask(2))
    book.then(f"drawn sure - {outcome}", f"result {outcome}")


# The fallback


def test_what_cannot_be_given_becomes_the_fallback_and_the_reason_stays():
    book = Book(certain(stock=1, fallback=CONSOLATION)).when(ask(1), ask(2))
    book.then("drawn sure fallback no_stock", "result no_stock fallback")
    assert book.said[1].body["right"]["right_id"] == "c-1"
    assert book.state.held_minor == 510


def test_no_hit_gives_the_fallback_where_there_is_one():
    blank = lottery(odds=[odds(("five", 0))], fallback=CONSOLATION)
    Book(blank).when(ask()).then(
        "committed 1", "drawn - fallback nothing", "result nothing fallback"
    )


def test_a_fallback_that_the_budget_cannot_pay_is_not_given():
    book = Book(certain(stock=1, fallback=CONSOLATION, budget_minor=509)).when(ask(1), ask(2))
    book.then("drawn sure - no_stock", "result no_stock")


# Opening, closing, reveal


def test_the_commitment_is_public_before_the_pool_opens():
    book = Book(certain()).tick(-24).then("committed 1")
    body = book.said[0].body
    assert body["commitment"] == sample.commitment(ID, SEED)
    assert body["odds_digests"] == [
        {"odds_version": 1, "digest": sample.odds_digest(odds(("sure", EVERY_TICKET)))}
    ]
    book.tick(-23).then()


@pytest.mark.parametrize("hours", [-0.001, CLOSES_AFTER_H + 0.001])
def test_outside_its_hours_a_pool_draws_nothing(hours):
    book = Book(certain()).tick(-24).when(ask(hours=hours)).then("result closed")
    assert left(book, "sure") == 1


def test_a_chance_may_be_drawn_with_the_time_of_closing_while_the_seed_is_secret():
    book = Book(certain()).tick(CLOSES_AFTER_H + 1).when(ask(hours=CLOSES_AFTER_H))
    book.then("drawn sure sure won", "result won sure")


def test_the_seed_is_revealed_at_the_first_tick_two_days_after_the_close():
    book = Book(certain()).when(ask()).tick(CLOSES_AFTER_H + 47.99).then()
    book.tick(CLOSES_AFTER_H + 60).then("revealed 3")
    assert book.said[0].body["seed"] == SEED.hex()
    assert book.said[0].body["occurred_at"] == "2023-06-11T16:00:00+00:00"
    book.tick(CLOSES_AFTER_H + 61).then()


def test_nothing_is_drawn_after_the_reveal_whatever_its_time():
    Book(certain()).tick(CLOSES_AFTER_H + 48).when(ask(hours=1)).then("result closed")


def test_a_pool_closed_early_draws_no_more_and_is_revealed_earlier():
    book = Book(certain(stock=9), PoolClosed(ID, at(10))).when(ask(1, hours=10.1))
    book.then("committed 1", "closed - 0", "result closed")
    book.when(ask(2, hours=9)).then("drawn sure sure won", "result won sure")
    book.tick(58).then("revealed 4")


def test_ticks_close_together_or_far_apart_say_the_same():
    changes = [PoolClosed(ID, at(10)), Restocked(ID, at(60), {"sure": 1})]
    once, often = Book(certain(), *changes), Book(certain(), *changes)
    once.tick(2_000)
    for hours in range(-30, 2_000, 7):
        often.tick(hours)
    assert once.lines() == often.lines()
    assert once.state == often.state


def test_the_next_deadline_is_the_time_of_the_next_record():
    pool, changes = certain(), [Restocked(ID, at(5), {"sure": 1})]
    book, due = Book(pool, *changes), []
    while deadline := pools.next_deadline_ms(book.state, pool, changes):
        before = book.state
        book.tick((deadline - 1 - at(0)) / 3_600_000)
        assert book.state == before, "a millisecond earlier nothing happens"
        book.tick((deadline - at(0)) / 3_600_000)
        assert book.state != before
        due.append(deadline)
    assert due == [at(-24), at(5), at(CLOSES_AFTER_H + 48)]


# What operators change


def test_a_restock_counts_from_its_own_time_on_and_once():
    book = Book(certain(stock=1), Restocked(ID, at(3), {"sure": 1})).when(ask(1), ask(2, hours=2))
    book.then("drawn sure - no_stock", "result no_stock")
    book.when(ask(3, hours=3)).then("restocked sure 1", "drawn sure sure won", "result won sure")
    book.when(ask(4, hours=4)).then("drawn sure - no_stock", "result no_stock")


def test_restocked_units_of_a_paced_prize_are_free_at_once():
    paced = certain(stock=CLOSES_AFTER_H, release=EVEN)
    book = Book(paced, Restocked(ID, at(0.1), {"sure": 1})).when(ask(1, hours=0), ask(2, hours=0.2))
    book.then("restocked sure 1", "drawn sure sure won", "result won sure")
    book.when(ask(3, hours=0.3)).then("drawn sure - not_released", "result not_released")


def test_money_is_added_to_a_pools_budget():
    book = Book(certain(stock=5, budget_minor=500), BudgetAdded(ID, at(2), 500))
    book.when(ask(1), ask(2, hours=2))
    book.then("budget_added - 0", "drawn sure sure won", "result won sure")


def test_new_odds_are_for_those_who_name_them():
    blank = Odds(2, EVERY_TICKET, (Weight("sure", 0),))
    book = Book(certain(stock=9), OddsAdded(ID, at(2), blank))
    book.when(ask(1, odds_version=2)).then("committed 1", "result unknown")
    book.when(ask(2, hours=2, odds_version=2))
    book.then("committed 2", "drawn - - nothing", "result nothing")
    book.when(ask(3, hours=3, odds_version=1)).then("drawn sure sure won", "result won sure")


def test_changes_apply_in_the_order_of_their_times():
    changes = [Restocked(ID, at(9), {"sure": 1}), Restocked(ID, at(2), {"sure": 2})]
    book = Book(certain(), *changes).when(ask(1, hours=2))
    book.then("committed 1", "restocked sure 2", "drawn sure sure won", "result won sure")
    book.when(ask(2, hours=9)).then("restocked sure 1", "drawn sure sure won", "result won sure")


# What comes back


def test_a_returned_prize_can_be_won_again_and_its_cost_spent_again():
    book = (
        Book(certain(stock=1, budget_minor=500)).when(ask(1), returned(1)).then("returned sure 1")
    )
    assert book.said[0].body["amount_minor"] == 500
    book.when(ask(2, hours=3)).then("drawn sure sure won", "result won sure")


def test_a_returned_prize_is_returned_once():
    book = Book(certain(stock=1)).when(ask(1), returned(1))
    again = returned(1, hours=3)
    book.when(returned(1)).then()
    book.when(type(again)(*[*list(_fields(again))[:3], "req_other", "tsk_1", "3"])).then()
    assert left(book, "sure") == 1


def _fields(struct):
    return (getattr(struct, name) for name in struct.__struct_fields__)


def test_what_was_never_won_cannot_be_returned():
    Book(certain(stock=1)).when(ask(1), ask(2), returned(2)).then()


def test_after_the_close_a_prize_returns_its_cost_and_not_its_unit():
    book = (
        Book(certain(stock=1))
        .when(ask(1), returned(1, hours=CLOSES_AFTER_H))
        .then("returned sure 0")
    )
    assert (left(book, "sure"), book.state.held_minor) == (0, 0)


def test_after_the_reveal_what_comes_back_is_no_longer_public():
    book = Book(certain(stock=1)).when(ask(1)).tick(CLOSES_AFTER_H + 48)
    book.when(returned(1, hours=CLOSES_AFTER_H + 50)).then()
    assert book.state.held_minor == 0


def test_a_returned_prize_that_is_spent_is_out_again():
    book = Book(certain(stock=2, budget_minor=1500)).when(ask(1), returned(1))
    book.when(spent(1)).then("spent sure -1")
    assert book.said[0].body["amount_minor"] == -500
    assert (left(book, "sure"), book.state.held_minor) == (1, 500)
    book.when(spent(1)).then()
    book.when(ask(2, hours=4)).then("drawn sure sure won", "result won sure")
    book.when(ask(3, hours=5)).then("drawn sure - no_stock", "result no_stock")


def test_what_was_given_to_another_since_is_a_deficit_until_the_operator_covers_it():
    more = Restocked(ID, at(5), {"sure": 1}), BudgetAdded(ID, at(7), 500)
    book = Book(certain(stock=1, budget_minor=500), *more)
    book.when(ask(1), returned(1), ask(2, hours=3), spent(1, hours=4)).then("spent sure -1")
    assert (left(book, "sure"), book.state.held_minor) == (-1, 1000)
    book.when(ask(3, hours=6)).then("restocked sure 1", "drawn sure - no_stock", "result no_stock")
    book.tick(7).then("budget_added - 0")
    assert (left(book, "sure"), book.state.can_pay(0), book.state.can_pay(1)) == (0, True, False)


def test_what_returned_after_the_close_and_is_spent_takes_its_cost_alone():
    book = Book(certain(stock=1)).when(ask(1), returned(1, hours=CLOSES_AFTER_H))
    book.when(spent(1, hours=CLOSES_AFTER_H + 1)).then("spent sure 0")
    assert (left(book, "sure"), book.state.held_minor) == (0, 500)


def test_what_never_returned_is_out_already():
    Book(certain(stock=1)).when(ask(1), spent(1)).then()
    Book(certain(stock=1)).when(ask(1), spent(2)).then()


def test_after_the_reveal_a_prize_that_is_spent_moves_the_books_alone():
    book = Book(certain(stock=1)).when(ask(1), returned(1)).tick(CLOSES_AFTER_H + 48)
    book.when(spent(1, hours=CLOSES_AFTER_H + 50)).then()
    assert (left(book, "sure"), book.state.held_minor) == (0, 500)


def test_a_returned_prize_still_counts_for_the_limit_of_its_winner():
    book = Book(certain(stock=1, max_per_user=1)).when(ask(1), returned(1), ask(2, hours=3))
    book.then("drawn sure - user_limit", "result user_limit")


# Rights and budgets


def test_39_a_budget_for_one_task_takes_one_of_two():
    pool = budget(1_000)
    book = Book(pool).when(reserve(pool, 1, 600)).then("granted granted")
    book.when(reserve(pool, 2, 600)).then("denied no_budget")
    assert book.said[0].key == "u-1"
    assert book.state.held_minor == 600


def test_39_what_was_released_can_be_reserved_again():
    pool = budget(1_000)
    book = Book(pool).when(reserve(pool, 1, 600), release(pool, 1, 200)).then()
    book.when(reserve(pool, 2, 600)).then("granted granted")
    assert book.state.held_minor == 1_000


def test_no_request_makes_money_or_units_of_nothing():
    pool = budget(1_000)
    book = Book(pool).when(reserve(pool, 1, 600), release(pool, 1, 900), release(pool, 2, 900))
    assert book.state.held_minor == 0
    coffee = rights(cup=3)
    book = Book(coffee).when(reserve(coffee, 1, cup=2), release(coffee, 1, cup=5, tea=1))
    assert left(book, "cup") == 3


def test_a_budget_bounds_how_many_tasks_may_reserve_and_one_that_never_began_makes_room():
    pool = budget(10_000, max_tasks=1)
    book = Book(pool).when(reserve(pool, 1, 100)).then("granted granted")
    book.when(reserve(pool, 2, 100)).then("denied no_tasks")
    book.when(release(pool, 1, 100)).when(reserve(pool, 3, 100)).then("denied no_tasks")
    began_not = type(release(pool))("budget:veg", "u-1", at(3), "req_x", "tsk_1", 0, {TASKS: 1})
    book.when(began_not, reserve(pool, 4, 100)).then("granted granted")


def test_tasks_and_money_are_added_to_a_budget_in_its_own_time():
    pool = budget(100, max_tasks=1)
    book = Book(pool, BudgetAdded("budget:veg", at(2), 100, 1)).when(reserve(pool, 1, 100))
    book.when(reserve(pool, 2, 100, hours=2)).then("granted granted")


def test_units_of_a_right_run_out_and_come_back():
    coffee = rights(cup=2, cake=1)
    book = Book(coffee).when(reserve(coffee, 1, cup=1, cake=1)).then("granted granted")
    book.when(reserve(coffee, 2, cup=1, cake=1)).then("denied no_stock")
    assert left(book, "cup") == 1, "all that was asked for, or nothing"
    book.when(release(coffee, 1, cake=1), reserve(coffee, 3, cake=1)).then("granted granted")
    book.when(reserve(coffee, 4, bagel=1)).then("denied no_stock")


def test_what_a_task_holds_is_forgotten_when_all_of_it_is_back():
    coffee = rights(cup=2)
    book = Book(coffee).when(reserve(coffee, 1, cup=1), release(coffee, 1, cup=1))
    assert book[task_key("coffee", "tsk_1")] == Book(coffee)[task_key("coffee", "tsk_1")]


def test_reserving_again_under_the_same_id_takes_nothing_more():
    coffee = rights(cup=1)
    book = Book(coffee).when(reserve(coffee, 1, cup=1), reserve(coffee, 1, cup=1))
    book.then("granted granted")
    assert left(book, "cup") == 0


# What does not fit


def test_a_pool_nobody_defined_answers_unknown_and_stays_with_it():
    book = Book(certain()).when(ask(pool_id="other")).then("result unknown")
    assert ID not in str(list(book))
    later = certain(effective_from=text(12), opens_at=text(13))
    Book(later).when(ask(hours=1)).then("result unknown")


def test_pools_of_another_kind_refuse_by_name():
    coffee = rights(cup=1)
    Book(coffee).when(ask(pool_id="coffee")).then("result unknown")
    wheel = certain()
    Book(wheel).when(reserve(wheel, 1, sure=1)).then("committed 1", "denied unknown")
    Book(wheel).when(release(wheel, 1, 5)).then("committed 1")


def test_a_chance_under_a_foreign_id_is_not_drawn():
    foreign = type(ask())("veg-wheel", "u-1", at(1), "drw_mine", "tsk_1", "3", 1)
    Book(certain()).when(foreign).then("committed 1", "result unknown")


def test_the_rows_a_request_reads_are_those_it_names_beforehand():
    pool, coffee = certain(stock=3, max_per_user=1), rights(cup=1)

    class Strict(Book):
        allowed: frozenset[str] = frozenset()

        def __getitem__(self, key):
            assert key in self.allowed or not self.allowed, key
            return super().__getitem__(key)

    for of, requests in (
        (pool, [ask(1), returned(1), spent(1)]),
        (coffee, [reserve(coffee), release(coffee)]),
    ):
        book = Strict(of)
        for request in requests:
            book.allowed = frozenset(pools.keys_of(request))
            folded = pools.step(book, request, of, [], book.seed)
            assert set(folded.rows) <= book.allowed
            book.update(folded.rows)


def test_a_million_draws_would_not_lie_in_one_row():
    book = Book(certain(stock=9, max_per_user=9)).when(*(ask(n) for n in range(1, 9)))
    assert {key.partition(":")[0] for key in book} == {"\x01pool", "\x01req", "\x01ent"}
    assert request_key(ID, ask(5).request_id) in book
    assert sum(key.startswith("\x01ent") for key in book) == 1
    assert entrant_key(ID, "x") not in book


def test_the_wheel_of_the_specification_is_read_as_it_is_written():
    pool = lottery()
    assert (pool.prizes[0].stock, pool.budget_minor) == (31, 2_000_000)
    assert pool.definition == definition()
    assert [p.prize_id for p in pool.prizes] == ["top", "five"]
    assert prize("top", 31, 10_000)["right"]["value_minor"] == pool.prizes[0].right.value_minor

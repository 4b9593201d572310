"""Laws that hold whatever is asked of a pool, in whatever order, at every prefix of the log."""

from __future__ import annotations

import json
import os
from collections import Counter
from hashlib import sha256

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.domain import pools, sample
from streams.domain.pool import BudgetAdded, Odds, OddsAdded, PoolClosed, Restocked, Weight
from streams.domain.pool_state import Held, pool_key
from streams.domain.verify import Mismatch, verify
from tests import fair
from tests.pooling import (
    CLOSES_AFTER_H,
    EVERY_TICKET,
    SEED,
    Book,
    ask,
    at,
    budget,
    lottery,
    odds,
    prize,
    release,
    reserve,
    returned,
    rights,
    spent,
)
from tests.second_verifier import Wrong, judge

ID = "veg-wheel"
HALF = EVERY_TICKET // 2
HOURS = st.floats(-2, CLOSES_AFTER_H + 60).map(lambda hours: round(hours, 3))
SOON = st.floats(0, 20).map(lambda hours: round(hours, 3))
USERS = st.sampled_from(["u-1", "u-2", "u-3"])
TASK = st.integers(1, 12)

LOTTERIES = st.builds(
    lambda top, five, limit, paced, money, fallback: lottery(
        prizes=[
            prize("top", top, 900, max_per_user=limit)
            | ({"release": {"kind": "even", "jitter": paced == "jitter"}} if paced else {}),
            prize("five", five, 50),
        ],
        odds=[odds(("top", HALF), ("five", HALF // 2))],
        **({} if money is None else {"budget_minor": money}),
        **({"fallback": {"right_id": "c", "type": "coupon", "value_minor": 7}} if fallback else {}),
    ),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from(["", "even", "jitter"]),
    st.one_of(st.none(), st.integers(0, 3_000)),
    st.booleans(),
)
CHANGES = st.lists(
    st.one_of(
        st.builds(
            lambda h, n: Restocked(ID, at(h), {"top": n, "five": 1}), SOON, st.integers(1, 3)
        ),
        st.builds(lambda h, m: BudgetAdded(ID, at(h), m), SOON, st.integers(1, 900)),
        st.builds(lambda h: PoolClosed(ID, at(h)), st.floats(5, 30)),
    ),
    max_size=3,
)
NEW_ODDS = OddsAdded(ID, at(3), Odds(2, EVERY_TICKET, (Weight("five", HALF),)))
REQUESTS = st.lists(
    st.one_of(
        st.builds(ask, TASK, SOON, USERS, odds_version=st.integers(1, 2)),
        st.builds(ask, TASK, HOURS, USERS),
        st.builds(returned, TASK, HOURS),
        st.builds(spent, TASK, HOURS),
        st.floats(-30, CLOSES_AFTER_H + 100),  # a tick
    ),
    max_size=40,
)


def played(pool, changes, requests, *, check=lambda _book: None):
    book = Book(pool, *changes)
    for request in requests:
        if isinstance(request, float):
            book.tick(request)
        else:
            book.when(request)
        check(book)
    return book


def require_conserved(book):
    state, pool = book.state, book.pool
    out = [o.body for o in book.heard if o.body.get("reason") == "spent"]
    if state.budget_minor is not None:
        over_minor = -sum(body["amount_minor"] for body in out)
        assert 0 <= state.held_minor <= state.budget_minor + over_minor, "L8"
    for stock in state.stock:
        over = -sum(body["change"] for body in out if body["prize_id"] == stock.id)
        assert stock.left >= -over, "L7"
        whole = stock.defined + stock.restocked + stock.returned
        assert whole == stock.given + stock.left, "L7"
    if pool.kind == "lottery":
        require_told(book)
    else:
        held = [row for key, row in book.items() if isinstance(row, Held) and ":" in key]
        assert sum(row.amount_minor for row in held) == state.held_minor
        for stock in state.stock:
            out = sum(row.units.get(stock.id, 0) for row in held)
            assert out == stock.given - stock.returned


def require_told(book):
    """What was said in public is what the stock says."""
    said = [output.body for output in book.heard if output.topic == "lottery-draws"]
    assert [body["no"] for body in said] == list(range(1, len(said) + 1))
    draws = [body for body in said if body["type"] == "draw.drawn"]
    assert len({body["draw_id"] for body in draws}) == len(draws), "L9"
    for stock in book.state.stock:
        given = sum(body.get("given") == stock.id for body in draws)
        moved = sum(body["change"] for body in said if body.get("prize_id") == stock.id)
        assert (given, moved) == (stock.given, stock.restocked + stock.returned)


@given(LOTTERIES, CHANGES, REQUESTS)
def test_a_lottery_conserves_units_and_money_at_every_prefix(pool, changes, requests):
    played(pool, [*changes, NEW_ODDS], requests, check=require_conserved)


@given(
    st.integers(0, 2_000),
    st.integers(0, 4),
    st.lists(st.tuples(st.sampled_from("rrlb"), TASK, st.integers(0, 900), SOON), max_size=40),
    st.lists(
        st.builds(lambda h, m: BudgetAdded("budget:veg", at(h), m, 1), SOON, TASK), max_size=2
    ),
)
def test_a_budget_conserves_money_and_tasks_at_every_prefix(money, tasks, told, changes):
    pool = budget(money, tasks)
    requests = [
        reserve(pool, n, amount, hours) if kind == "r" else release(pool, n, amount, hours)
        for kind, n, amount, hours in told
    ]
    played(pool, changes, requests, check=require_conserved)


@given(
    st.integers(0, 9),
    st.lists(st.tuples(st.booleans(), TASK, st.integers(1, 3), st.integers(0, 2)), max_size=40),
)
def test_rights_conserve_units_at_every_prefix(cups, told):
    pool = rights(cup=cups, cake=2)
    requests = [
        (reserve if asks else release)(pool, n, cup=cup, cake=cake) for asks, n, cup, cake in told
    ]
    played(pool, [], requests, check=require_conserved)


@given(LOTTERIES, CHANGES, REQUESTS, st.data())
def test_a_request_read_twice_is_answered_twice_and_applied_once(pool, changes, requests, data):
    once = played(pool, changes, requests)
    twice = Book(pool, *changes)
    for request in requests:
        for _ in range(data.draw(st.integers(1, 2))):
            twice.tick(request) if isinstance(request, float) else twice.when(request)
    assert dict(once) == dict(twice)
    assert once.lines() == twice.lines()


@given(LOTTERIES, CHANGES, REQUESTS)
def test_the_same_requests_give_the_same_bytes(pool, changes, requests):
    one, other = (played(pool, changes, requests) for _ in range(2))
    assert [output.body for output in one.heard] == [output.body for output in other.heard]


# Two verifiers


def finished(pool, changes, requests):
    return played(pool, [*changes, NEW_ODDS], requests).tick(CLOSES_AFTER_H + 200).lines()


@given(LOTTERIES, CHANGES, REQUESTS)
def test_both_verifiers_accept_what_the_fold_says(pool, changes, requests):
    lines = finished(pool, changes, requests)
    found = verify(lines)
    assert found.revealed
    assert (found.draws, found.records) == (judge(lines), len(lines))


@given(LOTTERIES, CHANGES, REQUESTS)
def test_before_the_reveal_the_keeper_of_the_seed_can_verify(pool, changes, requests):
    lines = [line for line in finished(pool, changes, requests) if b"draw.revealed" not in line]
    assert verify(lines, SEED).draws == verify(lines).draws
    with pytest.raises(Mismatch, match="commitment"):
        verify(lines, bytes(32))


def refused(lines):
    """Both judges refuse it."""
    with pytest.raises(Mismatch) as found:
        verify(lines)
    with pytest.raises(Wrong):
        judge(lines)
    return str(found.value)


@given(LOTTERIES, CHANGES, REQUESTS, st.data())
def test_any_altered_byte_is_found(pool, changes, requests, data):
    lines = finished(pool, changes, requests)
    place = data.draw(st.integers(0, len(lines) - 1))
    line = bytearray(lines[place])
    at_byte = data.draw(st.integers(0, len(line) - 1))
    line[at_byte] ^= data.draw(st.integers(1, 255))
    refused([*lines[:place], bytes(line), *lines[place + 1 :]])


@given(LOTTERIES, CHANGES, REQUESTS, st.data())
def test_any_altered_field_is_found_even_where_the_chain_is_mended(pool, changes, requests, data):
    """Whoever writes all later records anew is found by what the fields say of each other.

    Not by them alone: who entered and when is nobody's to recompute; there the chain holds.
    """
    lines = finished(pool, changes, requests)
    place = data.draw(st.integers(0, len(lines) - 1))
    body = json.loads(lines[place])
    name = data.draw(st.sampled_from(sorted(set(body) - {"occurred_at", "entrant", "previous"})))
    body[name] = altered(body[name], data)
    if body == json.loads(lines[place]) or name in {"change", "amount_minor"}:
        return
    if name == "prize_id" and body.get("reason") == "restocked":
        return
    refused(rechained([*lines[:place], canonical(body), *lines[place + 1 :]], place))


def altered(value, data):
    if isinstance(value, int):
        return value + data.draw(st.integers(-3, 3))
    if isinstance(value, str):
        return data.draw(st.sampled_from([value + "x", "", value[:-1], "top", "five", "won"]))
    return None


def canonical(body):
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def rechained(lines, from_place):
    """Give every record behind a place the digest of the one before it."""
    chained = lines[: from_place + 1]
    for line in lines[from_place + 1 :]:
        previous = sha256(chained[-1]).hexdigest()
        chained.append(canonical(json.loads(line) | {"previous": previous}))
    return chained


@given(LOTTERIES, REQUESTS, st.data())
def test_a_record_left_out_doubled_or_out_of_its_place_is_found(pool, requests, data):
    lines = finished(pool, [], requests)
    place = data.draw(st.integers(0, len(lines) - 2))
    line = lines[place]
    without = [*lines[:place], *lines[place + 1 :]]
    refused(without)
    refused([*lines[:place], line, line, *lines[place + 1 :]])
    refused([*lines[:place], lines[place + 1], line, *lines[place + 2 :]])


def test_the_first_mismatch_is_named():
    lines = finished(lottery(), [], [ask(n, n / 10) for n in range(1, 20)])
    body = json.loads(lines[7])
    body["ticket"] += 1
    assert refused([*lines[:7], canonical(body), *lines[8:]]).startswith("no 8: ticket is ")


@pytest.mark.parametrize("place", [0, 7], ids=["committed", "drawn"])
def test_a_time_that_does_not_say_its_offset_is_a_mismatch(place):
    lines = finished(lottery(), [], [ask(n, n / 10) for n in range(1, 20)])
    body = json.loads(lines[place])
    body["occurred_at"] = body["occurred_at"].removesuffix("+00:00")
    said = refused([*lines[:place], canonical(body), *lines[place + 1 :]])
    assert said == f"no {place + 1}: time {body['occurred_at']!r} has no offset"


def test_a_published_pool_whose_times_do_not_say_their_offset_is_a_mismatch():
    lines = finished(lottery(), [], [])
    body = json.loads(lines[0])
    body["pool"]["opens_at"] = "2023-05-01T00:00:00"
    said = refused([canonical(body), *lines[1:]])
    assert said == "no 1: pool: time '2023-05-01T00:00:00' has no offset"


@given(
    st.recursive(
        st.one_of(st.integers(-(2**53), 2**53), st.text(), st.none(), st.booleans()),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_canonical_json_is_the_bytes_that_topics_carry(value):
    assert sample.canonical(value) == orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


# Chance

DRAWS = int(os.environ.get("LEIDAN_DRAWS", "20000"))


@pytest.mark.parametrize("weights", [[("top", 100_000), ("five", 300_000), ("none", 0)]])
def test_many_draws_fall_as_the_published_odds_say(weights):
    """Set LEIDAN_DRAWS=1000000 for the million. p > 0.001, for a seed fixed beforehand."""
    stock = [prize(id_, DRAWS, 0) for id_, _ in weights]
    pool = lottery(prizes=stock, odds=[odds(*weights)])
    book, hits = Book(pool), Counter()
    for n in range(DRAWS):
        folded = pools.step(book, ask(n, 1 + n / 1e6), pool, [], book.seed)
        book.update(folded.rows)
        hits[folded.outputs[-1].body.get("prize_id", "")] += 1
    declared = dict(weights) | {"": EVERY_TICKET - sum(weight for _, weight in weights)}
    assert hits["none"] == 0
    cells = {id_: weight for id_, weight in declared.items() if weight}
    square = sum(
        (hits[id_] - DRAWS * weight / EVERY_TICKET) ** 2 / (DRAWS * weight / EVERY_TICKET)
        for id_, weight in cells.items()
    )
    assert fair.chance_of_more(square, len(cells) - 1) > 0.001
    assert book[pool_key(ID)].no == DRAWS + 1
    assert sum(stock.given for stock in book.state.stock) == DRAWS - hits[""]


@pytest.mark.parametrize(
    ("square", "freedom", "chance"),
    [(10.828, 1, 0.001), (3.841, 1, 0.05), (13.816, 2, 0.001), (18.307, 10, 0.05)],
)
def test_the_quantiles_are_those_of_the_tables(square, freedom, chance):
    assert fair.chance_of_more(square, freedom) == pytest.approx(chance, rel=1e-3)


def test_a_crooked_wheel_would_be_found():
    hits = Counter(sample.sample(None, (str(n),), 100)[0] < 11 for n in range(20_000))
    square = sum((hits[k] - 20_000 * p) ** 2 / (20_000 * p) for k, p in ((True, 0.1), (False, 0.9)))
    assert fair.chance_of_more(square, 1) < 0.001

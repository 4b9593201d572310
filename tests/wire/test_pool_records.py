"""Rows and records of pools: whatever the fold says satisfies its schema and is read as it was."""

from __future__ import annotations

import json
from functools import cache

import jsonschema_rs
import msgspec
import pytest

from streams.domain import ids
from streams.domain.pool import BudgetAdded, Odds, OddsAdded, PoolClosed, Restocked, Weight
from streams.domain.pool_state import Answered, Entrant, Held, PoolState, Stock
from streams.errors import DiskError, Refused
from streams.feed.ports import Record
from streams.partitioner import murmur2, partition_of
from streams.topics import schema_path
from streams.wire import draw_requests, draw_results, outputs, rows
from tests.pooling import (
    EVERY_TICKET,
    Book,
    ask,
    at,
    budget,
    certain,
    release,
    reserve,
    returned,
    rights,
    written,
)

ID = "veg-wheel"
FALLBACK = {"right_id": "c-1", "type": "coupon", "value_minor": 10, "face": "10 off"}
ASKED = Record("draw-requests", 0, 7, b"veg-wheel", b"{}", [], at(1))


@cache
def said():
    """Every record of a lottery's life, and answers of every kind."""
    wheel = Book(
        certain(stock=1, fallback=FALLBACK),
        Restocked(ID, at(5), {"sure": 2}),
        BudgetAdded(ID, at(6), 5_000),
        OddsAdded(ID, at(7), Odds(2, EVERY_TICKET, (Weight("sure", 10),))),
        PoolClosed(ID, at(20)),
    )
    wheel.when(ask(1), ask(2, user="u-2"), returned(1), ask(3, hours=8, odds_version=2))
    wheel.when(ask(4, hours=30)).tick(200)
    money, coffee = budget(100), rights(cup=1)
    one = Book(money).when(reserve(money, 1, 60), reserve(money, 2, 60), release(money, 1, 60))
    other = Book(coffee).when(reserve(coffee, 1, cup=1), reserve(coffee, 2, cup=1))
    return [*wheel.heard, *one.heard, *other.heard]


@pytest.mark.parametrize("topic", ["lottery-draws", "draw-results"])
def test_everything_said_satisfies_its_schema(topic):
    schema = json.loads(schema_path(topic).read_text("utf-8"))
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    values = [json.loads(outputs.encode(o, ASKED).value) for o in said() if o.topic == topic]
    for value in values:
        validator.validate(value)
    kinds = {variant["$ref"] for variant in schema["oneOf"]}
    assert len({value["type"] for value in values}) == len(kinds), "every type was said"


def test_an_answer_is_read_as_it_was_given():
    for output in (output for output in said() if output.topic == "draw-results"):
        out = outputs.encode(output, ASKED)
        answer = draw_results.decode(
            Record("draw-results", 0, 0, out.key, out.value, out.headers, at(1))
        )
        body = output.body
        assert (answer.user_id, answer.request_id) == (output.key, body["request_id"])
        assert answer.outcome == body["outcome"]
        assert (json.loads(answer.right) if answer.right else None) == body.get("right")


def test_a_request_is_read_as_it_was_asked():
    coffee = rights(cup=2)
    for request in (ask(), reserve(coffee, cup=2), release(coffee, cup=1), returned()):
        key, value = written(request)
        assert draw_requests.decode(Record("draw-requests", 0, 0, key, value, [], 0)) == request


ROWS = {
    "\x01pool:p": PoolState(known=True, applied=2, no=9, stock=(Stock("top", 31, given=4),)),
    "\x01req:p:drw_1": Answered("drawn", at(1), "won", "top"),
    "\x01ent:p:e": Entrant({"top": 1}),
    "\x01tsk:budget:c:tsk_1": Held(1_100, {"cup": 2}),
}


@pytest.mark.parametrize("key", ROWS)
def test_a_row_of_a_pool_comes_back_as_it_was(key):
    data = rows.encode(ROWS[key])
    assert rows.decode(key, data) == ROWS[key]
    assert rows.new(key) != ROWS[key]
    assert type(rows.new(key)) is type(ROWS[key])
    with pytest.raises(DiskError, match="damaged"):
        rows.decode(key, data[:1] + b"\xc1")
    with pytest.raises(Refused, match="newer version"):
        rows.decode(key, bytes([rows.ROW_SCHEMA + 1]) + data[1:])


def test_an_answered_request_takes_few_bytes_and_a_pool_no_more_for_all_of_them():
    book = Book(certain(stock=100, fallback=FALLBACK)).when(*(ask(n) for n in range(200)))
    answered = [row for row in book.values() if isinstance(row, Answered)]
    assert max(len(rows.encode(row)) for row in answered) < 48
    assert len(rows.encode(book.state)) < 200


@pytest.mark.parametrize(
    ("key", "hash_"),  # of Kafka's own test, UtilsTest.testMurmur2
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_a_key_is_where_java_puts_it(key, hash_):
    assert murmur2(key) == hash_ % 2**32
    assert partition_of(key, 8) == (hash_ & 0x7FFFFFFF) % 8


def test_a_draw_is_refused_under_an_id_that_is_not_its_own():
    key, value = written(msgspec.structs.replace(ask(), request_id=ids.draw_id("tsk_1", "4")))
    with pytest.raises(Exception, match="request_id is not the draw's id"):
        draw_requests.decode(Record("draw-requests", 0, 0, key, value, [], 0))

"""The scanner takes a part of what the decoder accepts, and reads it alike."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.registry import Campaigns
from streams.feed.ports import Record
from tests import builders as b
from tests.fuzz.mutate import Mutator
from tests.native.beside import Beside, needs_native
from tests.wire.examples import examples
from tests.wire.test_properties import json_values, orders, spoilt, written

pytestmark = needs_native
EXAMPLES = examples("valid", "tolerated", "invalid", topics=("orders",))


@pytest.fixture(scope="module")
def beside() -> Beside:
    return Beside(Campaigns())


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_example(example, beside):
    """What is taken is read alike; taking what Python refuses raises its refusal."""
    beside.scanned(example.record)


def test_the_plain_examples_are_taken(beside):
    taken = [e for e in examples("valid", topics=("orders",)) if beside.scanned(e.record)]
    assert len(taken) > 2


@settings(max_examples=400, deadline=None)
@given(order=orders(), indent=st.sampled_from([None, 2]), unknown=json_values)
def test_any_order_that_can_be_written(order, indent, unknown):
    topic, body = written(order)
    at = datetime.fromtimestamp(order.occurred_at_ms / 1000, UTC).isoformat()
    body |= {"v": 1, "user_id": order.user_id, "occurred_at": at, "x": unknown}
    value = json.dumps(body, ensure_ascii=False, indent=indent).encode()
    key = order.user_id.encode()
    Beside(Campaigns()).scanned(Record(topic, 0, 0, key, value, [], order.recorded_at_ms))


@settings(max_examples=400, deadline=None)
@given(record=spoilt())
def test_accidents_on_the_way(record):
    Beside(Campaigns()).scanned(record)


@pytest.mark.parametrize("seed", range(4))
def test_spoilt_bytes(seed, beside):
    good = [e.value for e in EXAMPLES if e.value] + [plain(b.order(f"o{n}")) for n in range(3)]
    mutator = Mutator(seed, good)
    taken = 0
    for _ in range(4_000):
        value = mutator.next()
        key = value.partition(b'"user_id":"')[2].partition(b'"')[0]
        taken += beside.scanned(Record("orders", 0, 0, key, value, [], 1_790_000_000_000))
    assert taken > 20


def plain(event: dict) -> bytes:
    return orjson.dumps({k: v for k, v in event.items() if k != "recorded_at_ms"})


@pytest.mark.parametrize(
    "at",
    [
        "2026-03-02T12:00:00Z", "2026-03-02T12:00:00.1Z", "2026-03-02T12:00:00.123456+08:00",
        "2026-03-02T12:00:00.1234567Z", "2026-03-02T12:00:00.9999999Z", "2026-03-02T12:00:00z",
        "2026-03-02 12:00:00Z", "2024-02-29T00:00:00Z", "2026-02-29T00:00:00Z",
        "2026-03-02T24:00:00Z", "2026-03-02T23:59:60Z", "2026-03-02T12:00:00+23:59",
        "2026-03-02T12:00:00-0800", "2026-03-02T12:00:00", "1999-12-31T23:59:59.999Z",
        "2000-01-01T00:00:00Z", "2999-12-31T23:59:59.999Z", "3000-01-01T00:00:00Z",
        "2026-03-02T12:00:00.Z", "2026-03-02T12:00:00.123", "2026-3-2T12:00:00Z",
    ],
)  # fmt: skip
def test_times(at, beside):
    event = b.order("o1") | {"occurred_at": at}
    for recorded_ms in (1_790_000_000_000, 32_503_679_999_999):
        record = Record("orders", 0, 0, b.USER.encode(), plain(event), [], recorded_ms)
        beside.scanned(record)


@settings(max_examples=300, deadline=None)
@given(at=st.datetimes(), offset=st.sampled_from(["Z", "+00:00", "+05:45", "-11:00", "+14:00"]))
def test_any_time(at, offset):
    event = b.order("o1") | {"occurred_at": at.isoformat() + offset}
    record = Record("orders", 0, 0, b.USER.encode(), plain(event), [], 32_503_679_999_999)
    Beside(Campaigns()).scanned(record)

"""The second stage on a batch: rows of the pool in the overlay, outputs with their cause."""

from __future__ import annotations

import json

from streams.agents.draws import fold_requests, tick_pools
from streams.domain.pool_state import pool_key
from streams.domain.registry import Campaigns
from streams.feed.batch import Batch
from streams.feed.ports import Record
from streams.store.overlay import Codec, Overlay, StateCache
from streams.wire import outputs, rows
from tests.pooling import CLOSES_AFTER_H, SEED, ask, at, certain, reserve, rights, written

COFFEE = rights(cup=1)
POOLS = Campaigns.of([certain(), COFFEE])
EMPTY = Record("ticks", 0, 9, None, b"{}", [], at(0))


class Nothing:
    """A database in which nothing is yet; counts how often it is asked."""

    asked = 0

    def get_many(self, keys):
        self.asked += 1
        return [None] * len(keys)


def seed(_pool):
    return SEED


def batch(*requests, topic="draw-requests"):
    records = [
        Record(topic, 0, n, *written(request), [], at(1)) for n, request in enumerate(requests)
    ]
    overlay = Overlay(Nothing(), Codec(rows.new, rows.decode, rows.encode), StateCache())
    return Batch(topic, 0, records, overlay, POOLS, outputs.encode)


def test_requests_of_a_batch_are_folded_one_after_another_from_one_read():
    work = batch(ask(1), ask(2, user="u-2"), ask(1), reserve(COFFEE, cup=1))
    fold_requests(work, seed)
    said = [(out.topic, out.key, json.loads(out.value)["type"]) for out in work.outgoing]
    assert said == [
        ("lottery-draws", b"veg-wheel", "draw.committed"),
        ("lottery-draws", b"veg-wheel", "draw.drawn"),
        ("draw-results", b"u-1", "draw.result"),
        ("lottery-draws", b"veg-wheel", "draw.drawn"),
        ("draw-results", b"u-2", "draw.result"),
        ("draw-results", b"u-1", "draw.result"),
        ("draw-results", b"u-1", "pool.granted"),
    ]
    assert dict(work.outcomes) == {"applied": 3, "duplicate": 1}
    assert all(type(name) is str for name in work.outcomes), "as JSON wants them"
    assert work.overlay._rows.asked == 1  # noqa: SLF001
    assert dict(work.outgoing[1].headers)["cause-topic"] == b"draw-requests"


def test_what_is_no_request_is_set_aside_and_the_rest_goes_on():
    work = batch(ask(1))
    bad = work.records[0]._replace(value=b"{", offset=7)
    work.records.insert(0, bad)
    fold_requests(work, seed)
    assert work.dead == [7]
    assert work.outgoing[0].topic == "dead-letters"
    assert work.outputs["draw.result"] == 1


def test_a_tick_is_for_the_pools_of_its_partition():
    work = batch(topic="ticks")
    tick_pools(work, EMPTY, at(-24), lambda pool_id: pool_id == "coffee", seed)
    assert (work.outgoing, work.overlay.touched) == ([], 1)
    tick_pools(work, EMPTY, at(-24), lambda _pool_id: True, seed)
    assert [json.loads(out.value)["type"] for out in work.outgoing] == ["draw.committed"]
    tick_pools(work, EMPTY, at(-23), lambda _pool_id: True, seed)
    assert len(work.outgoing) == 1
    tick_pools(work, EMPTY, at(CLOSES_AFTER_H + 48), lambda _pool_id: True, seed)
    assert work.overlay[pool_key("veg-wheel")].revealed

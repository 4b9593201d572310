"""Rows brought to another partitioning: each where its key hashes to, none changed, none lost."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import topics
from streams.backfill import rekey
from streams.domain import ids, pool_state
from streams.errors import Refused
from streams.partitioner import partition_of
from streams.store import meta

POOLS = st.sampled_from(["wheel", "budget:three", "a:b:c", "池"])
TASKS = st.integers(0, 9).map(lambda n: ids.task_id("u", "c", n))


def pool_rows(pool: str, task: str) -> list[str]:
    return [
        pool_state.pool_key(pool),
        pool_state.request_key(pool, ids.draw_id(task, "1")),
        pool_state.request_key(pool, ids.request_id(task, "reserve:shelf", "k")),
        pool_state.entrant_key(pool, ids.entrant(pool, "u")),
        pool_state.task_key(pool, task),
    ]


USERS = st.text(st.characters(min_codepoint=33, exclude_categories=["Cs"]), min_size=1)
KEYS = st.one_of(
    USERS.map(lambda user: [user]), st.tuples(POOLS, TASKS).map(lambda pair: pool_rows(*pair))
)
ROWS = st.lists(KEYS).map(
    lambda some: {key.encode(): b"row of " + key.encode() for keys in some for key in keys}
)
COUNTS = st.integers(1, 9)


@pytest.mark.parametrize("pool", ["wheel", "budget:three", "a:b:c"])
def test_all_rows_of_a_pool_lie_with_the_pool(pool):
    for key in pool_rows(pool, ids.task_id("u", "c", 1)):
        assert pool_state.pool_of(key) == pool
        assert rekey.home(key.encode(), 64) == partition_of(pool.encode(), 64)


@given(ROWS, COUNTS, COUNTS)
def test_every_row_lands_where_its_key_hashes_to_and_all_of_them_are_the_same(rows, before, after):
    at_rest = [(rekey.home(key, before), key) for key in rows]
    counts = rekey.census(at_rest, before, after)
    origins = [meta.Resized("c", "old-", "leidan", before, count) for count in counts]
    starts = [{"orders": q, "ticks": 0} for q in range(after)]
    there = defaultdict(list)
    for one in rekey.records(rows.items(), origins, starts):
        assert one.topic == topics.CHANGELOG
        there[one.partition].append((one.key, one.value))
    assert sorted(there) == list(range(after))
    for q, (first, *brought, last) in there.items():
        assert first == (meta.RESIZED, meta.encode_resized(origins[q])), "before all others"
        assert last[0] == meta.META, "a restore takes what lies before it"
        assert meta.decode_meta(last[1]).next == starts[q]
        assert len(brought) == counts[q]
        assert {rekey.home(key, after) for key, _ in brought} <= {q}
    moved = [pair for some in there.values() for pair in some[1:-1]]
    assert sorted(moved) == sorted(rows.items())


@given(ROWS, COUNTS, COUNTS)
def test_there_and_back_is_where_it_was(rows, before, after):
    assert rekey.census([(rekey.home(key, before), key) for key in rows], before, after) == [
        sum(rekey.home(key, after) == q for key in rows) for q in range(after)
    ]
    back = [(rekey.home(key, after), key) for key in rows]
    assert sum(rekey.census(back, after, before)) == len(rows)


def test_a_row_that_a_foreign_partitioner_has_made_is_refused_by_name():
    wrong = (partition_of(b"u-1", 4) + 1) % 4
    with pytest.raises(Refused, match=rf"row of 'u-1' is on partition {wrong}"):
        rekey.census([(wrong, b"u-1")], 4, 8)

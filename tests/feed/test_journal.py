"""The fold journal: what a unit of work writes down, and that its ranges give the runs again."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.registry import Campaigns
from streams.feed.align import rounds
from streams.feed.journal import ranges_of
from streams.feed.ports import Record
from streams.topics import JOURNAL
from streams.wire import journal
from streams.wire.journal import Folded, Range
from tests.feed.memory import ABORTABLE, World
from tests.wire.examples import Example, examples

TOPICS = ("orders", "claims", "cancellations", "ticks")
VALID = pytest.mark.parametrize("example", examples("valid", topics=(JOURNAL,)), ids=str)


def written(world: World, p: int = 0) -> list[Folded]:
    return [journal.decode(record.value or b"") for record in world.broker.read(JOURNAL, p)]


def batch(run: list[Record]) -> SimpleNamespace:
    return SimpleNamespace(topic=run[0].topic, records=run, left=[], begun_users=0)


@given(st.lists(st.tuples(st.sampled_from(TOPICS[:3]), st.integers(0, 3), st.booleans())))
@settings(max_examples=200, deadline=None)
def test_the_ranges_of_merged_topics_give_back_every_run_in_its_order(drawn):
    """Drawn: topic and user of each record, and whether a marker has the offset before it."""
    ends, records = dict.fromkeys(TOPICS, 0), []
    for topic, user, hole in drawn:
        offset = ends[topic] + hole
        ends[topic] = offset + 1
        records.append(Record(topic, 0, offset, b"u%d" % user, b"", [], 0))
    runs = rounds(records, TOPICS)
    log = {topic: [r for r in records if r.topic == topic] for topic in TOPICS}
    again = [
        record
        for topic, first, following, *_ in ranges_of([batch(run) for run in runs])
        for record in log[topic]
        if first <= record.offset < following
    ]
    assert again == [record for run in runs for record in run]


def test_every_transaction_writes_one_record_a_partition_with_its_batch_number():
    world = World(partitions=2)
    for p in (0, 1):
        world.broker.put("orders", f"u{p}", p=p)
    world.settle()
    world.broker.put("orders", "u0", p=0)
    world.settle()
    assert [(one.batch, one.ranges) for one in written(world)] == [
        (1, (Range("orders", 0, 1),)),
        (2, (Range("orders", 1, 2),)),
    ]
    assert [one.batch for one in written(world, 1)] == [1]


def test_a_transaction_that_was_aborted_leaves_no_journal_record():
    world = World()
    world.broker.put("orders", "u")
    world.broker.fail["flush"] = ABORTABLE
    world.settle()
    assert [one.batch for one in written(world)] == [1]


def test_the_journal_says_with_which_definitions_was_folded():
    world = World()
    world.campaigns.latest = lambda: SimpleNamespace(campaigns=Campaigns(), next=7, files="0" * 16)
    world.broker.put("orders", "u")
    world.settle()
    (one,) = written(world)
    assert (one.campaigns, one.files) == (7, "0" * 16)


@VALID
def test_an_example_decodes_and_is_encoded_as_it_was(example: Example):
    assert journal.encode(journal.decode(example.value)) == example.value


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'{"type":"folded","v":2}', b"[" * 9_000])
def test_whatever_is_no_journal_record_is_said_to_be_none(value):
    with pytest.raises(msgspec.DecodeError):
        journal.decode(value)


def test_a_record_of_two_thousand_orders_and_a_few_claims_is_small():
    ranges = (
        Range("orders", 1_000_000, 1_001_990),
        Range("claims", 40_000, 40_030),
        Range("cancellations", 900, 907),
    )
    assert len(journal.encode(Folded(123_456, 12, 25, ranges))) < 200

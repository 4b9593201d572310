"""The commit protocol, stop by stop: the table of reliability.md 2 as tests."""

from __future__ import annotations

import copy

import pytest

from streams.errors import CommitUnknown, Fenced
from streams.feed.ports import BrokerLost, TransactionAbortable
from streams.store import meta
from tests.feed.memory import World, fold

ABORTABLE = TransactionAbortable("delivery failed")
BEFORE_K6 = ["begin", "produce", "flush", "send_offsets"]


def world_with(*values: str) -> World:
    world = World()
    for value in values:
        world.broker.put("orders", "u1", value.encode())
    return world


def test_a_commit_moves_outputs_rows_meta_and_offsets_together():
    world = world_with("a", "b")
    assert world.step() is True
    assert world.outputs() == [("u1", b"a"), ("u1", b"ab")]
    assert world.rows() == {b"u1": b"ab"}
    assert world.broker.committed == {("orders", 0): 2, ("claims", 0): 0}
    row, last = world.broker.read("changelog")
    assert (row.key, row.value) == (b"u1", b"ab")
    assert last.key == meta.META
    assert meta.decode_meta(last.value).next == {"orders": 2, "claims": 0}
    disk = world.store.disks[0]
    assert disk["next"] == {"orders": 2, "claims": 0}
    assert disk["changelog"] == last.offset + 1


@pytest.mark.parametrize("call", [*BEFORE_K6, "commit"])
def test_nothing_reaches_rocksdb_before_the_commit_has_returned(call):
    world = world_with("a")
    work = world.poll()
    fold(work)
    before = copy.deepcopy(world.store.disks)
    world.broker.fail[call] = CommitUnknown("?") if call == "commit" else ABORTABLE
    assert world.feed.commit(work) is False
    assert world.store.disks[0]["rows"] == before[0]["rows"] == {}
    assert world.outputs() == []


@pytest.mark.parametrize("call", BEFORE_K6)
@pytest.mark.parametrize("error", [ABORTABLE, BrokerLost("no answer")])
def test_an_error_before_k6_aborts_replaces_the_producer_and_reads_again(call, error):
    world = world_with("a")
    world.broker.fail[call] = error
    assert world.step() is False
    assert "abort" in world.broker.calls
    world.settle()
    assert world.outputs() == [("u1", b"a")]
    assert world.rows() == {b"u1": b"a"}
    assert [producer.closed for producer in world.producers] == [True, False]


def test_a_commit_that_failed_and_never_happened_is_done_again():
    world = world_with("a")
    world.broker.fail["commit"] = CommitUnknown("timed out")
    assert world.step() is False
    assert "abort" not in world.broker.calls, "an unknown outcome must not be touched"
    world.settle()
    assert world.outputs() == [("u1", b"a")]
    assert len(world.producers) == 2


def test_a_commit_that_failed_but_happened_is_not_done_again():
    world = world_with("a")
    world.broker.fail["commit_answer"] = CommitUnknown("timed out")
    assert world.step() is False
    assert world.rows() == {b"u1": b"a"}, "the restore brought the row from the changelog"
    world.broker.put("orders", "u1", b"b")
    world.settle()
    assert world.outputs() == [("u1", b"a"), ("u1", b"ab")]
    assert world.store.disks[0]["next"] == {"orders": 2, "claims": 0}


@pytest.mark.parametrize("call", [*BEFORE_K6, "commit"])
def test_a_fenced_producer_ends_the_worker_and_writes_nothing(call):
    world = world_with("a")
    world.broker.fail[call] = Fenced("newer epoch")
    with pytest.raises(Fenced):
        world.step()
    assert world.rows() == {}
    assert world.outputs() == []


def test_a_crash_between_commit_and_rocksdb_is_healed_by_the_restore():
    world = world_with("a")
    world.poll()
    before = copy.deepcopy(world.store.disks)
    fold(world.feed.work)
    world.feed.commit(world.feed.work)
    world.store.disks = before  # K7: the broker took it, the WriteBatch never came
    world.broker.put("orders", "u1", b"b")
    world.crash()
    world.settle()
    assert world.outputs() == [("u1", b"a"), ("u1", b"ab")]
    assert world.rows() == {b"u1": b"ab"}


def test_a_lost_disk_is_rebuilt_from_the_changelog():
    world = world_with("a", "b")
    world.settle()
    rows, world.store.disks = world.rows(), {}
    world.crash()
    world.settle()
    assert world.rows() == rows
    assert world.outputs() == [("u1", b"a"), ("u1", b"ab")]


def test_a_suspect_producer_never_begins_again():
    world = world_with("a")
    work = world.poll()
    fold(work)
    world.producers[-1].suspect = True  # a slow call, or its error callback
    world.producers[-1].begin = lambda: None
    assert world.feed.commit(work) is True
    assert world.rows() == {b"u1": b"a"}
    world.broker.put("orders", "u1", b"b")
    world.settle()
    assert world.outputs() == [("u1", b"a"), ("u1", b"ab")]
    assert len(world.producers) == 2


def test_offsets_carry_the_group_metadata_of_the_assignment_not_of_the_moment():
    world = world_with("a")
    work = world.poll()
    fold(work)
    world.log.generation = 99  # the group has moved on while we folded
    world.feed.commit(work)
    assert world.producers[-1].groups == [1]


def test_one_transaction_carries_several_partitions():
    world = World(partitions=2)
    world.broker.put("orders", "u1", b"a", p=0)
    world.broker.put("orders", "u2", b"b", p=1)
    assert world.step() is True
    assert world.broker.took_commits == 1
    assert (world.rows(0), world.rows(1)) == ({b"u1": b"a"}, {b"u2": b"b"})


def test_the_batch_number_counts_commits_of_the_partition():
    world = world_with("a")
    world.settle()
    world.broker.put("orders", "u1", b"b")
    world.settle()
    metas = [
        meta.decode_meta(r.value) for r in world.broker.read("changelog") if r.key == meta.META
    ]
    assert [m.batch for m in metas] == [1, 2]


def test_dead_letters_ride_in_the_same_transaction_with_their_source():
    world = world_with("a", "bad")
    world.broker.fail["commit"] = CommitUnknown("timed out")
    world.step()
    assert world.broker.read("dead-letters") == []
    world.settle()
    (letter,) = world.broker.read("dead-letters")
    headers = dict(letter.headers)
    assert (letter.key, letter.value) == (b"u1", b"bad")
    assert (headers["dl-reason"], headers["dl-offset"]) == (b"not_json", b"1")
    assert world.outputs() == [("u1", b"a")]

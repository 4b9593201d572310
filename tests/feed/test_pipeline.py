"""One commit under way and one unit of work folded on top of it: same fate, in order."""

from __future__ import annotations

import pytest

from streams.errors import CommitUnknown, Fenced
from streams.feed.ports import TransactionAbortable
from tests.feed.memory import Later, World, fold


def world_under_way() -> tuple[World, Later]:
    """u1 has "a" in a commit that is under way; "b", a full unit of work, waits on the topic."""
    committer = Later()
    world = World(committer=committer, batch_records=1)
    world.broker.put("orders", "u1", b"a")
    assert world.step() is None
    assert world.feed.take_finished() == []
    world.broker.put("orders", "u1", b"b")
    return world, committer


def settle(world: World) -> None:
    """Go on until nothing is left and no commit is under way."""
    for _ in range(4):
        world.settle()
        if world.committer.task is not None:
            world.committer.task.run()
    world.settle()


def test_the_next_unit_folds_on_rows_that_are_not_committed_yet():
    world, _ = world_under_way()
    work = world.poll()
    assert world.outputs() == [], "the first is still under way"
    fold(work)
    assert work.batches[0].overlay["u1"] == "ab"
    world.feed.commit(work)
    assert world.outputs() == [("u1", b"a")], "the second waited for the first"
    settle(world)
    assert world.outputs() == [("u1", b"a"), ("u1", b"ab")]
    assert world.rows() == {b"u1": b"ab"}
    assert world.broker.committed["orders", 0] == 2


def test_the_next_unit_prefetches_through_the_one_under_way():
    world, _ = world_under_way()
    work = world.poll()
    overlay = work.batches[0].overlay
    overlay.prefetch(["u1", "u2"])
    assert (overlay["u1"], overlay["u2"]) == ("a", "")


def test_a_commit_that_outlasts_its_limits_ends_the_worker_and_not_the_watchdog():
    """Three brokers, one bounced: librdkafka's send_offsets stayed beyond its time limit."""
    world, committer = world_under_way()
    work = world.poll()
    fold(work)
    committer.task.hangs = True
    with pytest.raises(Fenced, match="outlasted every limit"):
        world.feed.commit(work)
    assert world.outputs() == []


def test_definitions_that_age_and_come_back_during_a_commit_make_nothing_be_read_twice():
    """Found by simulation seed 1348: the pause ended where the commit under way had begun."""
    world, committer = world_under_way()
    world.campaigns.age_s = 31.0
    assert world.feed.poll(0.0) is None
    world.campaigns.age_s = 1.0
    assert world.poll(5) is None, "where to go on is known once the commit has settled"
    committer.task.run()
    settle(world)
    assert world.outputs() == [("u1", b"a"), ("u1", b"ab")]
    assert world.rows() == {b"u1": b"ab"}


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("flush", TransactionAbortable("delivery failed")),
        ("commit", CommitUnknown("timed out")),
        ("commit_answer", CommitUnknown("timed out")),
    ],
)
def test_dropping_the_first_drops_the_second_and_both_are_done_once(call, error):
    world, _ = world_under_way()
    work = world.poll()
    fold(work)
    world.broker.fail[call] = error
    assert world.feed.commit(work) is False
    settle(world)
    assert world.outputs() == [("u1", b"a"), ("u1", b"ab")]
    assert world.rows() == {b"u1": b"ab"}
    assert len(world.producers) == 2


def test_a_suspect_producer_drops_the_second_and_keeps_the_first():
    world, _ = world_under_way()
    work = world.poll()
    fold(work)
    producer = world.producers[-1]
    begin = producer.begin

    def begin_and_be_slow() -> None:
        begin()
        producer.suspect = True

    producer.begin = begin_and_be_slow
    assert world.feed.commit(work) is False
    assert world.outputs() == [("u1", b"a")]
    settle(world)
    assert world.outputs() == [("u1", b"a"), ("u1", b"ab")]


def test_a_revoke_waits_for_the_commit_under_way_and_then_closes():
    world, _ = world_under_way()
    world.log.revoke(0)
    world.feed.poll(0.0)
    assert world.outputs() == [("u1", b"a")]
    assert world.rows() == {b"u1": b"a"}
    assert [rows.open for rows in world.store.opened] == [False]


def test_what_comes_during_a_commit_is_one_unit_of_work_once_it_has_ended():
    committer = Later()
    world = World(committer=committer, batch_records=3)
    world.broker.put("orders", "u1", b"a")
    assert world.step() is None
    for value in (b"b", b"c"):
        world.broker.put("orders", "u1", value)
        assert world.feed.poll(0.0) is None, "it would wait for the commit before it"
    committer.task.run()
    work = world.feed.poll(0.0)
    assert [record.value for record in work.batches[0].records] == [b"b", b"c"]


def test_a_full_unit_of_work_is_folded_beside_the_commit():
    committer = Later()
    world = World(committer=committer, batch_records=2)
    world.broker.put("orders", "u1", b"a")
    assert world.step() is None
    for value in (b"b", b"c", b"d"):
        world.broker.put("orders", "u1", value)
    work = world.feed.poll(0.0)
    assert [record.value for record in work.batches[0].records] == [b"b", b"c"]
    assert world.outputs() == [], "the first is still under way"


def test_a_commit_that_ends_while_more_is_awaited_makes_way_at_once():
    world = World(committer=Later(), batch_records=2)
    world.broker.put("orders", "u1", b"a")
    assert world.step() is None
    world.broker.put("orders", "u1", b"b")
    work = world.feed.poll(1.0)  # whoever waits for it lets it run
    assert world.outputs() == [("u1", b"a")]
    assert work.batches[0].records[0].value == b"b"


def test_a_commit_that_fails_while_more_is_awaited_makes_everything_be_read_again():
    world = World(committer=Later(), batch_records=2)
    world.broker.put("orders", "u1", b"a")
    assert world.step() is None
    world.broker.put("orders", "u1", b"b")
    world.broker.fail["flush"] = TransactionAbortable("delivery failed")
    assert world.feed.poll(1.0) is None
    settle(world)
    assert world.outputs() == [("u1", b"a"), ("u1", b"ab")]


@pytest.mark.parametrize("call", ["flush", "commit", "commit_answer"])
def test_a_revoke_that_meets_a_failing_commit_leaves_it_to_the_restore(call):
    world, _ = world_under_way()
    error = TransactionAbortable("x") if call == "flush" else CommitUnknown("x")
    world.broker.fail[call] = error
    world.log.revoke(0)
    world.feed.poll(0.0)
    assert world.feed.owned == {}
    assert all(not rows.open for rows in world.store.opened)
    world.log.assign(0)
    settle(world)
    assert world.outputs() == [("u1", b"a"), ("u1", b"ab")]
    assert world.rows() == {b"u1": b"ab"}
    assert world.producers[0].closed


def test_being_fenced_under_way_ends_the_worker_at_the_next_pass():
    world, committer = world_under_way()
    world.broker.fail["commit"] = Fenced("newer epoch")
    committer.task.run()
    with pytest.raises(Fenced):
        world.poll()
    assert world.rows() == {}


def test_a_close_finishes_the_commit_under_way():
    world, _ = world_under_way()
    assert not world.feed.idle()
    world.feed.close()
    assert world.outputs() == [("u1", b"a")]
    assert world.rows() == {b"u1": b"a"}
    assert len(world.feed.take_finished()) == 1


def test_a_unit_of_work_does_not_hold_on_to_all_before_it():
    world, _ = world_under_way()
    for _ in range(5):
        work = world.poll()
        fold(work)
        world.feed.commit(work)
        world.broker.put("orders", "u1", b"c")
    settle(world)
    assert work.batches[0].overlay._below is None  # noqa: SLF001


def test_the_watchdog_counts_from_the_oldest_unit():
    world, _ = world_under_way()
    begun_s = world.feed.busy_since_s()
    world.clock.now_s += 7
    world.poll()
    assert world.feed.busy_since_s() == begun_s
    assert begun_s < world.clock.now_s - 6

"""A definition that moves deadlines is heard of by users of whom nothing else is read (D8)."""

from __future__ import annotations

import pytest

from streams.agents import dating
from streams.errors import CommitUnknown
from streams.store import meta
from tests.builders import at, change, claim, tick
from tests.feed.memory import Later
from tests.feed.test_ticks import USERS, Timed, claimed


def killed(day: int = 3):
    effective = at(day, "00:00").isoformat()
    return change("campaign.killed", campaign_id="three", effective_from=effective)


def told(world: Timed) -> list[str]:
    return sorted(one.split()[0] for one in world.said() if one.endswith("task.killed"))


@pytest.fixture
def small(monkeypatch):
    """Slices of two rows."""
    monkeypatch.setattr(dating.redate, "__defaults__", (2, 2))


def test_the_first_tick_of_a_kill_tells_users_whose_rows_were_written_before_it_was_known():
    world = claimed(USERS)
    world.send(tick(2))
    world.settle()
    world.definitions.learn(killed(3))
    world.send(tick(2, "20:00"))
    world.settle()
    assert not told(world), "its time has not come"
    world.send(tick(3))
    world.settle()
    assert told(world) == USERS


def test_a_kill_of_which_no_tick_came_between_is_told_by_the_first_one_after_it():
    world = claimed(USERS)
    world.definitions.learn(killed(3))
    world.send(tick(4))
    world.settle()
    assert told(world) == USERS
    assert not world.expired()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("units", range(8))
def test_stopped_anywhere_in_the_walk_a_worker_goes_on_with_it(units):
    world = claimed(USERS)
    world.definitions.learn(killed(3))
    world.send(tick(3))
    for _ in range(units):
        world.step()
    world.crash()
    world.settle()
    assert told(world) == USERS


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("call", ["commit", "commit_answer"])
def test_a_slice_whose_commit_is_unknown_is_done_once(call):
    world = claimed(USERS)
    world.definitions.learn(killed(3))
    world.send(tick(3))
    world.step()
    world.step()
    world.broker.fail[call] = CommitUnknown("timed out")
    world.settle()
    assert told(world) == USERS


@pytest.mark.usefixtures("small")
def test_a_walk_is_done_in_slices_and_once_for_all():
    world = claimed(USERS)
    world.definitions.learn(killed(5))
    before = world.broker.took_commits
    world.send(tick(2))
    world.settle()
    assert world.broker.took_commits - before >= len(USERS) / 2
    before = world.broker.took_commits
    world.send(tick(2, "20:00"))
    world.settle()
    assert world.broker.took_commits - before == 1, "nothing is left to visit"


def test_rows_of_a_commit_under_way_are_found_though_they_were_dated_by_fewer_definitions():
    world = Timed(committer=Later())
    world.send(claim())
    assert world.step() is None
    world.definitions.learn(killed(3))
    world.send(tick(3))
    for _ in range(5):
        world.step()
        world.committer.task.run()
    assert told(world) == ["u-1"]


def test_who_takes_over_with_fewer_definitions_does_not_pass_for_having_dated_its_rows():
    world = claimed(USERS)
    world.definitions.learn(killed(3))
    world.send(tick(2))
    world.settle()
    assert meta.decode_dating(world.rows()[meta.DATED]).done
    world.definitions.known.pop()
    world.crash()
    world.send(claim(), user="u-late")
    world.settle()
    world.definitions.learn(killed(3))
    world.crash()
    world.send(tick(3))
    world.settle()
    assert told(world) == [*USERS, "u-late"]


def test_a_disk_that_was_lost_has_the_progress_back_with_its_rows():
    world = claimed(USERS)
    world.definitions.learn(killed(5))
    world.send(tick(2))
    world.settle()
    noted = world.rows()[meta.DATED]
    world.store.disks.clear()
    world.crash()
    world.settle()
    assert world.rows()[meta.DATED] == noted

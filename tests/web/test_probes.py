"""What /livez and /readyz say in each state a worker can be in; the loop is the real one."""

from __future__ import annotations

import orjson
import pytest

from streams.feed.watchdog import BATCH_S, SILENT_S, Watchdog
from streams.position import Position
from streams.web import probes
from tests.feed.memory import LOST, Later, World


def fed(**settings) -> World:
    world = World(partitions=2, **settings)
    for p in (0, 1):
        world.broker.put("orders", f"u{p}", b"x", p=p)
    return world


def live(world: World) -> str:
    """Return why the worker is to be ended; empty: it is well."""
    dog = Watchdog()
    dog.watch(lambda: world.feed.beat_s, world.feed.busy_since_s)
    return reason(probes.live(dog, world.clock.now_s))


def ready(world: World) -> str:
    """Return why no users are to be sent here; empty: send them."""
    return reason(probes.ready(world.feed))


def reason(answer) -> str:
    said = orjson.loads(answer.body)
    assert (answer.status == 200) is said["ok"] is (said["why"] == "")
    return said["why"]


def test_before_anything_is_assigned_it_lives_and_is_not_ready():
    world = World()
    assert live(world) == ""
    assert ready(world) == "no partition is assigned"


def test_while_it_restores_it_lives_is_not_ready_and_says_how_far_it_is():
    world = fed(executor=Later())
    world.feed.poll(0.0)  # the producer is asked for, the partitions are assigned
    world.feed.owned[1].remaining = 7_000
    assert live(world) == ""
    assert ready(world) == "partitions [0, 1] are being restored"
    assert orjson.loads(probes.ready(world.feed).body)["restore_remaining_rows"] == 7_000


def test_with_all_folded_and_nothing_to_read_it_lives_and_is_ready_for_hours():
    world = fed()
    world.settle()
    for _ in range(3):
        world.clock.now_s += 3_600
        world.feed.poll(0.0)
        assert (live(world), ready(world)) == ("", "")


def test_a_loop_that_does_not_turn_is_to_be_ended():
    world = fed()
    world.settle()
    world.clock.now_s += SILENT_S + 1
    assert "the poll loop has been silent" in live(world)


def test_records_that_are_never_folded_are_to_be_ended():
    world = fed()
    assert world.poll() is not None
    world.clock.now_s += BATCH_S
    assert live(world) == ""
    world.clock.now_s += 1
    assert "a unit of work is not finished" in live(world)


def test_a_parked_partition_changes_neither():
    world = fed(parked=lambda p, _next: Position("orders", 0, 7) if p == 0 else None)
    world.settle()
    assert world.feed.owned[0].parked
    assert (live(world), ready(world)) == ("", "")


@pytest.mark.parametrize("call", ["init", "begin"])
def test_without_a_broker_it_lives_is_not_ready_and_is_again_when_it_is_back(call):
    world = fed()
    world.broker.fail[call] = LOST
    world.broker.fail["begin"] = LOST
    world.step()
    assert live(world) == ""
    assert ready(world) == "partitions [0, 1] are being restored"
    world.settle()
    assert (live(world), ready(world)) == ("", "")


def test_when_all_was_taken_away_it_is_not_ready():
    world = fed()
    world.settle()
    world.log.revoke(0, 1)
    world.feed.poll(0.0)
    assert live(world) == ""
    assert ready(world) == "no partition is assigned"

"""Ticks through the feed's loop: everybody who is due, once, however large the unit of work."""

from __future__ import annotations

from collections import Counter

import orjson
import pytest

from streams.agents.folding import fold_batch
from streams.agents.ticks import fold_ticks
from streams.domain.state import new
from streams.errors import CommitUnknown
from streams.feed import ports
from streams.feed.measure import Meter
from streams.store.overlay import Codec
from streams.topics import NOTIFICATIONS
from streams.wire import claims, outputs
from streams.wire import orders as orders_
from streams.wire.rows import decode_row, due_of, encode_row
from tests.builders import at, campaign, claim, millis, order, tick
from tests.feed.memory import Definitions, Later, World
from tests.given import registry

TOPICS = ("orders", "claims", "ticks")
DECODE = {"orders": orders_.decode, "claims": claims.decode}
REMINDED = campaign(reminders=[{"kind": "task_expiring", "before_hours": 15}])


class Known(Definitions):
    """The definitions of these tests; `learn` is one more that was read just now."""

    def __init__(self) -> None:
        super().__init__()
        self.known = [REMINDED]

    def learn(self, *more) -> None:
        self.known += more

    def latest(self):
        return ports.Known(registry(*self.known))


class Timed(World):
    """A worker whose folds are the real ones; ``most_rows`` of a tick in one unit of work."""

    def __init__(self, most_rows: int = 500, **settings) -> None:
        self.most_rows = most_rows
        codec = Codec(new, decode_row, encode_row, lambda state: state.due_ms)
        self.definitions = Known()
        super().__init__(
            codec=codec,
            campaigns=self.definitions,
            topics=TOPICS,
            encode=outputs.encode,
            **settings,
        )

    def send(self, *events, user: str = "u-1") -> None:
        for event in events:
            value = {k: v for k, v in event.items() if k != "recorded_at_ms"}
            if event["type"] == "tick":
                topic, key, recorded_ms = "ticks", None, millis(at(60))
                value |= {"partition": 0}
            else:
                topic, key = event["type"].split(".")[0] + "s", user
                value["user_id"], recorded_ms = user, event["recorded_at_ms"]
            self.broker.put(topic, key, orjson.dumps(value), at_ms=recorded_ms)

    def step(self):
        work = self.poll()
        if work is None:
            return None
        for batch in work.batches:
            if batch.topic == "ticks":
                fold_ticks(batch, most_rows=self.most_rows)
            else:
                fold_batch(batch, DECODE[batch.topic])
        return self.feed.commit(work)

    def said(self, topic: str = "task-events") -> list[str]:
        found = [orjson.loads(record.value) for record in self.broker.read(topic)]
        return [f"{body['user_id']} {body['type']}" for body in found]

    def expired(self) -> list[str]:
        return sorted(said.split()[0] for said in self.said() if said.endswith("task.expired"))


USERS = [f"u-{n}" for n in range(7)]


def claimed(users: list[str], **settings) -> Timed:
    world = Timed(**settings)
    for user in users:
        world.send(claim(), user=user)
    world.settle()
    return world


def test_a_tick_reaches_everybody_whose_deadline_it_is_and_nobody_else():
    world = claimed(["u-1", "u-2"])
    world.send(claim("k9", day=5), user="u-3")
    world.send(tick(11))
    world.settle()
    assert world.expired() == ["u-1", "u-2"]


def test_a_tick_with_many_users_takes_several_units_and_says_each_once():
    world = claimed(USERS, most_rows=3)
    before = world.broker.took_commits
    world.send(tick(11))
    assert world.step()
    assert world.broker.committed["ticks", 0] == 0, "not yet through: it is read again if we stop"
    world.settle()
    assert world.broker.took_commits - before >= 3
    assert world.expired() == USERS
    assert world.broker.committed["ticks", 0] == 1


def test_every_unit_of_a_tick_is_measured_and_its_outcomes_go_by_their_names():
    world, meter, outcomes = claimed(USERS, most_rows=3), Meter(), Counter()
    world.send(tick(11))
    while (work := world.poll()) is not None:
        for batch in work.batches:
            fold_ticks(batch, most_rows=3)
            outcomes.update(batch.outcomes)
        meter.committed(work, millis(at(60)))
        world.feed.commit(work)
    assert outcomes == {"applied": 1}, "the first units finish no tick"
    assert orjson.loads(orjson.dumps(outcomes)) == {"applied": 1}, "as the stats file writes them"


@pytest.mark.parametrize("units", range(4))
def test_stopped_in_the_middle_of_a_tick_a_worker_goes_on_with_the_rest(units):
    world = claimed(USERS, most_rows=2)
    world.send(tick(11))
    for _ in range(units):
        world.step()
    world.crash()
    world.settle()
    assert world.expired() == USERS


@pytest.mark.parametrize("call", ["commit", "commit_answer"])
def test_a_unit_of_a_tick_whose_commit_is_unknown_is_done_once(call):
    world = claimed(USERS, most_rows=2)
    world.send(tick(11))
    world.step()
    world.broker.fail[call] = CommitUnknown("timed out")
    world.settle()
    assert world.expired() == USERS


def test_a_disk_that_was_lost_has_its_deadlines_back_after_the_restore():
    world = claimed(USERS)
    world.store.disks.clear()
    world.crash()
    world.send(tick(11))
    world.settle()
    assert world.expired() == USERS


def test_rows_of_a_commit_under_way_are_seen_by_the_tick():
    world = Timed(committer=Later(), batch_records=1)
    world.send(claim())
    assert world.step() is None, "the commit is under way: no row, no hint"
    assert not world.store.disks[0]["hints"]
    world.send(tick(11))
    world.step()
    world.committer.task.run()
    assert world.expired() == ["u-1"]


def test_hints_that_have_become_stale_are_dropped_and_the_rest_stay():
    world = claimed(USERS)
    world.send(tick(11))
    world.settle()
    disk = world.store.disks[0]
    wanted = {(due_of(row), key) for key, row in disk["rows"].items()}
    assert {tuple(hint) for hint in disk["hints"]} == wanted


def test_a_tick_that_cannot_be_read_is_a_dead_letter_and_the_next_one_works():
    world = claimed(["u-1"])
    world.broker.put("ticks", None, b"{}", at_ms=millis(at(60)))
    world.send(tick(11))
    world.settle()
    assert len(world.broker.read("dead-letters")) == 1
    assert world.expired() == ["u-1"]


def test_the_cause_of_what_a_tick_says_is_the_tick():
    world = claimed(["u-1"])
    world.send(tick(11))
    world.settle()
    headers = dict(world.broker.read("task-events")[-1].headers)
    assert (headers["cause-topic"], headers["cause-offset"]) == (b"ticks", b"0")


@pytest.mark.parametrize("muted", [frozenset(), frozenset({NOTIFICATIONS})])
def test_a_replay_sends_no_notices_and_says_all_the_rest(muted):
    world = claimed(["u-1"], muted=muted)
    world.send(order("o1"), tick(10, "09:00"), tick(11))
    world.settle()
    assert world.said(NOTIFICATIONS) == ([] if muted else ["u-1 notice.due"])
    assert world.expired() == ["u-1"]

"""Deadlines that a definition read later has moved: whose, and to when."""

from __future__ import annotations

from streams.domain.campaign import Killed
from streams.domain.pool import PoolClosed
from streams.domain.redating import concerned, redated
from tests.asking import FIVE, WHEEL, user, with_lottery
from tests.builders import at, claim, millis, order

NOON = millis(at(4))
ID = FIVE["campaign_id"]
KILLED, CLOSED = Killed(ID, NOON), PoolClosed(WHEEL, NOON)


def test_a_kill_moves_the_deadline_of_a_running_task_and_says_nothing_by_that():
    known = user(with_lottery(), claim())
    killed = known.campaigns.with_record(KILLED)
    after = redated(known.state, killed)
    assert (known.state.due_ms > NOON, after.due_ms) == (True, NOON)
    assert after.version == known.state.version
    assert redated(after, killed) is after


def test_a_pool_closed_early_moves_the_end_of_chances_that_were_won_before():
    known = user(with_lottery(FIVE, (1, 1)), claim(), order("o1"))
    after = redated(known.state, known.campaigns.with_record(CLOSED))
    assert (known.state.asks_ms > NOON, after.asks_ms, after.due_ms) == (True, NOON, NOON)


def test_only_tasks_of_what_ended_are_looked_at():
    campaigns = with_lottery()
    assert not concerned(campaigns)
    assert concerned(campaigns.with_record(KILLED)) == {ID}
    assert concerned(campaigns.with_record(CLOSED)) == {ID}


def test_equal_endings_are_equal_dates_and_other_ones_are_not():
    campaigns = with_lottery()
    both = campaigns.with_record(CLOSED).with_record(KILLED).dates
    assert both == campaigns.with_record(KILLED).with_record(CLOSED).dates
    alone = [campaigns.with_record(one).dates for one in (KILLED, CLOSED)]
    assert campaigns.dates == ""
    assert len({*alone, both}) == 3

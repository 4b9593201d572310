"""What becomes of a make-good when the worker's own row, which does not know of it, moves on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.domain.fold import refold, step
from streams.domain.registry import Campaigns
from streams.replay.standings import GONE, ISSUED, SPENT, Standings
from tests.builders import cancel, decoded, order
from tests.replay.planted import RIGHT_MINOR, checked, definition, sent, shoppers, world_of

if TYPE_CHECKING:
    from streams.domain.outputs import Output
    from streams.domain.state import UserState

USER = "exact"
HISTORY = sent(*shoppers({USER: (RIGHT_MINOR, RIGHT_MINOR)}))
RIGHT = Campaigns.of([checked(definition())])


def row(wrong: int) -> UserState:
    """The row as the engine with the bug has left it."""
    return world_of(definition(wrong), HISTORY)[0].users[USER]


def commands(outputs: Any) -> list[tuple[str, int]]:
    return [(o.event_id, o.body["seq"]) for o in outputs if o.type in COMMANDS]


COMMANDS = ("reward.issued", "reward.revoked")


def next_order(minor: int = 2_000) -> Any:
    return decoded({**order("o9", 3, lines=[(1, minor)]), "user_id": USER})


def test_a_rebuilt_row_knows_what_was_made_good_and_takes_it_back_when_it_is_cancelled():
    """The way to do it: rows of the right rules, and the commands those rows gave."""
    rebuilt, said = world_of(definition(), HISTORY)
    made_good = {o.body["reward_id"] for o in said if o.type == "reward.issued"}
    event = decoded({**cancel(f"o-{USER}-1", day=4), "user_id": USER})
    folded = step(rebuilt.users[USER], event, RIGHT)
    taken = [o.body for o in folded.outputs if o.type == "reward.revoked"]
    assert [(body["reward_id"] in made_good, body["seq"]) for body in taken] == [(True, 2)]


def test_an_old_row_that_walks_again_gives_the_very_commands_of_the_make_good():
    missing = commands(world_of(definition(), HISTORY)[1])
    assert [seq for _, seq in missing] == [1, 1]
    folded = refold(row(RIGHT_MINOR + 1), next_order(), RIGHT)
    assert set(missing) <= set(commands(folded.outputs))
    asked_more = Campaigns.of([checked(definition(RIGHT_MINOR + 100))])  # 15.00 was no order
    folded = refold(row(RIGHT_MINOR), next_order(900), asked_more)
    assert [seq for _, seq in commands(folded.outputs)] == [2, 2]


def test_an_old_row_on_the_short_path_builds_on_its_error_but_gives_nothing_a_second_time():
    """Why rows are rebuilt: this one counts its third order as its first."""
    known = dict(commands(world_of(definition(), HISTORY)[1]))
    folded = step(row(RIGHT_MINOR + 1), next_order(), RIGHT)
    assert [task.counted for task in folded.state.tasks] == [1]
    assert set(commands(folded.outputs)) <= set(known.items())


def test_a_row_that_never_knew_says_nothing_when_it_is_cancelled_and_the_next_run_does():
    """The one case that a row does not heal by itself: lost again before it was ever noticed."""
    first = row(RIGHT_MINOR + 1)
    said: list[Output] = []
    for n, event in enumerate(
        {**cancel(f"o-{USER}-{day}", day=4), "user_id": USER, "cancellation_id": f"x{day}"}
        for day in (1, 2)
    ):
        folded = step(first, decoded(event, n), RIGHT)
        first = folded.state
        said += folded.outputs
    told = Standings()
    for output in world_of(definition(), HISTORY)[1]:  # the topic, once it was made good
        if output.topic == "rewards":
            told.take(output.body)
    for output in said:
        if output.topic == "rewards":
            told.take(output.body)
    now = Standings()
    cancelled = sent(*(
        {**cancel(f"o-{USER}-{day}", day=4), "user_id": USER, "cancellation_id": f"x{day}"}
        for day in (1, 2)
    ))  # fmt: skip
    for output in world_of(definition(), [*HISTORY, *cancelled])[1]:
        if output.topic == "rewards":
            now.take(output.body)
    assert {one.state for one in now.rewards.values()} == {GONE}
    excess = [one for one in told.rewards.values() if one.state == ISSUED]
    assert excess, "so that a next make-good proposes to take it back, as seq 2"
    assert {one.seq for one in excess} == {1}


def test_a_command_said_by_the_worker_too_changes_no_standing():
    _, said = world_of(definition(), HISTORY)
    once, twice = Standings(), Standings()
    for output in said:
        if output.topic == "rewards":
            once.take(output.body)
            twice.take(output.body)
            twice.take({**output.body, "cause_id": "order:o9:1"})
    assert once.rewards == twice.rewards
    assert once.reserved_minor == twice.reserved_minor


def test_adjustments_move_a_standing_as_the_ledger_does():
    _, said = world_of(definition(), HISTORY)
    standings = Standings()
    body = next(output.body for output in said if output.type == "reward.issued")
    standings.take(body)
    for reason, state in (("spent", SPENT), ("owed", GONE), ("restored", SPENT), ("lapsed", GONE)):
        adjusted = {**body, "type": "reward.adjusted", "reason": reason, "event_id": reason}
        standings.take({**adjusted, "postings": []})
        assert standings.rewards[body["reward_id"]].state == state

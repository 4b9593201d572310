"""What goes out to pools after an event, and what is said of chances; what time alone brings.

One place for all that a fold asks: reservations of pending tasks, draws, what is given back. Each
function changes the `Asked` it is given and returns what is to be said. Source: semantics.md 3 (C5,
P11), 4 `draw-requests`, 6, 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.domain import asks, chances, reservations
from streams.domain.announce import Announcer
from streams.domain.asks import DENIED, DRAWN, EXPIRED, GRANTED, RELEASED, RETURNED
from streams.domain.pool import BUDGET
from streams.domain.state import unpack_ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from streams.domain.asks import Ask, Asked
    from streams.domain.campaign import Campaign
    from streams.domain.deadlines import Instant
    from streams.domain.dues import Change
    from streams.domain.events import PoolAnswered
    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from streams.domain.reservations import Share
    from streams.domain.state import Entry, Packed, Task, UserState
    from streams.domain.walk import Walk


class Deadline(NamedTuple):
    """What ends at an instant: an ask that has become free, or (no ask) a chance of a task."""

    at_ms: int
    ask: Ask | None = None
    task_id: str = ""
    label: str = ""


def after_walk(
    stood: Mapping[str, Task],
    begun: Iterable[Task],
    walk: Walk,
    asked: Asked,
    say: Announcer,
) -> list[Output]:
    """Ask for what the tasks need now, and say which chances came and went.

    stood: the tasks before the event, by id; begun: those after it, as the walk has them.
    """
    campaigns, by_id = walk.campaigns, {task.task_id: task for task in begun}
    outputs: list[Output] = []
    for ask in asked.reservations():
        refused = (ask.task_id, ask.cause_id) in walk.refused and reservations.begins(ask)
        if ask.state == GRANTED and refused:
            # Before anything is asked: the next claim may need what this one gives back.
            whole = reservations.whole(ask, campaigns)
            outputs += _release(ask, whole, campaigns, asked, say, moves=True)
    for task in by_id.values():
        if task.frozen:
            continue
        campaign = campaigns.of_task(task)
        if task.pending:
            cause_id = walk.begun_by[task.task_id]
            for ask in reservations.to_ask(task, campaign, cause_id, say.at_ms, asked):
                asked.put(ask)
                outputs.append(say.reserve(ask))
        elif campaign.lottery is not None:
            outputs += _chances(stood.get(task.task_id), task, campaigns, asked, say)
    for fact in walk.draws:
        task = by_id[fact.task_id]
        if not task.pending and asked.draw(task.task_id, fact.step) is None:
            # Whenever it is read, a draw is of the time at which the user asked for it.
            asker = Announcer(say.user_id, fact.cause_id, fact.occurred_at_ms)
            outputs.append(draw(task, campaigns.of_task(task), fact.step, asked, asker))
    return outputs


def set_aside(
    answer: PoolAnswered, asked: Asked, campaigns: Campaigns, say: Announcer
) -> list[Output]:
    """Say what a budget has granted to a task, ahead of all that is paid of it.

    asked: with the answer.
    """
    ask = asked.get(answer.request_id)
    if ask.state != GRANTED or not ask.amount_minor:
        return []
    return [say.set_aside(ask, ask.amount_minor, campaign_of(ask, campaigns))]


def draw(task: Task, campaign: Campaign, label: str, asked: Asked, say: Announcer) -> Output:
    """Ask for the one draw of a chance."""
    assert campaign.lottery is not None, "only a lottery has chances"
    ask = chances.to_ask(task, campaign, label, say.at_ms)
    asked.put(ask)
    return say.draw_asked(ask, campaign.lottery.odds_version)


def won(
    task: Task, campaign: Campaign, labels: list[str], asked: Asked, say: Announcer
) -> list[Output]:
    """Grant chances, and draw at once where the campaign says so."""
    outputs = [say.chance("chance.granted", label, task, campaign) for label in labels]
    if campaign.lottery is not None and campaign.lottery.draw == "immediate":
        outputs += [draw(task, campaign, label, asked, say) for label in labels]
    return outputs


def after_ledger(
    entries: Mapping[str, Entry],
    short: Mapping[tuple[str, str], Share],
    campaigns: Campaigns,
    asked: Asked,
    say: Announcer,
) -> list[Output]:
    """Ask for what is short, and give back what fell free, of reservations released before."""
    outputs = []
    for (task_id, pool_id), share in short.items():
        ask = reservations.more(task_id, pool_id, share, say, asked)
        if ask is not None:
            asked.put(ask)
            outputs.append(say.reserve(ask))
    states: dict[tuple[str, str], set[int]] = {}
    for ask in asked.reservations():
        states.setdefault((ask.task_id, ask.pool_id), set()).add(ask.state)
    for (task_id, pool_id), of_pool in states.items():
        if RELEASED in of_pool and GRANTED not in of_pool:
            outputs += _release_free(task_id, pool_id, entries, campaigns, asked, say)
    return outputs


def spent_after_all(changes: Iterable[Change], asked: Asked, say: Announcer) -> list[Output]:
    """Tell pools of prizes that had gone back to them and were not taken back after all."""
    outputs = []
    for change in changes:
        entry = change.entry
        if entry.kind != "prize" or change.reason != "spent" or change.seq % 2:
            continue
        ask = asked.draw(entry.task_id, entry.step)
        if ask is not None and ask.state == RETURNED:
            outputs.append(say.spent_after_all(ask, chances.spent_id(ask, say.cause_id)))
    return outputs


def released(packed: Packed[Ask], task_id: str) -> bool:
    """Tell whether a task has given back some of its reservation: what it earns may be short."""
    return any(
        ask.state == RELEASED and ask.task_id == task_id for ask in asks.reservations(packed)
    )


def is_short(state: UserState) -> bool:
    """Tell whether something may be short of what a pool has denied, after a release."""
    if state.early.count:
        return True
    reserved = asks.reservations(state.asks)
    over = {ask.task_id for ask in reserved if ask.state == RELEASED}
    return any(ask.state == DENIED and ask.task_id in over for ask in reserved)


def next_deadline_ms(state: UserState, _campaigns: Campaigns) -> int:
    """Return the next instant at which time alone gives back or ends something; 0: none.

    It may have passed already: a chance won late, or a prize lost late, ends at the next tick.
    """
    return state.asks_ms


def pass_time(
    state: UserState, now: Instant, campaigns: Campaigns
) -> tuple[UserState, list[Output]]:
    """Do what is due at exactly this instant: end chances, give back what is left."""
    if state.asks_ms != now.at_ms:
        return state, []
    asked, tasks = asks.unpack(state.asks), {task.task_id: task for task in state.tasks}
    entries = unpack_ledger(state.ledger)
    outputs: list[Output] = []
    for deadline in deadlines(state.tasks, entries, asked, campaigns):
        if deadline.at_ms != now.at_ms:
            continue
        ask = deadline.ask
        if ask is None:
            task = tasks[deadline.task_id]
            outputs.append(_close(task, campaigns.of_task(task), deadline.label, asked, now.say))
        elif ask.purpose == asks.DRAW:
            asked.put(msgspec.structs.replace(ask, state=RETURNED))
            outputs.append(now.say.unit_returned(ask, chances.return_id(ask, now.say.cause_id)))
        else:
            outputs += _release_free(ask.task_id, ask.pool_id, entries, campaigns, asked, now.say)
    next_ms = earliest_ms(state.tasks, entries, asked, campaigns)
    after = msgspec.structs.replace(state, asks=asked.pack(), asks_ms=next_ms)
    return after, outputs


def earliest_ms(
    tasks: Iterable[Task], entries: Mapping[str, Entry], asked: Asked, campaigns: Campaigns
) -> int:
    return min((d.at_ms for d in deadlines(tasks, entries, asked, campaigns)), default=0)


def deadlines(
    tasks: Iterable[Task], entries: Mapping[str, Entry], asked: Asked, campaigns: Campaigns
) -> Iterator[Deadline]:
    """Yield what time alone will do: end chances, release reservations, return lost prizes."""
    by_id = {task.task_id: task for task in tasks}
    for task in by_id.values():
        if task.frozen:
            continue
        campaign = campaigns.of_task(task)
        left = chances.undrawn(task, campaign, asked)
        ends_ms = chances.closes_ms(campaign, campaigns) if left else None
        if ends_ms:
            for label in left:
                yield Deadline(ends_ms, task_id=task.task_id, label=label)
    for ask in asked.reservations():
        task_ = by_id.get(ask.task_id)
        if ask.state == GRANTED and not (task_ and task_.pending):
            yield Deadline(reservations.until_ms(ask, task_, campaigns), ask)
    lost = [ask for ask in asked.draws() if _lost(ask, by_id.get(ask.task_id), campaigns)]
    if lost:
        prizes = {(e.task_id, e.step): e for e in entries.values() if e.kind == "prize"}
        for ask in lost:
            entry = prizes.get((ask.task_id, ask.step))
            if entry is None or not reservations.holds(entry):
                yield Deadline(ask.until_ms, ask)


def _lost(ask: Ask, task: Task | None, campaigns: Campaigns) -> bool:
    """Tell whether a prize was won at a step that does not stand."""
    if ask.state != DRAWN or not ask.right:
        return False
    return task is None or not chances.has(task, campaigns.of_task(task), ask.step)


def _chances(
    stood: Task | None, task: Task, campaigns: Campaigns, asked: Asked, say: Announcer
) -> list[Output]:
    campaign = campaigns.of_task(task)
    before = chances.undrawn(stood, campaigns.of_task(stood), asked) if stood else []
    after = chances.undrawn(task, campaign, asked)
    gained = [label for label in after if label not in before]
    gone = [label for label in before if label not in after]
    outputs = [say.chance("chance.withdrawn", label, task, campaign) for label in gone]
    return outputs + won(task, campaign, gained, asked, say)


def _close(task: Task, campaign: Campaign, label: str, asked: Asked, say: Announcer) -> Output:
    """End a chance with its pool: drawn as of that time, or expired."""
    assert campaign.lottery is not None, "only a lottery has chances"
    if campaign.lottery.at_close == "draw":
        return draw(task, campaign, label, asked, say)
    ask = chances.to_ask(task, campaign, label, say.at_ms)
    asked.put(msgspec.structs.replace(ask, state=EXPIRED))
    return say.chance("chance.expired", label, task, campaign)


def _release_free(  # noqa: PLR0913  # a task and a pool, and all that tells what is free
    task_id: str,
    pool_id: str,
    entries: Mapping[str, Entry],
    campaigns: Campaigns,
    asked: Asked,
    say: Announcer,
) -> list[Output]:
    """Give back all that no reward of the task holds; what falls free later goes back at once."""
    outputs = []
    # What rewards gave up after the release, their own records have moved to the budget.
    moves = task_id not in asked.over()
    left = reservations.free(task_id, pool_id, asked, entries, campaigns)
    for ask in reservations.of_pool(asked, task_id, pool_id):
        part = {n: min(left[n], most) for n, most in reservations.share(ask).items()}
        part = {name: n for name, n in part.items() if n > 0}
        for name, n in part.items():
            left[name] -= n
        outputs += _release(ask, part, campaigns, asked, say, moves=moves)
    return outputs


def _release(  # noqa: PLR0913  # a grant, what of it, and whose books say so
    ask: Ask, part: Share, campaigns: Campaigns, asked: Asked, say: Announcer, *, moves: bool
) -> list[Output]:
    """Give back a part of a grant; moves: its money goes from `reserved` to the budget by this."""
    request_id = reservations.release_id(ask, say.cause_id)
    before_minor = reservations.gave_back_minor(ask.task_id, asked)
    asked.put(reservations.given_back(ask, part))
    units = {name: n for name, n in part.items() if name != reservations.MONEY}
    minor = part.get(reservations.MONEY, 0)
    if not minor and not units:
        return []
    outputs = [say.release(ask, request_id, minor, units)]
    if minor and moves:
        campaign = campaign_of(ask, campaigns)
        outputs.append(say.gave_back(ask, minor, before_minor, campaign))
    return outputs


def campaign_of(ask: Ask, campaigns: Campaigns) -> Campaign:
    """Return the campaign whose budget an ask is to."""
    return campaigns.pinned(ask.pool_id.removeprefix(BUDGET), ask.campaign_version)

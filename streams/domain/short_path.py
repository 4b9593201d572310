"""The short path: a fact later than all others changes little, so only that little is worked out.

It appends: nothing that happened before is looked at again. Each function returns None where that
would not do, and the walk decides. A property holds both paths equal, in state and in outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.domain import (
    asking,
    asks,
    chances,
    changes,
    holding,
    ledger,
    orders,
    reservations,
    tasks,
)
from streams.domain.announce import Announcer
from streams.domain.asks import Asked
from streams.domain.events import ClaimRequested, Fact, OrderCancelled, OrderReported
from streams.domain.state import unpack_ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.asks import Ask
    from streams.domain.campaign import Campaign, Campaigns
    from streams.domain.events import DrawRequested
    from streams.domain.ledger import Due
    from streams.domain.outputs import Output
    from streams.domain.state import Entry, Task, UserState


class Step(msgspec.Struct, frozen=True):
    """What a fact changes: the tasks after it, what is said, which rewards enter the ledger."""

    tasks: tuple[Task, ...]
    outputs: list[Output]
    issued: list[Entry]
    asked: list[Ask] = []
    asks_ms: int | None = None  # None: as before


def prior_versions(known: Sequence[Fact], fact: OrderReported) -> list[OrderReported] | None:
    """Return the order's versions so far, if this one only moves its status on; else None.

    None: what was bought is different, or another fact names the order.
    """
    prior = [f for f in known if isinstance(f, OrderReported) and f.order_id == fact.order_id]
    if any(_names(other, fact.order_id) for other in known):
        return None
    if any(other.version == fact.version for other in prior):
        return None
    if prior and _bought(max(prior, key=lambda version: version.version)) != _bought(fact):
        return None
    return prior


def next_order(
    state: UserState, fact: OrderReported, prior: Sequence[OrderReported], campaigns: Campaigns
) -> Step | None:
    """Fold the latest event of an order that stands alone: no other part, nothing returned."""
    called = fact.parent_order_id or fact.order_id
    begun = _begun(state, fact, prior, campaigns)
    if begun is None:
        return None
    say = Announcer(state.user_id, fact.cause_id, fact.occurred_at_ms)
    after: list[Task] = []
    said: list[Output] = []
    issued: list[ledger.Change] = []
    asked, asks_ms = Asked(), state.asks_ms
    held = False
    for task in begun:
        campaign = campaigns.of_task(task)
        reached = _reached(prior, campaign) if prior else None
        moves = not prior or (reached is None and fact.status >= campaign.on)
        time = fact if moves else reached or prior[0]
        admitted = tasks.admits(task, time.occurred_at_ms, fact.order_id)
        held = held or admitted
        if not (moves and admitted):  # to this task nothing is different
            after.append(task)
            continue
        code = _offer_code(fact, task, campaign)
        counted, code = tasks.count_next(task, campaign, fact.occurred_at_ms, code)
        won: list[str] = []
        if code == orders.COUNTS:
            earned = _earned(task, counted, campaign, called, state)
            if earned is None:
                return None
            dues, won = earned
            issued += map(ledger.issue_first, dues)
        else:
            said.append(say.order(called, code, task, campaign))
        before = task if task.rev else None  # of one that just began nothing was said yet
        counted, moved = changes.task_changes(before, counted, task.peak, campaign, say)
        said += moved
        after.append(counted)
        if won:
            said += asking.won(counted, campaign, won, asked, say)
            if any(asked.draw(task.task_id, label) is None for label in won):
                asks_ms = _sooner(asks_ms, chances.closes_ms(campaign, campaigns) or 0)
    if not held:
        if prior:
            return None  # whether that was said before depends on where the order stood then
        said.append(say.order(called, tasks.NO_TASK))
    said += [say.ledger(change, changes.calendar_of(change, campaigns)) for change in issued]
    entries = [change.entry for change in issued]
    return Step(tuple(after), said, entries, asked.draws(), asks_ms)


def _earned(
    task: Task, counted: Task, campaign: Campaign, called: str, state: UserState
) -> tuple[list[Due], list[str]] | None:
    """Return the rewards and the chances (step labels) that one more counted order brings."""
    if task.pending:
        return [], []
    dues = ledger.dues_at(counted, campaign, counted.counted, called)
    won = chances.labels_at(campaign, counted.counted)
    if (dues or won) and counted.counted <= task.peak:
        return None  # issued or drawn before
    if dues and (state.owed_minor or state.early.count or holding.asks(campaign)):
        return None  # debts, results to come, orders to wait for: all of them are needed
    if dues and state.asks.count and asking.released(state.asks, task.task_id):
        return None  # the money went back: more is to be asked for
    return dues, won


def _sooner(one_ms: int, other_ms: int) -> int:
    return min(one_ms, other_ms) if one_ms and other_ms else one_ms or other_ms


def next_claim(state: UserState, fact: ClaimRequested, campaigns: Campaigns) -> Step | None:
    """Fold a claim that looks back to no order."""
    campaign = campaigns.in_force(fact.campaign_id, fact.occurred_at_ms)
    if fact.trigger_order_id or (campaign is not None and campaign.lookback == "same_day"):
        return None
    say = Announcer(state.user_id, fact.cause_id, fact.occurred_at_ms)
    rounds = [task for task in state.tasks if task.campaign_id == fact.campaign_id]
    judged = tasks.judge_claim(state.user_id, fact, campaigns, rounds)
    if isinstance(judged, tasks.Answer):
        rejection = say.rejected(fact.claim_id, fact.campaign_id, judged.code, judged.task_id)
        return Step(state.tasks, [rejection], [])
    assert campaign is not None, "a task begins under a version in force"
    if reservations.reserves(campaigns.of_task(judged)):
        return None  # it waits for pools
    task = changes.remembering(judged, state)
    task, said = changes.task_changes(None, task, task.peak, campaign, say)
    return Step(_with_round(state.tasks, rounds[-1] if rounds else None, task), said, [])


def next_draw(state: UserState, fact: DrawRequested, campaigns: Campaigns) -> Step:
    """Fold a draw that is asked for now: of a task as it stands."""
    say = Announcer(state.user_id, fact.cause_id, fact.occurred_at_ms)
    asked = asks.unpack(state.asks)
    task = next((task for task in state.tasks if task.task_id == fact.task_id), None)
    code = chances.refusal(task, fact.step, fact.occurred_at_ms, asked, campaigns)
    if code or task is None:
        campaign_id, task_id = (task.campaign_id, task.task_id) if task else ("", "")
        rejection = say.rejected(fact.claim_id, campaign_id, code, task_id)
        return Step(state.tasks, [rejection], [])
    if task.pending or asked.draw(fact.task_id, fact.step) is not None:
        return Step(state.tasks, [], [])
    said = asking.draw(task, campaigns.of_task(task), fact.step, asked, say)
    entries = unpack_ledger(state.ledger)
    asks_ms = asking.earliest_ms(state.tasks, entries, asked, campaigns)
    return Step(state.tasks, [said], [], asked.draws()[-1:], asks_ms)


def _begun(
    state: UserState, fact: OrderReported, prior: Sequence[OrderReported], campaigns: Campaigns
) -> tuple[Task, ...] | None:
    """Return the tasks with those that this order begins; None: a window reaches back too far."""
    begun = state.tasks
    for campaign in campaigns.auto_in_force(fact.occurred_at_ms):
        last = _last_round(begun, campaign.campaign_id)
        if last is not None and (
            last.round >= campaign.rounds_max or tasks.runs(last, fact.occurred_at_ms)
        ):
            continue
        if (prior and _reached(prior, campaign)) or _code_of(fact, campaign) != orders.COUNTS:
            continue
        task = tasks.begin_auto(state.user_id, campaign, last, fact.occurred_at_ms, fact.order_id)
        if task is not None and reservations.reserves(campaigns.of_task(task)):
            return None  # it waits for pools
        if task is None or fact.recorded_at_ms > task.end_ms + campaign.grace_ms:
            continue
        if last is None and state.newest.at_ms >= task.start_ms:
            return None  # there are facts in its window that only the walk looks at
        begun = _with_round(begun, last, changes.remembering(task, state))
    return begun


def _offer_code(fact: OrderReported, task: Task, campaign: Campaign) -> str:
    """Return what the order is to the task: what it is to its campaign, unless it comes late."""
    code = _code_of(fact, campaign)
    if code != orders.STATUS and fact.recorded_at_ms > task.end_ms + campaign.grace_ms:
        return orders.LATE
    return code


def _names(other: Fact, order_id: str) -> bool:
    """Tell whether a fact says something about the order without being a version of it."""
    if isinstance(other, OrderReported):
        return other.parent_order_id == order_id
    if isinstance(other, OrderCancelled):
        return other.order_id == order_id
    return isinstance(other, ClaimRequested) and other.trigger_order_id == order_id


def _bought(version: OrderReported) -> tuple[object, ...]:
    return (
        version.lines,
        version.consumption_minor,
        version.discounts,
        version.currency,
        version.channel,
        version.store_id,
        version.parent_order_id,
    )


def _reached(prior: Sequence[OrderReported], campaign: Campaign) -> OrderReported | None:
    """Return the event that gave the order its time for this campaign, if one did."""
    for version in prior:
        if version.status >= campaign.on:
            return version
    return None


def _code_of(fact: OrderReported, campaign: Campaign) -> str:
    """Weigh an order of which nothing came back; equal to `orders.weigh`."""
    if fact.status < campaign.on:
        return orders.STATUS
    code, amount = orders.content_weight(fact, campaign)
    if code == orders.COUNTS and amount < campaign.min_amount_minor:
        return orders.MIN_AMOUNT
    return code


def _last_round(begun: tuple[Task, ...], campaign_id: str) -> Task | None:
    for task in reversed(begun):
        if task.campaign_id == campaign_id:
            return task
    return None


def _with_round(begun: tuple[Task, ...], last: Task | None, task: Task) -> tuple[Task, ...]:
    """Add a round, close the one before it; tasks stand in order of campaign and round."""
    if last is not None:
        closed = tasks.closed_by(last, task)
        begun = tuple(closed if one is last else one for one in begun)
    return tuple(sorted((*begun, task), key=lambda one: (one.campaign_id, one.round)))

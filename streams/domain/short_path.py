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
    counting,
    earned,
    groups,
    holding,
    ids,
    ledger,
    orders,
    reservations,
    settlement,
    tasks,
)
from streams.domain import facts as facts_
from streams.domain.announce import Announcer
from streams.domain.asks import Asked
from streams.domain.events import ClaimRequested, Fact, OrderCancelled, OrderReported, RiskVerdict
from streams.domain.state import Pin, unpack_ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.asks import Ask
    from streams.domain.campaign import Campaign
    from streams.domain.events import DrawRequested
    from streams.domain.ledger import Due
    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from streams.domain.state import Entry, Packed, Task, UserState


class Step(msgspec.Struct, frozen=True):
    """What a fact changes: the tasks after it, what is said, which rewards enter the ledger."""

    tasks: tuple[Task, ...]
    outputs: list[Output]
    issued: list[Entry]
    asked: list[Ask] = []
    asks_ms: int | None = None  # None: as before
    pins: list[Pin] = []
    told: Packed[Ask] | None = None  # the asks, one of them answered; None: as before


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


def next_order(  # noqa: PLR0911, PLR0915, C901  # one pass over the tasks, each thing once
    state: UserState, fact: OrderReported, prior: Sequence[OrderReported], campaigns: Campaigns
) -> Step | None:
    """Fold the latest event of an order that stands alone: no other part, nothing returned."""
    called = fact.checkout_id
    begun = _begun(state, fact, prior, campaigns)
    if begun is None:
        return None
    say = Announcer(state.user_id, fact.cause_id, fact.occurred_at_ms)
    after: list[Task] = []
    said: list[Output] = []
    issued: list[ledger.Change] = []
    pins: list[Pin] = []
    asked, asks_ms = Asked(), state.asks_ms
    held = False
    known = None if begun is state.tasks else {task.task_id for task in state.tasks}
    for task in begun:
        campaign = campaigns.of_task(task)
        reached = orders.first_reached(prior, campaign.on)
        moves = not prior or (reached is None and fact.status >= campaign.on)
        time = fact if moves else reached or prior[0]
        admitted = tasks.admits(task, time.occurred_at_ms, fact.order_id)
        held = held or admitted
        if admitted and task.frozen:
            return None  # what it comes to is not to be counted
        if not (moves and admitted):  # to this task nothing is different
            after.append(task)
            continue
        if task.ended_ms or (prior and campaign.exclusion_group):
            return None  # its end may be undone; another may have the order by an earlier status
        code, spent = _offered(fact, task, campaign)
        shared = campaign.exclusion_group and code == orders.COUNTS
        code = _share(fact, task, begun, campaigns) if shared else code
        counted, code = counting.count_next(
            task, campaign, fact.occurred_at_ms, code, spent, called
        )
        won: list[str] = []
        if code == orders.COUNTS:
            if asking.is_short(state):
                return None  # it asks again once something has moved
            gains = _earned(task, counted, campaign, called, state)
            if gains is None:
                return None
            due, won = gains
            issued += map(ledger.issue_first, due)
            if due and shared:
                since = facts_.key_of(fact)
                pins.append(Pin(called, task.task_id, campaign.exclusion_group, since))
                counted = msgspec.structs.replace(counted, paid_step=counted.counted)
        else:
            said.append(say.order(called, code, task, campaign))
        before = task if known is None or task.task_id in known else None  # it just began
        gone = None if before or not state.gone else changes.gone_of(state).get(task.task_id)
        counted, moved = changes.task_changes(before, counted, task.peak, campaign, say, gone)
        said += moved
        after.append(counted)
        said += asking.won(counted, campaign, won, asked, say) if won else ()
        ends_ms = _chances_end_ms(counted, campaign, won, asked, campaigns) if won else 0
        asks_ms = sooner(asks_ms, ends_ms)
    if not held:
        if prior:
            return None  # whether that was said before depends on where the order stood then
        said.append(say.order(called, tasks.NO_TASK))
    said += [say.ledger(change, changes.calendar_of(change, campaigns)) for change in issued]
    entries = [change.entry for change in issued]
    return Step(tuple(after), said, entries, asked.draws(), asks_ms, pins)


def _earned(
    task: Task, counted: Task, campaign: Campaign, called: str, state: UserState
) -> tuple[list[Due], list[str]] | None:
    """Return the rewards and the chances (step labels) that one more counted order brings."""
    if task.pending:
        return [], []
    due = earned.at_step(counted, campaign, counted.counted, called, counted.saved_minor)
    won = chances.labels_at(counted, campaign, counted.counted)
    if (due or won) and counted.counted <= task.peak:
        return None  # issued or drawn before
    if due and not _simply_issued(due, counted, campaign, state):
        return None
    if campaign.exclusion_group and not _pins_itself(task, due):
        return None  # there are orders to pin that only the walk knows
    return due, won


def _chances_end_ms(
    task: Task, campaign: Campaign, won: list[str], asked: Asked, campaigns: Campaigns
) -> int:
    """Return when the chances just won end, if not all of them are drawn already; 0: never."""
    if all(asked.draw(task.task_id, label) is not None for label in won):
        return 0
    return chances.closes_ms(campaign, campaigns) or 0


def sooner(one_ms: int, other_ms: int) -> int:
    """Return the earlier of two deadlines; 0: there is none."""
    return min(one_ms, other_ms) if one_ms and other_ms else one_ms or other_ms


def next_claim(state: UserState, fact: ClaimRequested, campaigns: Campaigns) -> Step | None:
    """Fold a claim that looks back to no order."""
    campaign = campaigns.in_force(fact.campaign_id, fact.occurred_at_ms)
    if fact.trigger_order_id or (campaign is not None and campaign.lookback == "same_day"):
        return None
    say = Announcer(state.user_id, fact.cause_id, fact.occurred_at_ms)
    rounds = [task for task in state.tasks if task.campaign_id == fact.campaign_id]
    judged = tasks.judge_claim(state.user_id, fact, campaigns, rounds, blocked=False)
    if isinstance(judged, tasks.Answer):
        rejection = say.rejected(fact.claim_id, fact.campaign_id, judged.code, judged.task_id)
        return Step(state.tasks, [rejection], [])
    if asking.is_short(state):
        return None  # it asks again once something has moved
    campaign = campaigns.of_task(judged)
    task = judged
    asked: list[Ask] = []
    if reservations.reserves(campaign):  # it waits for pools
        reserved = asks.reservations(state.asks)
        if any(ask.task_id == task.task_id for ask in reserved):
            return None  # what they said to an earlier claim may hold for this one
        if not settlement.at_rest(state, reserved, campaigns):
            return None
        task = msgspec.structs.replace(task, pending=True)
        asked += reservations.to_ask(task, campaign, fact.cause_id, say.at_ms, Asked())
    if campaign.budget is None or campaign.version > 1:
        task = changes.remembering(task, state, campaign)
    # else it never was granted before, so nothing was given or drawn for it
    gone = changes.gone_of(state).get(task.task_id)
    task, said = changes.task_changes(None, task, task.peak, campaign, say, gone)
    said += map(say.reserve, asked)
    return Step(_with_round(state.tasks, rounds[-1] if rounds else None, task), said, [], asked)


def next_draw(state: UserState, fact: DrawRequested, campaigns: Campaigns) -> Step:
    """Fold a draw that is asked for now: of a task as it stands."""
    say = Announcer(state.user_id, fact.cause_id, fact.occurred_at_ms)
    task = next((task for task in state.tasks if task.task_id == fact.task_id), None)
    known = asks.SPLICE.find(state.asks, ids.draw_id(fact.task_id, fact.step))
    asked = Asked([known.value] if known else [])
    code = chances.refusal(task, fact.step, fact.occurred_at_ms, asked, campaigns)
    if code or task is None:
        campaign_id, task_id = (task.campaign_id, task.task_id) if task else ("", "")
        rejection = say.rejected(fact.claim_id, campaign_id, code, task_id)
        return Step(state.tasks, [rejection], [])
    if task.pending or known is not None:
        return Step(state.tasks, [], [])
    campaign = campaigns.of_task(task)
    said = asking.draw(task, campaign, fact.step, asked, say)
    asks_ms = _without_chance(state, task, asked.draws()[-1], campaigns)
    return Step(state.tasks, [said], [], asked.draws(), asks_ms)


def _without_chance(state: UserState, task: Task, ask: Ask, campaigns: Campaigns) -> int:
    """Return the next deadline of the asks once a chance is drawn: it may have been that."""
    campaign = campaigns.of_task(task)
    ends_ms = chances.closes_ms(campaign, campaigns)
    if not ends_ms or 0 < state.asks_ms < ends_ms:
        return state.asks_ms
    lotteries = sum(campaigns.of_task(one).lottery is not None for one in state.tasks)
    stand = task.peak == task.counted and not campaign.target_amount_minor
    alone = stand and lotteries == 1 and not state.gone and not asks.reservations(state.asks)
    if alone and ends_ms == state.asks_ms:  # all asks are draws of this task, of steps it has
        return ends_ms if chances.won(task, campaign) > state.asks.count + 1 else 0
    asked = asks.unpack(state.asks)
    asked.put(ask)
    return asking.earliest_ms(state.tasks, unpack_ledger(state.ledger), asked, campaigns)


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
        if orders.first_reached(prior, campaign.on) is not None:
            continue
        if _weight(fact, campaign)[0] != orders.COUNTS:
            continue
        task = tasks.begin_auto(
            state.user_id, fact, campaign, campaigns, last, fact.occurred_at_ms, fact.order_id
        )
        if task is not None and reservations.reserves(campaigns.of_task(task)):
            return None  # it waits for pools
        if task is not None and campaign.exclusion_group:
            return None  # of its group another may have the order
        if task is None or fact.recorded_at_ms > task.end_ms + campaign.grace_ms:
            continue
        if last is None and state.newest.at_ms >= task.start_ms:
            return None  # there are facts in its window that only the walk looks at
        begun = _with_round(begun, last, changes.remembering(task, state, campaign))
    return begun


def _offered(fact: OrderReported, task: Task, campaign: Campaign) -> tuple[str, int]:
    """Return (code, consumption): what the order is to its campaign, unless it comes late."""
    code, spent = _weight(fact, campaign)
    if code != orders.STATUS and fact.recorded_at_ms > task.end_ms + campaign.grace_ms:
        return orders.LATE, 0
    return code, spent


def _simply_issued(due: list[Due], task: Task, campaign: Campaign, state: UserState) -> bool:
    """Tell whether what just fell due is issued whatever else there is in the ledger."""
    if state.owed_minor or state.early.count or task.held or holding.asks(campaign):
        return False  # debts, results to come, orders to wait for: all of them are needed
    if any(one.step != str(task.counted) for one in due):
        return False  # an amount was asked for: its finals are labelled otherwise
    # If the money went back, more is to be asked for.
    return not (state.asks.count and asking.released(state.asks, task.task_id))


def _pins_itself(task: Task, due: list[Due]) -> bool:
    """Tell whether the next counted order of a task in a group is all there may be to pin."""
    return task.paid_step == task.counted if due else task.paid_step <= task.counted


def _share(fact: OrderReported, task: Task, begun: tuple[Task, ...], campaigns: Campaigns) -> str:
    """Return the code of an order that is good for a task and new to all: of a group, to one."""
    group = campaigns.of_task(task).exclusion_group
    asking_ = [
        (other, of_other)
        for other, of_other in ((other, campaigns.of_task(other)) for other in begun)
        if of_other.exclusion_group == group
        and tasks.admits(other, fact.occurred_at_ms, fact.order_id)
        and _offered(fact, other, of_other)[0] == orders.COUNTS
    ]
    first = groups.winner(asking_, fact.occurred_at_ms)
    return orders.COUNTS if task.task_id == first else groups.LOST_GROUP


def _names(other: Fact, order_id: str) -> bool:
    """Tell whether a fact says something about the order without being a version of it."""
    if isinstance(other, OrderReported):
        return other.parent_order_id == order_id
    if isinstance(other, OrderCancelled | RiskVerdict):
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


def _weight(fact: OrderReported, campaign: Campaign) -> tuple[str, int]:
    """Return (code, consumption) of an order of which nothing came back, as `orders.weigh` does."""
    if fact.status < campaign.on:
        return orders.STATUS, 0
    code, amount, spent = orders.content_weight(fact, campaign)
    if code == orders.COUNTS and amount < campaign.min_amount_minor:
        return orders.MIN_AMOUNT, 0
    return code, spent


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

"""The short path of what others answer: pools to our requests, the rights service to our commands.

As `short_path.py` for orders: only what the answer is about is looked at, found in the row by its
id (`splice.py`). A function returns None where that would not do: a task of which something was
said before, a claim that is denied after more has happened, rewards that wait, debts, a reservation
given back that may be short. Then all is worked out anew, to the same state and outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.domain import (
    asking,
    asks,
    chances,
    changes,
    earned,
    ids,
    ledger,
    reservations,
    settlement,
)
from streams.domain.announce import Announcer
from streams.domain.asks import DRAW, GRANTED
from streams.domain.ledger import Due, Settling
from streams.domain.short_path import Step, sooner
from streams.domain.splice import Splice
from streams.domain.state import Entry, Key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.asks import Ask
    from streams.domain.campaign import Campaign
    from streams.domain.events import PoolAnswered, RewardResult
    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from streams.domain.state import Packed, Task, UserState

_encode = msgspec.msgpack.Encoder().encode
ENTRIES = Splice(Entry)
SETTLED = frozenset({"issued", "spent", "expired"})
"""Results after which nothing else is due: their entry moves, and it alone."""


def next_answer(state: UserState, fact: PoolAnswered, campaigns: Campaigns) -> Step | None:
    """Fold a pool's answer that is later than all facts: to a request of the latest moment."""
    found = asks.SPLICE.find(state.asks, fact.request_id)
    told = None if found is None else asks.with_answer(found.value, fact)
    if found is None or told is None:
        return None
    reserved = asks.reservations(state.asks)
    if not settlement.at_rest(state, reserved, campaigns):
        return None
    if told.purpose == DRAW:
        step = _drawn(state, told, campaigns, fact)
    else:
        reserved = [told if ask.request_id == told.request_id else ask for ask in reserved]
        step = _reserved(state, told, reserved, campaigns, fact)
    if step is None:
        return None
    return msgspec.structs.replace(step, told=asks.SPLICE.replaced(state.asks, found, told))


def next_result(
    state: UserState, event: RewardResult, campaigns: Campaigns
) -> tuple[Packed[Entry], list[Output]] | None:
    """Fold what the rights service did with the newest command; return the ledger and outputs."""
    if event.outcome not in SETTLED:
        return None
    found = ENTRIES.find(state.ledger, event.reward_id)
    if found is None or found.value.seq != event.seq:
        return None
    entry = found.value
    campaign = campaigns.pinned(entry.campaign_id, entry.campaign_version)
    if event.outcome == "expired" and campaign.exclusion_group:
        return None  # its task may have less that is paid now
    policies = {entry.reward_id: campaign}
    settling = Settling({entry.reward_id: entry}, policies, event.occurred_at_ms)
    if not settling.answer(entry, event):
        return None
    say = Announcer(state.user_id, event.cause_id, event.occurred_at_ms)
    said = settlement.said(settling, campaigns, say)
    return ENTRIES.replaced(state.ledger, found, entry), said


def _drawn(state: UserState, told: Ask, campaigns: Campaigns, fact: PoolAnswered) -> Step | None:
    """Fold what a draw gave: nothing, or a prize whose step stands and that waits for nothing."""
    if not told.right:
        return Step(state.tasks, [], [])
    task = next((task for task in state.tasks if task.task_id == told.task_id), None)
    if task is None:
        return None
    campaign = campaigns.of_task(task)
    order_id = chances.order_of(task, campaign, told.step)
    if not order_id or (campaign.exclusion_group and task.paid_step < chances.step_of(told.step)):
        return None  # the prize is lost, or there are orders to pin that only the walk knows
    right, draw_id = chances.right_of(told.right), ids.draw_id(task.task_id, told.step)
    due = Due(task, campaign, told.step, "prize", right, order_id, draw_id=draw_id)
    change = ledger.issue_first(due)
    say = Announcer(state.user_id, fact.cause_id, fact.occurred_at_ms)
    return Step(state.tasks, [say.ledger(change, campaign.calendar)], [change.entry])


def _reserved(
    state: UserState, told: Ask, reserved: Sequence[Ask], campaigns: Campaigns, fact: PoolAnswered
) -> Step | None:
    """Fold the answer to what a new task asked for. reserved: all reservations, with it."""
    task = next((task for task in state.tasks if task.task_id == told.task_id), None)
    if task is None or not task.pending or task.rev or task.ended or _returns(task, state):
        return None
    campaign = campaigns.of_task(task)
    group = [ask for ask in reserved if ask.task_id == task.task_id]
    if any(ask.cause_id != told.cause_id for ask in group):
        return None  # another claim has asked for it as well
    verdict = reservations.answered({ask.pool_id: ask for ask in group}, campaign)
    if verdict is None:
        return None
    say = Announcer(state.user_id, fact.cause_id, fact.occurred_at_ms)
    if verdict.code:
        return _refused(state, task, group, verdict.code, campaign, say)
    said = []
    if told.state == GRANTED and told.amount_minor:
        budget_of = asking.campaign_of(told, campaigns)
        said.append(say.set_aside(told, told.amount_minor, budget_of))
    if verdict.pending:
        return Step(state.tasks, said, [])
    begun = msgspec.structs.replace(task, pending=False, lacks=verdict.lacks)
    return _began(state, task, begun, group, said, campaigns, say)


def _began(  # noqa: PLR0913  # a task before and after, what it has, and who says so
    state: UserState,
    task: Task,
    begun: Task,
    group: Sequence[Ask],
    said: list[Output],
    campaigns: Campaigns,
    say: Announcer,
) -> Step | None:
    """Begin a task that waited for its reservation, and has earned nothing meanwhile."""
    campaign = campaigns.of_task(task)
    if _earns(task, campaign) or (campaign.lottery and not _newest_began(state, group[0], task)):
        return None  # rewards, or draws, wait for it
    begun, moved = changes.task_changes(task, begun, task.peak, campaign, say)
    asks_ms = state.asks_ms
    for ask in group:
        if ask.state == GRANTED:
            asks_ms = sooner(asks_ms, reservations.until_ms(ask, begun, campaigns))
    tasks = tuple(begun if one is task else one for one in state.tasks)
    return Step(tasks, said + moved, [], asks_ms=asks_ms)


def _refused(  # noqa: PLR0913  # a task, what was asked for it, and who says so
    state: UserState,
    task: Task,
    group: Sequence[Ask],
    code: str,
    campaign: Campaign,
    say: Announcer,
) -> Step | None:
    """Undo the first round of a campaign whose claim is the newest fact: it never began."""
    if not _newest_began(state, group[0], task) or task.round > 1 or task.counted:
        return None
    if campaign.lookback == "same_day" or task.trigger_order_id:
        return None  # an order before the claim is nobody's now
    if any(ask.state == GRANTED for ask in group):
        return None  # it goes back
    claim_id = state.newest.id
    tasks = tuple(one for one in state.tasks if one is not task)
    return Step(tasks, [say.rejected(claim_id, task.campaign_id, code, "")], [])


def _returns(task: Task, state: UserState) -> bool:
    """Tell whether something was said of this task before a late fact had undone it."""
    return any(gone.task_id == task.task_id for gone in state.gone)


def _newest_began(state: UserState, ask: Ask, task: Task) -> bool:
    """Tell whether the claim that asked for this is the newest fact, and alone of its instant.

    Of two claims of one instant the one with the smaller id has begun the task, whoever asked.
    """
    newest = state.newest
    if newest != Key(task.begun_at_ms, 0, newest.id) or ask.cause_id != f"claim:{newest.id}":
        return False
    # How a fact begins: no user, the row's key has it, then its time.
    return state.facts.data.count(_encode("") + _encode(newest.at_ms)) == 1


def _earns(task: Task, campaign: Campaign) -> bool:
    """Tell whether a task has earned something while it was pending."""
    return any(
        earned.at_step(task, campaign, k, "", 0) or chances.labels_at(task, campaign, k)
        for k in range(1, task.counted + 1)
    )

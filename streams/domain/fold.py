"""The fold: one event of one user in, the new state and what it changes for that user out.

Read this first. An event in key order takes a short path that only appends; anything else walks the
user's facts again from nothing. A property test holds the two equal (D1, D2).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.domain import facts as facts_
from streams.domain import ledger, orders, tasks
from streams.domain.announce import Announcer
from streams.domain.events import (
    ClaimRequested,
    Event,
    Fact,
    OrderReported,
    RewardResult,
)
from streams.domain.ledger import Due
from streams.domain.state import Entry, Key, Task, UserState, pack_ledger, unpack_ledger
from streams.domain.walk import Walk

if TYPE_CHECKING:
    from streams.domain.campaign import Campaign, Campaigns
    from streams.domain.days import Calendar
    from streams.domain.outputs import Output
    from streams.domain.tasks import Tally

FOLD_VERSION = 1
# A row travels as one changelog record; the broker's default limit for one is 1 MiB.
MAX_FACTS_BYTES = 768 * 1024


class Outcome(StrEnum):
    """What became of a record; the label of `rewards_records_total`."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    LATE = "late"
    IGNORED = "ignored"
    CONFLICT = "conflict"
    ROW_FULL = "row_full"


class Folded(NamedTuple):
    """CONFLICT and ROW_FULL leave the state as it was; the record is a dead letter."""

    state: UserState
    outputs: tuple[Output, ...]
    outcome: Outcome


def step(state: UserState, event: Event, campaigns: Campaigns) -> Folded:
    """Fold one event of one user; return the new state and what it changes for that user.

    Total and pure: no clock, no I/O, no randomness; every (state, event) pair returns.
    Redelivery is the normal case, so the duplicate check precedes every rule (D2).
    """
    assert event.user_id == state.user_id, "keyed by user: a foreign event is a wiring bug"
    if isinstance(event, RewardResult):
        return _result(state, event, campaigns)
    fact = msgspec.structs.replace(event, user_id="")  # the row's key has it already
    key = facts_.key_of(fact)
    marks = facts_.marks_of(fact)
    if key > state.newest and not any(mark in state.seen for mark in marks):
        folded = _next(state, event, fact, key, b"".join(marks), campaigns)
        if folded is not None:
            return folded
    return refold(state, event, campaigns)


def _next(  # noqa: PLR0913  # everything the caller has already worked out
    state: UserState, event: Event, fact: Fact, key: Key, marks: bytes, campaigns: Campaigns
) -> Folded | None:
    """Fold a fact later than all others and about nothing known yet; None: this needs the walk."""
    if len(state.facts.data) > MAX_FACTS_BYTES:
        return None
    if isinstance(fact, OrderReported):
        found = None if fact.parent_order_id else _next_order(state, fact, campaigns)
    elif isinstance(fact, ClaimRequested):
        found = None if fact.trigger_order_id else _next_claim(state, fact, campaigns)
    else:  # a tombstone, or a withdrawal ahead of what it withdraws: only remembered
        found = _Step(state.tasks, [], [])
    if found is None:
        return None
    issued = [change.entry for change in found.changes]
    after = UserState(
        state.user_id,
        state.version + 1,
        key,
        state.facts.added(fact),
        state.seen + marks,
        found.tasks,
        state.ledger.added(*issued) if issued else state.ledger,
        state.owed_minor,
    )
    return Folded(after, tuple(found.outputs), Outcome.APPLIED)


class _Step(NamedTuple):
    tasks: tuple[Task, ...]
    outputs: list[Output]
    changes: list[ledger.Change]


def _next_order(state: UserState, fact: OrderReported, campaigns: Campaigns) -> _Step | None:
    at_ms, recorded_ms = fact.occurred_at_ms, fact.recorded_at_ms
    say = Announcer(state.user_id, fact.cause_id, at_ms)
    outputs: list[Output] = []
    changes: list[ledger.Change] = []
    begun, new_ids = state.tasks, set[str]()
    for campaign in campaigns.auto_in_force(at_ms):
        last = _last_round(begun, campaign.campaign_id)
        if _code_of(fact, campaign) == orders.COUNTS:
            task = tasks.begin_auto(state.user_id, campaign, last, at_ms, fact.order_id)
            if task is not None and recorded_ms <= task.end_ms + campaign.grace_ms:
                if last is None and state.newest.at_ms >= task.start_ms:
                    return None  # its window reaches back to facts that only the walk looks at
                begun = _with_round(begun, last, _remembering(task, state))
                new_ids.add(task.task_id)
    after: list[Task] = []
    held = False
    for task in begun:
        if not tasks.admits(task, at_ms, fact.order_id):
            after.append(task)
            continue
        held = True
        campaign = campaigns.pinned(task.campaign_id, task.campaign_version)
        code = _code_of(fact, campaign)
        if code != orders.STATUS and recorded_ms > task.end_ms + campaign.grace_ms:
            code = orders.LATE
        counted, code = tasks.count_next(task, campaign, at_ms, code)
        if code == orders.COUNTS:
            dues = list(ledger.dues_at(counted, campaign, counted.counted, fact.order_id))
            if dues and (counted.counted <= task.peak or state.owed_minor):
                return None  # issued before, or a debt to set off: the whole ledger is needed
            changes += map(ledger.issue_first, dues)
        else:
            outputs.append(say.order(fact.order_id, code, task, campaign))
        stood = None if task.task_id in new_ids else task
        counted, said = _task_changes(stood, counted, task.peak, campaign, say)
        outputs += said
        after.append(counted)
    outputs += [say.ledger(change, _calendar_of(change, campaigns)) for change in changes]
    if not held:
        outputs.append(say.order(fact.order_id, tasks.NO_TASK))
    return _Step(tuple(after), outputs, changes)


def _next_claim(state: UserState, fact: ClaimRequested, campaigns: Campaigns) -> _Step | None:
    campaign = campaigns.in_force(fact.campaign_id, fact.occurred_at_ms)
    if campaign is not None and campaign.lookback == "same_day":
        return None
    say = Announcer(state.user_id, fact.cause_id, fact.occurred_at_ms)
    rounds = [task for task in state.tasks if task.campaign_id == fact.campaign_id]
    judged = tasks.judge_claim(state.user_id, fact, campaigns, rounds)
    if isinstance(judged, tasks.Answer):
        rejection = say.rejected(fact.claim_id, fact.campaign_id, judged.code, judged.task_id)
        return _Step(state.tasks, [rejection], [])
    assert campaign is not None, "a task begins under a version in force"
    task = _remembering(judged, state)
    task, said = _task_changes(None, task, task.peak, campaign, say)
    begun = _with_round(state.tasks, rounds[-1] if rounds else None, task)
    return _Step(begun, said, [])


def _code_of(fact: OrderReported, campaign: Campaign) -> str:
    """Weigh an order of which nothing but this event is known; equal to `orders.weigh`."""
    if fact.status < campaign.on:
        return orders.STATUS
    code, amount = orders.content_weight(fact, campaign)
    if code == orders.COUNTS and amount < campaign.min_amount_minor:
        return orders.MIN_AMOUNT
    return code


def _last_round(begun: tuple[Task, ...], campaign_id: str) -> Task | None:
    rounds = [task for task in begun if task.campaign_id == campaign_id]
    return rounds[-1] if rounds else None


def _with_round(begun: tuple[Task, ...], last: Task | None, task: Task) -> tuple[Task, ...]:
    """Add a round, close the one before it; tasks stand in order of campaign and round."""
    if last is not None:
        closed = tasks.closed_by(last, task)
        begun = tuple(closed if one is last else one for one in begun)
    return tuple(sorted((*begun, task), key=lambda one: (one.campaign_id, one.round)))


def _remembering(task: Task, state: UserState) -> Task:
    """A task that a late fact had undone may come back: its ledger entries did not go away."""
    if not state.ledger.count:
        return task
    return msgspec.structs.replace(task, peak=_peak(unpack_ledger(state.ledger), task.task_id))


def _peak(entries: dict[str, Entry], task_id: str) -> int:
    """Return the highest step that a task was ever rewarded for."""
    return max((int(e.step) for e in entries.values() if e.task_id == task_id), default=0)


def refold(state: UserState, event: Fact, campaigns: Campaigns) -> Folded:
    """Walk the facts again, with and without the new one, and say what is different.

    The slow path of `step`: right for every fact, where the short path is right for most.
    """
    fact = msgspec.structs.replace(event, user_id="")
    key = facts_.key_of(fact)
    known = facts_.unpack(state.facts)
    name = facts_.identity(fact)
    for other in known:
        if facts_.identity(other) == name:
            same = facts_.same_content(other, fact)
            return Folded(state, (), Outcome.DUPLICATE if same else Outcome.CONFLICT)
    if len(state.facts.data) > MAX_FACTS_BYTES:
        return Folded(state, (), Outcome.ROW_FULL)
    late = key < state.newest
    before = Walk(state.user_id, campaigns).take(known)
    old = _Seen(before)
    if late:
        known = sorted([*known, fact], key=facts_.key_of)
        after = Walk(state.user_id, campaigns).take(known)
    else:
        known.append(fact)
        after = before.take([fact])
    new = _Seen(after)
    say = Announcer(state.user_id, event.cause_id, event.occurred_at_ms)
    entries = unpack_ledger(state.ledger)
    stood = {task.task_id: task for task in state.tasks}
    outputs = _rejections(old, new, known, say)
    begun: list[Task] = []
    for tally in new.tallies:
        task = tally.task
        peak = _peak(entries, task.task_id)
        campaign = campaigns.pinned(task.campaign_id, task.campaign_version)
        task, said = _task_changes(stood.get(task.task_id), task, peak, campaign, say)
        begun.append(task)
        outputs += said
    outputs += _order_changes(old, new, {task.task_id: task for task in begun}, campaigns, say)
    outputs += _settle(new.tallies, entries, campaigns, say)
    folded = UserState(
        state.user_id,
        state.version + 1,
        max(key, state.newest),
        facts_.pack(known),
        facts_.marks(known),
        tuple(begun),
        pack_ledger(entries),
        ledger.owed(entries),
    )
    return Folded(folded, tuple(outputs), Outcome.LATE if late else Outcome.APPLIED)


class _Seen:
    """A walk's results, taken down before the walk goes on."""

    def __init__(self, walk: Walk) -> None:
        self.tallies = walk.tallies()
        self.codes = {(t.task.task_id, id_): c for t in self.tallies for id_, c in t.codes.items()}
        self.answers = dict(walk.answers)
        self.loose = walk.loose_orders(self.tallies)
        self.past_horizon = walk.past_horizon(self.tallies)


def _rejections(old: _Seen, new: _Seen, known: list[Fact], say: Announcer) -> list[Output]:
    campaign_ids = {f.claim_id: f.campaign_id for f in known if isinstance(f, ClaimRequested)}
    return [
        say.rejected(claim_id, campaign_ids[claim_id], answer.code, answer.task_id)
        for claim_id, answer in new.answers.items()
        if answer.code and old.answers.get(claim_id) != answer
    ]


def _task_changes(
    stood: Task | None, task: Task, peak: int, campaign: Campaign, say: Announcer
) -> tuple[Task, list[Output]]:
    """Say what is different about a task (None: it did not stand), and count that we said it."""
    types = [] if stood else ["task.claimed"]
    before = stood.counted if stood else 0
    if task.counted != before:
        types.append("task.advanced" if task.counted > before else "task.regressed")
    was_done, done = bool(stood and stood.completed_at_ms), bool(task.completed_at_ms)
    if done != was_done:
        types.append("task.completed" if done else "task.reopened")
    rev = (stood.rev if stood else 0) + len(types)
    task = msgspec.structs.replace(task, peak=max(task.counted, peak), rev=rev)
    return task, [say.task(type_, task, campaign) for type_ in types]


def _order_changes(
    old: _Seen, new: _Seen, begun: dict[str, Task], campaigns: Campaigns, say: Announcer
) -> list[Output]:
    outputs = []
    silent = (orders.COUNTS, orders.CANCELLED)
    for (task_id, order_id), code in new.codes.items():
        if code not in silent and old.codes.get((task_id, order_id)) != code:
            task = begun[task_id]
            campaign = campaigns.pinned(task.campaign_id, task.campaign_version)
            outputs.append(say.order(order_id, code, task, campaign))
    for (task_id, cancellation_id), order_id in new.past_horizon.items():
        if (task_id, cancellation_id) not in old.past_horizon:
            task = begun[task_id]
            campaign = campaigns.pinned(task.campaign_id, task.campaign_version)
            outputs.append(say.order(order_id, "PAST_HORIZON", task, campaign))
    outputs += [
        say.order(order_id, code)
        for order_id, code in new.loose.items()
        if old.loose.get(order_id) != code
    ]
    return outputs


def _settle(
    tallies: list[Tally],
    entries: dict[str, Entry],
    campaigns: Campaigns,
    say: Announcer,
) -> list[Output]:
    dues = [due for tally in tallies for due in _dues(tally, campaigns)]
    policies = {
        entry.reward_id: campaigns.pinned(entry.campaign_id, entry.campaign_version)
        for entry in entries.values()
    }
    return [
        say.ledger(change, _calendar_of(change, campaigns))
        for change in ledger.settle(entries, dues, policies)
    ]


def _calendar_of(change: ledger.Change, campaigns: Campaigns) -> Calendar:
    entry = change.entry
    return campaigns.pinned(entry.campaign_id, entry.campaign_version).calendar


def _dues(tally: Tally, campaigns: Campaigns) -> list[Due]:
    campaign = campaigns.pinned(tally.task.campaign_id, tally.task.campaign_version)
    return [
        due
        for k, order_id in enumerate(tally.counted, 1)
        for due in ledger.dues_at(tally.task, campaign, k, order_id)
    ]


def _result(state: UserState, event: RewardResult, campaigns: Campaigns) -> Folded:
    """Fold what the rights service did. Unknown or outdated (reward_id, seq): ignored."""
    entries = unpack_ledger(state.ledger)
    entry = entries.get(event.reward_id)
    change = None
    if entry is not None and entry.seq == event.seq:
        if event.outcome == "spent":
            change = ledger.mark_spent(entry)
        elif event.outcome == "expired":
            change = ledger.mark_void(entry, "lapsed")
        elif event.outcome == "failed" and not event.retryable:
            change = ledger.mark_void(entry, "failed")
    if change is None:
        return Folded(state, (), Outcome.IGNORED)
    say = Announcer(state.user_id, event.cause_id, event.occurred_at_ms)
    calendar = _calendar_of(change, campaigns)
    after = msgspec.structs.replace(state, version=state.version + 1, ledger=pack_ledger(entries))
    return Folded(after, (say.ledger(change, calendar),), Outcome.APPLIED)

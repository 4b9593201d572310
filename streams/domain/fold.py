"""The fold: one event of one user in, the new state and what it changes for that user out.

Read this first. An event in key order takes a short path that only appends; anything else walks the
user's facts again from nothing. A property test holds the two equal (D1, D2).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.domain import (
    answers,
    asking,
    asks,
    compaction,
    deadlines,
    endings,
    expiry,
    frozen,
    holding,
    ledger,
    notices,
    orders,
    reservations,
    settlement,
    short_answers,
    short_path,
)
from streams.domain import facts as facts_
from streams.domain.announce import Announcer
from streams.domain.changes import gone_of, peak, task_changes
from streams.domain.events import (
    CancellationWithdrawn,
    ClaimRequested,
    DrawRequested,
    Event,
    Fact,
    OrderCancelled,
    OrderReported,
    PoolAnswered,
    RewardResult,
    Tick,
)
from streams.domain.groups import pinned, with_paid_steps
from streams.domain.state import (
    Task,
    UserState,
    pack_ledger,
    unpack_ledger,
    unpack_pins,
)
from streams.domain.tasks import Answer
from streams.domain.walk import Walk, begun, walked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.asks import Asked
    from streams.domain.deadlines import Instant, Timed
    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns

FOLD_VERSION = 2
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
    COMPACTED = "compacted"  # in time, but read when that history was compacted: alert


NO_EVENT = frozenset({Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.ROW_FULL})
"""Records that leave no trace: what they are dated tells no time."""


NO_ANSWER = Answer("", "")


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
    if isinstance(event, Tick):
        return _tick(state, event, campaigns)
    if campaigns.kills:
        kill_ms = endings.next_deadline_ms(state, campaigns)
        if 0 < kill_ms <= event.occurred_at_ms:
            first = _dated(state, reach(state, kill_ms, campaigns), campaigns)
            then = step(first.state, event, campaigns)
            if then.outcome in NO_EVENT:
                return then._replace(state=state)
            return then._replace(outputs=first.outputs + then.outputs)
    if isinstance(event, RewardResult):
        return _dated(state, _result(state, event, campaigns), campaigns)
    return _dated(state, _fact(state, event, campaigns), campaigns)


def _fact(state: UserState, event: Fact, campaigns: Campaigns) -> Folded:
    fact = msgspec.structs.replace(event, user_id="")  # the row's key has it already
    key = facts_.key_of(fact)
    if state.frozen and frozen.may_meet(state, fact):
        return _of_the_past(state, event, campaigns)
    ahead = key > state.newest and len(state.facts.data) <= MAX_FACTS_BYTES
    if ahead and facts_.USER not in state.seen:  # a verdict about the user is about every order
        marks = facts_.marks_of(fact)
        found = _short(state, fact, marks, campaigns)
        if found is not None:
            known = state.asks if found.told is None else found.told
            after = UserState(
                state.user_id,
                state.version + 1,
                key,
                state.facts.added(fact),
                state.seen + b"".join(marks),
                found.tasks,
                state.ledger.added_all(found.issued) if found.issued else state.ledger,
                state.owed_minor,
                known.added_all(found.asked) if found.asked else known,
                state.asks_ms if found.asks_ms is None else found.asks_ms,
                state.results,
                state.early,
                state.ledger_ms,
                state.pins.added_all(found.pins) if found.pins else state.pins,
                state.notices,
                state.noticed_ms,
                _gone(state, found.tasks) if state.gone else (),  # this path undoes none
                state.due_ms,
                state.compact_ms,
                state.past_ms,
                state.frozen,
            )
            return Folded(after, tuple(found.outputs), Outcome.APPLIED)
    return _refold(state, event, campaigns)


def _of_the_past(state: UserState, event: Fact, campaigns: Campaigns) -> Folded:
    """Fold an event that may be about what was compacted: it changes nothing there."""
    say = Announcer(state.user_id, event.cause_id, event.occurred_at_ms)
    met = frozen.meet(state, msgspec.structs.replace(event, user_id=""), campaigns, say)
    if met is None:
        return _refold(state, event, campaigns)
    if met.known:
        return Folded(state, (), Outcome.DUPLICATE)
    if met.stops:
        outcome = Outcome.COMPACTED if met.in_time else Outcome.IGNORED
        if not met.said:
            return Folded(state, (), outcome)
        after = msgspec.structs.replace(
            state,
            version=state.version + 1,
            seen=state.seen + facts_.marks([event]),
            frozen=frozen.pack(met.frozen),
        )
        return Folded(after, tuple(met.said), outcome)
    after = msgspec.structs.replace(state, frozen=frozen.pack(met.frozen))
    folded = _refold(after, event, campaigns)
    if folded.outcome in NO_EVENT or folded.state is after:
        return folded._replace(state=state)
    outcome = Outcome.COMPACTED if met.in_time else folded.outcome
    return Folded(folded.state, (*met.said, *folded.outputs), outcome)


def _dated(before: UserState, folded: Folded, campaigns: Campaigns) -> Folded:
    """Add what an event sets going in time: notices, and when a tick next matters."""
    if folded.state is before:
        return folded
    state, outputs = notices.of_issued(folded.state, folded.outputs, campaigns)
    return Folded(deadlines.dated(state, PARTS, campaigns), outputs, folded.outcome)


def _gone(state: UserState, begun: Sequence[Task]) -> tuple[Task, ...]:
    """Return the tasks we spoke of that do not stand any more: they may return (see changes.py)."""
    stand = {task.task_id for task in begun if task.rev or not task.pending}
    spoken = (task for task in (*state.gone, *state.tasks) if task.rev)
    return tuple(task for task in spoken if task.task_id not in stand)


def _tick(state: UserState, event: Tick, campaigns: Campaigns) -> Folded:
    """Pass the deadlines that a tick has reached; one that reached none changes nothing."""
    after, outputs = deadlines.pass_until(state, event.at_ms, PARTS, campaigns)
    if after is state:
        return Folded(state, (), Outcome.IGNORED)
    return Folded(after, outputs, Outcome.APPLIED)


def _short(
    state: UserState, fact: Fact, marks: list[bytes], campaigns: Campaigns
) -> short_path.Step | None:
    """Take the short path of a fact later than all others; None: this one needs the walk."""
    seen = state.seen
    if facts_.may_know(seen, marks):
        if not isinstance(fact, OrderReported) or fact.parent_order_id:
            return None
        prior = short_path.prior_versions(facts_.unpack(state.facts), fact)
        if prior and holding.waits_for_orders(state.tasks, campaigns):
            prior = None
        return None if prior is None else short_path.next_order(state, fact, prior, campaigns)
    if isinstance(fact, OrderReported):
        return short_path.next_order(state, fact, (), campaigns)
    return _short_else(state, fact, campaigns)


def _short_else(state: UserState, fact: Fact, campaigns: Campaigns) -> short_path.Step | None:
    """Take the short path of what is no order and names nothing known."""
    if isinstance(fact, ClaimRequested):
        return short_path.next_claim(state, fact, campaigns)
    if isinstance(fact, DrawRequested):
        return short_path.next_draw(state, fact, campaigns)
    if isinstance(fact, PoolAnswered):
        return short_answers.next_answer(state, fact, campaigns)
    # A cancellation ahead of its order, or a withdrawal ahead of that: only remembered.
    remembered = isinstance(fact, OrderCancelled | CancellationWithdrawn)
    return short_path.Step(state.tasks, [], []) if remembered else None


def refold(state: UserState, event: Fact | RewardResult, campaigns: Campaigns) -> Folded:
    """Walk the facts again, with and without the new one, and say what is different.

    The slow path of `step`: right for every event, where the short path is right for most.
    """
    if isinstance(event, RewardResult):
        return _dated(state, _result(state, event, campaigns, anew=True), campaigns)
    if state.frozen and frozen.may_meet(state, event):
        return _dated(state, _of_the_past(state, event, campaigns), campaigns)
    return _dated(state, _refold(state, event, campaigns), campaigns)


def _refold(state: UserState, event: Fact, campaigns: Campaigns) -> Folded:
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
    then = asks.unpack(state.asks)
    answer = isinstance(fact, PoolAnswered)
    asked = then.answered(fact) if isinstance(fact, PoolAnswered) else then
    if asked is None:
        return Folded(state, (), Outcome.IGNORED)
    pins, reached_ms = unpack_pins(state.pins), endings.reached_ms(state)
    before = begun(state, then, campaigns, pins).take(known).reach(reached_ms)
    old = _Seen(before, then, known)
    late = key < state.newest
    if late or answer or fact.occurred_at_ms < before.reached_ms:
        known = sorted([*known, fact], key=facts_.key_of)
        after = begun(state, asked, campaigns, pins).take(known).reach(reached_ms)
        # What was compacted is looked for by these marks too, so they stay.
        marks = state.seen + facts_.marks([fact]) if state.frozen else facts_.marks(known)
        facts, seen = facts_.pack(known), marks
    else:
        known.append(fact)
        after = before.take([fact])
        facts, seen = state.facts.added(fact), state.seen + facts_.marks([fact])
    now = msgspec.structs.replace(state, newest=max(key, state.newest), facts=facts, seen=seen)
    say = Announcer(state.user_id, event.cause_id, event.occurred_at_ms)
    granted: list[Output] = []
    if isinstance(fact, PoolAnswered):  # before anything is paid of it, or given back
        granted = asking.set_aside(fact, asked, campaigns, say)
    folded, outputs = _told(now, old, after, asked, known, answer=answer, say=say)
    # An answer is of the time at which it was asked for: that others came since is no delay.
    outcome = Outcome.LATE if late and not answer else Outcome.APPLIED
    if after.compacted and any(o.body.get("code") == frozen.COMPACTED for o in outputs):
        outcome = Outcome.COMPACTED
    return Folded(folded, (*granted, *outputs), outcome)


def reach(state: UserState, at_ms: int, campaigns: Campaigns) -> Folded:
    """Let time alone end what is over at `at_ms` (endings.py): the first event or tick after it.

    Its cause is the time, so that it does not show what brought the news.
    """
    known, asked = facts_.unpack(state.facts), asks.unpack(state.asks)
    before = walked(state, known, asked, campaigns)
    old = _Seen(before, asked, known)
    say = Announcer(state.user_id, endings.cause_id(at_ms), at_ms)
    after = before.reach(at_ms)
    folded, outputs = _told(state, old, after, asked, known, answer=False, say=say)
    return Folded(folded, outputs, Outcome.APPLIED)


class _Kills:
    """Campaigns that are killed, as a part of a tick: `endings.py` with the walk it takes."""

    def next_deadline_ms(self, state: UserState, campaigns: Campaigns) -> int:
        return endings.next_deadline_ms(state, campaigns)

    def pass_time(
        self, state: UserState, now: Instant, campaigns: Campaigns
    ) -> tuple[UserState, list[Output]]:
        if endings.next_deadline_ms(state, campaigns) != now.at_ms:
            return state, []
        reached = reach(state, now.at_ms, campaigns)
        return reached.state, list(reached.outputs)


PARTS: tuple[Timed, ...] = (notices, _Kills(), expiry, settlement, asking, compaction)
"""To which time alone does something, in the order in which they act at one instant."""


def _told(  # noqa: PLR0913  # two sides of a difference, and what they were made from
    state: UserState,
    old: _Seen,
    after: Walk,
    asked: Asked,
    known: list[Fact],
    *,
    answer: bool,
    say: Announcer,
) -> tuple[UserState, tuple[Output, ...]]:
    """Say what is different, and return the state with that said; its facts are those `known`."""
    campaigns, new = after.campaigns, _Seen(after, asked, known)
    # What is due is a matter of these: unmoved, so is the ledger.
    stands = [_progress(tally.task) for tally in new.tallies]
    moved = answer or list(map(_progress, state.tasks)) != stands
    moved = moved or settlement.terms(new.dues) != settlement.terms(old.dues)
    entries = unpack_ledger(state.ledger) if moved else {}
    stood, gone = {task.task_id: task for task in state.tasks}, gone_of(state)
    outputs = _rejections(old, new, known, say)
    stand: list[Task] = []
    for tally in new.tallies:
        task = tally.task
        if task.frozen:
            stand.append(task)
            continue
        highest = peak(entries, asked, task.task_id) if moved else stood[task.task_id].peak
        campaign = campaigns.of_task(task)
        id_ = task.task_id
        task, said = task_changes(stood.get(id_), task, highest, campaign, say, gone.get(id_))
        stand.append(task)
        outputs += said
    outputs += _order_changes(old, new, {task.task_id: task for task in stand}, campaigns, say)
    early, ledger_ms = answers.unpack(state.early), state.ledger_ms
    if moved:
        told, early, ledger_ms = settlement.settle(entries, new.dues, early, asked, campaigns, say)
        outputs += told
    outputs += asking.after_walk(stood, stand, after, asked, say)
    if asked.any and not moved:
        entries = unpack_ledger(state.ledger)
    folded = UserState(
        state.user_id,
        state.version + 1,
        state.newest,
        state.facts,
        state.seen,
        tuple(stand),
        pack_ledger(entries) if moved else state.ledger,
        ledger.owed(entries) if moved else state.owed_minor,
        asked.pack(),
        asking.earliest_ms(stand, entries, asked, campaigns),
        state.results,
        answers.pack(early),
        ledger_ms,
        state.pins,
        state.notices,
        state.noticed_ms,
        _gone(state, stand),
        state.due_ms,
        state.compact_ms,
        state.past_ms,
        state.frozen,
    )
    paid = None if moved else {task.task_id: task.paid_step for task in state.tasks}
    return pinned(folded, new.tallies, entries, campaigns, paid), tuple(outputs)


def _progress(task: Task) -> tuple[object, ...]:
    """Return what dues and views are made of; not marks of what was said."""
    return (
        task.task_id,
        task.campaign_version,
        task.variant,
        task.counted,
        task.accumulated_minor,
        task.saved_minor,
        task.completed_at_ms,
        task.ended_ms,
        task.pending,
        task.lacks,
    )


class _Seen:
    """A walk's results, taken down before the walk goes on."""

    def __init__(self, walk: Walk, asked: Asked, known: list[Fact]) -> None:
        self.tallies = walk.tallies()
        self.dues = settlement.dues_of(walk, self.tallies, asked, known)
        self.codes = {(t.task.task_id, id_): c for t in self.tallies for id_, c in t.codes.items()}
        self.answers = dict(walk.answers)
        self.loose = walk.loose_orders(self.tallies)
        self.past_horizon = walk.past_horizon(self.tallies)
        self.compacted = dict(walk.compacted)


def _rejections(old: _Seen, new: _Seen, known: list[Fact], say: Announcer) -> list[Output]:
    campaign_ids = {f.claim_id: f.campaign_id for f in known if isinstance(f, ClaimRequested)}
    of_tasks = {tally.task.task_id: tally.task.campaign_id for tally in new.tallies}
    return [
        say.rejected(
            claim_id,
            campaign_ids.get(claim_id) or of_tasks.get(answer.task_id, ""),
            answer.code,
            answer.task_id,
        )
        for claim_id, answer in new.answers.items()
        if answer.code and _is_news(old.answers.get(claim_id, NO_ANSWER), answer)
    ]


def _is_news(before: Answer, now: Answer) -> bool:
    """Tell whether an answer is to be said: of what several pools deny, only what is read first."""
    return before != now and not {before.code, now.code} <= reservations.DENIALS


def _order_changes(
    old: _Seen, new: _Seen, begun: dict[str, Task], campaigns: Campaigns, say: Announcer
) -> list[Output]:
    outputs = []
    silent = (orders.COUNTS, orders.CANCELLED)
    for (task_id, order_id), code in new.codes.items():
        if code not in silent and old.codes.get((task_id, order_id)) != code:
            task = begun[task_id]
            campaign = campaigns.of_task(task)
            outputs.append(say.order(order_id, code, task, campaign))
    # Of several that one order brings to light, the order is said once: it is one change (D5).
    too_late = dict.fromkeys(
        (task_id, order_id)
        for (task_id, cancellation_id), order_id in new.past_horizon.items()
        if (task_id, cancellation_id) not in old.past_horizon
    )
    for task_id, order_id in too_late:
        task = begun[task_id]
        outputs.append(say.order(order_id, "PAST_HORIZON", task, campaigns.of_task(task)))
    missed = {
        (task.task_id, order_id): task
        for key, (task, order_id) in new.compacted.items()
        if key not in old.compacted
    }
    for (_, order_id), task in missed.items():
        outputs.append(say.order(order_id, frozen.COMPACTED, task, campaigns.of_task(task)))
    outputs += [
        say.order(order_id, code)
        for order_id, code in new.loose.items()
        if _is_news(NO_ANSWER._replace(code=old.loose.get(order_id, "")), Answer(code, ""))
    ]
    return outputs


def _result(
    state: UserState, event: RewardResult, campaigns: Campaigns, *, anew: bool = False
) -> Folded:
    """Fold what the rights service did. anew: without the short path, which says the same."""
    mark = answers.mark_of(event)
    found = answers.known(state.results, mark)
    if found is not None:
        return Folded(state, (), Outcome.DUPLICATE if found == mark else Outcome.CONFLICT)
    if len(state.facts.data) + len(state.results) + len(state.early.data) > MAX_FACTS_BYTES:
        return Folded(state, (), Outcome.ROW_FULL)
    after = msgspec.structs.replace(
        state, version=state.version + 1, results=answers.with_mark(state.results, mark)
    )
    short = None if anew else short_answers.next_result(state, event, campaigns)
    if short is not None:
        after = msgspec.structs.replace(after, ledger=short[0])
        return Folded(after, tuple(short[1]), Outcome.APPLIED)
    return _result_anew(after, event, campaigns)


def _result_anew(state: UserState, event: RewardResult, campaigns: Campaigns) -> Folded:
    """Work out what follows from a result (`answers.py`); the state knows that it came."""
    after = state
    entries, early = unpack_ledger(state.ledger), answers.unpack(state.early)
    entry = entries.get(event.reward_id)
    if entry is None or entry.seq < event.seq:
        if len(early) < answers.MOST_EARLY:
            after = msgspec.structs.replace(after, early=answers.pack([*early, event]))
        return Folded(after, (), Outcome.IGNORED)
    policies, asked = settlement.policies_of(entries, campaigns), asks.unpack(state.asks)
    settling = ledger.Settling(entries, policies, event.occurred_at_ms, over=asked.over())
    if entry.seq > event.seq or not settling.takes(entry, event):
        return Folded(after, (), Outcome.IGNORED)
    if answers.not_taken_back([event], entries):
        if entry in answers.not_taken_back(early, entries):
            return Folded(after, (), Outcome.IGNORED)  # we know it, and wait for its money
        early.append(event)
    else:
        settling.answer(entry, event)
    say = Announcer(state.user_id, event.cause_id, event.occurred_at_ms)
    outputs, ledger_ms = settlement.said(settling, campaigns, say), state.ledger_ms
    if event.outcome in answers.UNSETTLING:
        known = facts_.unpack(state.facts)
        walk = walked(state, known, asked, campaigns)
        tallies = walk.tallies()
        dues = settlement.dues_of(walk, tallies, asked, known)
        told, early, ledger_ms = settlement.settle(entries, dues, early, asked, campaigns, say)
        outputs += told
        after = pinned(after, tallies, entries, campaigns)
    else:
        outputs += asking.after_ledger(entries, {}, campaigns, asked, say)
        after = with_paid_steps(after, entries, campaigns)
    after = msgspec.structs.replace(
        after,
        ledger=pack_ledger(entries),
        owed_minor=ledger.owed(entries),
        early=answers.pack(early),
        ledger_ms=ledger_ms,
    )
    if asked.any:
        after = msgspec.structs.replace(
            after,
            asks=asked.pack(),
            asks_ms=asking.earliest_ms(state.tasks, entries, asked, campaigns),
        )
    return Folded(after, tuple(outputs), Outcome.APPLIED)

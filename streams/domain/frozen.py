"""What is left of a history that was compacted, and what is said to an event that is about it.

A frozen task is as it stood 7 days after its horizon: it is not walked any more, nothing it counted
changes, its rewards stay as due as they were. Of its facts only ids are kept, as hashes: enough to
drop what is sent again, and to tell a cancellation that comes too late from one ahead of its order.
What came in time but is read now is COMPACTED: said, counted for an alert, and nothing is changed.
`compaction.py` decides what is frozen. Source: semantics.md 5 rule 9; 9, 28 and 48.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.domain import facts as facts_
from streams.domain import risk, tasks
from streams.domain.days import DAY_MS
from streams.domain.events import (
    CancellationWithdrawn,
    ClaimRequested,
    DrawRequested,
    OrderCancelled,
    OrderReported,
    RewardCollected,
    RiskVerdict,
    TaskWithdrawn,
)
from streams.domain.orders import LATE
from streams.domain.state import UserState, canonical_state, pack_ledger, unpack_ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from streams.domain.announce import Announcer
    from streams.domain.campaign import Campaign
    from streams.domain.events import Fact
    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from streams.domain.state import Task

COMPACTED, PAST_HORIZON = "COMPACTED", "PAST_HORIZON"
AFTER_MS = 7 * DAY_MS  # from the horizon of a task to the end of its history
_MARK = 8  # bytes; 2^32 ids of one user would have to come before two were alike


class Past(msgspec.Struct, frozen=True, array_like=True):
    """What a frozen task held: marks of checkouts and orders, and of what took them back."""

    task_id: str
    kept: bytes = b""  # they counted or were spare: no other task of its group has them
    others: bytes = b""  # they lay in its window and did not count
    returns: tuple[tuple[bytes, str], ...] = ()  # cancellations of these: its mark, and the order

    def holds(self, marks: Iterable[bytes]) -> bool:
        return any(has(self.kept, mark) or has(self.others, mark) for mark in marks)


class Frozen(msgspec.Struct, frozen=True, array_like=True):
    """The compacted part of a row.

    cut_ms: whatever lies before it is complete, for good. ids: marks of all facts that are gone,
    and of the orders they were about. tombs: of orders that a tombstone named which is gone, and
    until when they would have to be recorded for that to act.
    """

    cut_ms: int = 0
    done_ms: int = 0  # the deadline at which it was last compacted
    tombs_ms: int = 0
    ids: bytes = b""
    tombs: bytes = b""
    past: tuple[Past, ...] = ()
    over_ms: int = 0  # windows whose history was over by then did not hold the cut back

    @property
    def in_time_ms(self) -> int:
        """Until when a record came in time for a task that would be frozen now, at least."""
        return self.done_ms - AFTER_MS


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode = msgspec.msgpack.Decoder(Frozen).decode
NOTHING = Frozen()


def unpack(data: bytes) -> Frozen:
    return _decode(data) if data else NOTHING


def pack(frozen: Frozen) -> bytes:
    return _encode(frozen)


def mark(kind: str, *parts: str | int) -> bytes:
    return sha256("\n".join((kind, *map(str, parts))).encode()).digest()[:_MARK]


def of_order(order_id: str) -> bytes:
    """Return the mark of an order or a checkout, whatever version."""
    return mark("name", order_id)


def of_fact(fact: Fact) -> bytes:
    return mark(*facts_.identity(fact))


def has(run: bytes, found: bytes) -> bool:
    at = run.find(found)
    while at % _MARK and at >= 0:
        at = run.find(found, at + 1)
    return at >= 0


def is_gone(state: UserState, fact: Fact) -> bool:
    """Tell whether this very fact was compacted."""
    return has(unpack(state.frozen).ids, of_fact(fact))


def alone(state: UserState) -> UserState:
    """Return the frozen part of a row as a row: what the facts it still has are folded on again."""
    left = msgspec.structs.replace(unpack(state.frozen), done_ms=0)
    return UserState(
        state.user_id,
        tasks=tuple(task for task in state.tasks if task.frozen),
        ledger=pack_ledger({k: e for k, e in unpack_ledger(state.ledger).items() if e.frozen}),
        frozen=pack(left) if state.frozen else b"",
    )


def marks_of(fact: Fact) -> list[bytes]:
    """Return what is remembered of a fact that goes."""
    marks = [of_fact(fact)]
    if isinstance(fact, OrderReported):
        marks += map(of_order, {fact.order_id, fact.checkout_id})
    return marks


def ids_of(state: UserState) -> list[bytes]:
    """Return what is known of a user, compacted or not, in an order of its own."""
    run = unpack(state.frozen).ids
    gone = {run[at : at + _MARK] for at in range(0, len(run), _MARK)}
    return sorted(gone | {one for fact in facts_.unpack(state.facts) for one in marks_of(fact)})


def alike(one: UserState, other: UserState) -> tuple[bytes, bytes]:
    """Return the canonical states of two rows of one user, however much of either is compacted."""
    if not (one.frozen or other.frozen):
        return canonical_state(one), canonical_state(other)
    return canonical_state(one, ids_of(one)), canonical_state(other, ids_of(other))


class Held:
    """What frozen tasks have of orders that are still known, as the walk asks for it."""

    def __init__(self, state: UserState, campaigns: Campaigns) -> None:
        self.tasks = [task for task in state.tasks if task.frozen]
        left = unpack(state.frozen)
        self._cut_ms, self._over_ms = left.cut_ms, left.over_ms
        self._past = {past.task_id: past for past in left.past}
        self._groups = {
            task.task_id: campaigns.of_task(task).exclusion_group for task in self.tasks
        }

    def any(self, checkout_id: str) -> bool:
        """Tell whether an order lay in the window of one."""
        marks = (of_order(checkout_id),)
        return any(past.holds(marks) for past in self._past.values())

    def lay_in(self, campaign_id: str, checkout_id: str) -> bool:
        """Tell whether an order lay in the window of a frozen round of this campaign."""
        marks = (of_order(checkout_id),)
        mine = [task.task_id for task in self.tasks if task.campaign_id == campaign_id]
        return any(self._past[id_].holds(marks) for id_ in mine if id_ in self._past)

    def is_past(self, task: Task, campaign: Campaign) -> bool:
        """Tell whether orders that a round begun only now would count may be gone.

        A window with a first day holds the cut back until its own history is over, if its campaign
        was in force when there was a cut; one defined later counts what is known.
        """
        if task.start_ms >= self._cut_ms:
            return False
        over_ms = task.end_ms + campaign.horizon_ms + AFTER_MS
        return campaign.first_day is None or over_ms <= self._over_ms

    def by_campaign(self, campaign_id: str, checkout_id: str) -> bool:
        of = (task.task_id for task in self.tasks if task.campaign_id == campaign_id)
        return self._keeps(of, checkout_id)

    def by_group(self, group: str, checkout_id: str) -> bool:
        of = (task_id for task_id, name in self._groups.items() if name == group)
        return bool(group) and self._keeps(of, checkout_id)

    def _keeps(self, task_ids: Iterable[str], checkout_id: str) -> bool:
        kept = of_order(checkout_id)
        return any(has(self._past[id_].kept, kept) for id_ in task_ids if id_ in self._past)


class Met(NamedTuple):
    """What an event that is about something compacted comes to.

    frozen: with what is to be remembered of it. stops: it is not folded. known: it is a duplicate.
    in_time: it would have changed something that is frozen.
    """

    frozen: Frozen
    said: list[Output]
    stops: bool
    known: bool = False
    in_time: bool = False


def may_meet(state: UserState, fact: Fact) -> bool:
    """Tell whether an event may be about something compacted; False is certain, and cheap."""
    if fact.occurred_at_ms < state.past_ms or isinstance(fact, RiskVerdict | RewardCollected):
        return True  # a verdict is of no time, and a reward may be collected after the end
    return facts_.may_know(state.seen, facts_.marks_of(fact))


def meet(  # noqa: PLR0911  # one for each kind of fact
    state: UserState, fact: Fact, campaigns: Campaigns, say: Announcer
) -> Met | None:
    """Hold an event against what is compacted; None: it is not about that, or known still."""
    meeting = _Meeting(state, campaigns, say)
    if has(meeting.frozen.ids, of_fact(fact)):
        return Met(meeting.frozen, [], stops=True, known=True)
    known = facts_.unpack(state.facts)
    name = facts_.identity(fact)
    if any(facts_.identity(other) == name for other in known):
        return None
    if isinstance(fact, OrderReported):
        return meeting.order(fact, known)
    if isinstance(fact, OrderCancelled) or (isinstance(fact, RiskVerdict) and fact.order_id):
        return meeting.word_on_order(fact)
    if isinstance(fact, CancellationWithdrawn):
        return meeting.withdrawal(fact)
    if isinstance(fact, RiskVerdict):
        return meeting.word_on_user(fact)
    asks = ClaimRequested | DrawRequested | RewardCollected | TaskWithdrawn
    return meeting.claim(fact) if isinstance(fact, asks) else None


class _Meeting:
    def __init__(self, state: UserState, campaigns: Campaigns, say: Announcer) -> None:
        self.frozen = unpack(state.frozen)
        self._campaigns, self._say = campaigns, say
        self._tasks = {task.task_id: task for task in state.tasks if task.frozen}
        self._past = {past.task_id: past for past in self.frozen.past}
        self._said: list[Output] = []
        self._entries = partial(unpack_ledger, state.ledger)

    def order(self, fact: OrderReported, known: Sequence[Fact]) -> Met | None:
        """An order of which nothing is known, or a version of one."""
        called = fact.checkout_id
        marks = {of_order(fact.order_id), of_order(called)}
        gone = any(has(self.frozen.ids, one) for one in marks)
        dead = has(self.frozen.tombs, of_order(fact.order_id))
        gone = gone or (dead and fact.recorded_at_ms <= self.frozen.tombs_ms)
        stays = any(
            isinstance(other, OrderReported) and called in (other.order_id, other.parent_order_id)
            for other in known
        )
        held: set[str] = set()  # campaigns in a window of which it lies
        for task, past in self._holders(marks):
            held.add(task.campaign_id)
            if fact.recorded_at_ms <= self._horizon_ms(task):
                self._of_task(called, COMPACTED, task)
            self._past[past.task_id] = _with(past, marks)
        for task in self._tasks.values():
            past = self._past[task.task_id]
            campaign = self._campaigns.of_task(task)
            admitted = tasks.admits(task, fact.occurred_at_ms, fact.order_id)
            if past.holds(marks) or not admitted:
                continue
            held.add(task.campaign_id)
            late = fact.recorded_at_ms > task.end_ms + campaign.grace_ms
            self._of_task(called, LATE if late else COMPACTED, task)
            self._past[task.task_id] = _with(past, marks)
        stops = gone or (fact.occurred_at_ms < self.frozen.cut_ms and not stays)
        if not stops:
            self._may_have_begun(fact, held)
        elif not held:
            in_time = fact.recorded_at_ms <= self.frozen.in_time_ms
            if in_time or not gone:
                self._said.append(self._say.order(called, COMPACTED if in_time else tasks.NO_TASK))
        return self._met(fact, marks if stops else (), stops=stops)

    def _may_have_begun(self, fact: OrderReported, held: set[str]) -> None:
        """Say it of the automatic rounds that an order which is taken in might have begun sooner.

        Of a checkout that is known still, say: what it comes to matters to later tasks.
        """
        for task in self._tasks.values():
            campaign = self._campaigns.of_task(task)
            if task.campaign_id in held or not campaign.auto:
                continue
            if fact.occurred_at_ms >= task.begun_at_ms:
                continue
            held.add(task.campaign_id)
            if fact.recorded_at_ms <= self._horizon_ms(task):
                self._of_task(fact.checkout_id, COMPACTED, task)

    def word_on_order(self, fact: OrderCancelled | RiskVerdict) -> Met | None:
        """A cancellation or a verdict on an order that a frozen task held."""
        name = of_order(fact.order_id)
        acts = isinstance(fact, OrderCancelled) or fact.verdict == risk.BLOCK
        for task, past in self._holders({name}):
            if fact.recorded_at_ms <= self._horizon_ms(task):
                self._of_task(fact.order_id, COMPACTED, task)
            elif acts:
                self._of_task(fact.order_id, PAST_HORIZON, task)
            if isinstance(fact, OrderCancelled):
                returns = (*past.returns, (of_fact(fact), fact.order_id))
                self._past[task.task_id] = msgspec.structs.replace(past, returns=returns)
        return self._met(fact, (), stops=has(self.frozen.ids, name))

    def word_on_user(self, fact: RiskVerdict) -> Met | None:
        """A verdict on the user: of no order, so it is counted for the alert and not said."""
        in_time = any(fact.recorded_at_ms <= self._horizon_ms(t) for t in self._tasks.values())
        return Met(self.frozen, [], stops=False, in_time=True) if in_time else None

    def withdrawal(self, fact: CancellationWithdrawn) -> Met | None:
        """A cancellation is taken back that has acted on a frozen task."""
        name = mark("cancel", fact.withdraws, 0)
        for past in self._past.values():
            task, order_id = self._tasks[past.task_id], dict(past.returns).get(name)
            if order_id is not None and fact.recorded_at_ms <= self._horizon_ms(task):
                self._of_task(order_id, COMPACTED, task)
        return self._met(fact, (), stops=has(self.frozen.ids, name))

    def claim(
        self, fact: ClaimRequested | DrawRequested | RewardCollected | TaskWithdrawn
    ) -> Met | None:
        """What a user asks for: of a time that is complete, or of a task that is frozen."""
        refused = fact.occurred_at_ms < self.frozen.cut_ms
        campaign_id = task_id = ""
        if isinstance(fact, ClaimRequested):
            campaign_id = fact.campaign_id
            rounds = [t for t in self._tasks.values() if t.campaign_id == campaign_id]
            refused = refused or any(t.begun_at_ms > fact.occurred_at_ms for t in rounds)
            refused = refused or self._looks_back(fact)
        elif isinstance(fact, TaskWithdrawn | DrawRequested):
            task = self._tasks.get(fact.task_id)
            task_id = task.task_id if task else ""
            if task is not None and isinstance(fact, TaskWithdrawn):
                refused = _ran(task, fact.occurred_at_ms)
            refused = refused and task is not None
        elif isinstance(fact, RewardCollected):
            task_id = self._given_up(fact)
            refused = bool(task_id)
        if not refused:
            return None
        self._said.append(self._say.rejected(fact.claim_id, campaign_id, COMPACTED, task_id))
        return self._met(fact, (), stops=True)

    def _given_up(self, fact: RewardCollected) -> str:
        """Return the frozen task of a reward given up that was collected in time; or ""."""
        entry = self._entries().get(fact.reward_id)
        if entry is None or not (entry.frozen and entry.due and entry.why == "uncollected"):
            return ""
        return entry.task_id if fact.occurred_at_ms < entry.since_ms else ""

    def _looks_back(self, fact: ClaimRequested) -> bool:
        """Tell whether a claim asks for orders of its day, some of which may be gone."""
        campaign = self._campaigns.in_force(fact.campaign_id, fact.occurred_at_ms)
        if campaign is None or campaign.lookback == "none":
            return False
        if campaign.lookback == "trigger_order" and not fact.trigger_order_id:
            return False
        calendar = campaign.calendar
        day_ms = calendar.begins_ms(calendar.day(fact.occurred_at_ms))
        return day_ms < self.frozen.cut_ms

    def _holders(self, marks: set[bytes]) -> Iterator[tuple[Task, Past]]:
        for task_id, past in list(self._past.items()):
            if past.holds(marks):
                yield self._tasks[task_id], past

    def _horizon_ms(self, task: Task) -> int:
        return task.end_ms + self._campaigns.of_task(task).horizon_ms

    def _of_task(self, order_id: str, code: str, task: Task) -> None:
        self._said.append(self._say.order(order_id, code, task, self._campaigns.of_task(task)))

    def _met(self, fact: Fact, marks: Iterable[bytes], *, stops: bool) -> Met | None:
        if not (stops or self._said):
            return None
        ids = self.frozen.ids
        if self._said and stops:  # it is said once, so it must be known again
            ids = with_marks(ids, [of_fact(fact), *sorted(marks)])
        past = tuple(self._past.values())
        kept = msgspec.structs.replace(self.frozen, ids=ids, past=past)
        in_time = any(output.body.get("code") == COMPACTED for output in self._said)
        return Met(kept, self._said, stops, in_time=in_time)


def _ran(task: Task, at_ms: int) -> bool:
    """Tell whether a frozen task was active as of then, when it was not completed before."""
    if task.completed_at_ms >= at_ms:
        task = msgspec.structs.replace(task, completed_at_ms=0)
    return tasks.runs(task, at_ms)


def with_marks(run: bytes, marks: Iterable[bytes]) -> bytes:
    """Return a run of marks with those that it has not."""
    for one in marks:
        if not has(run, one):
            run += one
    return run


def _with(past: Past, marks: Iterable[bytes]) -> Past:
    """Return what a task held with more that did not count; what it kept stays that."""
    others = with_marks(past.others, (m for m in sorted(marks) if not has(past.kept, m)))
    return msgspec.structs.replace(past, others=others)

"""Histories come to an end: 7 days after its horizon a task is frozen, and its facts go.

Compaction is a part of a tick (`fold.PARTS`), done as of the deadline, so it does not show how
often there are ticks, and says nothing. It goes by task, not by age alone, since rounds of several
campaigns overlap without a gap in which a user has no task:

- A task is frozen once its time has come, nothing of it is in flight (a command, a request to a
  pool, a reward that waits, an undrawn chance), no task of its campaign or group is pending, the
  round before it is frozen, and what its rewards have set off are debts of frozen tasks. Held back,
  it is tried again 30 days later.
- The cut is what all later tasks begin after: it lies at the earliest beginning of a task not
  frozen, else at the end of the last frozen one. A checkout goes when all its events lie before the
  cut; what says something about it, or about a frozen task alone, goes with it.
- A window with a first day, of a campaign that enrols by itself, holds the cut as a task of it
  would: an order may begin it still, and then it counts from that day on.
- A task that was undone holds nothing once it is over. What was said of it stays: it may come back.
- What waits for an order to come stays: a tombstone, and what was collected of no reward yet, for
  60 days and the same 7, verdicts and withdrawals without end, orders in nobody's window as long as
  tombstones, and every verdict on the user, since it is about orders to come.
- Before anything is thrown away the row is walked as it will be. If any task left, any answer or
  anything due differs, nothing is done: a user's history is rather kept than bent.
Source: semantics.md 5 rules 8 and 9; 7; 9, 28 and 48.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.domain import answers, asks, chances, frozen, reservations, settlement
from streams.domain import facts as facts_
from streams.domain.asks import ASKED, DENIED, GRANTED, RESERVE
from streams.domain.counting import SPARE
from streams.domain.days import DAY_MS
from streams.domain.events import (
    CancellationWithdrawn,
    ClaimRequested,
    DrawRequested,
    OrderCancelled,
    OrderReported,
    PoolAnswered,
    RewardCollected,
    RiskVerdict,
    TaskWithdrawn,
)
from streams.domain.frozen import AFTER_MS, Past
from streams.domain.orders import COUNTS, TOMBSTONE_MS
from streams.domain.state import (
    ISSUING,
    RESERVED,
    REVOKING,
    pack_ledger,
    packed,
    unpack_ledger,
    unpack_pins,
)
from streams.domain.walk import walked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from streams.domain.asks import Asked
    from streams.domain.campaign import Campaign
    from streams.domain.counting import Tally
    from streams.domain.deadlines import Instant
    from streams.domain.events import Fact
    from streams.domain.outputs import Output
    from streams.domain.registry import Campaigns
    from streams.domain.state import Entry, Task, UserState
    from streams.domain.walk import Walk

AGAIN_MS = 30 * DAY_MS
_A_DAY_MS = 2 * DAY_MS  # a campaign day that begins before the cut is over by then
_MOVING = frozenset({RESERVED, ISSUING, REVOKING})


def next_deadline_ms(state: UserState, _campaigns: Campaigns) -> int:
    """Return when there is next something to compact, or to be tried again; 0: never."""
    return state.compact_ms


def pass_time(
    state: UserState, now: Instant, campaigns: Campaigns
) -> tuple[UserState, list[Output]]:
    """Compact what is due at exactly this instant, and note when there will be more."""
    if state.compact_ms == now.at_ms:
        state = compacted(state, now.at_ms, campaigns)
    next_ms = _next_ms(state, now.at_ms, campaigns)
    if next_ms != state.compact_ms:
        state = msgspec.structs.replace(state, compact_ms=next_ms)
    return state, []


def due_ms(task: Task, campaign: Campaign) -> int:
    """Return when the history of a task is over: 7 days after its horizon."""
    return task.end_ms + campaign.horizon_ms + AFTER_MS


def _next_ms(state: UserState, at_ms: int, campaigns: Campaigns) -> int:
    times = [state.compact_ms] if state.compact_ms > at_ms else []
    for task in state.tasks:
        if task.closed and not task.frozen:
            over_ms = due_ms(task, campaigns.of_task(task))
            times.append(over_ms if over_ms > at_ms else at_ms + AGAIN_MS)
    return min(times, default=0)


def compacted(state: UserState, at_ms: int, campaigns: Campaigns) -> UserState:
    """Return the row with all frozen whose time has come; itself, to be tried again, if none may.

    Nothing that is said, due or counted from now on is another because of it.
    """
    known, asked = facts_.unpack(state.facts), asks.unpack(state.asks)
    entries = unpack_ledger(state.ledger)
    walk = walked(state, known, asked, campaigns)
    tallies = walk.tallies()
    closed = {task.task_id for task in state.tasks if task.closed}  # a walk does not know of ticks
    over = _over(tallies, closed, entries, asked, at_ms, campaigns)
    moving = _moving(entries, asked)
    undone = {task.task_id for task in state.gone if _is_over(task, at_ms, campaigns)} - moving
    ended = over | {tally.task.task_id for tally in tallies if tally.task.frozen}
    live = [tally for tally in tallies if tally.task.task_id not in ended]
    may_return = [task for task in state.gone if task.task_id not in undone]
    before = frozen.unpack(state.frozen)
    past = (*before.past, *(_past(tally, walk) for tally in tallies if tally.task.task_id in over))
    stay = {task.task_id for task in (*(tally.task for tally in live), *may_return)}
    windows = _windows(state, at_ms, campaigns)
    awaited = [begin_ms for begin_ms, end_ms, over_ms in windows if over_ms > at_ms]
    ended_ms = _cut_ms(state, live, may_return, ended, campaigns)
    awaited_ms = min([ended_ms, *awaited])
    cut_ms = max(awaited_ms, before.cut_ms)
    # What is undone may come back for as long as what began it is known, and so may its rewards.
    gone = {task.task_id for task in state.gone if _from_ms(task, campaigns) < cut_ms} & undone
    kept_pins = stay | (undone - gone)
    going = _Going(walk, known, live, past, entries, ended | gone, cut_ms, at_ms)
    left = [fact for fact in known if not going.goes(fact)]
    later = going.later or awaited_ms < ended_ms
    known_gone = all(task.frozen for task in state.gone if task.task_id in gone)
    if len(left) == len(known) and not over and known_gone:
        return _again(state, at_ms) if later or may_return else state
    for entry in entries.values():
        entry.frozen = entry.frozen or entry.task_id in over
    tasks = tuple(
        msgspec.structs.replace(task, frozen=task.frozen or task.task_id in over)
        for task in state.tasks
    )
    ends = [task.end_ms for task in tasks if task.frozen]
    ends += [end_ms for begin_ms, end_ms, over_ms in windows if over_ms <= at_ms]
    ends_ms = max(ends, default=0)
    kept = frozen.Frozen(
        cut_ms,
        at_ms,
        max(before.tombs_ms, going.tombs_ms),
        frozen.with_marks(before.ids, going.marks),
        frozen.with_marks(before.tombs, going.tombs),
        past,
        at_ms,
    )
    orders = {fact.checkout_id for fact in left if isinstance(fact, OrderReported)}
    pins = [p for p in unpack_pins(state.pins) if p.task_id in kept_pins and p.order_id in orders]
    after = msgspec.structs.replace(
        state,
        facts=facts_.pack(left),
        tasks=tasks,
        ledger=pack_ledger(entries),
        asks=_asks_left(asked, entries, ended | gone).pack(),
        pins=packed(pins),
        gone=tuple(
            msgspec.structs.replace(task, frozen=task.frozen or task.task_id in gone)
            for task in state.gone
        ),
        past_ms=max(cut_ms + _A_DAY_MS, ends_ms, state.past_ms),
        frozen=frozen.pack(kept),
        compact_ms=0,
    )
    if _bends(after, walk, live, asked, known, campaigns):
        return _again(state, at_ms)
    return _again(after, at_ms) if later and not stay else after


def _again(state: UserState, at_ms: int) -> UserState:
    return msgspec.structs.replace(state, compact_ms=at_ms + AGAIN_MS)


def _is_over(task: Task, at_ms: int, campaigns: Campaigns) -> bool:
    return at_ms >= due_ms(task, campaigns.of_task(task))


def _moving(entries: Mapping[str, Entry], asked: Asked) -> set[str]:
    """Return the tasks of which something is in flight, or not given back yet."""
    moving = {entry.task_id for entry in entries.values() if entry.state in _MOVING}
    for ask in (*asked.reservations(), *asked.draws()):
        if ask.state == ASKED or (ask.purpose == RESERVE and ask.state == GRANTED):
            moving.add(ask.task_id)
    return moving


def _over(  # noqa: PLR0913  # all that may hold a task back
    tallies: Sequence[Tally],
    closed: Collection[str],
    entries: Mapping[str, Entry],
    asked: Asked,
    at_ms: int,
    campaigns: Campaigns,
) -> set[str]:
    """Return the tasks that may be frozen now."""
    moving = _moving(entries, asked)
    over: set[str] = set()
    frozen_: set[str] = set()
    waiting: set[str] = set()  # campaigns of which an earlier round is not over
    # Denied, a task that is pending leaves its orders to the others of its campaign and group.
    unsettled = {
        name for tally in tallies if tally.task.pending for name in _shares(tally.task, campaigns)
    }
    for tally in tallies:
        task = tally.task
        campaign = campaigns.of_task(task)
        if task.frozen:
            frozen_.add(task.task_id)
        elif (
            task.task_id in closed
            and unsettled.isdisjoint(_shares(task, campaigns))
            and task.task_id not in moving
            and task.campaign_id not in waiting
            and _is_over(task, at_ms, campaigns)
            and not chances.undrawn(task, campaign, asked)
        ):
            over.add(task.task_id)
        else:
            waiting.add(task.campaign_id)
    while True:
        bound = {
            entry.task_id
            for entry in entries.values()
            if entry.task_id in over
            for debt_id, _ in entry.set_off
            if entries[debt_id].task_id not in over | frozen_
        }
        if not bound:
            break
        over -= bound
    # Rounds are frozen in their order, also where a debt holds one back.
    held = {t.task.campaign_id for t in tallies if t.task.task_id not in over | frozen_}
    for campaign_id in held:
        mine = [t.task.task_id for t in tallies if t.task.campaign_id == campaign_id]
        first = next(i for i, id_ in enumerate(mine) if id_ not in over | frozen_)
        over -= set(mine[first:])
    return over


def _shares(task: Task, campaigns: Campaigns) -> set[tuple[str, str]]:
    """Return with whom a task shares orders: its campaign, and its group if it has one."""
    group = campaigns.of_task(task).exclusion_group
    return {("campaign", task.campaign_id)} | ({("group", group)} if group else set())


def _past(tally: Tally, walk: Walk) -> Past:
    kept: list[bytes] = []
    others: list[bytes] = []
    returns: list[tuple[bytes, str]] = []
    for checkout_id, code in tally.codes.items():
        run = kept if code in (COUNTS, SPARE) else others
        run.append(frozen.of_order(checkout_id))
        for part in walk.checkouts()[checkout_id]:
            run.append(frozen.of_order(part.order_id))
            returns += [(frozen.of_fact(c), part.order_id) for c in part.cancellations]
    return Past(
        tally.task.task_id,
        frozen.with_marks(b"", kept),
        frozen.with_marks(b"", others),
        tuple(returns),
    )


def _cut_ms(
    state: UserState,
    live: Sequence[Tally],
    may_return: Iterable[Task],
    ended: Collection[str],
    campaigns: Campaigns,
) -> int:
    ends = [task.end_ms for task in state.tasks if task.task_id in ended]
    begins = [_from_ms(tally.task, campaigns) for tally in live]
    begins += [_from_ms(task, campaigns) for task in may_return]
    return min([*begins, max(ends)]) if ends else 0


def _windows(state: UserState, at_ms: int, campaigns: Campaigns) -> list[tuple[int, int, int]]:
    """Return (begin, end, when its history is over) of windows that an order may still begin.

    Of campaigns with a first day, in force by now, in which the user has no task: a task that began
    by itself would count from that day on, also what came before the order that begins it.
    """
    taken = {task.campaign_id for task in state.tasks}
    found: list[tuple[int, int, int]] = []
    for campaign in campaigns:
        first_day, known = campaign.first_day, campaign.effective_from_ms <= at_ms
        if first_day is None or not (campaign.auto and known) or campaign.campaign_id in taken:
            continue
        calendar = campaign.calendar
        days = max(each.days for each in campaign.each_variant())
        end_ms = calendar.begins_ms(first_day + days)
        over_ms = end_ms + campaign.horizon_ms + AFTER_MS
        found.append((calendar.begins_ms(first_day), end_ms, over_ms))
    return found


def _from_ms(task: Task, campaigns: Campaigns) -> int:
    """Return the earliest instant at which anything can matter to a task."""
    calendar = campaigns.of_task(task).calendar
    day_ms = calendar.begins_ms(calendar.day(task.begun_at_ms))
    if campaigns.of_task(task).lookback == "none" or task.closed_ms or task.start_order_id:
        day_ms = task.begun_at_ms
    return min(task.start_ms, task.begun_at_ms, day_ms)


class _Going:
    """Which facts go, and what is to be remembered of those that went."""

    def __init__(  # noqa: PLR0913  # what a fact may be about, and the instants that decide
        self,
        walk: Walk,
        known: Sequence[Fact],
        live: Sequence[Tally],
        past: Sequence[Past],
        entries: Mapping[str, Entry],
        ended: Collection[str],
        cut_ms: int,
        at_ms: int,
    ) -> None:
        self._cut_ms, self._at_ms = cut_ms, at_ms
        self._entries, self._ended = entries, ended
        self._began = {walk.begun_by[id_] for id_ in ended if id_ in walk.begun_by}
        latest: dict[str, int] = {}
        checkout_of: dict[str, str] = {}
        for fact in known:
            if isinstance(fact, OrderReported):
                called = fact.checkout_id
                checkout_of[fact.order_id] = called
                latest[called] = max(fact.occurred_at_ms, latest.get(called, 0))
        needed = {id_ for tally in live for id_ in tally.codes}
        young_ms = at_ms - TOMBSTONE_MS - AFTER_MS
        self._orders = {
            called
            for called, last_ms in latest.items()
            if last_ms < cut_ms
            and called not in needed
            and (last_ms < young_ms or any(p.holds([frozen.of_order(called)]) for p in past))
        }
        # Of what is complete: what goes as well, once it is old enough.
        self.later = any(
            last_ms < cut_ms and called not in needed and called not in self._orders
            for called, last_ms in latest.items()
        )
        self._checkout_of = checkout_of
        self._cancelled = {f.cancellation_id: f for f in known if isinstance(f, OrderCancelled)}
        self.marks: list[bytes] = []
        self.tombs: list[bytes] = []
        self.tombs_ms = 0

    def goes(self, fact: Fact) -> bool:
        """Tell whether a fact goes, and remember it if it does."""
        if not self._is_over(fact):
            return False
        self.marks += sorted(frozen.marks_of(fact))
        if isinstance(fact, OrderCancelled) and fact.order_id not in self._checkout_of:
            self.tombs.append(frozen.of_order(fact.order_id))
            self.tombs_ms = max(self.tombs_ms, fact.recorded_at_ms + TOMBSTONE_MS)
        return True

    def _is_over(self, fact: Fact) -> bool:  # noqa: PLR0911  # one for each kind of fact
        old = fact.occurred_at_ms < self._cut_ms
        if isinstance(fact, OrderReported):
            return fact.checkout_id in self._orders
        if isinstance(fact, ClaimRequested):
            return old or fact.cause_id in self._began
        if isinstance(fact, OrderCancelled):
            return self._cancellation_is_over(fact)
        if isinstance(fact, CancellationWithdrawn):
            cancellation = self._cancelled.get(fact.withdraws)
            return cancellation is not None and self._cancellation_is_over(cancellation)
        if isinstance(fact, RiskVerdict):
            return self._checkout_of.get(fact.order_id, "") in self._orders
        if isinstance(fact, TaskWithdrawn | DrawRequested):
            return old or fact.task_id in self._ended
        if isinstance(fact, RewardCollected):
            entry = self._entries.get(fact.reward_id)
            return entry.task_id in self._ended if entry else self._has_waited(fact)
        assert isinstance(fact, PoolAnswered), "of every kind of fact it is said when it goes"
        return old

    def _cancellation_is_over(self, fact: OrderCancelled) -> bool:
        checkout_id = self._checkout_of.get(fact.order_id)
        if checkout_id is not None:
            return checkout_id in self._orders
        return self._has_waited(fact)

    def _has_waited(self, fact: OrderCancelled | RewardCollected) -> bool:
        """Tell whether what is ahead of its order has waited for as long as a tombstone."""
        if fact.occurred_at_ms >= self._cut_ms:
            return False
        over = fact.recorded_at_ms + TOMBSTONE_MS + AFTER_MS <= self._at_ms
        self.later = self.later or not over
        return over


def _asks_left(asked: Asked, entries: Mapping[str, Entry], ended: Collection[str]) -> Asked:
    """Return the asks less the reservations of frozen tasks of which no reward has a share."""
    holding = {
        entry.task_id
        for entry in entries.values()
        if answers.was_taken_back(entry) or reservations.holds(entry)
    }
    return asks.Asked(
        ask
        for ask in (*asked.reservations(), *asked.draws())
        if ask.task_id not in ended
        or ask.purpose != RESERVE
        or (ask.state != DENIED and ask.task_id in holding)
    )


def _bends(  # noqa: PLR0913  # two sides of a difference, and what they were made from
    after: UserState,
    walk: Walk,
    live: Sequence[Tally],
    asked: Asked,
    known: Sequence[Fact],
    campaigns: Campaigns,
) -> bool:
    """Tell whether the rest of a history would be another without what is to go."""
    left, asks_left = facts_.unpack(after.facts), asks.unpack(after.asks)
    again = walked(after, left, asks_left, campaigns)
    tallies = [tally for tally in again.tallies() if not tally.task.frozen]
    if tallies != list(live):
        return True
    if any(walk.answers.get(id_) != answer for id_, answer in again.answers.items()):
        return True
    stay = again.checkouts()
    names = {*stay, *(part.order_id for parts in stay.values() for part in parts)}
    loose = {id_: code for id_, code in walk.loose_orders(walk.tallies()).items() if id_ in names}
    if again.loose_orders(again.tallies()) != loose:
        return True
    dues = settlement.terms(settlement.dues_of(walk, list(live), asked, known))
    return settlement.terms(settlement.dues_of(again, tallies, asks_left, left)) != dues

"""Exclusion groups: of the tasks in one, an order serves one (L10).

Which one: the task it is pinned to; then one that can count it now; then by priority, the earlier
deadline, the earlier claim, the smaller task id. Where nobody can count it, the first keeps it as a
spare; to the others it is LOST_GROUP.

A pin is a fact of the row, like a reward: an order that a rewarded step of a task rests on stays
with that task (question 13), whatever is read later. So which order counts where is a function of
the facts and the pins. A pin is known from the fact behind it on: what was decided as of an earlier
moment stays decided, or a late reward could undo a claim that was accepted. Pins are never taken
back; one whose task is gone, or whose order no longer qualifies there, binds nobody: of several the
latest that still can.
Source: semantics.md 3 P5, 9 (12, 13); L10, L11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.domain.chances import step_of
from streams.domain.counting import SPARE, Counter, Offer, Progress, Tally, count
from streams.domain.orders import COUNTS
from streams.domain.state import STANDING, Pin, unpack_pins

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streams.domain.campaign import Campaign
    from streams.domain.registry import Campaigns
    from streams.domain.state import Entry, Key, Task, UserState

LOST_GROUP = "LOST_GROUP"
Rank = tuple[int, int, int, str]
Pinned = dict[tuple[str, str], list[str]]
"""By group and checkout id: the task ids that the checkout was pinned to, the latest last."""


class Run(NamedTuple):
    """A task to be counted, and what its window offers it."""

    task: Task
    campaign: Campaign
    offers: list[Offer]


def rank(task: Task, campaign: Campaign) -> Rank:
    """Return what tasks of a group are preferred by, the smallest first."""
    return -campaign.priority, task.end_ms, task.begun_at_ms, task.task_id


def known(pins: Iterable[Pin], before: Key | None = None) -> Pinned:
    """Return the pins as known before a fact (None: as known now)."""
    found: Pinned = {}
    for pin in pins:
        if before is None or pin.since < before:
            found.setdefault((pin.group, pin.order_id), []).append(pin.task_id)
    return found


def count_all(runs: Sequence[Run], pins: Pinned) -> list[Tally]:
    """Count every task, those of a group together; in the order given."""
    shared: dict[str, list[Run]] = {}
    for run in runs:
        if run.campaign.exclusion_group and not run.task.frozen:
            shared.setdefault(run.campaign.exclusion_group, []).append(run)
    tallies = {
        t.task.task_id: t for name, group in shared.items() for t in _share(name, group, pins)
    }
    return [tallies.get(run.task.task_id) or count(*run) for run in runs]


def _share(group: str, runs: list[Run], pins: Pinned) -> list[Tally]:
    """Count the tasks of one group: each checkout goes to one of them, in order of time.

    A checkout may reach the status of one campaign earlier than that of another: it is decided once
    between all of them, by the first of its times, and each counts it by its own (P5 has no word
    for who was first).
    """
    counters = [_Shared(run) for run in runs]
    ranks = [rank(run.task, run.campaign) for run in runs]
    asking: dict[str, list[tuple[Offer, int]]] = {}
    good = ((offer, i) for i, run in enumerate(runs) for offer in run.offers if not offer.code)
    for offer, i in sorted(good):
        asking.setdefault(offer.checkout_id, []).append((offer, i))
    first: dict[str, int] = {}
    holder: dict[str, int] = {}
    for id_, those in asking.items():
        by_task = {runs[i].task.task_id: i for _, i in those}
        bound = [by_task[t] for t in pins.get((group, id_), ()) if t in by_task]
        of = [(ranks[i], i, offer) for offer, i in those if not bound or i == bound[-1]]
        first[id_] = min(of)[1]
        able = [one for one in of if counters[one[1]].takes(one[2])]
        if able:
            _, i, offer = min(able)
            counters[i].add(offer)
            holder[id_] = i
    return [
        counters[i].tally(
            {
                offer.checkout_id: offer.code
                or _fate(i, holder.get(offer.checkout_id), first[offer.checkout_id])
                for offer in sorted(run.offers)
            }
        )
        for i, run in enumerate(runs)
    ]


class _Shared:
    """A task of a group while checkouts are given to it, maybe not in the order of its own times.

    In the end it has counted those given to it by (time, order id), as any task does.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._given = run, list[Offer]()
        self._counter = Counter(run.task, run.campaign)

    def takes(self, offer: Offer) -> bool:
        progress, campaign = self._counter.progress, self._run.campaign
        if not self._given or self._given[-1] < offer:
            return progress.takes(offer.at_ms)
        day = campaign.calendar.day(offer.at_ms)
        that_day = sum(campaign.calendar.day(other.at_ms) == day for other in self._given)
        return not progress.completed_at_ms and not 0 < campaign.daily_cap <= that_day

    def add(self, offer: Offer) -> None:
        in_order = not self._given or self._given[-1] < offer
        self._given.append(offer)
        if in_order:
            self._counter.add(offer)
            return
        self._given.sort()
        self._counter = Counter(self._run.task, self._run.campaign)
        for given in self._given:
            self._counter.add(given)

    def tally(self, codes: dict[str, str]) -> Tally:
        return self._counter.tally(codes)


def _fate(i: int, holder: int | None, first: int) -> str:
    if holder is not None:
        return COUNTS if holder == i else LOST_GROUP
    return SPARE if first == i else LOST_GROUP


def winner(asking: Iterable[tuple[Task, Campaign]], at_ms: int) -> str:
    """Return the id of the task that an order new to all of them goes to, counted or spare."""
    return min(
        (not Progress(task, campaign).takes(at_ms), rank(task, campaign), task.task_id)
        for task, campaign in asking
    )[-1]


def paid_step(entries: Mapping[str, Entry], task: Task, campaign: Campaign) -> int:
    """Return the highest step that is paid: a reward which is due, and was given, rests on it.

    The orders up to it are to be pinned. One that comes after the reward was taken back did not
    earn it. Where an amount is asked for, what is won at the end is labelled Y and rests on every
    order counted.
    """
    if not campaign.exclusion_group:
        return 0
    paid = 0
    for entry in entries.values():
        if entry.task_id != task.task_id or not (entry.due and entry.state in STANDING):
            continue
        step = step_of(entry.step)
        last = entry.kind != "step" and step == campaign.target_orders
        if not last or not campaign.target_amount_minor:
            paid = max(paid, step)
        elif task.completed_at_ms:
            paid = task.counted
    return paid


def with_paid_steps(
    state: UserState, entries: Mapping[str, Entry], campaigns: Campaigns
) -> UserState:
    """Return the state after a result that gave nothing: what lapsed is not paid any more."""
    tasks = []
    for task in state.tasks:
        paid = paid_step(entries, task, campaigns.of_task(task))
        same = paid == task.paid_step or task.frozen
        tasks.append(task if same else msgspec.structs.replace(task, paid_step=paid))
    return msgspec.structs.replace(state, tasks=tuple(tasks))


def pinned(
    state: UserState,
    tallies: Sequence[Tally],
    entries: Mapping[str, Entry],
    campaigns: Campaigns,
    stood: Mapping[str, int] | None = None,
) -> UserState:
    """Pin the orders that rewarded steps rest on now.

    tallies: of the state's tasks, in their order. stood: the highest paid steps by task id, if the
    ledger has not moved.
    """
    names = [campaigns.of_task(task).exclusion_group for task in state.tasks]
    if not any(names):
        return state
    pins = known(unpack_pins(state.pins))
    latest = {key: ids[-1] for key, ids in pins.items()}
    tasks, made = [], []
    for task, tally, group in zip(state.tasks, tallies, names, strict=True):
        if task.frozen:
            tasks.append(task)
            continue
        if stood is None:
            paid = paid_step(entries, task, campaigns.of_task(task))
        else:
            paid = stood[task.task_id]
        made += [
            Pin(order_id, task.task_id, group, state.newest)
            for order_id in tally.counted[: paid if group else 0]
            if latest.get((group, order_id)) != task.task_id
        ]
        tasks.append(msgspec.structs.replace(task, paid_step=paid))
    after = state.pins.added_all(made) if made else state.pins
    return msgspec.structs.replace(state, tasks=tuple(tasks), pins=after)

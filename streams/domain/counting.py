"""Counting: which of the orders offered to a task move it, in order of (time, order id).

One place says what counts (`Progress`), whether a task is tallied from nothing or an order is added
to it, and whether it is counted alone or in a group. Orders count until the target is met, at most
`daily_cap` a day; what qualifies beyond is spare. Source: semantics.md 2 `target`, 3 P5 to P7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.domain import saved as saved_
from streams.domain.orders import COUNTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.domain.campaign import Campaign
    from streams.domain.features import Lottery
    from streams.domain.orders import Weighed
    from streams.domain.state import Task

SPARE = "SPARE"
LAST_ID = "\U0010ffff"  # no id is greater: which order completed a frozen task is not kept


class Offer(NamedTuple):
    """One checkout offered to a task; sorts by (time, order id), the order of the tally.

    order_id: the part that gives it its time; checkout_id: what it is called outside; names: what
    a claim may call it. spent_minor: its consumption; held: a verdict makes its rewards wait.
    """

    at_ms: int
    order_id: str
    checkout_id: str
    code: str
    names: tuple[str, ...]
    spent_minor: int
    held: bool


class Tally(NamedTuple):
    """A task after counting: `counted` are checkout ids by step, `codes` what became of each.

    completed_by: (time, order id) of the order that met the whole target, if one did. saved: what
    was banked in its cycle up to each counted order. held: those whose rewards are to wait.
    """

    task: Task
    completed_by: tuple[int, str] | None
    counted: list[str]
    codes: dict[str, str]  # checkout id -> COUNTS, SPARE, CANCELLED or the code of `order.ignored`
    saved: list[int]
    held: set[str]


def step_in_cycle(campaign: Campaign, step: int) -> int:
    """Return a step's place in its cycle; a task of one cycle may count on past Y for an amount."""
    return (step - 1) % campaign.target_orders + 1 if campaign.max_cycles > 1 else step


def final_step(task: Task, campaign: Campaign, k: int) -> int:
    """Return the label of the finals that the k-th counted order of a task met; 0: it met none.

    Y, in cycle c c * Y; also where an amount made the orders more than Y, or fewer.
    """
    if campaign.max_cycles > 1:
        return 0 if k % campaign.target_orders else k
    return campaign.target_orders if task.completed_at_ms and k == task.counted else 0


class Progress:
    """How far a task is while orders are counted for it, one after another."""

    __slots__ = (
        "accumulated_minor",
        "campaign",
        "chances",
        "completed_at_ms",
        "counted",
        "day",
        "day_count",
        "saved_minor",
        "task",
    )

    def __init__(self, task: Task, campaign: Campaign) -> None:
        self.task, self.campaign = task, campaign
        self.counted = task.counted
        self.accumulated_minor, self.saved_minor = task.accumulated_minor, task.saved_minor
        self.completed_at_ms = task.completed_at_ms
        self.day, self.day_count = task.last_day, task.last_day_count
        self.chances = task.chances

    def takes(self, at_ms: int) -> bool:
        """Tell whether an order that qualifies can count now: cap and target leave room for it."""
        return not self.completed_at_ms and not self.full(at_ms)

    def full(self, at_ms: int) -> bool:
        """Tell whether the cap of that day is used up."""
        cap = self.campaign.daily_cap
        return 0 < cap <= self.day_count and self.campaign.calendar.day(at_ms) == self.day

    def add(self, at_ms: int, spent_minor: int, checkout_id: str) -> None:
        """Count an order that `takes`, no earlier than those before it."""
        campaign = self.campaign
        day = campaign.calendar.day(at_ms)
        self.day_count = self.day_count + 1 if day == self.day else 1
        self.day = day
        self.counted += 1
        self.accumulated_minor += spent_minor
        if campaign.saved is not None:
            in_cycle = step_in_cycle(campaign, self.counted)
            banked = saved_.banked_minor(
                campaign.saved, self.task.task_id, self.counted, in_cycle, spent_minor
            )
            before = self.saved_minor if in_cycle > 1 else 0
            self.saved_minor = saved_.with_banked(campaign.saved, before, banked)
        if self._met():
            self.completed_at_ms = at_ms
        if campaign.lottery is not None and self._brings_chances(campaign.lottery):
            self.chances = (*self.chances, (self.counted, checkout_id))

    def as_task(self) -> Task:
        return msgspec.structs.replace(
            self.task,
            counted=self.counted,
            completed_at_ms=self.completed_at_ms,
            last_day=self.day,
            last_day_count=self.day_count,
            accumulated_minor=self.accumulated_minor,
            saved_minor=self.saved_minor,
            chances=self.chances,
        )

    def _brings_chances(self, lottery: Lottery) -> bool:
        step = step_in_cycle(self.campaign, self.counted)
        final = self.completed_at_ms or step == self.campaign.target_orders
        return any(won.step == step or (final and won.step == "final") for won in lottery.chances)

    def _met(self) -> bool:
        campaign = self.campaign
        orders = self.counted >= campaign.limit
        if not campaign.target_amount_minor:
            return orders
        amount = self.accumulated_minor >= campaign.target_amount_minor
        return (orders and amount) if campaign.match == "all" else (orders or amount)


class Counter:
    """A task counted from nothing: what `Progress` counts, with the orders it counted."""

    def __init__(self, task: Task, campaign: Campaign) -> None:
        anew = msgspec.structs.replace(
            task,
            counted=0,
            completed_at_ms=0,
            last_day=-1,
            last_day_count=0,
            accumulated_minor=0,
            saved_minor=0,
            held=False,
            chances=(),
        )
        self.progress = Progress(anew, campaign)
        self._counted: list[str] = []
        self._saved: list[int] = []
        self._held: set[str] = set()
        self._completed_by: tuple[int, str] | None = None

    def add(self, offer: Offer) -> None:
        progress = self.progress
        progress.add(offer.at_ms, offer.spent_minor, offer.checkout_id)
        self._counted.append(offer.checkout_id)
        self._saved.append(progress.saved_minor)
        if offer.held:
            self._held.add(offer.checkout_id)
        if progress.completed_at_ms:
            self._completed_by = (offer.at_ms, offer.order_id)

    def tally(self, codes: dict[str, str]) -> Tally:
        task = self.progress.as_task()
        if self._held:
            task = msgspec.structs.replace(task, held=True)
        return Tally(task, self._completed_by, self._counted, codes, self._saved, self._held)


def as_it_stands(task: Task) -> Tally:
    """Return the tally of a frozen task: what it counted is known by numbers alone."""
    completed_by = (task.completed_at_ms, LAST_ID) if task.completed_at_ms else None
    return Tally(task, completed_by, [], {}, [], set())


def count(task: Task, campaign: Campaign, offers: Iterable[Offer]) -> Tally:
    """Count the offers from nothing: each counts, is a spare, or says why it does not count."""
    if task.frozen:
        return as_it_stands(task)
    counter = Counter(task, campaign)
    codes: dict[str, str] = {}
    for offer in sorted(offers):
        code = offer.code
        if code == COUNTS:
            if counter.progress.takes(offer.at_ms):
                counter.add(offer)
            else:
                code = SPARE
        codes[offer.checkout_id] = code
    return counter.tally(codes)


def count_next(  # noqa: PLR0913  # a task, and all that is needed of an order
    task: Task, campaign: Campaign, at_ms: int, code: str, spent_minor: int, checkout_id: str
) -> tuple[Task, str]:
    """Count one more order, later than all before it: the fast path of `count`, equal to it."""
    if code != COUNTS:
        return task, code
    progress = Progress(task, campaign)
    if not progress.takes(at_ms):
        return task, SPARE
    progress.add(at_ms, spent_minor, checkout_id)
    return progress.as_task(), COUNTS


def offered(weighed: Weighed, checkout_id: str, names: Sequence[str]) -> Offer:
    return Offer(
        weighed.at_ms,
        weighed.order_id,
        checkout_id,
        weighed.code,
        tuple(names),
        weighed.spent_minor,
        weighed.held,
    )

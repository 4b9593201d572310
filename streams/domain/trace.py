"""Why an order counts where it counts: each clause of the rules with its value, for every task.

The verdicts are the fold's own, from the walk (`Walk.tallies`); what is added here is each clause,
judged alone by the predicates that the fold uses, in the order in which the fold asks them. So the
first clause that does not hold names the verdict's code; a property test holds the two together.
Source: semantics.md 3, P3 to P6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from streams.domain import groups, orders, risk, tasks
from streams.domain.counting import SPARE, Counter
from streams.domain.groups import LOST_GROUP
from streams.domain.orders import COUNTS
from streams.domain.walk import HELD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from streams.domain.campaign import Campaign
    from streams.domain.counting import Offer, Progress, Tally
    from streams.domain.events import OrderCancelled
    from streams.domain.groups import Run
    from streams.domain.orders import Order
    from streams.domain.state import Task
    from streams.domain.walk import Walk

OUTSIDE = "OUTSIDE"  # not a code of the fold's: it says NO_TASK once an order is outside of all


class Clause(NamedTuple):
    """One rule: the code it refuses with unless it holds, what was found, what is wanted.

    value, wanted: numbers, texts or lists of them; times are ms since the epoch, in fields whose
    name ends with `_ms`: their kind says so (`kind`: "", "time", "money").
    """

    name: str
    holds: bool
    code: str
    value: Any
    wanted: Any
    kind: str = ""


class LineLeft(NamedTuple):
    """One line of an order and what is left of it, in minor units.

    share_minor: of the order's consumption, after discounts; left_minor: after `returned` units.
    """

    line_id: str
    quantity: int
    unit_minor: int
    category: str
    share_minor: int
    returned: int
    left_minor: int
    matches: bool


class Part(NamedTuple):
    """One order of a checkout as a campaign sees it; `code` is the fold's own."""

    order_id: str
    version: int
    code: str
    amount_minor: int
    spent_minor: int
    held: bool
    lines: tuple[LineLeft, ...]
    cancellations: tuple[str, ...]  # those that act
    clauses: tuple[Clause, ...]


class Verdict(NamedTuple):
    """What became of one checkout in one task. code: COUNTS, SPARE, OUTSIDE, or the fold's.

    step: the counted order's number in the task, 0 if it does not count; saved_minor: banked in its
    cycle up to it, accumulated_minor: consumption of the task up to it.
    """

    checkout_id: str
    at_ms: int
    day: int
    code: str
    amount_minor: int
    spent_minor: int
    held: bool
    step: int
    saved_minor: int
    accumulated_minor: int
    clauses: tuple[Clause, ...]
    parts: tuple[Part, ...]


class Traced(NamedTuple):
    """One task, and every checkout of its user in the eyes of it, in order of time."""

    task: Task
    campaign: Campaign
    tally: Tally
    verdicts: tuple[Verdict, ...]


def traced(walk: Walk) -> list[Traced]:
    """Return every task of a walk with every clause; in order of campaign and round."""
    runs, tallies = walk.runs(), walk.tallies()
    shares = _Shares(runs, tallies, walk.pinned())
    held: dict[str, set[str]] = {}  # by campaign: what earlier rounds have kept
    found = []
    for run, tally in zip(runs, tallies, strict=True):
        if run.task.frozen:  # what it counted is known by numbers alone
            found.append(Traced(tally.task, run.campaign, tally, ()))
            continue
        earlier = held.setdefault(run.task.campaign_id, set())
        verdicts = _verdicts(walk, run, tally, earlier, shares)
        found.append(Traced(tally.task, run.campaign, tally, tuple(verdicts)))
        earlier.update(o.checkout_id for o in run.offers if o.code in HELD)
    return found


def _verdicts(
    walk: Walk, run: Run, tally: Tally, earlier: set[str], shares: _Shares
) -> Iterator[Verdict]:
    """Yield the verdicts on every checkout, counting along as the tally did."""
    task, campaign = run.task, run.campaign
    counter = Counter(task, campaign)
    offers = sorted(walk.offer(checkout_id, task) for checkout_id in walk.checkouts())
    for offer in offers:
        parts = [part_of(one, campaign, task.end_ms) for one in walk.checkouts()[offer.checkout_id]]
        clauses = [*window_clauses(task, campaign, offer)]
        clauses.append(
            Clause("earlier_round", offer.checkout_id not in earlier, OUTSIDE, "", "none")
        )
        clauses += _of_checkout(parts, offer, campaign)
        clauses += shares.clauses(run, offer)
        clauses += _room(counter.progress, offer.at_ms)
        code = tally.codes.get(offer.checkout_id, OUTSIDE)
        progress = counter.progress
        if code == COUNTS:
            counter.add(offer)
        yield Verdict(
            offer.checkout_id,
            offer.at_ms,
            campaign.calendar.day(offer.at_ms),
            code,
            sum(part.amount_minor for part in parts if part.code == COUNTS),
            sum(part.spent_minor for part in parts if part.code == COUNTS),
            offer.held,
            progress.counted if code == COUNTS else 0,
            progress.saved_minor,
            progress.accumulated_minor,
            tuple(clauses),
            tuple(parts),
        )


def window_clauses(task: Task, campaign: Campaign, offer: Offer) -> list[Clause]:
    """Return what keeps an order out of a task's window: `tasks.admits`, clause by clause."""
    at_ms, order_id = offer.at_ms, offer.order_id
    if tasks.looks_back_to(task, campaign, offer):
        return [Clause("lookback", True, OUTSIDE, at_ms, task.begun_at_ms, "time")]  # noqa: FBT003
    found = [
        Clause("window.start", at_ms >= task.start_ms, OUTSIDE, at_ms, task.start_ms, "time"),
        Clause("window.end", at_ms < task.end_ms, OUTSIDE, at_ms, task.end_ms, "time"),
    ]
    if task.start_order_id:
        later = at_ms != task.start_ms or order_id >= task.start_order_id
        found.append(Clause("window.first_order", later, OUTSIDE, order_id, task.start_order_id))
    if task.ended_ms:
        before = at_ms < task.ended_ms
        found.append(Clause(f"not_{task.ended}", before, OUTSIDE, at_ms, task.ended_ms, "time"))
    if task.closed_ms:
        before = (at_ms, order_id) < (task.closed_ms, task.closed_order_id)
        found.append(Clause("next_round", before, OUTSIDE, at_ms, task.closed_ms, "time"))
    return found


def part_of(order: Order, campaign: Campaign, end_ms: int) -> Part:
    """Return one order with every clause of `orders.weigh`, and what is left of its lines."""
    weighed = orders.weigh(order, campaign, end_ms)
    content = order.content
    horizon_ms = end_ms + campaign.horizon_ms
    acting = order.acting(horizon_ms)
    lines = tuple(_lines_left(order, campaign, acting))
    return Part(
        order.order_id,
        content.version,
        weighed.code,
        weighed.amount_minor,
        weighed.spent_minor,
        weighed.held,
        lines,
        tuple(c.cancellation_id for c in acting),
        tuple(_part_clauses(order, campaign, end_ms, acting, lines)),
    )


def _lines_left(
    order: Order, campaign: Campaign, acting: Sequence[OrderCancelled]
) -> Iterator[LineLeft]:
    content, units = order.content, orders.returned_units(acting)
    whole = any(not cancellation.lines for cancellation in acting)
    returned = {
        line.line_id: line.quantity if whole else min(units.get(line.line_id, 0), line.quantity)
        for line in content.lines
    }
    shares = orders.spent_on(content, campaign, {})
    left = orders.spent_on(content, campaign, returned)
    for line, share, rest in zip(content.lines, shares, left, strict=True):
        yield LineLeft(
            line.line_id,
            line.quantity,
            line.unit_minor,
            line.category,
            share,
            returned[line.line_id],
            rest,
            campaign.categories.admits(line.category),
        )


def _part_clauses(
    order: Order,
    campaign: Campaign,
    end_ms: int,
    acting: Sequence[OrderCancelled],
    lines: Sequence[LineLeft],
) -> Iterator[Clause]:
    """Yield the clauses on one order, in the order in which `orders.weigh` asks them."""
    content = order.content
    reached = orders.first_reached(order.versions, campaign.on)
    furthest = max(version.status for version in order.versions)
    on = campaign.on.name.lower()
    yield Clause("status", reached is not None, orders.STATUS, furthest.name.lower(), on)
    first = reached or order.versions[0]
    by_ms = end_ms + campaign.grace_ms
    in_time = first.recorded_at_ms <= by_ms
    yield Clause("in_time", in_time, orders.LATE, first.recorded_at_ms, by_ms, "time")
    currency = content.currency == campaign.currency
    yield Clause("currency", currency, orders.CURRENCY, content.currency, campaign.currency)
    for name, said, rule, code in (
        ("channel", content.channel, campaign.channels, orders.CHANNEL),
        ("store", content.store_id, campaign.stores, orders.STORE),
    ):
        if not rule.open:
            yield Clause(name, rule.admits(said), code, said, _filter(rule.include, rule.exclude))
    if acting:
        left = sum(line.quantity - line.returned for line in lines)
        stands = left > 0
        yield Clause("not_cancelled", stands, orders.CANCELLED, left, 1)
    if not campaign.categories.open or acting:
        rule = campaign.categories
        matching = [x for x in lines if x.matches and x.returned < x.quantity]
        left_of = sorted({x.category for x in lines if x.returned < x.quantity})
        wanted = _filter(rule.include, rule.exclude)
        yield Clause("category", bool(matching), orders.CATEGORY, left_of, wanted)
    if order.verdicts or order.of_user:
        horizon_ms = end_ms + campaign.horizon_ms
        stand = [risk.acting(said, horizon_ms) for said in (order.verdicts, order.of_user)]
        heard = [verdict for verdict in stand if verdict]
        yield Clause("risk", risk.BLOCK not in stand, risk.RISK, heard, f"no {risk.BLOCK}")


def _filter(include: Iterable[str], exclude: Iterable[str]) -> list[str]:
    return [*sorted(include), *(f"not {one}" for one in sorted(exclude))] or ["any"]


def _of_checkout(parts: Sequence[Part], offer: Offer, campaign: Campaign) -> Iterator[Clause]:
    """Yield the clauses of the part that speaks for the checkout, then the minimum of the sum."""
    speaks = next(part for part in parts if part.order_id == offer.order_id)
    yield from speaks.clauses
    good = [part for part in parts if part.code == COUNTS]
    amount = sum(part.amount_minor for part in good)
    enough = amount >= campaign.min_amount_minor
    yield Clause(
        "min_amount", enough, orders.MIN_AMOUNT, amount, campaign.min_amount_minor, "money"
    )


def _room(progress: Progress, at_ms: int) -> Iterator[Clause]:
    """Yield what makes an order a spare: `Progress.takes`, clause by clause."""
    campaign = progress.campaign
    met = progress.completed_at_ms
    yield Clause("target_not_met", not met, SPARE, progress.counted, campaign.limit)
    cap = campaign.daily_cap
    if cap:
        same = campaign.calendar.day(at_ms) == progress.day
        today = progress.day_count if same else 0
        yield Clause("daily_cap", not progress.full(at_ms), SPARE, today, cap)


class _Shares:
    """Who of a group has which checkout, and why: read off the tallies, never decided again."""

    def __init__(self, runs: Sequence[Run], tallies: Sequence[Tally], pins: groups.Pinned) -> None:
        self._pins = pins
        self._ranks: dict[str, groups.Rank] = {}
        self._names: dict[str, str] = {}
        self._holder: dict[tuple[str, str], tuple[str, str]] = {}  # -> (task id, COUNTS or SPARE)
        for run, tally in zip(runs, tallies, strict=True):
            group, task = run.campaign.exclusion_group, run.task
            if not group:
                continue
            self._ranks[task.task_id] = groups.rank(task, run.campaign)
            self._names[task.task_id] = task.campaign_id
            for checkout_id, code in tally.codes.items():
                if code in (COUNTS, SPARE):
                    self._holder[group, checkout_id] = (task.task_id, code)

    def clauses(self, run: Run, offer: Offer) -> Iterator[Clause]:
        """Yield whether this task of the group has the checkout; value: who, and by what."""
        group = run.campaign.exclusion_group
        if not group or offer.code != COUNTS:
            return
        holder = self._holder.get((group, offer.checkout_id))
        if holder is None:
            return  # outside of all its windows
        task_id, code = holder
        mine = task_id == run.task.task_id
        by = "first in rank" if mine else self._reason(group, offer, task_id, code, run.task)
        value = {"task_id": task_id, "campaign_id": self._names[task_id], "by": by}
        yield Clause("exclusion_group", mine, LOST_GROUP, value, run.task.task_id)

    def _reason(self, group: str, offer: Offer, winner: str, code: str, mine: Task) -> str:
        if winner in self._pins.get((group, offer.checkout_id), ()):
            return "a rewarded step rests on it"
        one, other = self._ranks[winner], self._ranks[mine.task_id]
        if one > other:
            return "had room for it" if code == COUNTS else "a rewarded step rests on it"
        names = ("higher priority", "earlier deadline", "earlier claim", "smaller task id")
        return next(name for name, a, b in zip(names, one, other, strict=True) if a != b)

"""The slow path: one user's facts walked in key order, from nothing (D2).

Whatever arrives, and in whatever order, this walk over the set gives the same tasks. Orders,
cancellations and verdicts only change what is known; tasks are tallied where somebody asks: at a
claim, a possible next round or an early end (as things stood then), and at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streams.domain import chances, counting, endings, groups, orders, reservations, risk, tasks
from streams.domain import facts as facts_
from streams.domain.asks import Asked
from streams.domain.events import (
    CancellationWithdrawn,
    ClaimRequested,
    DrawRequested,
    Fact,
    OrderCancelled,
    OrderReported,
    RiskVerdict,
    TaskWithdrawn,
)
from streams.domain.frozen import Held
from streams.domain.groups import Run
from streams.domain.orders import Order
from streams.domain.state import KILLED, WITHDRAWN, unpack_pins
from streams.domain.tasks import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streams.domain.campaign import Campaign
    from streams.domain.counting import Offer, Tally
    from streams.domain.registry import Campaigns
    from streams.domain.state import Key, Pin, Task, UserState

# What a round keeps from the next: orders good but for their amount. Others may be another's yet.
HELD = frozenset({orders.COUNTS, orders.MIN_AMOUNT})


class Walk:
    """The world of one user as of the last fact taken in.

    asked: what was asked of pools, with all answers that are known: an answer is of the time at
    which it was asked for, so a task that was denied is known to be when the walk comes to it.
    pins: which orders stay with which task of their group (groups.py).
    """

    def __init__(
        self,
        user_id: str,
        campaigns: Campaigns,
        asked: Asked | None = None,
        pins: Sequence[Pin] = (),
        held: Held | None = None,
    ) -> None:
        self.user_id, self.campaigns, self._asked = user_id, campaigns, asked or Asked()
        self._pins = pins
        self._now: Key | None = None  # the fact being taken, while pins say when they were made
        self._kills = iter(campaigns.kills)
        self._next_kill = next(self._kills, None)
        self.reached_ms = 0  # the latest time that ended a task, or may have
        self.answers: dict[str, Answer] = {}  # by claim id
        self.draws: list[DrawRequested] = []  # those that may be had
        self.begun_by: dict[str, str] = {}  # by task id: the cause of a claim, or of an order
        self.refused: set[tuple[str, str]] = set()  # (task id, cause) that a pool denied
        self._unfunded: dict[str, str] = {}  # checkout id -> why it began no automatic task
        # (task id, cause) -> the round that the cause did not begin, since orders of it may be
        # compacted, and the checkout.
        self.compacted: dict[tuple[str, str], tuple[Task, str]] = {}
        self._orders: dict[str, Order] = {}
        self._checkouts: dict[str, list[Order]] = {}  # by parent id, or the order's own
        self._cancellations: dict[str, OrderCancelled] = {}
        self._withdrawn: dict[str, int] = {}  # by cancellation id: when its record was written
        self._verdicts: dict[str, list[RiskVerdict]] = {"": []}  # by order id; empty: the user
        self._rounds: dict[str, list[Task]] = {}  # by campaign id, in order of rounds
        self._held, self._at_ms = held, 0
        for task in held.tasks if held else ():
            self._rounds.setdefault(task.campaign_id, []).append(task)
        # What a checkout is to a window, until something is said about the checkout again.
        self._offers: dict[str, dict[tuple[str, int, int], Offer]] = {}

    def take(self, facts: Iterable[Fact]) -> Walk:
        """Take facts in, in key order, none of them smaller than one taken before."""
        for fact in facts:
            if self._next_kill is not None:
                self.reach(fact.occurred_at_ms)
            self._now = facts_.key_of(fact) if self._pins else None
            self._at_ms = fact.occurred_at_ms
            self._take(fact)
        self._now = None
        return self

    def _take(self, fact: Fact) -> None:
        if isinstance(fact, OrderReported):
            self._order(fact)
        elif isinstance(fact, ClaimRequested):
            self._claim(fact)
        elif isinstance(fact, OrderCancelled):
            self._cancel(fact)
        elif isinstance(fact, CancellationWithdrawn):
            self._withdraw(fact)
        elif isinstance(fact, DrawRequested):
            self._draw(fact)
        elif isinstance(fact, RiskVerdict):
            self._judge(fact)
        elif isinstance(fact, TaskWithdrawn):
            self._leave(fact)

    def reach(self, at_ms: int) -> Walk:
        """Let time pass: end the tasks of the campaigns that are killed by then."""
        while self._next_kill is not None and self._next_kill[0] <= at_ms:
            kill_ms, campaign_id = self._next_kill
            self._kill(campaign_id, kill_ms)
            self.reached_ms = kill_ms
            self._next_kill = next(self._kills, None)
        return self

    def tallies(self) -> list[Tally]:
        """Return every task, counted, in order of campaign and round."""
        return groups.count_all(self.runs(), self.pinned())

    def before(self, fact: Fact) -> list[Tally]:
        """Return every task, counted, as known when the walk comes to a fact; it is not taken."""
        self.reach(fact.occurred_at_ms)
        self._now = facts_.key_of(fact) if self._pins else None
        found = self.tallies()
        self._now = None
        return found

    def runs(self) -> list[Run]:
        """Return every task with what its window offers it, in order of campaign and round."""
        return [run for id_ in sorted(self._rounds) for run in self._runs(id_)]

    def pinned(self) -> groups.Pinned:
        """Return which checkouts are bound to which task, as known now."""
        return groups.known(self._pins, self._now)

    def checkouts(self) -> dict[str, list[Order]]:
        """Return the parts of every checkout known, by its id."""
        return self._checkouts

    def offer(self, checkout_id: str, task: Task) -> Offer:
        """Return what a checkout is to a task, whether or not it lies in the task's window."""
        return self._offer(checkout_id, self._campaign(task), task.end_ms)

    def verdict(self, task: Task) -> str:
        """Return what the risk service thinks of the user, as far as it acts on a task."""
        horizon_ms = task.end_ms + self._campaign(task).horizon_ms
        return risk.acting(self._verdicts[""], horizon_ms)

    def loose_orders(self, tallies: list[Tally]) -> dict[str, str]:
        """Return what is to be said of orders apart from any task: NO_TASK, OVER_REFUND."""
        held = {order_id for tally in tallies for order_id in tally.codes}
        held |= {checkout_id for _, checkout_id in self.compacted.values()}
        said = {
            checkout_id: self._unfunded.get(checkout_id, tasks.NO_TASK)
            for checkout_id in self._checkouts
            if checkout_id not in held and not (self._held and self._held.any(checkout_id))
        }
        for order_id, order in self._orders.items():
            if order.cancellations and orders.over_refunded(order):
                said[order_id] = "OVER_REFUND"
        return said

    def parts_of(self, task: Task) -> Callable[[str], list[list[OrderReported]]]:
        """Return what tells, of a checkout, the versions of each part that counts for a task."""
        campaign = self._campaign(task)

        def parts(checkout_id: str) -> list[list[OrderReported]]:
            return [
                order.versions
                for order in self._checkouts[checkout_id]
                if orders.weigh(order, campaign, task.end_ms).code == orders.COUNTS
            ]

        return parts

    def past_horizon(self, tallies: list[Tally]) -> dict[tuple[str, str], str]:
        """Return (task id, cancellation id) -> order id of what came too late to act."""
        late: dict[tuple[str, str], str] = {}
        if not self._cancellations and len(self._verdicts) == 1:
            return late
        for tally in tallies:
            task = tally.task
            horizon_ms = task.end_ms + self._campaign(task).horizon_ms
            for checkout_id in tally.codes:
                for order in self._checkouts[checkout_id]:
                    undoing: list[OrderCancelled | RiskVerdict] = [*order.cancellations]
                    undoing += [v for v in order.verdicts if v.verdict == risk.BLOCK]
                    for fact in undoing:
                        if fact.recorded_at_ms > horizon_ms:
                            late[task.task_id, fact.cancellation_id] = order.order_id
        return late

    def _order(self, fact: OrderReported) -> None:
        # As things stood before it: an order that completes a round does not begin the next.
        before = self._last_rounds(fact)
        order = self._orders.get(fact.order_id)
        if order is None:
            checkout_id = fact.checkout_id
            order = Order(fact.order_id, checkout_id, self._withdrawn, self._verdicts[""])
            order.verdicts = self._verdicts.get(fact.order_id, [])
            self._orders[fact.order_id] = order
            if self._cancellations:
                waiting = self._cancellations.values()
                order.cancellations = [c for c in waiting if c.order_id == fact.order_id]
            self._checkouts.setdefault(order.checkout_id, []).append(order)
        order.versions.append(fact)
        self._offers.pop(order.checkout_id, None)
        begins: list[Task] = []
        for campaign, last in before:
            # judged once, as of the event that gives its time
            if orders.first_reached(order.versions, campaign.on) is fact:
                begins += self._auto_task(campaign, last, order, fact)
        for task in sorted(begins, key=lambda task: groups.rank(task, self._campaign(task))):
            self._begin_auto(task, order, fact.cause_id)

    def _claim(self, fact: ClaimRequested) -> None:
        rounds = [tally.task for tally in self._count(fact.campaign_id)]
        blocked = risk.acting(self._verdicts[""]) == risk.BLOCK
        judged = tasks.judge_claim(self.user_id, fact, self.campaigns, rounds, blocked=blocked)
        if not isinstance(judged, Answer):
            judged = self._funded(judged, fact.cause_id)
        if isinstance(judged, Answer):
            self.answers[fact.claim_id] = judged
        else:
            self.answers[fact.claim_id] = Answer("", judged.task_id)
            self._add_round(judged)

    def _funded(self, task: Task, cause_id: str) -> Task | Answer:
        """Return the task as the pools let it be: granted or pending; or refused."""
        said = reservations.judge(task, self._campaign(task), cause_id, self._asked)
        if said.code:
            self.refused.add((task.task_id, cause_id))
            return Answer(said.code, "")
        self.begun_by[task.task_id] = cause_id
        if said is reservations.HONOURED:
            return task
        return msgspec.structs.replace(task, pending=said.pending, lacks=said.lacks)

    def _draw(self, fact: DrawRequested) -> None:
        ids = [(task.task_id, id_) for id_, rounds in self._rounds.items() for task in rounds]
        counted = (t.task for id_, of in ids if id_ == fact.task_id for t in self._count(of))
        task = next((task for task in counted if task.task_id == fact.task_id), None)
        code = chances.refusal(task, fact.step, fact.occurred_at_ms, self._asked, self.campaigns)
        self.answers[fact.claim_id] = Answer(code, task.task_id if task else "")
        if not code:
            self.draws.append(fact)

    def _judge(self, fact: RiskVerdict) -> None:
        self._verdicts.setdefault(fact.order_id, []).append(fact)
        order = self._orders.get(fact.order_id)
        if not fact.order_id:
            self._offers.clear()
        elif order is not None:
            order.verdicts = self._verdicts[fact.order_id]
            self._offers.pop(order.checkout_id, None)

    def _kill(self, campaign_id: str, at_ms: int) -> None:
        rounds = self._rounds.get(campaign_id, [])
        if rounds and not rounds[-1].frozen and endings.is_killed(rounds[-1], at_ms):
            rounds[-1] = tasks.ended(rounds[-1], KILLED, at_ms)

    def _leave(self, fact: TaskWithdrawn) -> None:
        """End a task that runs when its user leaves it; orders of that instant come after it."""
        for campaign_id, rounds in self._rounds.items():
            if rounds[-1].task_id == fact.task_id and not rounds[-1].frozen:
                task = self._count(campaign_id)[-1].task
                if tasks.runs(task, fact.occurred_at_ms):
                    rounds[-1] = tasks.ended(rounds[-1], WITHDRAWN, fact.occurred_at_ms)

    def _cancel(self, fact: OrderCancelled) -> None:
        self._cancellations[fact.cancellation_id] = fact
        order = self._orders.get(fact.order_id)
        if order is not None:
            order.cancellations.append(fact)
            self._offers.pop(order.checkout_id, None)

    def _withdraw(self, fact: CancellationWithdrawn) -> None:
        recorded_ms = self._withdrawn.get(fact.withdraws, fact.recorded_at_ms)
        self._withdrawn[fact.withdraws] = min(recorded_ms, fact.recorded_at_ms)
        cancellation = self._cancellations.get(fact.withdraws)
        order = self._orders.get(cancellation.order_id) if cancellation else None
        if order is not None:
            self._offers.pop(order.checkout_id, None)

    def _last_rounds(self, fact: OrderReported) -> list[tuple[Campaign, Tally | None]]:
        """Return the campaigns an order may begin by itself, each with its latest round so far."""
        found: list[tuple[Campaign, Tally | None]] = []
        checkout_id = fact.checkout_id
        for campaign in self.campaigns.auto_in_force(fact.occurred_at_ms):
            rounds = self._rounds.get(campaign.campaign_id, [])
            if self._held and self._held.lay_in(campaign.campaign_id, checkout_id):
                continue  # counted there or refused there: it begins no later round
            if not rounds or rounds[-1].round < campaign.rounds_max:
                last = self._count(campaign.campaign_id)[-1] if rounds else None
                found.append((campaign, last))
        return found

    def _auto_task(
        self, campaign: Campaign, last: Tally | None, order: Order, fact: OrderReported
    ) -> list[Task]:
        """Return the round that the checkout begins, at its earliest part good in that window.

        A part that would come too late for that window falls away, and with it its time.
        """
        parts = self._checkouts[order.checkout_id]
        keys = [orders.time_of(part, campaign) for part in parts]
        before = last.task if last else None
        for at_ms, order_id in sorted(key for key in keys if key is not None):
            if last and last.completed_by and (at_ms, order_id) <= last.completed_by:
                continue  # as old as its first part, the checkout is the last round's
            task = tasks.begin_auto(
                self.user_id, fact, campaign, self.campaigns, before, at_ms, order_id
            )
            if task is None or orders.weigh(order, campaign, task.end_ms).code != orders.COUNTS:
                continue
            offer = self._offer(order.checkout_id, campaign, task.end_ms)
            if (offer.code, offer.at_ms, offer.order_id) == (orders.COUNTS, at_ms, order_id):
                return [task]
        return []

    def _begin_auto(self, task: Task, order: Order, cause_id: str) -> None:
        """Begin a task at an order: of a group, only the one that the order counts in."""
        if self._campaign(task).exclusion_group and not self._would_count(task, order):
            return
        if self._held and self._held.is_past(task, self._campaign(task)):
            self.compacted[task.task_id, cause_id] = task, order.checkout_id
            return
        funded = self._funded(task, cause_id)
        if isinstance(funded, Answer):
            self._unfunded[order.checkout_id] = funded.code
        else:
            self._add_round(funded)

    def _would_count(self, task: Task, order: Order) -> bool:
        before = list(self._rounds.get(task.campaign_id, ()))
        self._add_round(task)
        codes = self._count(task.campaign_id)[-1].codes
        self._rounds[task.campaign_id] = before
        if not before:
            del self._rounds[task.campaign_id]
        return codes.get(order.checkout_id) == orders.COUNTS

    def _add_round(self, task: Task) -> None:
        rounds = self._rounds.setdefault(task.campaign_id, [])
        if rounds:
            rounds[-1] = tasks.closed_by(rounds[-1], task)
        rounds.append(task)
        killed = self.campaigns.killed_at(task.campaign_id)
        if killed is not None and killed.at_ms <= self.reached_ms:
            self._kill(task.campaign_id, killed.at_ms)  # an old part of a checkout began it

    def _count(self, campaign_id: str) -> list[Tally]:
        """Count the rounds of one campaign as things stand, with those of their groups."""
        mine = self._runs(campaign_id)
        names = {run.campaign.exclusion_group for run in mine} - {""}
        if not names:
            return self._as_then(counting.count(*run) for run in mine)
        runs = list(mine)
        for other in sorted(self._rounds.keys() - {campaign_id}):
            shares = any(self._campaign(t).exclusion_group in names for t in self._rounds[other])
            runs += self._runs(other) if shares else []
        return self._as_then(groups.count_all(runs, self.pinned())[: len(mine)])

    def _as_then(self, tallies: Iterable[Tally]) -> list[Tally]:
        """Return the tallies; a frozen task had not been completed before it was."""
        return [
            t._replace(task=msgspec.structs.replace(t.task, completed_at_ms=0), completed_by=None)
            if t.task.frozen and t.task.completed_at_ms > self._at_ms
            else t
            for t in tallies
        ]

    def _runs(self, campaign_id: str) -> list[Run]:
        """Return the rounds of one campaign, each with its offers; rounds never share an order."""
        taken: set[str] = set()
        runs: list[Run] = []
        for task in self._rounds.get(campaign_id, ()):
            campaign = self._campaign(task)
            offers: list[Offer] = []
            if task.frozen:
                runs.append(Run(task, campaign, offers))
                continue
            for checkout_id in self._checkouts:
                if checkout_id in taken:
                    continue
                if self._held and self._held.by_campaign(campaign_id, checkout_id):
                    continue
                offer = self._offer(checkout_id, campaign, task.end_ms)
                if self._held and self._held.by_group(campaign.exclusion_group, checkout_id):
                    offer = offer._replace(code=offer.code or groups.LOST_GROUP)
                if tasks.admits(task, offer.at_ms, offer.order_id) or tasks.looks_back_to(
                    task, campaign, offer
                ):
                    offers.append(offer)
            taken.update(offer.checkout_id for offer in offers if offer.code in HELD)
            runs.append(Run(task, campaign, offers))
        return runs

    def _offer(self, checkout_id: str, campaign: Campaign, end_ms: int) -> Offer:
        known = self._offers.setdefault(checkout_id, {})
        key = (campaign.campaign_id, campaign.version, end_ms)
        if key not in known:
            parts = self._checkouts[checkout_id]
            weighed = [orders.weigh(order, campaign, end_ms) for order in parts]
            judged = orders.judged(weighed, campaign)
            good = (checkout_id, *(w.order_id for w in weighed if w.code == orders.COUNTS))
            known[key] = counting.offered(judged, checkout_id, good)
        return known[key]

    def _campaign(self, task: Task) -> Campaign:
        return self.campaigns.of_task(task)


def walked(state: UserState, known: Iterable[Fact], asked: Asked, campaigns: Campaigns) -> Walk:
    """Return the walk of a row's own facts, as far as it has come. known: those facts."""
    walk = begun(state, asked, campaigns, unpack_pins(state.pins))
    return walk.take(known).reach(endings.reached_ms(state))


def begun(state: UserState, asked: Asked, campaigns: Campaigns, pins: Sequence[Pin]) -> Walk:
    """Return a walk that has taken nothing yet: it begins where the row's frozen part ends."""
    held = Held(state, campaigns) if state.frozen else None
    return Walk(state.user_id, campaigns, asked, pins, held)

"""The slow path: one user's facts walked in key order, from nothing (D2).

Whatever arrives, and in whatever order, this walk over the set gives the same tasks. Orders and
cancellations only change what is known; tasks are tallied where somebody asks: at a claim or a
possible next round (as things stood then), and at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.domain import orders, tasks
from streams.domain.events import (
    CancellationWithdrawn,
    ClaimRequested,
    Fact,
    OrderCancelled,
    OrderReported,
)
from streams.domain.orders import Order
from streams.domain.tasks import Answer, Offer, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.domain.campaign import Campaign, Campaigns
    from streams.domain.state import Task

# What a round keeps from the next: orders good but for their amount. Others may be another's yet.
HELD = frozenset({orders.COUNTS, orders.MIN_AMOUNT, tasks.SPARE})
ALWAYS_MS = 2**62  # an end after which nothing is late: a task not yet begun has none


class Walk:
    """The world of one user as of the last fact taken in."""

    def __init__(self, user_id: str, campaigns: Campaigns) -> None:
        self.user_id, self.campaigns = user_id, campaigns
        self.answers: dict[str, Answer] = {}  # by claim id
        self._orders: dict[str, Order] = {}
        self._checkouts: dict[str, list[Order]] = {}  # by parent id, or the order's own
        self._cancellations: dict[str, OrderCancelled] = {}
        self._withdrawn: set[str] = set()
        self._rounds: dict[str, list[Task]] = {}  # by campaign id, in order of rounds
        # What a checkout is to a window, until something is said about the checkout again.
        self._offers: dict[str, dict[tuple[str, int, int], Offer]] = {}

    def take(self, facts: Iterable[Fact]) -> Walk:
        """Take facts in, in key order, none of them smaller than one taken before."""
        for fact in facts:
            if isinstance(fact, OrderReported):
                self._order(fact)
            elif isinstance(fact, ClaimRequested):
                self._claim(fact)
            elif isinstance(fact, OrderCancelled):
                self._cancel(fact)
            elif isinstance(fact, CancellationWithdrawn):
                self._withdraw(fact)
        return self

    def tallies(self) -> list[Tally]:
        """Return every task, counted, in order of campaign and round."""
        return [tally for id_ in sorted(self._rounds) for tally in self._count(id_)]

    def loose_orders(self, tallies: list[Tally]) -> dict[str, str]:
        """Return what is to be said of orders apart from any task: NO_TASK, OVER_REFUND."""
        held = {order_id for tally in tallies for order_id in tally.codes}
        said = {
            checkout_id: tasks.NO_TASK for checkout_id in self._checkouts if checkout_id not in held
        }
        for order_id, order in self._orders.items():
            if order.cancellations and orders.over_refunded(order):
                said[order_id] = "OVER_REFUND"
        return said

    def past_horizon(self, tallies: list[Tally]) -> dict[tuple[str, str], str]:
        """Return (task id, cancellation id) -> order id of cancellations too late to act."""
        late: dict[tuple[str, str], str] = {}
        for tally in tallies:
            task = tally.task
            horizon_ms = task.end_ms + self._campaign(task).horizon_ms
            for checkout_id in tally.codes:
                for order in self._checkouts[checkout_id]:
                    for cancellation in order.cancellations:
                        if cancellation.recorded_at_ms > horizon_ms:
                            late[task.task_id, cancellation.cancellation_id] = order.order_id
        return late

    def _order(self, fact: OrderReported) -> None:
        # As things stood before it: an order that completes a round does not begin the next.
        before = self._last_rounds(fact)
        order = self._orders.get(fact.order_id)
        if order is None:
            order = self._orders[fact.order_id] = Order(
                fact.order_id, fact.parent_order_id or fact.order_id
            )
            order.cancellations = [
                c
                for c in self._cancellations.values()
                if c.order_id == fact.order_id and c.cancellation_id not in self._withdrawn
            ]
            self._checkouts.setdefault(order.checkout_id, []).append(order)
        order.versions.append(fact)
        self._offers.pop(order.checkout_id, None)
        for campaign, last in before:
            reached = [v for v in order.versions if v.status >= campaign.on]
            if reached and reached[0] is fact:  # judged once, as of the event that gives its time
                self._begin_auto(campaign, last, fact)

    def _claim(self, fact: ClaimRequested) -> None:
        rounds = [tally.task for tally in self._count(fact.campaign_id)]
        judged = tasks.judge_claim(self.user_id, fact, self.campaigns, rounds)
        if isinstance(judged, Answer):
            self.answers[fact.claim_id] = judged
        else:
            self.answers[fact.claim_id] = Answer("", judged.task_id)
            self._add_round(judged)

    def _cancel(self, fact: OrderCancelled) -> None:
        self._cancellations[fact.cancellation_id] = fact
        order = self._orders.get(fact.order_id)
        if order is not None and fact.cancellation_id not in self._withdrawn:
            order.cancellations.append(fact)
            self._offers.pop(order.checkout_id, None)

    def _withdraw(self, fact: CancellationWithdrawn) -> None:
        self._withdrawn.add(fact.withdraws)
        cancellation = self._cancellations.get(fact.withdraws)
        order = self._orders.get(cancellation.order_id) if cancellation else None
        if order is not None:
            order.cancellations = [
                c for c in order.cancellations if c.cancellation_id != fact.withdraws
            ]
            self._offers.pop(order.checkout_id, None)

    def _last_rounds(self, fact: OrderReported) -> list[tuple[Campaign, Tally | None]]:
        """Return the campaigns an order may begin by itself, each with its latest round so far."""
        found: list[tuple[Campaign, Tally | None]] = []
        for campaign in self.campaigns.auto_in_force(fact.occurred_at_ms):
            rounds = self._rounds.get(campaign.campaign_id, [])
            if len(rounds) < campaign.rounds_max:
                last = self._count(campaign.campaign_id)[-1] if rounds else None
                found.append((campaign, last))
        return found

    def _begin_auto(self, campaign: Campaign, last: Tally | None, fact: OrderReported) -> None:
        checkout_id = fact.parent_order_id or fact.order_id
        end_ms, task = ALWAYS_MS, None
        # Parts that are too late for the window they would open fall away, and with them its start.
        while task is None or task.end_ms != end_ms:
            end_ms = task.end_ms if task else end_ms
            offer = self._offer(checkout_id, campaign, end_ms)
            if offer.code != orders.COUNTS:
                return
            key = (offer.at_ms, offer.order_id)
            if last is not None and last.completed_by is not None and key <= last.completed_by:
                return  # a checkout is as old as its first part: it is the last round's
            before = last.task if last else None
            task = tasks.begin_auto(self.user_id, campaign, before, *key)
            if task is None:
                return
        self._add_round(task)

    def _add_round(self, task: Task) -> None:
        rounds = self._rounds.setdefault(task.campaign_id, [])
        if rounds:
            rounds[-1] = tasks.closed_by(rounds[-1], task)
        rounds.append(task)

    def _count(self, campaign_id: str) -> list[Tally]:
        """Count the rounds of one campaign as things stand; rounds never share an order."""
        taken: set[str] = set()
        tallies: list[Tally] = []
        for task in self._rounds.get(campaign_id, ()):
            campaign = self._campaign(task)
            offers: list[Offer] = []
            for checkout_id in self._checkouts:
                if checkout_id in taken:
                    continue
                offer = self._offer(checkout_id, campaign, task.end_ms)
                if tasks.admits(task, offer.at_ms, offer.order_id) or tasks.looks_back_to(
                    task, campaign, offer
                ):
                    offers.append(offer)
            tally = tasks.count(task, campaign, offers)
            taken.update(id_ for id_, code in tally.codes.items() if code in HELD)
            tallies.append(tally)
        return tallies

    def _offer(self, checkout_id: str, campaign: Campaign, end_ms: int) -> Offer:
        known = self._offers.setdefault(checkout_id, {})
        key = (campaign.campaign_id, campaign.version, end_ms)
        if key not in known:
            parts = self._checkouts[checkout_id]
            weighed = orders.judged(
                [orders.weigh(order, campaign, end_ms) for order in parts], campaign
            )
            known[key] = tasks.offered(weighed, checkout_id, tuple(o.order_id for o in parts))
        return known[key]

    def _campaign(self, task: Task) -> Campaign:
        return self.campaigns.pinned(task.campaign_id, task.campaign_version)

"""Users of several campaigns at once: who claims what, when and from where, and who asks to draw.

The same shop and the same chaos as `traffic.Traffic`; only what users claim is another thing. They
take up one offer after another beside their orders, claim again what has rounds, and ask for draws,
now and then before they have a chance. Same arguments, same bytes.
"""

# As in traffic.py: every figure is a share of made-up users, and the dice decide about no money.
# ruff: noqa: PLR2004

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.domain import ids
from streams.traffic import DAY, HOUR, MINUTE, Run, Traffic, rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from streams.domain.campaign import Campaign
    from streams.traffic import Sent


class Offer(NamedTuple):
    """A campaign as its users see it."""

    campaign_id: str
    entries: tuple[str, ...]
    again_ms: int  # so long after a claim, another one may begin a round; 0: there is one round
    rounds: int
    chances: tuple[tuple[int, str], ...]  # orders needed, label of the chance to ask for

    @classmethod
    def of(cls, campaign: Campaign) -> Offer:
        """Return what users can do with a campaign; its draws only where they must ask."""
        lottery = campaign.lottery
        chances: list[tuple[int, str]] = []
        if lottery is not None and lottery.draw == "request":
            for one in lottery.chances:
                step = campaign.target_orders if one.step == "final" else int(one.step)
                numbers = range(1, one.count + 1)
                chances += [(step, str(step) if n == 1 else f"{step}#{n}") for n in numbers]
        return cls(
            campaign.campaign_id,
            tuple(sorted(campaign.entries)) or campaign.scenes,
            (campaign.days // 2 + 1 + campaign.cool_down_days) * DAY,
            campaign.rounds_max,
            tuple(chances),
        )


class Shoppers(Traffic):
    """A finite, repeatable log of users to whom several campaigns are offered at once.

    offers: campaigns that are claimed (not those that begin by themselves), in the order in which
    most users come across them. The rest as for Traffic.
    """

    def __init__(
        self, seed: int, users: int, orders: int, chaos: Iterable[str], offers: Sequence[Campaign]
    ) -> None:
        self.offers = tuple(Offer.of(one) for one in offers if not one.auto)
        names = tuple(offer.campaign_id for offer in self.offers)
        currency = offers[0].currency if offers else "CNY"
        super().__init__(seed, users, orders, chaos, campaigns=names, currency=currency)

    def __iter__(self) -> Iterator[Sent]:
        return _Run(self).records()


class _User:
    """What one user is like, and has done."""

    def __init__(self, rnd: float, often: float) -> None:
        self.segments = ["price_sensitive"] if rnd < 0.6 else ["loyal"] if rnd < 0.9 else []
        self.orders_30d = int(often * often * 6)
        self.claimed: dict[str, list[int]] = defaultdict(list)  # times of claims, by campaign
        self.orders: dict[str, int] = defaultdict(int)  # since the first claim, by campaign
        self.asked: set[tuple[str, str]] = set()


class _Run(Run):
    """One pass; a user who comes looks at the offers, orders, and perhaps asks for a draw."""

    def __init__(self, traffic: Shoppers) -> None:
        super().__init__(traffic)
        self.offers = traffic.offers
        self.people = [_User(self.rnd(), self.rnd()) for _ in range(traffic.users)]

    def act(self, user: int, at_ms: int) -> None:
        rnd, person, user_id = self.rnd, self.people[user], f"u-{user:05d}"
        taken = [offer for offer in self.offers if self.takes(person, offer, at_ms)]
        before = [offer for offer in taken if rnd() < 0.7]
        for offer in before:
            self.take(user_id, person, offer, at_ms)
        order_ms = at_ms + int(rnd() * 20 * MINUTE)
        order_id = self.shop(user_id, order_ms)
        for offer in taken:
            if offer not in before:  # from the page after the purchase, naming the order
                later_ms = order_ms + MINUTE + int(rnd() * 9 * MINUTE)
                self.take(user_id, person, offer, later_ms, order_id)
        for offer in self.offers:
            self.draw(user_id, person, offer, order_ms)
        pause = rnd()
        again = HOUR + pause * 8 * 3 * HOUR if pause < 0.125 else (0.55 + pause * 0.9) * DAY
        self.wake(user, at_ms + int(again))

    def takes(self, person: _User, offer: Offer, at_ms: int) -> bool:
        """Tell whether a user claims now: most at once, some later, a round when it may be."""
        claimed = person.claimed[offer.campaign_id]
        if not claimed:
            return self.rnd() < 0.55
        if len(claimed) < offer.rounds and at_ms - claimed[-1] >= offer.again_ms:
            return self.rnd() < 0.6
        return self.rnd() < 0.01  # pressed twice

    def take(
        self, user_id: str, person: _User, offer: Offer, at_ms: int, trigger: str | None = None
    ) -> None:
        person.claimed[offer.campaign_id].append(at_ms)
        after = "post_purchase" if "post_purchase" in offer.entries else offer.entries[0]
        event = {
            "type": "claim.requested",
            "campaign_id": offer.campaign_id,
            "entry": after if trigger else offer.entries[0],
            "context": {"segments": person.segments, "orders_30d": person.orders_30d},
        }
        if trigger is not None:
            event["trigger_order_id"] = trigger
        self.say(user_id, event, at_ms)

    def draw(self, user_id: str, person: _User, offer: Offer, at_ms: int) -> None:
        """Ask for a draw of round 1, as a rule once enough was ordered, seldom before."""
        if not person.claimed[offer.campaign_id]:
            return
        person.orders[offer.campaign_id] += 1
        for needed, label in offer.chances:
            enough = person.orders[offer.campaign_id] > needed + 1  # not each of them counts
            if (offer.campaign_id, label) in person.asked:
                continue
            if self.rnd() < (0.5 if enough else 0.01):
                if enough:
                    person.asked.add((offer.campaign_id, label))
                task_id = ids.task_id(user_id, offer.campaign_id, 1)
                said = {"type": "draw.requested", "task_id": task_id, "step": label}
                self.say(user_id, said, at_ms + int((2 + self.rnd() * 60) * MINUTE))

    def say(self, user_id: str, body: dict[str, Any], at_ms: int) -> None:
        self.next_claim += 1
        event = {
            **body,
            "v": 1,
            "user_id": user_id,
            "occurred_at": rfc3339(at_ms),
            "claim_id": f"k-{self.next_claim:07d}",
        }
        self.send("claims", user_id, event, at_ms)

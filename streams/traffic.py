"""Seeded traffic: users who claim, order and cancel, and the faults a real log has.

`Traffic` plays a seed: the same arguments give the same bytes, on every machine. Iterating it
yields records `(topic, key, value, timestamp_ms)` in the order in which they are sent. Every choice
comes from `random()` of generators seeded here: the one method whose results Python promises to
keep between versions.

Chaos has generators of its own, so it changes what happens to records and never the records:
with `dup` and `reorder` the set of values is the same as without, with `late` too, with `poison`
it is a superset. Tests lean on that.
"""

# Every figure below is a share of made-up users; a name for each would say it twice. The dice are
# seeded and local: nothing here decides about money.
# ruff: noqa: PLR2004

from __future__ import annotations

import random
from datetime import date, timedelta
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson

from streams.errors import Reason, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

T = TypeVar("T")

Sent = tuple[str, bytes | None, bytes, int]
"""(topic, key, value, timestamp_ms): the record's own time, never before the event's."""

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

START_MS = 1_767_571_200_000
"""2026-01-05T08:00:00+08:00, a Monday; the sample campaign is in force since the first."""

OFFSET_MS, OFFSET = 8 * HOUR, "+08:00"
"""Times are written as a shop in Shanghai writes them; China has had no clock change since 1991."""

CHAOS = ("dup", "late", "reorder", "poison")

# How often, of all base records. Rates are high enough to show in 2,000 orders, and low enough
# that most users still finish: a demo where nobody earns anything shows nothing.
DUP_RATE, LATE_RATE, REORDER_RATE, POISON_RATE = 0.05, 0.02, 0.25, 0.02
REORDER_WITHIN = 6 * HOUR  # longer than from an order to its first cancellations
LATE_FROM, LATE_TO = 6 * HOUR, 12 * DAY  # from harmless to past window (7 d) plus grace (48 h)
DUP_WITHIN = 3 * DAY

CATALOGUE = tuple(
    (f"sku-{number:03d}", category, 250 + number * number * 37 % 4_200)
    for number, category in enumerate(
        ("vegetables", "fruit", "meat", "dairy", "grain", "snacks", "drinks", "gift_card") * 8
    )
)
"""(sku, category, unit price in minor units): 64 things from 2.50 to about 44.00."""

CHANNELS = ("app", "app", "app", "mini_program", "web")
STORES = tuple(f"store-{number}" for number in range(1, 13))
WHOLE_REASONS = ("user", "user", "shop", "uncollected", "return")


class Traffic:
    """A finite, repeatable log.

    seed: any integer. users: how many may take part, u-00000 and up.
    orders: the number of order events (`order.*`) before chaos; claims and cancellations come on
    top, about one for every four orders. chaos: any of CHAOS. start: ms since the epoch, UTC.
    campaigns: ids that users claim, one after another.
    Raises UsageError for chaos nobody knows and for counts below one.
    """

    def __init__(  # noqa: PLR0913  the seed and what it seeds, all named by the caller
        self,
        seed: int,
        users: int,
        orders: int,
        chaos: Iterable[str] = frozenset(),
        *,
        start: int = START_MS,
        campaigns: Sequence[str] = ("grocery-3",),
        currency: str = "CNY",
    ) -> None:
        self.seed, self.users, self.orders, self.start = seed, users, orders, start
        self.chaos = frozenset(chaos)
        self.campaigns, self.currency = tuple(campaigns), currency
        if unknown := sorted(self.chaos - set(CHAOS)):
            raise UsageError(f"unknown chaos: {', '.join(unknown)}; known: {', '.join(CHAOS)}")
        if users < 1 or orders < 1:
            raise UsageError("users and orders must be at least 1")

    def __iter__(self) -> Iterator[Sent]:
        """Start from the beginning; two iterations give equal records."""
        return Run(self).records()


class _Shop(NamedTuple):
    """One order as the shop knows it, enough to report it again or take it back."""

    user_id: str
    order_id: str
    body: dict[str, Any]


class Run:
    """One pass: a queue of what will be sent and of users who will act, in time order."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.rnd = random.Random(f"leidan/traffic/1 {traffic.seed}").random
        self.chaos = _Chaos(traffic)
        self.queue: list[tuple[int, int, Sent | int]] = []  # (send at, tie, a record or a user)
        self.tie = 0  # first scheduled, first sent; also keeps records from being compared
        self.orders_left = traffic.orders
        self.next_order = self.next_claim = self.next_cancellation = 0
        self.claims_made = [0] * traffic.users

    def records(self) -> Iterator[Sent]:
        rnd, queue = self.rnd, self.queue
        # Users arrive over the first day and a half, so that windows end at different times.
        for user in range(self.traffic.users):
            self.wake(user, self.traffic.start + int(rnd() * 36 * HOUR))
        send_poison = self.chaos.poison
        while queue:
            at_ms, _tie, item = heappop(queue)
            if isinstance(item, int):
                if self.orders_left > 0:
                    self.act(item, at_ms)
                continue
            yield item
            if send_poison is not None and (bad := send_poison(item[3])) is not None:
                yield bad

    # -- what users do -------------------------------------------------------------------------

    def wake(self, user: int, at_ms: int) -> None:
        self.tie += 1
        heappush(self.queue, (at_ms, self.tie, user))

    def act(self, user: int, at_ms: int) -> None:
        """Perhaps claim, certainly order, come back later."""
        rnd = self.rnd
        user_id = f"u-{user:05d}"
        made = self.claims_made[user]
        if made == 0 or rnd() < 0.06:
            self.claims_made[user] += 1
            self.claim_and_order(user_id, made, at_ms)
        else:
            self.shop(user_id, at_ms)
        # Mostly once a day, in daytime more or less; one in eight comes back within hours.
        pause = rnd()
        again = HOUR + pause * 8 * 3 * HOUR if pause < 0.125 else (0.55 + pause * 0.9) * DAY
        self.wake(user, at_ms + int(again))

    def claim_and_order(self, user_id: str, made: int, at_ms: int) -> None:
        """Claim first as a rule; else after the order that brought the user to the campaign."""
        rnd = self.rnd
        how = rnd()
        if how < 0.03:  # never heard of the campaign
            self.shop(user_id, at_ms)
        elif how < 0.75:
            self.claim(user_id, made, at_ms, "home")
            self.shop(user_id, at_ms + int(rnd() * 90 * MINUTE))
        elif how < 0.90:  # from the page after the purchase, naming the order
            order_id = self.shop(user_id, at_ms)
            self.claim(
                user_id, made, at_ms + MINUTE + int(rnd() * 9 * MINUTE), "post_purchase", order_id
            )
        else:  # an order before the claim, not named by it
            self.shop(user_id, at_ms)
            self.claim(user_id, made, at_ms + int(rnd() * 5 * HOUR), "home")

    def claim(
        self, user_id: str, made: int, at_ms: int, entry: str, trigger: str | None = None
    ) -> None:
        rnd = self.rnd
        self.next_claim += 1
        campaigns = self.traffic.campaigns
        campaign_id = campaigns[made % len(campaigns)]
        odd = rnd()
        if odd < 0.005:
            campaign_id = "no-such-campaign"
        elif odd < 0.02:
            entry = "search"  # a page the sample campaign may not be claimed from
        event: dict[str, Any] = {
            "type": "claim.requested",
            "v": 1,
            "user_id": user_id,
            "occurred_at": rfc3339(at_ms),
            "claim_id": f"k-{self.next_claim:07d}",
            "campaign_id": campaign_id,
            "entry": entry,
        }
        if trigger is not None:
            event["trigger_order_id"] = trigger
        self.send("claims", user_id, event, at_ms)

    def shop(self, user_id: str, at_ms: int) -> str | None:
        """One checkout: as a rule one order, now and then split over shops. Return an order id."""
        rnd = self.rnd
        if rnd() >= 0.03:
            return self.order(user_id, at_ms, None)
        parent = f"p-{self.next_order + 1:07d}"
        first = self.order(user_id, at_ms, parent)
        for _ in range(1 + int(rnd() * 2)):
            self.order(user_id, at_ms, parent)
        return first

    def order(self, user_id: str, at_ms: int, parent: str | None) -> str | None:
        if self.orders_left <= 0:
            return None
        rnd = self.rnd
        self.next_order += 1
        order_id = f"o-{self.next_order:07d}"
        lines, goods = [], 0
        for number in range(1, 2 + int(rnd() * rnd() * 4)):  # 1 to 4, mostly 1 or 2
            sku, category, unit_minor = CATALOGUE[int(rnd() * len(CATALOGUE))]
            quantity = 1 + int(rnd() * rnd() * 5)
            goods += quantity * unit_minor
            lines.append(
                {
                    "line_id": str(number),
                    "sku": sku,
                    "category": category,
                    "quantity": quantity,
                    "unit_minor": unit_minor,
                }
            )
        discounts = self.discounts(goods) if rnd() < 0.3 else []
        body: dict[str, Any] = {
            "order_id": order_id,
            "currency": self.traffic.currency,
            "goods_minor": goods,
            "discounts": discounts,
            "consumption_minor": goods - sum(d["amount_minor"] for d in discounts),
            "lines": lines,
            "channel": CHANNELS[int(rnd() * len(CHANNELS))],
            "store_id": STORES[int(rnd() * len(STORES))],
        }
        if parent is not None:
            body["parent_order_id"] = parent
        self.live(_Shop(user_id, order_id, body), at_ms)
        return order_id

    def discounts(self, goods: int) -> list[dict[str, Any]]:
        """One to three kinds at once; each is a share of what is left, so C never falls below 0."""
        rnd = self.rnd
        found: list[dict[str, Any]] = []
        left = goods
        if rnd() < 0.5 and (cut := left // 20):
            found.append({"kind": "event", "amount_minor": cut})
            left -= cut
        if rnd() < 0.4 and left > 500:
            found.append({"kind": "voucher", "amount_minor": 300})
            left -= 300
        if (rnd() < 0.4 or not found) and goods >= 2_000:
            found.append({"kind": "full", "amount_minor": left // 10, "threshold_minor": 2_000})
        return found

    def live(self, shop: _Shop, at_ms: int) -> None:
        """Report what becomes of an order: mostly paid at once, some step by step, some never."""
        rnd = self.rnd
        how = rnd()
        if how < 0.78:
            self.report(shop, "order.paid", 1, at_ms)
            if rnd() < 0.02:
                self.amend(shop, 2, at_ms + 20 * MINUTE)
        elif how < 0.97:
            paid_ms = at_ms + int((0.2 + rnd() * 14) * MINUTE)
            self.report(shop, "order.placed", 1, at_ms)
            self.report(shop, "order.paid", 2, paid_ms)
            self.report(shop, "order.fulfilled", 3, paid_ms + int((4 + rnd() * 30) * HOUR))
        else:
            self.report(shop, "order.placed", 1, at_ms)
            self.cancel(shop, at_ms + 30 * MINUTE, "unpaid")
            return
        regret = rnd()
        if regret < 0.06:
            wait = int(rnd() * 3 * HOUR) if rnd() < 0.6 else int((0.2 + rnd() * 3) * DAY)
            cancelled_ms = at_ms + 15 * MINUTE + wait
            reason = WHOLE_REASONS[int(rnd() * len(WHOLE_REASONS))]
            cancellation_id = self.cancel(shop, cancelled_ms, reason)
            if rnd() < 0.15:
                self.withdraw(shop, cancellation_id, cancelled_ms + int((0.5 + rnd() * 20) * HOUR))
        elif regret < 0.14:
            self.refund(shop, at_ms + int((0.5 + rnd() * 72) * HOUR))

    def amend(self, shop: _Shop, version: int, at_ms: int) -> None:
        """One unit more of the first line: a new content, no new status."""
        first, *rest = shop.body["lines"]
        more = {**first, "quantity": first["quantity"] + 1}
        grown = {
            **shop.body,
            "goods_minor": shop.body["goods_minor"] + first["unit_minor"],
            "consumption_minor": shop.body["consumption_minor"] + first["unit_minor"],
            "lines": [more, *rest],
        }
        self.report(shop._replace(body=grown), "order.amended", version, at_ms)

    def report(self, shop: _Shop, kind: str, version: int, at_ms: int) -> None:
        if self.orders_left <= 0:
            return
        self.orders_left -= 1
        event = {
            "type": kind,
            "v": 1,
            "user_id": shop.user_id,
            "occurred_at": rfc3339(at_ms),
            "version": version,
            **shop.body,
        }
        self.send("orders", shop.user_id, event, at_ms)

    def cancel(self, shop: _Shop, at_ms: int, reason: str) -> str:
        return self.take_back(
            shop, "order.cancelled", at_ms, {"order_id": shop.order_id, "reason": reason}
        )

    def withdraw(self, shop: _Shop, cancellation_id: str, at_ms: int) -> None:
        self.take_back(shop, "cancellation.withdrawn", at_ms, {"withdraws": cancellation_id})

    def refund(self, shop: _Shop, at_ms: int) -> None:
        """Return some units of one line or of all; the same again now and then."""
        rnd = self.rnd
        lines = shop.body["lines"]
        if rnd() < 0.7:
            lines = [lines[int(rnd() * len(lines))]]
        back = [
            {"line_id": line["line_id"], "quantity": 1 + int(rnd() * line["quantity"])}
            for line in lines
        ]
        body = {"order_id": shop.order_id, "lines": back}
        self.take_back(shop, "order.refunded", at_ms, body)
        if rnd() < 0.1:  # perhaps more than was bought: the engine caps it
            self.take_back(shop, "order.refunded", at_ms + DAY, body)

    def take_back(self, shop: _Shop, kind: str, at_ms: int, body: dict[str, Any]) -> str:
        self.next_cancellation += 1
        cancellation_id = f"c-{self.next_cancellation:07d}"
        event = {
            "type": kind,
            "v": 1,
            "user_id": shop.user_id,
            "occurred_at": rfc3339(at_ms),
            "cancellation_id": cancellation_id,
            **body,
        }
        self.send("cancellations", shop.user_id, event, at_ms)
        return cancellation_id

    # -- how it is sent ------------------------------------------------------------------------

    def send(self, topic: str, user_id: str, event: dict[str, Any], at_ms: int) -> None:
        """Queue one record, sent 20 ms to 2 s after it happened, or as chaos has it."""
        record = (
            topic,
            user_id.encode(),
            orjson.dumps(event),
            at_ms + 20 + int(self.rnd() * 1_980),
        )
        for send_ms, sent in self.chaos.fate(record):
            self.tie += 1
            heappush(self.queue, (send_ms, self.tie, sent))


class _Chaos:
    """What happens to a record on its way; its dice are not the traffic's."""

    def __init__(self, traffic: Traffic) -> None:
        self.kinds = traffic.chaos
        self.rng = random.Random(f"leidan/chaos/1 {traffic.seed}")
        self.poison = self.maybe_poison if "poison" in self.kinds else None
        self.poisoned = 0

    def fate(self, record: Sent) -> list[tuple[int, Sent]]:
        """Return (time to send, record) for every time it is sent, at least once."""
        rnd, kinds = self.rng.random, self.kinds
        topic, key, value, timestamp_ms = record
        if not kinds:
            return [(timestamp_ms, record)]
        send_ms = timestamp_ms
        if "late" in kinds and rnd() < LATE_RATE:
            # Sent late for the first time: its own timestamp says so, its occurred_at does not.
            send_ms = timestamp_ms = timestamp_ms + int(LATE_FROM + rnd() * (LATE_TO - LATE_FROM))
        if "reorder" in kinds and rnd() < REORDER_RATE:
            # Overtaken on the way: the timestamp stays, the place in the log moves.
            send_ms += int(rnd() * REORDER_WITHIN)
        sent = [(send_ms, (topic, key, value, timestamp_ms))]
        if "dup" in kinds and rnd() < DUP_RATE:
            for _ in range(1 + int(rnd() * 3)):
                again_ms = send_ms + 1 + int(rnd() * DUP_WITHIN)
                sent.append((again_ms, (topic, key, value, again_ms)))
        return sent

    def maybe_poison(self, at_ms: int) -> Sent | None:
        """Return a bad record now and then, each kind in turn, so that none is left out."""
        if self.rng.random() >= POISON_RATE:
            return None
        kind = _KINDS[self.poisoned % len(_KINDS)]
        self.poisoned += 1
        return poison(kind, self.rng, at_ms)


_PREFIXES: dict[int, str] = {}


def rfc3339(at_ms: int) -> str:
    """Write ms since the epoch as `2026-01-05T08:00:00.000+08:00`.

    By hand because the date, which is the slow part, hardly ever changes: a third of the whole
    cost per record otherwise.
    """
    day, ms = divmod(at_ms + OFFSET_MS, DAY)
    prefix = _PREFIXES.get(day)
    if prefix is None:
        prefix = _PREFIXES[day] = _date(day)
    seconds, ms = divmod(ms, SECOND)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{prefix}T{hour:02d}:{minute:02d}:{second:02d}.{ms:03d}{OFFSET}"


def _date(day: int) -> str:
    """Days since 1970-01-01 as a date."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


# -- poison: bytes that can never become an event ----------------------------------------------

DEPTH = 100_000
"""Brackets within brackets: past the limit of every parser we know (1,000 to 10,000)."""

_DEEP = b"[" * DEPTH + b"]" * DEPTH


def poison(kind: str, rng: random.Random, at_ms: int = START_MS) -> Sent:
    """Return one bad record of this kind, as if sent at `at_ms`.

    Its users are `bad-...`, so one that slips through is seen as a user who should not exist.
    `POISON_KINDS[kind]` is the reason it must be dead-lettered with. Raises KeyError for a kind
    that is not in POISON_KINDS.
    """
    make = _MAKERS[kind]
    return make(_Bad(rng, at_ms))


class _Bad:
    """A good order of a user nobody else uses, to be spoilt in one way."""

    def __init__(self, rng: random.Random, at_ms: int) -> None:
        self.rnd = rng.random
        self.at_ms = at_ms
        self.user_id = f"bad-{int(self.rnd() * 1_000):03d}"
        unit_minor = 1_000 + int(self.rnd() * 4_000)
        self.event: dict[str, Any] = {
            "type": "order.paid",
            "v": 1,
            "user_id": self.user_id,
            "occurred_at": rfc3339(at_ms),
            "order_id": f"bad-o-{int(self.rnd() * 1_000_000_000):09d}",
            "version": 1,
            "currency": "CNY",
            "goods_minor": 2 * unit_minor,
            "discounts": [],
            "consumption_minor": 2 * unit_minor,
            "lines": [{"line_id": "1", "sku": "eggs", "quantity": 2, "unit_minor": unit_minor}],
        }

    def pick(self, *choices: T) -> T:
        return choices[int(self.rnd() * len(choices))]

    def sent(self, value: bytes | None = None, topic: str = "orders") -> Sent:
        if value is None:
            value = orjson.dumps(self.event)
        return topic, self.user_id.encode(), value, self.at_ms

    def but(self, **fields: object) -> Sent:
        self.event.update(fields)
        return self.sent()

    def replaced(self, old: bytes, new: bytes) -> Sent:
        value = orjson.dumps(self.event)
        assert old in value, "the spoilt place must exist, or this is a good record"
        return self.sent(value.replace(old, new, 1))

    def keyless(self) -> Sent:
        topic, _key, value, timestamp_ms = self.sent()
        return topic, None, value, timestamp_ms


def _truncated(bad: _Bad) -> Sent:
    value = orjson.dumps(bad.event)
    return bad.sent(value[: 1 + int(bad.rnd() * (len(value) - 2))])


def _wrong_type(bad: _Bad) -> Sent:
    """One known field of another type, in every place where a lenient parser would convert."""
    event = bad.event
    line = event["lines"][0]
    choices: list[Callable[[], None]] = [
        lambda: event.update(goods_minor=str(event["goods_minor"])),
        lambda: event.update(consumption_minor=event["consumption_minor"] + 0.5),
        lambda: event.update(version="1"),
        lambda: event.update(lines={"1": line}),
        lambda: event.update(lines=None),
        lambda: event.update(order_id=17),
        lambda: event.update(discounts=[3]),
        lambda: line.update(quantity=True),
        lambda: line.update(sku=None),
    ]
    bad.pick(*choices)()
    return bad.sent()


def _missing_field(bad: _Bad) -> Sent:
    del bad.event[bad.pick("order_id", "version", "lines", "occurred_at", "currency")]
    return bad.sent()


def _missing_user(bad: _Bad) -> Sent:
    del bad.event["user_id"]
    return bad.keyless()


def _null_user(bad: _Bad) -> Sent:
    bad.event["user_id"] = None
    return bad.keyless()


def _bad_user(bad: _Bad) -> Sent:
    """Known to the key and the value alike, but no user id: too long, or with a control sign."""
    bad.user_id = bad.pick("x" * 129, "bad-\n1", "bad-\x001")
    return bad.but(user_id=bad.user_id)


def _amounts(bad: _Bad) -> Sent:
    """Goods that are not the sum of the lines, or consumption that is not goods less discounts."""
    goods = bad.event["goods_minor"]
    choices: list[Callable[[], Sent]] = [
        lambda: bad.but(goods_minor=goods + 1, consumption_minor=goods + 1),
        lambda: bad.but(consumption_minor=goods - 1),
        lambda: bad.but(discounts=[{"kind": "event", "amount_minor": 7}]),
    ]
    return bad.pick(*choices)()


def _unknown_type(bad: _Bad) -> Sent:
    return bad.but(type=bad.pick("order.teleported", "order", "", "claim.requested"))


def _not_built(bad: _Bad) -> Sent:
    """A type of a later version (semantics.md 11): to be replayed when it is built."""
    return bad.sent(
        orjson.dumps(
            {
                "type": "referral.bound",
                "v": 1,
                "user_id": bad.user_id,
                "occurred_at": rfc3339(bad.at_ms),
                "claim_id": f"bad-k-{int(bad.rnd() * 1_000_000):06d}",
                "task_id": "tsk_00",
                "step": "3",
            }
        ),
        topic="claims",
    )


def _deep(bad: _Bad) -> Sent:
    """Nest a field nobody knows: tolerating it must not mean walking it."""
    return bad.sent(orjson.dumps(bad.event)[:-1] + b',"extra":' + _DEEP + b"}")


def _doubled_keys(bad: _Bad) -> Sent:
    """Two users in one object, the key naming the first; parsers take the last."""
    return bad.sent(orjson.dumps(bad.event)[:-1] + b',"user_id":"bad-other"}')


def _claim(bad: _Bad) -> Sent:
    """Make the campaign a number: not only orders are tried."""
    return bad.sent(
        orjson.dumps(
            {
                "type": "claim.requested",
                "v": 1,
                "user_id": bad.user_id,
                "occurred_at": rfc3339(bad.at_ms),
                "claim_id": f"bad-k-{int(bad.rnd() * 1_000_000):06d}",
                "campaign_id": 3,
            }
        ),
        topic="claims",
    )


def _cancellation(bad: _Bad) -> Sent:
    """Return half a unit."""
    return bad.sent(
        orjson.dumps(
            {
                "type": "order.refunded",
                "v": 1,
                "user_id": bad.user_id,
                "occurred_at": rfc3339(bad.at_ms),
                "cancellation_id": f"bad-c-{int(bad.rnd() * 1_000_000):06d}",
                "order_id": bad.event["order_id"],
                "lines": [{"line_id": "1", "quantity": 0.5}],
            }
        ),
        topic="cancellations",
    )


_BAD: dict[str, tuple[Reason, Callable[[_Bad], Sent]]] = {
    "empty_value": (Reason.EMPTY, lambda bad: bad.sent(b"")),
    "bad_json": (Reason.NOT_JSON, lambda bad: bad.replaced(b'"v":1', b'"v":1,,')),
    "truncated": (Reason.NOT_JSON, _truncated),
    "nan": (Reason.NOT_JSON, lambda bad: bad.replaced(b'"version":1', b'"version":NaN')),
    "deep_nesting": (Reason.NOT_JSON, _deep),
    "not_utf8": (Reason.NOT_UTF8, lambda bad: bad.replaced(b"eggs", b"egg\xff")),
    "not_utf8_unknown_field": (
        Reason.NOT_UTF8,
        lambda bad: bad.replaced(b'"v":1', b'"v":1,"note":"\xe2\x28\xa1"'),
    ),
    "not_object": (
        Reason.NOT_OBJECT,
        lambda bad: bad.sent(bad.pick(b"[]", b"[1,2]", b'"order"', b"null", b"42", b"true")),
    ),
    "unknown_type": (Reason.UNKNOWN_TYPE, _unknown_type),
    "not_built": (Reason.UNKNOWN_TYPE, _not_built),
    "unknown_major": (Reason.UNKNOWN_MAJOR, lambda bad: bad.but(v=bad.pick(0, 2, 99))),
    "wrong_type": (Reason.SCHEMA, _wrong_type),
    "missing_field": (Reason.SCHEMA, _missing_field),
    "huge_int": (
        Reason.SCHEMA,
        lambda bad: bad.replaced(b'"version":1', b'"version":1' + b"0" * 30),
    ),
    "bad_time": (
        Reason.SCHEMA,
        lambda bad: bad.but(
            occurred_at=bad.pick("yesterday", "2026-01-05", "2026-01-05T08:00:00", 1_767_571_200)
        ),
    ),
    "bad_user": (Reason.SCHEMA, _bad_user),
    "bad_claim": (Reason.SCHEMA, _claim),
    "bad_cancellation": (Reason.SCHEMA, _cancellation),
    "null_user": (Reason.NO_USER, _null_user),
    "missing_user": (Reason.NO_USER, _missing_user),
    "key_mismatch": (Reason.KEY_MISMATCH, lambda bad: bad.but(user_id="bad-other")),
    "null_key": (Reason.KEY_MISMATCH, lambda bad: bad.keyless()),
    "doubled_keys": (Reason.KEY_MISMATCH, _doubled_keys),
    "amounts": (Reason.AMOUNTS, _amounts),
    "future": (
        Reason.FUTURE,
        lambda bad: bad.but(occurred_at=rfc3339(bad.at_ms + 61 * SECOND)),
    ),
}

POISON_KINDS: dict[str, str] = {kind: str(reason) for kind, (reason, _make) in _BAD.items()}
"""Each kind and the reason it is dead-lettered with (semantics.md 4, the closed list)."""

_MAKERS = {kind: make for kind, (_reason, make) in _BAD.items()}
_KINDS = tuple(POISON_KINDS)

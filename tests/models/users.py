"""The set model of one user: what a set of events earns in the end, whatever order they came in.

Slow and obvious on purpose, written from the rules and not from the engine, and importing nothing
of it. It keeps no state: every answer is worked out again from the whole set. A decision that was
taken "as of" a moment (a claim's answer, the beginning of an automatic round) is worked out from
the facts before that moment.

Not modelled: the ledger's seq, set-off, debts, and rewards kept by a clawback of `keep`; here a
reward stands exactly while it is due.

In: events as on the wire, each with `recorded_at_ms` (its record's own timestamp) added, and
campaign definitions as parsed JSON. Times inside are ms since the epoch, UTC; money minor units.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
TOMBSTONE_MS = 60 * DAY_MS

CLAIM, ORDER, CANCELLATION = 0, 1, 2
RANKS = {
    "claim.requested": CLAIM,
    "order.placed": ORDER,
    "order.paid": ORDER,
    "order.fulfilled": ORDER,
    "order.settled": ORDER,
    "order.amended": ORDER,
    "order.cancelled": CANCELLATION,
    "order.refunded": CANCELLATION,
    "cancellation.withdrawn": CANCELLATION,
}
STEPS_OF_AN_ORDER = {"amended": 0, "placed": 1, "paid": 2, "fulfilled": 3, "settled": 4}


@dataclass(frozen=True)
class Earned:
    """What the set earns.

    tasks: by campaign id, then round: {task_id, campaign_id, campaign_version, round, counted,
    state (active, completed, expired), start, end}.
    rewards: {reward_id: (step label, kind, right_id, value_minor)}, those due.
    answers: {claim_id: (CLAIMED or the code of the refusal, task_id or None)}.
    """

    tasks: list[dict[str, Any]]
    rewards: dict[str, tuple[str, str, str, int]]
    answers: dict[str, tuple[str, str | None]]


def earn(
    user_id: str,
    events: list[dict[str, Any]],
    campaigns: list[dict[str, Any]],
    now_ms: int | None = None,
) -> Earned:
    """Work out everything from the set; `now_ms` only tells active from expired.

    Without it, now is the latest occurred_at in the set: a function of the set as well.
    """
    facts = unique(events)
    if now_ms is None:
        now_ms = max((fact.key[0] for fact in facts), default=0)
    known = [Version(definition) for definition in campaigns]
    ids = sorted({version.campaign_id for version in known})
    tasks: list[dict[str, Any]] = []
    rewards: dict[str, tuple[str, str, str, int]] = {}
    answers: dict[str, tuple[str, str | None]] = {}
    for fact in facts:
        if fact.rank == CLAIM and fact["campaign_id"] not in ids:
            answers[fact["claim_id"]] = ("CAMPAIGN_UNKNOWN", None)
    for campaign_id in ids:
        versions = [version for version in known if version.campaign_id == campaign_id]
        rounds = begin_rounds(user_id, campaign_id, facts, versions, answers)
        for index, this in enumerate(rounds):
            counted = counted_orders(facts, rounds, index)
            over = index + 1 < len(rounds) or now_ms >= this.end_ms
            tasks.append(
                {
                    "task_id": this.task_id,
                    "campaign_id": campaign_id,
                    "campaign_version": this.version.version,
                    "round": this.number,
                    "counted": len(counted),
                    "state": "completed"
                    if len(counted) == this.version.target
                    else ("expired" if over else "active"),
                    "start": this.start_ms,
                    "end": this.end_ms,
                }
            )
            rewards.update(rewards_of(this, len(counted)))
    return Earned(tasks, rewards, answers)


# -- facts -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fact:
    """One event and its place in the walk: (occurred_at, rank, id, version)."""

    key: tuple[int, int, str, int]
    event: dict[str, Any]

    def __getitem__(self, field: str) -> Any:
        return self.event[field]

    @property
    def rank(self) -> int:
        return RANKS[self.event["type"]]


def unique(events: list[dict[str, Any]]) -> list[Fact]:
    """Sort by key; of several with one id the first of the list stays (D2, P3)."""
    first: dict[tuple[Any, ...], Fact] = {}
    for event in events:
        rank = RANKS.get(event["type"])
        if rank is None:
            continue  # results and the like: they change the ledger, not what is due
        name, version = event_id(rank, event)
        key = (instant_ms(event["occurred_at"]), rank, name, version)
        first.setdefault((rank, name, version), Fact(key, event))
    return sorted(first.values(), key=lambda fact: fact.key)


def event_id(rank: int, event: dict[str, Any]) -> tuple[str, int]:
    if rank == CLAIM:
        return event["claim_id"], 0
    if rank == ORDER:
        return event["order_id"], event["version"]
    return event["cancellation_id"], 0


def instant_ms(rfc3339: str) -> int:
    since = datetime.fromisoformat(rfc3339) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(milliseconds=1)


# -- campaigns -------------------------------------------------------------------------------------


class Version:
    """One campaign definition with its defaults filled in (semantics.md 2)."""

    def __init__(self, definition: dict[str, Any]) -> None:
        calendar = definition.get("calendar", {})
        window = definition["window"]
        qualify = definition.get("qualify", {})
        rounds = definition.get("rounds", {})
        claim = definition.get("claim", {})
        expiry = definition.get("expiry", {})
        self.campaign_id: str = definition["campaign_id"]
        self.version: int = definition["version"]
        self.effective_ms = instant_ms(definition["effective_from"])
        self.currency: str = definition["currency"]
        self.entries: list[str] = definition.get("entries", [])
        self.auto = definition.get("enrolment", "claim") == "auto"
        self.zone = ZoneInfo(calendar.get("time_zone", "Asia/Shanghai"))
        self.day_start = time.fromisoformat(calendar.get("day_start", "00:00"))
        self.days: int = window["days"]
        self.first_day = date.fromisoformat(window["first_day"]) if "first_day" in window else None
        self.lookback: str = window.get("lookback", "trigger_order")
        self.per_cycle: int = definition["target"]["orders"]
        self.target: int = self.per_cycle * window.get("max_cycles", 1)
        self.on = STEPS_OF_AN_ORDER[qualify.get("on", "paid")]
        self.min_minor: int = qualify.get("min_amount_minor", 0)
        self.basis: str = qualify.get("basis", "consumption")
        self.recompute = qualify.get("refund_basis", "keep") == "recompute"
        self.daily_cap: int = qualify.get("daily_cap", 1)
        self.categories = qualify.get("categories", {})
        self.channels = qualify.get("channels", {})
        self.stores = qualify.get("stores", {})
        self.max_rounds: int = rounds.get("max", 1)
        self.cool_down_days: int = rounds.get("cool_down_days", 0)
        self.opens_ms = instant_ms(claim["opens_at"]) if claim.get("opens_at") else None
        self.closes_ms = instant_ms(claim["closes_at"]) if claim.get("closes_at") else None
        self.grace_ms = expiry.get("grace_hours", 48) * HOUR_MS
        self.clawback_ms = expiry.get("clawback_days", 30) * DAY_MS
        self.step_rewards = definition.get("step_rewards", [])
        self.final_rewards = definition.get("final_rewards", [])

    def day(self, at_ms: int) -> date:
        """The campaign day of an instant: the last day that has begun by then."""
        around = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(self.zone).date()
        days = (around + timedelta(days=n) for n in (1, 0, -1, -2))
        return next(day for day in days if self.begin_of(day) <= at_ms)

    def begin_of(self, day: date) -> int:
        """When a day begins; a time that does not exist begins right after the gap.

        Of a time that exists twice it is the earlier one, which is what fold=0 means.
        """
        wanted = datetime.combine(day, self.day_start)
        begin = wanted.replace(tzinfo=self.zone).astimezone(UTC)
        if begin.astimezone(self.zone).replace(tzinfo=None) != wanted:
            # In a gap. Before it the local clock is behind `wanted`, after it ahead: halve.
            low, high = begin - timedelta(days=2), begin
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                if middle.astimezone(self.zone).replace(tzinfo=None) < wanted:
                    low = middle
                else:
                    high = middle
            begin = high.replace(microsecond=0)
        return int(begin.timestamp()) * 1000

    def window_end(self, at_ms: int) -> int:
        """The end of a window that begins at this instant."""
        first = self.first_day or self.day(at_ms)
        return self.begin_of(first + timedelta(days=self.days))

    def horizon(self, end_ms: int) -> int:
        return end_ms + max(self.grace_ms, self.clawback_ms)


def in_force(versions: list[Version], at_ms: int) -> Version | None:
    begun = [version for version in versions if version.effective_ms <= at_ms]
    return max(begun, key=lambda version: version.version, default=None)


def allows(rule: dict[str, list[str]], value: str | None) -> bool:
    include, exclude = rule.get("include") or [], rule.get("exclude") or []
    return (not include or value in include) and value not in exclude


# -- rounds ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Round:
    """One task. `begins`: the first (time, order id) that is its own and no longer the last one's.

    claim: the claim that began it, for its lookback; None if an order did.
    """

    task_id: str
    number: int
    version: Version
    start_ms: int
    end_ms: int
    begins: tuple[int, str]
    claim: Fact | None = None


def begin_rounds(
    user_id: str,
    campaign_id: str,
    facts: list[Fact],
    versions: list[Version],
    answers: dict[str, tuple[str, str | None]],
) -> list[Round]:
    """Walk the facts in key order; each claim and order is judged by what lies before it.

    So a later cancellation never undoes a round that began (semantics.md 5, rule 7).
    """
    rounds: list[Round] = []
    for fact in facts:
        at_ms = fact.key[0]
        version = in_force(versions, at_ms)
        if fact.rank == CLAIM and fact["campaign_id"] == campaign_id:
            code = refusal(facts, rounds, version, fact)
            if code is None:
                assert version is not None
                rounds.append(claimed_round(user_id, rounds, version, fact))
            answers[fact["claim_id"]] = (
                code or "CLAIMED",
                rounds[-1].task_id if code in (None, "ALREADY_ACTIVE") else None,
            )
        elif fact.rank == ORDER and version is not None and version.auto:
            begun = automatic_round(user_id, facts, rounds, version, fact)
            if begun is not None:
                rounds.append(begun)
    return rounds


def refusal(  # noqa: PLR0911  one line per code, in their order
    facts: list[Fact], rounds: list[Round], version: Version | None, claim: Fact
) -> str | None:
    """The code that refuses this claim, in the order of C2, C3, C4; None accepts it."""
    at_ms = claim.key[0]
    if version is None:
        return "CAMPAIGN_UNKNOWN"  # as a worker that had not read the definition yet would say
    if version.opens_ms is not None and at_ms < version.opens_ms:
        return "CAMPAIGN_NOT_OPEN"
    if version.closes_ms is not None and at_ms >= version.closes_ms:
        return "CAMPAIGN_ENDED"
    if version.first_day is not None and at_ms >= version.window_end(at_ms):
        return "CAMPAIGN_ENDED"
    if version.auto:
        return "RULE_ENROLMENT"  # nobody claims what begins by itself
    last = last_round(facts, rounds, claim.key)
    if last is not None and last.free_ms is None:
        return "ALREADY_ACTIVE"
    if version.entries and claim.event.get("entry") not in version.entries:
        return "RULE_ENTRY"
    if len(rounds) >= version.max_rounds:
        return "ROUNDS_USED"
    if last is not None and at_ms < cool_end(version, last):
        return "COOL_DOWN"
    return None


class Last(NamedTuple):
    """The newest round as of a moment. free_ms: when it completed or ended; None: it is active.

    completed_by: the (time, order id) of the order that completed it, if one did.
    """

    free_ms: int | None
    completed_by: tuple[int, str] | None


def last_round(
    facts: list[Fact], rounds: list[Round], key: tuple[int, int, str, int]
) -> Last | None:
    if not rounds:
        return None
    this = rounds[-1]
    counted = counted_orders([f for f in facts if f.key < key], rounds, len(rounds) - 1)
    if len(counted) == this.version.target:
        return Last(counted[-1].key[0], counted[-1].key)
    return Last(this.end_ms if key[0] >= this.end_ms else None, None)


def cool_end(version: Version, last: Last) -> int:
    """The day of the end or completion is day 1 of the cool-down, as the claim's is of a window."""
    assert last.free_ms is not None
    return version.begin_of(version.day(last.free_ms) + timedelta(days=version.cool_down_days))


def free_for(version: Version, last: Last, order: Checkout) -> bool:
    """Whether an order may begin the round after `last`: it is later, and the cool-down is over.

    Only a checkout can be earlier: its first part may be older than the part that made it count.
    """
    if last.completed_by is not None and order.key <= last.completed_by:
        return False
    return order.key[0] >= cool_end(version, last)


def claimed_round(user_id: str, rounds: list[Round], version: Version, claim: Fact) -> Round:
    at_ms = claim.key[0]
    start_ms = at_ms
    if version.first_day is not None:
        start_ms = max(at_ms, version.begin_of(version.first_day))
    number = len(rounds) + 1
    return Round(
        task_id=task_id(user_id, version.campaign_id, number),
        number=number,
        version=version,
        start_ms=start_ms,
        end_ms=version.window_end(at_ms),
        begins=(at_ms, ""),
        claim=claim,
    )


def automatic_round(
    user_id: str, facts: list[Fact], rounds: list[Round], version: Version, order: Fact
) -> Round | None:
    """The round that this order event begins, judged as of itself, or None.

    The event must be the one that gives its order its time, the last round must be over, and the
    order must count in the window it would open.
    """
    if len(rounds) >= version.max_rounds or gives_time(facts, order["order_id"], version) != order:
        return None
    last = last_round(facts, rounds, order.key)
    if last is not None and last.free_ms is None:
        return None
    so_far = [fact for fact in facts if fact.key <= order.key]
    for time_ms in times_of(so_far, version, order["order_id"]):
        end_ms = version.window_end(time_ms)
        found = checkout_of(so_far, version, end_ms, order["order_id"])
        if found is None or found.key[0] != time_ms or found.amount_minor < version.min_minor:
            continue
        first_ms = version.begin_of(version.first_day or version.day(time_ms))
        if not first_ms <= time_ms < end_ms or not is_open(version, time_ms):
            continue
        if last is not None and not free_for(version, last, found):
            continue
        number = len(rounds) + 1
        return Round(
            task_id=task_id(user_id, version.campaign_id, number),
            number=number,
            version=version,
            start_ms=time_ms if rounds else first_ms,
            end_ms=end_ms,
            begins=found.key if rounds else (first_ms, ""),
        )
    return None


def times_of(facts: list[Fact], version: Version, order_id: str) -> list[int]:
    """The times its checkout may have; which one it has depends on the parts that are left."""
    ids = {fact["order_id"] for fact in facts if fact.rank == ORDER}
    parent = parent_of(facts, order_id)
    timed = [gives_time(facts, each, version) for each in ids if parent_of(facts, each) == parent]
    return sorted({fact.key[0] for fact in timed if fact is not None})


def is_open(version: Version, at_ms: int) -> bool:
    if version.opens_ms is not None and at_ms < version.opens_ms:
        return False
    return version.closes_ms is None or at_ms < version.closes_ms


# -- orders ----------------------------------------------------------------------------------------


class Checkout(NamedTuple):
    """What is left of one order, or of several with one parent.

    key: (time, order id) of its earliest sub-order that qualifies.
    """

    key: tuple[int, str]
    amount_minor: int
    names: frozenset[str]  # its order ids and the parent's


def counted_orders(facts: list[Fact], rounds: list[Round], index: int) -> list[Checkout]:
    """The orders that count for a round, oldest first; what else qualifies is spare."""
    version = rounds[index].version
    per_day: dict[date, int] = defaultdict(int)
    counted: list[Checkout] = []
    for order in in_window(facts, rounds, index):
        if order.amount_minor < version.min_minor or len(counted) == version.target:
            continue
        day = version.day(order.key[0])
        if version.daily_cap and per_day[day] >= version.daily_cap:
            continue
        per_day[day] += 1
        counted.append(order)
    return counted


def in_window(facts: list[Fact], rounds: list[Round], index: int) -> list[Checkout]:
    """The checkouts of a round by (time, order id); none is in two rounds."""
    this = rounds[index]
    closes = rounds[index + 1].begins if index + 1 < len(rounds) else None
    found = []
    for order in checkouts(facts, this.version, this.end_ms):
        if closes is not None and order.key >= closes:
            continue
        time_ms = order.key[0]
        own = time_ms >= this.start_ms and order.key >= this.begins and time_ms < this.end_ms
        if own or (looked_back(this, order) and not had_before(facts, rounds, index, order)):
            found.append(order)
    return sorted(found, key=lambda order: order.key)


def had_before(facts: list[Fact], rounds: list[Round], index: int, order: Checkout) -> bool:
    """Whether an earlier round has the order in its window, counted or not."""
    return any(
        order.names & other.names
        for before in range(index)
        for other in in_window(facts, rounds, before)
    )


def looked_back(this: Round, order: Checkout) -> bool:
    """Whether an order from before the claim counts too (window.lookback)."""
    version = this.version
    if this.claim is None or version.lookback == "none":
        return False
    claim_ms, time_ms = this.claim.key[0], order.key[0]
    if time_ms >= claim_ms or version.day(time_ms) != version.day(claim_ms):
        return False
    if version.first_day is not None and time_ms < version.begin_of(version.first_day):
        return False
    return version.lookback == "same_day" or this.claim.event.get("trigger_order_id") in order.names


def checkout_of(facts: list[Fact], version: Version, end_ms: int, order_id: str) -> Checkout | None:
    found = [c for c in checkouts(facts, version, end_ms) if order_id in c.names]
    return found[0] if found else None


def checkouts(facts: list[Fact], version: Version, end_ms: int) -> list[Checkout]:
    """All orders that qualify but for their amount, for a task that ends at `end_ms`.

    A sub-order that is late, cancelled or of no matching kind is not part of its checkout, so it
    gives it neither money nor time.
    """
    parts: dict[str, list[tuple[tuple[int, str], int]]] = defaultdict(list)
    for order_id in sorted({fact["order_id"] for fact in facts if fact.rank == ORDER}):
        timed = gives_time(facts, order_id, version)
        content = newest(facts, order_id)
        if timed is None or timed["recorded_at_ms"] > end_ms + version.grace_ms:
            continue  # STATUS, LATE
        if content["currency"] != version.currency:
            continue
        if not allows(version.channels, content.get("channel")):
            continue
        if not allows(version.stores, content.get("store_id")):
            continue
        left = amount_left(facts, version, end_ms, content)
        if left is not None:
            parts[parent_of(facts, order_id)].append(((timed.key[0], order_id), left))
    return [
        Checkout(
            key=min(key for key, _left in found),
            amount_minor=sum(left for _key, left in found),
            names=frozenset({parent, *(key[1] for key, _left in found)}),
        )
        for parent, found in parts.items()
    ]


def gives_time(facts: list[Fact], order_id: str, version: Version) -> Fact | None:
    """The first event of the order at or past `qualify.on`."""
    for fact in facts:
        if fact.rank != ORDER or fact["order_id"] != order_id:
            continue
        if STEPS_OF_AN_ORDER[fact["type"].removeprefix("order.")] >= version.on:
            return fact
    return None


def parent_of(facts: list[Fact], order_id: str) -> str:
    """The name of the checkout; an order without a parent is one of its own."""
    return newest(facts, order_id).get("parent_order_id") or order_id


def newest(facts: list[Fact], order_id: str) -> dict[str, Any]:
    """The highest version is the content, whatever its type."""
    events = [f.event for f in facts if f.rank == ORDER and f["order_id"] == order_id]
    return max(events, key=lambda event: event["version"])


# -- money -----------------------------------------------------------------------------------------


def amount_left(
    facts: list[Fact], version: Version, end_ms: int, content: dict[str, Any]
) -> int | None:
    """What the matching lines of an order are worth after returns; None if none is left."""
    returned = units_back(facts, version, end_ms, content["order_id"])
    if returned is None:
        return None
    lines = [line for line in content["lines"] if line["quantity"] > 0]
    back = [min(line["quantity"], returned[line["line_id"]]) for line in lines]
    values = values_left(content, lines, back, version)
    matching = [
        value
        for line, n, value in zip(lines, back, values, strict=True)
        if n < line["quantity"] and allows(version.categories, line.get("category"))
    ]
    return sum(matching) if matching else None


def units_back(
    facts: list[Fact], version: Version, end_ms: int, order_id: str
) -> dict[str, int] | None:
    """{line_id: units back} over the cancellations that act on the task; None: all cancelled."""
    horizon_ms = version.horizon(end_ms)
    in_time = [
        f for f in facts if f.rank == CANCELLATION and f["recorded_at_ms"] <= horizon_ms
    ]  # PAST_HORIZON
    withdrawn = {f["withdraws"] for f in in_time if f["type"] == "cancellation.withdrawn"}
    order_ms = min(
        f["recorded_at_ms"] for f in facts if f.rank == ORDER and f["order_id"] == order_id
    )
    returned: dict[str, int] = defaultdict(int)
    for fact in in_time:
        if fact["type"] == "cancellation.withdrawn" or fact["order_id"] != order_id:
            continue
        if fact["cancellation_id"] in withdrawn:
            continue
        if order_ms > fact["recorded_at_ms"] + TOMBSTONE_MS:
            continue  # the tombstone was gone before its order came
        if fact["type"] == "order.cancelled":
            return None
        for line in fact["lines"]:
            returned[line["line_id"]] += line["quantity"]
    return returned


def values_left(
    content: dict[str, Any], lines: list[dict[str, Any]], back: list[int], version: Version
) -> list[int]:
    """What each line is worth after `back` units of it returned (semantics.md 5, rules 2, 3)."""
    bought = [line["quantity"] * line["unit_minor"] for line in lines]
    goods_left = [
        (line["quantity"] - n) * line["unit_minor"] for line, n in zip(lines, back, strict=True)
    ]
    if version.basis == "goods":
        return goods_left
    if version.recompute and any(back):
        return allocate(goods_left, consumption_recomputed(content, sum(bought), sum(goods_left)))
    return [
        value - value * n // line["quantity"]
        for line, n, value in zip(
            lines, back, allocate(bought, content["consumption_minor"]), strict=True
        )
    ]


def allocate(amounts: list[int], total: int) -> list[int]:
    """Spread `total` over lines by their amounts, to the last minor unit (largest remainder)."""
    whole = sum(amounts)
    if whole == 0:
        return [0] * len(amounts)
    shares = [amount * total // whole for amount in amounts]
    by_remainder = sorted(range(len(amounts)), key=lambda i: (-(amounts[i] * total % whole), i))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def consumption_recomputed(content: dict[str, Any], goods: int, goods_left: int) -> int:
    """C': what the rest would have cost; discounts below their threshold are lost."""
    discounts = sum(
        discount["amount_minor"] * goods_left // goods
        for discount in content.get("discounts", [])
        if discount.get("threshold_minor", 0) <= goods_left
    )
    return min(content["consumption_minor"], goods_left - discounts) if goods else 0


# -- rewards and ids -------------------------------------------------------------------------------


def rewards_of(this: Round, counted: int) -> dict[str, tuple[str, str, str, int]]:
    """Step k for each k counted, the final at each multiple of Y; labels run on over cycles."""
    due = {}
    for label in range(1, counted + 1):
        step = (label - 1) % this.version.per_cycle + 1
        rights = [("step", r["right"]) for r in this.version.step_rewards if r["step"] == step]
        if step == this.version.per_cycle:
            rights += [("final", right) for right in this.version.final_rewards]
        for kind, right in rights:
            name = "rwd_" + h("reward", this.task_id, str(label), kind, right["right_id"])
            due[name] = (str(label), kind, right["right_id"], right["value_minor"])
    return due


def task_id(user_id: str, campaign_id: str, number: int) -> str:
    return "tsk_" + h("task", user_id, campaign_id, str(number))


def h(kind: str, *parts: str) -> str:
    """H(kind; parts) of semantics.md 4."""
    lines = "\n".join((f"leidan/{kind}/1", *parts))
    return hashlib.sha256(lines.encode()).hexdigest()[:32]

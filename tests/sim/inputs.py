"""What the shops send in one run: seeded traffic, spoilt on purpose.

Duplicates up to 50 times, late and reordered records, cancellations before their orders, the same
id with another content, and bytes that can never become an event.
"""

# Seeded dice, repeatable by design.
# ruff: noqa: S311

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import orjson

from streams.traffic import POISON_KINDS, Traffic, poison
from tests.models.ids import task_id
from tests.pooling import ask, release, reserve, returned, rights, written
from tests.sim.campaigns import ANSWERED, BUDGETED, BY_ITSELF, BY_REQUEST, CLAIMED, SPUN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.domain.pool_requests import Request

ASKING = (SPUN, BY_REQUEST, BUDGETED, ANSWERED)
"""Campaigns whose users ask pools, or wait for the rights service."""

COFFEE = rights(cup=4, cake=2)
DAY_MS = 86_400_000
LATE_TOPICS = ("orders", "claims", "cancellations")
LIGHT_BYTES = 4_000
"""Poison of megabytes is tier T4's: here it would only cost time."""


class Sent(NamedTuple):
    """One input record. reason: why it must become a dead letter; None: it is good."""

    topic: str
    key: bytes | None
    value: bytes
    at_ms: int
    reason: str | None = None
    kind: str = ""  # what was done to it


def history(seed: int) -> list[Sent]:
    """Return the input of a seed in the order in which it is sent."""
    rng = random.Random(f"input {seed}")
    users, orders = rng.randint(1, 4), rng.choice((4, 8, 12, 20, 30))
    chaos = [kind for kind in ("dup", "late", "reorder") if rng.random() < 0.5]
    traffic = Traffic(seed, users, orders, chaos, campaigns=(CLAIMED, BY_ITSELF))
    sent = [Sent(*record) for record in traffic]
    if rng.random() < 0.3:
        sent = [one for one in sent if one.topic == "orders"]
    if rng.random() < 0.4:
        _repeat(rng, sent)
    if rng.random() < 0.4:
        _cancel_early(rng, sent)
    if rng.random() < 0.4:
        _contradict(rng, sent)
    if rng.random() < 0.4:
        _spoil(rng, sent)
    if rng.random() < 0.5:
        _ask(rng, sent, users)
    _claim_others(rng, sent)
    if rng.random() < 0.6:
        _tell_the_time(rng, sent)
        if rng.random() < 0.4:
            _read_late(rng, sent)
    return sent


def _read_late(rng: random.Random, sent: list[Sent]) -> None:
    """Records that came in time, and some known ones, read when all histories are over."""
    over_ms = max(one.at_ms for one in sent) + 120 * DAY_MS
    if any(one.reason == "conflict" for one in sent):
        return  # the first of an id in log order is the one that stands
    good = [n for n, one in enumerate(sent) if one.reason is None and one.topic in LATE_TOPICS]
    taken = rng.sample(good, min(len(good), rng.choice((1, 3, 8))))
    late = [sent[n]._replace(kind="read late") for n in taken]
    moved = {n for n in taken if rng.random() < 0.7}
    sent[:] = [one for n, one in enumerate(sent) if n not in moved]
    anew = [_anew(one, over_ms + DAY_MS) for one in late if one.topic == "orders"]
    sent += [_tick(over_ms), *late, *anew, _tick(over_ms + 60 * DAY_MS)]


def _anew(one: Sent, at_ms: int) -> Sent:
    """Another order of that user, when all is over."""
    event = orjson.loads(one.value)
    event["order_id"] += "-anew"
    event["occurred_at"] = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
    event.pop("parent_order_id", None)
    return one._replace(value=orjson.dumps(event), at_ms=at_ms, kind="comes again")


def _tell_the_time(rng: random.Random, sent: list[Sent]) -> None:
    """Ticks among the rest, some twice or too early, then far beyond every deadline."""
    reached_ms = 0
    for n in reversed(range(0, len(sent), rng.choice((1, 3, 10)))):
        at_ms = sent[n].at_ms + rng.choice((-3, 0, 0, 1, 9)) * DAY_MS
        sent.insert(n + 1, _tick(at_ms))
        reached_ms = max(reached_ms, at_ms)
    last_ms = max([reached_ms, *(one.at_ms for one in sent)])
    sent += [_tick(last_ms + days * DAY_MS) for days in sorted(rng.sample(range(120), 3))]


def _tick(at_ms: int) -> Sent:
    at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
    return Sent("ticks", None, orjson.dumps({"type": "tick", "v": 1, "at": at}), at_ms)


def _claim_others(rng: random.Random, sent: list[Sent]) -> None:
    """In most runs, let users claim campaigns that ask others."""
    kinds = rng.sample(ASKING, rng.choice((0, 1, 1, 2, 4)))
    if kinds:
        claim_others(rng, sent, kinds)


def claim_others(rng: random.Random, sent: list[Sent], kinds: Sequence[str]) -> None:
    """Let claims name these campaigns instead, as a rule, and ask for draws where one must."""
    drawn: list[tuple[int, Sent]] = []
    claimed: dict[str, str] = {}  # sent again, it is the same claim
    for n, one in enumerate(sent):
        if one.topic != "claims" or one.reason is not None:
            continue
        event = orjson.loads(one.value)
        other = rng.choice((*kinds, *kinds, event["campaign_id"]))
        event["campaign_id"] = claimed.setdefault(event["claim_id"], other)
        if event["campaign_id"] == BY_REQUEST:
            drawn += [_draw(rng, sent, n, event["user_id"]) for _ in range(rng.randint(1, 6))]
        sent[n] = one._replace(value=orjson.dumps(event))
    for at, one in sorted(drawn, key=lambda found: -found[0]):
        sent.insert(at, one)


def _draw(rng: random.Random, sent: list[Sent], since: int, user: str) -> tuple[int, Sent]:
    """Ask for the draw of a chance, of which there may be none yet."""
    at = rng.randint(since + 1, len(sent))
    now_ms = sent[at - 1].at_ms
    event = {
        "type": "draw.requested",
        "v": 1,
        "user_id": user,
        "occurred_at": datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(),
        "claim_id": f"draw-{rng.randrange(10**9)}",
        "task_id": task_id(user, BY_REQUEST, rng.choice((1, 1, 1, 2))),
        "step": rng.choice(("1", "1#2", "2")),
    }
    return at, Sent("claims", user.encode(), orjson.dumps(event), now_ms, kind="draw requested")


def _repeat(rng: random.Random, sent: list[Sent]) -> None:
    for _ in range(rng.randint(1, 3)):
        first = rng.randrange(len(sent))
        for _ in range(rng.choice((1, 2, 5, 15, 49))):
            again = sent[first]._replace(kind="duplicate")
            sent.insert(rng.randint(first + 1, len(sent)), again)


def _cancel_early(rng: random.Random, sent: list[Sent]) -> None:
    """Let cancellations arrive before the orders they are about."""
    for n, one in enumerate(list(sent)):
        if one.topic == "cancellations" and rng.random() < 0.5:
            del sent[n]
            sent.insert(rng.randint(0, n), one._replace(kind="cancel before order"))


def _contradict(rng: random.Random, sent: list[Sent]) -> None:
    """Report a known order version again with another content: the first one stands."""
    for _ in range(rng.randint(1, 2)):
        orders = [n for n, one in enumerate(sent) if one.topic == "orders" and one.reason is None]
        if not orders:
            return
        n = rng.choice(orders)
        event = orjson.loads(sent[n].value)
        event["store_id"] = "another store"
        other = Sent("orders", sent[n].key, orjson.dumps(event), sent[n].at_ms, "conflict")
        first = next(m for m in orders if _same_order(sent[m].value, event))
        sent.insert(rng.randint(first + 1, len(sent)), other._replace(kind="conflict"))


def _same_order(value: bytes, event: dict[str, object]) -> bool:
    found = orjson.loads(value)
    return all(found[name] == event[name] for name in ("user_id", "order_id", "version"))


def _ask(rng: random.Random, sent: list[Sent], users: int) -> None:
    """Put requests to pools among the records, some of them twice."""
    asked: list[Sent] = []
    for n in range(rng.choice((5, 15, 40))):
        user, hours = f"asker-{rng.randint(1, users)}", rng.random() * 900
        which = rng.random()
        if which < 0.5:
            wheel = rng.choice(("wheel", "wheel", "last-one"))
            request: Request = ask(n, hours, user, pool_id=wheel)
        elif which < 0.7:
            request = msgspec.structs.replace(
                returned(rng.randint(0, n), hours, user), pool_id="wheel", request_id=f"back-{n}"
            )
        else:
            make = reserve if rng.random() < 0.7 else release
            request = make(COFFEE, n // 3, hours=hours, cup=1, cake=rng.randint(1, 2))
            request = msgspec.structs.replace(request, user_id=user, request_id=f"r-{n}")
        asked.append(Sent("draw-requests", *written(request), request.occurred_at_ms, kind="ask"))
    asked += [one._replace(kind="asked again") for one in asked if rng.random() < 0.2]
    for one in asked:
        sent.insert(rng.randint(0, len(sent)), one)


def _spoil(rng: random.Random, sent: list[Sent]) -> None:
    kinds = sorted(POISON_KINDS)
    for _ in range(rng.randint(1, 4)):
        kind = rng.choice(kinds)
        n = rng.randint(0, len(sent))
        bad = poison(kind, rng, sent[min(n, len(sent) - 1)].at_ms)
        if len(bad[2] or b"") <= LIGHT_BYTES:
            sent.insert(n, Sent(*bad, POISON_KINDS[kind], "poison"))

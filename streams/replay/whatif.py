"""One log under two registries: the definitions as they were, and the same with one replaced.

Users do in both what they did (behaviour is held fixed), so this says what other rules would have
cost for the same orders and claims, not how many orders they would have brought.

The whole log is folded, since tasks under way rest on what came before; `since_ms` says from when
on rewards are counted. Where no pool is shared, partitions are folded one after the other; with
pools all at once. Either way rows, deadlines and sums of users that are not of the newest few
thousand lie in a temporary RocksDB (`Scratch`), so memory does not grow with the users.
"""

from __future__ import annotations

import heapq
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

import msgspec

from streams.domain.campaign import Campaign, Killed, Stopped
from streams.domain.definition import label
from streams.domain.events import ClaimRequested, OrderReported
from streams.domain.pool import Pool
from streams.domain.pool_history import Unfit
from streams.domain.registry import Campaigns
from streams.errors import CampaignRefused, EventRejected
from streams.replay.reckoning import MOST_USERS, Budget, Key, Reckoning, Sum, Sums
from streams.replay.world import World
from streams.store.scratch import Scratch, Spilled
from streams.topics import CANCELLATIONS, CLAIMS, ORDERS
from streams.wire import cancellations, claims, orders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.domain.definition import Definition
    from streams.domain.events import Event
    from streams.feed.ports import Record
    from streams.replay.past import Past
    from streams.replay.reckoning import Segments

DECODE: dict[str, Callable[[Record], Event]] = {
    ORDERS: orders.decode,
    CLAIMS: claims.decode,
    CANCELLATIONS: cancellations.decode,
}
LARGEST = 10
"""Winners, and losers, that are named."""

MOST_LARGEST = 1_000

PROGRESS_EVERY = 2_000
FIXED = (
    "Behaviour is held fixed: the same orders, claims and cancellations on both sides. What other "
    "rules would make users do is not in here."
)
ISSUED = (
    "Every reward is taken as issued, and as not spent when it is taken back: the answers of the "
    "rights service in the log belong to the rewards of then."
)
TIME = (
    "Every deadline passes at its own instant, up to the newest record of the log; ticks are not "
    "read."
)
DRAWS = (
    "Lotteries draw with a stand-in seed, the same on both sides: totals are typical, whoever wins "
    "is not who has won."
)


class Pair(msgspec.Struct, frozen=True):
    """One sum on both sides."""

    name: str
    currency: str
    was: Sum
    would: Sum

    @property
    def rewards(self) -> int:
        return self.would.rewards - self.was.rewards

    @property
    def minor(self) -> int:
        return self.would.minor - self.was.minor

    @property
    def different(self) -> bool:
        return bool(self.rewards or self.minor)


class Users(msgspec.Struct):
    """Users that win, or lose, by the new rules: how many, and the largest differences."""

    count: int = 0
    largest: list[Pair] = []


class Result(msgspec.Struct):
    """What is different, and the two sides it is different between."""

    replaced: list[str]
    added: list[str]
    since_ms: int
    until_ms: int
    records: int
    rejected: int
    total: list[Pair]
    by_campaign: list[Pair]
    by_day: list[Pair]
    by_step: list[Pair]
    by_segment: list[Pair]
    counts: dict[str, tuple[int, int]]
    budgets: list[tuple[Budget | None, Budget | None]]
    winners: Users
    losers: Users
    notes: list[str]

    @property
    def different(self) -> bool:
        sums = chain(self.total, self.by_campaign, self.by_day, self.by_step, self.by_segment)
        return (
            any(pair.different for pair in sums)
            or any(was != would for was, would in self.counts.values())
            or bool(self.winners.count or self.losers.count)
            or any(was != would for was, would in self.budgets)
        )


class Change(msgspec.Struct, frozen=True):
    """Two lists of definitions, and what became of those of the file."""

    was: list[Definition]
    would: list[Definition]
    replaced: list[str]
    added: list[str]


def with_replaced(known: list[Definition], new: list[Definition]) -> Change:
    """Put each new definition where the one of the same name stands, else behind all others.

    A campaign's name is its id and version, a pool's its id; ends and changes are always added.
    Raises CampaignRefused naming what does not fit.
    """
    would = list(known)
    replaced: list[str] = []
    added: list[str] = []
    for one in new:
        places = [n for n, other in enumerate(would) if _same_name(one, other)]
        for n in places:
            would[n] = one
        if not places:
            would.append(one)
        (replaced if places else added).append(label(one))
    registry, problems = Campaigns(), []
    for one in would:
        try:
            registry = registry.with_record(one)
        except Unfit as unfit:
            problems += [f"{label(one)}: {problem}" for problem in unfit.problems]
    if problems:
        raise CampaignRefused("the definitions with yours in place", problems)
    return Change(known, would, replaced, added)


def _same_name(one: Definition, other: Definition) -> bool:
    if isinstance(one, Campaign) and isinstance(other, Campaign):
        return (one.campaign_id, one.version) == (other.campaign_id, other.version)
    if isinstance(one, Stopped | Killed):
        return type(one) is type(other) and one.campaign_id == getattr(other, "campaign_id", "")
    return isinstance(one, Pool) and isinstance(other, Pool) and one.pool_id == other.pool_id


def registry(definitions: list[Definition]) -> Campaigns:
    """Return them in force, with results `assumed`: done when committed (see ISSUED)."""
    return Campaigns.of(
        msgspec.structs.replace(one, results="assumed") if isinstance(one, Campaign) else one
        for one in definitions
    )


class Shown(msgspec.Struct, frozen=True):
    """How far a comparison has come."""

    folded: int
    total: int
    clock_ms: int
    rewards: int


def compare(
    past: Past,
    change: Change,
    since_ms: int,
    until_ms: int,
    show: Callable[[Shown], None] = lambda _shown: None,
) -> Result:
    """Fold a log under both lists of definitions; return what is different.

    until_ms: up to when time passes on both sides: the newest record. show: told, now and then.
    Memory: see the module. Raises DiskError where there is no room for temporary files.
    """
    with Scratch() as scratch:
        return _compared(past, change, since_ms, until_ms, show, scratch)


def _compared(  # noqa: PLR0913 - as `compare`
    past: Past,
    change: Change,
    since_ms: int,
    until_ms: int,
    show: Callable[[Shown], None],
    scratch: Scratch,
) -> Result:
    segments = Spilled(scratch, MOST_USERS, msgspec.msgpack.encode, _segments)
    known = _known(segments)
    sides = [Reckoning(since_ms, known, scratch) for _ in range(2)]
    worlds = [
        World(registry(definitions), side.hear, scratch=scratch)
        for definitions, side in zip((change.was, change.would), sides, strict=True)
    ]
    shared = any(list(world.campaigns.pools) for world in worlds)
    turns = [list(past.partitions)] if shared else [[p] for p in past.partitions]
    winners, losers = Users(), Users()
    folded = rejected = 0
    for turn in turns:
        for record in past.records(turn):
            if folded % PROGRESS_EVERY == 0:
                rewards = sum(one.rewards for one in sides[1].total.values())
                show(Shown(folded, past.total, record.recorded_at_ms, rewards))
            folded += 1
            try:
                event = DECODE[record.topic](record)
            except EventRejected:
                rejected += 1
                continue
            _note_segments(event, segments)
            for world in worlds:
                world.pass_time(record.recorded_at_ms)
                world.take(event)
        for world in worlds:
            world.pass_time(until_ms)
        budgets = [side.budgets(world) for side, world in zip(sides, worlds, strict=True)]
        _take_users(sides, winners, losers)
        segments.clear()
        for world in worlds:
            world.leave_users()
    was, would = sides
    return Result(
        change.replaced,
        change.added,
        since_ms,
        until_ms,
        folded,
        rejected,
        pairs(was.total, would.total),
        pairs(was.by_campaign, would.by_campaign),
        pairs(was.by_day, would.by_day),
        pairs(was.by_step, would.by_step, key=_step_order),
        pairs(was.by_segment, would.by_segment),
        {
            name: (was.counts[name], would.counts[name])
            for name in sorted(was.counts | would.counts)
        },
        _side_by_side(*budgets),
        winners,
        losers,
        [FIXED, ISSUED, TIME, *_notes(worlds), *past.notes],
    )


def pairs(was: Sums, would: Sums, key: Callable[[Key], Any] = lambda key: key) -> list[Pair]:
    """Return both sums of every key, in order; nothing on both sides is nothing."""
    empty = Sum()
    return [
        Pair(*name, was.get(name, empty), would.get(name, empty))
        for name in sorted({*was, *would}, key=key)
        if was.get(name) or would.get(name)
    ]


def _step_order(key: Key) -> tuple[str, int, str, str]:
    kind, _, step = key.name.partition(" ")
    number, _, _ = step.partition("#")
    return (kind, int(number) if number.isdecimal() else 0, step, key.currency)


def _known(segments: Spilled[tuple[str, ...]]) -> Segments:
    return lambda user: segments.get(user) or ()


def _segments(_user: str, data: bytes) -> tuple[str, ...]:
    return msgspec.msgpack.decode(data, type=tuple[str, ...])


def _note_segments(event: Event, segments: Spilled[tuple[str, ...]]) -> None:
    if isinstance(event, OrderReported | ClaimRequested):
        context = event.context
        if context is not None and context.segments is not None:
            segments[event.user_id] = tuple(sorted(set(context.segments)))


def _take_users(sides: list[Reckoning], winners: Users, losers: Users) -> None:
    """Move the users of a turn into winners and losers, and forget them."""
    was, would = sides
    for pair in _of_users(was, would):
        weight = pair.minor or pair.rewards
        if weight:
            users = winners if weight > 0 else losers
            users.count += 1
            users.largest.append(pair)
            if len(users.largest) > MOST_LARGEST:
                _keep_largest(users)
    for users in (winners, losers):
        _keep_largest(users)
    was.by_user.clear()
    would.by_user.clear()


def _keep_largest(users: Users) -> None:
    users.largest.sort(key=lambda pair: (-abs(pair.minor), -abs(pair.rewards), pair.name))
    users.largest = users.largest[:LARGEST]


def _sided(side: Reckoning, number: int) -> Iterator[tuple[Key, int, Sum]]:
    return ((key, number, sum_) for key, sum_ in side.users())


def _of_users(was: Reckoning, would: Reckoning) -> Iterator[Pair]:
    """Yield both sums of every user, in order, without holding them."""
    both = heapq.merge(_sided(was, 0), _sided(would, 1), key=lambda one: one[:2])
    for key, found in groupby(both, key=lambda one: one[0]):
        sums = [Sum(), Sum()]
        for _, side, sum_ in found:
            sums[side] = sum_
        yield Pair(*key, *sums)


def _side_by_side(
    was: list[Budget], would: list[Budget]
) -> list[tuple[Budget | None, Budget | None]]:
    by_id = [{budget.pool_id: budget for budget in side} for side in (was, would)]
    return [(by_id[0].get(id_), by_id[1].get(id_)) for id_ in sorted({*by_id[0], *by_id[1]})]


def _notes(worlds: list[World]) -> list[str]:
    drawing = any(pool.kind == "lottery" for world in worlds for pool in world.campaigns.pools)
    return [DRAWS] if drawing else []

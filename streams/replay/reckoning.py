"""What one registry gives on one log: counted from the outputs alone, as anybody could.

Money is what has been given and not taken back, in minor units by currency; rewards are issued less
revoked. Both by day (the date of the cause in the campaign's zone), step, segment and user.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from streams.domain.days import instant_ms
from streams.domain.pool import BUDGET
from streams.domain.pool_state import TASKS
from streams.store.scratch import Scratch, Spilled
from streams.topics import DRAW_RESULTS, REWARDS, TASK_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.domain.outputs import Output
    from streams.replay.world import World

    Segments = Callable[[str], tuple[str, ...]]
    """Returns the segments of a user, as last told; nothing where none is known."""

GIVEN = frozenset({"issued", "spent", "returning", "breakage", "debt", "written_off"})
"""Accounts that hold money which a campaign has given (semantics.md 7)."""

NO_SEGMENT = ""
"""Stands for users of whom no segment is known."""

COUNTED = {
    "task.claimed": "tasks begun",
    "task.completed": "tasks completed",
    "task.expired": "tasks expired",
    "claim.rejected": "claims refused",
}


class Sum(msgspec.Struct):
    """Rewards net, and their money."""

    rewards: int = 0
    minor: int = 0

    def add(self, rewards: int, minor: int) -> None:
        self.rewards += rewards
        self.minor += minor

    def __bool__(self) -> bool:
        return bool(self.rewards or self.minor)


class Key(NamedTuple):
    """What a sum is of, and in which currency."""

    name: str
    currency: str


Sums = defaultdict[Key, Sum]
MOST_USERS = 20_000
"""Sums of users in memory; the others are spilled."""


class Budget(msgspec.Struct, frozen=True):
    """What became of a budget. Times are ms UTC."""

    pool_id: str
    currency: str
    limit_minor: int | None
    left_minor: int | None
    left_tasks: int | None
    refused: int  # requests that it could not grant
    first_refused_ms: int | None  # it had run out for the first time


class Reckoning:
    """Hears the outputs of a world."""

    def __init__(self, since_ms: int, segments: Segments, scratch: Scratch) -> None:
        """``since_ms``: rewards of before are not counted. ``scratch``: for the sums of users."""
        self._since_ms, self._segments = since_ms, segments
        self.total: Sums = defaultdict(Sum)
        self.by_campaign: Sums = defaultdict(Sum)
        self.by_day: Sums = defaultdict(Sum)
        self.by_step: Sums = defaultdict(Sum)
        self.by_segment: Sums = defaultdict(Sum)
        self.by_user = Spilled(scratch, MOST_USERS, msgspec.msgpack.encode, _sum)
        self.counts: Counter[str] = Counter()
        self._refused: dict[str, tuple[int, int]] = {}  # how many, the first

    def hear(self, output: Output) -> None:
        if output.topic == REWARDS:
            self._reward(output.type, output.body)
        elif output.topic == TASK_EVENTS:
            name = COUNTED.get(output.type)
            if name and instant_ms(output.body["occurred_at"]) >= self._since_ms:
                self.counts[name] += 1
        elif output.topic == DRAW_RESULTS and output.type == "pool.denied":
            at_ms, pool_id = instant_ms(output.body["occurred_at"]), output.body["pool_id"]
            count, first_ms = self._refused.get(pool_id, (0, at_ms))
            self._refused[pool_id] = count + 1, min(first_ms, at_ms)

    def _reward(self, type_: str, body: dict[str, Any]) -> None:
        rewards = {"reward.issued": 1, "reward.revoked": -1}.get(type_, 0)
        minor = sum(p["amount_minor"] for p in body["postings"] if p["account"] in GIVEN)
        if not (rewards or minor) or instant_ms(body["occurred_at"]) < self._since_ms:
            return
        user, currency = body["user_id"], body["currency"]
        for sums, name in (
            (self.total, ""),
            (self.by_campaign, body["campaign_id"]),
            (self.by_day, body["occurred_at"][:10]),
            (self.by_step, f"{body['kind']} {body['step']}"),
            *((self.by_segment, one) for one in self._segments(user) or (NO_SEGMENT,)),
        ):
            sums[Key(name, currency)].add(rewards, minor)
        name = _of_user(user, currency)
        was = self.by_user.get(name) or Sum()
        self.by_user[name] = Sum(was.rewards + rewards, was.minor + minor)

    def users(self) -> Iterator[tuple[Key, Sum]]:
        """Yield the sum of each user, in order of user and currency."""
        for name, sum_ in self.by_user.items():
            user, _, currency = name.partition("\0")
            yield Key(user, currency), sum_

    def budgets(self, world: World) -> list[Budget]:
        """Return every campaign's budget as it stands in that world, in order of id."""
        found = []
        for pool in world.campaigns.pools:
            if not pool.pool_id.startswith(BUDGET):
                continue
            state = world.pool(pool.pool_id)
            limit = state.budget_minor if state.known else pool.budget_minor
            tasks = state.stock_of(TASKS)
            refused, first_ms = self._refused.get(pool.pool_id, (0, None))
            found.append(
                Budget(
                    pool.pool_id.removeprefix(BUDGET),
                    pool.currency,
                    limit,
                    None if limit is None else limit - state.held_minor,
                    tasks.left if tasks else None,
                    refused,
                    first_ms,
                )
            )
        return sorted(found, key=lambda budget: budget.pool_id)


def _of_user(user: str, currency: str) -> str:
    return f"{user}\0{currency}"  # sorts as the two do: no id has a NUL


def _sum(_name: str, data: bytes) -> Sum:
    return msgspec.msgpack.decode(data, type=Sum)

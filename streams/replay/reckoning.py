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
from streams.topics import DRAW_RESULTS, REWARDS, TASK_EVENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.domain.outputs import Output
    from streams.replay.world import World

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

    def __init__(self, since_ms: int, segments: Mapping[str, tuple[str, ...]]) -> None:
        """``since_ms``: rewards of before are not counted. ``segments``: of users, as last told."""
        self._since_ms, self._segments = since_ms, segments
        self.total: Sums = defaultdict(Sum)
        self.by_campaign: Sums = defaultdict(Sum)
        self.by_day: Sums = defaultdict(Sum)
        self.by_step: Sums = defaultdict(Sum)
        self.by_segment: Sums = defaultdict(Sum)
        self.by_user: Sums = defaultdict(Sum)
        self.counts: Counter[str] = Counter()
        self._refused: dict[str, list[int]] = defaultdict(list)

    def hear(self, output: Output) -> None:
        if output.topic == REWARDS:
            self._reward(output.type, output.body)
        elif output.topic == TASK_EVENTS:
            name = COUNTED.get(output.type)
            if name and instant_ms(output.body["occurred_at"]) >= self._since_ms:
                self.counts[name] += 1
        elif output.topic == DRAW_RESULTS and output.type == "pool.denied":
            at_ms = instant_ms(output.body["occurred_at"])
            self._refused[output.body["pool_id"]].append(at_ms)

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
            (self.by_user, user),
            *((self.by_segment, one) for one in self._segments.get(user) or (NO_SEGMENT,)),
        ):
            sums[Key(name, currency)].add(rewards, minor)

    def budgets(self, world: World) -> list[Budget]:
        """Return every campaign's budget as it stands in that world, in order of id."""
        found = []
        for pool in world.campaigns.pools:
            if not pool.pool_id.startswith(BUDGET):
                continue
            state = world.pool(pool.pool_id)
            limit = state.budget_minor if state.known else pool.budget_minor
            tasks = state.stock_of(TASKS)
            refused = self._refused.get(pool.pool_id, [])
            found.append(
                Budget(
                    pool.pool_id.removeprefix(BUDGET),
                    pool.currency,
                    limit,
                    None if limit is None else limit - state.held_minor,
                    tasks.left if tasks else None,
                    len(refused),
                    min(refused, default=None),
                )
            )
        return sorted(found, key=lambda budget: budget.pool_id)

"""What a run came to, counted from the topics themselves and not from what the worker says.

Inputs are read once more and told apart by the ids they carry: the first of each (topic, user, id,
version) was applied, further ones are duplicates, and those that lie in `dead-letters` are neither.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from streams.demo.tally import Tallies
from streams.topics import (
    CANCELLATIONS,
    CLAIMS,
    DEAD_LETTERS,
    DRAW_REQUESTS,
    DRAW_RESULTS,
    LOTTERY_DRAWS,
    NOTIFICATIONS,
    ORDERS,
    REWARD_RESULTS,
    REWARDS,
    TASK_EVENTS,
    USER_KEYED,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.demo.reading import Read
    from streams.demo.tally import Tally

OUTPUTS = (
    REWARDS,
    DEAD_LETTERS,
    TASK_EVENTS,
    DRAW_REQUESTS,
    DRAW_RESULTS,
    LOTTERY_DRAWS,
    NOTIFICATIONS,
)
IDENTITY = {
    ORDERS: ("user_id", "order_id", "version"),
    CLAIMS: ("user_id", "claim_id"),
    CANCELLATIONS: ("user_id", "cancellation_id"),
    REWARD_RESULTS: ("user_id", "result_id"),
}
"""The fields that make a second record of a topic a duplicate of the first."""


@dataclass
class Summary:
    """Sums over all users; `net_by_user` has every user who ever earned something.

    `first_rewards`: of each campaign, the user and the id of the first that was issued.
    """

    records: int = 0
    applied: int = 0
    duplicates: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    dead_by_topic: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    tasks: int = 0
    rewards_issued: int = 0
    rewards_revoked: int = 0
    rewards_failed: int = 0  # issued, but the rights service could not give them
    debts: int = 0
    repeated_event_ids: int = 0  # ledger entries seen before: 0, or the promise is broken
    net_minor: Counter[str] = field(default_factory=Counter)  # net, by currency
    net_by_user: Counter[str] = field(default_factory=Counter)
    task_events: Counter[str] = field(default_factory=Counter)  # by type
    ignored: Counter[str] = field(default_factory=Counter)  # orders that did not count, by code
    rejected: Counter[str] = field(default_factory=Counter)  # claims and draws, by code
    notices: Counter[str] = field(default_factory=Counter)  # reminders sent, by kind
    first_rewards: dict[str, tuple[str, str]] = field(default_factory=dict)
    campaigns: dict[str, Tally] = field(default_factory=dict)
    public: list[bytes] = field(default_factory=list)  # values of lottery-draws, in their order

    @property
    def rewards_net(self) -> int:
        return self.rewards_issued - self.rewards_revoked - self.rewards_failed


def summarize(records: Iterable[Read]) -> Summary:
    """Count the records of input and output topics; a partition's records come in offset order."""
    counting = _Counting()
    for record in records:
        counting.take(record)
    return counting.summary_of_all()


class _Counting:
    """Takes records of all topics, in any order but that of their partitions."""

    def __init__(self) -> None:
        self.summary, self.tallies = Summary(), Tallies()
        self._dead: set[tuple[str, int, int]] = set()
        self._inputs: dict[tuple[str, int, int], tuple[Any, ...]] = {}
        self._tasks: set[str] = set()
        self._event_ids: set[str] = set()

    def take(self, record: Read) -> None:
        if record.topic in IDENTITY:
            self.summary.records += 1
            self._inputs[record.topic, record.partition, record.offset] = _identity(record)
        elif record.topic == DEAD_LETTERS:
            self._dead_letter(dict(record.headers))
        else:
            self._said(record.topic, dict(orjson.loads(record.value or b"null")))
            if record.topic == LOTTERY_DRAWS:
                self.summary.public.append(record.value or b"")

    def summary_of_all(self) -> Summary:
        summary = self.summary
        summary.tasks = len(self._tasks)
        summary.campaigns = self.tallies.close()
        _tell_apart(summary, self._inputs, self._dead)
        return summary

    def _dead_letter(self, headers: dict[str, bytes]) -> None:
        topic, reason = headers["dl-topic"].decode(), headers["dl-reason"].decode()
        self.summary.dead_letters[reason] += 1
        self.summary.dead_by_topic[topic][reason] += 1
        self._dead.add((topic, int(headers["dl-partition"]), int(headers["dl-offset"])))

    def _said(self, topic: str, said: dict[str, Any]) -> None:
        """Take the value of an output."""
        if topic == REWARDS:
            _count_entry(self.summary, said, self._event_ids)
            self.tallies.entry(said)
        elif topic == TASK_EVENTS:
            self._task_event(said)
        elif topic == NOTIFICATIONS:
            self.summary.notices[said["kind"]] += 1
        elif topic == DRAW_REQUESTS:
            self.tallies.request(said)
        elif topic == DRAW_RESULTS:
            self.tallies.answer(said)
        else:
            self.tallies.draw(said)

    def _task_event(self, event: dict[str, Any]) -> None:
        self.tallies.task_event(event)
        self.summary.task_events[event["type"]] += 1
        if event["type"] == "order.ignored":
            self.summary.ignored[event["code"]] += 1
        elif event["type"] == "claim.rejected":
            self.summary.rejected[event["code"]] += 1
        elif event["type"].startswith("task."):
            self._tasks.add(event["task_id"])


def _count_entry(summary: Summary, entry: dict[str, Any], event_ids: set[str]) -> None:
    if entry["event_id"] in event_ids:
        summary.repeated_event_ids += 1
    event_ids.add(entry["event_id"])
    user, money = entry["user_id"], (entry["currency"], entry["amount_minor"])
    match entry["type"]:
        case "reward.issued":
            summary.first_rewards.setdefault(entry["campaign_id"], (user, entry["reward_id"]))
            summary.rewards_issued += 1
            summary.net_by_user[user] += 1
            summary.net_minor[money[0]] += money[1]
        case "reward.revoked":
            summary.rewards_revoked += 1
            summary.net_by_user[user] -= 1
            summary.net_minor[money[0]] -= money[1]
        case "reward.adjusted" if entry["reason"] == "failed":
            summary.rewards_failed += 1
            summary.net_by_user[user] -= 1
            summary.net_minor[money[0]] -= money[1]
        case "reward.adjusted" if entry["reason"] == "owed":
            summary.debts += 1


def _tell_apart(
    summary: Summary,
    inputs: dict[tuple[str, int, int], tuple[Any, ...]],
    dead: set[tuple[str, int, int]],
) -> None:
    seen: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for (topic, partition, offset), identity in inputs.items():
        if (topic, partition, offset) in dead:
            continue
        if identity in seen[topic]:
            summary.duplicates += 1
        else:
            seen[topic].add(identity)
            summary.applied += 1


def _identity(record: Read) -> tuple[Any, ...]:
    """Return what the record calls itself; of bytes that say nothing, their place."""
    try:
        event = orjson.loads(record.value or b"")
        return tuple(event[name] for name in IDENTITY[record.topic])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return record.partition, record.offset


assert set(IDENTITY) == set(USER_KEYED), "a user-keyed topic without an identity"

"""What a run came to, counted from the topics themselves and not from what the worker says.

Inputs are read once more and told apart by the ids they carry: the first of each (topic, user, id,
version) was applied, further ones are duplicates, and those that lie in `dead-letters` are neither.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from streams.topics import (
    CANCELLATIONS,
    CLAIMS,
    DEAD_LETTERS,
    ORDERS,
    REWARD_RESULTS,
    REWARDS,
    TASK_EVENTS,
    USER_KEYED,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.demo.reading import Read

OUTPUTS = (REWARDS, DEAD_LETTERS, TASK_EVENTS)
IDENTITY = {
    ORDERS: ("user_id", "order_id", "version"),
    CLAIMS: ("user_id", "claim_id"),
    CANCELLATIONS: ("user_id", "cancellation_id"),
    REWARD_RESULTS: ("user_id", "result_id"),
}
"""The fields that make a second record of a topic a duplicate of the first."""


@dataclass
class Summary:
    """Sums over all users; `net_by_user` has every user who ever earned something."""

    records: int = 0
    applied: int = 0
    duplicates: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    dead_by_topic: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    tasks: int = 0
    rewards_issued: int = 0
    rewards_revoked: int = 0
    debts: int = 0
    repeated_event_ids: int = 0  # ledger entries seen before: 0, or the promise is broken
    net_minor: Counter[str] = field(default_factory=Counter)  # net, by currency
    net_by_user: Counter[str] = field(default_factory=Counter)
    task_events: Counter[str] = field(default_factory=Counter)  # by type
    ignored: Counter[str] = field(default_factory=Counter)  # orders that did not count, by code
    busiest_user: str = ""

    @property
    def rewards_net(self) -> int:
        return self.rewards_issued - self.rewards_revoked


def summarize(records: Iterable[Read]) -> Summary:
    """Count the records of input and output topics; a partition's records come in offset order."""
    summary = Summary()
    dead: set[tuple[str, int, int]] = set()
    inputs: dict[tuple[str, int, int], tuple[Any, ...]] = {}
    tasks: set[str] = set()
    event_ids: set[str] = set()
    for record in records:
        if record.topic in IDENTITY:
            summary.records += 1
            inputs[record.topic, record.partition, record.offset] = _identity(record)
        elif record.topic == DEAD_LETTERS:
            headers = dict(record.headers)
            topic, reason = headers["dl-topic"].decode(), headers["dl-reason"].decode()
            summary.dead_letters[reason] += 1
            summary.dead_by_topic[topic][reason] += 1
            dead.add((topic, int(headers["dl-partition"]), int(headers["dl-offset"])))
        elif record.topic == REWARDS:
            _count_entry(summary, orjson.loads(record.value or b"null"), event_ids)
        elif record.topic == TASK_EVENTS:
            event = orjson.loads(record.value or b"null")
            summary.task_events[event["type"]] += 1
            if event["type"] == "order.ignored":
                summary.ignored[event["code"]] += 1
            elif event["type"].startswith("task."):
                tasks.add(event["task_id"])
    summary.tasks = len(tasks)
    _tell_apart(summary, inputs, dead)
    if summary.net_by_user:
        summary.busiest_user = max(summary.net_by_user.items(), key=lambda item: item[1])[0]
    return summary


def _count_entry(summary: Summary, entry: dict[str, Any], event_ids: set[str]) -> None:
    if entry["event_id"] in event_ids:
        summary.repeated_event_ids += 1
    event_ids.add(entry["event_id"])
    user, money = entry["user_id"], (entry["currency"], entry["amount_minor"])
    match entry["type"]:
        case "reward.issued":
            summary.rewards_issued += 1
            summary.net_by_user[user] += 1
            summary.net_minor[money[0]] += money[1]
        case "reward.revoked":
            summary.rewards_revoked += 1
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

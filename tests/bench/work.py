"""What the benchmarks fold: workloads, their traffic, and the rewards it earns.

The digest is SHA-256 over the sorted ids of the rewards that stand in a ledger at the end. Every
engine's must equal the set model's, which shares no code with the fold.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import TYPE_CHECKING, NamedTuple

from streams.traffic import Traffic
from tests import checker
from tests.kafka.harness import USER_KEYED, Topics
from tests.kafka.workers import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from streams.traffic import Sent

SEED = 42
FOLDED = ("orders", "claims", "cancellations")
EVENTS_PER_USER = 13  # ten order events, with their claims and cancellations


class Workload(NamedTuple):
    """What is folded: records of these topics, under the campaign of this file."""

    topics: tuple[str, ...]
    campaign: Path
    paid_only: bool = False  # one record an order: no other status, no part of a checkout

    def keeps(self, topic: str, value: bytes) -> bool:
        if not self.paid_only:
            return topic in self.topics
        whole = b'"version":1,' in value and b"parent_order_id" not in value
        return topic in self.topics and whole and b'"order.paid"' in value


EVERY_THIRD_DAY = SAMPLE.with_name("grocery-every-3.json")
WORKLOADS = {
    # One topic and one agent, the case that plain Faust is made for: an order is one record,
    # tasks begin by themselves, every third day pays.
    "paid": Workload(("orders",), EVERY_THIRD_DAY, paid_only=True),
    # The same topic with all that shops send: placed, paid, fulfilled, parts of checkouts.
    "orders": Workload(("orders",), EVERY_THIRD_DAY),
    # All three topics: claims, step rewards, and a tenth of cancellations and returns.
    "mixed": Workload(FOLDED, SAMPLE),
}


def users_of(events: int) -> int:
    return max(1, events // EVENTS_PER_USER)


def endless(
    work: Workload, events: int, chaos: tuple[str, ...] = (), seed: int = SEED
) -> Iterator[Sent]:
    """What `traffic` is, one record after another, for logs longer than memory."""
    many = Traffic(seed, users_of(events), 2 * events, chaos)
    return itertools.islice((one for one in many if work.keeps(one[0], one[2])), events)


def traffic(work: Workload, seed: int, events: int, chaos: tuple[str, ...]) -> list[Sent]:
    """The first `events` records of traffic in which users live most of their lives."""
    return list(endless(work, events, chaos, seed))


def standing(topics: Topics, ledger: str) -> set[str]:
    return set(checker.standing(checker.Entry.of(seen) for seen in topics.read(ledger)))


def model_digest(work: Workload, log: list[Sent]) -> str:
    """The digest of what the log earns by the set model, which shares nothing with the fold."""
    at: dict[str, int] = {}
    inputs: dict[str, list[checker.Seen]] = {topic: [] for topic in USER_KEYED}
    for topic, key, value, timestamp_ms in log:
        offset = at[topic] = at.get(topic, -1) + 1
        inputs[topic].append(checker.Seen(topic, 0, offset, key, value, (), timestamp_ms))
    evidence = checker.Evidence(
        inputs=inputs,
        outputs={},
        committed={(topic, 0): len(seen) for topic, seen in inputs.items()},
        watermarks={},
        user_keyed=USER_KEYED,
    )
    return digest(checker.expected(evidence, [json.loads(work.campaign.read_text())], {}))


def digest(reward_ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(reward_ids)).encode()).hexdigest()

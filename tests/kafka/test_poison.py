"""Bytes that cannot become an event cost nothing but themselves (D12), on real Kafka.

A thousand poison records of every kind among good ones, through a live worker: every one must lie
in `dead-letters` byte for byte, once, with its reason; no good one may be lost; and the worker must
be there at the end. The kinds and reasons are `streams/traffic.py`'s, with some that only fit here.
"""

from __future__ import annotations

import json
import random  # seeded: which bytes are spoilt, nothing about money
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from streams.errors import Reason
from streams.traffic import POISON_KINDS, Traffic, poison
from tests.kafka.aftermath import gathered, require_clean
from tests.kafka.harness import Topics, wait_drained, wait_settled
from tests.kafka.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streams.traffic import Sent
    from tests.kafka.cluster import Cluster
    from tests.kafka.harness import SentWithHeaders

pytestmark = pytest.mark.kafka

POISON = 1_000
TEN_MB = 10_000_000
MANY_HEADERS = 10_000


def rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - seeded on purpose


def too_large(at_ms: int) -> SentWithHeaders:
    """Good but for its size."""
    _topic, _key, value, *_ = poison("future", rng(0), at_ms)
    event = json.loads(value)
    event |= {"occurred_at": "2026-01-05T08:00:00+08:00", "note": "x" * TEN_MB}
    return "orders", event["user_id"].encode(), json.dumps(event).encode(), at_ms, ()


def huge_key(at_ms: int) -> SentWithHeaders:
    _topic, _key, value, *_ = poison("key_mismatch", rng(1), at_ms)
    return "orders", b"k" * 1_000_000, value, at_ms, ()


def contradicting_ce_id(at_ms: int) -> SentWithHeaders:
    """Good but for the header that says it is another event."""
    _topic, key, value, *_ = poison("unknown_major", rng(2), at_ms)
    value = json.dumps(json.loads(value) | {"v": 1}).encode()
    return "orders", key, value, at_ms, (("ce_id", b"somebody-else:1"), ("traceparent", b"00-1"))


def many_headers(at_ms: int) -> SentWithHeaders:
    headers = (*((f"h{n}", b"\x00\xff") for n in range(MANY_HEADERS)), ("h0", b"again"))
    return "orders", b"bad-headers", b"{", at_ms, headers


def no_value(at_ms: int) -> SentWithHeaders:
    """A tombstone, as a compacted topic would have it: null, which is not the empty value."""
    return "cancellations", b"bad-tombstone", None, at_ms, (("reason", b"erasure"),)


def nothing_at_all(at_ms: int) -> SentWithHeaders:
    return "claims", None, None, at_ms, ()


def conflicting(original: Sent) -> SentWithHeaders:
    """The same order id and version as one before it, with another content."""
    topic, key, value, at_ms = original
    return topic, key, json.dumps(json.loads(value) | {"channel": "elsewhere"}).encode(), at_ms, ()


SPECIAL = (
    (Reason.TOO_LARGE, too_large, 3),
    (Reason.KEY_MISMATCH, huge_key, 1),
    (Reason.KEY_MISMATCH, contradicting_ce_id, 1),
    (Reason.NOT_JSON, many_headers, 1),
    (Reason.EMPTY, no_value, 1),
    (Reason.EMPTY, nothing_at_all, 1),
)


@pytest.fixture
def mixed() -> tuple[list[Sent | SentWithHeaders], dict[int, str]]:
    """The log, and the reason of each bad record by its place in it."""
    dice = rng(12)
    kinds = [kind for kind in POISON_KINDS for _ in range(POISON // len(POISON_KINDS))]
    dice.shuffle(kinds)
    specials = [(reason, make) for reason, make, times in SPECIAL for _ in range(times)]
    log: list[Sent | SentWithHeaders] = []
    reasons: dict[int, str] = {}
    good = list(Traffic(12, 300, 3_000, ("dup", "reorder")))
    every = len(good) // len(kinds)
    for nth, record in enumerate(good):
        log.append(record)
        at_ms = record[3]
        if nth % every == 0 and kinds:
            kind = kinds.pop()
            reasons[len(log)] = POISON_KINDS[kind]
            log.append(poison(kind, dice, at_ms))
        if nth % 400 == 0 and specials:
            reason, make = specials.pop()
            reasons[len(log)] = reason
            log.append(make(at_ms))
        if nth % 700 == 0 and record[0] == "orders":
            reasons[len(log)] = Reason.CONFLICT
            log.append(conflicting(record))
    assert not kinds
    assert not specials, "every kind must have found a place"
    return log, reasons


@pytest.fixture
def worker(broker: Cluster, tmp_path: Path) -> Iterator[Worker]:
    # The budget stops a worker whose input is mostly dying, as this one's is meant to be.
    settings = {"dead_letter_budget": "false", "batch_records": 500}
    one = Worker(broker.bootstrap, "poison.", "leidan-0", tmp_path, settings=settings)
    yield one
    one.close()


def test_row16_every_poison_record_is_set_aside_unchanged_and_no_good_one_is_lost(
    broker: Cluster, worker: Worker, mixed: tuple[list, dict[int, str]]
) -> None:
    log, reasons = mixed
    topics = Topics(broker.bootstrap, "poison.")
    topics.create(broker)
    worker.start()
    topics.send(log)
    wait_drained(topics, worker.group)
    wait_settled(topics)
    worker.require_running()
    assert worker.stop() == 0, worker.tail()

    bad = {at: reasons[nth] for at, nth in topics.sent_at.items() if nth in reasons}
    assert len(bad) == len(reasons) >= POISON, "void: not every poison record was acknowledged"
    print(f"{len(bad)} poison records by reason: {dict(Counter(bad.values()).most_common())}")
    report = require_clean(gathered(topics, worker), least_due=401, bad=bad)
    assert report.compared["dead letters"] == len(bad)
    assert worker.stats()["dead_letters"] == Counter(bad.values())

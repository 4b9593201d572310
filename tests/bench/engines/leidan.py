"""`leidan worker`, exactly-once, as it ships; its signs of work are its transactions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests import checker
from tests.bench.engines import Engine, Given, Took, drained
from tests.bench.sampling import Sampler
from tests.kafka.harness import CHANGELOG, wait_settled
from tests.kafka.workers import Worker

if TYPE_CHECKING:
    from tests.kafka.harness import Topics


def run(given: Given) -> Took:
    """Drain the topics with a worker as it ships; time it by its transactions."""
    topics = given.topics
    worker = Worker(
        topics.bootstrap,
        topics.prefix,
        "leidan-0",
        given.directory,
        campaigns=(given.work.campaign,),
        settings={"log_level": "WARNING"},
    )
    try:
        worker.start()
        used = Sampler(worker.pid)
        drained(topics, worker.group, given.limit_s, worker)
        used.stop()
        # Its stats are written once a second and at the end: asked for after the stop.
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.close()
    wait_settled(topics, ("rewards", CHANGELOG))
    events, first_ms, last_ms = by_transactions(topics)
    return Took(events, first_ms, last_ms, used, {"phases_s": worker.stats()["phases"]})


def by_transactions(topics: Topics) -> tuple[int, int, int]:
    """Return the events between the first transaction and the last, and when these were."""
    metas = [seen for seen in topics.read(CHANGELOG) if seen.key == checker.META]
    first_ms = min(seen.timestamp_ms for seen in metas)
    last_ms = max(seen.timestamp_ms for seen in metas)
    reached: dict[int, int] = {}
    before = 0  # what the first transaction took, of however many partitions
    for seen in metas:
        total = sum(json.loads(seen.value or b"null")["next"].values())
        if seen.timestamp_ms == first_ms:
            before += total - reached.get(seen.partition, 0)
        reached[seen.partition] = total
    return sum(reached.values()) - before, first_ms, last_ms


ENGINE = Engine(
    "leidan",
    run,
    "as it ships: one transaction a batch, changelog, dedupe, RocksDB",
    ledger="rewards",
    task_events="task-events",
    sustained=True,
)

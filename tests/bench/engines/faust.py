"""Plain Faust, an agent a topic with one RocksDB table; its signs of work are events taken.

`faust-eos` is its exactly_once, which does not hold (tests/README.md).
"""

from __future__ import annotations

import sys
from functools import partial

from tests.bench.engines import Engine, Given, Took, drained, noted, own
from tests.bench.sampling import Sampler
from tests.kafka.harness import wait_settled
from tests.kafka.workers import Process


def run(name: str, guarantee: str, given: Given) -> Took:
    """Drain the topics with plain Faust; it notes the first and the last event itself."""
    topics = given.topics
    app_id = f"{topics.prefix}{name}".replace(".", "-")
    stats = given.directory / "stats.json"
    outputs = own(name)
    command = [sys.executable, "-m", "tests.kafka.plain_faust", "--guarantee", guarantee]
    command += ["--bootstrap-servers", topics.bootstrap, "--topic-prefix", topics.prefix]
    command += ["--app-id", app_id, "--state-dir", str(given.directory)]
    command += ["--campaigns", str(given.work.campaign), "--stats-file", str(stats)]
    command += ["--rewards", outputs["ledger"], "--task-events", outputs["task_events"], "--tuned"]
    plain = Process(name, command, given.directory / "faust.log")
    try:
        plain.start()
        used = Sampler(plain.pid)
        drained(topics, app_id, given.limit_s, plain)
        used.stop()
        wait_settled(topics, (outputs["ledger"],))
        found = noted(stats, given.events)
    finally:
        plain.close()
    return Took.noted(found, used)


def engine(name: str, guarantee: str, settings: str) -> Engine:
    return Engine(name, partial(run, name, guarantee), settings, **own(name))


TUNED = "RocksDB table; a commit every 2.8 s as it ships, zstd, linger 20 ms, batches of 256 KiB"
AT_LEAST_ONCE = engine("faust", "at_least_once", TUNED)
EXACTLY_ONCE = engine("faust-eos", "exactly_once", TUNED)

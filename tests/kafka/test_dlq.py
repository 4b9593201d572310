"""A dead-letter surge on real Kafka: a bad deployment refuses good orders, is mended, replayed.

The bad version is this one with a decoder that refuses a seventh of all orders for a reason that
does not exist: a surge that stays below the budget which stops a worker. The mended one is this.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from streams.traffic import Traffic
from tests import checker
from tests.cli.conftest import leidan
from tests.kafka.aftermath import DEFINITIONS, gathered
from tests.kafka.harness import Topics, wait_at_rest, wait_drained, wait_settled
from tests.kafka.workers import REPOSITORY, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.checker import Seen
    from tests.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka

PREFIX = "dlq."
BAD = """
import zlib
import streams.wire.orders as orders
from streams.errors import Reason
from streams.wire.envelope import rejected
good = orders.decode
def decode(record):
    if zlib.crc32(record.value) % 7 == 0:
        raise rejected(record, Reason.UNKNOWN_TYPE, "planted")
    return good(record)
orders.decode = decode
"""


def refused(value: bytes | None) -> bool:
    """What the bad version refuses."""
    return zlib.crc32(value or b"") % 7 == 0


@pytest.fixture
def bad_version(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BAD)
    # the compiled decoder would take the orders first, and it is a good one
    return {"PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}", "LEIDAN_NATIVE": "0"}


@pytest.fixture
def worker(broker: Cluster, tmp_path: Path) -> Iterator[Worker]:
    settings = {"dead_letter_headers": "connect,spring"}
    one = Worker(broker.bootstrap, PREFIX, "leidan-0", tmp_path, settings=settings)
    yield one
    one.close()


class Verb:
    """`leidan dlq replay --all --execute` on these topics."""

    def __init__(self, worker: Worker, bootstrap: str) -> None:
        self.words = ["--bootstrap-servers", bootstrap, "--topic-prefix", PREFIX, "--json"]
        self.execute = ["--app-id", worker.app_id, "--all", "--execute"]

    def counts(self, state: str) -> dict[str, int]:
        ran = leidan("dlq", "list", "--state", state, "--by", "reason", *self.words)
        assert ran.code == 0, ran.err
        return json.loads(ran.out)["counts"]

    def replay(self, *flags: object) -> dict:
        ran = leidan("dlq", "replay", *self.execute, *self.words, *flags)
        assert ran.code == 0, ran.err
        return json.loads(ran.out)

    def replay_and_die_at(self, point: str) -> int:
        command = [sys.executable, "-m", "streams", "dlq", "replay", *self.execute, *self.words]
        environment = {**os.environ, "LEIDAN_KILL": point}
        ran = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, check=False, timeout=60
        )
        return ran.returncode


def sent_by_hand(topics: Topics, seen: Seen) -> None:
    """Send a record as it stands once more, as somebody without this verb would."""
    producer = Producer({"bootstrap.servers": topics.bootstrap})
    producer.produce(
        PREFIX + seen.topic, seen.value, seen.key, seen.partition, timestamp=seen.timestamp_ms
    )
    assert producer.flush(10) == 0


def test_a_surge_mended_and_replayed_is_folded_once_to_the_last_record(
    broker: Cluster, worker: Worker, bad_version: dict[str, str]
) -> None:
    # deploy/runbooks/dead-letter-surge.md, with a kill under way and every record counted
    topics = Topics(broker.bootstrap, PREFIX)
    topics.create(broker)
    verb = Verb(worker, broker.bootstrap)

    # given: a bad version folded the log, and refused some 500 good orders of it
    worker.start(**bad_version)
    sent = topics.send(Traffic(85, 300, 3_000, ("dup", "reorder")))
    wait_drained(topics, worker.group)
    wait_settled(topics)
    assert worker.stop() == 0, worker.tail()
    before = Counter(worker.stats()["outcomes"])
    inputs = topics.read("orders")
    surge = {seen.position: "unknown_type" for seen in inputs if refused(seen.value)}
    assert len(surge) > 450, "void: no surge"
    assert verb.counts("open") == {"unknown_type": len(surge)}

    # when: the mended version runs, and a replay is killed before its third commit, then run again
    worker.start()
    assert verb.replay_and_die_at("K6:3") == -9
    assert verb.counts("replayed") == {"unknown_type": 200}, "two transactions, whole"
    told = verb.replay("--wait", 60)
    assert told["replayed"] == len(surge) - 200
    assert (told["refused_again"], told["not_folded_yet"]) == ({}, [])

    # then: nothing is left to replay, and what somebody sends by hand beside it is a duplicate
    assert verb.counts("open") == {}
    assert verb.replay()["replayed"] == 0
    sent_by_hand(topics, next(seen for seen in inputs if seen.position in surge))
    wait_at_rest(topics, worker.group)
    wait_settled(topics)
    assert worker.stop() == 0, worker.tail()

    back = [one for one in topics.read("orders") if dict(one.headers).get("dl-replay-of")]
    assert Counter(map(as_sent, back)) == Counter(
        as_sent(seen) for seen in inputs if seen.position in surge
    ), "each once, with its own key, bytes, partition and time"
    outcomes = before + Counter(worker.stats()["outcomes"])
    assert sum(outcomes.values()) == sent + len(surge) + 1, "every record folded, to the last"
    assert outcomes["rejected"] == len(surge)
    distinct = len({(seen.topic, seen.value) for seen in every_input(topics)})
    assert outcomes["applied"] + outcomes["late"] == distinct, "every event once"

    report = checker.check(gathered(topics, worker), DEFINITIONS, bad=surge)
    print(report.summary(), dict(outcomes))
    report.require_clean()
    assert report.compared["rewards due"] > 300, "void: next to nothing was earned"


def as_sent(seen: Seen) -> tuple:
    return seen.key, seen.value, seen.partition, seen.timestamp_ms


def every_input(topics: Topics) -> list[Seen]:
    return [seen for name in ("orders", "claims", "cancellations") for seen in topics.read(name)]

"""`leidan doctor` beside a live worker on real Kafka, and what it says once things are not well."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from streams.traffic import Traffic
from tests.cli.conftest import leidan
from tests.kafka.harness import Topics, wait_drained
from tests.kafka.workers import SAMPLE, Worker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster
    from tests.kafka.workers import Process

pytestmark = pytest.mark.kafka

PREFIX = "doctor."


def asked(worker: Worker, bootstrap: str) -> tuple[int, dict[str, dict[str, str]]]:
    ran = leidan(
        *("doctor", "--json", "--bootstrap-servers", bootstrap, "--topic-prefix", PREFIX),
        *("--set", f"app_id={worker.app_id}", "--state-dir", worker.state_dir),
        *("--campaigns", SAMPLE),
    )
    assert ran.out, ran.err
    return ran.code, {one["check"]: one for one in json.loads(ran.out)["checks"]}


def forgetful(topics: Topics, name: str) -> None:
    """Let a topic forget after a day."""
    topic = ConfigResource(ResourceType.TOPIC, topics.prefix + name)
    day = ConfigEntry("retention.ms", "86400000", incremental_operation=AlterConfigOpType.SET)
    topic.incremental_configs = [day]
    topics.admin.incremental_alter_configs([topic])[topic].result(15)


def test_a_live_worker_is_well_and_what_goes_wrong_is_named(
    broker: Cluster, tmp_path: Path, processes: list[Process]
) -> None:
    topics = Topics(broker.bootstrap, PREFIX)
    topics.create(broker)
    worker = Worker(broker.bootstrap, PREFIX, "leidan-0", tmp_path)
    processes.append(worker)
    worker.start()
    topics.send(Traffic(3, 20, 200))
    wait_drained(topics, worker.group)
    code, found = asked(worker, broker.bootstrap)
    told = {name: one["state"] for name, one in found.items()}
    assert code == 0, found
    assert found["group"]["found"] == f"{worker.group}: 1 workers, stable"
    assert (told["broker"], told["lag"], told["clock"], told["dead"]) == ("ok",) * 4
    assert told["state"] == "ok"
    # the harness keeps dead letters for ever, the registry 30 days: that is no harm
    assert told["topics"] == "ok"
    forgetful(topics, "rewards")

    assert worker.stop() == 0, worker.tail()
    tomorrow = int(time.time() * 1_000) + 600_000
    topics.send([("orders", b"u", b"{}", tomorrow)])
    topics.send([("claims", b"u", b"{}", tomorrow - 3_600_000)])
    code, found = asked(worker, broker.bootstrap)
    assert code == 0, "warnings alone"
    said = f"{PREFIX}rewards: retention.ms is 86400000, must be -1 or more"
    assert found["topics"]["state"] == "warn"
    assert found["topics"]["found"].endswith(said), "as `topics check` says it"
    assert found["topics"]["next"].startswith("Fix: kafka-configs.sh")
    assert "orders" in found["clock"]["found"]
    assert found["lag"]["found"].startswith("2 offsets not folded, the oldest record 3")

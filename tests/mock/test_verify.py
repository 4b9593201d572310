"""`leidan verify` as a person runs it, over what a worker has left on the embedded broker (T3)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from streams.broker.embedded import EmbeddedBroker
from streams.demo.sending import send
from streams.errors import Exit
from streams.traffic import Traffic
from tests.mock.conftest import PARTITIONS, counts
from tests.mock.test_worker import ROOT, SAMPLE, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker().start(counts()) as started:
        yield started


def ran(broker: EmbeddedBroker, directory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streams", "verify", "--set", "embedded=true", "--json"]
    command += ["--bootstrap-servers", broker.bootstrap, "--campaigns", str(SAMPLE)]
    command += ["--state-dir", str(directory / "verify"), *more]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
    )


def said(run: subprocess.CompletedProcess[str]) -> list[dict]:
    return [json.loads(line) for line in run.stdout.splitlines()]


def forged(broker: EmbeddedBroker) -> None:
    """Add a reward that names the first order of partition 1 as its cause."""
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    headers = {"cause-topic": b"orders", "cause-partition": b"1", "cause-offset": b"0"}
    producer.produce("rewards", b'{"amount_minor":1}', b"u-x", 1, headers=list(headers.items()))
    assert producer.flush(10) == 0


def test_what_a_worker_has_left_is_verified_again_quickly_and_a_forged_reward_is_named(
    broker, tmp_path
):
    send(broker.bootstrap, Traffic(5, 40, 400))
    worker = Worker(broker, tmp_path, exit_when_idle_s=1.0)
    assert worker.wait() == Exit.OK, worker.log.read_text()
    page = tmp_path / "verify.prom"
    first = ran(broker, tmp_path, "--metrics", str(page))
    assert first.returncode == Exit.OK, first.stderr
    assert [one["journal"] for one in said(first)] == [True] * PARTITIONS
    assert sum(one["outputs"] for one in said(first)) > 400
    assert "rewards_audit_differences 0.0\n" in page.read_text()
    assert "rewards_audit_last_success_timestamp_seconds 0.0\n" not in page.read_text()

    again = ran(broker, tmp_path)
    assert again.returncode == Exit.OK, again.stderr
    assert [one["transactions"] for one in said(again)] == [0] * PARTITIONS
    assert [one["before"] for one in said(again)] == [one["transactions"] for one in said(first)]

    forged(broker)
    third = ran(broker, tmp_path, "--partition", "1", "--metrics", str(page))
    assert third.returncode == Exit.VERIFICATION, third.stderr
    (found,) = said(third)
    assert found["difference"]["where"].startswith("rewards[1]@")
    assert found["difference"]["user"] == "u-x"
    assert "rewards_audit_differences 1.0\n" in page.read_text()

    refused = ran(broker, tmp_path, "--partition", "9")
    assert refused.returncode == Exit.USAGE
    assert "--partition 9: there are 2" in refused.stderr

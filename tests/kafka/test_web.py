"""Two workers and one group on real Kafka: whoever is asked, the owner of the user answers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from streams.partitioner import partition_of
from streams.traffic import Traffic
from tests.kafka.cluster import free_ports
from tests.kafka.harness import PARTITIONS, Topics, wait_drained, wait_until
from tests.kafka.workers import Worker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster
    from tests.kafka.workers import Process

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

TOKEN = "0123456789abcdef-token"  # noqa: S105 - of this test


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow nothing: where it is sent to is what is looked at."""


_opener = urllib.request.build_opener(_Stay)


def get(url: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})  # noqa: S310
    try:
        with _opener.open(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read()), dict(answer.headers)
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read()), dict(refused.headers)


def test_the_wrong_worker_sends_to_the_right_one_and_after_a_move_too(
    broker: Cluster, tmp_path: Path, processes: list[Process]
) -> None:
    topics = Topics(broker.bootstrap, "web.")
    topics.create(broker)
    bases = [f"http://127.0.0.1:{port}" for port in free_ports(2)]
    (tmp_path / "token").write_text(TOKEN)
    workers: list[Worker] = []
    for n, base in enumerate(bases):
        settings = {"web_port": base.rpartition(":")[2], "web_token_file": tmp_path / "token"}
        name = f"leidan-{n}"
        workers.append(Worker(topics.bootstrap, topics.prefix, name, tmp_path, settings=settings))
        processes.append(workers[-1])
        workers[-1].start()
    zero, one = workers
    owned = lambda worker: worker.own_stats().get("partitions", [])  # noqa: E731
    wait_until(
        lambda: len(owned(zero)) == len(owned(one)) == PARTITIONS // 2,
        lambda: f"two partitions each: {owned(zero)}, {owned(one)}\n{zero.tail()}",
        40,
    )
    users = {partition_of(f"u-{n:05}".encode(), PARTITIONS): f"u-{n:05}" for n in range(40)}
    shown: list[dict[str, Any]] = []
    topics.send(Traffic(5, 40, 400))
    wait_drained(topics, zero.group)
    homes = {p: base for worker, base in zip(workers, bases, strict=True) for p in owned(worker)}
    for p, user in users.items():
        for base in bases:
            wait_until(
                lambda: get(f"{base}/tasks/{user}")[0] in {200, 307},  # noqa: B023
                lambda: f"an answer: {get(f'{base}/tasks/{user}')}",  # noqa: B023
                10,
            )
            status, said, headers = get(f"{base}/tasks/{user}")
            if base == homes[p]:
                assert (status, said["user_id"]) == (200, user)
                shown += said["rewards"]
            else:
                assert status == 307
                assert headers["Location"] == f"{homes[p]}/tasks/{user}?hop=1"
                status, said, _ = get(headers["Location"])
                assert (status, said["user_id"]) == (200, user)
    assert any(reward["state"] == "issued" for reward in shown), "the rows of the traffic"
    # leidan-1 leaves: its users move, and nobody is sent to it for long
    assert one.stop() == 0, one.tail()
    for user in users.values():
        wait_until(
            lambda: get(f"{bases[0]}/tasks/{user}")[0] == 200,  # noqa: B023
            lambda: f"leidan-0 to own all: {get(f'{bases[0]}/tasks/{user}')}",  # noqa: B023
            40,
        )

"""`backfill --into live` on real Kafka: topics that have lost records get them back, each once."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from streams.errors import Exit
from streams.feed.emitter import IN_ONE
from streams.replay.said import BACKFILL_FROM
from streams.traffic import Traffic
from tests.backfill.world import leidan
from tests.cli.conftest import finish, start
from tests.kafka.harness import PARTITIONS, Topics, topic_configs, wait_drained
from tests.kafka.workers import SAMPLE, Worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.checker import Seen
    from tests.kafka.cluster import Cluster

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
LOST = ("rewards", "task-events")
PREFIX = "into-live-"


class Place:
    """Live topics, a worker that has folded them, and what it had said."""

    def __init__(self, broker: Cluster, tmp_path: Path) -> None:
        self.broker, self.topics = broker, Topics(broker.bootstrap, PREFIX)
        self.topics.create(broker)
        self.worker = Worker(broker.bootstrap, PREFIX, "leidan-0", tmp_path)
        self.where = ["--bootstrap-servers", broker.bootstrap, "--topic-prefix", PREFIX]
        self.where += ["--app-id", self.worker.app_id]
        self.campaigns = ["--campaigns", str(SAMPLE)]

    def fold(self, log: Any) -> None:
        self.topics.send(log)
        self.worker.start()
        wait_drained(self.topics, self.worker.group)
        assert self.worker.stop() == 0, self.worker.tail()

    def restore_older(self, topic: str, kept: Sequence[Seen]) -> None:
        """Make a topic again, with these records alone, as from an older copy."""
        name = PREFIX + topic
        for made in self.topics.admin.delete_topics([name]).values():
            made.result(10)
        self.broker.create_topics({name: (PARTITIONS, topic_configs(topic))})
        self.topics.send((topic, s.key, s.value, s.timestamp_ms, s.headers) for s in kept)

    def command(self, directory: Path) -> list[object]:
        flags = ["--into", "live", "--state-dir", directory, "--json"]
        return ["backfill", *flags, *self.where, *self.campaigns]

    def mend(self, directory: Path, *more: object, **environment: str) -> Any:
        return leidan(*self.command(directory), *more, **environment)

    def verify(self, directory: Path) -> Any:
        return leidan(
            "state", "verify", "--state-dir", directory, "--json", "--set",
            f"app_id={self.worker.app_id}", *self.where[:4], *self.campaigns,
        )  # fmt: skip

    def said(self) -> dict[str, list[Seen]]:
        return {topic: self.topics.read(topic) for topic in LOST}


def by_id(said: Sequence[Seen]) -> dict[str, tuple[Any, ...]]:
    """All of a record but where it lies, and what says that it was written again."""
    found = {}
    for seen in said:
        headers = [header for header in seen.headers if header[0] != BACKFILL_FROM]
        found[dict(headers)["ce_id"]] = seen.partition, seen.key, seen.value, headers
    assert len(found) == len(said), "each once"
    return found


def test_lost_records_come_back_once_under_kills_two_at_once_and_beside_a_worker(
    broker: Cluster, tmp_path: Path
) -> None:
    place = Place(broker, tmp_path)
    place.fold(Traffic(11, 150, 1_500, ("dup", "late")))
    was = place.said()
    dice = random.Random(6)  # noqa: S311 - which are lost, not money
    kept = {
        "rewards": [seen for seen in was["rewards"] if dice.random() > 0.4],
        "task-events": [seen for seen in was["task-events"] if seen.partition],  # all of one
    }
    for topic, records in kept.items():
        place.restore_older(topic, records)
    lost = {topic: len(was[topic]) - len(kept[topic]) for topic in LOST}
    assert sum(lost.values()) > 3 * IN_ONE

    ran = place.mend(tmp_path / "run")
    assert ran.code == Exit.DIFFERENT, ran.err
    told = json.loads(ran.out)
    assert (told["missing"], told["written"], told["executed"]) == (lost, 0, False)
    assert counted(place.said()) == counted(kept), "without --execute nothing is written"
    assert len((tmp_path / "run" / "missing.ndjson").read_text().splitlines()) == sum(lost.values())

    for point in ("K6:1", "K7:1", "K6:2"):  # before a commit, behind it, before the second
        ran = place.mend(tmp_path / "run", "--resume", "--execute", LEIDAN_KILL=point)
        assert ran.code == -9, f"void: {point} did not land\n{ran.err}"
        if point == "K7:1":  # the others leave a transaction open, which the next run ends
            now = sum(counted(place.said()).values())
            assert now == sum(counted(kept).values()) + IN_ONE
    place.worker.start()  # beside a worker that goes on
    place.topics.send(Traffic(12, 40, 300))
    two = [start(*place.command(tmp_path / f"two-{n}"), "--execute") for n in range(2)]
    ended = [finish(process) for process in two]
    said = "\n".join(ran.err for ran in ended)
    assert {ran.code for ran in ended} <= {Exit.OK, Exit.FENCED}, said
    wait_drained(place.topics, place.worker.group)
    assert place.worker.stop() == 0, place.worker.tail()
    ran = place.mend(tmp_path / "run", "--resume", "--execute")
    assert ran.code == Exit.OK, ran.err

    now = place.said()
    for topic in LOST:
        found, wanted = by_id(now[topic]), by_id(was[topic])
        assert {id_: found.get(id_) for id_ in wanted} == wanted
        again = [seen for seen in now[topic] if BACKFILL_FROM in dict(seen.headers)]
        assert len(again) == lost[topic]
        assert all(dict(s.headers)[BACKFILL_FROM].startswith(b"fold-journal[") for s in again)
    exported = leidan("export", tmp_path / "archive", *place.where[:4])
    assert exported.code == 0, exported.err
    ran = place.mend(tmp_path / "filed", "--from-archive", tmp_path / "archive", "--execute")
    assert ran.code == Exit.OK, ran.err
    filed = json.loads(ran.out)
    assert (filed["missing"], filed["written"]) == ({}, 0)
    assert filed["records"] > 1_800
    ran = place.verify(tmp_path / "verify")
    assert ran.code == Exit.OK, ran.out + ran.err
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert sum(line["later"] for line in lines) == sum(lost.values())


def counted(said: dict[str, list[Seen]]) -> dict[str, int]:
    return {topic: len(records) for topic, records in said.items()}

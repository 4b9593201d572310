"""What the embedded broker cannot show of a backfill: its own group, and rows that are promoted."""

from __future__ import annotations

import re
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
import rocksdict
from confluent_kafka import Producer

from streams.broker.embedded import EmbeddedBroker
from streams.errors import Exit
from streams.store import meta
from streams.topics import CHANGELOG
from streams.traffic import Traffic
from tests.backfill import world
from tests.backfill.world import backfill, leidan
from tests.kafka.harness import FOLDED, OUTPUTS, PARTITIONS, Topics, wait_drained
from tests.kafka.workers import SAMPLE, Worker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka
ALL = range(PARTITIONS)
KILLS = ("K4:2", "K6:3", "K7:2", "K8:4")


@pytest.fixture
def live(broker: Cluster, tmp_path: Path, request: Any) -> Live:
    """A live worker that has folded a log in small units of work, and was stopped."""
    topics = Topics(broker.bootstrap, f"{request.node.name[:20]}.".replace("_", "-"))
    topics.create(broker)
    small = {"batch_records": 60}
    worker = Worker(topics.bootstrap, topics.prefix, "leidan-0", tmp_path, settings=small)
    found = Live(topics, worker)
    found.fold(Traffic(8, 120, 1_000, ("dup", "late")))
    return found


class Live:
    def __init__(self, topics: Topics, worker: Worker) -> None:
        self.topics, self.worker = topics, worker
        self.where = ["--bootstrap-servers", topics.bootstrap, "--topic-prefix", topics.prefix]
        self.where += ["--app-id", worker.app_id]
        self.flags = [*self.where, "--campaigns", SAMPLE, "--processes", 1]

    def fold(self, log: Any, worker: Worker | None = None) -> None:
        """Let a live worker fold this, then stop it."""
        worker = worker or self.worker
        self.topics.send(log)
        worker.start()
        wait_drained(self.topics, worker.group)
        assert worker.stop() == 0, worker.tail()

    def date(self, p: int) -> None:
        """Leave what a worker writes beside its rows once definitions have changed."""
        producer = Producer({"bootstrap.servers": self.topics.bootstrap})
        row = meta.encode_dating(meta.Dating(of="other", done=False))
        producer.produce(self.topics.prefix + CHANGELOG, row, meta.DATED, p)
        assert producer.flush(10) == 0

    def promote(self, directory: Path, target: Path, *more: str) -> world.Ran:
        return leidan("backfill", "promote", directory, "--to", target, *self.where, *more)

    def promote_once_alone(self, directory: Path, target: Path) -> world.Ran:
        """Try until the stopped worker, a static member, has been forgotten by the group."""
        until_s = time.monotonic() + 30
        while "workers run" in (ran := self.promote(directory, target)).err:
            assert time.monotonic() < until_s, ran.err
        return ran


def test_a_shadow_killed_at_the_commit_and_resumed_holds_the_live_records_once(
    broker: Cluster, live: Live, tmp_path: Path
) -> None:
    topics, group = live.topics, live.worker.group
    Topics(broker.bootstrap, "bf-shadow.").create(broker)
    committed, ends = topics.committed(group), topics.ends((*FOLDED, *OUTPUTS))
    begin = ["--shadow-prefix", "bf-shadow."]
    for n, point in enumerate(KILLS):
        more = ["--resume"] if n else begin
        ran = backfill(tmp_path / "run", *live.flags, *more, LEIDAN_KILL=point)
        assert ran.code == -signal.SIGKILL, f"void: {point} did not land\n{ran.err}"
    assert backfill(tmp_path / "run", *live.flags, "--resume").summary["order"] == "journal"
    said = world.said_live(topics.bootstrap, prefix=topics.prefix)
    assert world.said_live(topics.bootstrap, prefix="bf-shadow.") == said
    assert world.rows(tmp_path / "run" / "users", ALL) == world.rows(live.worker.databases, ALL)
    assert topics.committed(group) == committed
    assert topics.ends((*FOLDED, *OUTPUTS)) == ends, "nothing was written to a live topic"
    ran = live.promote(tmp_path / "run", tmp_path / "x")
    assert ran.code == Exit.REFUSED
    assert "rows of a shadow" in ran.err


def test_rows_are_promoted_where_they_are_what_the_group_has_committed_and_nowhere_else(
    live: Live, tmp_path: Path
) -> None:
    run, older, target = tmp_path / "run", tmp_path / "older", tmp_path / "new" / "leidan-0"
    assert backfill(run, *live.flags, "--into", "state").code == 0
    live.worker.start()
    while not live.worker.lives():
        time.sleep(0.1)
    ran = live.promote(run, target)
    assert ran.code == Exit.REFUSED, "it runs"
    assert "1 workers run (leidan-0). Stop them" in ran.err
    assert live.worker.stop() == 0, live.worker.tail()
    ran = live.promote_once_alone(run, target)
    assert ran.code == 0, ran.err
    assert "nothing was changed; add --execute" in ran.err
    assert not target.exists()
    ran = live.promote(run, live.worker.state_dir / "leidan-0")
    assert ran.code == Exit.USAGE
    assert "move them aside first" in ran.err
    shutil.copytree(run, older)
    foreign = older / "users" / "0"
    spoil(foreign)
    ran = live.promote(older, target)
    assert ran.code == Exit.REFUSED
    assert "the row of b'" in ran.err
    live.date(0)
    told = live.promote(run, target, "--execute", "--json").summary
    assert (told["promoted"], told["to"]) == (True, str(target))
    assert [one["partition"] for one in told["partitions"]] == list(range(PARTITIONS))
    assert all(one["rows"] > 0 for one in told["partitions"])

    promoted = Worker(live.topics.bootstrap, live.topics.prefix, "leidan-0", tmp_path / "new")
    promoted.databases.parent.parent.mkdir(parents=True)
    shutil.move(target, promoted.databases.parent)
    live.fold(Traffic(9, 30, 200), promoted)
    restored = re.findall(r"restored: (\d+) changelog records", promoted.tail(1_000))
    assert restored == ["0"] * PARTITIONS, "nothing was left to restore"

    ran = live.promote_once_alone(older, target)
    assert ran.code == Exit.REFUSED, "what was folded since is missing in it"
    assert "the group has committed" in ran.err
    assert "--to-committed" in ran.err


def spoil(database: Path) -> None:
    """Change one byte of one row."""
    db = rocksdict.Rdict(str(database), rocksdict.Options(raw_mode=True))
    key, value = next((k, v) for k, v in read_rows_of(db))
    db[key] = value[:-1] + bytes([value[-1] ^ 1])
    db.close()


def read_rows_of(db: Any) -> Any:
    at = db.iter()
    at.seek(b"\1")
    while at.valid():
        yield at.key(), at.value()
        at.next()


def test_a_broker_that_cannot_say_who_runs_is_no_place_to_promote(tmp_path: Path) -> None:
    with EmbeddedBroker().start(world.counts()) as mock:
        where = ["--bootstrap-servers", mock.bootstrap, "--set", "embedded=true"]
        assert backfill(tmp_path / "run", *where, "--into", "state").code == 0
        ran = leidan("backfill", "promote", tmp_path / "run", "--to", tmp_path / "x", *where)
    assert ran.code == Exit.REFUSED
    assert "without that no row is moved" in ran.err

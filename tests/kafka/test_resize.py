"""More partitions: rows brought over under kills, each once, and what is refused beforehand."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from streams.backfill.rekey import home
from streams.errors import Exit
from streams.feed.emitter import RESIZE, Dated, Emitter, Redated
from streams.feed.ports import Outgoing
from streams.store import meta
from streams.topics import topic_configs
from streams.traffic import Traffic
from tests import builders as b
from tests.backfill.world import Ran, leidan, rows
from tests.kafka.harness import PARTITIONS, Topics, wait_drained
from tests.kafka.workers import SAMPLE, Worker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka.cluster import Cluster

pytestmark = pytest.mark.kafka
MORE = 8
KILLS = ("R4:3", "K6:1", "K7:1", "K4:1", "K5:1", "K7:1")
"""While rows are restored; around the commit of definitions; in the transaction; behind it."""


class Sides:
    """A deployment that has folded half of a log, and the topics that are to take its rows."""

    def __init__(self, broker: Cluster, directory: Path) -> None:
        self.old, self.new = (Topics(broker.bootstrap, name) for name in ("rs-old.", "rs-new."))
        self.old.create(broker)
        self.new.create(broker, MORE)
        small = {"batch_records": 60, "session_timeout_ms": 3_000}
        self.worker = Worker(broker.bootstrap, "rs-old.", "leidan-0", directory, settings=small)
        self.directory = directory

    def publish(self) -> None:
        """Put a definition on the old topic: it comes into force in a while."""
        path = self.directory / "next.json"
        when = datetime.now(UTC) + timedelta(seconds=90)
        path.write_text(json.dumps(b.campaign(effective_from=when.isoformat())))
        where = ["--bootstrap-servers", self.old.bootstrap, "--topic-prefix", self.old.prefix]
        ran = leidan("campaign", "publish", path, *where, "--execute")
        assert ran.code == 0, ran.err

    def resize(self, *more: str, **environment: str) -> Ran:
        return leidan(
            "state", "resize", "--bootstrap-servers", self.old.bootstrap,
            "--topic-prefix", self.old.prefix, "--app-id", self.worker.app_id,
            "--to-prefix", self.new.prefix, "--to-app-id", "rs-new-leidan",
            "--state-dir", self.directory, *more, **environment,
        )  # fmt: skip

    def resize_once_alone(self) -> Ran:
        """Try until the stopped worker, a static member, has been forgotten by the group."""
        until_s = time.monotonic() + 30
        while "workers run" in (ran := self.resize()).err:
            assert time.monotonic() < until_s, ran.err
        return ran

    def brought(self) -> list[dict[bytes, bytes]]:
        """Return what a reader of the new changelog gets, by partition; no key comes twice."""
        found: list[dict[bytes, bytes]] = [{} for _ in range(MORE)]
        for one in self.new.read("user-tasks-changelog"):
            assert one.key not in found[one.partition], "written twice"
            found[one.partition][one.key] = one.value
        return found


def test_rows_are_brought_once_however_often_it_is_killed_and_never_too_early(
    broker: Cluster, tmp_path: Path
) -> None:
    sides = Sides(broker, tmp_path)
    log = list(Traffic(8, 100, 600, ("dup", "late")))
    sides.publish()
    sides.worker.start()
    sides.old.send(log[:400])
    wait_drained(sides.old, sides.worker.group)
    ran = sides.resize("--execute")
    assert ran.code == Exit.REFUSED, "it runs"
    assert "1 workers run (leidan-0). Stop them" in ran.err
    assert sides.worker.stop() == 0, sides.worker.tail()

    sides.old.send(log[400:401])  # a shop that has not heard
    ran = sides.resize_once_alone()
    assert ran.code == Exit.REFUSED
    assert "not folded yet" in ran.err
    sides.worker.start()
    wait_drained(sides.old, sides.worker.group)
    assert sides.worker.stop() == 0, sides.worker.tail()

    sides.new.send(log[401:])  # shops may begin there before the rows come
    ran = sides.resize_once_alone()
    assert ran.code == 0, ran.err
    assert "nothing was changed; add --execute" in ran.err
    assert not sides.new.read("user-tasks-changelog")
    for point in KILLS:
        ran = sides.resize("--execute", LEIDAN_KILL=point)
        assert ran.code == -signal.SIGKILL, f"void: {point} did not land\n{ran.err}"
    done = sides.resize("--execute", "--json").summary
    assert done["rows"] is None, "the last kill came behind the commit"
    assert sides.resize("--execute").code == 0
    assert not (tmp_path / "resize").exists()

    require_brought(sides)
    (tmp_path / "new").mkdir()
    new = Worker(broker.bootstrap, "rs-new.", "leidan-0", tmp_path / "new")
    new.start()
    wait_drained(sides.new, new.group)
    assert new.stop() == 0, new.tail()
    require_told_at_the_cut(sides, new, tmp_path)
    ran = sides.resize("--execute")
    assert ran.code == 0, "workers behind it change nothing"
    assert "brought to rs-new.* before" in ran.err
    ran = sides.resize("--execute", "--app-id", "another")
    assert ran.code == Exit.REFUSED
    assert "has rows brought from topics with the prefix 'rs-old.' of app" in ran.err
    ran = sides.resize("--execute", "--topic-prefix", "rs-new.", "--to-prefix", "rs-old.")
    assert ran.code == Exit.REFUSED
    assert "hold records" in ran.err


def test_what_the_broker_dates_by_its_own_clock_is_not_written(broker: Cluster) -> None:
    topics = Topics(broker.bootstrap, "rs-dated.")
    broker.create_topics({"rs-dated.campaigns": (1, topic_configs("campaigns"))})
    emitter = Emitter(broker.bootstrap, "rs-dated", topics.prefix, {}, RESIZE, keeps_time=True)
    record = Outgoing("campaigns", b"three", b"{}", [], 0)
    with pytest.raises(Redated, match=r"rs-dated\.campaigns: the broker dates records"):
        emitter.emit([Dated(record, 1_000)])
    assert topics.read("campaigns") == []
    emitter.emit([record])
    assert [one.key for one in topics.read("campaigns")] == [b"three"], "and it can go on"


def require_brought(sides: Sides) -> None:
    """The new changelog, offsets and definitions are those of the old side, each once."""
    before = rows(sides.worker.databases, range(PARTITIONS))
    found = sides.brought()
    moved: dict[bytes, bytes] = {}
    for q, there in enumerate(found):
        origin = meta.decode_resized(there.pop(meta.RESIZED))
        last = meta.decode_meta(there.pop(meta.META))
        assert (origin.prefix, origin.partitions, origin.rows) == ("rs-old.", 4, len(there))
        assert set(last.next.values()) == {0}
        assert all(home(key, MORE) == q for key in there)
        moved |= there
    assert moved == before, "the same bytes, all of them"
    assert set(sides.new.committed("rs-new-leidan-fold").values()) == {0}
    said = [[(one.key, one.value, one.timestamp_ms) for one in side.read("campaigns")]
            for side in (sides.old, sides.new)]  # fmt: skip
    assert said[0] == said[1], "definitions with the time of their records"
    assert len(said[0]) == 1


def require_told_at_the_cut(sides: Sides, new: Worker, directory: Path) -> None:
    """What reads the log again says that its beginning lies elsewhere; the rows have it all."""
    where = ["--bootstrap-servers", sides.new.bootstrap, "--topic-prefix", sides.new.prefix]
    again, sheet = directory / "again", directory / "sheet.ndjson"
    for verb in (
        ["verify", "--state-dir", again],
        ["backfill", "--state-dir", again, "--into", "state"],
        ["backfill", "--state-dir", again, "--into", "live"],
        ["makegood", "--out", sheet],
    ):
        ran = leidan(*verb, *where)
        assert ran.code == Exit.REFUSED, ran.err
        assert "from 4 partitions of topics with the prefix 'rs-old.'" in ran.err
    assert leidan("export", directory / "kept", *where).code == 0
    ran = leidan("backfill", "--state-dir", again, "--into", "state", "--from-archive",
                 directory / "kept", *where)  # fmt: skip
    assert ran.code == Exit.REFUSED, ran.err
    assert "does not begin with the first transaction" in ran.err
    old_times = [one for one in sides.old.read("orders") if b"order.paid" in one.value]
    user = old_times[0].key.decode()
    rules = ["--campaigns", SAMPLE, *where]
    ran = leidan("explain", user, "--json", "--state-dir", new.state_dir, *rules)
    told = ran.summary
    assert {one["offset"] for one in told["events"] if one["topic"] == "orders"} >= {None}
    assert told["tasks"]
    assert told["differs_from_events"] == []
    ran = leidan("explain", user, "--scan", *rules)
    assert "what users did before lies there alone" in ran.err
    assert leidan("verify", "--state-dir", again, "--campaigns", SAMPLE, "--bootstrap-servers",
                  sides.old.bootstrap, "--topic-prefix", "rs-old.").code == 0  # fmt: skip

"""A backfill is the live fold once more: same rows, same outputs, whatever happens to it.

On the embedded broker; what needs a real one is in tests/kafka/test_backfill.py.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from streams import retail, settings, topics
from streams.backfill import plan as plans
from streams.backfill.archive import Archive
from streams.backfill.frozen import KafkaSource, records
from streams.broker.embedded import EmbeddedBroker
from streams.demo.reading import Reader
from streams.demo.sending import send
from streams.errors import Exit
from streams.store.rows import read_offsets
from streams.ticker import Ticker
from streams.traffic import Traffic
from tests.backfill import world
from tests.backfill.world import PARTITIONS, SAMPLES, backfill, digests, leidan
from tests.cli.conftest import REAL_YEAR
from tests.gates import LONG
from tests.oracle import oracle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY_MS = 86_400_000
TICK_MS = 1_790_000_000_000  # after all of it
KILLS = 10
POINTS = (*(f"K{n}" for n in range(10)), "LOAD", "LOAD")


class World(NamedTuple):
    """A broker with a log that a live worker has folded, and an archive of it."""

    bootstrap: str
    users: Path  # the live rows
    archive: Path
    where: tuple[object, ...]  # flags: the broker and the campaign
    campaign: Path

    @property
    def folded(self) -> tuple[object, ...]:
        return ("--from-archive", self.archive, "--campaigns", self.campaign, "--into", "state")


def reminding(directory: Path) -> Path:
    """A campaign whose tasks end with a notice before they expire."""
    definition = json.loads((SAMPLES / "grocery-3.json").read_text())
    definition["reminders"] = [{"kind": "one_order_left", "before_hours": 48}]
    path = directory / "campaign.json"
    path.write_text(json.dumps(definition))
    return path


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("backfill")
    campaign = reminding(directory)
    with EmbeddedBroker().start(world.counts(shadow="shadow-")) as broker:
        traffic = list(Traffic(5, 150, 1_500, ("dup", "late", "poison")))
        send(broker.bootstrap, traffic)
        ticker = Ticker(broker.bootstrap, PARTITIONS, app_id="test")
        first_ms, last_ms = traffic[0][3], max(sent[3] for sent in traffic)
        for at_ms in (*range(first_ms, last_ms, DAY_MS), TICK_MS):
            ticker.write(at_ms, at_ms)
        world.live(broker.bootstrap, directory / "state", campaign, batch_records=60)
        where = ("--bootstrap-servers", broker.bootstrap, "--set", "embedded=true")
        ran = leidan("export", directory / "archive", *where)
        assert ran.code == 0, ran.err
        broker.assert_nothing_dropped()
        users = directory / "state" / "leidan-0" / "users"
        where = (*where, "--campaigns", campaign)
        yield World(broker.bootstrap, users, directory / "archive", where, campaign)


@pytest.fixture(scope="module")
def whole(log, tmp_path_factory):
    """A backfill that nothing happened to: its directory and summary."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    page = directory.parent / "backfill.prom"
    ran = backfill(directory, *log.where, "--into", "state",
                   "--keep-outputs", "--processes", 1, "--metrics", page)  # fmt: skip
    assert page.read_text().count("rewards_backfill_progress_ratio{") == world.PARTITIONS
    assert page.read_text().count("} 1.0\n") == world.PARTITIONS
    return directory, ran.summary


def test_its_rows_and_outputs_are_the_live_ones_user_by_user(log, whole):
    directory, summary = whole
    live, again = world.rows(log.users), world.rows(directory / "users")
    assert len(live) == summary["rows"] == 150
    said, repeated = world.said_live(log.bootstrap), world.said_again(directory)
    assert sum(map(len, said.values())) > 2_000
    assert {topic for topic, _ in said} == set(world.SAID)
    if summary["order"] == "journal":
        assert again == live
        assert repeated == said
    else:  # another order of arrival: the same state, which the outputs' net is part of
        assert world.canonical(again) == world.canonical(live)


def test_notices_are_never_said_again(log, whole):
    assert world.said_live(log.bootstrap, (topics.NOTIFICATIONS,))
    assert topics.NOTIFICATIONS not in whole[1]["outputs"]


def test_two_processes_an_archive_and_other_units_of_work_give_the_same_digests(
    log, whole, tmp_path
):
    _, summary = whole
    two = backfill(tmp_path / "two", *log.where, "--into", "state",
                   "--processes", 2, "--set", "batch_records=37")  # fmt: skip
    assert digests(two.summary) == digests(summary)
    filed = backfill(tmp_path / "filed", *log.folded, "--set", "batch_records=500")
    assert digests(filed.summary) == digests(summary)


def test_killed_at_ten_random_points_and_resumed_it_ends_at_the_same_digests(log, whole, tmp_path):
    dice = random.Random(6)  # noqa: S311 - faults, not money
    directory, landed, points = tmp_path / "run", 0, []
    # a checkpoint at about every second unit of work, so that each life gets further
    every = ["--checkpoint-records", 70, "--processes", 1]
    flags = ["--set", "batch_records=40", *every, "--keep-outputs"]
    arguments = [*log.folded, *flags]
    while landed < KILLS:
        point = f"{dice.choice(POINTS)}:{dice.randint(1, 4)}"
        ran = backfill(directory, *arguments, LEIDAN_KILL=point)
        assert ran.code == -signal.SIGKILL, f"void: {point} did not land\n{ran.err}"
        landed, points = landed + 1, [*points, point]
        if (directory / "backfill.json").exists():
            arguments = ["--campaigns", log.campaign, *flags[:2], *every, "--resume"]
    left = sum(sum((read_offsets(directory / "users" / str(p)) or {}).values())
               for p in range(PARTITIONS) if (directory / "users" / str(p)).is_dir())  # fmt: skip
    ran = backfill(directory, *arguments)
    assert 0 < ran.summary["folded_now"] < ran.summary["records"], "void: killed too late or early"
    assert left > 0
    assert digests(ran.summary) == digests(whole[1]), points
    assert world.said_again(directory) == world.said_again(whole[0]), "the file was cut and goes on"
    again = backfill(directory, *arguments)
    assert again.summary["folded_now"] == 0
    assert digests(again.summary) == digests(whole[1])


def test_two_processes_killed_at_once_are_resumed_to_the_same_digests(log, whole, tmp_path):
    directory = tmp_path / "run"
    arguments = ["--execute", "--json", "--processes", 2, "--set", "batch_records=20"]
    process = world.start("backfill", "--state-dir", directory, *log.folded, *arguments)
    until_s = time.monotonic() + 30
    while not all((directory / "users" / str(p)).is_dir() for p in range(PARTITIONS)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until_s
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    ran = backfill(directory, "--campaigns", log.campaign, "--resume", "--processes", 2)
    assert digests(ran.summary) == digests(whole[1])


def test_into_shadow_it_writes_what_live_wrote_and_nothing_to_live_topics(log, whole, tmp_path):
    before = log_ends(log.bootstrap)
    ran = backfill(tmp_path / "run", *log.where)
    assert ran.summary["into"] == "shadow"
    assert log_ends(log.bootstrap) == before
    assert digests(ran.summary)["outputs"] == digests(whole[1])["outputs"]
    assert world.rows(tmp_path / "run" / "users") == world.rows(whole[0] / "users")
    shadow = world.said_live(log.bootstrap, prefix="shadow-")
    again = world.said_again(whole[0])
    assert {at: sorted(map(repr, said)) for at, said in shadow.items()} == {
        at: sorted(map(repr, said)) for at, said in again.items()
    }
    second = backfill(tmp_path / "second", *log.where)
    assert second.code == Exit.REFUSED
    assert "of an earlier run: choose another --shadow-prefix" in second.err


def log_ends(bootstrap: str) -> dict[tuple[str, int], tuple[int, int]]:
    with Reader(bootstrap) as reader:
        return {
            (name, p): reader.bounds(name, p)
            for name, count in world.counts().items()
            for p in range(count)
        }


def test_an_export_holds_every_record_of_what_is_folded_byte_for_byte(log):
    archive = Archive(log.archive)
    names = (*topics.FOLDED, topics.CAMPAIGNS, topics.JOURNAL)
    with Reader(log.bootstrap) as reader:
        there = sorted(tuple(one) for one in reader.all_of(names))
    assert len(there) > 2_000
    assert there == sorted(
        (topic, p, one.offset, one.key, one.value, one.headers, one.recorded_at_ms)
        for topic, files in archive.manifest.topics.items()
        for p, file in enumerate(files)
        for one in records(archive, topic, p, file.first, file.next)
    )


def test_what_is_taken_along_is_read_to_its_end_before_its_first_record_is_given(log):
    """What ends it is no record but a marker: its reader would ask for more until then."""
    given = settings.load(None, {"embedded": True, "kafka": {"bootstrap_servers": log.bootstrap}})
    source, readers = KafkaSource(given), []

    class Noted:
        def reader(self, *where):
            readers.append(source.reader(*where))
            return readers[-1]

    low, end = plans.Log(given, None).bounds(topics.REWARDS, 0)
    found = records(Noted(), topics.REWARDS, 0, low, end, at_once=5_000)
    first = next(found)
    assert readers[0].done
    given_ = [first, *found]
    assert len(given_) > 10
    assert given_[-1].offset < end - 1, "void: no marker follows"


# -- what is said of it before and meanwhile ------------------------------------------------------


def test_without_execute_it_shows_the_plan_and_does_nothing(log, tmp_path):
    ran = leidan("backfill", "--state-dir", tmp_path / "run", *log.folded)
    assert ran.code == 0
    assert "partition 0: " in ran.err
    assert "orders 0.." in ran.err
    assert "add --execute to begin" in ran.err
    assert not (tmp_path / "run").exists()


def test_the_plan_as_json_has_the_offsets_of_every_partition_and_topic(log, tmp_path):
    told = leidan("backfill", "--state-dir", tmp_path / "run", *log.folded, "--json").summary
    assert (told["executed"], told["into"]) == (False, "state")
    assert [one["partition"] for one in told["partitions"]] == list(range(PARTITIONS))
    for one in told["partitions"]:
        assert one["ranges"]["orders"]["first"] == 0
        assert one["ranges"]["orders"]["end"] > 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--into", "live", "--order", "time"], "not with --into live"),
        (["--from-time", "2026-01-01T00:00:00"], "no RFC 3339 time with an offset"),
        (["--from-offset", "orders:1"], "write TOPIC:PARTITION:OFFSET"),
        (["--from-offset", "rewards:0:1"], "known are orders, claims"),
        (["--from-offset", "orders:0:99999999"], "the topic ends at"),
        (["--resume"], "no backfill was begun here"),
    ],
)
def test_a_mistake_is_one_clear_message(log, tmp_path, flags, said):
    ran = backfill(tmp_path / "run", *log.where, *flags)
    assert ran.code == Exit.USAGE, ran.err
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_run_is_never_begun_over_another_one_nor_resumed_with_other_definitions(
    log, whole, tmp_path
):
    directory, _ = whole
    ran = backfill(directory, *log.folded)
    assert ran.code == Exit.USAGE
    assert "go on with the run in it: --resume" in ran.err
    other = tmp_path / "other.json"
    other.write_text(log.campaign.read_text().replace("1500", "1400"))
    ran = backfill(directory, "--campaigns", other, "--resume", *log.where[:4])
    assert ran.code == Exit.REFUSED
    assert "campaign files" in ran.err


def test_offsets_that_have_fallen_out_of_retention_are_refused_with_the_fix(tmp_path):
    """5 MiB are kept of a partition here: the oldest orders are gone."""
    with EmbeddedBroker().start(world.counts(1)) as broker:
        noise = random.Random(1)  # noqa: S311
        many = (
            (topics.ORDERS, b"u1", noise.randbytes(100_000), 1_767_571_200_000) for _ in range(80)
        )
        send(broker.bootstrap, many)
        where = ("--bootstrap-servers", broker.bootstrap, "--set", "embedded=true")
        ran = backfill(tmp_path / "run", *where, "--into", "state")
        assert ran.code == Exit.REFUSED
        assert "fallen out of retention" in ran.err
        assert "--from-archive DIR" in ran.err
        low = ran.err.split("now begins at ")[1].split(":")[0]
        assert f"--from-offset orders:0:{low}" in ran.err, "and the other way out, to be copied"
        ran = backfill(tmp_path / "run", *where, "--into", "state", "--from-offset",
                       f"orders:0:{low}")  # fmt: skip
        assert ran.summary["records"] == 80 - int(low)
        assert ran.summary["outcomes"] == {"rejected": 80 - int(low)}


def test_from_a_time_only_what_came_from_then_on_is_folded(log, whole, tmp_path):
    at = "2026-01-20T00:00:00+00:00"
    ran = backfill(tmp_path / "run", *log.where, "--into", "state",
                   "--from-time", at)  # fmt: skip
    assert 0 < ran.summary["records"] < whole[1]["records"]


# -- the real year --------------------------------------------------------------------------------


@LONG
@pytest.mark.slow
@pytest.mark.skipif(not REAL_YEAR.is_dir(), reason="../shared/data/online-retail-2010 is absent")
def test_the_real_year_folded_again_is_the_year_that_was_live(tmp_path):
    campaign, partitions = SAMPLES / "retail-every-3.json", 4
    with EmbeddedBroker().start(world.counts(partitions)) as broker:
        send(broker.bootstrap, retail.load(REAL_YEAR))
        world.live(broker.bootstrap, tmp_path / "state", campaign)
        ran = backfill(
            tmp_path / "run", "--bootstrap-servers", broker.bootstrap, "--set", "embedded=true",
            "--campaigns", campaign, "--into", "state", "--keep-outputs", "--processes", 2,
        )  # fmt: skip
        broker.assert_nothing_dropped()
        said = world.said_live(broker.bootstrap)
    print(f"{ran.summary['events_per_s_a_process']:,.0f} events/s a process")
    every = range(partitions)
    live = world.rows(tmp_path / "state" / "leidan-0" / "users", every)
    again = world.rows(tmp_path / "run" / "users", every)
    assert len(live) > 4_000
    if ran.summary["order"] == "journal":
        assert again == live
        assert world.said_again(tmp_path / "run", every) == said
    assert world.canonical(again) == world.canonical(live)
    net: dict[str, int] = {}
    for (topic, key), entries in world.said_again(tmp_path / "run", every).items():
        if topic == topics.REWARDS:
            kinds = [json.loads(value)["type"] for value, _ in entries]
            due = kinds.count("reward.issued") - kinds.count("reward.revoked")
            if due:
                net[json.loads(key)] = due
    assert net == {user: n for user, n in oracle().rewards.items() if n}

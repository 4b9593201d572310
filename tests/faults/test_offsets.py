"""Logs, offsets and disks that somebody changed behind the worker's back (rows 22, 24, 25, 26).

What can be put right from the changelog is; everything else ends with 78 and words that say what to
do, and once it has been done the same worker goes on as if nothing had happened.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    OffsetSpec,
    ResourceType,
)

from streams.topics import registry, topic_configs
from streams.traffic import Traffic
from tests import checker
from tests.faults.runs import Run, ready
from tests.kafka.aftermath import DEFINITIONS
from tests.kafka.harness import CHANGELOG, PARTITIONS, UNTOUCHED, wait_until

if TYPE_CHECKING:
    from tests.kafka.harness import At
    from tests.kafka.workers import Worker

CHAOS = ("dup", "late", "reorder")
LOG = list(Traffic(25, 150, 1_800, CHAOS))
FIRST, SECOND = LOG[: len(LOG) * 2 // 3], LOG[len(LOG) * 2 // 3 :]


@pytest.fixture
def folded(run: Run) -> Worker:
    """A worker that folded everything there was, and stopped; it leaves its group in a second."""
    run.create().send(FIRST)
    return run.drained_and_stopped(run.worker(session_timeout_ms=1_000))


def lose_the_disk(worker: Worker) -> None:
    shutil.rmtree(worker.databases)


def go_on(run: Run, worker: Worker) -> None:
    """More input; everything must come out as if nothing had been done to it."""
    run.topics.send(SECOND)
    worker.start()
    run.check(worker)


# -- row 25: offsets moved ---------------------------------------------------------------------


def move_offsets(run: Run, worker: Worker, to: dict[At, int]) -> None:
    """As an operator does it, with the group empty."""
    wanted = [
        TopicPartition(run.topics.prefix + topic, p, offset) for (topic, p), offset in to.items()
    ]

    def moved() -> bool:
        asked = [ConsumerGroupTopicPartitions(worker.group, wanted)]
        answer = run.topics.admin.alter_consumer_group_offsets(asked)[worker.group]
        # refused while its static member is still waited for
        return answer.exception(10) is None and all(
            at.error is None for at in answer.result(10).topic_partitions
        )

    wait_until(moved, lambda: "the group to be empty, so that its offsets can be moved", 30)


def at_a_time(run: Run) -> dict[At, int]:
    """Where the orders of half the traffic's time begin."""
    times = sorted(seen.timestamp_ms for seen in run.topics.read("orders"))
    asked = {
        TopicPartition(run.topics.prefix + "orders", p): OffsetSpec.for_timestamp(
            times[len(times) // 2]
        )
        for p in range(PARTITIONS)
    }
    found = run.topics.admin.list_offsets(asked, request_timeout=10)
    return {("orders", tp.partition): future.result().offset for tp, future in found.items()}


@pytest.mark.parametrize("disk", ["kept", "lost"])
@pytest.mark.parametrize("to", ["0", "a-time"])
def test_row25_offsets_moved_by_hand_are_refused_and_work_once_put_back(
    run: Run, folded: Worker, disk: str, to: str
) -> None:
    before = run.topics.committed(folded.group)
    target = dict.fromkeys(before, 0) if to == "0" else at_a_time(run)
    assert any(before[at] != offset for at, offset in target.items()), "void: nothing moves"
    move_offsets(run, folded, target)
    if disk == "lost":
        lose_the_disk(folded)
        run.refused(
            folded, "the changelog was written at offsets", "Put the committed offsets back"
        )
    else:
        run.refused(folded, "ahead of the committed", "Put the offsets back")
    move_offsets(run, folded, before)
    go_on(run, folded)


def test_row25_expired_offsets_go_on_from_the_changelog(run: Run, folded: Worker) -> None:
    def gone() -> bool:
        answer = run.topics.admin.delete_consumer_groups([folded.group])[folded.group]
        return answer.exception(10) is None

    wait_until(gone, lambda: "the group to be empty, so that it can be deleted", 30, 0.5)
    assert run.topics.committed(folded.group) == {}, "void: the offsets are still there"
    go_on(run, folded)
    assert "committed offsets have expired" in folded.log.read_text()


# -- row 26: inputs changed ------------------------------------------------------------------------


def test_row26_input_deleted_before_it_was_read_is_refused(run: Run, folded: Worker) -> None:
    run.topics.send(SECOND)
    ends = run.topics.ends(["orders"])
    asked = [TopicPartition(run.topics.prefix + t, p, end) for (t, p), end in ends.items()]
    for done in run.topics.admin.delete_records(asked).values():
        done.result(30)
    run.refused(folded, "were deleted before they were read", "orders")


def remake(run: Run, name: str) -> None:
    """Delete a topic and make it again, empty, under the same name."""
    full = run.topics.prefix + name
    run.topics.admin.delete_topics([full], operation_timeout=30)[full].result(30)

    def made() -> bool:
        configs = topic_configs(name) | UNTOUCHED.get(name, {})
        try:
            run.broker.create_topics({full: (PARTITIONS, configs)})
        except KafkaException:  # it is still being deleted
            return False
        return True

    wait_until(made, lambda: f"{full} to be gone and made again", 30, 0.5)


def test_row26_an_input_topic_made_again_is_refused(run: Run, folded: Worker) -> None:
    remake(run, "orders")
    run.refused(folded, "topic orders was deleted and made again")


@pytest.mark.parametrize("grown", ["orders", "every-topic"])
def test_row26_added_partitions_are_refused(run: Run, folded: Worker, grown: str) -> None:
    every = [name for name, topic in registry().items() if topic.partitions == "N"]
    names = ["orders"] if grown == "orders" else every
    wanted = [NewPartitions(run.topics.prefix + name, PARTITIONS + 2) for name in names]
    for done in run.topics.admin.create_partitions(wanted, operation_timeout=30).values():
        done.result(30)
    said = "unequal partition counts" if grown == "orders" else f"with {PARTITIONS} partitions"
    run.refused(folded, said)


# -- row 24: the changelog -------------------------------------------------------------------------


def rows_of(worker: Worker) -> dict[bytes, bytes]:
    return {
        key: value
        for database in checker.open_databases(worker.databases)
        for key, value in database.rows.items()
    }


def test_row24_a_restore_from_nothing_ends_at_a_marker(run: Run, folded: Worker) -> None:
    """What stands last is a transaction's marker: the end is a position, never a record."""
    ends = run.topics.ends([CHANGELOG])
    last = {(seen.topic, seen.partition): seen.offset for seen in run.topics.read(CHANGELOG)}
    assert all(ends[at] > offset + 1 for at, offset in last.items()), "void: a record stands last"
    lose_the_disk(folded)
    go_on(run, folded)


def test_row24_an_empty_changelog_is_a_first_start_however_often(run: Run) -> None:
    run.create()
    worker = run.worker()
    for _ in range(3):
        worker.start()
        ready(worker)
        assert worker.stop() == 0
    run.topics.send(FIRST)
    worker.start()
    run.check(worker)


def test_row24_a_changelog_with_compacted_holes_restores_every_row(
    run: Run, folded: Worker
) -> None:
    before = rows_of(folded)
    records = len(run.topics.read(CHANGELOG))
    compact(run)
    wait_until(
        lambda: len(run.topics.read(CHANGELOG)) < records * 3 // 4,
        lambda: f"the cleaner to make holes in {records} changelog records",
        90,
        1.0,
    )
    lose_the_disk(folded)
    run.drained_and_stopped(folded)
    assert rows_of(folded) == before
    # Compacted, the changelog is no history any more: the ledger is judged by the set model.
    run.topics.send(SECOND)
    run.drained_and_stopped(folded)
    evidence = checker.gather(run.topics, folded.group, changelog=None)
    checker.check(evidence, DEFINITIONS).require_clean()


def compact(run: Run) -> None:
    """Let the cleaner at what is there: tiny segments, no lag, dirty at once."""
    wanted = {
        "min.compaction.lag.ms": "0",
        "min.cleanable.dirty.ratio": "0.01",
        "segment.ms": "500",
        "delete.retention.ms": "100",
    }
    entries = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        for key, value in wanted.items()
    ]
    resource = ConfigResource(
        ResourceType.TOPIC, run.topics.prefix + CHANGELOG, incremental_configs=entries
    )
    for done in run.topics.admin.incremental_alter_configs([resource]).values():
        done.result(30)
    write(run, [(b"u-nobody", None)])  # rolls the segment once its time is over


def write(run: Run, rows: list[tuple[bytes, bytes | None]]) -> None:
    """Write rows of users nobody knows straight to every partition of the changelog."""
    producer = Producer({"bootstrap.servers": run.topics.bootstrap})
    for p in range(PARTITIONS):
        for key, value in rows:
            producer.produce(run.topics.prefix + CHANGELOG, value, key, partition=p)
    assert producer.flush(30) == 0


def test_row24_a_tombstone_at_the_very_end_is_a_deletion_and_an_end(
    run: Run, folded: Worker
) -> None:
    before = rows_of(folded)
    write(run, [(b"u-nobody", b"\x01nothing"), (b"u-nobody", None)])
    lose_the_disk(folded)
    run.drained_and_stopped(folded)
    assert rows_of(folded) == before


@pytest.mark.parametrize(
    ("disk", "said"),
    [("kept", "user-tasks-changelog was deleted and made again"), ("lost", "changelog was lost")],
    ids=["kept", "lost"],
)
def test_row24_a_lost_changelog_is_refused_and_never_started_empty(
    run: Run, folded: Worker, disk: str, said: str
) -> None:
    remake(run, CHANGELOG)
    if disk == "lost":
        lose_the_disk(folded)
    run.refused(folded, said)
    assert run.topics.read(CHANGELOG) == []


# -- row 22: the disk ------------------------------------------------------------------------------


def test_row22_a_lost_disk_is_rebuilt_to_the_same_rows(run: Run, folded: Worker) -> None:
    before = rows_of(folded)
    assert len(before) > 100, "void: there are no rows"
    lose_the_disk(folded)
    run.drained_and_stopped(folded)
    assert rows_of(folded) == before
    go_on(run, folded)


def test_row22_an_old_copy_of_the_disk_put_back_catches_up(run: Run, folded: Worker) -> None:
    copy = folded.databases.with_name("copy")
    shutil.copytree(folded.databases, copy)
    run.topics.send(SECOND)
    run.drained_and_stopped(folded)
    newest = rows_of(folded)
    lose_the_disk(folded)
    copy.rename(folded.databases)
    assert rows_of(folded) != newest, "void: the copy was not old"
    run.drained_and_stopped(folded)
    assert rows_of(folded) == newest
    folded.start()
    run.check(folded)


def test_row22_databases_of_other_partitions_are_refused(run: Run, folded: Worker) -> None:
    for name in ("{}", "{}.identity.json"):
        zero, one = (folded.databases / name.format(p) for p in (0, 1))
        spare = zero.with_name("spare")
        zero.rename(spare)
        one.rename(zero)
        spare.rename(one)
    run.refused(folded, "rows of partition", "Somebody moved directories")

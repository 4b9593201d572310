"""Rows 4 and 10 of the fault matrix: brokers that stop, die and come back, one and three."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from streams.traffic import Traffic
from tests import checker
from tests.faults.fleet import HEAL_S
from tests.faults.network import Run, behind_proxies
from tests.kafka.harness import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.kafka.cluster import Cluster


AWAY_S = 90.0


@pytest.fixture(scope="module")
def one(kafka_jars: Path) -> Iterator[Cluster]:  # noqa: ARG001 - fetched, or skipped, first
    with behind_proxies(1) as (cluster, _proxies):
        yield cluster


@pytest.fixture(scope="module")
def three(kafka_jars: Path) -> Iterator[Cluster]:  # noqa: ARG001 - likewise
    with behind_proxies(3) as (cluster, _proxies):
        yield cluster


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def begin(cluster: Cluster, name: str, seed: int, orders: int, per_s: float) -> Run:
        runs.append(Run(cluster, name, tmp_path))
        runs[0].begin(Traffic(seed, orders // 10, orders), per_s)
        return runs[0]

    yield begin
    for run in runs:
        run.close()


def stopped(cluster: Cluster, i: int) -> None:
    cluster.stop(i)
    assert not cluster.running(i)


def killed(cluster: Cluster, i: int) -> None:
    cluster.kill(i)
    assert not cluster.running(i)


def asleep(cluster: Cluster, i: int) -> None:
    """Silent for longer than every call may take, then as if nothing had been."""
    os.kill(cluster.pid(i), signal.SIGSTOP)
    time.sleep(14)
    os.kill(cluster.pid(i), signal.SIGCONT)


@pytest.mark.parametrize("end", [stopped, killed, asleep], ids=["SIGTERM", "kill-9", "SIGSTOP"])
def test_row04_work_resumes_after_the_broker_was_away(
    one: Cluster, begun: Callable[..., Run], end: Callable[[Cluster, int], None]
) -> None:
    run = begun(one, f"away-{end.__name__}", 401, 8_000, 200)
    for _ in range(2):
        end(one, 0)
        if not one.running(0):
            one.restart(0)
        print(f"{end.__name__}: healed after {run.healed():.1f} s")
    assert run.restarts.total() <= 6, "a fault costs at most 3 restarts, these were two"
    run.finish()


def test_row04_work_resumes_after_all_brokers_were_away_for_90_s(
    one: Cluster, begun: Callable[..., Run]
) -> None:
    run = begun(one, "all-away", 402, 20_000, 200)
    killed(one, 0)
    run.rest(AWAY_S)
    one.restart(0)
    print(f"healed after {run.healed():.1f} s; restarts {dict(run.restarts)}")
    assert run.restarts.total() <= 3, "a fault costs at most 3 restarts"
    run.finish()


# -- three brokers: three copies, two must have a record -------------------------------------------


@pytest.mark.parametrize("end", [stopped, killed], ids=["SIGTERM", "kill-9"])
def test_row10_every_broker_is_bounced_whatever_it_leads(
    three: Cluster, begun: Callable[..., Run], end: Callable[[Cluster, int], None]
) -> None:
    """Each in turn: so the leader of every partition moves, and coordinators and controller too."""
    run = begun(three, f"bounce-{end.__name__}", 101, 60_000, 150)
    for i in range(3):
        before = run.restarts.copy()
        end(three, i)
        began_s = time.monotonic()
        noticed(run, 2)
        run.healed(HEAL_S - (time.monotonic() - began_s))
        away_s = time.monotonic() - began_s
        three.restart(i)
        noticed(run, 3)
        back_s = run.healed()
        cost = run.restarts - before
        print(f"broker {i} gone: healed after {away_s:.1f} s; back: {back_s:.1f} s; {dict(cost)}")
        assert cost.total() <= 3, "a fault costs at most 3 restarts"
    said = run.worker.log.read_text(errors="replace")
    assert "has outlasted every limit" not in said, "a call hung, and another limit ended it"
    run.finish()


def noticed(run: Run, brokers: int) -> None:
    """Wait until the others know; a commit counted after this was not made before the fault."""

    def known() -> bool:
        with contextlib.suppress(KafkaException):
            return len(run.topics.admin.list_topics(timeout=5).brokers) == brokers
        return False

    run.until(known, f"{brokers} brokers", 60)
    run.rest(2)  # the worker's stats are a second old at most


def test_row10_nothing_is_in_rocksdb_while_the_changelog_lacks_replicas(
    three: Cluster, begun: Callable[..., Run]
) -> None:
    """All three copies are demanded of the changelog, then one broker goes."""
    run = begun(three, "min-isr", 102, 60_000, 150)
    name = run.topics.prefix + "user-tasks-changelog"
    entry = ConfigEntry("min.insync.replicas", "3", incremental_operation=AlterConfigOpType.SET)
    wanted = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    run.topics.admin.incremental_alter_configs([wanted])[wanted].result(30)
    killed(three, 2)
    noticed(run, 2)
    run.until(lambda: run.count("aborted") >= 1, "an abort", 90)
    stands = run.topics.committed(run.worker.group)
    for _ in range(5):
        run.rest(2)
        require_rocksdb_is_not_ahead(run, stands)
    print(f"aborted while the replica was away: {run.count('aborted')}; {reasons(run)}")
    three.restart(2)
    print(f"healed after {run.healed():.1f} s; restarts {dict(run.restarts)}")
    assert run.restarts.total() <= 3, "a fault costs at most 3 restarts"
    assert run.topics.committed(run.worker.group) != stands, "work has resumed"
    run.finish()


def require_rocksdb_is_not_ahead(run: Run, stands: dict[tuple[str, int], int]) -> None:
    """I8 of a living worker: L <= C, and C `stands` still, for no transaction may commit now."""
    databases = checker.open_databases(run.worker.databases)
    committed = run.topics.committed(run.worker.group)
    assert committed == stands, "acknowledged a commit whose records too few brokers have"
    vectors = {one.partition: one.next for one in databases if one.next is not None}
    assert len(vectors) == PARTITIONS, f"void: looked into {sorted(vectors)} only"
    for p, vector in vectors.items():
        for topic, offset in vector.items():
            c = committed.get((topic, p), 0)
            assert offset <= c, f"{topic}[{p}]: L {offset} is ahead of C {c}"


def reasons(run: Run) -> Counter[str]:
    """Why transactions were aborted, in the worker's words."""
    said = run.worker.log.read_text(errors="replace").splitlines()
    return Counter(
        line.partition("transaction aborted: ")[2] for line in said if "transaction aborted" in line
    )

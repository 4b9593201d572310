"""The real broker does what its tests will lean on: transactions, restarts, and dying with us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.gates import FAULTS
from tests.kafka import cluster as cluster_module
from tests.kafka.cluster import INSTALL, Cluster, ClusterError, KafkaMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from confluent_kafka.admin import PartitionMetadata

TIMEOUT_S = 20.0
SCRIPT = Path(cluster_module.__file__)
ROOT = SCRIPT.parents[2]


def transactional(bootstrap: str, name: str) -> Producer:
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": name,
            "message.max.bytes": 12_000_000,
            "retry.backoff.ms": 10,
        }
    )
    producer.init_transactions(TIMEOUT_S)
    return producer


def consumer_of(bootstrap: str, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )


def values(bootstrap: str, topic: str) -> list[bytes]:
    """What a read_committed reader is shown of partition 0, up to its end."""
    reader = consumer_of(bootstrap, "reader")
    try:
        reader.assign([TopicPartition(topic, 0, 0)])
        shown = []
        while (message := reader.poll(TIMEOUT_S)) is not None:
            if message.error():
                return shown
            shown.append(message.value())
        raise AssertionError(f"{topic}[0] did not come to its end")
    finally:
        reader.close()


def committed(bootstrap: str, group: str, topic: str) -> int:
    """Where the group is; a broker that has just started is its coordinator a little later."""
    reader = consumer_of(bootstrap, group)
    until = time.monotonic() + TIMEOUT_S
    try:
        while True:
            try:
                return reader.committed([TopicPartition(topic, 0)], TIMEOUT_S)[0].offset
            except KafkaException as error:
                away = error.args[0].code() == KafkaError.NOT_COORDINATOR
                if not away or time.monotonic() > until:
                    raise
                time.sleep(0.1)
    finally:
        reader.close()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """No such process, or a dead one that nobody has waited for (its parent is gone)."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def running_in(folder: Path) -> list[int]:
    """Processes whose working directory is this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is not ours to look at
            if (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
    return found


@pytest.mark.kafka
def test_transactions_hold_and_outlive_a_restart(broker: Cluster) -> None:
    """What the mock cluster cannot do: aborted unseen, fenced kept out, offsets come along."""
    source, target = "restart-orders", "restart-rewards"
    broker.create_topics({source: (6, {}), target: (1, {})})
    producer = transactional(broker.bootstrap, "restart")
    producer.begin_transaction()
    producer.produce(target, b"aborted", partition=0)
    assert producer.flush(TIMEOUT_S) == 0
    producer.abort_transaction(TIMEOUT_S)

    consumer = consumer_of(broker.bootstrap, "restart")
    consumer.subscribe([source])
    wait_until(lambda: bool(consumer.poll(0.1) and consumer.assignment()), "no assignment")
    assert len(consumer.assignment()) == 6
    producer.begin_transaction()
    producer.produce(target, b"committed", partition=0)
    producer.send_offsets_to_transaction(
        [TopicPartition(source, 0, 7)], consumer.consumer_group_metadata(), TIMEOUT_S
    )
    producer.commit_transaction(TIMEOUT_S)
    consumer.close()

    producer.begin_transaction()
    producer.produce(target, b"fenced", partition=0)
    assert producer.flush(TIMEOUT_S) == 0
    second = transactional(broker.bootstrap, "restart")  # the same id: fences the first
    with pytest.raises(KafkaException, match="_FENCED"):
        producer.commit_transaction(TIMEOUT_S)
    second.begin_transaction()
    second.produce(target, b"after", partition=0)
    second.commit_transaction(TIMEOUT_S)

    before = broker.bootstrap
    broker.restart()
    assert broker.bootstrap == before
    assert values(broker.bootstrap, target) == [b"committed", b"after"]
    assert committed(broker.bootstrap, "restart", source) == 7


@pytest.mark.kafka
def test_committed_records_survive_kill_9_and_a_restart_from_a_thread(broker: Cluster) -> None:
    """A nemesis runs in a thread of its own, and the broker it restarts outlives that thread."""
    topic = "kill-rewards"
    broker.create_topics({topic: (1, {})})
    producer = transactional(broker.bootstrap, "kill")
    producer.begin_transaction()
    producer.produce(topic, b"committed", partition=0)
    producer.commit_transaction(TIMEOUT_S)
    killed = broker.pid()

    def nemesis() -> None:
        broker.kill()
        broker.restart()

    thread = threading.Thread(target=nemesis)
    thread.start()
    thread.join()
    assert gone(killed)
    assert broker.pid() != killed
    assert values(broker.bootstrap, topic) == [b"committed"]


@pytest.mark.kafka
def test_ten_megabytes_get_in_and_unmade_topics_do_not_appear(broker: Cluster) -> None:
    """Poison of 10 MB can be produced (fault 17); a mistyped topic is an error."""
    topic = "poison-orders"
    broker.create_topics({topic: (1, {})})
    producer = transactional(broker.bootstrap, "poison")
    producer.begin_transaction()
    producer.produce(topic, os.urandom(10_000_000), partition=0)
    producer.commit_transaction(TIMEOUT_S)
    assert [len(value) for value in values(broker.bootstrap, topic)] == [10_000_000]

    asking = consumer_of(broker.bootstrap, "typo")
    with pytest.raises(KafkaException, match=r"UNKNOWN_TOPIC_OR_PART|UNKNOWN_PARTITION"):
        asking.get_watermark_offsets(TopicPartition("poison-ordres", 0), timeout=TIMEOUT_S)
    asking.close()


@pytest.mark.kafka
def test_compacted_topics_are_compacted_within_a_test_s_patience(broker: Cluster) -> None:
    """Fault 24 needs a changelog with holes: the old rows of a key go while the test waits."""
    topic = "compact-changelog"
    config = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"}
    broker.create_topics({topic: (1, config)})
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for n in range(40):  # 4 MB: a handful of closed segments of 1 MiB
        producer.produce(topic, os.urandom(100_000), key=b"user %d" % (n % 2), partition=0)
        assert producer.flush(TIMEOUT_S) == 0
    wait_until(lambda: len(values(broker.bootstrap, topic)) < 20, "the cleaner did not come")


@pytest.mark.kafka
def test_starting_twice_is_refused_and_changes_nothing(broker: Cluster) -> None:
    before = broker.pid()
    with pytest.raises(ClusterError, match="already started"):
        broker.start()
    assert broker.pid() == before


@pytest.mark.kafka
def test_a_broker_that_cannot_start_tells_the_end_of_its_log(kafka_jars: Path) -> None:
    assert kafka_jars.is_dir()
    with pytest.raises(ClusterError, match=r"(?s)could not format.*num\.io\.threads"):
        Cluster().start(settings={"num.io.threads": "none"})


@pytest.mark.kafka
@pytest.mark.slow
def test_run_keeps_its_data_and_leaves_no_broker_behind(kafka_jars: Path, tmp_path: Path) -> None:
    """kill -9 of whoever started a broker ends it too; Ctrl-C ends both, cleanly."""
    assert kafka_jars.is_dir()
    port = cluster_module.free_ports(1)[0]
    data = tmp_path / "a folder with spaces"
    command = [sys.executable, str(SCRIPT), "run", "--port", str(port), "--data", str(data)]

    @contextlib.contextmanager
    def run() -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(command, stdout=PIPE, stderr=DEVNULL, text=True) as runner:
            try:
                assert runner.stdout is not None
                assert runner.stdout.readline() == f"bootstrap 127.0.0.1:{port}\n"
                yield runner
                runner.wait(TIMEOUT_S)
            finally:
                runner.kill()

    with run() as runner:
        (broker,) = running_in(data / "broker-0")
        producer = transactional(f"127.0.0.1:{port}", "run")
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
        admin.create_topics([NewTopic("run-rewards", 1, 1)])["run-rewards"].result(TIMEOUT_S)
        producer.begin_transaction()
        producer.produce("run-rewards", b"kept", partition=0)
        producer.commit_transaction(TIMEOUT_S)
        del producer, admin  # they would log the end of the broker
        runner.kill()
    try:
        wait_until(lambda: gone(broker), "the broker outlived the kill -9 of its parent")
    finally:
        if not gone(broker):  # a failed test leaves none behind either
            os.kill(broker, signal.SIGKILL)

    with run() as runner:
        (broker,) = running_in(data / "broker-0")
        assert values(f"127.0.0.1:{port}", "run-rewards") == [b"kept"]
        runner.send_signal(signal.SIGINT)
    assert runner.returncode == 0
    assert gone(broker)
    told = (data / "broker-0" / "broker.log").read_text()
    assert "shut down completed" in told.rsplit("Kafka Server started", 1)[1]


@pytest.mark.kafka
@FAULTS
def test_three_brokers_lose_one_and_nothing_committed(kafka_jars: Path) -> None:
    """The leader goes down hard: the other two commit, and it catches up when it is back."""
    assert kafka_jars.is_dir()
    with Cluster().start(brokers=3) as three:
        three.create_topics({"rewards": (1, {})})
        admin = AdminClient({"bootstrap.servers": three.bootstrap, "log_level": 0})

        def partition() -> PartitionMetadata:
            return admin.list_topics(timeout=TIMEOUT_S).topics["rewards"].partitions[0]

        assert sorted(partition().isrs) == [0, 1, 2]
        producer = transactional(three.bootstrap, "three")
        leader = partition().leader
        for n in range(2):
            producer.begin_transaction()
            producer.produce("rewards", b"%d" % n, partition=0)
            producer.commit_transaction(60)
            if n == 0:
                three.kill(leader)
        three.restart(leader)
        wait_until(lambda: sorted(partition().isrs) == [0, 1, 2], "it did not catch up")
        assert values(three.bootstrap, "rewards") == [b"0", b"1"]


def test_a_machine_without_java_skips_by_name_and_fails_where_kafka_is_required(
    tmp_path: Path,
) -> None:
    bare = {**os.environ, "PATH": str(tmp_path)}
    bare.pop("JAVA_HOME", None)
    bare.pop("LEIDAN_REQUIRE", None)
    one_test = f"{__file__}::test_starting_twice_is_refused_and_changes_nothing"
    pytest_run = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", one_test]

    def run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60
        )

    skipped = run(pytest_run, bare)
    assert (skipped.returncode, "1 skipped" in skipped.stdout) == (0, True), skipped.stdout
    assert INSTALL in skipped.stdout
    required = run(pytest_run, {**bare, "LEIDAN_REQUIRE": "promtool, kafka"})
    assert required.returncode == 1, required.stdout
    assert INSTALL in required.stdout
    for verb in ("fetch", "run"):
        told = run([sys.executable, str(SCRIPT), verb], bare)
        assert told.returncode == 2
        assert told.stderr == f"kafka: real Kafka needs Java 17, none is installed: {INSTALL}\n"


def test_an_interrupted_fetch_is_never_taken_for_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maven that copies half and fails: nothing in place; the next one starts afresh."""
    program = tmp_path / "bin" / "mvn"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(cluster_module, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(cluster_module, "requirements", lambda _jars: None)
    jars = tmp_path / "cache" / f"kafka-{cluster_module.VERSION}"

    def maven(name: str, code: int) -> None:
        program.write_text(
            "#!/bin/sh\n"
            'for a; do case "$a" in -DoutputDirectory=*) to="${a#*=}";; esac; done\n'
            f'mkdir -p "$to" && : > "$to/{name}"\n'
            f"echo '[ERROR] no route to the repository'; exit {code}\n"
        )
        program.chmod(0o755)

    maven("half.jar", 1)
    with pytest.raises(KafkaMissing, match="no route to the repository"):
        cluster_module.fetch()
    maven("other.jar", 0)  # a Maven that says all is well, and Kafka is not there
    with pytest.raises(KafkaMissing):
        cluster_module.fetch()
    assert not jars.exists()
    maven(f"kafka_2.13-{cluster_module.VERSION}.jar", 0)
    assert cluster_module.fetch() == jars
    assert [jar.name for jar in jars.iterdir()] == [f"kafka_2.13-{cluster_module.VERSION}.jar"]
    maven("again.jar", 1)
    assert cluster_module.fetch() == jars, "what is there is not fetched again"

"""Kafka Streams, exactly_once_v2, one thread, RocksDB with a changelog; in Java (tests/bench/java).

It folds what the workload `paid` has, order by order, with the same outputs byte for byte, headers
too; its row keeps of an order what a later return of one of its lines is judged by, as leidan's
does. Its first sign of work is an event taken, its last the end of the last commit, which it asks
for as soon as all is read. Its processor time includes the JVM's compiler and collector. Before it
is measured it drains the same input some times over, in the same process under other names, until
what runs is compiled.

Twice, since its commit interval is one number for an idle log and for a backlog. With 1,000 ms it
is tuned for the backlog that is timed here, and a reward is visible half a second after its order
or later; with 100 ms, its own default for exactly_once_v2, it does what is asked of leidan's
latency (p50 below 100 ms) as well, with the settings that it is timed with. Leidan's is one worker
in both cases.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.engines import Engine, Given, Took, own
from tests.bench.sampling import Sampler
from tests.kafka import cluster
from tests.kafka.harness import wait_settled, wait_until
from tests.kafka.workers import Process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME = "kafka-streams"
SOURCES = Path(__file__).resolve().parents[1] / "java"
JARS = cluster.Jars("Kafka Streams", SOURCES / "pom.xml", "kafka-streams", 99)

JVM = ("-Xms1g", "-Xmx1g", "-XX:+UseParallelGC", "-XX:+ExitOnOutOfMemoryError")
TUNED = {
    "commit.interval.ms": 1_000,
    "statestore.cache.max.bytes": 256 << 20,
    "buffered.records.per.partition": 10_000,
    "consumer.max.poll.records": 5_000,
    "consumer.max.partition.fetch.bytes": 4 << 20,
    "producer.compression.type": "lz4",
    "producer.batch.size": 256 << 10,
    "producer.linger.ms": 100,
    "producer.buffer.memory": 128 << 20,
}
PROMPT_NAME = f"{NAME}-100ms"
PROMPT = {**TUNED, "commit.interval.ms": 100}
WARM_UP_EVENTS = 300_000  # its processor time an event falls until about there
LEAST_TIMED = 20_000  # with fewer there is nothing to time, and nothing to be warm for


def missing() -> str:
    """Say why it cannot run here; the first time it is fetched and compiled for that."""
    try:
        compiled()
    except cluster.KafkaMissing as lacks:
        return str(lacks)
    return ""


def run(
    given: Given,
    jvm: Sequence[str] = JVM,
    tuned: Mapping[str, str | int] = TUNED,
    name: str = NAME,
) -> Took:
    """Drain the topics and end; it notes the first transaction and the last itself."""
    topics = given.topics
    classes = compiled()
    stats = given.directory / "stats.json"
    warm_ups = -(-WARM_UP_EVENTS // given.events) if given.events >= LEAST_TIMED else 0
    command = [str(cluster.java_command()), *(jvm if warm_ups else (*jvm, cluster.ONE_COMPILER))]
    command += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath(classes), "Main"]
    command += ["--bootstrap-servers", topics.bootstrap, "--topic-prefix", topics.prefix]
    command += ["--app-id", f"{topics.prefix}{name}".replace(".", "-")]
    command += ["--outputs", f"{topics.prefix}{name}-", "--state-dir", str(given.directory)]
    command += ["--campaign", str(given.work.campaign), "--stats-file", str(stats)]
    command += ["--warm-ups", str(warm_ups)]
    for setting, value in tuned.items():
        command += ["--set", f"{setting}={value}"]
    streams = Process(name, command, given.directory / "streams.log")
    try:
        streams.start()
        used = Sampler(streams.pid)
        wait_until(
            lambda: not streams.running,
            lambda: f"{name} to drain the input\n{streams.tail()}",
            given.limit_s * (1 + warm_ups),
        )
        assert streams.ended() == 0, f"{name} ended with {streams.ended()}\n{streams.tail()}"
        used.stop()
    finally:
        streams.close()
    wait_settled(topics, (own(name)["ledger"],))
    found = json.loads(stats.read_text())
    more = {count: found[count] for count in ("transactions", "known", "conflicts", "rejected")}
    return Took.noted(found, used, **more)


def compiled() -> Path:
    """Folder of the compiled peer in the cache, one for each state of its sources.

    By a compiler that is itself a jar: what runs Kafka may have no javac. Raises KafkaMissing.
    """
    jars = cluster.fetch(JARS)
    sources = sorted(SOURCES.glob("*.java"))
    state = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    classes = cluster.CACHE / f"{JARS.folder.name}-classes-{state}"
    if classes.is_dir():
        return classes
    partial = classes.with_name(f"{classes.name}.{os.getpid()}")
    (ecj,) = jars.glob("ecj-*.jar")
    command = [str(cluster.java_command()), cluster.ONE_COMPILER, "-cp", str(ecj)]
    command += ["org.eclipse.jdt.internal.compiler.batch.Main", "-17", "-proc:none", "-nowarn"]
    command += ["-cp", classpath(), "-d", str(partial), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    try:
        partial.rename(classes)
    except OSError:  # another process was first
        shutil.rmtree(partial)
    return classes


def classpath(*more: Path) -> str:
    return os.pathsep.join(map(str, [*more, *sorted(JARS.folder.glob("*.jar"))]))


def _settings(tuned: Mapping[str, str | int]) -> str:
    return " ".join((*JVM[:3], *(f"{name}={value}" for name, value in tuned.items())))


def _prompt(given: Given) -> Took:
    return run(given, tuned=PROMPT, name=PROMPT_NAME)


ENGINE = Engine(
    NAME, run, _settings(TUNED), missing=missing, sustained=True, only="paid", **own(NAME)
)
PROMPT_ENGINE = Engine(
    PROMPT_NAME, _prompt, _settings(PROMPT), missing=missing, sustained=True, only="paid",
    **own(PROMPT_NAME),
)  # fmt: skip

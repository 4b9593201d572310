"""Real Kafka for the tests (D11): one or three KRaft brokers from Maven Central's jars.

    with Cluster().start(brokers=1) as cluster:
        cluster.create_topics({"orders": (6, {}), "changelog": (6, {"cleanup.policy": "compact"})})
        Producer({"bootstrap.servers": cluster.bootstrap})
        cluster.kill(0)
        cluster.restart(0)

    python tests/kafka/cluster.py fetch                            the jars, once, 43 MB
    python tests/kafka/cluster.py run [--port 9092] [--data DIR]   a broker in the foreground

Every run has ports and a data directory of its own and ends only the processes it started. They end
with it: a broker dies with the process that started it, even when that one is killed with -9.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import functools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self
from xml.etree import ElementTree as ET

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache"
POM = HERE / "pom.xml"
VERSION = str(ET.parse(POM).findtext(".//{*}kafka.version"))  # noqa: S314 - our own file

INSTALL = "apt-get install -y openjdk-17-jre-headless maven"
JAVA_MAJOR = 17  # Kafka 4 brokers refuse older ones

FETCH_LIMIT_S = 900.0
START_LIMIT_S = 90.0  # up in 4 s on two idle cores
STOP_LIMIT_S = 20.0  # a clean stop takes 2 s

# Below the range the kernel hands to outgoing connections (32768 up): while a broker is down, a
# client that knocks at its port must be refused, not given that very port and connected to itself.
PORTS = range(20_000, 30_000)

# Heap and processors as in reliability.md 7: three brokers must fit on two cores.
JVM = (
    "-Xmx512m",
    "-XX:ActiveProcessorCount=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)

# A broker of a few minutes is warm before Java's second compiler has paid for itself: without it a
# start takes 3.3 s of processor instead of 5.9 s. Those that are measured, or last, have both.
ONE_COMPILER = "-XX:TieredStopAtLevel=1"

# What every broker here has; `Cluster.start(settings=...)` overrides. Source: reliability.md 7.
SETTINGS: dict[str, str | int] = {
    "auto.create.topics.enable": "false",
    "group.min.session.timeout.ms": 1000,
    "group.initial.rebalance.delay.ms": 0,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    "log.cleaner.backoff.ms": 1000,
    "log.cleaner.dedupe.buffer.size": 8 * 1024**2,  # 128 MiB of a 512 MiB heap otherwise
    # Poison of 10 MB must get in. A batch larger than a segment is refused too, so segments are
    # larger than reliability.md's 1 MiB; `create_topics` gives that to compacted topics, whose
    # cleaner touches closed segments only.
    "message.max.bytes": 12 * 1024**2,
    "replica.fetch.max.bytes": 12 * 1024**2,
    "log.segment.bytes": 16 * 1024**2,
    # 50 each by default: seconds of start for nothing here.
    "offsets.topic.num.partitions": 5,
    "transaction.state.log.num.partitions": 5,
    # A killed broker may not come back before its session is over: 9 s by default, measured 12 s
    # from start to ready after kill -9, and 5 s with these.
    "broker.session.timeout.ms": 3000,
    "broker.heartbeat.interval.ms": 500,
}
COMPACTED_SEGMENT_BYTES = 1024**2  # the smallest Kafka 4 allows


PROXIED = ("CLIENT", "BROKER")
Through = Callable[[int, str, int], int]
"""Given a broker, a listener of PROXIED and the port it listens on: the port of the proxy."""


class KafkaMissing(RuntimeError):
    """This machine cannot run real Kafka; the message is one sentence with what to install."""


class ClusterError(RuntimeError):
    """A broker did not do what it was told; the message has the end of its log."""


@dataclass(frozen=True)
class Jars:
    """Jars that Maven copies: those of a pom and what they need.

    name: what they are to people and, with the version, their folder in the cache. artifact: its
    jar proves the copy. mb: what there is to download.
    """

    name: str
    pom: Path
    artifact: str
    mb: int

    @property
    def version(self) -> str:
        return str(ET.parse(self.pom).findtext(".//{*}kafka.version"))  # noqa: S314 - our own file

    @property
    def folder(self) -> Path:
        return CACHE / f"{self.name.lower().replace(' ', '-')}-{self.version}"


BROKER = Jars("Kafka", POM, "kafka_2.13", 43)


def requirements(wanted: Jars = BROKER) -> str | None:
    """Why real Kafka cannot run here, or None if it can: for skips, by name. Starts no download."""
    java = java_command()
    if java is None:
        return f"real Kafka needs Java {JAVA_MAJOR}, none is installed: {INSTALL}"
    major = _java_major(java)
    if major < JAVA_MAJOR:
        return f"real Kafka needs Java {JAVA_MAJOR}, {java} is {major}: {INSTALL}"
    if not wanted.folder.is_dir() and shutil.which("mvn") is None:
        return f"{wanted.name}'s jars are fetched with Maven once, mvn is not installed: {INSTALL}"
    return None


def required() -> bool:
    """Whether ``LEIDAN_REQUIRE`` (a comma list) names ``kafka``: then missing means failed."""
    return "kafka" in {name.strip() for name in os.environ.get("LEIDAN_REQUIRE", "").split(",")}


def fetch(wanted: Jars = BROKER) -> Path:
    """Folder of jars in the checkout's ``.cache``, the broker's; fetched on the first call, 43 MB.

    They are copied beside their place and renamed into it, so what is there is whole. Two
    processes may call this at once. Raises KafkaMissing if Java, Maven or the network is missing.
    """
    if reason := requirements(wanted):
        raise KafkaMissing(reason)
    if wanted.folder.is_dir():
        return wanted.folder
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.folder.is_dir():  # else another process fetched them while we waited
            partial = CACHE / f"{wanted.folder.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)  # left by an interrupted fetch
            _copy_jars(wanted, partial)
            partial.rename(wanted.folder)
    return wanted.folder


class Cluster:
    """Brokers 0 to n-1 on 127.0.0.1, each controller too; broker i has the node id i.

    `start`, then `close` (or leave the ``with`` block). All waits are on conditions, with a limit;
    past it ClusterError shows the end of the log. Safe to call from any thread, one at a time.
    """

    def __init__(self, *, lasting: bool = False) -> None:
        """`lasting`: for hours or for figures, so that Java shall compile as well as it can."""
        self._jvm = JVM if lasting else (*JVM, ONE_COMPILER)
        self._brokers: list[_Broker] = []
        self._home: Path | None = None
        self._keep = False
        self._replication = 1
        self._own_segments = False

    def start(  # noqa: PLR0913 - a cluster has this many sides; all but two are named
        self,
        brokers: int = 1,
        replication: int | None = None,
        *,
        port: int | None = None,
        data: Path | None = None,
        settings: Mapping[str, str | int] | None = None,
        through: Through | None = None,
    ) -> Self:
        """Format and start `brokers` brokers and wait until they answer; fetches the jars first.

        `replication` of topics and of Kafka's own (default 3, or as many as there are brokers).
        `port` of broker 0 (default: free ones). `data` is kept, and found again by a later start
        with as many brokers (default: a temporary folder, gone with the cluster). `settings` go
        over SETTINGS, for each broker. `through` puts proxies before two listeners of their own,
        CLIENT (see `proxied`) and BROKER, by which brokers talk to one another; the controllers'
        quorum and `bootstrap` stay direct. Raises KafkaMissing or ClusterError.
        """
        if self._brokers:
            raise ClusterError("this cluster was already started")
        jars = fetch()
        began = time.monotonic()
        _say(f"starting {brokers} broker{'s' * (brokers > 1)} of Kafka {VERSION} ...")
        self._keep = data is not None
        self._home = data.resolve() if data else Path(tempfile.mkdtemp(prefix="leidan-kafka-"))
        self._replication = replication or min(3, brokers)
        self._own_segments = "log.segment.bytes" in (settings or {})
        try:
            ports = free_ports(2 * brokers)
            if port is not None:
                ports[0] = _require_free(port)
            self._brokers = [
                _Broker(
                    i, self._home / f"broker-{i}", ports[2 * i], ports[2 * i + 1], jars, self._jvm
                )
                for i in range(brokers)
            ]
            if through is not None:
                for broker in self._brokers:
                    broker.open_to(through)
            self._configure({**SETTINGS, **_replicated(brokers, self._replication)}, settings)
            self._format(jars)
            for broker in self._brokers:
                broker.launch()
            self._wait_until_ready(self._brokers)
        except BaseException:
            self.close()
            raise
        _say(f"ready at {self.bootstrap} after {time.monotonic() - began:.1f} s")
        return self

    @property
    def bootstrap(self) -> str:
        """``127.0.0.1:port`` of every broker, for ``bootstrap.servers``; kept by a restart."""
        return ",".join(broker.address for broker in self._brokers)

    @property
    def proxied(self) -> str:
        """Like `bootstrap`, but through the proxies given to `start`: for clients under test."""
        ports = [broker.behind["CLIENT"][1] for broker in self._brokers]
        return ",".join(f"127.0.0.1:{port}" for port in ports)

    def running(self, i: int = 0) -> bool:
        """Whether broker i has a process that has not ended."""
        return self._brokers[i].running

    def create_topics(self, topics: Mapping[str, tuple[int, Mapping[str, str | int]]]) -> None:
        """Make topics, name to (partitions, config), and wait until each partition has a leader.

        Compacted topics get segments of 1 MiB unless config or the `settings` of `start` name a
        size, so that a test can see the cleaner work. Raises KafkaException (a topic that is
        there, a bad config).
        """
        admin = _admin(self.bootstrap)
        wanted = []
        for name, (partitions, given) in topics.items():
            config: dict[str, str] = {key: str(value) for key, value in given.items()}
            if "compact" in config.get("cleanup.policy", "") and not self._own_segments:
                config.setdefault("segment.bytes", str(COMPACTED_SEGMENT_BYTES))
            wanted.append(NewTopic(name, partitions, self._replication, config=config))
        for made in admin.create_topics(wanted, operation_timeout=30, request_timeout=30).values():
            made.result(30)

        def led() -> bool:
            known = admin.list_topics(timeout=5).topics
            return all(
                name in known
                and len(known[name].partitions) == partitions
                and all(p.leader >= 0 for p in known[name].partitions.values())
                for name, (partitions, _) in topics.items()
            )

        _wait_for(led, 30.0, "a leader for every partition of the new topics")

    def kill(self, i: int = 0) -> None:
        """SIGKILL broker i and wait until it is gone. What it wrote stays (page cache)."""
        self._brokers[i].end(signal.SIGKILL, STOP_LIMIT_S)

    def stop(self, i: int | None = None, limit_s: float = STOP_LIMIT_S) -> None:
        """SIGTERM broker i (all of them by default); SIGKILL for those still there at the limit."""
        asked = self._brokers if i is None else [self._brokers[i]]
        for broker in asked:  # all at once first: they wait for one another
            broker.tell(signal.SIGTERM)
        until = time.monotonic() + limit_s
        for broker in asked:
            broker.end(signal.SIGTERM, max(0.0, until - time.monotonic()))

    def restart(self, i: int | None = None) -> None:
        """Stop broker i (all by default) if it runs, start it on its own data, wait for it.

        Its address stays. 5 s after a kill: the controller waits for its old session to end.
        """
        self.stop(i)
        asked = self._brokers if i is None else [self._brokers[i]]
        began = time.monotonic()
        for broker in asked:
            broker.launch()
        self._wait_until_ready(asked)
        _say(f"restarted {[b.node for b in asked]} after {time.monotonic() - began:.1f} s")

    def wait(self, i: int = 0) -> int:
        """Wait until broker i ends by itself; its exit code."""
        return self._brokers[i].wait()

    def pid(self, i: int = 0) -> int:
        """Process id of broker i, for SIGSTOP and SIGCONT. Raises ClusterError if it is down."""
        return self._brokers[i].pid

    def log_path(self, i: int = 0) -> Path:
        """What broker i printed, over all its restarts."""
        return self._brokers[i].log

    def close(self) -> None:
        """End everything. Temporary data goes with it, so its brokers are killed at once."""
        if self._keep:
            self.stop()
        for broker in self._brokers:
            broker.end(signal.SIGKILL, STOP_LIMIT_S)
        if self._home is not None and not self._keep:
            shutil.rmtree(self._home, ignore_errors=True)
        self._brokers, self._home = [], None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _configure(
        self, common: Mapping[str, str | int], over: Mapping[str, str | int] | None
    ) -> None:
        voters = ",".join(f"{b.node}@127.0.0.1:{b.controller_port}" for b in self._brokers)
        for broker in self._brokers:
            broker.home.mkdir(parents=True, exist_ok=True)
            names = {"PLAINTEXT": broker.port, "CONTROLLER": broker.controller_port}
            names |= {name: port for name, (port, _) in broker.behind.items()}
            known_at = {"PLAINTEXT": broker.port}
            known_at |= {name: port for name, (_, port) in broker.behind.items()}
            own = {
                "process.roles": "broker,controller",
                "node.id": broker.node,
                "controller.quorum.voters": voters,
                "listeners": _listeners(names),
                "advertised.listeners": _listeners(known_at),
                "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in names),
                "controller.listener.names": "CONTROLLER",
                "inter.broker.listener.name": "BROKER" if broker.behind else "PLAINTEXT",
                "log.dirs": "data",  # below its working directory: no path to escape
            }
            lines = [f"{key}={value}\n" for key, value in {**common, **own, **(over or {})}.items()]
            (broker.home / "server.properties").write_text("".join(lines))

    def _format(self, jars: Path) -> None:
        assert self._home is not None
        found = len(list(self._home.glob("broker-*/data/meta.properties")))
        if found == len(self._brokers):
            return
        if found:
            raise ClusterError(
                f"{self._home} holds the data of {found} brokers, not of {len(self._brokers)}"
            )
        # 16 bytes in base64, the first ones fixed: an id that begins with "-" reads as an option
        cluster_id = base64.urlsafe_b64encode(b"leidan" + os.urandom(10)).decode().rstrip("=")
        tool = [str(java_command()), ONE_COMPILER, "-cp", f"{jars}/*"]
        tool += ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", "server.properties"]
        running = [(b, _spawn(tool, b.home, b.home / "format.log")) for b in self._brokers]
        for broker, process in running:
            if process.wait(START_LIMIT_S) != 0:
                tail = _tail(broker.home / "format.log")
                raise ClusterError(f"broker {broker.node} could not format its folder:\n{tail}")

    def _wait_until_ready(self, asked: Sequence[_Broker]) -> None:
        """Until each of them answers a metadata request that names it, and knows a controller."""
        for broker in asked:
            admin = None
            until = time.monotonic() + START_LIMIT_S
            while True:
                if (code := broker.exit_code()) is not None:
                    raise ClusterError(
                        f"broker {broker.node} ended with code {code} before it was ready:\n"
                        f"{_tail(broker.log)}"
                    )
                if _listens(broker.port):  # asked first: the client would log each refusal
                    admin = admin or _admin(broker.address)
                    if _knows(admin, broker.node):
                        break
                if time.monotonic() > until:
                    raise ClusterError(
                        f"broker {broker.node} was not ready after {START_LIMIT_S:.0f} s:\n"
                        f"{_tail(broker.log)}"
                    )
                time.sleep(0.05)


@dataclass
class _Broker:
    """One broker process and the folder it runs in."""

    node: int
    home: Path
    port: int
    controller_port: int
    jars: Path
    jvm: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    behind: dict[str, tuple[int, int]] = field(default_factory=dict)  # listener: own port, proxy's

    def open_to(self, through: Through) -> None:
        """Add the listeners that are reached through a proxy."""
        for name, port in zip(PROXIED, free_ports(len(PROXIED)), strict=True):
            self.behind[name] = port, through(self.node, name, port)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.home / "broker.log"

    @property
    def pid(self) -> int:
        if self.process is None or self.process.poll() is not None:
            raise ClusterError(f"broker {self.node} is not running")
        return self.process.pid

    def launch(self) -> None:
        command = [
            str(java_command()),
            *self.jvm,
            "-cp",
            f"{self.jars}/*",
            "kafka.Kafka",
            "server.properties",
        ]
        self.process = _spawn(command, self.home, self.log)

    def exit_code(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait()

    def tell(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)  # nothing, if it was already waited for

    def end(self, number: signal.Signals, limit_s: float) -> None:
        """Send the signal, wait, SIGKILL at the limit."""
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            _say(f"broker {self.node} is still there after {limit_s:.0f} s: killed")
            self.process.kill()
            self.process.wait(STOP_LIMIT_S)
        self.process = None


# What the child runs before the program: on Linux, ask the kernel for a SIGKILL when the parent
# ends, whatever ends it. It ends itself if the parent was gone before it could ask. A program of
# its own and not a preexec_fn, which runs our code in a fork of a process full of threads.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
parent, argv = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() != parent:
    sys.exit("the parent is gone")
os.execvp(argv[0], argv)
"""

# For that signal the parent is the *thread* that made the child: a test's thread that restarts a
# broker and returns would take the broker with it. So one thread, as old as the process, makes all.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-spawner")


def _spawn(command: Sequence[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a program that dies with us, in a session of its own, so that Ctrl-C is ours alone."""
    shim = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                shim,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return _SPAWNER.submit(start).result()


def _copy_jars(wanted: Jars, folder: Path) -> None:
    """Let Maven copy the jars into `folder`, saying every 10 s that it is still at it."""
    log = CACHE / "fetch.log"
    log.unlink(missing_ok=True)
    name = f"{wanted.name} {wanted.version}"
    _say(f"fetching {name} with Maven into {CACHE} ({wanted.mb} MB, once, up to a minute) ...")
    command = ["mvn", "-q", "-B", "--strict-checksums", "-f", str(wanted.pom)]
    command += ["dependency:copy-dependencies", "-DincludeScope=runtime"]
    command += [f"-DoutputDirectory={folder}"]
    began = time.monotonic()
    maven = _spawn(command, CACHE, log)
    try:
        while True:
            try:
                code = maven.wait(10)
                break
            except subprocess.TimeoutExpired:
                spent = time.monotonic() - began
                if spent > FETCH_LIMIT_S:
                    raise KafkaMissing(
                        f"{wanted.name}'s jars were not there after {spent:.0f} s, see {log}"
                    ) from None
                _say(f"still fetching, {spent:.0f} s")
    finally:
        if maven.poll() is None:
            maven.kill()
            maven.wait()
    if code != 0 or not (folder / f"{wanted.artifact}-{wanted.version}.jar").is_file():
        told = re.search(r"\[ERROR\] (.{1,200})", log.read_text(errors="replace"))
        reason = told[1] if told else f"mvn ended with code {code}"
        raise KafkaMissing(
            f"{wanted.name}'s jars could not be fetched, without a network? {reason} ({log})"
        )
    _say(f"fetched after {time.monotonic() - began:.0f} s")


def java_command() -> str | None:
    """The Java that runs here: of JAVA_HOME, else of PATH."""
    home = os.environ.get("JAVA_HOME")
    if home and (java := shutil.which("java", path=str(Path(home) / "bin"))):
        return java
    return shutil.which("java")


@functools.cache
def _java_major(java: str) -> int:
    """17 for ``openjdk version "17.0.15"``, 1 for the old ``"1.8.0"``, 0 if it tells nothing."""
    told = subprocess.run(
        [java, "-version"], capture_output=True, text=True, timeout=60, check=False
    )
    found = re.search(r'version "(\d+)', told.stderr)
    return int(found[1]) if found else 0


def _replicated(brokers: int, replication: int) -> dict[str, str | int]:
    """Kafka's own topics like ours; with three copies, two must have a record (T5)."""
    in_sync = 2 if replication >= 3 else 1
    return {
        "default.replication.factor": replication,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": min(3, brokers),
        "transaction.state.log.replication.factor": min(3, brokers),
        "transaction.state.log.min.isr": 2 if brokers >= 3 else 1,
    }


def free_ports(count: int) -> list[int]:
    """Ports of PORTS that nobody listens on; all held until all are found, so they differ."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            if len(ports) == count:
                break
            listener = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                ports.append(port)
    if len(ports) < count:
        raise ClusterError(f"no {count} free ports from {PORTS.start} to {PORTS.stop}")
    return ports


def _require_free(port: int) -> int:
    if _listens(port):
        raise ClusterError(f"port {port} is in use; name another with --port")
    return port


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def _knows(admin: AdminClient, node: int) -> bool:
    try:
        seen = admin.list_topics(timeout=1)
    except KafkaException:
        return False
    return node in seen.brokers and seen.controller_id >= 0


def _wait_for(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until:
            raise ClusterError(f"waited {limit_s:.0f} s in vain for {what}")
        time.sleep(0.02)


def _tail(log: Path, lines: int = 15) -> str:
    if not log.is_file():
        return "(it printed nothing)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _say(text: str) -> None:
    print(f"kafka: {text}", file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    """``fetch`` or ``run``. 0 when done, 1 when a broker failed, 2 when something is missing."""
    parser = argparse.ArgumentParser(prog="cluster.py", description="Real Kafka for the tests.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("fetch", help="fetch Kafka's jars into .cache, once")
    run = verbs.add_parser("run", help="run one broker until Ctrl-C")
    run.add_argument("--port", type=int, default=9092, help="listen here on 127.0.0.1 (9092)")
    run.add_argument("--data", type=Path, help="keep the data here (else it goes with the broker)")
    options = parser.parse_args(argv)
    # SIGTERM ends us like Ctrl-C: through the `with` blocks.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.verb == "fetch":
            print(fetch())
            return 0
        return _run(options.port, options.data)
    except KafkaMissing as missing:
        _say(str(missing))
        return 2
    except ClusterError as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return 130


def _run(port: int, data: Path | None) -> int:
    with Cluster(lasting=True).start(port=port, data=data) as cluster:
        print(f"bootstrap {cluster.bootstrap}", flush=True)
        print(f"log {cluster.log_path()}", flush=True)
        kept = f"the data stays in {data}" if data else "the data goes with it"
        _say(f"Ctrl-C stops the broker; {kept}")
        with contextlib.suppress(KeyboardInterrupt):
            cluster.wait()
            _say(f"the broker ended by itself:\n{_tail(cluster.log_path())}")
            return 1
        _say("stopping ...")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

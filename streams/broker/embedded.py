"""The embedded broker (D10): librdkafka's own mock cluster, out of the confluent-kafka wheel.

It lives in the process that starts it, listens on 127.0.0.1 and serves other processes too:

    with EmbeddedBroker().start({"orders": 4, "campaigns": 1}) as broker:
        Producer({"bootstrap.servers": broker.bootstrap, "compression.type": "zstd"})
        ...
        broker.assert_nothing_dropped()

**Never evidence of exactly-once.** It is for demos and for client code paths. Its limits, each one
seen with librdkafka 2.16 and pinned by `tests/mock/test_embedded_broker.py` where it can be:

- A partition keeps 5 MiB (counted as sent, so compressed) or 100,000 batches; beyond that the
  oldest batches go **in silence**. Produce with zstd, and call `assert_nothing_dropped`.
- **Offsets sent with a transaction are accepted and forgotten**: `committed()` never shows them.
  Offsets committed by the consumer itself are kept. A worker that must find its place again on this
  broker commits both ways.
- Aborted records are visible, read_committed or not, and a fenced producer's commit is accepted.
- Each commit or abort leaves a marker that takes one offset, as on a real broker: the end of a
  partition lies past its last record.
- No CreateTopics, no DescribeConfigs (both time out): topics are made by `start`, with any number
  of partitions. A topic that was not made there appears with 4 at the first request that names
  it, a mistyped name too. (Faust: `topic_allow_declare=False, topic_disable_leader=True`.)
- No look-up by timestamp: `offsets_for_times` answers -1, the end.
- No retention, no compaction, one broker, nothing on disk: all is gone with the process.
"""

from __future__ import annotations

import ctypes
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, Self

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition, cimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

# What librdkafka's mock keeps of a partition; for the message only, the broker decides.
PARTITION_BYTES = 5 * 1024 * 1024
PARTITION_BATCHES = 100_000

# Partitions of a topic that nobody made: librdkafka's default, out of reach of its settings.
AUTO_PARTITIONS = 4

TIMEOUT_S = 10.0  # for each request to a broker in this very machine


class EmbeddedBrokerError(RuntimeError):
    """The embedded broker cannot do what it was asked; the message says what to do instead."""


class EmbeddedBrokerFull(EmbeddedBrokerError):
    """A partition went over its limit and lost its oldest records: nothing read from it counts.

    Operator action: produce with zstd, make the run smaller, or use a real broker.
    """


class EmbeddedBroker:
    """One mock broker in this process, from `start` to `stop` (or the end of the ``with`` block).

    Stop it after its clients: those left over log lost connections.
    """

    def __init__(self) -> None:
        self._cluster: _Cluster | None = None
        self._topics: dict[str, int] = {}

    def start(self, topics: Mapping[str, int]) -> Self:
        """Listen on a free port of 127.0.0.1 and make `topics` (name to partitions); 10 ms.

        Raises EmbeddedBrokerError when already started, or when a topic cannot be made as asked.
        """
        if self._cluster is not None:
            raise EmbeddedBrokerError("the embedded broker was already started; stop it first")
        if wrong := {name: n for name, n in topics.items() if n < 1}:
            raise EmbeddedBrokerError(f"a topic needs at least one partition: {wrong}")
        try:
            native = _Native()
        except (OSError, AttributeError) as reason:  # no such library, or without the mock
            self._cluster = _PlainCluster(topics, reason)
        else:
            self._cluster = _NativeCluster(native, topics)
        self._topics = dict(topics)
        return self

    @property
    def bootstrap(self) -> str:
        """``127.0.0.1:port``, for ``bootstrap.servers`` of this and of any other process here."""
        if self._cluster is None:
            raise EmbeddedBrokerError("the embedded broker is not running; call start(topics)")
        return self._cluster.bootstrap

    @property
    def topics(self) -> dict[str, int]:
        """The topics `start` made, and their partitions."""
        return dict(self._topics)

    def low_watermarks(self, topics: Iterable[str] | None = None) -> dict[tuple[str, int], int]:
        """First offset still kept, by (topic, partition); of all topics in the broker by default.

        Raises EmbeddedBrokerError for a topic that is not there (asking would make it).
        """
        return low_watermarks(self.bootstrap, topics)

    def assert_nothing_dropped(self, topics: Iterable[str] | None = None) -> None:
        """Raise EmbeddedBrokerFull if any partition lost a record; see `low_watermarks`.

        True of the moment of the call: ask after the last record was produced.
        """
        assert_nothing_dropped(self.bootstrap, topics)

    def stop(self) -> None:
        """Close the port and forget everything; nothing happens if it is not running."""
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def low_watermarks(
    bootstrap: str, topics: Iterable[str] | None = None
) -> dict[tuple[str, int], int]:
    """First offset kept, by (topic, partition), asked over the wire: for another process."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "embedded-broker-check"})
    try:
        # All topics, never one by name: naming a topic that is not there makes it.
        there = consumer.list_topics(timeout=TIMEOUT_S).topics
        names = sorted(there) if topics is None else list(topics)
        if missing := [name for name in names if name not in there]:
            raise EmbeddedBrokerError(f"not in the embedded broker: {', '.join(missing)}")
        asked = [(name, p) for name in names for p in sorted(there[name].partitions)]
        lows: dict[tuple[str, int], int] = {}
        for name, p in asked:
            low, _ = consumer.get_watermark_offsets(
                TopicPartition(name, p), timeout=TIMEOUT_S, cached=False
            )
            lows[name, p] = low
        return lows
    finally:
        consumer.close()


def assert_nothing_dropped(bootstrap: str, topics: Iterable[str] | None = None) -> None:
    """`EmbeddedBroker.assert_nothing_dropped` for a process that only knows the address."""
    lost = {at: low for at, low in low_watermarks(bootstrap, topics).items() if low != 0}
    if not lost:
        return
    where = ", ".join(f"{name}[{p}] begins at offset {low}" for (name, p), low in lost.items())
    raise EmbeddedBrokerFull(
        f"the embedded broker dropped records: {where}, instead of 0. It keeps"
        f" {PARTITION_BYTES // 1024**2} MiB (compressed) or {PARTITION_BATCHES:,} batches of a"
        " partition. Produce with compression.type=zstd, make the run smaller, use more"
        " partitions, or use a real broker."
    )


class _Cluster(Protocol):
    bootstrap: str

    def close(self) -> None: ...


class _Native:
    """The functions of librdkafka that we call, declared for ctypes.

    Opened through the wheel's extension module: a look-up in it also searches the librdkafka it
    was linked with, wherever the wheel (or a distribution) put that. Raises OSError if there is no
    such library, AttributeError if it exports no mock cluster.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(cimpl.__file__)
        text, pointer, number = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int

        def declare(name: str, result: type | None, *arguments: type) -> Callable[..., Any]:
            function: Callable[..., Any] = getattr(library, name)
            function.restype, function.argtypes = result, arguments  # type: ignore[attr-defined]
            return function

        size = ctypes.c_size_t
        self.conf_new = declare("rd_kafka_conf_new", pointer)
        self.conf_set = declare("rd_kafka_conf_set", number, pointer, text, text, text, size)
        self.new = declare("rd_kafka_new", pointer, number, pointer, text, size)
        self.destroy = declare("rd_kafka_destroy", None, pointer)
        self.cluster_new = declare("rd_kafka_mock_cluster_new", pointer, pointer, number)
        self.cluster_destroy = declare("rd_kafka_mock_cluster_destroy", None, pointer)
        self.bootstraps = declare("rd_kafka_mock_cluster_bootstraps", text, pointer)
        self.topic_create = declare(
            "rd_kafka_mock_topic_create", number, pointer, text, number, number
        )
        self.join_delay: Callable[..., Any] | None
        try:
            self.join_delay = declare(
                "rd_kafka_mock_group_initial_rebalance_delay_ms", None, pointer, ctypes.c_int32
            )
        except AttributeError:  # an older librdkafka: groups only take 3 s longer to form
            self.join_delay = None


class _NativeCluster:
    """The mock cluster made by hand: any number of partitions."""

    def __init__(self, native: _Native, topics: Mapping[str, int]) -> None:
        self._native = native
        reason = ctypes.create_string_buffer(512)
        conf = native.conf_new()
        # The client that hosts the cluster connects to nothing and would warn about just that.
        native.conf_set(conf, b"log_level", b"0", reason, len(reason))
        self._host = native.new(0, conf, reason, len(reason))  # 0: a producer; takes over conf
        if not self._host:
            raise EmbeddedBrokerError(f"librdkafka refused to start: {reason.value.decode()}")
        self._cluster = native.cluster_new(self._host, 1)
        if not self._cluster:
            native.destroy(self._host)
            raise EmbeddedBrokerError("librdkafka could not start its mock cluster (no free port?)")
        self.bootstrap: str = native.bootstraps(self._cluster).decode()
        if native.join_delay is not None:
            native.join_delay(self._cluster, 0)  # a group forms at once instead of after 3 s
        with _kept_awake(self.bootstrap):
            failed = {
                name: KafkaError(code).str()
                for name, partitions in topics.items()
                if (code := native.topic_create(self._cluster, name.encode(), partitions, 1))
            }
        if failed:
            self.close()
            raise EmbeddedBrokerError(f"topics not made: {failed}")

    def close(self) -> None:
        with _kept_awake(self.bootstrap):
            self._native.cluster_destroy(self._cluster)
        self._native.destroy(self._host)


@contextmanager
def _kept_awake(bootstrap: str) -> Iterator[None]:
    """Knock at the mock's port every 2 ms while the block asks it for something.

    Its thread looks for requests, then empties its wake-up pipe, in that order (rdkafka_mock.c,
    io_poll and op_io): a request that comes between the two lies there until its poll ends after
    1 s. Every third start took a second or two; any connection ends the poll at once.
    """
    host, port = bootstrap.split(":")
    done = threading.Event()

    def knock() -> None:
        while not done.wait(0.002):
            with suppress(OSError):  # the port closes while we knock: that is the end of it
                socket.create_connection((host, int(port)), timeout=1).close()

    knocking = threading.Thread(target=knock, name="embedded-broker-knock", daemon=True)
    knocking.start()
    try:
        yield
    finally:
        done.set()
        knocking.join()


class _PlainCluster:
    """The mock cluster as a client's setting, where ctypes finds none: 4 partitions or nothing."""

    def __init__(self, topics: Mapping[str, int], reason: Exception) -> None:
        if other := {name: n for name, n in topics.items() if n != AUTO_PARTITIONS}:
            raise EmbeddedBrokerError(
                f"this build of confluent-kafka hides librdkafka's mock cluster ({reason}), so the"
                f" embedded broker only has topics of {AUTO_PARTITIONS} partitions, not {other}."
                " Install the binary wheel of confluent-kafka, or use a real broker."
            )
        # bootstrap.servers is replaced by the mock's own; log_level as above.
        self._host: Producer | None = Producer(
            {"bootstrap.servers": "replaced", "test.mock.num.brokers": 1, "log_level": 0}
        )
        brokers = self._host.list_topics(timeout=TIMEOUT_S).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        for name in topics:
            self._host.list_topics(name, timeout=TIMEOUT_S)  # asking makes it

    def close(self) -> None:
        self._host = None  # the mock goes with its last reference

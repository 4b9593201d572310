"""How far the client and the store would go if nothing stood around them.

    consume   confluent-kafka's `consume` alone, with the worker's consumer settings
    decode    the same, and each message made a record and decoded as the worker does in Python
    rows      no consumer: the rows that a worker wrote of this input, put again by rocksdict, the
              same rows in the same batches (its journal says which), one WriteBatch a batch

It runs where leidan runs: `python -m tests.bench.programs.limits --help`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import rocksdict
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from streams.feed import client
from streams.feed.pace import FIRST_RECORDS
from streams.settings import Kafka, Settings
from streams.store import meta
from streams.store.rows import LEVEL, UPPER_DICTIONARY_BYTES, WINDOW_BITS, WRITE_BUFFER_BYTES
from tests import checker
from tests.bench.programs.job import DECODE, arguments, now_ms, write_stats
from tests.kafka.harness import CHANGELOG, PARTITIONS, Topics

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

WAIT_S = 0.1


class Span:
    """What the benchmark divides; the processor time too, because a limit may last an instant."""

    def __init__(self) -> None:
        self.processed = self.at_first = 0
        self.first_ms = self.last_ms = self.cpu_s = 0.0

    def opened(self, taken: int = 0) -> None:
        self.processed = self.at_first = taken
        self.cpu_s = -time.process_time()
        self.first_ms = now_ms()

    def closed(self, taken: int) -> None:
        self.last_ms = now_ms()
        self.cpu_s += time.process_time()
        self.processed = taken


def consume(given: argparse.Namespace, take: Callable[[list[Any]], None]) -> Span:
    """Take the whole input in batches of a worker's size; the first batch opens the span."""
    settings = Settings(
        kafka=Kafka(given.bootstrap_servers, given.topic_prefix), app_id=given.app_id
    )
    ends = Topics(given.bootstrap_servers, given.topic_prefix).ends(given.topics.split(","))
    consumer = Consumer(client.consumer(settings))
    consumer.assign([TopicPartition(settings.topic(t), p, OFFSET_BEGINNING) for t, p in ends])
    span, taken = Span(), 0
    while taken < sum(ends.values()):
        found = consumer.consume(FIRST_RECORDS, WAIT_S)
        messages = [message for message in found if message.error() is None]
        take(messages)
        if messages and not taken:
            span.opened(len(messages))
        taken += len(messages)
    span.closed(taken)
    consumer.close()
    return span


def decoding(prefix: str) -> Callable[[list[Any]], None]:
    """What a worker without the compiled short path does before it folds."""
    names = {prefix + topic: (topic, decode) for topic, decode in DECODE.items()}

    def take(messages: list[Any]) -> None:
        for message in messages:
            topic, decode = names[message.topic()]
            decode(client.record_of(topic, message))

    return take


def rows(given: argparse.Namespace) -> Span:
    """Put a worker's rows again. Raises AssertionError when they are not all there in the end."""
    topics = Topics(given.bootstrap_servers, given.topic_prefix)
    events = sum(topics.ends(given.topics.split(",")).values())
    batches = batches_of(topics)
    stores = [store(given.state_dir / str(p)) for p in range(PARTITIONS)]
    unsynced = rocksdict.WriteOptions()
    unsynced.sync = False  # as the worker: its log is the truth
    span = Span()
    span.opened()
    for p, found in batches:
        writes = rocksdict.WriteBatch(raw_mode=True)
        for key, value in found.items():
            if value is None:
                writes.delete(key)
            else:
                writes.put(key, value)
        stores[p].write(writes, unsynced)
    span.closed(events)
    last: dict[tuple[int, bytes], bytes | None] = {}
    for p, found in batches:
        last.update({(p, key): value for key, value in found.items()})
    assert all(stores[p].get(key) == value for (p, key), value in last.items())
    assert last, "void: no worker has written rows here"
    return span


def batches_of(topics: Topics) -> list[tuple[int, dict[bytes, bytes | None]]]:
    """Every batch of the changelog with its partition: its rows, and the offsets that closed it."""
    batches = []
    filling: dict[int, dict[bytes, bytes | None]] = {p: {} for p in range(PARTITIONS)}
    for seen in topics.read(CHANGELOG):
        assert seen.key is not None
        if seen.key == checker.META:
            filling[seen.partition][meta.NEXT] = seen.value
            batches.append((seen.partition, filling[seen.partition]))
            filling[seen.partition] = {}
        else:
            filling[seen.partition][seen.key] = seen.value
    return batches


def store(path: Path) -> Any:
    """One database, with a worker's memtables and compression."""
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_compression_type(rocksdict.DBCompressionType.zstd())
    options.set_compression_options(WINDOW_BITS, LEVEL, 0, UPPER_DICTIONARY_BYTES)
    return rocksdict.Rdict(str(path), options)


def main() -> None:
    """Measure one limit, and write it down."""
    parser = arguments(__doc__)
    parser.add_argument("limit", choices=("consume", "decode", "rows"))
    given = parser.parse_args()
    if given.limit == "rows":
        span = rows(given)
    elif given.limit == "decode":
        span = consume(given, decoding(given.topic_prefix))
    else:
        span = consume(given, lambda _messages: None)
    write_stats(given.stats_file, vars(span))


if __name__ == "__main__":
    main()

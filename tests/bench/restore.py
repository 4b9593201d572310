"""`python -m tests.bench.restore`: how fast a worker without a disk has its rows back.

The changelog is written as workers write it: transactions of real rows, each closed by its meta
row, on every partition. A worker that has nothing on its disk then restores all of it, while orders
wait on its topics. Told: changelog records a second of a restore, over the restores' own seconds
(they follow each other in one thread); processor time of a record; when the first partition was
through, when the first order was folded and when the last partition was through, in seconds from
the first restore's beginning. Rows are of a real fold, the same few thousand again and again under
other users' names; every record is a row of its own unless --transactions-of-a-user says that a
user comes again.

Exit status: 0 done, 2 no Java or Maven, 3 a row is not what the changelog had.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer

from streams import native
from streams.agents.folding import fold_batch, fold_compiled
from streams.domain.fold import FOLD_VERSION
from streams.domain.registry import Campaigns
from streams.feed.batch import Batch
from streams.feed.ports import Record
from streams.store import meta
from streams.store.overlay import Codec, Overlay, StateCache
from streams.store.rows import read_rows
from streams.topics import FOLDED
from streams.wire import orders, outputs, rows
from streams.wire.campaigns import read_file
from tests.bench import live
from tests.bench.broker import broker
from tests.bench.engines import drained, time_limit_s
from tests.feed.memory import MemoryStore
from tests.kafka.harness import CHANGELOG, PARTITIONS, Topics, wait_until
from tests.kafka.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.kafka.cluster import Cluster

    Say = Callable[[str], None]

REAL_ROWS, ORDERS_OF_A_USER = 2_000, 3
LIMIT_S = 600.0
TARGET_PER_S = 150_000
RESTORED = re.compile(
    r"^(\S+ [\d:,]+) .*partition (\d+) restored: (\d+) changelog records in ([\d.]+) s",
    re.MULTILINE,
)
"""What a worker says of a partition (feed/loop.py); it begins with the time."""


@dataclass
class Bench:
    machine: dict[str, Any]
    records: int  # of the changelog, meta rows too
    users: int
    row_bytes: int  # of a row, on average
    records_per_s: float
    cpu_us: float  # of a record; all of the worker, its start too
    first_restored_s: float
    first_folded_s: float
    last_restored_s: float


def run(  # noqa: PLR0913 - the benchmark's knobs, all named
    cluster: Cluster,
    directory: Path,
    *,
    users: int,
    unit: int,
    times: int = 1,
    say: Say,
    tag: str = "restore",
) -> Bench:
    """Write a changelog of so many users in transactions of `unit` rows; let a worker restore it.

    times: how often each user is in it. Raises AssertionError when a row does not come back.
    """
    work = live.WORKLOADS["paid"]
    topics = Topics(cluster.bootstrap, f"{tag}.")
    topics.create(cluster)
    values = real_rows(work)
    records = written(topics, values, users, unit, times)
    say(f"{records:,} changelog records are there")
    topics.send(live.traffic(work, live.SEED, 400, ()))
    worker = Worker(
        topics.bootstrap, topics.prefix, "leidan-0", directory, campaigns=(work.campaign,)
    )
    try:
        worker.start()

        def restored() -> bool:
            worker.require_running()
            return len(RESTORED.findall(worker.log.read_text())) == PARTITIONS

        wait_until(restored, lambda: f"the restores\n{worker.tail()}", LIMIT_S)
        drained(topics, worker.group, time_limit_s(400), worker)
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.close()
    told = RESTORED.findall(worker.log.read_text())
    ends_s = [datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f").timestamp() for at, *_ in told]  # noqa: DTZ007 - as the log writes it, and compared with this machine's clock
    took_s = [float(seconds) for *_, seconds in told]
    begun_s = ends_s[0] - took_s[0]
    folded_s = min(seen.timestamp_ms for seen in topics.read("fold-journal")) / 1_000
    require_rows(worker.databases, values, users, times)
    read = sum(int(count) for _, _, count, _ in told)
    assert read == records, f"{read} of {records} changelog records were read"
    return Bench(
        live.machine(),
        records,
        users,
        sum(map(len, values)) // len(values),
        records / sum(took_s),
        worker.stats()["cpu_s"] / records * 1e6,
        ends_s[0] - begun_s,
        folded_s - begun_s,
        ends_s[-1] - begun_s,
    )


def real_rows(work: live.Workload) -> list[bytes]:
    """Rows as users of real traffic have them after their first orders."""
    log = live.traffic(work, live.SEED, REAL_ROWS * live.EVENTS_PER_USER, ())
    log = log[: REAL_ROWS * ORDERS_OF_A_USER]
    records = [
        Record(topic, 0, n, key, value, [], ms) for n, (topic, key, value, ms) in enumerate(log)
    ]
    store, plans = MemoryStore().open(0), native.plans()
    overlay = Overlay(store, Codec(rows.new, rows.decode, rows.encode), StateCache())
    batch = Batch(
        "orders", 0, records, overlay, Campaigns.of(read_file(work.campaign)), outputs.encode
    )
    if plans is None:
        fold_batch(batch, orders.decode)
    else:
        fold_compiled(batch, orders.decode, plans)
    return [value for value in overlay.encoded().values() if value is not None]


def user_of(n: int) -> bytes:
    return b"restored-%08d" % n


def written(topics: Topics, values: Sequence[bytes], users: int, unit: int, times: int) -> int:
    """Write the changelog in transactions over all partitions; return how many records it has."""
    producer = Producer(
        {
            "bootstrap.servers": topics.bootstrap,
            "transactional.id": f"{topics.prefix}writer",
            "compression.type": "zstd",
            "compression.level": 1,
            "batch.size": 1 << 20,
            "queue.buffering.max.messages": 500_000,
            "log_level": 3,
        }
    )
    producer.init_transactions(30)
    name, total = topics.prefix + CHANGELOG, users * times
    for batch, begin in enumerate(range(0, total, unit), 1):
        producer.begin_transaction()
        for n in range(begin, min(total, begin + unit)):
            user, turn = n % users, n // users
            while True:
                try:
                    producer.produce(
                        name, values[(user + turn) % len(values)], user_of(user), user % PARTITIONS
                    )
                    break
                except BufferError:
                    producer.poll(0.05)
        closing = meta.Meta(dict.fromkeys(FOLDED, 0), batch, FOLD_VERSION, rows.ROW_SCHEMA)
        for p in range(PARTITIONS):
            producer.produce(name, meta.encode_meta(closing), meta.META, p)
        producer.commit_transaction(30)
    return total + PARTITIONS * -(-total // unit)


def require_rows(databases: Path, values: Sequence[bytes], users: int, times: int) -> None:
    """Every user's newest row is there. Raises AssertionError."""
    found = 0
    for p in range(PARTITIONS):
        for key, value in read_rows(databases / str(p)):
            if key.startswith(b"restored-"):
                n = int(key.removeprefix(b"restored-"))
                assert value == values[(n + times - 1) % len(values)], key
                found += 1
    assert found == users, f"{found} rows of {users} users"


def lines(bench: Bench) -> Iterator[str]:
    """The report, as a person reads it."""
    told = bench.machine
    yield (
        f"{told['cpu']}, {told['cores']} cores (load {told['load_1min']}), Python {told['python']},"
        f" {told['date']}, commit {told['commit']}"
    )
    yield (
        f"{bench.records:,} changelog records of {bench.users:,} users,"
        f" {bench.row_bytes} bytes a row"
    )
    yield (
        f"{bench.records_per_s:,.0f} records/s of one process; {bench.cpu_us:.2f} us of processor"
        " each, the worker's start and end in it"
    )
    yield (
        f"first partition restored after {bench.first_restored_s:.2f} s, first order folded after"
        f" {bench.first_folded_s:.2f} s, last partition restored after"
        f" {bench.last_restored_s:.2f} s"
    )
    for wanted, met in (
        (f"{TARGET_PER_S:,} records/s of one process", bench.records_per_s >= TARGET_PER_S),
        ("folding while others restore", bench.first_folded_s < bench.last_restored_s),
    ):
        yield f"  target ({wanted}): {'met' if met else 'MISSED'}"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.restore", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--unit", type=int, default=2_000, help="rows of a transaction")
    parser.add_argument(
        "--transactions-of-a-user", type=int, default=1, help="how often each user is in it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything, as one object")
    given = parser.parse_args()
    say = live.stopwatch()
    with broker(say) as (cluster, place):
        bench = run(
            cluster,
            place,
            users=given.users,
            unit=given.unit,
            times=given.transactions_of_a_user,
            say=say,
        )
    print("\n".join(lines(bench)))
    if given.json is not None:
        given.json.write_text(json.dumps(asdict(bench), indent=2) + "\n")
        say(f"written: {given.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

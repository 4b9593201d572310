"""`python -m tests.bench.crowd`: the live worker among ten thousand users, and among five million.

One real broker; `leidan worker` as it ships, exactly-once. A worker starts on empty topics and
stops, the rows of all users are put into its databases (`population.lay_in`), and then it finds
orders of random users waiting, which it folds until none is left. Its changelog does not hold the
rows that were put in, which only a restore would miss; everything it does with an order is done.

Timed from its first transaction to its last, by their record times; a first life that is not
counted warms the broker up. `cpu_us` is processor time of an order in all worker processes, start
and stop included, so it means something only beside others of as many orders. `rss_mb` is the most
memory of one process, as the kernel counted it. Sizes in turn, the next round in the other
direction; the ratio is of medians.

`--workers 1 2` measures processes too, over as many partitions. `--json FILE` keeps every leg.
Exit status: 0 done, 2 no Java or Maven, 3 workers of other numbers gave other rewards.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer

from streams.store import meta
from streams.store.rows import DiskStore
from tests import checker
from tests.bench import legs, work
from tests.bench.broker import broker
from tests.bench.engines import drained
from tests.bench.live import stopwatch
from tests.bench.population import Moulds, Orders, coming, definitions, lay_in
from tests.bench.scale import SEED, forget, write
from tests.kafka.harness import CHANGELOG, Topics, wait_settled
from tests.kafka.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streams.feed.ports import Record
    from tests.kafka.cluster import Cluster

USERS = (10_000, 5_000_000)
HISTORY = 5
ORDERS_EACH = 4  # measured of a user on average, at most: rows must stay what they are
DRAINED_S = 900.0


def run(  # noqa: PLR0913 - the benchmark's knobs, all named
    cluster: Cluster,
    directory: Path,
    *,
    users: Sequence[int],
    workers: Sequence[int],
    partitions: int,
    events: int,
    rounds: int,
    say: Callable[[str], None],
    skewed: bool = False,
    cold: bool = False,
    seed: int = SEED,
) -> list[dict[str, Any]]:
    """Measure each number of users with each number of workers, `rounds` times.

    Raises AssertionError when two numbers of workers give other rewards.
    """
    machine = legs.machine()
    about = {name: machine.pop(name) for name in ("commit", "date")}
    found: list[dict[str, Any]] = []
    digests: dict[tuple[int, int], str] = {}
    for round_ in range(1, rounds + 1):
        turn = [(n, count) for n in users for count in workers]
        for n, count in turn if round_ % 2 else turn[::-1]:
            name = f"crowd-{round_}-{n}-{count}"
            topics = Topics(cluster.bootstrap, f"{name}.")
            topics.create(cluster, partitions)
            place = directory / name
            place.mkdir(parents=True)
            figures = leg(
                topics, place, users=n, workers=count, partitions=partitions, skewed=skewed,
                events=min(events, ORDERS_EACH * n), seed=seed, cold=cold,
            )  # fmt: skip
            found.append({
                "bench": "crowd", "engine": "leidan", "workload": "paid", **figures,
                "round": round_, "seed": seed, **about, "machine": machine,
            })  # fmt: skip
            say(f"round {round_}: {told(found[-1])}")
            digest = digests.setdefault((n, figures["events"]), figures["digest"])
            assert figures["digest"] == digest, f"{name} does not end at the others' rewards"
    return found


def leg(  # noqa: PLR0913 - what is measured, all named
    topics: Topics,
    place: Path,
    *,
    users: int,
    workers: int,
    partitions: int,
    events: int,
    skewed: bool,
    cold: bool,
    seed: int,
) -> dict[str, Any]:
    """Lay users in, send orders, drain them; return figures by name and unit."""
    team = [
        Worker(
            topics.bootstrap, topics.prefix, f"leidan-{n}", place,
            campaigns=(work.EVERY_THIRD_DAY,), settings={"log_level": "WARNING"},
        )
        for n in range(workers)
    ]  # fmt: skip
    made = Orders(seed)
    try:
        for worker in team:
            worker.start()
        # One order a partition: the first transaction makes the broker's and the group's topics.
        send(topics, (made.record(users + p, 0, 0, 0, p) for p in range(partitions)))
        drained(topics, team[0].group, DRAINED_S, *team)
        stop(team)
        laid_in(team, users, made, place)
        if cold:
            forget(place)
        units = coming(
            made, users=users, events=events, skewed=skewed, seed=seed, partitions=partitions
        )
        send(topics, (record for unit in units for part in unit for record in part))
        before = os.times()
        for worker in team:
            worker.start()
        drained(topics, team[0].group, DRAINED_S, *team)
        peaks = [worker.peak_kb() for worker in team]
        stop(team)
        after = os.times()
    finally:
        for worker in team:
            worker.close()
    wait_settled(topics, ("rewards",))
    seconds, timed = by_transactions(topics, partitions)
    cpu_s = sum(after[2:4]) - sum(before[2:4])  # of children that have ended: these workers
    files = {
        file.stat().st_ino: file.stat().st_blocks for file in place.rglob("*") if file.is_file()
    }
    disk = sum(files.values()) * 512
    return {
        "users": users,
        "history": HISTORY,
        "workers": workers,
        "partitions": partitions,
        "skew": "skewed" if skewed else "uniform",
        "cold": cold,
        "events": events,
        "events_per_s": round(timed / seconds),
        "cpu_us": round(cpu_s / events * 1e6, 1),
        "rss_mb": round(max(peaks) / 1024),
        "disk_bytes_per_user": round(disk / users),
        "digest": work.digest(work.standing(topics, "rewards"))[:16],
    }


def laid_in(team: Sequence[Worker], users: int, made: Orders, place: Path) -> None:
    """Put the rows of all users into the databases of stopped workers.

    Each worker gets every partition's: who will own which is the group's choice at the next start,
    and the changelog does not have these rows.
    """
    found: dict[int, tuple[Worker, meta.Identity]] = {}
    for worker in team:
        for label in worker.databases.glob("*.identity.json"):
            identity = meta.decode_identity(label.read_bytes())
            found[identity.partition] = worker, identity
    stores = {p: DiskStore(worker.databases, of) for p, (worker, of) in sorted(found.items())}
    rows = [store.open(p) for p, store in stores.items()]
    options = stores[0]._options()  # noqa: SLF001 - files of the same kind
    lay_in(rows, users, Moulds(made, definitions(1), HISTORY), options, place)
    for one in rows:
        one.close()
    for file in place.glob("*.sst"):
        file.unlink()
    for p, (owner, _) in found.items():
        for other in team:
            if other is not owner:
                other.databases.mkdir(parents=True, exist_ok=True)
                there = other.databases / str(p)
                shutil.rmtree(there, ignore_errors=True)
                shutil.copytree(owner.databases / str(p), there, copy_function=_linked)
                label = f"{p}.identity.json"
                shutil.copy(owner.databases / label, other.databases / label)


def _linked(source: str, target: str) -> None:
    """Copy a file; those of rows never change, so they are not copied."""
    (os.link if source.endswith(".sst") else shutil.copy)(source, target)


def send(topics: Topics, records: Iterable[Record]) -> None:
    """Send orders to the partition that each names."""
    producer = Producer({
        "bootstrap.servers": topics.bootstrap, "linger.ms": 5, "compression.type": "zstd",
        "queue.buffering.max.messages": 1_000_000, "log_level": 3,
    })  # fmt: skip
    for record in records:
        while True:
            try:
                producer.produce(
                    topics.prefix + record.topic, record.value, record.key, record.partition,
                    timestamp=record.recorded_at_ms,
                )  # fmt: skip
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    assert producer.flush(60) == 0, "not all orders were acknowledged within 60 s"


def stop(team: Sequence[Worker]) -> None:
    for worker in team:
        assert worker.stop() == 0, worker.tail()


def by_transactions(topics: Topics, warm_up: int) -> tuple[float, int]:
    """Return the seconds between the first transaction and the last, and the orders in between.

    warm_up: orders of the life before, which are not of it.
    """
    metas = [seen for seen in topics.read(CHANGELOG) if seen.key == checker.META]
    reached: dict[int, int] = {}
    at: list[tuple[int, int]] = []  # when, and how many orders are then done
    for seen in sorted(metas, key=lambda seen: seen.timestamp_ms):
        reached[seen.partition] = json.loads(seen.value or b"null")["next"]["orders"]
        at.append((seen.timestamp_ms, sum(reached.values())))
    first_ms = next(ms for ms, done in at if done > warm_up)
    before = max(done for ms, done in at if ms == first_ms)
    last_ms, after = at[-1]
    assert last_ms > first_ms, "void: one transaction took it all, there is nothing to time"
    return (last_ms - first_ms) / 1000, after - before


def told(leg: dict[str, Any]) -> str:
    """One leg in a line, for people."""
    return (
        f"{leg['users']:,} users, {leg['workers']} workers: {leg['events_per_s']:,} events/s, cpu"
        f" {leg['cpu_us']} us, {leg['rss_mb']} MB, {leg['disk_bytes_per_user']} B/user on disk"
    )


def ratios(found: Sequence[dict[str, Any]]) -> list[str]:
    """The rate of each number of users as a part of that of the fewest, medians of the rounds."""
    told_ = []
    fewest = min(leg["users"] for leg in found)

    def median(users: int, workers: int) -> float:
        mine = (leg for leg in found if (leg["users"], leg["workers"]) == (users, workers))
        return statistics.median(leg["events_per_s"] for leg in mine)

    for users, workers in sorted({(leg["users"], leg["workers"]) for leg in found}):
        part = median(users, workers) / median(fewest, workers)
        told_.append(
            f"{users:,} users, {workers} workers: {median(users, workers):,.0f} events/s,"
            f" {part:.2f} of {fewest:,} users"
        )
    return told_


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crowd")
    parser.add_argument("--users", nargs="+", type=int, default=USERS)
    parser.add_argument("--workers", nargs="+", type=int, default=[1])
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--events", type=int, default=400_000, help="measured, at most 4 a user")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skewed", action="store_true", help="a fifth of users bring 77 of 100")
    parser.add_argument("--cold", action="store_true", help="rows are not in the page cache")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every leg, one a line")
    given = parser.parse_args(argv)
    say = stopwatch()
    with broker(say) as (cluster, place):
        found = run(
            cluster,
            place,
            users=given.users,
            workers=given.workers,
            partitions=given.partitions,
            events=given.events,
            rounds=given.rounds,
            skewed=given.skewed,
            cold=given.cold,
            say=say,
        )
    for line in ratios(found):
        print(line)
    if given.json is not None:
        write(given.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

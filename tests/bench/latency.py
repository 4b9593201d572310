"""`python -m tests.bench.latency`: from an order to its reward, as a read_committed reader sees it.

One real broker, one worker as it ships, exactly-once, and a load at a steady rate, each a process
of its own. The load is open loop (tests/bench/load.py): an order's time runs from when it was *due*
to be sent, so a stall of anything here is in the figures of every order that was due meanwhile
(no coordinated omission). It ends when a reader with the client's own defaults has the reward that
the order caused in its hands; which order that was, the reward's headers say. All clocks are one
machine's.

The first seconds of a rate are not counted. Every rate has topics and a worker of its own, and its
rewards must have the digest of the set model, or the figures are of something else. Quiet machine,
or it measures the others: the report says how late the load itself was.

`made` is the part up to the worker's handing the reward to its producer (the record's own
timestamp, whole ms): poll, fold, wait for the commit before. `seen` is the rest: flush, offsets,
commit, its markers, the reader's fetch.

Exit status: 0 done, 2 no Java or Maven, 3 the digests differ.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, TopicPartition

from tests.bench import live
from tests.bench.broker import broker
from tests.bench.engines import drained, time_limit_s
from tests.kafka.harness import CHANGELOG, PARTITIONS, Topics, wait_settled, wait_until
from tests.kafka.workers import Process, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.kafka.cluster import Cluster

    Say = Callable[[str], None]

RATES = (300.0, 3_000.0, 8_000.0)
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
READY_S, LATE_LIMIT_S = 60.0, 60.0
PRECISE_BITS = 5  # a bucket is at most a 32nd of its values wide
BAR = 50
TARGET_RATE, TARGET_MS = 3_000.0, {50.0: 100.0, 99.0: 300.0}


class Histogram:
    """How often each duration came, in buckets a 32nd of their value wide; us, whole numbers."""

    def __init__(self, values_us: Sequence[int]) -> None:
        self.values = sorted(values_us)
        self.buckets = dict(sorted(Counter(map(bucket, self.values)).items()))

    def at(self, percent: float) -> float:
        """The smallest value that so many percent are not above, in ms."""
        rank = max(1, -int(-percent * len(self.values) // 100))
        return self.values[rank - 1] / 1_000

    def told(self) -> dict[str, Any]:
        return {
            "count": len(self.values),
            "ms": {f"p{percent:g}": self.at(percent) for percent in PERCENTILES},
            "max_ms": self.at(100.0),
            "buckets_us": self.buckets,  # by their lower bounds
        }

    def bars(self) -> Iterator[str]:
        """A line for each half octave: from, how many, a bar, percent up to here."""
        halves: Counter[int] = Counter()
        for value in self.values:
            octave = 1 << max(0, value.bit_length() - 1)
            halves[octave if value < octave * 3 // 2 else octave * 3 // 2] += 1
        so_far, most = 0, max(halves.values())
        for lower, count in sorted(halves.items()):
            so_far += count
            bar = "#" * round(BAR * count / most)
            yield (f"  {lower / 1_000:9.2f} ms {count:8d} {so_far / len(self.values):8.2%} {bar}")


def bucket(value_us: int) -> int:
    """The lower bound of its bucket: all but the leading bits are dropped."""
    dropped = max(0, value_us.bit_length() - PRECISE_BITS - 1)
    return value_us >> dropped << dropped


@dataclass
class Leg:
    """One rate. Durations are Histogram.told(); the rest says what else the machine was doing."""

    rate: float
    events: int
    counted_s: float
    digest: str
    whole: dict[str, Any]
    made: dict[str, Any]
    seen: dict[str, Any]
    load: dict[str, Any]  # how late it was itself
    transactions: int  # in what is counted, as are the following
    records: int
    phases_ms: dict[str, float]  # of a transaction
    cpu: dict[str, float]  # cores in use: worker, broker


def run(  # noqa: PLR0913 - the benchmark's knobs, all named
    cluster: Cluster,
    directory: Path,
    *,
    rate: float,
    seconds: float,
    warm_up_s: float,
    workload: str,
    say: Say,
    tag: str = "latency",
) -> tuple[Leg, list[str]]:
    """Measure one rate; return it and the bars of its histogram. Raises AssertionError."""
    work = live.WORKLOADS[workload]
    events = int(rate * (warm_up_s + seconds))
    log = live.traffic(work, live.SEED, events, ())
    expected = live.model_digest(work, log)
    topics = Topics(cluster.bootstrap, f"{tag}-{rate:g}.")
    topics.create(cluster)
    directory.mkdir(parents=True, exist_ok=True)
    worker = Worker(
        topics.bootstrap,
        topics.prefix,
        "leidan-0",
        directory,
        campaigns=(work.campaign,),
        settings={"log_level": "WARNING"},
    )
    load = Load(topics, workload, len(log), rate, directory / "load.log")
    reader = Rewards(topics)
    try:
        worker.start()
        wait_until(lambda: ready(worker), lambda: f"the worker\n{worker.tail()}", READY_S)
        load.start()
        begun = load.begun()
        sleep_until(begun["begin_s"] + warm_up_s)
        before = at_work(worker, cluster)
        sleep_until(begun["begin_s"] + warm_up_s + seconds)
        after = at_work(worker, cluster)
        late = load.lateness()
        drained(topics, worker.group, time_limit_s(events), worker)
        assert worker.stop() == 0, worker.tail()
        wait_settled(topics, ("rewards", CHANGELOG))
        every = len(topics.read("rewards"))
        wait_until(
            lambda: len(reader.seen) == every,
            lambda: f"the reader to have {every} rewards, it has {len(reader.seen)}",
            READY_S,
        )
    finally:
        reader.close()
        worker.close()
        load.close()
    digest = live.digest(live.standing(topics, "rewards"))
    assert digest == expected, f"at {rate:g}/s the worker does not end at the rewards of the model"
    whole, made, seen = durations(topics, log, reader, begun, rate, int(rate * warm_up_s))
    done = after["transactions"] - before["transactions"]
    leg = Leg(
        rate,
        len(log),
        seconds,
        digest,
        whole.told(),
        made.told(),
        seen.told(),
        {name: ms for name, ms in late.items() if name.startswith("late_")},
        done,
        after["records"] - before["records"],
        {
            name: (spent - before["phases"].get(name, 0.0)) / max(1, done) * 1_000
            for name, spent in after["phases"].items()
        },
        {
            name: (after[f"{name}_cpu_s"] - before[f"{name}_cpu_s"])
            / (after["at_s"] - before["at_s"])
            for name in ("worker", "broker")
        },
    )
    say(f"{rate:g}/s: p50 {whole.at(50):.1f} ms, p99 {whole.at(99):.1f} ms")
    return leg, list(whole.bars())


class Load(Process):
    """tests/bench/load.py as a child."""

    def __init__(self, topics: Topics, workload: str, events: int, rate: float, log: Path) -> None:
        command = [sys.executable, "-m", "tests.bench.load"]
        command += ["--bootstrap-servers", topics.bootstrap, "--topic-prefix", topics.prefix]
        command += ["--workload", workload, "--seed", str(live.SEED)]
        command += ["--events", str(events), "--rate", str(rate)]
        super().__init__("load", command, log)

    def begun(self) -> dict[str, float]:
        """Wait until it has made its log and begins."""
        wait_until(
            lambda: bool(self._said()) or not self.running,
            lambda: f"the load to begin\n{self.tail()}",
            READY_S,
            0.01,
        )
        assert self._said(), f"the load ended with {self.ended()}\n{self.tail()}"
        return self._said()[0]

    def lateness(self) -> dict[str, float]:
        """Wait for its end; how late it was itself."""
        assert self.wait(LATE_LIMIT_S, "send the last record") == 0, self.tail()
        return self._said()[-1]

    def _said(self) -> list[dict[str, float]]:
        text = self.log.read_text() if self.log.is_file() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]


class Rewards:
    """A read_committed reader of `rewards` with the client's defaults, in a thread of its own."""

    def __init__(self, topics: Topics) -> None:
        self.seen: list[tuple[float, Any]] = []  # when it had it (monotonic s), the message
        self._consumer = Consumer(
            {
                "bootstrap.servers": topics.bootstrap,
                "group.id": f"{topics.prefix}latency",  # required by the client; never joined
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "log_level": 3,
            }
        )
        name = f"{topics.prefix}rewards"
        self._consumer.assign([TopicPartition(name, p, 0) for p in range(PARTITIONS)])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="rewards", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._over.is_set():
            first = self._consumer.poll(0.5)
            if first is None:
                continue
            # consume() waits its time out unless as many come, so: one, then what else is here
            found = [first, *self._consumer.consume(10_000, 0.0)]
            at_s = time.monotonic()
            self.seen += [(at_s, message) for message in found if message.error() is None]
        self._consumer.close()

    def close(self) -> None:
        self._over.set()
        self._thread.join(READY_S)


def ready(worker: Worker) -> bool:
    """Whether it has its partitions, restored: only then the time of an order is about the feed."""
    worker.require_running()
    stats = worker.own_stats()
    return len(stats.get("partitions", ())) == PARTITIONS and stats.get("paused") == ""


def sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.monotonic()))


def at_work(worker: Worker, cluster: Cluster) -> dict[str, Any]:
    """What worker and broker have done so far; the worker's as of its last second."""
    stats = worker.own_stats()
    return {
        "at_s": time.monotonic(),
        "transactions": stats["transactions"]["committed"],
        "records": stats["records_total"],
        "phases": stats["phases"],
        "worker_cpu_s": cpu_s(worker.pid),
        "broker_cpu_s": cpu_s(cluster.pid()),
    }


def cpu_s(pid: int) -> float:
    """Processor time of a process and its threads, seconds; 0 where /proc is not."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def durations(  # noqa: PLR0913 - all of a leg's evidence
    topics: Topics,
    log: list,
    reader: Rewards,
    begun: dict[str, float],
    rate: float,
    uncounted: int,
) -> tuple[Histogram, Histogram, Histogram]:
    """Time each reward from when its cause was due: whole, until it was made, until it was seen.

    A reward's headers name its cause by topic, partition and offset; what lies there is looked up
    in the topics afterwards, so nothing is asked of the load or the worker meanwhile.
    """
    place = {(topic, value): n for n, (topic, _key, value, _ms) in enumerate(log)}
    assert len(place) == len(log), "two records with the same bytes: their times could be confused"
    sent = {
        (topic, seen.partition, seen.offset): place[topic, seen.value or b""]
        for topic in {record[0] for record in log}
        for seen in topics.read(topic)
    }
    whole, made, seen = [], [], []
    for at_s, message in reader.seen:
        headers = dict(message.headers())
        cause = (
            headers["cause-topic"].decode(),
            int(headers["cause-partition"]),
            int(headers["cause-offset"]),
        )
        n = sent[cause]
        if n < uncounted:
            continue
        us = int((at_s - begun["begin_s"] - n / rate) * 1e6)
        made_us = int((message.timestamp()[1] - begun["begin_ms"] - n / rate * 1e3) * 1e3)
        whole.append(us)
        made.append(max(0, made_us))
        seen.append(max(0, us - made_us))
    assert whole, "void: nothing that is counted earned a reward"
    return Histogram(whole), Histogram(made), Histogram(seen)


# -- how it is told --------------------------------------------------------------------------------


def lines(
    machine: dict[str, Any], workload: str, legs: list[tuple[Leg, list[str]]]
) -> Iterator[str]:
    """The report, as a person reads it."""
    yield (
        f"{machine['cpu']}, {machine['cores']} cores (load {machine['load_1min']}), Python"
        f" {machine['python']}, {machine['date']}, commit {machine['commit']}"
    )
    yield f"workload {workload}, seed {live.SEED}; orders are folded: {machine['orders_folded']}"
    for leg, bars in legs:
        yield ""
        yield (
            f"{leg.rate:g} events/s for {leg.counted_s:g} s, {leg.whole['count']} rewards timed,"
            f" digest {leg.digest[:16]}"
        )
        for name, told in (("whole", leg.whole), ("made", leg.made), ("seen", leg.seen)):
            shown = "  ".join(f"{label} {ms:7.1f}" for label, ms in told["ms"].items())
            yield f"  {name:6s} {shown}  max {told['max_ms']:7.1f} ms"
        yield from bars
        each = leg.records / max(1, leg.transactions)
        yield (
            f"  {leg.transactions / leg.counted_s:.0f} transactions/s of {each:.0f} records; cores"
            f" in use: worker {leg.cpu['worker']:.2f}, broker {leg.cpu['broker']:.2f}"
        )
        phases = "  ".join(f"{name} {ms:.1f}" for name, ms in leg.phases_ms.items())
        yield f"  ms of a transaction: {phases}"
        late = leg.load
        yield (
            f"  the load itself was late by p50 {late['late_p50_s'] * 1e3:.1f} ms, p99"
            f" {late['late_p99_s'] * 1e3:.1f} ms, max {late['late_max_s'] * 1e3:.1f} ms"
        )
        if leg.rate == TARGET_RATE:
            met = all(leg.whole["ms"][f"p{p:g}"] < ms for p, ms in TARGET_MS.items())
            wanted = ", ".join(f"p{p:g} under {ms:g} ms" for p, ms in TARGET_MS.items())
            yield f"  target ({wanted}): {'met' if met else 'MISSED'}"


def main() -> int:
    """Run it, print it, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.latency", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--workload", choices=live.WORKLOADS, default="paid")
    parser.add_argument(
        "--rate", type=float, action="append", help="events/s; again for more (300, 3000, 8000)"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="counted, of each rate")
    parser.add_argument("--warm-up-s", type=float, default=10.0, help="before them, of each rate")
    parser.add_argument(
        "--warm-up-events", type=int, default=100_000, help="folded first, for the broker's sake"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything, as one object")
    given = parser.parse_args()
    say, machine, legs = live.stopwatch(), live.machine(), []
    with broker(say) as (cluster, place):
        if given.warm_up_events:
            live.warm_up(cluster, place, given.workload, given.warm_up_events, say)
        for rate in given.rate or RATES:
            leg = run(
                cluster,
                place / f"{rate:g}",
                rate=rate,
                seconds=given.seconds,
                warm_up_s=given.warm_up_s,
                workload=given.workload,
                say=say,
            )
            legs.append(leg)
    for line in lines(machine, given.workload, legs):
        print(line)
    if given.json is not None:
        told = {
            "machine": machine,
            "workload": given.workload,
            "seed": live.SEED,
            "legs": [asdict(leg) for leg, _ in legs],
        }
        given.json.write_text(json.dumps(told, indent=2) + "\n")
        say(f"written: {given.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

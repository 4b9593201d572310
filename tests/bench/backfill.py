"""`python -m tests.bench.backfill`: events a second of a backfill beside the live worker's.

One real broker, one input, the same campaign. The live worker drains the topics first, timed from
its first transaction to its last by their records in the journal; then the log is folded again into
rows, with one process and with two, and every digest and every row must be the same. A process is
timed over its own work, start-up excluded, as the worker is; two processes by the wall, theirs
included, since that is what one gets. Beside each stands the processor time of an event, which
others on the machine change little.

The log is made while it is sent and compared as it is read, so five million events take no more of
this program's memory than a few: `--events 5000000 --workload paid` takes a quarter of an hour on
two cores, `mixed` twice that. Each backfill's resident memory is told at tenths of its way.

Exit status: 0 done, 2 no Java or Maven, 3 the digests or the rows differ.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams import topics as names
from streams.store.rows import read_rows
from streams.traffic import Traffic
from streams.wire import journal
from tests.backfill.world import digests
from tests.bench import live
from tests.bench.broker import broker
from tests.kafka.harness import PARTITIONS, Topics, wait_settled, wait_until
from tests.kafka.workers import Process, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.traffic import Sent
    from tests.kafka.cluster import Cluster

    Say = Callable[[str], None]

PROCESSES = (1, 2)
LOOK_S = 0.25
TOLD_EVERY = 500_000  # events sent
LEAST_PER_S = 500  # slower than this is stuck
TENTHS = 10


@dataclass
class Leg:
    """One backfill: how many processes, events a second of one and of all, memory of one.

    rss_mb: resident memory of its largest process at tenths of its way.
    """

    processes: int
    a_process: float
    all_of_them: float
    cpu_us: float
    peak_mb: float
    rss_mb: list[int]


@dataclass
class Bench:
    machine: dict
    workload: str
    events: int
    live_events_per_s: float
    live_cpu_us: float
    legs: list[Leg]

    def ratio(self) -> float:
        """How many times the live worker's rate one process has."""
        return self.legs[0].a_process / self.live_events_per_s

    def cpu_ratio(self) -> float:
        """How many times its processor time an event costs the live worker."""
        return self.live_cpu_us / self.legs[0].cpu_us

    def scaling(self) -> float | None:
        """How many times the rate of one process two have together, by the wall."""
        one, *more = self.legs
        return more[0].all_of_them / one.all_of_them if more else None


class Differs(AssertionError):
    """Two backfills, or a backfill and the live worker, do not end at the same bytes."""

    def __str__(self) -> str:
        return f"void: {super().__str__()}"


def run(  # noqa: PLR0913 - the benchmark's knobs, all named
    cluster: Cluster,
    directory: Path,
    *,
    workload: str,
    events: int,
    say: Say,
    processes: tuple[int, ...] = PROCESSES,
) -> Bench:
    """Fold one log live, then again. Raises Differs."""
    work = live.WORKLOADS[workload]
    topics = Topics(cluster.bootstrap, "bench-backfill.")
    topics.create(cluster)
    sent = topics.send(told(traffic(work, events), say), remember=False)
    say(f"{sent:,} events are in the topics")
    rate, cpu_us = lived(topics, work, directory, sent, say)
    say(f"live: {rate:,.0f} events/s, {cpu_us:.1f} us of processor an event")
    bench = Bench(live.machine(), workload, sent, rate, cpu_us, [])
    found: list[dict] = []
    for count in processes:
        leg, summary = again(topics, work, directory / f"again-{count}", count, say)
        bench.legs.append(leg)
        found.append(digests(summary))
        say(
            f"{count} processes: {leg.all_of_them:,.0f} events/s in all, {leg.cpu_us:.1f} us of "
            f"processor an event; MB at tenths of the way: {leg.rss_mb}"
        )
    if any(one != found[0] for one in found):
        raise Differs("one process and two do not end at the same digests")
    for p in range(PARTITIONS):
        ours = read_rows(directory / f"again-{processes[0]}" / "users" / str(p))
        theirs = read_rows(directory / "state" / "leidan-0" / "users" / str(p))
        if any(one != other for one, other in itertools.zip_longest(ours, theirs)):
            raise Differs(f"partition {p}: the rows are not the live worker's")
    return bench


def traffic(work: live.Workload, events: int) -> Iterator[Sent]:
    """What `live.traffic` is, one record after another."""
    many = Traffic(live.SEED, max(1, events // live.EVENTS_PER_USER), 2 * events, ())
    return itertools.islice((one for one in many if work.keeps(one[0], one[2])), events)


def told(log: Iterator[Sent], say: Say) -> Iterator[Sent]:
    for n, one in enumerate(log, 1):
        yield one
        if n % TOLD_EVERY == 0:
            say(f"{n:,} events sent")


def lived(
    topics: Topics, work: live.Workload, directory: Path, events: int, say: Say
) -> tuple[float, float]:
    """Drain the topics with a worker as it ships; return events a second, and us of an event."""
    campaigns, settings = (work.campaign,), {"log_level": "WARNING"}
    worker = Worker(
        topics.bootstrap, topics.prefix, "leidan-0", directory, campaigns=campaigns,
        settings=settings,
    )  # fmt: skip
    left, began_cpu_s, said_s = events, 0.0, time.monotonic()

    def drained() -> bool:
        nonlocal left, began_cpu_s, said_s
        assert worker.running, worker.tail()
        if left == events:
            began_cpu_s = cpu_s(worker.pid)  # its start-up, in which nothing was folded
        left = topics.lag(worker.group, live.FOLDED)
        if time.monotonic() - said_s > TENTHS:
            said_s = time.monotonic()
            say(f"live: {left:,} events are left")
        return left == 0

    try:
        worker.start()
        wait_until(drained, lambda: f"{left} events", 60 + events / LEAST_PER_S, LOOK_S)
        used_s = cpu_s(worker.pid) - began_cpu_s
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.close()
    wait_settled(topics, (names.REWARDS, names.JOURNAL))
    return by_journal(topics), used_s / events * 1e6


def by_journal(topics: Topics) -> float:
    """Return the events a second from the first transaction, which does not count, to the last."""
    seen = topics.read(names.JOURNAL)
    first_ms, last_ms = min(s.timestamp_ms for s in seen), max(s.timestamp_ms for s in seen)
    assert last_ms > first_ms, "void: one transaction took it all, there is nothing to time"
    ranges = (journal.decode(s.value or b"").ranges for s in seen if s.timestamp_ms > first_ms)
    return sum(one.next - one.first for of in ranges for one in of) / (last_ms - first_ms) * 1000


def again(
    topics: Topics, work: live.Workload, directory: Path, count: int, say: Say
) -> tuple[Leg, dict[str, Any]]:
    """Fold the log again with `count` processes; watch their memory."""
    log = directory.with_suffix(".log")
    process = Process(
        directory.name,
        (
            sys.executable, "-m", "streams", "backfill", "--execute", "--json", "--into", "state",
            "--bootstrap-servers", topics.bootstrap, "--topic-prefix", topics.prefix,
            "--app-id", f"{topics.prefix}leidan".replace(".", "-"),
            "--campaigns", str(work.campaign), "--state-dir", str(directory),
            "--processes", str(count),
        ),
        log,
    )  # fmt: skip
    seen: list[int] = []
    said_s = time.monotonic()
    process.start()
    try:
        while process.running:
            time.sleep(LOOK_S)
            seen.append(rss_mb(process.pid))
            if time.monotonic() - said_s > TENTHS:
                said_s = time.monotonic()
                say(f"{count} processes, {seen[-1]} MB: {log.read_text().splitlines()[-1]}")
    finally:
        process.close()
    lines = log.read_text().splitlines()
    assert process.ended() == 0, "\n".join(lines)
    ran = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
    tenths = [max(seen[len(seen) * n // TENTHS : len(seen) * (n + 1) // TENTHS + 1])
              for n in range(TENTHS)]  # fmt: skip
    leg = Leg(
        count,
        ran["events_per_s_a_process"],
        ran["events_per_s"],
        ran["cpu_s"] / ran["folded_now"] * 1e6,
        ran["peak_bytes"] / (1 << 20),
        tenths,
    )
    return leg, ran


def cpu_s(pid: int) -> float:
    """Return what a process has used of processors so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> int:
    """Return the resident memory of a process or of its largest child; 0: it is gone."""
    found = 0
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for one in (str(pid), *children):
            pages = int(Path(f"/proc/{one}/statm").read_text().split()[1])
            found = max(found, pages * os.sysconf("SC_PAGE_SIZE") >> 20)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def main() -> int:
    """Run it and tell; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.backfill", description=__doc__)
    parser.add_argument("--workload", choices=live.WORKLOADS, default="mixed")
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--one", action="store_true", help="no second run with two processes")
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    chosen = parser.parse_args()
    say = live.stopwatch()
    with broker(say) as (cluster, place):
        bench = run(
            cluster,
            place,
            workload=chosen.workload,
            events=chosen.events,
            say=say,
            processes=PROCESSES[:1] if chosen.one else PROCESSES,
        )
    if chosen.json:
        print(json.dumps(asdict(bench)))
        return 0
    for line in lines_of(bench):
        print(line)
    return 0


def lines_of(bench: Bench) -> Iterator[str]:
    """The report, as a person reads it."""
    told = bench.machine
    yield f"{told['cpu']}, {told['cores']} cores (load {told['load_1min']}), {told['date']}"
    yield f"workload {bench.workload}, {bench.events} events; commit {told['commit']}"
    yield f"live worker {bench.live_events_per_s:,.0f} events/s, {bench.live_cpu_us:.1f} us of CPU"
    for leg in bench.legs:
        yield (
            f"{leg.processes} processes: {leg.a_process:,.0f} events/s a process,"
            f" {leg.all_of_them:,.0f} in all, {leg.cpu_us:.1f} us of CPU an event,"
            f" peak {leg.peak_mb:,.0f} MB a process, at tenths of the way {leg.rss_mb}"
        )
    yield f"one process is {bench.ratio():.1f} x live, by CPU {bench.cpu_ratio():.1f} x"
    if bench.scaling() is not None:
        yield f"two processes are {bench.scaling():.1f} x one"


if __name__ == "__main__":
    sys.exit(main())

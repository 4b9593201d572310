"""`python -m tests.bench.backfill`: events a second of a backfill beside the live worker's.

One real broker, one input, the same campaign. The live worker drains the topics first (timed by its
transactions, tests/bench/live.py); then the log is folded again into rows, with one process and
with two, and every digest must be the same. A process is timed over its own work, start-up
excluded, as the worker is; two processes by the wall, theirs included, since that is what one gets.

Exit status: 0 done, 2 no Java or Maven, 3 the digests or the rows differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from streams.store.rows import read_rows
from tests.backfill.world import backfill, digests
from tests.bench import live
from tests.kafka.cluster import Cluster, KafkaMissing
from tests.kafka.harness import PARTITIONS, Topics

if TYPE_CHECKING:
    from collections.abc import Callable

PROCESSES = (1, 2)


@dataclass
class Leg:
    """One backfill: how many processes, events a second of one and of all, peak memory of one."""

    processes: int
    a_process: float
    all_of_them: float
    peak_mb: float


@dataclass
class Bench:
    machine: dict
    workload: str
    events: int
    live_events_per_s: float
    legs: list[Leg]

    def ratio(self) -> float:
        """How many times the live worker's rate one process has."""
        return self.legs[0].a_process / self.live_events_per_s

    def scaling(self) -> float:
        """How many times the rate of one process two have together, by the wall."""
        return self.legs[1].all_of_them / self.legs[0].all_of_them


class Differs(AssertionError):
    """Two backfills, or a backfill and the live worker, do not end at the same bytes."""


def run(
    cluster: Cluster, directory: Path, *, workload: str, events: int, say: Callable[[str], None]
) -> Bench:
    """Fold one log live, then again. Raises Differs."""
    work = live.WORKLOADS[workload]
    topics = Topics(cluster.bootstrap, "bench-backfill.")
    topics.create(cluster)
    log = live.traffic(work, live.SEED, events, ())
    topics.send(log)
    leg = live.leidan(topics, work, directory, "leidan", 1, len(log))
    say(f"live: {leg.events_per_s:,.0f} events/s")
    bench = Bench(live.machine(), workload, len(log), leg.events_per_s, [])
    found: list[dict] = []
    for count in PROCESSES:
        again = directory / f"again-{count}"
        ran = backfill(
            again, "--bootstrap-servers", topics.bootstrap, "--topic-prefix", topics.prefix,
            "--app-id", f"{topics.prefix}leidan".replace(".", "-"), "--campaigns", work.campaign,
            "--into", "state", "--processes", count,
        ).summary  # fmt: skip
        bench.legs.append(
            Leg(
                count,
                ran["events_per_s_a_process"],
                ran["events_per_s"],
                ran["peak_bytes"] / (1 << 20),
            )
        )
        say(f"{count} processes: {ran['events_per_s']:,.0f} events/s in all")
        found.append(digests(ran))
    if found[0] != found[1]:
        raise Differs("one process and two do not end at the same digests")
    for p in range(PARTITIONS):
        lived = dict(read_rows(directory / "state" / "leidan-0" / "users" / str(p)))
        if dict(read_rows(directory / "again-1" / "users" / str(p))) != lived:
            raise Differs(f"partition {p}: the rows are not the live worker's")
    return bench


def main() -> int:
    """Run it and tell; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.backfill", description=__doc__)
    parser.add_argument("--workload", choices=live.WORKLOADS, default="mixed")
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    chosen = parser.parse_args()
    say = live.stopwatch()
    try:
        with tempfile.TemporaryDirectory() as place, Cluster().start() as cluster:
            bench = run(
                cluster, Path(place), workload=chosen.workload, events=chosen.events, say=say
            )
    except KafkaMissing as missing:
        say(str(missing))
        return 2
    except Differs as differs:
        say(f"void: {differs}")
        return 3
    if chosen.json:
        print(json.dumps(asdict(bench)))
        return 0
    told = bench.machine
    print(f"{told['cpu']}, {told['cores']} cores (load {told['load_1min']}), {told['date']}")
    print(f"workload {bench.workload}, {bench.events} events; commit {told['commit']}")
    print(f"live worker {bench.live_events_per_s:,.0f} events/s")
    for leg in bench.legs:
        print(
            f"{leg.processes} processes: {leg.a_process:,.0f} events/s a process,"
            f" {leg.all_of_them:,.0f} in all, peak {leg.peak_mb:,.0f} MB a process"
        )
    print(f"one process is {bench.ratio():.1f} x live; two are {bench.scaling():.1f} x one")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.kafka.rolling --rounds 5 --rate 3000`: upgrades and rollbacks under load.

Two workers fold a steady load on a real broker. A round takes each of them in turn to the other
version, as a supervisor does it: SIGTERM, wait for its end, start; first all to the one version,
then all back. In between both versions are in one group. At the end the input is drained and the
whole of `tests/checker` counts what is lost, doubled, spurious.

The other version is a real one: the oldest commit that reads and writes the rows and folds by the
rules of this one (the last that a rollback may go to, `previous_version`), taken out of the history
into a folder of its own, or `--previous COMMIT`. Without a history (`--previous none`) it is this
checkout with the fold in Python alone (LEIDAN_NATIVE=0): another path to the same bytes.
`--from COMMIT` begins with a version whose rows are older: round 0 takes all workers from it to
this one, then tries to take one back, which must be refused (78) and change nothing.

The pause of a partition is the longest time between two of its transactions *becoming visible* to a
read_committed reader, around one restart. Each transaction has a meta row on the changelog beside
its outputs and offsets, so this is the gap in everything a reader is given of that partition. There
is one sample for each partition of the worker restarted; p99 is over those alone, not over all the
gaps between commits, of which nearly all are some ten milliseconds; and each version's for itself,
since a pause is as long as the version that comes up takes. What is promised is this one's.
Partitions of the other worker are measured too: static members come back to what they had, so they
must not notice.

Exit status: 0 all holds; 1 lost, twice, refused or too long a pause; 2 no Java or Maven, or void.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from streams.errors import Exit
from tests import checker
from tests.faults.steady import Steady, dirty
from tests.kafka.aftermath import DEFINITIONS, gathered, judged
from tests.kafka.cluster import Cluster, KafkaMissing
from tests.kafka.commits import Commits
from tests.kafka.harness import (
    CHANGELOG,
    PARTITIONS,
    TookTooLong,
    Topics,
    wait_drained,
    wait_settled,
    wait_until,
)
from tests.kafka.versions import IN_PYTHON, THIS, lives_of, previous_version, start, taken_out
from tests.kafka.workers import Unexpected, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.kafka.versions import Version

MOST_PAUSE_S = 5.0
"""What is promised of a rolling restart, p99 of pauses."""

START_S = 60.0
LEAST_OF_THE_RATE = 0.9
CHECKED_AT_ONCE = 20_000
"""Records of one run that the fold is asked about again; above, rows and outputs are judged by the
set model, the ledger and the changelog alone, or it takes longer than the run."""


def cpu_of(worker: Worker) -> float:
    """Processor time of this life so far, all threads, in seconds."""
    numbers = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


# -- the clock -------------------------------------------------------------------------------------


class Visible:
    """When each partition's transactions became visible, noted by a read_committed reader."""

    def __init__(self, topics: Topics) -> None:
        self.at_s: dict[int, list[float]] = {p: [] for _, p in topics.partitions([CHANGELOG])}
        self._commits = Commits(topics, "visible", self._seen, wait_s=0.02)

    def _seen(self, p: int, _made_ms: int) -> None:
        self.at_s[p].append(time.monotonic())

    def since(self, p: int, from_s: float) -> int:
        """How many of its transactions have become visible since."""
        return sum(at_s >= from_s for at_s in self.at_s[p][-500:])

    def longest_s(self, p: int, from_s: float, until_s: float) -> float:
        """The longest gap of p that touches this time; what is open at its end counts so far."""
        seen = [at_s for at_s in self.at_s[p] if at_s <= until_s]
        before = [at_s for at_s in seen if at_s < from_s][-1:]
        marks = [*(before or [from_s]), *(at_s for at_s in seen if at_s >= from_s), until_s]
        return max(b - a for a, b in itertools.pairwise(marks))

    def stop(self) -> None:
        self._commits.stop()


# -- the run ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What is run. rounds: each takes every worker to the other version and back."""

    rounds: int = 5
    per_s: float = 3_000.0
    workers: int = 2
    partitions: int = PARTITIONS
    seed: int = 1
    users: int = 20_000
    steady_s: float = 2.0  # between two restarts: whose pause is whose must be told apart
    session_ms: int = 10_000  # the default of workers
    most_pause_s: float = MOST_PAUSE_S


@dataclass
class Restart:
    """One worker, once. stop_s: SIGTERM to its end; up_s: start to its stats file.

    cpu_s: processor time from its start to the commits of all its partitions, as the kernel says.
    On a busy machine a pause is what this takes, stretched.
    """

    worker: str
    version: str
    stop_s: float
    up_s: float
    cpu_s: float
    pauses_s: dict[int, float]
    others_s: dict[int, float]


@dataclass
class Figures:
    """What was done and found."""

    versions: list[str] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)
    records: int = 0
    run_s: float = 0.0
    generations: int = 0  # of the group, from the first restart to the last
    refused: list[str] = field(default_factory=list)
    usual_ms: float = 0.0  # p99 of all gaps
    drained_s: float = 0.0
    checked: str = ""
    wrong: list[str] = field(default_factory=list)

    def pauses_s(self, version: str) -> list[float]:
        """Pauses that ended with a start of this version, ordered."""
        restarts = (one for one in self.restarts if one.version == version)
        return sorted(s for one in restarts for s in one.pauses_s.values())

    def lines(self) -> list[str]:
        stop_s, up_s, cpu_s = (
            statistics.median(getattr(one, name) for one in self.restarts)
            for name in ("stop_s", "up_s", "cpu_s")
        )
        per_s = self.records / self.run_s if self.run_s else 0.0
        other_s = max((s for one in self.restarts for s in one.others_s.values()), default=0.0)
        return [
            f"{self.records} records in {self.run_s:.0f} s, {per_s:.0f} a second",
            f"versions: {', '.join(self.versions)}",
            f"{len(self.restarts)} restarts, {self.generations} rebalances between them",
            f"medians: {stop_s:.1f} s to stop, {up_s:.1f} s to be up",
            f"processor time from the start until all its partitions commit: {cpu_s:.1f} s",
            *(
                f"pauses until {name} went on: {len(pauses)}, p50 {quantile(pauses, 0.5):.2f} s, "
                f"p99 {quantile(pauses, 0.99):.2f} s"
                for name in self.versions
                if (pauses := self.pauses_s(name))
            ),
            f"partitions of workers not restarted: longest {other_s:.2f} s",
            f"p99 of all gaps {self.usual_ms:.0f} ms; drained {self.drained_s:.1f} s after the end",
            *(f"refused as it must be: {text}" for text in self.refused),
            self.checked,
            *(f"VIOLATION {text}" for text in self.wrong[:20]),
        ]


def quantile(ordered: Sequence[float], q: float) -> float:
    """The smallest value that at least this share is not above."""
    return ordered[max(0, -(-int(q * 1000) * len(ordered) // 1000) - 1)] if ordered else 0.0


class Rolling:
    """One run; see the module."""

    def __init__(  # noqa: PLR0913 - what a run is made of
        self,
        topics: Topics,
        directory: Path,
        plan: Plan,
        this: Version,
        other: Version,
        say: Callable[[str], None] = print,
    ) -> None:
        self.topics, self.plan, self.this, self.other = topics, plan, this, other
        self.figures = Figures(versions=[this.name, other.name])
        settings = {"session_timeout_ms": plan.session_ms, "batch_records": 8_000}
        self.workers = [
            Worker(topics.bootstrap, topics.prefix, f"leidan-{n}", directory, settings=settings)
            for n in range(plan.workers)
        ]
        self._began_s = time.monotonic()
        self._say = say

    def say(self, text: str) -> None:
        self._say(f"[{time.monotonic() - self._began_s:6.1f} s] {text}")

    def run(self, first: Version | None = None) -> Figures:
        """Do it all and stop the workers. first: a version of older rows to begin with.

        Raises TookTooLong, Unexpected.
        """
        plan, figures = self.plan, self.figures
        beginning = first or self.this
        for worker in self.workers:
            start(worker, beginning)
        self._all_shared()
        visible = Visible(self.topics)
        log = dirty(plan.seed, plan.users)
        begun_s, load = time.monotonic(), Steady(self.topics, log, plan.per_s)
        try:
            wait_until(
                lambda: all(visible.since(p, begun_s) >= 3 for p in visible.at_s),
                lambda: "every partition to commit",
                START_S,
            )
            time.sleep(plan.steady_s)
            before = self._generation()
            if first is not None:
                figures.versions.insert(0, first.name)
                self._roll(visible, self.this, "round 0")
                self._must_be_refused(first)
            for n in range(1, plan.rounds + 1):
                self._roll(visible, self.other, f"round {n}")
                self._roll(visible, self.this, f"round {n}")
                assert not load.over, "void: the traffic ended before the rounds"
            figures.generations = self._generation() - before
        finally:
            load.cancel()
            figures.run_s = time.monotonic() - begun_s
        figures.records = load.stop()
        figures.drained_s = wait_drained(self.topics, self.workers[0].group, timeout_s=120)
        wait_settled(self.topics)
        visible.stop()
        gaps = sorted(b - a for seen in visible.at_s.values() for a, b in itertools.pairwise(seen))
        figures.usual_ms = quantile(gaps, 0.99) * 1_000
        for worker in self.workers:
            status = worker.stop()
            if status != 0:
                figures.wrong.append(f"{worker.name} stopped with {status}\n{worker.tail(15)}")
        return figures

    def _owned(self, worker: Worker) -> list[int]:
        return worker.own_stats().get("partitions", [])

    def _generation(self) -> int:
        return max(worker.own_stats().get("generation") or 0 for worker in self.workers)

    def _all_shared(self) -> None:
        every = list(range(self.plan.partitions))
        wait_until(
            lambda: (
                all(worker.lives() and self._owned(worker) for worker in self.workers)
                and sorted(p for worker in self.workers for p in self._owned(worker)) == every
            ),
            lambda: f"workers to share: {[self._owned(worker) for worker in self.workers]}",
            START_S,
        )

    def _roll(self, visible: Visible, version: Version, what: str) -> None:
        """Take every worker to this version, one after the other."""
        for worker in self.workers:
            restart = self._restart(worker, visible, version)
            self.figures.restarts.append(restart)
            pauses = ", ".join(f"{s:.2f}" for s in restart.pauses_s.values())
            others = max(restart.others_s.values(), default=0.0)
            self.say(
                f"{what}: {worker.name} is {version.name}: stopped in {restart.stop_s:.2f} s, up "
                f"after {restart.up_s:.2f} s; its partitions paused {pauses} s, others {others:.2f}"
            )

    def _restart(self, worker: Worker, visible: Visible, version: Version) -> Restart:
        mine = self._owned(worker)
        assert mine, f"void: {worker.name} owned nothing"
        begun_s = time.monotonic()
        status = worker.stop()
        stopped_s = time.monotonic()
        if status != 0:
            self.figures.wrong.append(f"{worker.name} stopped with {status}\n{worker.tail(15)}")
        start(worker, version)
        wait_until(worker.lives, lambda: f"{worker.name}: {worker.tail(5)}", START_S, 0.02)
        up_s = time.monotonic()
        wait_until(
            lambda: all(visible.since(p, stopped_s) >= 3 for p in mine),
            lambda: f"{worker.name} to commit all of {mine}: {worker.tail(5)}",
            START_S,
            0.02,
        )
        spent_s = cpu_of(worker)
        time.sleep(self.plan.steady_s)
        until_s = time.monotonic()
        if self._owned(worker) != mine:
            self.figures.wrong.append(
                f"{worker.name} had {mine}, came back to {self._owned(worker)}"
            )
        longest = {p: visible.longest_s(p, begun_s, until_s) for p in visible.at_s}
        return Restart(
            worker.name,
            version.name,
            stopped_s - begun_s,
            up_s - stopped_s,
            spent_s,
            {p: s for p, s in longest.items() if p in mine},
            {p: s for p, s in longest.items() if p not in mine},
        )

    def _must_be_refused(self, older: Version) -> None:
        """Roll one back to what cannot read these rows: it must say so, and change nothing."""
        worker = self.workers[0]
        mine = self._owned(worker)
        status = worker.stop()
        begun = len(worker.log.read_text())
        start(worker, older)
        status = worker.wait(START_S, f"be refused as {older.name}")
        said = [line for line in worker.log.read_text()[begun:].splitlines() if "newer" in line]
        if status != Exit.REFUSED or not said:
            self.figures.wrong.append(f"{older.name} ended with {status}: {worker.tail(5)}")
        self.figures.refused.append(f"{older.name}, exit {status}: {' '.join(said)[-300:]}")
        self.say(f"{older.name} is refused with {status}, as it must be")
        start(worker, self.this)
        wait_until(
            lambda: worker.lives() and self._owned(worker) == mine,
            lambda: f"{worker.name} to come back: {worker.tail(5)}",
            START_S,
        )
        time.sleep(self.plan.steady_s)

    def judge(self, *, with_fold: bool = True) -> Figures:
        """Read everything again: lost, twice, spurious; and what was promised of pauses."""
        figures = self.figures
        evidence = gathered(self.topics, *self.workers)
        report = judged(evidence) if with_fold else checker.check(evidence, DEFINITIONS)
        figures.checked = report.summary()
        figures.wrong += [f"{f.invariant} {f.kind}: {f.text}" for f in report.findings[:50]]
        if report.compared["rewards due"] < figures.records // 100:
            figures.wrong.append("void: next to nothing was earned")
        if figures.records < LEAST_OF_THE_RATE * self.plan.per_s * figures.run_s:
            figures.wrong.append("void: the load was less than asked for")
        for worker in self.workers:
            for version in (self.this, self.other)[: 1 + bool(self.plan.rounds)]:
                if not lives_of(worker, version):
                    figures.wrong.append(f"void: {worker.name} was never {version.name}")
        most_s = self.plan.most_pause_s
        # An older version starts as fast as it did: said, but nothing of today's tree mends it.
        if (p99 := quantile(figures.pauses_s(self.this.name), 0.99)) > most_s:
            figures.wrong.append(f"pauses: p99 of {p99:.2f} s is longer than {most_s} s")
        longest = max((s for one in figures.restarts for s in one.others_s.values()), default=0.0)
        if longest > most_s:
            figures.wrong.append(f"a partition of a worker not restarted stood {longest:.2f} s")
        return figures

    def close(self) -> None:
        for worker in self.workers:
            worker.close()


def main(argv: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.kafka.rolling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="each: all workers there and back")
    parser.add_argument("--rate", type=float, default=3_000.0, help="records a second (3000)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--previous", help="the other version, a commit; `none`: in Python alone")
    parser.add_argument("--from", dest="first", help="begin with this commit, whose rows are older")
    parser.add_argument("--json", type=Path, help="keep the figures there")
    given = parser.parse_args(argv)
    plan = Plan(given.rounds, given.rate, given.workers, given.partitions, given.seed)
    home = Path(tempfile.mkdtemp(prefix="leidan-rolling-"))
    rolling = None
    try:
        previous = given.previous or previous_version() or "none"
        other = (
            IN_PYTHON
            if previous == "none"
            else taken_out(previous, home / "previous", compiled=True)
        )
        first = given.first and taken_out(given.first, home / "first", compiled=True)
        with Cluster(lasting=True).start() as broker:
            topics = Topics(broker.bootstrap, "rolling.")
            topics.create(broker, plan.partitions)
            rolling = Rolling(topics, home, plan, THIS, other, lambda t: print(t, flush=True))
            rolling.say(f"this version and {other.name}, {plan.per_s:.0f} records a second")
            try:
                rolling.run(first or None)
                rolling.say("reading it all again")
                # rows of two schemas are not one fold's bytes
                figures = rolling.judge(
                    with_fold=not first and rolling.figures.records <= CHECKED_AT_ONCE
                )
            finally:
                rolling.close()
    except KafkaMissing as missing:
        print(missing)
        return 2
    except (TookTooLong, Unexpected) as broken:
        print(f"{broken}\nkept: {home}")
        return 1
    print("\n".join(figures.lines()))
    if given.json is not None:
        given.json.write_text(json.dumps(asdict(figures), indent=1))
    if figures.wrong:
        print(f"kept: {home}")
        return 2 if all(text.startswith("void") for text in figures.wrong) else 1
    shutil.rmtree(home, ignore_errors=True)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    sys.exit(main())

"""`python -m tests.faults.kills --kills 1000 --seed 1`: so many landed kills, in checked rounds.

Each round has topics and databases of its own, some hundred kills under steady, dirty traffic, a
drain to lag zero, and then the whole of `tests/checker`. The topics stay short, so checking
stays cheap, and a round that found something is kept on disk while the next one runs.

Row 1 and row 2 of the fault matrix (reliability.md 8).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.healing import Healing
from tests.faults.steady import Steady, dirty
from tests.faults.storm import Storm, deck
from tests.kafka.aftermath import aborted_transactions, gathered, judged
from tests.kafka.cluster import Cluster
from tests.kafka.harness import Follower, Topics, dice, wait_drained, wait_settled, wait_until
from tests.kafka.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.checker import Seen

HEAL_LIMIT_S = 60.0
USERS = 2_000
SAY_S = 10.0


@dataclass
class Round:
    """What one round did and found."""

    number: int
    seed: str
    kills: int = 0
    landed: dict[str, int] = field(default_factory=dict)
    cells: dict[str, int] = field(default_factory=dict)
    missed: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)  # ends that were no kill, by exit code
    records: int = 0
    aborted: int = 0
    unknown: int = 0
    fenced: int = 0
    rebalances: int = 0
    storm_s: float = 0.0
    check_s: float = 0.0
    healed_s: list[float] = field(default_factory=list)
    away_s: list[float] = field(default_factory=list)
    checked: str = ""
    violations: list[str] = field(default_factory=list)
    complete: bool = False


@dataclass(frozen=True)
class Plan:
    """How a round is run."""

    kills: int | None = 100  # None: every card of the deck
    workers: int = 3
    partitions: int = 6
    per_s: float = 250.0
    session_ms: int = 6_000
    batch_records: int = 200


def run_round(  # noqa: PLR0913 - what tells one round from another
    broker: Cluster,
    prefix: str,
    directory: Path,
    found: Round,
    plan: Plan,
    *,
    cards: Callable[..., Any] = deck,
    note: Callable[[str], None] = print,
) -> None:
    """Fill `found`; whatever goes wrong is a violation there, not an exception."""
    topics = Topics(broker.bootstrap, prefix)
    workers = [
        Worker(
            broker.bootstrap,
            prefix,
            f"leidan-{n}",
            directory,
            settings={"batch_records": plan.batch_records, "session_timeout_ms": plan.session_ms},
        )
        for n in range(plan.workers)
    ]
    directory.mkdir(parents=True)
    try:
        topics.create(broker, plan.partitions)
        _storm(topics, workers, found, plan, cards, note)
        found.complete = True
    except Exception as error:  # noqa: BLE001 - recorded; the next round goes on
        found.violations.append(f"{type(error).__name__}: {error}")
        note(traceback.format_exc())
    finally:
        for worker in workers:
            worker.close()


def _storm(  # noqa: PLR0913 - the body of run_round
    topics: Topics,
    workers: Sequence[Worker],
    found: Round,
    plan: Plan,
    cards: Callable[..., Any],
    note: Callable[[str], None],
) -> None:
    begun_s = time.monotonic()
    healing, follower = Healing(topics), Follower(topics)
    storm = Storm(workers, healing, dice(found.seed), plan.kills, cards=cards, note=note)
    traffic = Steady(topics, dirty(found.number + 1_000, USERS), plan.per_s)
    try:
        storm.start()
        said_s = time.monotonic()
        while not storm.over:
            storm.turn()
            _copy(storm, healing, found)
            assert not traffic.over, "void: the traffic ended before the storm"
            if time.monotonic() - said_s >= SAY_S:
                said_s = time.monotonic()
                note(f"round {found.number}: {found.kills} of {plan.kills} kills landed")
            time.sleep(0.02)
        wait_until(
            lambda: not healing.open(),
            lambda: f"all partitions to commit again, still silent: {healing.open()}",
            HEAL_LIMIT_S,
        )
        _copy(storm, healing, found)
    finally:
        traffic.cancel()
        found.storm_s = round(time.monotonic() - begun_s, 1)
        followed = follower.stop()
        healing.close()
    found.records = traffic.stop()
    late = [f"{seconds:.1f}" for seconds in healing.healed_s if seconds > HEAL_LIMIT_S]
    if late:
        found.violations.append(f"healed only after {', '.join(late)} s")
    _check(topics, workers, found, followed)


def _copy(storm: Storm, healing: Healing, found: Round) -> None:
    tally = storm.tally
    found.kills = tally.kills
    found.landed = dict(sorted(tally.landed.items()))
    found.cells = dict(sorted(tally.cells.items()))
    found.missed, found.restarts = dict(tally.missed), dict(tally.restarts)
    found.healed_s = [round(s, 2) for s in healing.healed_s]
    found.away_s = [round(s, 2) for s in healing.away_s]
    found.violations[:] = tally.violations


def _check(
    topics: Topics,
    workers: Sequence[Worker],
    found: Round,
    followed: dict[str, list[Seen]],
) -> None:
    """Drain, settle, stop everybody, and compare everything."""
    begun_s = time.monotonic()
    wait_drained(topics, workers[0].group, timeout_s=120)
    wait_settled(topics)
    for worker in workers:
        worker.require_running()
        found.rebalances = max(found.rebalances, worker.stats().get("generation", 0))
    for worker in workers:
        status = worker.stop()
        if status != 0:
            said = f"{worker.name} stopped with {status}\n{worker.tail(15)}"
            found.violations.append(said)
        text = worker.log.read_text(errors="replace")
        found.unknown += text.count("commit unknown: ")
        found.fenced += text.count("(exit 75)")
    found.aborted = aborted_transactions(topics)
    report = judged(gathered(topics, *workers, followed=followed))
    found.checked = report.summary()
    found.violations += [f"{f.invariant} {f.kind}: {f.text}" for f in report.findings[:50]]
    if report.compared["rewards due"] < found.records // 100:
        found.violations.append("void: next to nothing was earned")
    found.check_s = round(time.monotonic() - begun_s, 1)


# -- many rounds, from the command line ------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """0: everything landed and nothing was found; 1: a violation; 2: void, too few kills."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000, help="landed kills in all (1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--rate", type=float, default=250.0, help="records a second (250)")
    parser.add_argument("--round-kills", type=int, default=100, help="kills between checks (100)")
    parser.add_argument("--minutes", type=float, help="begin no round after so many minutes")
    parser.add_argument("--json", type=Path, help="keep everything there, written all the while")
    options = parser.parse_args(argv)
    home = Path(tempfile.mkdtemp(prefix="leidan-kills-"))
    run = Run(options, home)
    try:
        with Cluster().start() as broker:
            run.rounds_on(broker)
    except KeyboardInterrupt:
        run.note("interrupted")
    finally:
        run.write()
    if not run.violations():
        shutil.rmtree(home, ignore_errors=True)
    else:
        run.note(f"kept: {home}")
    print(run.table())
    if run.violations():
        return 1
    return 0 if run.kills() >= options.kills else 2


class Run:
    """All rounds, said as they go and written to a file."""

    def __init__(self, options: argparse.Namespace, home: Path) -> None:
        self.options, self.home = options, home
        self.rounds: list[Round] = []
        self._began_s = self._written_s = time.monotonic()

    def note(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began_s:6.1f} s] {self.kills()} kills; {text}")
        sys.stdout.flush()
        if time.monotonic() - self._written_s > 2:
            self.write()

    def kills(self) -> int:
        return sum(one.kills for one in self.rounds)

    def violations(self) -> list[str]:
        return [f"round {one.number}: {text}" for one in self.rounds for text in one.violations]

    def rounds_on(self, broker: Cluster) -> None:
        options = self.options
        while self.kills() < options.kills:
            minutes = (time.monotonic() - self._began_s) / 60
            if options.minutes is not None and minutes > options.minutes:
                self.note(f"{minutes:.0f} minutes are over: no further round")
                return
            if sum(not one.complete for one in self.rounds) > 2:
                self.note("three rounds broke off: leaving")
                return
            number = len(self.rounds)
            found = Round(number, f"{options.seed}/{number}")
            left = options.kills - self.kills()
            plan = Plan(
                min(options.round_kills, left), options.workers, options.partitions, options.rate
            )
            self.rounds.append(found)
            directory, prefix = self.home / str(number), f"storm-{number}."
            run_round(broker, prefix, directory, found, plan, note=self.note)
            self.note(
                f"round {number}: {found.storm_s:.0f} s of storm, {found.check_s:.0f} s of check: "
                f"{found.checked or 'NOT CHECKED'}"
            )
            for text in found.violations:
                self.note(f"VIOLATION in round {number}: {text}")
            if not found.violations:
                shutil.rmtree(directory, ignore_errors=True)
            _delete(broker, prefix)
            self.write()

    def result(self) -> dict[str, Any]:
        rounds, healed = self.rounds, [s for one in self.rounds for s in one.healed_s]

        def total(field_: str) -> dict[str, int]:
            names = sorted({name for one in rounds for name in getattr(one, field_)})
            return {n: sum(getattr(one, field_).get(n, 0) for one in rounds) for n in names}

        return {
            "seed": self.options.seed,
            "kills_wanted": self.options.kills,
            "kills_landed": self.kills(),
            "landed": total("landed"),
            "cells": total("cells"),
            "missed": total("missed"),
            "restarts_by_exit": total("restarts"),
            "aborted": sum(one.aborted for one in rounds),
            "unknown": sum(one.unknown for one in rounds),
            "fenced": sum(one.fenced for one in rounds),
            "rebalances": sum(one.rebalances for one in rounds),
            "records": sum(one.records for one in rounds),
            "healed": len(healed),
            "heal_s": quantiles(healed),
            "away_s": quantiles([s for one in rounds for s in one.away_s]),
            "violations": self.violations(),
            "rounds_checked": sum(one.complete for one in rounds),
            "seconds": round(time.monotonic() - self._began_s, 1),
            "options": {k: str(v) for k, v in vars(self.options).items()},
            "rounds": [vars(one) for one in rounds],
        }

    def write(self) -> None:
        """Replace the file, so that an interrupted run is recorded as far as it came."""
        self._written_s = time.monotonic()
        if self.options.json is not None:
            new = self.options.json.with_suffix(".tmp")
            new.write_text(json.dumps(self.result(), indent=1))
            new.replace(self.options.json)

    def table(self) -> str:
        result = self.result()
        names = ("seed", "kills_landed", "landed", "missed", "restarts_by_exit", "aborted")
        names += ("unknown", "fenced", "rebalances", "records", "healed", "heal_s", "away_s")
        names += ("rounds_checked", "seconds")
        lines = [f"{name:18} {result[name]}" for name in names]
        lines += [f"round {one.number}: {one.checked}" for one in self.rounds]
        lines += [f"VIOLATION {text}" for text in result["violations"]]
        return "\n".join([*lines, f"{len(result['violations'])} violations"])


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    return {"p50": round(cuts[9], 2), "p95": round(cuts[18], 2), "max": round(max(seconds), 2)}


def _delete(broker: Cluster, prefix: str) -> None:
    """Delete a checked round's topics, so that the broker stays as light as at the start."""
    topics = Topics(broker.bootstrap, prefix)
    names = [t for t in topics.admin.list_topics(timeout=10).topics if t.startswith(prefix)]
    for gone in topics.admin.delete_topics(names, operation_timeout=30).values():
        gone.result(30)


if __name__ == "__main__":
    sys.exit(main())

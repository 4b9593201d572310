"""`python -m tests.faults.kills --kills 1000 --seed 1`: so many landed kills, in checked rounds.

Each round (`kill_round.py`) has topics and databases of its own, some hundred kills under steady,
dirty traffic, a drain to lag zero, and then the whole of `tests/checker`. The topics stay short, so
checking stays cheap, and a round that found something is kept on disk while the next one runs.

Row 1 and row 2 of the fault matrix (reliability.md 8).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.kill_round import Plan, Round, run_round
from tests.faults.record import rewrite
from tests.kafka.cluster import Cluster
from tests.kafka.harness import Topics

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    given = parser.parse_args(argv)
    home = Path(tempfile.mkdtemp(prefix="leidan-kills-"))
    run = Rounds(given, home)
    try:
        with Cluster(lasting=True).start() as broker:
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
    return 0 if run.kills() >= given.kills else 2


class Rounds:
    """All rounds: said as they go, and on disk all the while."""

    def __init__(self, given: argparse.Namespace, home: Path) -> None:
        self.given, self.home = given, home
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
        given = self.given
        while self.kills() < given.kills:
            minutes = (time.monotonic() - self._began_s) / 60
            if given.minutes is not None and minutes > given.minutes:
                self.note(f"{minutes:.0f} minutes are over: no further round")
                return
            if sum(not one.complete for one in self.rounds) > 2:
                self.note("three rounds broke off: leaving")
                return
            number = len(self.rounds)
            found = Round(number, f"{given.seed}/{number}")
            left = given.kills - self.kills()
            plan = Plan(min(given.round_kills, left), given.workers, given.partitions, given.rate)
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
            "seed": self.given.seed,
            "kills_wanted": self.given.kills,
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
            "options": {k: str(v) for k, v in vars(self.given).items()},
            "rounds": [vars(one) for one in rounds],
        }

    def write(self) -> None:
        """Replace the file, so that an interrupted run is recorded as far as it came."""
        self._written_s = time.monotonic()
        if self.given.json is not None:
            rewrite(self.given.json, self.result())

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

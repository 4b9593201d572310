"""What a soak has proved so far: counted, told every ten seconds, and on disk all the while."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.kafka.cluster import KafkaMissing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from tests.checker import Evidence, Report
    from tests.faults.fleet import Fleet
    from tests.faults.live import LiveReader
    from tests.faults.nemesis import Nemesis

LEAST_S_PER_KILL = 20.0


def rewrite(path: Path, facts: dict[str, Any]) -> None:
    """Replace a record, never by half of it: an interrupted run is known as far as it came."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps(facts, indent=2) + "\n")
    new.replace(path)


class Record:
    """Sums over rounds that are over, and of the one under way."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.begun_s = time.monotonic()
        self.faulty_s = 0.0
        self.rounds = 0  # checked to the end
        self.interrupted = self.ended = False
        self.drains_s: list[float] = []
        self.compared: Counter[str] = Counter()
        self.checked: Counter[str] = Counter()  # events, outputs, rewards, aborted
        self.violations: list[str] = []
        self.sums_kept = _Sums()
        self._now = _Sums()

    @property
    def sums(self) -> _Sums:
        return self.sums_kept + self._now

    def take(self, fleet: Fleet, nemesis: Nemesis, live: LiveReader | None) -> None:
        """Look at the round under way."""
        self._now = _Sums.of(fleet, nemesis, live)
        self.write()

    def keep_round(self) -> None:
        """The round under way is over, however it ended."""
        self.sums_kept, self._now = self.sums_kept + self._now, _Sums()
        self.violations += self.sums_kept.violations
        self.sums_kept.violations = []

    def violation(self, text: str) -> None:
        self.violations.append(text)
        print(f"VIOLATION {text}", flush=True)

    @contextlib.contextmanager
    def noting(self, what: str) -> Iterator[None]:
        """Turn an error into a violation: the hours before it must not be lost with it."""
        try:
            yield
        except KafkaMissing:
            raise
        except Exception as error:  # noqa: BLE001 - told, and the run fails
            self.violation(f"{what}: {type(error).__name__}: {error}")

    def close_round(self, evidence: Evidence, report: Report, live: Report, aborted: int) -> None:
        """Take over what the check of a round found and compared."""
        self.rounds += 1
        self.compared += report.compared
        self.checked["events"] += sum(len(seen) for seen in evidence.inputs.values())
        self.checked["outputs"] += sum(
            len(evidence.outputs[name]) for name in ("rewards", "task-events")
        )
        self.checked["rewards due"] += report.compared["rewards due"]
        self.checked["dead letters"] += report.compared["dead letters"]
        self.checked["transactions aborted"] += aborted
        self.checked["read live"] += sum(len(seen) for seen in evidence.followed.values())
        for where, one in (("", report), ("live ", live)):
            if one.findings:
                self.violation(f"{where}{one}")
        print(f"round checked: {report.summary()}", flush=True)
        self.write()

    def tell(self, number: int, what: str, fleet: Fleet, nemesis: Nemesis) -> None:
        """One line."""
        sums, at_s = self.sums, time.monotonic() - self.begun_s
        wrong = len(self.violations) + len(sums.violations)
        alive = sum(slot.worker.running for slot in fleet.slots)
        heals = [seconds for _kind, seconds in sums.heals]
        print(
            f"[{at_s:6.0f} s] round {number}, {what}: {sums.kills.total()} kills, "
            f"{sums.landed.total()} other faults (now: {nemesis.now or '-'}), {alive} workers up, "
            f"{sum(sums.exits.values())} exits, {fleet.progress.total} committed, {sums.live} read "
            f"live, healed {len(heals)} x, at most {max(heals, default=0):.0f} s, "
            f"{len(fleet.pending)} healing, {wrong} violations, load {os.getloadavg()[0]:.0f}",
            flush=True,
        )

    def facts(self) -> dict[str, Any]:
        """Everything, for JSON."""
        sums = self.sums
        by_kind: dict[str, list[float]] = {}
        for kind, seconds in sums.heals:
            by_kind.setdefault(kind, []).append(seconds)
        every = [seconds for _kind, seconds in sums.heals]
        return {
            "seed": self.given.seed,
            "options": {key: str(value) for key, value in vars(self.given).items()},
            "state": "ended" if self.ended else "interrupted" if self.interrupted else "running",
            "rounds checked": self.rounds,
            "seconds": round(time.monotonic() - self.begun_s),
            "seconds under faults": round(self.faulty_s),
            "kills of workers": sums.kills.total(),
            "kills by point": dict(sorted(sums.kills.items())),
            "other faults landed": dict(sorted(sums.landed.items())),
            "other faults that did not land": dict(sorted(sums.missed.items())),
            "exits of their own accord": {str(k): n for k, n in sorted(sums.exits.items())},
            "worker starts": sums.starts,
            "departures": sums.departures,
            "rebalances": sums.rebalances,
            "transactions as workers told": dict(sums.transactions),
            "heals": len(every),
            "heal p50 s": round(statistics.median(every), 1) if every else None,
            "heal max s": round(max(every), 1) if every else None,
            "heal max by kind s": {k: round(max(v), 1) for k, v in sorted(by_kind.items())},
            "drains s": self.drains_s,
            **dict(self.checked),
            "compared": dict(self.compared),
            "violations": [*self.violations, *sums.violations],
        }

    def write(self) -> None:
        """Rewrite the file, if one was asked for."""
        if self.given.json is not None:
            rewrite(self.given.json, self.facts())

    def table(self) -> list[str]:
        """The end of a run, for people."""
        facts = self.facts()
        hidden = {"violations", "options", "compared"}
        lines = [f"{key:32} {value}" for key, value in facts.items() if key not in hidden]
        lines.append(f"{'violations':32} {len(facts['violations'])}")
        return [*lines, *(f"  VIOLATION {text}" for text in facts["violations"])]

    def exit_status(self, directory: Path) -> int:
        """Say how it ended; what is evidence of a violation is kept."""
        kills = self.sums.kills.total()
        least = self.given.least_kills
        if least is None:
            least = int(self.given.hours * 3600 / LEAST_S_PER_KILL)
        if self.violations:
            print(f"logs and databases are kept in {directory}")
            return 1
        shutil.rmtree(directory, ignore_errors=True)
        if self.interrupted:
            return 130
        if kills < least or not self.sums.landed or not self.rounds:
            print(f"void: {kills} kills landed, {least} are the least; {self.rounds} rounds")
            return 3
        return 0


class _Sums:
    """What a fleet and its nemesis count."""

    def __init__(self) -> None:
        self.kills: Counter[str] = Counter()
        self.landed: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.exits: Counter[int] = Counter()
        self.transactions: Counter[str] = Counter()
        self.starts = self.departures = self.live = self.rebalances = 0
        self.heals: list[tuple[str, float]] = []
        self.violations: list[str] = []

    @classmethod
    def of(cls, fleet: Fleet, nemesis: Nemesis, live: LiveReader | None) -> _Sums:
        sums = cls()
        sums.kills, sums.exits = Counter(fleet.kills), Counter(fleet.exits)
        sums.landed, sums.missed = Counter(nemesis.landed), Counter(nemesis.missed)
        sums.transactions = Counter(fleet.transactions)
        for slot in fleet.slots:
            sums.transactions.update(slot.counted)
        sums.starts, sums.departures = fleet.starts, fleet.departures
        sums.rebalances = fleet.generation
        sums.live = 0 if live is None else live.read
        sums.heals, sums.violations = list(fleet.heals), list(fleet.violations)
        return sums

    def __add__(self, other: _Sums) -> _Sums:
        both = _Sums()
        for name, value in vars(self).items():
            setattr(both, name, value + getattr(other, name))
        return both

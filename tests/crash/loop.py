"""Kill, look at everything, start again: the crash loop over one database after another.

An episode begins with an empty directory and ends when its input is folded and at rest; in between
its worker is killed a number of times. A kill counts when the exit status shows it. The moments:

random  SIGKILL from outside, a random while after a random number of batches
early   SIGKILL from outside within the first milliseconds: opening, recovery, restore
K8 ...  LEIDAN_KILL: at a named line of the commit, the restore or the revocation
torn    random, and then the newest log file loses its tail, as when the machine dies too
"""

# ruff: noqa: S311

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from streams.errors import Exit, RewardsError
from tests.crash.verify import found, wrong_at_rest, wrong_outputs, wrong_with
from tests.crash.world import PARTITIONS, Options, Place, broker_of

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
DECK = ("K8", "K8", "K8", "random", "random", "torn", "torn", "early", "commit", "restore")
"""Ten crashes, shuffled anew each time: as much K8 as chance would hardly give."""

COMMIT = ("K0", "K2", "K3", "K4", "K5", "K6", "K7", "K9", "REVOKE")
RESTORE = ("R1", "R2", "R3", "R4", "R5", "R6")


class Child:
    """One worker process; what it reported is in ``batches``: p -> newest batch number."""

    def __init__(
        self, place: Place, options: Options, *, kill: str = "", prefix: tuple[str, ...] = ()
    ) -> None:
        """``prefix``: a command that runs it, as strace does."""
        environment = {name: value for name, value in os.environ.items() if name != "LEIDAN_KILL"}
        if kill:
            environment["LEIDAN_KILL"] = kill
        command = [sys.executable, "-m", "tests.crash.child", str(place.journal.parent)]
        self.process = subprocess.Popen(
            [*prefix, *command, msgspec.json.encode(options).decode()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
            text=True,
        )
        self.batches: dict[int, int] = {}
        self.ended = False

    def read(self, lines: int) -> bool:
        """Read so many reports; False when it ended before."""
        assert self.process.stdout is not None
        for _ in range(lines):
            line = self.process.stdout.readline()
            if not line.endswith("\n"):
                return False
            self._take(line)
        return True

    def _take(self, line: str) -> None:
        if line in ("begin\n", "end\n"):
            self.ended = line == "end\n"
            return
        p, batch = line.split()
        self.batches[int(p)] = int(batch)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Read what is left and return the exit status; ``errors`` is what it said."""
        try:
            out, self.errors = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.communicate()
            raise
        for line in out.splitlines(keepends=True):
            if line.endswith("\n"):
                self._take(line)
        return self.process.returncode


class Report(NamedTuple):
    """What an episode showed."""

    landed: Counter[str]  # by moment
    missed: int
    batches: int
    lost_tail: int  # batches that a torn log took along
    most_lost: int
    behind: int  # databases found behind their committed offsets
    violations: list[str]
    caught_after: int | None  # kills until the first violation
    seconds: float


def episode(
    directory: Path,
    options: Options,
    crashes: int,
    *,
    until_caught: bool = False,
) -> Report:
    """Run one. ``until_caught`` ends it at the first violation: how planted bugs are counted."""
    begun_s = time.monotonic()
    chance = random.Random(options.seed * 7919 + 1)
    place, scratch = Place(directory), directory / "copy"
    landed: Counter[str] = Counter()
    violations: list[str] = []
    missed = lost_tail = most_lost = behind = 0
    caught_after = None
    for number, moment in enumerate(moments(chance, crashes, options.seed)):
        child, expected = crash(place, options, moment, chance, crashes - number)
        if child.process.returncode != -signal.SIGKILL:
            if child.process.returncode != 0:
                violations.append(f"{moment}: exit {child.process.returncode}: {child.errors}")
                caught_after = caught_after or sum(landed.values())
                break
            missed += 1
            break  # the input is folded: no more to kill
        landed[moment] += 1
        wrong, lost, late = after_a_crash(place, options, scratch, expected, moment)
        lost_tail, most_lost, behind = lost_tail + lost, max(most_lost, lost), behind + late
        violations += [f"after crash {number + 1} ({moment}): {text}" for text in wrong]
        if wrong and caught_after is None:
            caught_after = sum(landed.values())
            if until_caught:
                break
    if not violations:
        violations += finish(place, options, scratch)
        caught_after = sum(landed.values()) if violations else None
    batches = sum(
        sum(record is not None and record.key == b"\0meta" for record in log)
        for (topic, _), log in broker_of(place, options).logs.items()
        if topic == "changelog"
    )
    return Report(
        landed, missed, batches, lost_tail, most_lost, behind, violations, caught_after,
        time.monotonic() - begun_s,
    )  # fmt: skip


def moments(chance: random.Random, crashes: int, turn: int) -> list[str]:
    """Return that many, from whole decks; ``turn`` says whose turn it is among the named lines."""
    drawn: list[str] = []
    while len(drawn) < crashes:
        drawn += chance.sample(DECK, len(DECK))
    named = {"commit": COMMIT, "restore": RESTORE}
    found = []
    for number, moment in enumerate(drawn[:crashes]):
        lines = named.get(moment, (moment,))
        found.append(lines[(turn + number // len(DECK)) % len(lines)])
    return found


def crash(
    place: Place, options: Options, moment: str, chance: random.Random, left: int
) -> tuple[Child, dict[int, int]]:
    """Let a worker run and die; return it and what it had reported."""
    most = max(4, options.records // options.batch_records // (left + 1))
    kill = ""
    if moment[0] in "KR" and moment != "random":
        passes = 1 if moment == "REVOKE" or moment[0] == "R" else chance.randint(1, min(most, 40))
        kill = f"{moment}:{passes}"
    child = Child(place, options, kill=kill)
    if moment == "early":
        child.read(1)  # "begin"
        time.sleep(chance.uniform(0.0, 0.06))
        child.kill()
    elif not kill and child.read(1 + chance.randint(1, min(2 * most, 120))):
        time.sleep(chance.uniform(0.0, 0.004))
        child.kill()
    child.wait()
    expected = dict(child.batches)
    if moment == "torn" and child.process.returncode == -signal.SIGKILL:
        for p in range(PARTITIONS):
            tear(place.state / str(p), chance)
    return child, expected


def tear(database: Path, chance: random.Random) -> None:
    """Cut the newest log somewhere in its last batch, or in the few before it."""
    logs = sorted(database.glob("*.log"))
    if logs:
        size = logs[-1].stat().st_size
        os.truncate(logs[-1], max(0, size - chance.randrange(1, chance.choice((200, 6_000)))))


def after_a_crash(
    place: Place, options: Options, scratch: Path, expected: dict[int, int], moment: str
) -> tuple[list[str], int, int]:
    """Return violations, batches lost to the torn tail and databases behind C."""
    broker = broker_of(place, options)
    wrong = wrong_outputs(broker, options)
    lost = behind = 0
    for p in range(PARTITIONS):
        try:
            database = found(place, p, scratch)
        except RewardsError as error:
            wrong.append(f"partition {p} cannot be opened: {error}")
            continue
        wrong += wrong_with(database, broker, p, options)
        behind += any(
            broker.committed.get((topic, p), 0) > offset
            for topic, offset in (database.next or {}).items()
        )
        missing = expected.get(p, 0) - database.batch
        if missing > 0 and moment == "torn":
            lost += missing
        elif missing > 0:
            wrong.append(
                f"partition {p}: batch {expected[p]} was reported, {database.batch} is there"
            )
    return wrong, lost, behind


def finish(
    place: Place,
    options: Options,
    scratch: Path,
    *,
    restarts: int = 0,
    look: Callable[[], bool] = lambda: True,
) -> list[str]:
    """Fold the rest without a kill, as under a supervisor that restarts so often after a 74.

    ``look`` reads the rows when all is folded; False: one could not be read, which is a 74 too.
    """
    for attempt in range(restarts + 1):
        child = Child(place, options)
        status = child.wait(120)
        if status == 0 and (attempt == restarts or look()):
            return wrong_at_rest(place, options, scratch)
        if status not in (0, Exit.DISK):
            break
    return [f"the last worker ended with {status}: {child.errors}"]


def run(
    directory: Path, seed: int, crashes: int, each: int, say: Callable[[str], None]
) -> list[Report]:
    """Run episodes of ``each`` crashes until so many have landed."""
    reports: list[Report] = []
    landed = 0
    while landed < crashes and len(reports) < 3 * crashes:
        options = Options.drawn(seed + len(reports))
        below = directory / f"seed-{options.seed}"
        report = episode(below, options, min(each, crashes - landed))
        reports.append(report)
        landed += sum(report.landed.values())
        say(f"{landed:5d} of {crashes}: seed {options.seed}, {line(report)}")
        for text in report.violations:
            say(f"      VIOLATION {text}")
        if not report.violations:
            shutil.rmtree(below)
    return reports


def line(report: Report) -> str:
    moments = " ".join(f"{name}:{times}" for name, times in sorted(report.landed.items()))
    return (
        f"{moments}; {report.batches} batches, {report.lost_tail} lost with a torn tail (most "
        f"{report.most_lost}), {report.behind} behind C, {report.missed} missed, "
        f"{report.seconds:.1f} s"
    )

"""One checked round of a kill storm: steady traffic, so many kills, a drain, and the whole check.

A round has topics and databases of its own. What goes wrong in it is written down and not raised,
so that the rounds after it still run.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.faults.healing import HEAL_S, Healing
from tests.faults.steady import Steady, dirty
from tests.faults.storm import Storm, deck
from tests.kafka.aftermath import aborted_transactions, gathered, judged
from tests.kafka.harness import Follower, Topics, dice, wait_drained, wait_settled, wait_until
from tests.kafka.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.checker import Seen
    from tests.kafka.cluster import Cluster

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
            HEAL_S,
        )
        _copy(storm, healing, found)
    finally:
        traffic.cancel()
        found.storm_s = round(time.monotonic() - begun_s, 1)
        followed = follower.stop()
        healing.close()
    found.records = traffic.stop()
    late = [f"{seconds:.1f}" for seconds in healing.healed_s if seconds > HEAL_S]
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

"""Runs seeds: one after another, or in chunks on several processes; adds their figures up."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from tests.checker import check_with_fold
from tests.checker.journal import outputs_follow_the_journal
from tests.sim.campaigns import DEFINITIONS, registry
from tests.sim.evidence import gather
from tests.sim.world import Ended, Settings, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CHUNK = 25


def run_seed(settings: Settings | int) -> Ended:
    """Run one seed and let the checker look at what it left."""
    if isinstance(settings, int):
        settings = Settings(settings)
    world = World(settings)
    ended = world.run()
    if not ended.violations and not world.refused:
        late, evidence = world.late, gather(world)
        definitions, files = DEFINITIONS, registry()
        if late is not None:
            definitions, files = (*DEFINITIONS, late.written), registry(late.record)
        report = check_with_fold(evidence, definitions, files, bad=world.bad)
        known = (registry(), files)
        outputs_follow_the_journal(report, evidence, known, world.broker.partition_of)
        ended.violations += [f"{f.invariant}: {f.kind}: {f.text}" for f in report.findings]
        for what, count in report.compared.items():
            ended.figures[f"compared {what}"] += count
    return ended


@dataclass
class Total:
    """Figures of many seeds. Seconds are of one core's CPU."""

    seeds: int = 0
    landed: Counter[str] = field(default_factory=Counter)
    figures: Counter[str] = field(default_factory=Counter)
    heal_s: float = 0.0  # longest, virtual
    lag: int = 0
    cpu_s: float = 0.0
    failed: list[Ended] = field(default_factory=list)

    def add(self, ended: Ended) -> None:
        self.seeds += 1
        self.landed += ended.landed
        self.figures += ended.figures
        self.heal_s = max(self.heal_s, ended.heal_s)
        self.lag = max(self.lag, ended.lag)
        if ended.violations:
            self.failed.append(ended)

    def merge(self, other: Total) -> None:
        self.seeds += other.seeds
        self.landed += other.landed
        self.figures += other.figures
        self.heal_s = max(self.heal_s, other.heal_s)
        self.lag = max(self.lag, other.lag)
        self.cpu_s += other.cpu_s
        self.failed += other.failed

    def as_json(self) -> dict[str, Any]:
        return {
            "seeds": self.seeds,
            "violations": {ended.seed: ended.violations for ended in self.failed},
            "landed": dict(sorted(self.landed.items())),
            "figures": dict(sorted(self.figures.items())),
            "longest_heal_virtual_s": round(self.heal_s, 3),
            "largest_v_minus_l_batches": self.lag,
            "cpu_s": round(self.cpu_s, 1),
        }


def run_seeds(seeds: Iterable[int], *, stop_after: int = 10) -> Total:
    """Run them in this process; ``stop_after`` failed ones it is enough."""
    total, started_s = Total(), time.process_time()
    for seed in seeds:
        total.add(run_seed(seed))
        if len(total.failed) >= stop_after:
            break
    total.cpu_s = time.process_time() - started_s
    return total


def run_many(first: int, count: int, jobs: int, tell: Callable[[Total], None]) -> Total:
    """Run ``count`` seeds from ``first`` on; ``tell`` hears the figures so far after each chunk."""
    total = Total()
    chunks = [
        range(start, min(start + CHUNK, first + count))
        for start in range(first, first + count, CHUNK)
    ]
    if jobs == 1:
        for chunk in chunks:
            total.merge(run_seeds(chunk))
            tell(total)
        return total
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for part in pool.map(run_seeds, chunks):
            total.merge(part)
            tell(total)
    return total


def replay(seed: int) -> str:
    """Return the command that plays a seed again, step by step."""
    return f"python -m tests.sim --seed {seed} --verbose"


def explain(ended: Ended, journal: int = 40) -> str:
    """Return what a failed seed has to say: violations, its schedule, how to play it again."""
    shown = ended.journal[-journal:]
    return "\n".join(
        [
            f"seed {ended.seed}: {len(ended.violations)} violations; again: {replay(ended.seed)}",
            *ended.violations[:5],
            f"schedule (last {len(shown)} of {len(ended.journal)}):",
            *shown,
        ]
    )

"""Workers that are killed all the time: started, armed, shot, counted; and when each has healed.

A kill counts when the exit status says SIGKILL. Half of them are the worker's own, at a line of the
protocol it was armed with; the others come from outside, at no particular line, sometimes while the
last one is still being restored. Healing is judged by the group's committed offsets, never by what
a worker says of itself (`healing.py`): a partition has healed when its offsets have grown between
two looks that both began after the fault.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from streams.errors import Exit
from tests.faults.healing import HEAL_S, Progress
from tests.kafka.workers import K_POINTS, R_POINTS, RESTARTED

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.kafka.harness import Topics
    from tests.kafka.workers import Worker

MOST_RESTARTS = 3
"""Promise 5 (reliability.md): ends of its own accord after one fault."""

START_S = 4.0  # from a start to the first commit, about
MOST_PASSES = 12  # of a K-point before the worker dies there: some seconds of this traffic
PATIENCE_S = 20.0  # a worker armed with a line it does not reach is shot after that
BURST = 2  # kills in a row that do not wait for the victim to have healed
TERM_S = 25.0


class Pending(NamedTuple):
    """A fault that is over, and what has not healed since."""

    what: str
    since_s: float
    partitions: frozenset[int]
    told: bool = False


class Slot:
    """One worker's place in the group, over all its lives."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.wanted = True
        self.frozen = False
        self.point = ""  # what this life is armed with
        self.shot = False  # killed by us
        self.asked_s = 0.0  # SIGTERM was sent
        self.seen = False  # this life has written its stats, so it knows SIGTERM
        self.started_s = 0.0
        self.due_s = 0.0  # when it is started again
        self.shoot_s = 0.0
        self.burst = 0
        self.returns = 0  # ends of its own accord since its last commit
        self.partitions: frozenset[int] = frozenset()  # its last word on what it owns
        self.counted: Counter[str] = Counter()  # its last word on transactions


class Fleet:
    """All slots, tended by one thread; the nemesis asks for departures through the flags."""

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        workers: Sequence[Worker],
        topics: Topics,
        partitions: int,
        rng: random.Random,
        kill_every_s: float,
        heal_s: float = HEAL_S,
    ) -> None:
        self.slots = [Slot(worker) for worker in workers]
        self.progress = Progress(topics, workers[0].group, partitions)
        self.rng, self.heal_s = rng, heal_s
        self.life_s = max(0.5, kill_every_s * len(workers) - START_S)
        self.calm = False  # no more kills
        self.kills: Counter[str] = Counter()  # by point, or "random"
        self.exits: Counter[int] = Counter()  # of their own accord
        self.starts = self.departures = 0
        self.generation = 0  # of the group: grows with every rebalance
        self.transactions: Counter[str] = Counter()
        self.heals: list[tuple[str, float]] = []
        self.pending: list[Pending] = []
        self.violations: list[str] = []
        self.blocked = False  # a fault of brokers or network is under way: no clock runs

    # -- once every tick -----------------------------------------------------------------------

    def tend(self) -> None:
        """Notice ends, start again what is due, shoot whose time has come, close what healed."""
        now_s = time.monotonic()
        for slot in self.slots:
            if slot.worker.running:
                self._look_at(slot)
                self._perhaps_shoot(slot, now_s)
            else:
                if slot.started_s:
                    self._bury(slot, now_s)
                if slot.wanted and now_s >= slot.due_s:
                    self._start(slot, now_s)
        self._close_healed(now_s)

    def _look_at(self, slot: Slot) -> None:
        if stats := slot.worker.own_stats():
            slot.partitions = frozenset(stats["partitions"]) or slot.partitions
            slot.counted, slot.seen = Counter(stats["transactions"]), True
            if slot.counted["committed"]:
                slot.returns = 0
            self.generation = max(self.generation, stats.get("generation") or 0)

    def _start(self, slot: Slot, now_s: float) -> None:
        rng = self.rng
        slot.started_s, slot.shot, slot.asked_s, slot.point = now_s, False, 0.0, ""
        slot.seen = False
        self.starts += 1
        life_s = START_S + rng.uniform(0.2, 2.0) * self.life_s
        if slot.burst:  # again, soon: while it starts or restores
            life_s = rng.uniform(0.1, START_S)
        elif not self.calm and rng.random() < 0.7:
            slot.point = self._point()
            life_s = PATIENCE_S + self.life_s
        slot.shoot_s = now_s + life_s
        if slot.point:
            slot.worker.start_and_die_at(slot.point)
        else:
            slot.worker.start()

    def _point(self) -> str:
        """Prefer lines that were met least often, so that none is left out."""
        rng = self.rng
        if rng.random() < 0.3:
            return f"{self._rarest(R_POINTS)}:{rng.choice((1, 1, 2))}"
        return f"{self._rarest(K_POINTS)}:{rng.randint(1, MOST_PASSES)}"

    def _rarest(self, points: Sequence[str]) -> str:
        few = min(self.kills[point] for point in points)
        return self.rng.choice([point for point in points if self.kills[point] <= few + 1])

    def _perhaps_shoot(self, slot: Slot, now_s: float) -> None:
        if not slot.wanted:
            if not slot.asked_s:
                slot.asked_s = now_s
                os.kill(slot.worker.pid, signal.SIGTERM)
            elif now_s - slot.asked_s > TERM_S:
                self._violation(f"{slot.worker.name} is still there {TERM_S:.0f} s after SIGTERM")
                slot.shot = True
                slot.worker.kill()
            return
        if self.calm or slot.frozen or now_s < slot.shoot_s:
            return
        if self.healing(slot.worker.name) and not slot.burst:
            return  # it must be seen to heal before it is killed again
        slot.shot = True
        slot.worker.kill()

    def healing(self, what: str) -> bool:
        """Whether a worker, or what a fault broke, has not healed yet."""
        return any(one.what == what for one in self.pending)

    def _bury(self, slot: Slot, now_s: float) -> None:
        status, slot.started_s = slot.worker.ended(), 0.0
        slot.due_s = now_s
        self.transactions.update(slot.counted)
        slot.counted = Counter()
        if status == -signal.SIGKILL and (slot.shot or slot.point):
            self.kills["random" if slot.shot else slot.point.partition(":")[0]] += 1
            slot.burst = slot.burst - 1 if slot.burst else self.rng.choice((0,) * 8 + (1, BURST))
            if not slot.burst and self.rng.random() < 0.08:
                slot.due_s = now_s + self.rng.uniform(6.5, 9.0)  # past its session: p moves
        elif slot.asked_s and (status == 0 or (status == -signal.SIGTERM and not slot.seen)):
            self.departures += 1
            return
        elif status in RESTARTED:
            self.exits[status] += 1
            slot.due_s = now_s + self.rng.uniform(0.5, 1.5)
            slot.returns += not self.blocked
            if slot.returns > MOST_RESTARTS:
                self._violation(f"{slot.worker.name} ended {slot.returns} times in a row")
        else:
            self.exits[status or 0] += 1
            slot.due_s = now_s + 5.0
            self._violation(f"{slot.worker.name} ended with {status}:\n{slot.worker.tail(60)}")
        if status == Exit.STUCK:  # counted, and no violation as long as it heals in time
            print(f"{slot.worker.name} was stuck (71):\n{slot.worker.tail(80)}", flush=True)
        self.over(slot.worker.name, slot.due_s, slot.partitions)

    # -- healing -------------------------------------------------------------------------------

    def over(self, what: str, since_s: float, partitions: frozenset[int] | None = None) -> None:
        """A fault is over: from now on `partitions` (all by default) must move again."""
        wanted = partitions or self.progress.partitions
        self.pending = [one for one in self.pending if one.what != what]
        self.pending.append(Pending(what, since_s, wanted))

    def _close_healed(self, now_s: float) -> None:
        still = []
        for one in self.pending:
            if self.blocked:  # what is broken again has longer
                still.append(one._replace(since_s=max(one.since_s, now_s)))
                continue
            moved = [self.progress.moved_s[p] for p in one.partitions]
            if all(at_s > one.since_s for at_s in moved):
                kind = "worker" if one.what in {s.worker.name for s in self.slots} else one.what
                # a look late at most: C is looked at twice a second
                self.heals.append((kind, max(0.0, max(moved, default=now_s) - one.since_s)))
                continue
            if now_s - one.since_s > self.heal_s and not one.told:
                load = f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
                still_s = {p: round(now_s - self.progress.moved_s[p]) for p in one.partitions}
                self._violation(
                    f"{one.what}: not healed after {self.heal_s:.0f} s; seconds since each "
                    f"partition moved: {still_s}; {load}"
                )
                still.append(one._replace(told=True))
                continue
            still.append(one)
        self.pending = still

    def _violation(self, text: str) -> None:
        self.violations.append(text)
        print(f"VIOLATION {text}", flush=True)

    # -- at the end ----------------------------------------------------------------------------

    def everyone_in(self) -> None:
        """End all kills: whoever is armed is started anew, everyone is wanted."""
        self.calm = True
        for slot in self.slots:
            slot.wanted, slot.frozen, slot.burst, slot.due_s = True, False, 0, 0.0
            if slot.worker.running:
                os.kill(slot.worker.pid, signal.SIGCONT)
                if slot.point or slot.asked_s:
                    slot.shot = True
                    slot.worker.kill()

    def close(self) -> None:
        self.progress.stop()
        for slot in self.slots:
            slot.worker.close()

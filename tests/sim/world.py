"""One run: a broker, workers, shops that send and a nemesis; first safety, then liveness."""

# Seeded dice, repeatable by design.
# ruff: noqa: S311

from __future__ import annotations

import logging
import random
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from streams.errors import Exit
from streams.feed.ports import Outgoing
from streams.topics import FOLDED, TICKS
from tests.sim.broker import EMPTY, Broker
from tests.sim.campaigns import late
from tests.sim.evidence import Follower
from tests.sim.fibers import Killed, Process, Scheduler, Stuck
from tests.sim.group import Group
from tests.sim.inputs import Sent, history
from tests.sim.live import Live
from tests.sim.nemesis import SLOW_S, Nemesis, is_fault
from tests.sim.network import Network
from tests.sim.rights import RightsService, ShopTime
from tests.sim.worker import Worker, hooked

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from streams.feed.loop import Feed

HEAL_S = 240.0
"""Virtual time that input may stay unread once all faults are over: a restore may wait for a dead
worker's transaction (15 s and the coordinator's 10 s), behind a session that has to end first."""

RESTARTS_A_FAULT = 3
RESTARTED = {Exit.DISK, Exit.FENCED, Exit.STUCK}
"""Exit codes that a fault of ours may cause; all others are violations here."""


@dataclass
class Settings:
    """What one seed draws, unless a test has its own idea of it."""

    seed: int
    input_seed: int | None = None
    force: Collection[str] = ()
    points: Collection[str] = ()
    passes: Sequence[int] = ()  # of those points; nemesis.LAST: once all input was sent
    batch_records: int | None = None
    workers: int | None = None
    partitions: int | None = None
    only: str | None = None  # input of this topic alone


@dataclass
class Ended:
    """What came of a run, before the checker has looked at it."""

    seed: int
    violations: list[str] = field(default_factory=list)
    landed: Counter[str] = field(default_factory=Counter)
    figures: Counter[str] = field(default_factory=Counter)
    heal_s: float = 0.0
    lag: int = 0  # largest V - L, in batches
    journal: list[str] = field(default_factory=list)


class World:
    """Everything of one run. Only one can run at a time in a process: it hooks module globals."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        seed = settings.seed
        self.dice = random.Random(f"world {seed}")
        dice = self.dice
        self.ended = Ended(seed)
        self.clock = Scheduler(random.Random(f"schedule {seed}"), dice.choice((0.02, 0.1, 0.3)))
        partitions = settings.partitions or dice.choice((1, 1, 2, 3))
        self.broker = Broker(self.clock, partitions)
        self.group = Group(self.clock, self.broker)
        self.network = Network(self.clock, self.broker)
        self.erred: set[str] = set()  # workers whose client has reported an error
        self.network.on_error = self.erred.add
        self.live = Live(self.broker)
        self.batch_records = settings.batch_records or dice.choice((1, 2, 3, 5, 10, 100))
        self.compiled = seed % 2 == 0  # half of all worlds, where it is built: nothing else differs
        self.input = history(seed if settings.input_seed is None else settings.input_seed)
        if settings.only is not None:
            self.input = [sent for sent in self.input if sent.topic == settings.only]
        self.tick_dice = random.Random(f"ticks {seed}")
        self.most_rows = self.tick_dice.choice((1, 2, 500))  # of a tick in one unit of work
        self.input_s = dice.choice((0.5, 5.0, 20.0, 60.0))
        self.bad: dict[tuple[str, int, int], str] = {}
        self.stale_until_s = 0.0
        self.moving = self.tampered = self.refused = False
        self.processes: list[Process] = []
        self.workers: dict[str, Worker] = {}
        self.retired: list[Worker] = []
        self._counted: list[Feed] = []
        self.reader = Follower(self)
        self.late = late(seed, self.input)
        self.to_send = len(self.input)
        self._unsent = list(reversed(self.input))
        self._begun_s = self.clock.now_s
        drawn = dice.choice((1, 1, 2, 2, 3))
        for n in range(drawn if settings.workers is None else settings.workers):
            self.add_worker(f"w{n}")
        self.nemesis = Nemesis(self, seed, settings.force, settings.points)
        self.network.fault_of = self.nemesis.network
        self.broker.marker_delay = self.nemesis.marker_delay
        self.shop_time = ShopTime()
        self.rights = RightsService(self, seed)

    # -- one run -----------------------------------------------------------------------------------

    def run(self) -> Ended:
        """Send everything under faults, then let it heal; stops at the first violation."""
        level = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            with hooked(self):
                try:
                    self._phases()
                finally:
                    self.clock.end(self.processes)
        except Stuck as stuck:
            self._violation(f"I12: nobody can run: {stuck}")
        finally:
            logging.disable(level)
        return self._account()

    def _phases(self) -> None:
        clock = self.clock
        for worker in list(self.workers.values()):
            clock.after(self.dice.random() * 2, worker.start)
        clock.after(self.dice.random(), self._send)
        clock.wait(lambda: self._broken() or not self._unsent, 3_600)
        assert self._broken() or not self._unsent
        clock.wait(lambda: self._broken() or self._drained(), self.dice.random() * 30)
        self.note("faults off")
        self.nemesis.active = False
        self.broker.away_until_s = self.stale_until_s = 0.0
        healing_s = clock.now_s
        self._heal(healing_s)
        self.ended.heal_s = clock.now_s - healing_s
        # once more around, so that what a late request would spoil is seen, and what a thread that
        # slept since the last fault still writes
        clock.wait(self._broken, max(SLOW_S) + 1.0)
        self._heal(clock.now_s)
        if self.tampered and not self._broken():
            self._violation("I8: offsets were moved by hand, and the workers went on")

    def _heal(self, since_s: float) -> None:
        while not self._broken() and not self._drained():
            if self.clock.now_s - since_s > HEAL_S:
                self._violation(f"I12: not drained {HEAL_S:.0f} s after the faults: {self._why()}")
            self.clock.wait(self._broken, 0.5)

    def _send(self) -> None:
        """Append the next records, as shops with acks=all do; a broker that is away gets none."""
        dice = self.dice
        if self._unsent and not self.broker.away():
            burst = dice.choice((1, 1, 2, 5))
            for _ in range(min(burst, len(self._unsent))):
                self._append(self._unsent.pop())
        if self._unsent:
            share = self.input_s / max(1, self.to_send)
            self.clock.after(share * 2 * dice.random(), self._send)

    @property
    def sent(self) -> int:
        """Return how many input records were sent."""
        return self.to_send - len(self._unsent)

    def all_sent(self) -> bool:
        return not self._unsent

    def _append(self, sent: Sent) -> None:
        self.shop_time.tell(self.broker.wall_ms(), sent.at_ms)
        self.shop_time.whole = not self._unsent
        if self.late is not None and self.sent == self.late.known + 1:
            self.land("killed late", str(self.late))
        if sent.topic == TICKS:
            self._tick(sent)
            return
        p = self.broker.partition_of(sent.key)
        log = self.broker.log(sent.topic, p)
        if self.dice.random() < 0.03:
            log.mark(None)  # some shop's transaction: an offset without a record
        offset = log.append(Outgoing(sent.topic, sent.key, sent.value, []), sent.at_ms)
        if sent.reason is not None:
            self.bad[sent.topic, p, offset] = sent.reason
        if sent.kind:
            self.land(sent.kind, f"{sent.topic}[{p}]@{offset}")

    def _tick(self, sent: Sent) -> None:
        """One to each partition, behind what can be read of its other topics by now, or not."""
        for p in range(self.broker.partitions):
            tick = orjson.loads(sent.value) | {"partition": p}
            if self.tick_dice.random() < 0.7:
                tick["ends"] = {topic: self.broker.log(topic, p).stable for topic in FOLDED[:-1]}
            value = orjson.dumps(tick)
            self.broker.log(TICKS, p).append(Outgoing(TICKS, None, value, []), sent.at_ms)
        self.land("tick")

    def _broken(self) -> bool:
        return bool(self.refused or self.live.found or self.ended.violations or self.clock.failed)

    def _drained(self) -> bool:
        broker = self.broker
        if self.moving or not self.rights.idle:
            return False
        for p in range(broker.partitions):
            for topic in FOLDED:
                log = broker.log(topic, p)
                # of our own topics an aborted transaction's records may be the last
                kept = (e.record and (e.part is None or e.part.committed) for e in log.entries)
                last = max((n for n, found in enumerate(kept) if found), default=-1)
                if broker.offsets.get((topic, p), 0) <= last or broker.pending.get((topic, p)):
                    return False
        if any(log.stable != log.high for log in broker.logs.values()) or self.group.preparing:
            return False
        now_s = self.clock.now_s
        mine = [worker.process for worker in self.workers.values()]
        if any(not process.dead and process not in mine for process in self.processes):
            return False  # a twin, or one that still leaves
        return all(
            not worker.process.dead
            and now_s >= worker.process.stopped_until_s
            and worker.feed is not None
            and bool(worker.feed.owned or self.broker.partitions < len(self.workers))
            and all(owned.ready for owned in worker.feed.owned.values())
            for worker in self.workers.values()
        )

    def _why(self) -> str:
        feeds = {
            name: (worker.process.dead, worker.starts, worker.feed and sorted(worker.feed.owned))
            for name, worker in self.workers.items()
        }
        return f"workers {feeds}, group preparing {self.group.preparing}, C {self.broker.offsets}"

    # -- what the ports and the nemesis call -------------------------------------------------------

    def touch(self, process: Process, where: str) -> None:
        """A port was called: perhaps the process ends or sleeps here, perhaps another goes on."""
        if process.dead:
            raise Killed
        self.nemesis.at(process, where)
        self.clock.point()

    def reach(self, point: str) -> None:
        process = self.clock.current.process
        assert process is not None
        if process.dead:
            raise Killed
        self.nemesis.reached(process, point)
        self.clock.point()

    def land(self, kind: str, text: str = "") -> None:
        self.ended.landed[kind] += 1
        self.note(f"{kind}: {text}" if text else kind)

    def behind(self, p: int, batch: int) -> None:
        """A database was opened: how far is it behind V?"""
        self.ended.lag = max(self.ended.lag, self.live.newest.get(p, 0) - batch)

    def note(self, text: str) -> None:
        self.ended.journal.append(f"{self.clock.now_s - self._begun_s:9.3f} {text}")

    def add_worker(self, name: str) -> Worker:
        worker = self.workers[name] = Worker(self, name)
        return worker

    def scale(self) -> None:
        """One worker more, or one less for good: it closes, then the operator removes its name."""
        if len(self.workers) > 1 and self.dice.random() < 0.5:
            name = self.dice.choice(sorted(self.workers))
            worker = self.workers.pop(name)
            self.retired.append(worker)
            worker.leaving = True
            for twin in self.processes:
                twin.dead |= twin.name == name and twin is not worker.process
            worker.process.dead |= worker.feed is None  # it never began
            worker.process.stopped_until_s = 0.0
            self.land("scaled in", name)
            self.clock.after(self.dice.random() * 8, lambda: self.group.leave(name))
        else:
            worker = self.add_worker(f"w{len(self.processes) + 10}")
            self.land("scaled out", worker.name)
            worker.start()

    def kill(self, process: Process, where: str, *, kind: str) -> None:
        """kill -9, and a restart; raises where the process itself stands."""
        if process.dead:
            return
        self.land(kind, f"{process} at {where}")
        self.ended.figures["kills"] += 1
        self._gone(process, power=kind == "power cut")
        self.start_again(process, self.dice.choice((0.1, 1.0, 3.0, 9.0)))
        if self.clock.current.process is process and not self.clock.in_timer:
            raise Killed

    def exited(
        self, worker: Worker, process: Process, code: Exit, why: str, error: Exception | None = None
    ) -> None:
        """A process has ended itself."""
        self.ended.figures[f"exit {int(code)}"] += 1
        self.note(f"{process} exits {int(code)}: {why}")
        self._gone(process, power=False)
        if code is Exit.REFUSED and self.tampered:
            self.refused = True
            self.land("moved offsets were refused")
        if code is Exit.REFUSED and not worker.newer and self.ended.landed["upgrade"]:
            self.land("old code refused newer rows")
            worker.newer = True  # what the message tells the operator to do
            self.start_again(process, 1.0)
            return
        if code is Exit.OK or self.refused:
            return
        if code not in RESTARTED:
            trace = "".join(traceback.format_exception(error)) if error else ""
            self._violation(f"I12: {process} exits {int(code)}: {why}\n{trace}".strip())
        self.start_again(process, 1.0 + self.dice.random())

    def _gone(self, process: Process, *, power: bool) -> None:
        process.dead = True
        worker = self.workers.get(process.name)
        if worker is not None:
            self._count(worker)
            worker.store.crash(process, power=power)

    def move_offsets(self) -> None:
        """An operator stops all workers and puts the group's offsets somewhere else."""
        for worker in self.workers.values():
            self.kill(worker.process, "stopped by hand", kind="kill")
        states = {known.state for known in self.broker.ids.values()}
        known = sorted(at for at, offset in self.broker.offsets.items() if offset)
        self.moving = self.clock.now_s - self._begun_s < 600
        if states != {EMPTY} or not known:
            if self.moving:
                self.clock.after(3.0, self.move_offsets)
            return
        self.moving = False
        at = self.dice.choice(known)
        offset = self.broker.offsets[at] + self.dice.choice((-1, 1, 2))
        self.broker.offsets[at] = self.broker.decided[at] = offset
        self.tampered = self.live.tampered = True
        self.land("offsets moved by hand", f"{at} to {offset}")

    def start_again(self, process: Process, delay_s: float) -> None:
        """What a supervisor does, unless another process has taken over meanwhile."""

        def start() -> None:
            worker = self.workers.get(process.name)
            if worker is not None and worker.process is process:
                self.ended.figures["restarts"] += 1
                worker.start()

        self.clock.after(delay_s, start)

    def _violation(self, text: str) -> None:
        self.ended.violations.append(text)
        self.note(f"VIOLATION {text}")

    # -- the account -------------------------------------------------------------------------------

    def _count(self, worker: Worker) -> None:
        """Add up what a process's feed has counted; once, when it ends."""
        feed, figures = worker.feed, self.ended.figures
        if feed is None or feed in self._counted:
            return
        self._counted.append(feed)
        for outcome, count in feed.counts.transactions.items():
            figures[f"transactions {outcome}"] += count
        figures["producers"] += feed.counts.producers
        figures["restores"] += feed.counts.restores
        figures["restored rows"] += feed.counts.restored_rows

    def _account(self) -> Ended:
        ended = self.ended
        ended.violations += self.live.found
        for worker in (*self.workers.values(), *self.retired):
            self._count(worker)
        ended.figures["events"] += self.to_send
        ended.figures["compared live"] += self.live.compared
        for point, passes in self.nemesis.passes.items():
            ended.figures[f"passes {point}"] += passes
        for what, count in self.broker.counts.items():
            ended.figures[f"broker: {what}"] += count
        ended.figures["switches"] += self.clock.switches
        faults = sum(count for kind, count in ended.landed.items() if is_fault(kind))
        allowed = RESTARTS_A_FAULT * faults
        if ended.figures["restarts"] > allowed:
            ended.violations.append(
                f"I12: {ended.figures['restarts']} restarts for {faults} faults"
            )
        return ended

"""Faults by seed: which kinds, how often, where. Only what landed is counted.

`at` is asked at every call of a port, `reached` at every named line of the protocol (K0 to K9, R1
to R6, REVOKE), `network` for every request, the rest where their name says.
"""

# Seeded dice, repeatable by design.
# ruff: noqa: S311

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from streams.feed import kill_points
from tests.sim.network import DELAYED, INTO_THE_NEXT, REQUEST_LOST, RESPONSE_LOST, SLOW, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tests.sim.fibers import Process
    from tests.sim.world import World

LAST = 0
POINTS = sorted(kill_points.POINTS - {"LOAD"})  # where only RocksDB comes by

KINDS = (
    "kill", "kill at a point", "power cut", "pause", "sleep at a point", "scale", "request lost",
    "response lost", "delayed", "slow", "late markers", "delivery fails", "broker away",
    "EIO", "ENOSPC", "disk lost", "twin", "stale campaigns",
)  # fmt: skip

OFTEN = {"request lost": 0.03, "response lost": 0.03, "delayed": 0.05, "slow": 0.05}
"""Of every request, once the kind was drawn for the run."""

SLOW_S = (4.0, 9.0, 18.0, 30.0)
"""How long a thread that is slow sleeps, of virtual time."""

TRANSACTIONAL = {"produce", "add_offsets", "txn_offsets", "end_txn"}
MOVED = "offsets moved by hand"
"""Drawn by itself: the right answer to it is to refuse, which ends the run."""


def is_fault(landed: str) -> bool:
    """Tell faults from what follows from them, and from what the shops send."""
    return landed in {*KINDS, MOVED, "upgrade", "rollback"} or landed.startswith(
        ("kill at ", "sleep at ")
    )


class Nemesis:
    """``active``: the safety phase. ``force``: kinds that must be among those drawn."""

    def __init__(
        self, world: World, seed: int, force: Collection[str] = (), points: Collection[str] = ()
    ) -> None:
        """``points``: kill or sleep here, with the pass drawn; () draws the point too."""
        self.world = world
        self.dice = dice = random.Random(f"nemesis {seed}")
        self.active = True
        if force:
            self.kinds = set(force)
        else:
            self.kinds = set(dice.sample(KINDS, dice.choice((0, 1, 2, 2, 3, 4, 6, 8))))
        if not force and dice.random() < 0.04:
            self.kinds.add(MOVED)
        self.left = dice.choice((2, 4, 8, 16))  # kills and sleeps; requests have their own rates
        self.requests_left = dice.choice((2, 5, 20))
        self.passes = dict.fromkeys(POINTS, 0)
        self.traps: list[tuple[str, int, str]] = []
        for kind in ("kill at a point", "sleep at a point"):
            if kind in self.kinds:
                for _ in range(dice.randint(2, 5)):
                    point = dice.choice(sorted(points) or POINTS)
                    if point == "REVOKE":
                        self.kinds.add("scale")
                    nth = dice.choice(world.settings.passes or (1, 1, 2, 3, 4, 6, 9))
                    self.traps.append((point, nth, kind))
        self.rate = dice.choice((0.005, 0.02, 0.05))
        self._schedule()

    # -- by the clock ------------------------------------------------------------------------------

    def _schedule(self) -> None:
        dice = self.dice
        timed: dict[str, Callable[[], None]] = {
            "scale": self.world.scale,
            "broker away": self._away,
            "stale campaigns": self._stale,
            "disk lost": self._lose_disk,
            "upgrade": self._upgrade,  # only when forced: see row 27
        }
        for kind, fn in timed.items():
            if kind in self.kinds:
                for _ in range(dice.randint(1, 4) * (3 if kind == "upgrade" else 1)):
                    self.world.clock.after(
                        dice.random() * self.world.input_s * 1.2, lambda fn=fn: self._if_active(fn)
                    )
        if MOVED in self.kinds:
            self.world.moving = True
            self.world.clock.after(dice.random() * self.world.input_s, self.world.move_offsets)

    def _if_active(self, fn: Callable[[], None]) -> None:
        if self.active:
            fn()

    def _away(self) -> None:
        seconds = self.dice.choice((1.0, 8.0, 25.0, 90.0))
        self.world.broker.away_until_s = self.world.clock.now_s + seconds
        self.world.land("broker away", f"{seconds} s")

    def _stale(self) -> None:
        self.world.stale_until_s = self.world.clock.now_s + self.dice.choice((5.0, 30.0, 60.0))
        self.world.land("stale campaigns")

    def _lose_disk(self) -> None:
        name = self.dice.choice(sorted(self.world.workers))
        worker = self.world.workers[name]
        self.world.kill(worker.process, "its disk is lost", kind="disk lost")
        worker.store.lose()

    # -- where the code under test is --------------------------------------------------------------

    def at(self, process: Process, where: str) -> None:
        if not self.active or self.left <= 0 or self.dice.random() >= self.rate:
            return
        able = sorted(self.kinds & {"kill", "power cut", "pause", "twin"})
        if not able:
            return
        self.left -= 1
        kind = self.dice.choice(able)
        if kind in {"pause", "twin"}:
            self._stop(process, where, twin=kind == "twin")
        else:
            self.world.kill(process, where, kind=kind)

    def reached(self, process: Process, point: str) -> None:
        self.passes[point] += 1
        if not self.active:
            return
        for trap in self.traps:
            if trap[0] != point or not self._sprung(point, trap[1]):
                continue
            self.traps.remove(trap)
            if trap[2] == "kill at a point":
                self.world.kill(process, point, kind=f"kill at {point}")
            elif self.dice.random() < 0.5:
                self.world.land("slow thread", f"{process} at {point}")
                self.world.land(f"sleep at {point}")
                self.world.clock.sleep(self.dice.choice(SLOW_S))
            else:
                self.world.land(f"sleep at {point}")
                self._stop(process, point, twin=self.dice.random() < 0.2)
            return

    def _sprung(self, point: str, nth: int) -> bool:
        """nth: the pass of the point; LAST: the first one when all input has been sent."""
        return self.world.all_sent() if nth == LAST else self.passes[point] >= nth

    def _stop(self, process: Process, where: str, *, twin: bool) -> None:
        """SIGSTOP, and SIGCONT later. twin: a supervisor that starts a second one meanwhile."""
        seconds = self.dice.choice((0.5, 4.0, 12.0, 20.0, 40.0))
        process.stopped_until_s = self.world.clock.now_s + seconds
        self.world.land("twin" if twin else "pause", f"{process} for {seconds} s at {where}")
        if twin:
            self.world.start_again(process, self.dice.random() * 3)
        self.world.clock.sleep(0.0)

    def _upgrade(self) -> None:
        """Restart a worker with the version after this one, or with this one again."""
        worker = self.world.workers[self.dice.choice(sorted(self.world.workers))]
        worker.newer = not worker.newer
        self.world.kill(worker.process, "", kind="upgrade" if worker.newer else "rollback")

    # -- requests, disks, markers ------------------------------------------------------------------

    def network(self, api: str, who: str) -> Fault | None:
        if not self.active or self.requests_left <= 0:
            return None
        dice = self.dice
        for kind in sorted(self.kinds & OFTEN.keys()):
            rate = OFTEN[kind] * (4 if api == "end_txn" else 1)
            if dice.random() >= rate:
                continue
            self.requests_left -= 1
            self.world.land(kind, f"{who} {api}")
            self.world.land(f"{kind}: {api}")
            hard = dice.random() < 0.5
            match kind:
                case "request lost":
                    return Fault(REQUEST_LOST, 0.0, hard)
                case "response lost":
                    return Fault(RESPONSE_LOST, 0.0, hard)
                case "delayed":
                    into = api in TRANSACTIONAL and dice.random() < 0.5
                    delay_s = dice.choice((5.5, 8.0, 12.0, 20.0))
                    return Fault(DELAYED, INTO_THE_NEXT if into else delay_s, hard)
                case _:
                    return Fault(SLOW, dice.choice((0.3, 2.0, 4.5)), hard=False)
        return None

    def delivery_fails(self, who: str) -> bool:
        if not self.active or "delivery fails" not in self.kinds or self.dice.random() >= 0.15:
            return False
        self.world.land("delivery fails", who)
        return True

    def disk_fails(self, process: Process, p: int) -> str | None:
        if not self.active or self.dice.random() >= 0.05:
            return None
        able = sorted(self.kinds & {"EIO", "ENOSPC"})
        if not able:
            return None
        kind = self.dice.choice(able)
        self.world.land(kind, f"{process} p{p}")
        return kind

    def marker_delay(self) -> float:
        dice = self.dice
        if self.active and "late markers" in self.kinds and dice.random() < 0.3:
            self.world.land("late markers")
            return dice.choice((0.05, 0.5, 2.0, 6.0))
        return 0.003 * dice.random() if dice.random() < 0.3 else 0.0
